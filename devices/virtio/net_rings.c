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

/* All of them, or none: 0 or a negative errno. */
static int lend(struct virtio_net_pair *p)
{
	int ret = virtio_lend(&p->n->v, p->queue, NET_RINGS, p->rings);

	if (ret)
		return ret;
	ret = p->backend->ops->take_rings(p->backend, p->n->v.gm, p->n->v.features, p->rings);
	if (ret)
		virtio_reclaim(&p->n->v, p->queue, NET_RINGS, p->rings);
	return ret;
}

void net_rings_lend(struct virtio_net_pair *p)
{
	int ret;

	if (p->lent || !net_may_lend(p->n) || !p->backend->ops->take_rings ||
	    !p->n->v.queues[rx_queue(p)].running || !p->n->v.queues[tx_queue(p)].running)
		return;
	net_rx_stop(p);
	net_tx_stop(p);
	p->wants = false;
	p->backend->ops->want(p->backend, false);
	ret = lend(p);
	if (ret) {
		log_debug("%s: frames take the way through this process: %s", p->n->v.name,
			  strerror(-ret));
		return;
	}
	p->lent = true;
	log_debug("%s: frames take the kernel's way", p->n->v.name);
	/* What was offered before it listened. */
	for (unsigned i = 0; i < NET_RINGS; i++)
		virtio_kick(&p->n->v, p->queue + i);
}

void net_rings_reclaim(struct virtio_net_pair *p)
{
	if (!p->lent)
		return;
	p->lent = false;
	p->backend->ops->give_rings(p->backend, p->rings);
	virtio_reclaim(&p->n->v, p->queue, NET_RINGS, p->rings);
}
