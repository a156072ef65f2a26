/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memmap: the memory map that firmware left, and that it is true: the first and
 * last byte of each RAM range hold what is written to them, ranges are sorted
 * and do not overlap, and just beyond the end of RAM nobody answers.
 *
 * QEMU: -m 64M
 * PVH:
 * RUN: --memory 32M
 * EXPECT: ram 0 KiB to 32768 KiB
 * RUN: --memory 32772K
 * EXPECT: ram 0 KiB to 32772 KiB
 * RUN: --memory 3145724K
 * EXPECT: ram 0 KiB to 3145724 KiB
 * RUN: --memory 3G
 * EXPECT: ram 0 KiB to 3145728 KiB
 * RUN: --memory 3145732K
 * EXPECT: ram 0 KiB to 3145728 KiB
 * EXPECT: ram 4194304 KiB to 4194308 KiB
 * RUN: --memory 4194300K
 * EXPECT: ram 0 KiB to 3145728 KiB
 * EXPECT: ram 4194304 KiB to 5242876 KiB
 * RUN: --memory 4G
 * EXPECT: ram 4194304 KiB to 5242880 KiB
 * RUN: --memory 4194308K
 * EXPECT: ram 4194304 KiB to 5242884 KiB
 * RUN: --memory 64M,shared=on
 * EXPECT: ram 0 KiB to 65536 KiB
 * RUN: --memory 64M,hugepages=thp,prefault=on
 * EXPECT: ram 0 KiB to 65536 KiB
 * RUN: --memory 65540K,shared=on,prefault=on,hugepages=off
 * EXPECT: ram 0 KiB to 65540 KiB
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
			printf("ram %lu KiB to %lu KiB\n", ram_from >> 10, ram_to >> 10);
			ram_from = r.base;
		}
		ram_to = r.base + r.len;
	}
	printf("ram %lu KiB to %lu KiB\n", ram_from >> 10, ram_to >> 10);
	if (booted_by_pvh())
		return; /* another firmware may have the end of RAM to itself */
	map_high(ram_to, 8);
	expect_equal(read32(ram_to), 0xffffffff);
}
