/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uart2: the second serial port, on the third pin, beside the first; its bytes go their
 * own way. Without it nobody answers at its ports.
 *
 * RUN: --serial2 file=DISK
 * DISK: 512
 * EXPECT: both work
 * AFTER: [ "$(tr -d '\r' <disk)" = "from the second port" ]
 * RUN: --append none=1
 * EXPECT: there is none
 * QEMU: -serial null
 */
#include "guest.h"

enum {
	COM2 = 0x2f8,
	IER = 1,
	IIR = 2,
	MCR = 4,
	LSR = 5,
	SCR = 7,
	MCR_OUT2 = 8,
	IER_TX = 2,
	VECTOR = 0x23,
	GSI = 3,
};

static volatile unsigned interrupts;

static void on_interrupt(struct frame *f)
{
	if ((inb(COM2 + IIR) & 0xf) == 2)
		interrupts = interrupts + 1;
}

static void say(const char *text)
{
	while (*text) {
		while (!(inb(COM2 + LSR) & 0x20))
			barrier();
		outb(COM2, (uint8_t)*text++);
	}
}

void guest_main(void)
{
	if (option("none", 0)) {
		for (unsigned i = 0; i < 8; i++)
			expect_equal(inb(COM2 + i), 0xff);
		puts("there is none\n");
		return;
	}
	outb(COM2 + SCR, 0x5a);
	expect_equal(inb(COM2 + SCR), 0x5a);
	say("from the second port\n");
	apic_enable();
	idt_set(VECTOR, on_interrupt);
	ioapic_route(GSI, VECTOR, false);
	outb(COM2 + MCR, MCR_OUT2);
	outb(COM2 + IER, IER_TX);
	expect(wait_for_change(&interrupts, 0));
	puts("both work\n");
}
