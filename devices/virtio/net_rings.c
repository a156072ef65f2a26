/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings, when the host's kernel serves them: net_rx.c and net_tx.c have nothing to do
 * then, and no frame, doorbell or interrupt costs this process anything.
 *
 * What those two judge, the kernel judges for itself: it drops a header that makes no sense,
 * and a frame without its whole header ends in on_broken(). Not judged is what only concerns
 * the guest: whether a frame that it sends was within the MTU and the offloads it negotiated.
 */
#include "devices/virtio/net_priv.h"

#include <errno.h>
#include <string.h>

_Static_assert((int)NET_RING_RX == VIRTIO_NET_RX && (int)NET_RING_TX == VIRTIO_NET_TX &&
		       (int)NET_RINGS == VIRTIO_NET_QUEUES,
	       "the rings are the queues");

/* Of what is given back, each `next` is set. */
static void reclaim(struct virtio_net *n, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		virtio_reclaim(&n->v, i, n->rings[i].next);
}

/* All of them, or none: 0 or a negative errno. */
static int lend(struct virtio_net *n)
{
	for (unsigned i = 0; i < NET_RINGS; i++) {
		struct virtio_loan loan;
		int ret = virtio_lend(&n->v, i, &loan);

		if (ret) {
			reclaim(n, i);
			return ret;
		}
		n->rings[i] = (struct net_ring){
			.size = loan.size,
			.next = loan.next,
			.desc = loan.desc,
			.avail = loan.avail,
			.used = loan.used,
			.kick = loan.kick,
			.call = loan.call,
		};
	}
	int ret = n->backend->ops->take_rings(n->backend, n->v.gm, n->v.features, n->rings);

	if (ret)
		reclaim(n, NET_RINGS);
	return ret;
}

void net_rings_lend(struct virtio_net *n)
{
	int ret;

	if (n->lent || !virtio_net_link(n) || !n->backend->ops->take_rings ||
	    !n->v.queues[VIRTIO_NET_RX].running || !n->v.queues[VIRTIO_NET_TX].running)
		return;
	net_rx_stop(n);
	net_tx_stop(n);
	n->wants = false;
	n->backend->ops->want(n->backend, false);
	ret = lend(n);
	if (ret) {
		log_debug("%s: frames take the way through this process: %s", n->v.name,
			  strerror(-ret));
		return;
	}
	n->lent = true;
	log_debug("%s: frames take the kernel's way", n->v.name);
	/* What was offered before it listened. */
	for (unsigned i = 0; i < NET_RINGS; i++)
		virtio_kick(&n->v, i);
}

void net_rings_reclaim(struct virtio_net *n)
{
	if (!n->lent)
		return;
	n->lent = false;
	n->backend->ops->give_rings(n->backend, n->rings);
	reclaim(n, NET_RINGS);
}
