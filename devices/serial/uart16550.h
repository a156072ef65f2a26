/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uart16550: the PC's serial port, a National 16550A [PC16550D data sheet].
 *
 * The guest's bytes leave at once: the transmitter is always empty. The host's
 * bytes wait outside until the guest listens, and go through the 16-byte FIFO
 * without loss (uart16550.c says how).
 */
#ifndef DEVICES_SERIAL_UART16550_H
#define DEVICES_SERIAL_UART16550_H

#include "vmm/core/bus.h"
#include "vmm/core/char_port.h"
#include "vmm/core/device.h"
#include "vmm/core/irq.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UART16550_PORTS = 8, UART16550_FIFO = 16 };

struct uart16550 {
	pthread_mutex_t lock; /* of all below but the wires */
	struct irq_line irq;
	struct char_out out;
	struct char_room room;

	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t msr_delta;   /* MSR bits 0-3 */
	bool overrun;        /* LSR.OE */
	bool thre_pending;   /* the THRE interrupt, until IIR shows it or THR is written */
	bool line;           /* level of the interrupt line */
	bool host_waits;     /* the host was turned away: call room() */
	unsigned idle_polls; /* fruitless LSR reads since the guest last sent a byte */

	/* The receiver FIFO, oldest first: characters with their LSR error bits.
	 * `looped` ones come from our own transmitter, the others from the host. */
	unsigned n_rx;
	struct uart16550_char {
		uint8_t data, lsr;
		bool looped;
	} rx[UART16550_FIFO];
};

/* The wires are copied. `out` gets the guest's output on vCPU threads, under
 * the UART's lock, so one byte comes after the other. `room` (may be zeroes) is
 * called without it. */
void uart16550_init(struct uart16550 *u, const struct irq_line *irq, const struct char_out *out,
		    const struct char_room *room);

/* struct char_in's receive: give how many of the bytes the UART took, 0 to
 * `len`. Any thread; `dev` is the struct uart16550. */
size_t uart16550_receive(void *dev, const uint8_t *bytes, size_t len);

/* struct char_in's receive_break: the line goes to "break" once, as SysRq wants it.
 * Gives whether there was room for it. Any thread. */
bool uart16550_receive_break(void *dev);

/* Port I/O at UART16550_PORTS ports; `dev` is the struct uart16550. */
extern const struct io_ops uart16550_io_ops;
extern const struct device_ops uart16550_device_ops;

#endif
