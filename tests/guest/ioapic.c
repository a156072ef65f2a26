/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic: its registers, and what "level" means: a pin that stays up comes again
 * after each EOI until its device is content; masked, it does not come; an edge
 * comes once [82093AA 3.2.4].
 *
 * RUN:
 * EXPECT: 16 pins
 * EXPECT: level: again until the cause is gone
 * EXPECT: masked: quiet
 * EXPECT: edge: once
 * QEMU:
 */
#include "guest.h"

enum {
	COM1 = 0x3f8,
	IER = 1,
	IIR = 2,
	MCR = 4,
	IER_TX = 2,
	GSI = 4,
	VECTOR = 0x30,
	IOAPICVER = 1,
	REDIRECTION = 0x10 + 2 * GSI,
	REMOTE_IRR = 1 << 14,
	ENOUGH = 5,
};

static volatile unsigned interrupts, content_after;

static void on_interrupt(struct frame *f)
{
	interrupts = interrupts + 1;
	if (interrupts >= content_after)
		inb(COM1 + IIR); /* takes the transmitter's cause away */
}

static unsigned interrupts_within(unsigned ms)
{
	interrupts_on();
	delay_ms(ms);
	interrupts_off();
	return interrupts;
}

/* A level may come once more than asked for: a KVM that emulates ring 0 (PVM) was seen to
 * report the EOI of an interrupt before its handler had run, when the processor was taken
 * from it at the wrong moment, and then the level is still up. It is up for a reason, and a
 * driver finds nothing to do. What the I/O APIC makes of an EOI is tests/unit/test_ioapic.c's
 * to count. */
static void expect_levels(unsigned n, unsigned wanted)
{
	if (n != wanted + 1)
		expect_equal(n, wanted);
}

void guest_main(void)
{
	uint32_t version = ioapic_read(IOAPICVER);

	printf("%u pins\n", (version >> 16 & 0xff) + 1);
	apic_enable();
	idt_set(VECTOR, on_interrupt);
	outb(COM1 + MCR, 8); /* OUT2 lets its interrupts through */

	content_after = ENOUGH;
	ioapic_route(GSI, VECTOR, true);
	outb(COM1 + IER, IER_TX);
	expect_levels(interrupts_within(50), ENOUGH);
	expect(!(ioapic_read(REDIRECTION) & REMOTE_IRR));
	outb(COM1 + IER, 0);
	puts("level: again until the cause is gone\n");

	interrupts = 0;
	content_after = 1;
	ioapic_mask(GSI);
	outb(COM1 + IER, IER_TX);
	expect_equal(interrupts_within(20), 0);
	puts("masked: quiet\n");

	/* Unmasked while the line is up: a level comes now. */
	outb(COM1 + IER, 0);
	outb(COM1 + IER, IER_TX);
	ioapic_route(GSI, VECTOR, true);
	expect_levels(interrupts_within(50), 1);
	outb(COM1 + IER, 0);

	interrupts = 0;
	content_after = 1000; /* never: an edge must not come again all the same */
	ioapic_route(GSI, VECTOR, false);
	outb(COM1 + IER, IER_TX);
	expect_equal(interrupts_within(50), 1);
	outb(COM1 + IER, 0);
	puts("edge: once\n");
}
