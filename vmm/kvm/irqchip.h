/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irqchip: interrupts into the guest and doorbells out of it, by KVM.
 *
 * A split irqchip: KVM has the local APICs, the I/O APIC is a device of ours
 * (devices/irq/ioapic), and there is no PIC or PIT. Creating and, above all,
 * destroying it is several times cheaper than the full one; the figures are in
 * adr/001-split-irqchip.md.
 *
 * An MSI route is a message that is kept here; firing it is one ioctl, without an exit of the guest
 * and without a lock of ours. Only a route that others fire by their eventfds (vhost) is an entry
 * of KVM's routing table, with an irqfd: KVM_SET_GSI_ROUTING replaces the table as a whole and
 * waits for a grace period, and a VM that has an irqfd waits for another one when it ends
 * (adr/002-messages-by-ioctl.md).
 */
#ifndef VMM_KVM_IRQCHIP_H
#define VMM_KVM_IRQCHIP_H

#include "vmm/base/err.h"
#include "vmm/core/irq.h"
#include "vmm/kvm/vm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	IRQCHIP_PINS = 64,         /* as many as an I/O APIC of ours may have */
	IRQCHIP_ROUTES_MAX = 1024, /* GSIs after the pins; KVM allows 4096 in all */
};

/* `armed` is set behind the message. To change that of an armed one is the guest's fault
 * [PCI 3.0 6.8.2.9], and what comes of it is an interrupt of its own. */
struct irqchip_route {
	bool used;
	unsigned bonds; /* eventfds that fire it */
	atomic_bool armed;
	_Atomic uint64_t addr;
	_Atomic uint32_t data;
};

struct irqchip {
	struct kvm_vm *vm;
	pthread_mutex_t lock;                    /* of the routes; not taken by fire and send */
	struct irqchip_route pins[IRQCHIP_PINS]; /* armed: a level pin KVM must report EOIs of */
	struct irqchip_route routes[IRQCHIP_ROUTES_MAX];
	unsigned n_routes; /* highest used + 1 */
};

/* Switch the VM to a split irqchip; before vCPUs are made. */
int irqchip_init(struct irqchip *c, struct kvm_vm *vm, struct err *e);
void irqchip_fini(struct irqchip *c);

struct msi irqchip_msi(struct irqchip *c);

/* Doorbells by KVM_IOEVENTFD; any thread. Stateless: `vm` is all it needs. */
struct doorbell kvm_doorbell(struct kvm_vm *vm);

#endif
