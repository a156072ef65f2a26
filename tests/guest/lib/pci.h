/* SPDX-License-Identifier: Apache-2.0 */
/* pci, virtio: enough of a bus walk and of a modern virtio-pci driver to move
 * data in a guest of one page. */
#ifndef TESTS_GUEST_LIB_PCI_H
#define TESTS_GUEST_LIB_PCI_H

#include "guest.h"

enum { PCI_SLOTS = 32, PCI_NONE = 0xffff };

/* Configuration space by ECAM (MCFG says where), bus 0, function 0. */
uint8_t pci_read8(unsigned slot, unsigned reg);
uint16_t pci_read16(unsigned slot, unsigned reg);
uint32_t pci_read32(unsigned slot, unsigned reg);
void pci_write8(unsigned slot, unsigned reg, uint8_t v);
void pci_write16(unsigned slot, unsigned reg, uint16_t v);
void pci_write32(unsigned slot, unsigned reg, uint32_t v);

/* Offset of the first capability with this id after `after` (0: from the start); 0
 * when there is none. */
unsigned pci_capability(unsigned slot, uint8_t id, unsigned after);

/* Where a memory BAR is, made addressable. */
uint64_t pci_bar(unsigned slot, unsigned bar);
/* Its size, by writing all ones [PCI 3.0 6.2.5.1]; decoding must be off. */
uint64_t pci_bar_size(unsigned slot, unsigned bar);

/* --- virtio ------------------------------------------------------------------- */

enum {
	VIRTIO_NET = 1,
	VIRTIO_BLK = 2,
	VIRTIO_RNG = 4,
	VIRTQ_SIZE = 8,
	VIRTQ_NEXT = 1,
	VIRTQ_WRITE = 2,
};

struct virtq {
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} desc[VIRTQ_SIZE];
	struct {
		uint16_t flags, idx, ring[VIRTQ_SIZE], used_event;
	} avail __attribute__((aligned(2)));
	struct {
		volatile uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[VIRTQ_SIZE];
		uint16_t avail_event;
	} used __attribute__((aligned(4)));
	uint64_t doorbell;
	uint16_t seen; /* used.idx as far as it was looked at */
} __attribute__((aligned(4096)));

struct virtio_dev {
	unsigned slot;
	uint64_t common, notify, isr, device; /* addresses of the four register blocks */
	uint32_t notify_multiplier;
	uint64_t msix_table;
	uint64_t features; /* negotiated */
};

/* Find the device of this type, reset it, negotiate VERSION_1 and what of `wanted` it
 * offers, and switch MSI-X on (all vectors masked at the device: none assigned). */
bool virtio_open(struct virtio_dev *d, unsigned type, uint64_t wanted);
/* Set up queue `index` in *q with its interrupts on `vector` (MSI-X entry = index). */
void virtio_queue(struct virtio_dev *d, unsigned index, struct virtq *q, uint8_t vector);
void virtio_go(struct virtio_dev *d); /* DRIVER_OK */

struct virtio_buf {
	const void *addr;
	uint32_t len;
	bool write; /* the device writes it */
};

/* Offer one chain as descriptors 0.., ring the bell, and sleep until an interrupt
 * says that it is used. Gives the length that the device wrote. */
uint32_t virtio_request(struct virtq *q, const struct virtio_buf *bufs, unsigned n);

#endif
