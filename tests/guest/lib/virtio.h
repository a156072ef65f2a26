/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio: a modern driver that moves data in a guest of one page: one queue, one request
 * at a time. Over PCI where there is an MCFG, otherwise over the virtio-mmio devices that
 * the DSDT names; a guest does not see which.
 */
#ifndef TESTS_GUEST_LIB_VIRTIO_H
#define TESTS_GUEST_LIB_VIRTIO_H

#include "guest.h"

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
	const struct virtio_dev *dev;
	unsigned index;
	uint16_t seen; /* used.idx as far as it was looked at */
} __attribute__((aligned(4096)));

struct virtio_bus;

struct virtio_dev {
	const struct virtio_bus *bus;
	uint64_t device;   /* address of the type's configuration space */
	uint64_t features; /* negotiated */

	/* PCI */
	unsigned slot;
	uint64_t common, notify, isr; /* addresses of the register blocks */
	uint32_t notify_multiplier;
	uint64_t msix_table;

	/* MMIO */
	uint64_t regs;
	unsigned gsi;
};

/* What a bus does for the driver: its registers [virtio 1.3 4.1.4.3, 4.2.2]. */
struct virtio_bus {
	/* Find the first device of this type and make it addressable. */
	bool (*find)(struct virtio_dev *d, unsigned type);
	uint8_t (*status)(const struct virtio_dev *d);
	/* 0 comes back when the reset is complete. */
	void (*set_status)(const struct virtio_dev *d, uint8_t status);
	uint32_t (*offered)(const struct virtio_dev *d, uint32_t select);
	void (*accept)(const struct virtio_dev *d, uint32_t select, uint32_t bits);
	/* Tell where *q lies, q->index is; its interrupts on `vector`; enable it. */
	void (*set_queue)(const struct virtio_dev *d, struct virtq *q, uint8_t vector);
	void (*kick)(const struct virtq *q);
	/* In an interrupt handler: take the cause away; which it was (0: not asked). */
	uint32_t (*acknowledge)(const struct virtio_dev *d);
};

extern const struct virtio_bus virtio_on_pci, virtio_on_mmio;

/* Find the device of this type, reset it, negotiate VERSION_1 and what of `wanted` it
 * offers. */
bool virtio_open(struct virtio_dev *d, unsigned type, uint64_t wanted);
/* Set up queue `index` in *q with its interrupts on `vector`. On PCI that is MSI-X entry
 * `index`; on MMIO the device has one pin: edge-triggered, or with level=1 on the
 * command line level-triggered. */
void virtio_queue(struct virtio_dev *d, unsigned index, struct virtq *q, uint8_t vector);
void virtio_go(struct virtio_dev *d); /* DRIVER_OK */
/* Every handler of a device's interrupts calls this. */
void virtio_acknowledge(const struct virtio_dev *d);

struct virtio_buf {
	const void *addr;
	uint32_t len;
	bool write; /* the device writes it */
};

/* Offer one chain as descriptors 0.. and ring the bell. */
void virtio_offer(struct virtq *q, const struct virtio_buf *bufs, unsigned n);
/* The same, and sleep until an interrupt says that it is used. Gives the length that the
 * device wrote. */
uint32_t virtio_request(struct virtq *q, const struct virtio_buf *bufs, unsigned n);

#endif
