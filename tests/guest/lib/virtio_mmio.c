/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over MMIO: one page of registers and one pin of the I/O APIC, both named in the
 * DSDT [virtio 1.3 4.2]. */
#include "virtio.h"

enum {
	MAGIC_VALUE = 0x000,
	VERSION = 0x004,
	DEVICE_ID = 0x008,
	DEVICE_FEATURES = 0x010,
	DEVICE_FEATURES_SEL = 0x014,
	DRIVER_FEATURES = 0x020,
	DRIVER_FEATURES_SEL = 0x024,
	QUEUE_SEL = 0x030,
	QUEUE_SIZE_MAX = 0x034,
	QUEUE_SIZE = 0x038,
	QUEUE_READY = 0x044,
	QUEUE_NOTIFY = 0x050,
	INTERRUPT_STATUS = 0x060,
	INTERRUPT_ACK = 0x064,
	STATUS = 0x070,
	QUEUE_DESC = 0x080,
	QUEUE_DRIVER = 0x090,
	QUEUE_DEVICE = 0x0a0,
	CONFIG = 0x100,
};

static const uint8_t *look_for(const uint8_t *at, const uint8_t *end, const char *bytes, size_t n)
{
	for (; at + n <= end; at++)
		if (!memcmp(at, bytes, n))
			return at;
	return NULL;
}

static const uint8_t *dsdt(const uint8_t **end)
{
	enum { DSDT = 40, X_DSDT = 140, LENGTH = 4, FADT_WITH_X_DSDT = 148 };
	const uint8_t *fadt = acpi_table("FACP");

	expect(fadt);
	uint64_t at = read32((uint64_t)fadt + LENGTH) >= FADT_WITH_X_DSDT
			      ? read64((uint64_t)fadt + X_DSDT)
			      : 0;

	if (!at)
		at = read32((uint64_t)fadt + DSDT);
	*end = (const uint8_t *)at + read32(at + LENGTH);
	return (const uint8_t *)at;
}

/* No interpreter: the id, and behind it the two resource descriptors that such a device
 * has, Memory32Fixed and Extended Interrupt [ACPI 6.5 6.4.3]. */
static bool find(struct virtio_dev *d, unsigned type)
{
	enum { BASE = 4, GSI = 5, NEAR = 100 };
	const uint8_t *end, *at = dsdt(&end);

	while ((at = look_for(at, end, "LNRO0005", 9))) {
		const uint8_t *until = at + NEAR < end ? at + NEAR : end;
		const uint8_t *memory = look_for(at, until, "\x86\x09\x00", 3);
		const uint8_t *irq = look_for(at, until, "\x89\x06\x00", 3);

		expect(memory && irq);
		d->regs = read32((uint64_t)memory + BASE);
		d->gsi = read32((uint64_t)irq + GSI);
		d->device = d->regs + CONFIG;
		expect_equal(read32(d->regs + MAGIC_VALUE), 0x74726976);
		expect_equal(read32(d->regs + VERSION), 2);
		if (read32(d->regs + DEVICE_ID) == type)
			return true;
		at++;
	}
	return false;
}

static uint8_t status(const struct virtio_dev *d)
{
	return (uint8_t)read32(d->regs + STATUS);
}

/* No polling: the reset is complete when the store is. */
static void set_status(const struct virtio_dev *d, uint8_t val)
{
	write32(d->regs + STATUS, val);
}

static uint32_t offered(const struct virtio_dev *d, uint32_t select)
{
	write32(d->regs + DEVICE_FEATURES_SEL, select);
	return read32(d->regs + DEVICE_FEATURES);
}

static void accept(const struct virtio_dev *d, uint32_t select, uint32_t bits)
{
	write32(d->regs + DRIVER_FEATURES_SEL, select);
	write32(d->regs + DRIVER_FEATURES, bits);
}

static void set_queue(const struct virtio_dev *d, struct virtq *q, uint8_t vector)
{
	ioapic_route(d->gsi, vector, option("level", 0));
	write32(d->regs + QUEUE_SEL, q->index);
	expect_equal(read32(d->regs + QUEUE_READY), 0);
	expect(read32(d->regs + QUEUE_SIZE_MAX) >= VIRTQ_SIZE);
	write32(d->regs + QUEUE_SIZE, VIRTQ_SIZE);
	write32(d->regs + QUEUE_DESC, (uint32_t)(uint64_t)&q->desc);
	write32(d->regs + QUEUE_DESC + 4, 0);
	write32(d->regs + QUEUE_DRIVER, (uint32_t)(uint64_t)&q->avail);
	write32(d->regs + QUEUE_DRIVER + 4, 0);
	write32(d->regs + QUEUE_DEVICE, (uint32_t)(uint64_t)&q->used);
	write32(d->regs + QUEUE_DEVICE + 4, 0);
	write32(d->regs + QUEUE_READY, 1);
	expect_equal(read32(d->regs + QUEUE_READY), 1);
}

static void kick(const struct virtq *q)
{
	write32(q->dev->regs + QUEUE_NOTIFY, q->index);
}

static uint32_t acknowledge(const struct virtio_dev *d)
{
	uint32_t causes = read32(d->regs + INTERRUPT_STATUS);

	write32(d->regs + INTERRUPT_ACK, causes);
	return causes;
}

const struct virtio_bus virtio_on_mmio = {
	.find = find,
	.status = status,
	.set_status = set_status,
	.offered = offered,
	.accept = accept,
	.set_queue = set_queue,
	.kick = kick,
	.acknowledge = acknowledge,
};
