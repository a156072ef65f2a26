/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over PCI: the registers are where the vendor capabilities say, interrupts are
 * MSI-X [virtio 1.3 4.1]. */
#include "pci.h"
#include "virtio.h"

enum {
	PCI_COMMAND = 0x04,
	COMMAND_MEMORY = 2,
	COMMAND_MASTER = 4,
	CAP_VENDOR = 0x09,
	CAP_MSIX = 0x11,

	DEVICE_FEATURE_SELECT = 0x00,
	DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	DEVICE_STATUS = 0x14,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_MSIX_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
};

static void locate(struct virtio_dev *d)
{
	for (unsigned cap = 0; (cap = pci_capability(d->slot, CAP_VENDOR, cap));) {
		uint8_t type = pci_read8(d->slot, cap + 3);

		if (type < 1 || type > 4)
			continue;
		uint64_t at = pci_bar(d->slot, pci_read8(d->slot, cap + 4)) +
			      pci_read32(d->slot, cap + 8);

		switch (type) {
		case 1:
			d->common = at;
			break;
		case 2:
			d->notify = at;
			d->notify_multiplier = pci_read32(d->slot, cap + 16);
			break;
		case 3:
			d->isr = at;
			break;
		case 4:
			d->device = at;
			break;
		}
	}
	expect(d->common && d->notify && d->isr);
	unsigned msix = pci_capability(d->slot, CAP_MSIX, 0);

	expect(msix);
	uint32_t table = pci_read32(d->slot, msix + 4);

	d->msix_table = pci_bar(d->slot, table & 7) + (table & ~7u);
	pci_write16(d->slot, msix + 2, 0x8000); /* enabled */
}

static bool find(struct virtio_dev *d, unsigned type)
{
	while (d->slot < PCI_SLOTS && pci_read32(d->slot, 0) != ((0x1040u + type) << 16 | 0x1af4))
		d->slot++;
	if (d->slot == PCI_SLOTS)
		return false;
	pci_write16(d->slot, PCI_COMMAND, COMMAND_MEMORY | COMMAND_MASTER);
	locate(d);
	return true;
}

static uint8_t status(const struct virtio_dev *d)
{
	return read8(d->common + DEVICE_STATUS);
}

static void set_status(const struct virtio_dev *d, uint8_t val)
{
	write8(d->common + DEVICE_STATUS, val);
	for (unsigned ms = 0; !val && status(d); ms++) {
		expect(ms < 2000);
		delay_ms(1);
	}
}

static uint32_t offered(const struct virtio_dev *d, uint32_t select)
{
	write32(d->common + DEVICE_FEATURE_SELECT, select);
	return read32(d->common + DEVICE_FEATURE);
}

static void accept(const struct virtio_dev *d, uint32_t select, uint32_t bits)
{
	write32(d->common + DRIVER_FEATURE_SELECT, select);
	write32(d->common + DRIVER_FEATURE, bits);
}

static void set_queue(const struct virtio_dev *d, struct virtq *q, uint8_t vector)
{
	enum { ENTRY = 16 };
	uint64_t entry = d->msix_table + q->index * ENTRY;

	/* Message to the processor with APIC id 0, fixed, edge [SDM 3A 10.11]. */
	write32(entry, 0xfee00000);
	write32(entry + 4, 0);
	write32(entry + 8, vector);
	write32(entry + 12, 0);

	write16(d->common + QUEUE_SELECT, (uint16_t)q->index);
	expect(read16(d->common + QUEUE_SIZE) >= VIRTQ_SIZE);
	write16(d->common + QUEUE_SIZE, VIRTQ_SIZE);
	write16(d->common + QUEUE_MSIX_VECTOR, (uint16_t)q->index);
	expect_equal(read16(d->common + QUEUE_MSIX_VECTOR), q->index);
	/* Two halves: 64-bit fields may be written so [virtio 1.3 4.1.3.1]. */
	write32(d->common + QUEUE_DESC, (uint32_t)(uint64_t)&q->desc);
	write32(d->common + QUEUE_DESC + 4, 0);
	write32(d->common + QUEUE_DRIVER, (uint32_t)(uint64_t)&q->avail);
	write32(d->common + QUEUE_DRIVER + 4, 0);
	write32(d->common + QUEUE_DEVICE, (uint32_t)(uint64_t)&q->used);
	write32(d->common + QUEUE_DEVICE + 4, 0);
	write16(d->common + QUEUE_ENABLE, 1);
}

static void kick(const struct virtq *q)
{
	const struct virtio_dev *d = q->dev;

	write16(d->common + QUEUE_SELECT, (uint16_t)q->index);
	write16(d->notify + read16(d->common + QUEUE_NOTIFY_OFF) * d->notify_multiplier,
		(uint16_t)q->index);
}

/* A message says all there is to say. */
static uint32_t acknowledge(const struct virtio_dev *d)
{
	return 0;
}

const struct virtio_bus virtio_on_pci = {
	.find = find,
	.status = status,
	.set_status = set_status,
	.offered = offered,
	.accept = accept,
	.set_queue = set_queue,
	.kick = kick,
	.acknowledge = acknowledge,
};
