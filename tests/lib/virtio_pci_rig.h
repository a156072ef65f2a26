/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_pci_rig: the rig of virtio_rig.h on PCI: ECAM, the BAR that enumeration found,
 * offsets from the capabilities, MSI-X.
 */
#ifndef TESTS_LIB_VIRTIO_PCI_RIG_H
#define TESTS_LIB_VIRTIO_PCI_RIG_H

#include "devices/pci/host.h"
#include "devices/virtio/pci.h"
#include "tests/lib/virtio_rig.h"

#define VPCI_ECAM   0xe8000000ull
#define VPCI_MMIO32 0xc0000000ull

enum { VPCI_SLOT = 1 };

struct vpci {
	struct rig m;
	struct fake_msi msi;
	struct pci_host host;
	struct virtio_pci dev;
	unsigned taken[1 + RIG_QUEUES]; /* messages of each vector that a test has seen */

	/* What enumeration found. */
	uint64_t bar, common, isr, device, notify;
	uint32_t multiplier, notify_len, device_len;
	unsigned msix_cap, window;
	uint64_t table, pba;
};

/* A rig of its own for each test, with ioeventfds and without, for cmocka. */
int vpci_setup(void **state);
int vpci_setup_trapped(void **state);
int vpci_teardown(void **state);

/* The guest's loads and stores: anywhere, and in the device's configuration space. */
uint64_t vpci_ld(struct vpci *r, uint64_t addr, unsigned size);
void vpci_st(struct vpci *r, uint64_t addr, unsigned size, uint64_t val);
uint64_t vpci_cfg_ld(struct vpci *r, unsigned reg, unsigned size);
void vpci_cfg_st(struct vpci *r, unsigned reg, unsigned size, uint64_t val);
uint64_t vpci_bar_address(struct vpci *r);

/* Walk the capability list [virtio 1.3 4.1.5.1.1]; gives a bit for each type seen. */
unsigned vpci_find_structures(struct vpci *r);
void vpci_enable_memory(struct vpci *r);
/* All of it up to DRIVER_OK. With `vectors`, configuration changes use vector 0 and
 * queue i vector i + 1, with message data 0x50 + vector. */
void vpci_bring_up(struct vpci *r, bool vectors);
uint64_t vpci_doorbell(struct vpci *r, unsigned queue);
/* Did a message with this datum arrive? */
bool vpci_delivered(struct vpci *r, uint32_t data);

#endif
