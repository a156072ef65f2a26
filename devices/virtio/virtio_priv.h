/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the virtio core share. */
#ifndef DEVICES_VIRTIO_VIRTIO_PRIV_H
#define DEVICES_VIRTIO_VIRTIO_PRIV_H

#include "devices/virtio/virtio.h"

/* The bits a driver may set [virtio 1.3 2.1]. */
enum {
	VIRTIO_STATUS_DRIVER_BITS = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
				    VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_FEATURES_OK |
				    VIRTIO_STATUS_FAILED,
};

/* Does each bit come with those it needs [virtio 1.3 3.1.1]? */
bool virtio_status_in_order(uint8_t status);
/* A subset of what is offered that the device can work with? */
bool virtio_features_suit(struct virtio *v, uint64_t features);

/* Whose queue is it? */
static inline struct virtio_lane *virtio_lane_of(struct virtio *v, unsigned queue)
{
	return &v->lanes[queue % v->n_lanes];
}

/* Ring an eventfd, and read one: gives how often it rang. Any thread. */
void virtio_ring(int fd);
uint64_t virtio_unring(int fd);

/* An interrupt for a queue, or for the device's configuration. Any thread, without the lock. */
static inline void virtio_raise_queue(struct virtio *v, unsigned index)
{
	if (v->transport_ops)
		v->transport_ops->notify_queue(v->transport, index);
}

static inline void virtio_raise_config(struct virtio *v)
{
	if (v->transport_ops)
		v->transport_ops->notify_config(v->transport);
}

/* Lock held, phase ACTIVE, nobody serving: send each lane's queues to its loop. Gives whether
 * all could be told; if not, the driver is to be told of NEEDS_RESET. Any thread. */
bool virtio_hand_over_locked(struct virtio *v);
/* Lock held, no loop has anything of the device (or ever had): to its state at first. */
void virtio_reset_locked(struct virtio *v);
/* From here on the loop hears this doorbell: gives whether it could. Loop thread. */
bool virtio_watch_doorbell(struct virtio_doorbell *d);

#endif
