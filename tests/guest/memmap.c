/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memmap: the memory map that firmware left, and that it is true: the first and
 * last byte of each RAM range hold what is written to them, ranges are sorted
 * and do not overlap, and just beyond the end of RAM nobody answers.
 *
 * QEMU: -m 64M
 * PVH:
 * RUN: --memory 64M
 * EXPECT: ram 0 MiB to 64 MiB
 * RUN: --memory 3070M
 * EXPECT: ram 0 MiB to 3070 MiB
 * RUN: --memory 3072M
 * EXPECT: ram 0 MiB to 3072 MiB
 * RUN: --memory 3074M
 * EXPECT: ram 0 MiB to 3072 MiB
 * EXPECT: ram 4096 MiB to 4098 MiB
 * RUN: --memory 5G
 * EXPECT: ram 0 MiB to 3072 MiB
 * EXPECT: ram 4096 MiB to 6144 MiB
 */
#include "guest.h"

static void touch(uint64_t gpa)
{
	uint8_t before = read8(gpa);

	write8(gpa, 0xa5);
	expect_equal(read8(gpa), 0xa5);
	write8(gpa, before);
}

void guest_main(void)
{
	uint64_t ram_from = 0, ram_to = 0, last = 0;
	struct ram_range r;

	for (unsigned i = 0; memory_map(i, &r); i++) {
		printf("%u: %#010lx to %#010lx type %u\n", i, r.base, r.base + r.len, r.type);
		expect(r.base >= last);
		expect(r.len && r.base + r.len > r.base);
		last = r.base + r.len;
		if (r.type != 1)
			continue;
		map_high(r.base, r.len);
		/* Page 0 may hold a NULL that the compiler minds; the last byte is the point. */
		touch(r.base ? r.base : 8);
		touch(r.base + r.len - 1);
		if (r.base >> 32 && !(ram_from >> 32)) {
			printf("ram %lu MiB to %lu MiB\n", ram_from >> 20, ram_to >> 20);
			ram_from = r.base;
		}
		ram_to = r.base + r.len;
	}
	printf("ram %lu MiB to %lu MiB\n", ram_from >> 20, ram_to >> 20);
	if (booted_by_pvh())
		return; /* another firmware may have the end of RAM to itself */
	map_high(ram_to, 8);
	expect_equal(read32(ram_to), 0xffffffff);
}
