/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic: the I/O APIC, which turns levels on its pins into interrupt messages
 * for the local APICs [82093AA data sheet; version 0x20 adds the EOI register]. The
 * data sheet's has 24 pins; later ones have more and say so.
 *
 * The local APICs are the hypervisor's: a message leaves by struct msi, and the
 * end of a level-triggered interrupt comes back by ioapic_eoi().
 */
#ifndef DEVICES_IRQ_IOAPIC_H
#define DEVICES_IRQ_IOAPIC_H

#include "vmm/base/log.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/irq.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { IOAPIC_PINS_MAX = 64, IOAPIC_MMIO_LEN = 0x1000 };

struct ioapic {
	pthread_mutex_t lock;
	struct msi msi;
	struct log_budget complaints;
	unsigned pins;
	uint8_t id; /* APIC ID, 4 bits */
	uint8_t ioregsel;
	uint64_t lines; /* level of each pin */
	uint64_t edges; /* a rising edge that has not been sent yet */
	uint64_t rte[IOAPIC_PINS_MAX];

	/* What pin_set() was told last, so that it is told only news. */
	struct {
		bool armed, level;
		struct msi_msg msg;
	} told[IOAPIC_PINS_MAX];
};

/* `msi` is copied; its send() and pin_set() are called under the I/O APIC's
 * lock. `id` is what MADT says; `pins` is 1 to IOAPIC_PINS_MAX. */
void ioapic_init(struct ioapic *a, const struct msi *msi, uint8_t id, unsigned pins);

/* struct irq_line's set; `ctx` is the struct ioapic. Pins beyond the last go
 * nowhere. Any thread. */
void ioapic_set(void *ctx, unsigned pin, bool level);

/* A local APIC has finished the level-triggered interrupt `vector`. Any thread. */
void ioapic_eoi(struct ioapic *a, uint8_t vector);

/* MMIO; `dev` is the struct ioapic. */
extern const struct io_ops ioapic_io_ops;
extern const struct device_ops ioapic_device_ops;

#endif
