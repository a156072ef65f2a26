/* SPDX-License-Identifier: Apache-2.0 */
/* net_priv: what the files of the network device share. Loop thread, all of it. */
#ifndef DEVICES_VIRTIO_NET_PRIV_H
#define DEVICES_VIRTIO_NET_PRIV_H

#include "devices/virtio/net.h"

/* An Ethernet header with a tag of 802.1Q: what a frame may have beyond the MTU. */
enum { NET_L2_MAX = 18 };

/* A frame of `len` bytes that nobody will cut up: is it within the negotiated MTU? */
static inline bool net_within_mtu(const struct virtio_net *n, size_t len)
{
	return !(n->v.features & VIRTIO_NET_F_MTU) || len <= (size_t)n->mtu + NET_L2_MAX;
}

/* Which packets may be longer than the MTU: what is in a header's gso_type, and what it takes
 * to send and to receive one [virtio 1.3 5.1.3, 5.1.6]. A host's UDP segments are of
 * IPv4 or IPv6, which the type does not tell, so a driver takes both or none. */
struct net_gso {
	uint64_t host, guest; /* the features: for the driver to send, to receive */
	unsigned offload;     /* NET_OFFLOAD_* */
	uint8_t type;         /* NET_HDR_GSO_*, without ECN */
};
enum { NET_GSO_KINDS = 4 };
extern const struct net_gso net_gso_kinds[NET_GSO_KINDS];

/* That of a header's gso_type, which is not NONE; NULL: there is no such. An ECN bit goes
 * with TCP alone. */
const struct net_gso *net_gso_of(uint8_t gso_type);

/* The pair's queues. */
static inline unsigned rx_queue(const struct virtio_net_pair *p)
{
	return p->queue + NET_RING_RX;
}

static inline unsigned tx_queue(const struct virtio_net_pair *p)
{
	return p->queue + NET_RING_TX;
}

/* net.c: must a direction (NET_RING_*) wait for its limit before the next frame? Then all that
 * waits is run again when it is time. */
bool net_must_wait(struct virtio_net *n, unsigned direction);
/* A frame of `len` bytes goes. */
static inline void net_count_frame(struct virtio_net *n, unsigned direction, size_t len)
{
	if (rate_limit_on(&n->limits[direction]))
		rate_limit_spend(&n->limits[direction], len);
}

/* net_tx.c: send what the driver offers until there is nothing more or the backend
 * has to wait; net_tx_resume: it need not wait any more. net_tx_stop gives back what
 * was popped and not sent. */
void net_tx_run(struct virtio_net_pair *p);
void net_tx_resume(struct virtio_net_pair *p);
void net_tx_stop(struct virtio_net_pair *p);

/* net_rx.c: receive until there are no frames or no buffers. net_rx_stop gives the
 * buffers in stock back to the ring; a frame of which only a part is there is lost. */
void net_rx_run(struct virtio_net_pair *p);
void net_rx_stop(struct virtio_net_pair *p);

/* If CTRL_VQ was negotiated. */
static inline unsigned net_control_queue(const struct virtio_net *n)
{
	return VIRTIO_NET_QUEUES * (n->v.features & VIRTIO_NET_F_MQ ? n->n_pairs : 1);
}

/* net_ctrl.c: obey what is in the control queue. */
void net_ctrl_run(struct virtio_net *n);

/* net.c: let the driver use the first `pairs` pairs, all of them set up, and no others.
 * Gives whether the host had what that takes; if not, there are as many as before. */
bool net_use_pairs(struct virtio_net *n, unsigned pairs);

/* The kernel would send and receive whatever the link and the limits are, and tells nobody where
 * it has written. */
static inline bool net_may_lend(const struct virtio_net *n)
{
	return virtio_net_link(n) && !rate_limit_on(&n->limits[NET_RING_RX]) &&
	       !guest_mem_is_logged(n->v.gm);
}

/* net_rings.c: leave both rings to the backend, if it can and may serve them, with
 * all that is in stock and in hand given back. Or take them back; fine if they are here. */
void net_rings_lend(struct virtio_net_pair *p);
void net_rings_reclaim(struct virtio_net_pair *p);

#endif
