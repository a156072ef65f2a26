/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reception [virtio 1.3 5.1.6.3, 5.1.6.4]. How long the next frame is, is known when
 * it is there. So buffers are taken in stock first, and the frame is read into them:
 *
 *	ring --pop--> stock --receive()--> filled --push--> used ring
 *	                ^ what is left stays for the next frame
 *
 * With MRG_RXBUF the stock is as many buffers as the longest frame needs, without it
 * one buffer. When the guest is short of buffers the stock is smaller; then the
 * end of a long frame lands in a spare of our own, waits there for buffers and is
 * copied: nothing is lost, and in the usual case nothing is copied.
 *
 * A guest without any buffer is not asked again until its doorbell rings, and the
 * backend is not watched meanwhile: nothing is dropped here. What then piles up on the
 * host is its own business: a tap's queue drops, a stream is left unread. The same while the
 * limit says so; how long a frame is, is known when it is there, so it is delivered, and the
 * next one waits.
 */
#include "devices/virtio/net_priv.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
	SPARE_LEN = NET_FRAME_MAX + 1, /* the last byte tells a frame that is too long */
	STOCK_MAX = VIRTIO_NET_HDR_LEN + NET_FRAME_MAX,
	SEGS_MAX = NET_IOV_MAX - 2, /* beside the backend's entry and the spare */
	TURN = VIRTQ_SIZE_MAX,      /* frames until others have their turn */
};

static bool mergeable(const struct virtio_net_pair *p)
{
	return p->n->v.features & VIRTIO_NET_F_MRG_RXBUF;
}

/* --- the stock ------------------------------------------------------------------------ */

static unsigned n_bufs(const struct virtio_net_rx *rx)
{
	return rx->end - rx->first;
}

/* Is the stock short, and may it grow? */
static bool wants_more(const struct virtio_net_pair *p)
{
	const struct virtio_net_rx *rx = &p->rx;

	if (!n_bufs(rx))
		return true;
	return mergeable(p) && rx->room < STOCK_MAX &&
	       rx->end_seg - rx->first_seg + VIRTQ_SEGS_MAX <= SEGS_MAX;
}

/* Move the stock to the front when its end has no room for the longest chain. */
static void compact(struct virtio_net_rx *rx)
{
	unsigned bufs = n_bufs(rx), segs = rx->end_seg - rx->first_seg;

	if (bufs && rx->end < VIRTQ_SIZE_MAX && rx->end_seg + VIRTQ_SEGS_MAX <= NET_IOV_MAX)
		return;
	memmove(rx->bufs, rx->bufs + rx->first, bufs * sizeof(*rx->bufs));
	memmove(rx->segs, rx->segs + rx->first_seg, segs * sizeof(*rx->segs));
	rx->first = rx->first_seg = 0;
	rx->end = bufs;
	rx->end_seg = segs;
}

static void add_buffer(struct virtio_net_rx *rx, const struct virtq_chain *c)
{
	compact(rx);
	memcpy(rx->segs + rx->end_seg, c->segs + c->n_read, c->n_write * sizeof(*c->segs));
	rx->end_seg += c->n_write;
	rx->bufs[rx->end++] = (struct virtio_net_buf){c->head, c->n_write, c->write_len};
	rx->room += c->write_len;
	rx->n_iov = 0;
}

/* Fill the stock from the ring. */
static void take_buffers(struct virtio_net_pair *p, unsigned *taken)
{
	/* What is filled already must not move. */
	if (p->backend->ops->receiving(p->backend))
		return;
	while (wants_more(p) && virtio_pop(&p->n->v, rx_queue(p), taken, &p->chain)) {
		if (p->chain.write_len < VIRTIO_NET_HDR_LEN) {
			virtio_fail(&p->n->v, "a receive buffer without room for the header");
			return;
		}
		add_buffer(&p->rx, &p->chain);
	}
	if (n_bufs(&p->rx) > p->rx.most)
		p->rx.most = n_bufs(&p->rx);
}

/* Bytes [off, off+len) of the stock, which has them. */
static void put(struct virtio_net_rx *rx, uint64_t off, const void *from, size_t len)
{
	for (const struct virtq_seg *s = rx->segs + rx->first_seg; len; off = 0, s++) {
		for (; off >= s->len; s++)
			off -= s->len;
		size_t piece = s->len - off < len ? s->len - off : len;

		memcpy((uint8_t *)s->hva + off, from, piece);
		from = (const uint8_t *)from + piece;
		len -= piece;
	}
}

/* Describe the room behind the header, and the spare. */
static void build_iov(struct virtio_net_rx *rx)
{
	uint64_t skip = VIRTIO_NET_HDR_LEN, room = 0;
	int i = 1; /* the first is the backend's */

	for (unsigned k = rx->first_seg; k < rx->end_seg && room < NET_FRAME_MAX; k++) {
		const struct virtq_seg *s = &rx->segs[k];

		if (skip >= s->len) {
			skip -= s->len;
			continue;
		}
		rx->iov[i] = (struct iovec){(uint8_t *)s->hva + skip, s->len - skip};
		if (rx->iov[i].iov_len > NET_FRAME_MAX - room)
			rx->iov[i].iov_len = NET_FRAME_MAX - room;
		room += rx->iov[i++].iov_len;
		skip = 0;
	}
	rx->iov_room = room;
	rx->iov[i++] = (struct iovec){rx->spare, SPARE_LEN - room};
	rx->n_iov = i;
}

/* --- one frame ------------------------------------------------------------------------- */

/* Use up the buffers that hold `len` bytes; the last may be filled in part. Gives
 * their number: the first call only counts, the second pushes. */
static unsigned use_buffers(struct virtio_net_pair *p, uint64_t len, bool push)
{
	struct virtio_net_rx *rx = &p->rx;
	unsigned used = 0;

	for (unsigned i = rx->first; len; i++, used++) {
		const struct virtio_net_buf *b = &rx->bufs[i];
		uint64_t filled = b->len < len ? b->len : len, left = filled;

		len -= filled;
		if (!push)
			continue;
		for (unsigned k = 0; k < b->n_segs; k++) {
			const struct virtq_seg *s = &rx->segs[rx->first_seg++];
			uint64_t dirty = s->len < left ? s->len : left;

			if (dirty)
				guest_mem_mark_dirty(p->n->v.gm, s->gpa, dirty);
			left -= dirty;
		}
		rx->room -= b->len;
		rx->first++;
		virtq_push(&p->n->v.queues[rx_queue(p)], b->head, (uint32_t)filled);
	}
	return used;
}

/* May the guest see this frame? What the host leaves undone it must have negotiated:
 * a tap may have frames in its queue from the time of another driver. */
static bool suits(const struct virtio_net_pair *p, const struct net_hdr *h, size_t len)
{
	uint64_t features = p->n->v.features;
	const struct net_gso *kind;

	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX || !virtio_net_link(p->n))
		return false;
	if (h->flags & NET_HDR_F_NEEDS_CSUM && !(features & VIRTIO_NET_F_GUEST_CSUM))
		return false;
	if ((h->gso_type & ~NET_HDR_GSO_ECN) == NET_HDR_GSO_NONE)
		return net_within_mtu(p->n, len);
	if (h->gso_type & NET_HDR_GSO_ECN && !(features & VIRTIO_NET_F_GUEST_ECN))
		return false;
	kind = net_gso_of(h->gso_type);
	return kind && !(kind->guest & ~features);
}

static void put_header(struct virtio_net_pair *p, unsigned num_buffers)
{
	const struct net_hdr *h = &p->rx.hdr;
	uint8_t wire[VIRTIO_NET_HDR_LEN] = {0};

	/* Each field only as far as it was negotiated and is in use
	 * [virtio 1.3 5.1.6.4.1]. */
	if (h->flags & NET_HDR_F_NEEDS_CSUM) {
		wire[0] = NET_HDR_F_NEEDS_CSUM;
		le16_put(wire + 6, h->csum_start);
		le16_put(wire + 8, h->csum_offset);
	} else if (h->flags & NET_HDR_F_DATA_VALID && p->n->v.features & VIRTIO_NET_F_GUEST_CSUM) {
		wire[0] = NET_HDR_F_DATA_VALID;
	}
	if ((h->gso_type & ~NET_HDR_GSO_ECN) != NET_HDR_GSO_NONE) {
		wire[1] = h->gso_type;
		le16_put(wire + 2, h->hdr_len);
		le16_put(wire + 4, h->gso_size);
	}
	le16_put(wire + 10, (uint16_t)num_buffers);
	put(&p->rx, 0, wire, sizeof(wire));
}

/* Hand the pending frame to the driver, or drop it, or let it wait for buffers.
 * Gives whether there is no pending frame any more. */
static bool deliver(struct virtio_net_pair *p, unsigned *taken)
{
	struct virtio_net_rx *rx = &p->rx;
	uint64_t need = VIRTIO_NET_HDR_LEN + rx->pending;

	if (rx->room < need && mergeable(p)) {
		take_buffers(p, taken);
		if (virtio_failed(&p->n->v))
			return false;
		/* All that the driver ever had out at a time is in stock, or as much as
		 * we hold: the frame would wait for ever. */
		bool full = n_bufs(rx) >= rx->most || !wants_more(p);

		if (rx->room < need && !full)
			return false;
	}
	if (rx->room >= need) {
		if (rx->pending > rx->iov_room)
			put(rx, VIRTIO_NET_HDR_LEN + rx->iov_room, rx->spare,
			    rx->pending - rx->iov_room);
		put_header(p, use_buffers(p, need, false));
		use_buffers(p, need, true);
	}
	rx->pending = 0;
	rx->n_iov = 0;
	return true;
}

/* Gives false when there is no (whole) frame. */
static bool receive_one(struct virtio_net_pair *p)
{
	struct virtio_net_rx *rx = &p->rx;
	ssize_t len;

	if (!rx->n_iov)
		build_iov(rx);
	len = p->backend->ops->receive(p->backend, &rx->hdr, rx->iov, rx->n_iov);
	if (len == -EAGAIN)
		return false;
	if (len >= 0 && suits(p, &rx->hdr, (size_t)len)) {
		rx->pending = (size_t)len;
		net_count_frame(p->n, NET_RING_RX, rx->pending);
	} else {
		rx->n_iov = 0; /* the backend may have changed it */
	}
	return true;
}

/* --- the loop's calls -------------------------------------------------------------------- */

/* Buffers for a frame, no frame that waits for more of them, and leave to receive one. */
static bool ready(struct virtio_net_pair *p, unsigned *taken)
{
	if (p->rx.pending && !deliver(p, taken))
		return false;
	take_buffers(p, taken);
	if (virtio_failed(&p->n->v) || !n_bufs(&p->rx))
		return false;
	return !rate_limit_on(&p->n->limits[NET_RING_RX]) || !net_must_wait(p->n, NET_RING_RX);
}

void net_rx_run(struct virtio_net_pair *p)
{
	unsigned taken = 0, frames = 0;
	bool have;

	while ((have = ready(p, &taken)) && frames++ < TURN && receive_one(p))
		;
	/* Still wanted after a whole turn: the backend says at once that it has more. */
	if (have != p->wants) {
		p->wants = have;
		p->backend->ops->want(p->backend, have);
	}
	virtio_publish(&p->n->v, rx_queue(p));
}

void net_rx_stop(struct virtio_net_pair *p)
{
	struct virtio_net_rx *rx = &p->rx;

	p->backend->ops->abandon(p->backend);
	for (unsigned i = rx->end; i-- > rx->first && !virtio_failed(&p->n->v);)
		virtq_unpop(&p->n->v.queues[rx_queue(p)], rx->bufs[i].head);
	rx->first = rx->end = rx->first_seg = rx->end_seg = rx->most = 0;
	rx->room = 0;
	rx->pending = 0;
	rx->n_iov = 0;
}
