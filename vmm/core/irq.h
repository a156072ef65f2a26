/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irq: the three wires between a device and the interrupt and doorbell
 * machinery of the host, as interfaces: vmm/kvm implements them, tests/lib
 * fakes them, and a device never sees which.
 */
#ifndef VMM_CORE_IRQ_H
#define VMM_CORE_IRQ_H

#include <stdbool.h>
#include <stdint.h>

/* --- a line: one input pin of an interrupt controller ---------------------- */

struct irq_line {
	void (*set)(void *ctx, unsigned pin, bool level);
	void *ctx;
	unsigned pin;
};

/* Any thread. A line without a controller (set == NULL) goes nowhere. */
static inline void irq_line_set(const struct irq_line *l, bool level)
{
	if (l->set)
		l->set(l->ctx, l->pin, level);
}

/* An edge: up and down again. */
static inline void irq_line_pulse(const struct irq_line *l)
{
	irq_line_set(l, true);
	irq_line_set(l, false);
}

/* --- a message-signalled interrupt ----------------------------------------- */

struct msi_msg {
	uint64_t addr;
	uint32_t data;
};

/*
 * Message interrupts by way of routes. A route is a number that stands for a
 * message; firing it costs no exit and no lock, and others (vhost) can do it by an
 * eventfd that is bound to it.
 *
 *   route_new   a new route, not armed; gives its number >= 0 or a negative errno.
 *               Any thread
 *   route_set   arm it with *msg, or disarm it with NULL: 0, or a negative errno and
 *               the route is as it was. Any thread
 *   route_fire  interrupt the guest; a disarmed route fires nothing. Any thread.
 *   route_bind  from now on whoever signals `eventfd` (borrowed, in no other bond) fires
 *               the armed route, without a thread of ours: 0, -ENOTSUP where there is no
 *               such thing, or another errno. A signal that was there before counts.
 *               Once unbind is back nothing fires by it, and a signal stays in the
 *               eventfd for whoever reads it. Any thread
 *   route_unbind  undo it
 *   route_free  give the number back; nothing is bound to it any more
 *   send        one message now, without a route (an ioctl). Any thread.
 *   pin_set     I/O APIC pin `pin` (0-63) will send *msg: KVM must know, or it
 *               reports no end-of-interrupt for level pins. NULL: masked.
 */
struct msi_ops {
	int (*route_new)(void *ctx);
	int (*route_set)(void *ctx, int route, const struct msi_msg *msg);
	void (*route_fire)(void *ctx, int route);
	int (*route_bind)(void *ctx, int route, int eventfd);
	void (*route_unbind)(void *ctx, int route, int eventfd);
	void (*route_free)(void *ctx, int route);
	int (*send)(void *ctx, const struct msi_msg *msg);
	int (*pin_set)(void *ctx, unsigned pin, const struct msi_msg *msg, bool level);
};

struct msi {
	const struct msi_ops *ops;
	void *ctx;
};

/* --- a doorbell: a guest's store that wakes a thread ------------------------ */

/*
 * attach: from now on a store of any size at `gpa` signals `eventfd` (borrowed)
 * and causes no exit (KVM's ioeventfd). Gives 0, or -ENOTSUP where there is no
 * such thing: then the store arrives at the bus, and the device signals the
 * eventfd itself, which it must be able to do anyway. With `match`, only a
 * 4-byte store of the value `data` counts (virtio-mmio's one register).
 */
struct doorbell_ops {
	int (*attach)(void *ctx, uint64_t gpa, int eventfd, bool match, uint32_t data);
	void (*detach)(void *ctx, uint64_t gpa, int eventfd, bool match, uint32_t data);
};

struct doorbell {
	const struct doorbell_ops *ops;
	void *ctx;
};

#endif
