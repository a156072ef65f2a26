/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uart: COM1 as its driver uses it: scratch register, loopback, an interrupt
 * when the transmitter is empty and when something was typed [PC16550D].
 *
 * RUN:
 * INPUT: hello\n
 * EXPECT: loopback works
 * EXPECT: transmitter interrupts
 * EXPECT: ready
 * EXPECT: you typed: hello
 * QEMU:
 */
#include "guest.h"

enum {
	COM1 = 0x3f8,
	IER = 1,
	IIR = 2,
	FCR = 2,
	LCR = 3,
	MCR = 4,
	LSR = 5,
	MSR = 6,
	SCR = 7,
	IER_RX = 1,
	IER_TX = 2,
	MCR_OUT2 = 8,
	MCR_LOOP = 0x10,
	VECTOR = 0x24,
	GSI = 4,
};

static volatile unsigned tx_interrupts, rx_interrupts;
static volatile char typed[64];
static volatile unsigned n_typed;

static void on_interrupt(struct frame *f)
{
	uint8_t iir;

	while (!((iir = inb(COM1 + IIR)) & 1)) {
		switch (iir & 0xe) {
		case 0x2: /* reading IIR cleared it */
			tx_interrupts = tx_interrupts + 1;
			break;
		case 0x4:
		case 0xc:
			rx_interrupts = rx_interrupts + 1;
			while (inb(COM1 + LSR) & 1) {
				char c = (char)inb(COM1);

				if (n_typed < sizeof(typed)) {
					typed[n_typed] = c;
					n_typed = n_typed + 1;
				}
			}
			break;
		default:
			fail("IIR %#x", iir);
		}
	}
}

static void loopback(void)
{
	outb(COM1 + MCR, MCR_LOOP);
	for (unsigned i = 0; i < 256; i++) {
		outb(COM1, (uint8_t)i);
		for (unsigned tries = 0; !(inb(COM1 + LSR) & 1); tries++)
			if (tries > 10000)
				fail("byte %u is lost in the loop", i);
		if (inb(COM1) != i)
			fail("byte %u comes back as another", i);
	}
	/* DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD. */
	outb(COM1 + MCR, MCR_LOOP | 0x0f);
	expect_equal(inb(COM1 + MSR) & 0xf0, 0xf0);
	outb(COM1 + MCR, MCR_LOOP);
	expect_equal(inb(COM1 + MSR) & 0xf0, 0);
	outb(COM1 + MCR, MCR_OUT2);
}

void guest_main(void)
{
	outb(COM1 + SCR, 0x5a);
	expect_equal(inb(COM1 + SCR), 0x5a);
	outb(COM1 + LCR, 3);
	loopback();
	puts("loopback works\n");

	apic_enable();
	idt_set(VECTOR, on_interrupt);
	ioapic_route(GSI, VECTOR, false);
	outb(COM1 + IER, IER_TX);
	expect(wait_for_change(&tx_interrupts, 0));
	outb(COM1 + IER, 0);
	puts("transmitter interrupts\n");
	if (booted_by_pvh())
		return; /* nobody types there */

	outb(COM1 + IER, IER_RX);
	puts("ready\n");
	while (!n_typed || typed[n_typed - 1] != '\n')
		wait_for_interrupt();
	expect(rx_interrupts);
	puts("you typed: ");
	for (unsigned i = 0; i < n_typed; i++)
		putc(typed[i]);
}
