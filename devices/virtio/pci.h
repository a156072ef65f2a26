/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-pci: the registers by which a driver reaches a virtio device on PCI
 * [virtio 1.3 4.1]. Modern only: no legacy interface, no I/O ports, no INTx.
 *
 * One 64-bit memory BAR holds everything; vendor capabilities in configuration
 * space say where:
 *
 *	0x0000 common    feature, status and queue registers
 *	0x0800 ISR       interrupt status, cleared by reading
 *	0x1000 device    the device type's configuration space
 *	0x2000 notify    one doorbell for each queue, 4 bytes apart
 *	0x3000 MSI-X     table, and from 0x3800 the pending bits
 *
 * The fifth capability, PCI_CFG, is a window onto the first four through
 * configuration space, for firmware that has not mapped the BAR yet.
 *
 * While the BAR is mapped, a doorbell that has been used once is an ioeventfd: a kick costs no
 * exit to user space (virtio_bells.h). Where the host has none, the store arrives here and rings
 * the same eventfd. Any value of any size rings: the address alone says which queue.
 *
 * Threads: the selectors and vectors are atomics, each register access is one load
 * or store, and what counts is in struct virtio and struct msix, which have their
 * own locks.
 */
#ifndef DEVICES_VIRTIO_PCI_H
#define DEVICES_VIRTIO_PCI_H

#include "devices/pci/config.h"
#include "devices/pci/msix.h"
#include "devices/virtio/virtio.h"
#include "devices/virtio/virtio_bells.h"
#include "vmm/core/device.h"
#include "vmm/core/irq.h"

#include <stdint.h>

enum { VIRTIO_PCI_BAR = 0, VIRTIO_PCI_BAR_LEN = 0x4000 };

struct virtio_pci_env {
	struct msi msi;
	struct doorbell doorbell; /* ops == NULL: every kick is trapped */
};

struct virtio_pci {
	struct virtio *v;
	struct virtio_pci_env env;
	struct pci_dev pci;
	struct msix msix;
	struct virtio_bells bells;
	unsigned window; /* offset of the PCI_CFG capability */

	/* Common configuration, as far as it is the transport's own. */
	_Atomic uint32_t device_feature_select, driver_feature_select;
	_Atomic uint16_t queue_select, config_msix_vector;
	_Atomic uint16_t queue_msix_vector[VIRTIO_QUEUES_MAX];
	_Atomic uint8_t isr;

	/* Of lent queues: the sources of their vectors, or -1. The lock orders a change of a
	 * vector and one of its source. */
	pthread_mutex_t calls_lock;
	int calls[VIRTIO_QUEUES_MAX];
};

/* Put *v (initialised, borrowed, outliving *p) behind PCI registers: then
 * pci_host_add(host, slot, &p->pci) makes it visible. *env is copied. 0, -ENOMEM, or
 * -EINVAL if the type's configuration space is larger than 4 KiB. */
int virtio_pci_init(struct virtio_pci *p, struct virtio *v, const struct virtio_pci_env *env);

/* With vCPUs gone: resets the device and waits until the loop has let go of it, takes
 * it off the PCI host, gives routes and doorbells back. Before virtio_fini(), whose
 * eventfds the doorbells borrow. Fine on a zero-filled object. */
void virtio_pci_fini(struct virtio_pci *p);

/* The whole device's life (`dev` is the struct virtio_pci): its section of saved state
 * is called virtio.name and holds configuration space, MSI-X, the registers here,
 * the common virtio state and the type's own. A load that fails changes
 * nothing, or resets the whole device if virtio had taken its part by then. */
extern const struct device_ops virtio_pci_device_ops;

#endif
