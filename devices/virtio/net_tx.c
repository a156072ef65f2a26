/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transmission [virtio 1.3 5.1.6.2]. A chain is a header and a frame, cut anywhere:
 *
 *	device reads:  struct virtio_net_hdr (12 bytes), the frame
 *
 * The header is copied and judged; the backend gets a new one with only those fields
 * that mean something, and the frame where it lies. What is wrong with a frame is the
 * guest's loss alone: it is dropped, and counts as sent. When the backend cannot take
 * a frame, its chain waits in hand and no other is popped.
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
static bool judge(const struct virtio_net *n, const uint8_t *wire, size_t len, struct net_hdr *out)
{
	uint64_t features = n->v.features;
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
		uint64_t needs = net_gso_feature(gso & ~NET_HDR_GSO_ECN, VIRTIO_NET_F_HOST_TSO4,
						 VIRTIO_NET_F_HOST_TSO6);

		if (gso & NET_HDR_GSO_ECN)
			needs = needs ? needs | VIRTIO_NET_F_HOST_ECN : 0;
		out->gso_type = gso;
		out->gso_size = le16_get(wire + 4);
		if (!needs || (features & needs) != needs || !out->gso_size || !out->flags)
			return false;
		headers = (size_t)out->csum_start + TCP_HEADER_MIN;
	} else if (!net_within_mtu(n, len)) {
		return false;
	}
	/* The driver's hdr_len is a hint that must not be trusted, and hosts want one:
	 * how much of the frame is worth having in one piece. */
	out->hdr_len = (uint16_t)(headers < len ? headers : len);
	return true;
}

/* Send or drop the chain in hand; false: the backend cannot take it yet. */
static bool send_chain(struct virtio_net *n)
{
	struct virtq_chain *c = &n->tx_chain;
	uint8_t wire[VIRTIO_NET_HDR_LEN];
	struct net_hdr hdr;
	uint64_t len;
	int n_iov;

	if (virtq_chain_read(c, 0, wire, sizeof(wire)) != sizeof(wire))
		goto drop;
	len = c->read_len - sizeof(wire);
	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX || !judge(n, wire, len, &hdr))
		goto drop;
	if (!virtio_net_link(n))
		goto done;
	n_iov = virtq_chain_iov(c, false, sizeof(wire), len, n->tx_iov + 1, VIRTQ_SEGS_MAX);
	assert(n_iov > 0); /* the chain has these bytes, and no more segments than this */
	if (n->backend->ops->send(n->backend, &hdr, n->tx_iov, n_iov + 1, len) == -EAGAIN)
		return false;
	goto done;
drop:
	log_guest(&n->complaints, "%s: a frame without sense was dropped", n->v.name);
done:
	virtq_push(&n->v.queues[VIRTIO_NET_TX], c->head, 0);
	return true;
}

void net_tx_run(struct virtio_net *n)
{
	unsigned taken = 0;

	while (!n->tx_waits && virtio_pop(&n->v, VIRTIO_NET_TX, &taken, &n->tx_chain))
		n->tx_waits = !send_chain(n);
	virtio_publish(&n->v, VIRTIO_NET_TX);
}

void net_tx_resume(struct virtio_net *n)
{
	if (!n->tx_waits || virtio_failed(&n->v) || !send_chain(n))
		return;
	n->tx_waits = false;
	net_tx_run(n);
}

void net_tx_stop(struct virtio_net *n)
{
	if (n->tx_waits && !virtio_failed(&n->v))
		virtq_unpop(&n->v.queues[VIRTIO_NET_TX], n->tx_chain.head);
	n->tx_waits = false;
}
