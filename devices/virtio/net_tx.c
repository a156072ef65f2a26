/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transmission [virtio 1.3 5.1.6.2]. A chain is a header and a frame, cut anywhere:
 *
 *	device reads:  struct virtio_net_hdr (12 bytes), the frame
 *
 * The header is copied and judged; the backend gets a new one with only those fields
 * that mean something, and the frame where it lies. What is wrong with a frame is the
 * guest's loss alone: it is dropped, and counts as sent. When the backend cannot take
 * a frame, its chain waits in hand and no other is popped. While the limit says so, none
 * is popped either.
 */
#include "devices/virtio/net_priv.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>

/* Of a TCP segment: what a host looks at first. */
enum { TCP_HEADER_MIN = 20, COMMON_HEADERS = 128 };

/* Fill *out from the wire's header, for a frame of `len` bytes. False: it makes no
 * sense. Fields that are not negotiated or not in use are not looked at
 * [virtio 1.3 5.1.6.2.2]. */
static bool judge(const struct virtio_net_pair *p, const uint8_t *wire, size_t len,
		  struct net_hdr *out)
{
	uint64_t features = p->n->v.features;
	uint8_t gso = wire[1];
	size_t headers = COMMON_HEADERS;

	*out = (struct net_hdr){.gso_type = NET_HDR_GSO_NONE};
	if (wire[0] & NET_HDR_F_NEEDS_CSUM && features & VIRTIO_NET_F_CSUM) {
		out->flags = NET_HDR_F_NEEDS_CSUM;
		out->csum_start = le16_get(wire + 6);
		out->csum_offset = le16_get(wire + 8);
		if ((size_t)out->csum_start + out->csum_offset + 2 > len)
			return false;
	}
	if ((gso & ~NET_HDR_GSO_ECN) != NET_HDR_GSO_NONE) {
		const struct net_gso *kind = net_gso_of(gso);

		if (!kind || !(features & kind->host) ||
		    (gso & NET_HDR_GSO_ECN && !(features & VIRTIO_NET_F_HOST_ECN)))
			return false;
		out->gso_type = gso;
		out->gso_size = le16_get(wire + 4);
		if (!out->gso_size || !out->flags)
			return false;
		headers = (size_t)out->csum_start + TCP_HEADER_MIN;
	} else if (!net_within_mtu(p->n, len)) {
		return false;
	}
	/* The driver's hdr_len is a hint that must not be trusted, and hosts want one:
	 * how much of the frame is worth having in one piece. */
	out->hdr_len = (uint16_t)(headers < len ? headers : len);
	return true;
}

/* Send or drop the chain in hand; false: the backend cannot take it yet. */
static bool send_chain(struct virtio_net_pair *p)
{
	struct virtq_chain *c = &p->tx_chain;
	uint8_t wire[VIRTIO_NET_HDR_LEN];
	struct net_hdr hdr;
	uint64_t len;
	int n_iov;

	if (virtq_chain_read(c, 0, wire, sizeof(wire)) != sizeof(wire))
		goto drop;
	len = c->read_len - sizeof(wire);
	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX || !judge(p, wire, len, &hdr))
		goto drop;
	if (!virtio_net_link(p->n))
		goto done;
	n_iov = virtq_chain_iov(c, false, sizeof(wire), len, p->tx_iov + 1, VIRTQ_SEGS_MAX);
	assert(n_iov > 0); /* the chain has these bytes, and no more segments than this */
	if (p->backend->ops->send(p->backend, &hdr, p->tx_iov, n_iov + 1, len) == -EAGAIN)
		return false;
	net_count_frame(p->n, NET_RING_TX, len);
	goto done;
drop:
	log_guest(&p->n->complaints, "%s: a frame without sense was dropped", p->n->v.name);
done:
	virtq_push(&p->n->v.queues[tx_queue(p)], c->head, 0);
	return true;
}

/* The driver need not ring meanwhile. */
static bool must_wait(struct virtio_net_pair *p)
{
	if (!rate_limit_on(&p->n->limits[NET_RING_TX]) || !net_must_wait(p->n, NET_RING_TX))
		return false;
	virtq_disable_kick(&p->n->v.queues[tx_queue(p)]);
	return true;
}

void net_tx_run(struct virtio_net_pair *p)
{
	unsigned taken = 0;

	while (!p->tx_waits && !must_wait(p) &&
	       virtio_pop(&p->n->v, tx_queue(p), &taken, &p->tx_chain))
		p->tx_waits = !send_chain(p);
	virtio_publish(&p->n->v, tx_queue(p));
}

void net_tx_resume(struct virtio_net_pair *p)
{
	if (!p->tx_waits || virtio_failed(&p->n->v) || !send_chain(p))
		return;
	p->tx_waits = false;
	net_tx_run(p);
}

void net_tx_stop(struct virtio_net_pair *p)
{
	if (p->tx_waits && !virtio_failed(&p->n->v))
		virtq_unpop(&p->n->v.queues[tx_queue(p)], p->tx_chain.head);
	p->tx_waits = false;
}
