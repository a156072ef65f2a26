/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-mmio: the registers by which a driver reaches a virtio device without PCI
 * [virtio 1.3 4.2]. Version 2: no legacy interface. One page:
 *
 *	0x000  identity, features, queue set-up, interrupts, status: 32 bits each
 *	0x100  the device type's configuration space, to the end of the page
 *
 * There is no way to find such a device by looking: ACPI (LNRO0005) or the kernel's
 * command line says where it is.
 *
 * Doorbells. All queues ring at QueueNotify, with their number as the value: an
 * ioeventfd for each that has been used once, which compares 4 bytes. Where the host has none, the
 *store arrives here and rings the same eventfd.
 *
 * Interrupts. One line. It is up while InterruptStatus is not 0, and goes down and up
 * again with each event, so it serves a level-triggered pin and an edge-triggered
 * one: with the latter, which costs no end-of-interrupt exit, no event is lost that
 * comes between the driver's look at a queue and its acknowledgement.
 *
 * Reset. A driver may count on the reset being complete when its store of 0 to Status
 * is, for the specification has it poll on PCI only. It takes the device's loop to
 * drain, so the vCPU is held back (vmm/core/hold.h); others read the old status
 * meanwhile.
 *
 * Threads: the selectors are atomics, interrupts have a lock, and what counts is in
 * struct virtio, which has its own.
 */
#ifndef DEVICES_VIRTIO_MMIO_H
#define DEVICES_VIRTIO_MMIO_H

#include "devices/virtio/virtio.h"
#include "devices/virtio/virtio_bells.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/hold.h"
#include "vmm/core/irq.h"

#include <pthread.h>
#include <stdint.h>

enum { VIRTIO_MMIO_LEN = 0x1000 };

struct virtio_mmio_env {
	uint64_t base; /* where the registers lie, for the doorbells */
	struct irq_line irq;
	struct doorbell doorbell; /* ops == NULL: every kick is trapped */
	struct cpu_hold hold;
};

struct virtio_mmio {
	struct virtio *v;
	struct virtio_mmio_env env;
	struct virtio_bells bells;

	_Atomic uint32_t device_features_sel, driver_features_sel, queue_sel;

	pthread_mutex_t lock;      /* of the line and: */
	uint32_t interrupt_status; /* 0 to 3 */
};

/* Put *v (initialised, borrowed, outliving *m) behind MMIO registers: then
 * the registers go on the bus at env->base. *env is copied. 0, or
 * -EINVAL if the type's configuration space does not fit into the page. */
int virtio_mmio_init(struct virtio_mmio *m, struct virtio *v, const struct virtio_mmio_env *env);

/* With vCPUs gone: resets the device and waits until the loop has let go of it, gives
 * doorbells back. Before virtio_fini(), whose eventfds the doorbells borrow. Fine on a
 * zero-filled object. */
void virtio_mmio_fini(struct virtio_mmio *m);

/* For the bus, VIRTIO_MMIO_LEN bytes; `dev` is the struct virtio_mmio. */
extern const struct io_ops virtio_mmio_io_ops;

/* The whole device's life (`dev` is the struct virtio_mmio): its section of saved
 * state is called virtio.name and holds the registers here, the common virtio state
 * and the type's own. A load that fails changes nothing, or resets the whole device if
 * virtio had taken its part by then. */
extern const struct device_ops virtio_mmio_device_ops;

#endif
