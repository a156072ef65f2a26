/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtq_driver: the driver's half of a split virtqueue and of the virtio
 * handshake, for tests. It is written from the specification and shares nothing
 * with devices/virtio/queue.c but struct guest_mem, so that the two can disagree.
 *
 * A chain may be framed in any way, and a hostile test writes the descriptors
 * and ring words one by one. Errors are cmocka failures.
 */
#ifndef TESTS_LIB_VIRTQ_DRIVER_H
#define TESTS_LIB_VIRTQ_DRIVER_H

#include "devices/virtio/virtio.h"

enum { VD_NEXT = 1, VD_WRITE = 2, VD_INDIRECT = 4 };

struct vd_buf {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

struct virtq_driver {
	struct guest_mem *gm;
	uint16_t size;
	uint64_t desc, avail, used; /* gpa */
	uint64_t end;               /* first address after the rings */
	uint16_t avail_idx, last_used;
	uint16_t next_desc; /* descriptors are handed out round and round */
};

/* Lay a ring of `size` out at `base` (4 KiB-aligned) and zero it. */
void virtq_driver_init(struct virtq_driver *d, struct guest_mem *gm, uint64_t base, uint16_t size);

/* One descriptor, raw; into any table. */
void virtq_driver_desc(struct virtq_driver *d, uint64_t table, uint16_t i, uint64_t addr,
		       uint32_t len, uint16_t flags, uint16_t next);
/* Put `head` into the avail ring and show it. */
void virtq_driver_avail(struct virtq_driver *d, uint16_t head);
/* Only the index, for those who cheat. */
void virtq_driver_set_avail_idx(struct virtq_driver *d, uint16_t idx);
void virtq_driver_set_avail_flags(struct virtq_driver *d, uint16_t flags);
void virtq_driver_set_used_event(struct virtq_driver *d, uint16_t event);
uint16_t virtq_driver_used_idx(const struct virtq_driver *d);
uint16_t virtq_driver_used_flags(const struct virtq_driver *d);
uint16_t virtq_driver_avail_event(const struct virtq_driver *d);

/* Offer a chain of `n` descriptors; gives its head. */
uint16_t virtq_driver_offer(struct virtq_driver *d, const struct vd_buf *bufs, unsigned n);
/* The same with the first `direct` buffers in the ring's own table and the rest in
 * an indirect one at `table`; `extra` flags go on the descriptor that refers to it. */
uint16_t virtq_driver_offer_indirect(struct virtq_driver *d, const struct vd_buf *bufs, unsigned n,
				     unsigned direct, uint64_t table, uint16_t extra);
/* Take the next used entry; false when there is none. */
bool virtq_driver_take_used(struct virtq_driver *d, uint32_t *id, uint32_t *len);

/* --- a device behind a transport that counts --------------------------------- */

struct fake_transport {
	unsigned queue_irqs[VIRTIO_QUEUES_MAX]; /* atomic, as the device's loop may be a thread */
	unsigned config_irqs;
};

void fake_transport_init(struct fake_transport *t, struct virtio *v);
unsigned fake_transport_irqs(struct fake_transport *t, unsigned queue);
unsigned fake_transport_config_irqs(struct fake_transport *t);

/* ACKNOWLEDGE, DRIVER, features, FEATURES_OK. Gives whether the device took them. */
bool virtio_driver_negotiate(struct virtio *v, uint64_t features);
/* Tell the device where queue `index` lies, and enable it. */
void virtio_driver_set_queue(struct virtio *v, unsigned index, const struct virtq_driver *d);
/* All of it up to DRIVER_OK, with n queues. */
void virtio_driver_start(struct virtio *v, uint64_t features, struct virtq_driver *queues,
			 unsigned n);

/* Run a loop that has no thread until what is ready has been served. */
void loop_settle(struct loop *l);

#endif
