/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pvpanic: the port that tells of a panic [QEMU docs/specs/pvpanic]. The run ends
 * there with status 3, and the line says what the console said.
 *
 * RUN:
 * EXPECT: it knows both events
 * EXPECT: going on after a crash kernel's event
 * EXPECT: panicking
 * STATUS: 3
 * RUN: --append loud=1
 * EXPECT: Kernel panic - not syncing: because it is told to
 * STATUS: 3
 * QEMU: -device pvpanic
 */
#include "guest.h"

enum { PVPANIC = 0x505, PANICKED = 1, CRASH_LOADED = 2 };

void guest_main(void)
{
	expect_equal(inb(PVPANIC) & 3, PANICKED | CRASH_LOADED);
	puts("it knows both events\n");
	outb(PVPANIC, CRASH_LOADED);
	puts("going on after a crash kernel's event\n");
	if (booted_by_pvh())
		return; /* QEMU's panic would not let it say DONE */
	puts(option("loud", 0) ? "Kernel panic - not syncing: because it is told to\n"
			       : "panicking\n");
	outb(PVPANIC, PANICKED);
	delay_ms(2000);
	fail("still here after a panic");
}
