/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf1: PCI configuration mechanism #1 [PCI 3.0 3.2.2.3.2]: an address latch at
 * port 0xcf8 and a data window at 0xcfc, in front of the same configuration space
 * as ECAM.
 *
 * ECAM alone would do. But until Linux runs AML it trusts ECAM only where it can
 * compare it with this mechanism, and says "PCI: Fatal" on every boot without it.
 *
 * On a PC, byte accesses to 0xcf9 are not part of the latch: the chipset's reset
 * control register lies there, so they are passed on.
 */
#ifndef DEVICES_PCI_CONF1_H
#define DEVICES_PCI_CONF1_H

#include "devices/pci/host.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

enum { PCI_CONF1_PORTS = 8 };

struct pci_conf1 {
	struct pci_host *host;
	const struct io_ops *reset_ops; /* of port 0xcf9, byte accesses */
	void *reset_dev;
	_Atomic uint32_t address; /* what was written to 0xcf8 */
};

/* `host` and `reset_dev` are borrowed and outlive the object. */
void pci_conf1_init(struct pci_conf1 *c, struct pci_host *host, const struct io_ops *reset_ops,
		    void *reset_dev);

/* Port I/O at PCI_CONF1_PORTS ports from 0xcf8; `dev` is the struct pci_conf1. */
extern const struct io_ops pci_conf1_io_ops;
extern const struct device_ops pci_conf1_device_ops;

#endif
