/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reset: each way in which Linux resets a PC ends the VM, and so does each way
 * to crash or to power off.
 *
 * RUN: --append how=1
 * EXPECT: by the keyboard controller
 * RUN: --append how=2
 * EXPECT: by port 0xcf9
 * RUN: --append how=3
 * EXPECT: by a triple fault
 * STATUS: 3
 * RUN: --append how=4
 * EXPECT: by FADT's reset register
 * RUN: --append how=5
 * EXPECT: not at all
 * RUN: --append how=6 --timeout 1
 * EXPECT: all processors halted
 * STATUS: 124
 * RUN: --append how=6 --cpus 4 --timeout 1
 * EXPECT: all processors halted
 * STATUS: 124
 */
#include "guest.h"

enum { FADT_FLAGS = 112, FADT_RESET_REG = 116, FADT_RESET_VALUE = 128, RESET_REG_SUP = 1 << 10 };

static void by_fadt(void)
{
	uint64_t fadt = (uint64_t)acpi_table("FACP");

	expect(fadt);
	expect(read32(fadt + FADT_FLAGS) & RESET_REG_SUP);
	expect_equal(read8(fadt + FADT_RESET_REG), 1); /* system I/O */
	outb((uint16_t)read64(fadt + FADT_RESET_REG + 4), read8(fadt + FADT_RESET_VALUE));
}

void guest_main(void)
{
	switch (option("how", 0)) {
	case 1:
		puts("by the keyboard controller\n");
		outb(0x64, 0xfe);
		break;
	case 2:
		puts("by port 0xcf9\n");
		outb(0xcf9, 0x02);
		outb(0xcf9, 0x06);
		break;
	case 3:
		puts("by a triple fault\n");
		triple_fault();
	case 4:
		puts("by FADT's reset register\n");
		by_fadt();
		break;
	case 5:
		puts("not at all\n");
		return;
	case 6:
		puts("all processors halted\n");
		for (unsigned id = 1; id < 4; id++)
			ap_start(id, (void (*)(unsigned))halt);
		halt();
	default:
		fail("how?");
	}
	delay_ms(2000);
	fail("still here");
}
