/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry: the processor's state at the first instruction, and what EBX points at.
 * [Linux boot.rst, "64-bit Boot Protocol"; Xen docs/misc/pvh.pandoc]
 *
 * QEMU:
 * PVH:
 * RUN:
 * EXPECT: entered in [36][24]-bit mode
 */
#include "guest.h"

enum {
	CR0_PE = 1 << 0,
	CR0_ET = 1 << 4,
	CR4_PAE = 1 << 5,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	FLAG_TF = 1 << 8,
	FLAG_IF = 1 << 9,
	FLAG_VM = 1 << 17,
};

#define CR0_PG (1ull << 31)

static void check_linux64(const struct entry_state *s)
{
	expect_equal(s->width, 64);
	expect_equal(s->cr0 & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
	expect_equal(s->cr4, CR4_PAE);
	expect_equal(s->efer, EFER_LME | EFER_LMA);
	expect_equal(s->cs, 0x10); /* __BOOT_CS, __BOOT_DS */
	expect_equal(s->ds, 0x18);
	expect_equal(s->es, 0x18);
	expect_equal(s->ss, 0x18);
	expect_equal(read16(s->info + 0x1fe), 0xaa55); /* setup_header's boot_flag */
	expect(!memcmp((const void *)(s->info + 0x202), "HdrS", 4));
}

static void check_pvh(const struct entry_state *s)
{
	expect_equal(s->width, 32);
	/* All writable bits but PE are clear; ET is not writable. */
	expect_equal(s->cr0 | CR0_ET, CR0_PE | CR0_ET);
	expect_equal(s->cr4, 0);
	expect_equal(s->efer, 0);
	expect_equal(read32(s->info), 0x336ec578);
	expect_equal(read32(s->info + 4), 1);       /* version */
	expect(read32(s->info + 48) > 0);           /* memmap_entries */
	expect_equal(read32(s->info + 52), 0);      /* reserved */
	expect(read64(s->info + 24) < 0x100000000); /* cmdline_paddr */
}

void guest_main(void)
{
	const struct entry_state *s = &entry_state;

	printf("entered in %lu-bit mode\n", s->width);
	printf("cr0 %#lx cr4 %#lx efer %#lx flags %#lx\n", s->cr0, s->cr4, s->efer, s->rflags);
	expect_equal(s->rflags & (FLAG_TF | FLAG_IF | FLAG_VM), 0);
	if (booted_by_pvh())
		check_pvh(s);
	else
		check_linux64(s);
}
