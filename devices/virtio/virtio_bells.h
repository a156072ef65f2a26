/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_bells: the stores that kick a device's queues, for both transports. The first kick of a
 *queue is trapped, and has its doorbell attached: from then on a kick costs no exit. Not before, as
 *a doorbell is dear to make and to undo (KVM waits for a grace period of the host's kernel), and
 * machines that live for milliseconds, or whose driver moves its BARs about, kick few queues.
 *
 *	            mapped         first kick       unmapped
 *	(nowhere) ---------> trapped -------> attached ---------> (nowhere)
 *	                        ^  |
 *	                        +--+ the host has no more of them
 *
 * Kicks come from vCPU threads at the same time, mapping from whoever maps; one mutex.
 */
#ifndef DEVICES_VIRTIO_BELLS_H
#define DEVICES_VIRTIO_BELLS_H

#include "devices/virtio/virtio.h"
#include "vmm/core/irq.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct virtio_bells {
	struct virtio *v;
	struct doorbell doorbell;
	uint32_t stride;

	pthread_mutex_t lock; /* of: */
	bool mapped;
	uint64_t gpa;
	uint64_t asked, attached; /* queues; asked for since it was mapped */
};

/* Of v's queues (borrowed, initialised), mapped nowhere. *doorbell is copied; without `ops` every
 * kick is trapped. Queue i's is `stride` bytes x i behind the first; 0: all have one register, and
 * the value that is stored there is the queue. */
void virtio_bells_init(struct virtio_bells *b, struct virtio *v, const struct doorbell *doorbell,
		       uint32_t stride);
/* Gives all doorbells back. */
void virtio_bells_fini(struct virtio_bells *b);

/* The first of them lies at `gpa` now. Any thread. */
void virtio_bells_map(struct virtio_bells *b, uint64_t gpa);
/* None lies anywhere, and none is attached when this is back. Any thread. */
void virtio_bells_unmap(struct virtio_bells *b);

/* A trapped kick of queue `index`, which may be out of range and is nothing then. vCPU threads. */
void virtio_bells_kick(struct virtio_bells *b, unsigned index);

#endif
