/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio.h"

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
#define VERSION_1 (1ull << 32)

static void add_status(const struct virtio_dev *d, uint8_t bits)
{
	d->bus->set_status(d, (uint8_t)(d->bus->status(d) | bits));
}

bool virtio_open(struct virtio_dev *d, unsigned type, uint64_t wanted)
{
	*d = (struct virtio_dev){.bus = acpi_table("MCFG") ? &virtio_on_pci : &virtio_on_mmio};
	if (!d->bus->find(d, type))
		return false;
	d->bus->set_status(d, 0);
	expect_equal(d->bus->status(d), 0);
	add_status(d, ACKNOWLEDGE);
	add_status(d, DRIVER);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t bits = d->bus->offered(d, i) & (uint32_t)((wanted | VERSION_1) >> 32 * i);

		d->bus->accept(d, i, bits);
		d->features |= (uint64_t)bits << (32 * i);
	}
	expect(d->features & VERSION_1);
	add_status(d, FEATURES_OK);
	expect(d->bus->status(d) & FEATURES_OK);
	return true;
}

void virtio_queue(struct virtio_dev *d, unsigned index, struct virtq *q, uint8_t vector)
{
	memset(q, 0, sizeof(*q));
	q->dev = d;
	q->index = index;
	d->bus->set_queue(d, q, vector);
}

void virtio_go(struct virtio_dev *d)
{
	add_status(d, DRIVER_OK);
}

void virtio_acknowledge(const struct virtio_dev *d)
{
	d->bus->acknowledge(d);
}

void virtio_offer(struct virtq *q, const struct virtio_buf *bufs, unsigned n)
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
	q->dev->bus->kick(q);
}

uint32_t virtio_request(struct virtq *q, const struct virtio_buf *bufs, unsigned n)
{
	virtio_offer(q, bufs, n);
	while (q->used.idx == q->seen)
		wait_for_interrupt();
	unsigned slot = q->seen++ % VIRTQ_SIZE;

	expect_equal(q->used.ring[slot].id, 0);
	return q->used.ring[slot].len;
}
