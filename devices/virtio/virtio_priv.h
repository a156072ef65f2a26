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

/* Read an eventfd: gives how often it rang. Any thread. */
uint64_t virtio_unring(int fd);
/* From here on the loop hears this doorbell: gives whether it could. Loop thread. */
bool virtio_watch_doorbell(struct virtio_doorbell *d);

#endif
