/* SPDX-License-Identifier: Apache-2.0 */
/*
 * button: SIGTERM to minivmm is the power button: an edge on the Generic Event
 * Device's pin, whose event byte says which event [ACPI 6.5 5.6.9]. A guest that
 * hears of it powers off; one that does not is ended after --stop-timeout.
 *
 * RUN:
 * SIGNAL: TERM
 * EXPECT: ready
 * EXPECT: the button was pressed
 * RUN: --append deaf=1 --stop-timeout 1 --cpus 2
 * SIGNAL: TERM
 * EXPECT: ready
 * STATUS: 143
 */
#include "guest.h"

enum { GSI = 5, VECTOR = 0x25, EVENTS = 0x602, BUTTON = 1 };

static volatile unsigned events, interrupts;

static void on_event(struct frame *f)
{
	interrupts = interrupts + 1;
	events = events | inb(EVENTS);
}

void guest_main(void)
{
	if (option("deaf", 0)) {
		puts("ready\n");
		halt();
	}
	apic_enable();
	idt_set(VECTOR, on_event);
	ioapic_route(GSI, VECTOR, false);
	expect_equal(inb(EVENTS), 0);
	puts("ready\n");
	while (!interrupts)
		wait_for_interrupt();
	expect_equal(events, BUTTON);
	expect_equal(inb(EVENTS), 0); /* reading took it */
	puts("the button was pressed\n");
}
