/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_mmio_rig: the rig of virtio_rig.h on MMIO: the registers' page at a fixed
 * address, one interrupt line, and a processor that can be held.
 */
#ifndef TESTS_LIB_VIRTIO_MMIO_RIG_H
#define TESTS_LIB_VIRTIO_MMIO_RIG_H

#include "devices/virtio/mmio.h"
#include "tests/lib/virtio_rig.h"

#define VMMIO_BASE 0xd0003000ull

enum { VMMIO_PIN = 19 };

/* Registers [virtio 1.3 4.2.2]. */
enum {
	VMMIO_MAGIC = 0x000,
	VMMIO_VERSION = 0x004,
	VMMIO_DEVICE_ID = 0x008,
	VMMIO_VENDOR_ID = 0x00c,
	VMMIO_DEVICE_FEATURES = 0x010,
	VMMIO_DEVICE_FEATURES_SEL = 0x014,
	VMMIO_DRIVER_FEATURES = 0x020,
	VMMIO_DRIVER_FEATURES_SEL = 0x024,
	VMMIO_QUEUE_SEL = 0x030,
	VMMIO_QUEUE_SIZE_MAX = 0x034,
	VMMIO_QUEUE_SIZE = 0x038,
	VMMIO_QUEUE_READY = 0x044,
	VMMIO_QUEUE_NOTIFY = 0x050,
	VMMIO_INTERRUPT_STATUS = 0x060,
	VMMIO_INTERRUPT_ACK = 0x064,
	VMMIO_STATUS = 0x070,
	VMMIO_QUEUE_DESC = 0x080,
	VMMIO_QUEUE_DRIVER = 0x090,
	VMMIO_QUEUE_DEVICE = 0x0a0,
	VMMIO_SHM_SEL = 0x0ac,
	VMMIO_SHM_LEN = 0x0b0,
	VMMIO_SHM_BASE = 0x0b8,
	VMMIO_QUEUE_RESET = 0x0c0,
	VMMIO_CONFIG_GENERATION = 0x0fc,
	VMMIO_CONFIG = 0x100,
};

struct vmmio {
	struct rig m;
	struct fake_irq irq;
	struct virtio_mmio dev;

	/* What the processor is held for; NULL: it is not. */
	bool (*held_until)(void *dev, unsigned timeout_ms);
	void *held_by;
	unsigned holds;
};

/* A rig of its own for each test, with ioeventfds and without, for cmocka. */
int vmmio_setup(void **state);
int vmmio_setup_trapped(void **state);
int vmmio_teardown(void **state);

/* The guest's loads and stores of the device's page; without a size, of a register. */
uint64_t vmmio_ld(struct vmmio *r, unsigned off, unsigned size);
void vmmio_st(struct vmmio *r, unsigned off, unsigned size, uint64_t val);
uint32_t vmmio_get(struct vmmio *r, unsigned reg);
void vmmio_set(struct vmmio *r, unsigned reg, uint32_t val);

bool vmmio_line(struct vmmio *r);
/* How often the line went up. */
unsigned vmmio_edges(struct vmmio *r);

#endif
