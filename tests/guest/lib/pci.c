/* SPDX-License-Identifier: Apache-2.0 */
#include "pci.h"

enum {
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_BAR0 = 0x10,
	PCI_CAPABILITIES = 0x34,
	COMMAND_MEMORY = 2,
	COMMAND_MASTER = 4,
	STATUS_CAPABILITIES = 0x10,
	CAP_VENDOR = 0x09,
	CAP_MSIX = 0x11,
};

static uint64_t config(unsigned slot, unsigned reg)
{
	static uint64_t ecam;

	if (!ecam) {
		const uint8_t *mcfg = acpi_table("MCFG");

		expect(mcfg);
		ecam = read64((uint64_t)mcfg + 44);
		map_high(ecam, 1 << 20);
	}
	return ecam + (slot << 15) + reg;
}

uint8_t pci_read8(unsigned slot, unsigned reg)
{
	return read8(config(slot, reg));
}

uint16_t pci_read16(unsigned slot, unsigned reg)
{
	return read16(config(slot, reg));
}

uint32_t pci_read32(unsigned slot, unsigned reg)
{
	return read32(config(slot, reg));
}

void pci_write8(unsigned slot, unsigned reg, uint8_t v)
{
	write8(config(slot, reg), v);
}

void pci_write16(unsigned slot, unsigned reg, uint16_t v)
{
	write16(config(slot, reg), v);
}

void pci_write32(unsigned slot, unsigned reg, uint32_t v)
{
	write32(config(slot, reg), v);
}

unsigned pci_capability(unsigned slot, uint8_t id, unsigned after)
{
	unsigned at = after ? pci_read8(slot, after + 1) : 0;

	if (!after && pci_read16(slot, PCI_STATUS) & STATUS_CAPABILITIES)
		at = pci_read8(slot, PCI_CAPABILITIES);
	for (unsigned n = 0; at && n < 48; n++, at = pci_read8(slot, at + 1))
		if (pci_read8(slot, at) == id)
			return at;
	return 0;
}

uint64_t pci_bar(unsigned slot, unsigned bar)
{
	unsigned reg = PCI_BAR0 + bar * 4;
	uint64_t low = pci_read32(slot, reg), addr = low & ~0xfull;

	expect(!(low & 1)); /* a memory BAR */
	if ((low & 6) == 4)
		addr |= (uint64_t)pci_read32(slot, reg + 4) << 32;
	expect(addr);
	map_high(addr, 4096);
	return addr;
}

uint64_t pci_bar_size(unsigned slot, unsigned bar)
{
	unsigned reg = PCI_BAR0 + bar * 4;
	uint32_t low = pci_read32(slot, reg), high;
	uint64_t mask;

	pci_write32(slot, reg, 0xffffffff);
	mask = pci_read32(slot, reg) & ~0xfu;
	pci_write32(slot, reg, low);
	if ((low & 6) != 4)
		return mask ? (uint32_t)~mask + 1ull : 0;
	high = pci_read32(slot, reg + 4);
	pci_write32(slot, reg + 4, 0xffffffff);
	mask |= (uint64_t)pci_read32(slot, reg + 4) << 32;
	pci_write32(slot, reg + 4, high);
	return ~mask + 1;
}

/* --- virtio ------------------------------------------------------------------------ */

/* [virtio 1.3 4.1.4.3] */
enum {
	DEVICE_FEATURE_SELECT = 0x00,
	DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_MSIX_VECTOR = 0x10,
	DEVICE_STATUS = 0x14,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_MSIX_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,

	ACKNOWLEDGE = 1,
	DRIVER = 2,
	DRIVER_OK = 4,
	FEATURES_OK = 8,
};
#define VERSION_1 (1ull << 32)

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

static void set_status(struct virtio_dev *d, uint8_t bits)
{
	write8(d->common + DEVICE_STATUS, (uint8_t)(read8(d->common + DEVICE_STATUS) | bits));
}

bool virtio_open(struct virtio_dev *d, unsigned type, uint64_t wanted)
{
	unsigned slot = 0;

	while (slot < PCI_SLOTS && pci_read32(slot, 0) != ((0x1040u + type) << 16 | 0x1af4))
		slot++;
	if (slot == PCI_SLOTS)
		return false;
	*d = (struct virtio_dev){.slot = slot};
	pci_write16(slot, PCI_COMMAND, COMMAND_MEMORY | COMMAND_MASTER);
	locate(d);

	write8(d->common + DEVICE_STATUS, 0);
	for (unsigned ms = 0; read8(d->common + DEVICE_STATUS); ms++) {
		expect(ms < 2000);
		delay_ms(1);
	}
	set_status(d, ACKNOWLEDGE);
	set_status(d, DRIVER);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t offered;

		write32(d->common + DEVICE_FEATURE_SELECT, i);
		offered = read32(d->common + DEVICE_FEATURE);
		offered &= (uint32_t)((wanted | VERSION_1) >> (32 * i));
		write32(d->common + DRIVER_FEATURE_SELECT, i);
		write32(d->common + DRIVER_FEATURE, offered);
		d->features |= (uint64_t)offered << (32 * i);
	}
	expect(d->features & VERSION_1);
	set_status(d, FEATURES_OK);
	expect(read8(d->common + DEVICE_STATUS) & FEATURES_OK);
	return true;
}

void virtio_queue(struct virtio_dev *d, unsigned index, struct virtq *q, uint8_t vector)
{
	enum { ENTRY = 16 };
	uint64_t entry = d->msix_table + index * ENTRY;

	/* Message to the processor with APIC id 0, fixed, edge [SDM 3A 10.11]. */
	write32(entry, 0xfee00000);
	write32(entry + 4, 0);
	write32(entry + 8, vector);
	write32(entry + 12, 0);

	memset(q, 0, sizeof(*q));
	write16(d->common + QUEUE_SELECT, (uint16_t)index);
	expect(read16(d->common + QUEUE_SIZE) >= VIRTQ_SIZE);
	write16(d->common + QUEUE_SIZE, VIRTQ_SIZE);
	write16(d->common + QUEUE_MSIX_VECTOR, (uint16_t)index);
	expect_equal(read16(d->common + QUEUE_MSIX_VECTOR), index);
	/* Two halves: 64-bit fields may be written so [virtio 1.3 4.1.3.1]. */
	write32(d->common + QUEUE_DESC, (uint32_t)(uint64_t)&q->desc);
	write32(d->common + QUEUE_DESC + 4, 0);
	write32(d->common + QUEUE_DRIVER, (uint32_t)(uint64_t)&q->avail);
	write32(d->common + QUEUE_DRIVER + 4, 0);
	write32(d->common + QUEUE_DEVICE, (uint32_t)(uint64_t)&q->used);
	write32(d->common + QUEUE_DEVICE + 4, 0);
	q->doorbell = d->notify + read16(d->common + QUEUE_NOTIFY_OFF) * d->notify_multiplier;
	write16(d->common + QUEUE_ENABLE, 1);
}

void virtio_go(struct virtio_dev *d)
{
	set_status(d, DRIVER_OK);
}

uint32_t virtio_request(struct virtq *q, const struct virtio_buf *bufs, unsigned n)
{
	expect(n && n <= VIRTQ_SIZE);
	for (unsigned i = 0; i < n; i++) {
		q->desc[i].addr = (uint64_t)bufs[i].addr;
		q->desc[i].len = bufs[i].len;
		q->desc[i].flags = (uint16_t)((bufs[i].write ? VIRTQ_WRITE : 0) |
					      (i + 1 < n ? VIRTQ_NEXT : 0));
		q->desc[i].next = (uint16_t)(i + 1);
	}
	q->avail.ring[q->avail.idx % VIRTQ_SIZE] = 0;
	__atomic_store_n(&q->avail.idx, (uint16_t)(q->avail.idx + 1), __ATOMIC_SEQ_CST);
	write16(q->doorbell, 0);
	while (q->used.idx == q->seen)
		wait_for_interrupt();
	unsigned slot = q->seen++ % VIRTQ_SIZE;

	expect_equal(q->used.ring[slot].id, 0);
	return q->used.ring[slot].len;
}
