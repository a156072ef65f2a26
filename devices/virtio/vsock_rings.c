/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings of packets, when the host's kernel serves them: no byte, doorbell or interrupt costs
 * this process anything. The event queue is never lent: what there is to say, that the device was
 * restored, only we know.
 */
#include "devices/virtio/vsock_priv.h"

#include <assert.h>
#include <string.h>

_Static_assert((int)VIRTIO_VSOCK_RX == (int)VSOCK_RING_RX &&
		       (int)VIRTIO_VSOCK_TX == (int)VSOCK_RING_TX,
	       "a ring has its queue's number");

/* All of them, or none: 0 or a negative errno. */
static int lend(struct virtio_vsock *s)
{
	int ret = virtio_lend(&s->v, 0, VSOCK_RINGS, s->rings);

	if (ret)
		return ret;
	ret = s->backend->ops->take_rings(s->backend, s->v.gm, s->v.features, s->rings);
	if (ret)
		virtio_reclaim(&s->v, 0, VSOCK_RINGS, s->rings);
	return ret;
}

const char *vsock_rings_lend(struct virtio_vsock *s)
{
	int ret;

	/* Whoever saves changes has asked before whether all are noted. */
	assert(!guest_mem_is_logged(s->v.gm));
	/* A device that has failed is not served; its driver has to reset it. */
	if (virtio_failed(&s->v))
		return NULL;
	for (unsigned i = 0; i < VSOCK_RINGS; i++)
		if (!s->v.queues[i].running)
			return "not both of its queues for packets are set up";
	ret = lend(s);
	if (ret) {
		log_warn("%s: the host's kernel does not take its queues: %s", s->v.name,
			 strerror(-ret));
		return "the host's kernel does not serve it";
	}
	s->lent = true;
	/* What was offered before it listened. */
	for (unsigned i = 0; i < VSOCK_RINGS; i++)
		virtio_kick(&s->v, i);
	return NULL;
}

void vsock_rings_reclaim(struct virtio_vsock *s)
{
	if (!s->lent)
		return;
	s->lent = false;
	s->backend->ops->give_rings(s->backend, s->rings);
	virtio_reclaim(&s->v, 0, VSOCK_RINGS, s->rings);
}
