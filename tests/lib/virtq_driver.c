/* SPDX-License-Identifier: Apache-2.0 */
/* Ring layout as in [virtio 1.3 2.7.5 to 2.7.8]. Stores that the device may read
 * at the same time are atomic, as a guest's would be. */
#include "tests/lib/virtq_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void put16(struct virtq_driver *d, uint64_t gpa, uint16_t val)
{
	uint16_t *p = guest_mem_hva(d->gm, gpa, 2);

	assert_non_null(p);
	__atomic_store_n(p, val, __ATOMIC_SEQ_CST);
}

static uint16_t get16(const struct virtq_driver *d, uint64_t gpa)
{
	uint16_t *p = guest_mem_hva(d->gm, gpa, 2);

	assert_non_null(p);
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

void virtq_driver_init(struct virtq_driver *d, struct guest_mem *gm, uint64_t base, uint16_t size)
{
	*d = (struct virtq_driver){.gm = gm, .size = size, .desc = base};
	d->avail = d->desc + 16ull * size;
	d->used = (d->avail + 6 + 2ull * size + 3) & ~3ull;
	d->end = (d->used + 6 + 8ull * size + 4095) & ~4095ull;

	void *p = guest_mem_hva(gm, base, d->end - base);

	assert_non_null(p);
	memset(p, 0, d->end - base);
}

void virtq_driver_desc(struct virtq_driver *d, uint64_t table, uint16_t i, uint64_t addr,
		       uint32_t len, uint16_t flags, uint16_t next)
{
	uint8_t *p = guest_mem_hva(d->gm, table + 16ull * i, 16);
	uint64_t w[2] = {addr, len | (uint64_t)flags << 32 | (uint64_t)next << 48};

	assert_non_null(p);
	if ((uintptr_t)p % 8) {
		memcpy(p, w, sizeof(w));
		return;
	}
	__atomic_store_n((uint64_t *)(void *)p, w[0], __ATOMIC_RELAXED);
	__atomic_store_n((uint64_t *)(void *)(p + 8), w[1], __ATOMIC_RELAXED);
}

void virtq_driver_set_avail_idx(struct virtq_driver *d, uint16_t idx)
{
	d->avail_idx = idx;
	put16(d, d->avail + 2, idx);
}

void virtq_driver_avail(struct virtq_driver *d, uint16_t head)
{
	put16(d, d->avail + 4 + 2ull * (d->avail_idx % d->size), head);
	virtq_driver_set_avail_idx(d, d->avail_idx + 1);
}

void virtq_driver_set_avail_flags(struct virtq_driver *d, uint16_t flags)
{
	put16(d, d->avail, flags);
}

void virtq_driver_set_used_event(struct virtq_driver *d, uint16_t event)
{
	put16(d, d->avail + 4 + 2ull * d->size, event);
}

uint16_t virtq_driver_used_idx(const struct virtq_driver *d)
{
	return get16(d, d->used + 2);
}

uint16_t virtq_driver_used_flags(const struct virtq_driver *d)
{
	return get16(d, d->used);
}

uint16_t virtq_driver_avail_event(const struct virtq_driver *d)
{
	return get16(d, d->used + 4 + 8ull * d->size);
}

uint16_t virtq_driver_offer(struct virtq_driver *d, const struct vd_buf *bufs, unsigned n)
{
	return virtq_driver_offer_indirect(d, bufs, n, n, 0, 0);
}

uint16_t virtq_driver_offer_indirect(struct virtq_driver *d, const struct vd_buf *bufs, unsigned n,
				     unsigned direct, uint64_t table, uint16_t extra)
{
	uint16_t head = d->next_desc, in_ring = direct + (direct < n);

	for (unsigned i = 0; i < in_ring; i++) {
		uint16_t at = d->next_desc, next = (at + 1) % d->size;
		uint16_t more = i + 1 < in_ring ? VD_NEXT : 0;

		if (i < direct)
			virtq_driver_desc(d, d->desc, at, bufs[i].gpa, bufs[i].len,
					  more | (bufs[i].write ? VD_WRITE : 0), next);
		else
			virtq_driver_desc(d, d->desc, at, table, 16 * (n - direct),
					  VD_INDIRECT | extra, 0);
		d->next_desc = next;
	}
	for (unsigned i = direct; i < n; i++)
		virtq_driver_desc(d, table, i - direct, bufs[i].gpa, bufs[i].len,
				  (i + 1 < n ? VD_NEXT : 0) | (bufs[i].write ? VD_WRITE : 0),
				  i - direct + 1);
	virtq_driver_avail(d, head);
	return head;
}

bool virtq_driver_take_used(struct virtq_driver *d, uint32_t *id, uint32_t *len)
{
	uint64_t elem = d->used + 4 + 8ull * (d->last_used % d->size);
	uint32_t *p = guest_mem_hva(d->gm, elem, 8);

	if (virtq_driver_used_idx(d) == d->last_used)
		return false;
	*id = __atomic_load_n(&p[0], __ATOMIC_RELAXED);
	*len = __atomic_load_n(&p[1], __ATOMIC_RELAXED);
	d->last_used++;
	return true;
}

/* --- the handshake ---------------------------------------------------------------- */

static void count_queue(void *transport, unsigned index)
{
	struct fake_transport *t = transport;

	__atomic_add_fetch(&t->queue_irqs[index], 1, __ATOMIC_SEQ_CST);
}

static void count_config(void *transport)
{
	struct fake_transport *t = transport;

	__atomic_add_fetch(&t->config_irqs, 1, __ATOMIC_SEQ_CST);
}

static const struct virtio_transport_ops counting = {
	.notify_queue = count_queue,
	.notify_config = count_config,
};

void fake_transport_init(struct fake_transport *t, struct virtio *v)
{
	memset(t, 0, sizeof(*t));
	virtio_set_transport(v, &counting, t);
}

unsigned fake_transport_irqs(struct fake_transport *t, unsigned queue)
{
	return __atomic_load_n(&t->queue_irqs[queue], __ATOMIC_SEQ_CST);
}

unsigned fake_transport_config_irqs(struct fake_transport *t)
{
	return __atomic_load_n(&t->config_irqs, __ATOMIC_SEQ_CST);
}

bool virtio_driver_negotiate(struct virtio *v, uint64_t features)
{
	virtio_set_status(v, 1);
	virtio_set_status(v, 1 | 2);
	virtio_set_driver_features(v, 0, (uint32_t)features);
	virtio_set_driver_features(v, 1, (uint32_t)(features >> 32));
	virtio_set_status(v, 1 | 2 | 8);
	return virtio_status(v) == (1 | 2 | 8);
}

void virtio_driver_set_queue(struct virtio *v, unsigned index, const struct virtq_driver *d)
{
	virtio_queue_set(v, index, VIRTIO_QUEUE_SIZE, d->size);
	virtio_queue_set(v, index, VIRTIO_QUEUE_DESC_LO, (uint32_t)d->desc);
	virtio_queue_set(v, index, VIRTIO_QUEUE_DESC_HI, (uint32_t)(d->desc >> 32));
	virtio_queue_set(v, index, VIRTIO_QUEUE_AVAIL_LO, (uint32_t)d->avail);
	virtio_queue_set(v, index, VIRTIO_QUEUE_AVAIL_HI, (uint32_t)(d->avail >> 32));
	virtio_queue_set(v, index, VIRTIO_QUEUE_USED_LO, (uint32_t)d->used);
	virtio_queue_set(v, index, VIRTIO_QUEUE_USED_HI, (uint32_t)(d->used >> 32));
	virtio_queue_set(v, index, VIRTIO_QUEUE_ENABLE, 1);
}

void virtio_driver_start(struct virtio *v, uint64_t features, struct virtq_driver *queues,
			 unsigned n)
{
	assert_true(virtio_driver_negotiate(v, features));
	for (unsigned i = 0; i < n; i++)
		virtio_driver_set_queue(v, i, &queues[i]);
	virtio_set_status(v, 1 | 2 | 8 | 4);
}

void loop_settle(struct loop *l)
{
	for (int turn = 0; turn < 8; turn++) {
		loop_stop(l);
		loop_run(l);
	}
}
