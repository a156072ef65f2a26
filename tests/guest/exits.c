/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exits: what an exit costs, and what unclaimed addresses answer. The figures
 * are for people: nothing depends on them.
 *
 * RUN:
 * EXPECT: nobody: 0xff 0xffff 0xffffffff
 * EXPECT: port write: * ns
 * EXPECT: MMIO read: * ns
 * EXPECT: string output: abcdefgh
 * QEMU:
 */
#include "guest.h"

enum { ROUNDS = 1000, NOBODYS_PORT = 0x510 };
#define NOBODYS_MEMORY 0xdffff000ull

static uint64_t ns(uint64_t cycles)
{
	return cycles * 1000 / ROUNDS * 1000 / tsc_per_ms();
}

void guest_main(void)
{
	static const char text[] = "abcdefgh";
	const char *from = text;
	uint64_t n = sizeof(text) - 1, start;

	printf("nobody: %#x %#x %#x\n", inb(NOBODYS_PORT), inw(NOBODYS_PORT), inl(NOBODYS_PORT));
	if (!booted_by_pvh()) {
		expect_equal(read8(NOBODYS_MEMORY), 0xff);
		expect_equal(read16(NOBODYS_MEMORY), 0xffff);
		expect_equal(read32(NOBODYS_MEMORY), 0xffffffff);
		expect_equal(read64(NOBODYS_MEMORY), UINT64_MAX);
		write64(NOBODYS_MEMORY, 0);
		expect_equal(read64(NOBODYS_MEMORY + 1), UINT64_MAX); /* unaligned */
		/* Over the end of a page: KVM sends it in two odd parts. */
		expect_equal(read64(NOBODYS_MEMORY + 0x1000 - 3), UINT64_MAX);
		expect_equal(inw(NOBODYS_PORT + 1), 0xffff);
	}
	start = rdtsc();
	for (unsigned i = 0; i < ROUNDS; i++)
		outb(NOBODYS_PORT, 0);
	printf("port write: %lu ns\n", ns(rdtsc() - start));
	start = rdtsc();
	for (unsigned i = 0; i < ROUNDS; i++)
		read32(NOBODYS_MEMORY);
	printf("MMIO read: %lu ns\n", ns(rdtsc() - start));
	puts("string output: ");
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(0x3f8) : "memory");
	putc('\n');
}
