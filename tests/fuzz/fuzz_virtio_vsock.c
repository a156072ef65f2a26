/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device between a driver that sends any packets, with any credit, into any
 * buffers, and a host that connects, talks and leaves as it likes. What it sends is a packet,
 * nothing that waits outgrows its bounds, data comes as it was sent and no more of it than
 * the guest has room for, and its table is empty in the end.
 *
 * Rings without sense are the virtqueue target's.
 */
#include "devices/virtio/vsock_priv.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/vsock_rig.h"

#include <sys/socket.h>
#include <unistd.h>

enum { ENDS = 16, PIECE = 2000 };

struct host {
	struct vsock_rig *r;
	int ends[ENDS]; /* -1: none */
	unsigned n_taken;
};

static void keep(struct host *h, int fd)
{
	for (unsigned i = 0; i < ENDS && fd >= 0; i++)
		if (h->ends[i] < 0) {
			h->ends[i] = fd;
			return;
		}
	if (fd >= 0)
		close(fd);
}

/* Our ends of what the guest has connected to meanwhile. */
static void accept_all(struct host *h)
{
	for (unsigned i = 0; i < h->r->b->n_ends; i++)
		keep(h, fake_vsock_end(h->r->b, i));
	h->r->b->n_ends = h->r->b->n_answers = 0;
}

static void check(struct host *h)
{
	const struct virtio_vsock *s = &h->r->s;
	struct vsock_conn *c;
	unsigned n = 0;

	for (unsigned i = 0; i <= VIRTIO_VSOCK_BUCKETS; i++) {
		const struct vsock_conns *l =
			i < VIRTIO_VSOCK_BUCKETS ? &s->buckets[i] : &s->orphans;

		LIST_FOREACH (c, l, link) {
			n++;
			fuzz_check(c->came - c->fwd <= VIRTIO_VSOCK_BUFFER);
			fuzz_check((c->came != c->fwd) == (c->buf != NULL));
			fuzz_check((c->state == VSOCK_DEAD) == (c->fd < 0));
			fuzz_check((c->state == VSOCK_ORPHAN) == (l == &s->orphans));
			fuzz_check(c->state != VSOCK_DEAD || c->is_ready);
		}
	}
	fuzz_check(n == s->n_conns && n <= VIRTIO_VSOCK_CONNS_MAX);
	fuzz_check(s->n_strays <= VIRTIO_VSOCK_STRAYS_MAX);
	fuzz_check(!virtio_failed(&s->v) ||
		   virtio_status((struct virtio *)&s->v) & VIRTIO_STATUS_NEEDS_RESET);
}

/* What the device has sent. */
static void take_packets(struct host *h)
{
	struct packet p;

	while (vr_take(h->r, &p)) {
		fuzz_check(p.op >= REQUEST && p.op <= CREDIT_REQUEST && p.dst_cid == VR_CID);
		fuzz_check(p.used == VR_HDR + p.len && (p.op == RW) == (p.len != 0));
		fuzz_check(p.op == RST || (p.src_cid == VR_HOST && p.type == 1));
		fuzz_check(p.op == SHUTDOWN ? p.flags && p.flags <= NEITHER : !p.flags);
		if (p.op == RW) {
			struct vsock_conn *c = vsock_conn_find(&h->r->s, p.dst_port, p.src_port);

			h->n_taken++;
			/* All hosts say the same. */
			for (uint32_t i = 0; i < p.len; i++)
				fuzz_check(p.payload[i] == 'h');
			fuzz_check(!c || c->state != VSOCK_OPEN || p.len <= c->sent);
		}
	}
}

/* The guest sends; of the ring, as much as there is room. */
static void send_packet(struct fuzz_in *in, struct host *h)
{
	static uint8_t payload[PIECE];
	struct vsock_rig *r = h->r;
	struct virtq_driver *q = &r->q[VIRTIO_VSOCK_TX];
	uint8_t how = fuzz_u8(in), op = fuzz_u8(in), ports = fuzz_u8(in);
	struct packet p = vr_packet(r, op % 10, ports & 3, ports >> 4 & 3);
	uint32_t id, len = how & 1 ? fuzz_u16(in) % PIECE : 0;

	for (uint32_t i = 0; i < len; i++)
		payload[i] = 'g';
	p.len = len;
	if (ports & 4)
		p.dst_port = FAKE_VSOCK_REFUSED;
	if (ports & 8) /* of a connection that the host began */
		p.dst_port = (1u << 30) + (ports >> 4) + 1;
	if (how & 2)
		p.flags = fuzz_u8(in);
	if (how & 4)
		p.buf_alloc = fuzz_u32(in);
	if (how & 8)
		p.fwd_cnt = fuzz_u32(in);
	if ((how & 0x30) == 0x30)
		p.type = fuzz_u8(in);
	if ((how & 0xc0) == 0xc0)
		p.len = fuzz_u32(in);
	if ((how & 0xf0) == 0xa0)
		p.dst_cid = fuzz_u8(in);
	if ((how & 0xf0) == 0x90)
		p.src_cid = fuzz_u8(in);
	while (virtq_driver_take_used(q, &id, &id))
		;
	if ((uint16_t)(q->avail_idx - q->last_used) >= q->size / 8)
		return; /* chains of up to 8 pieces */
	vr_offer(r, &p, payload, len, len ? (VR_HDR + len + 7) / 8 : VR_HDR);
	if (op & 0x80)
		return; /* rings later */
	virtio_kick(&r->s.v, VIRTIO_VSOCK_TX);
	loop_settle(r->loop);
}

static void talk(struct fuzz_in *in, struct host *h)
{
	static uint8_t bytes[PIECE];
	uint8_t how = fuzz_u8(in);
	int *fd = &h->ends[how % ENDS];
	size_t len = how & 0x10 ? fuzz_u16(in) % PIECE : 0;
	ssize_t n;

	if (*fd < 0)
		return;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = 'h';
	switch (how >> 5) {
	case 0:
	case 1:
		if (send(*fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
		break;
	case 2:
	case 3:
		n = recv(*fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		for (ssize_t i = 0; i < n; i++)
			fuzz_check(bytes[i] == 'g');
		break;
	case 4:
		shutdown(*fd, SHUT_WR);
		break;
	case 5:
		shutdown(*fd, SHUT_RD);
		break;
	default:
		close(*fd);
		*fd = -1;
	}
	loop_settle(h->r->loop);
}

static void reset(struct host *h)
{
	virtio_set_status(&h->r->s.v, 0);
	loop_settle(h->r->loop);
	fuzz_check(!virtio_status(&h->r->s.v));
	vr_start(h->r);
}

void fuzz_one(struct fuzz_in *in)
{
	struct vsock_rig *r = vr_create(false);
	struct host h = {.r = r};

	for (unsigned i = 0; i < ENDS; i++)
		h.ends[i] = -1;
	vr_start(r);
	while (fuzz_more(in)) {
		uint8_t op = fuzz_u8(in);

		if (op == 0xff) {
			reset(&h);
		} else if (op < 0x60) {
			send_packet(in, &h);
		} else if (op < 0xa0) {
			talk(in, &h);
		} else if (op < 0xc0) {
			uint32_t len = 1 + fuzz_u8(in) * (op & 1 ? 16u : 1u);

			if (r->rx_given < VR_SIZE / 8)
				vr_give(r, 1, len, (len + 7) / 8);
		} else if (op < 0xd0) {
			if (r->s.attached)
				keep(&h, fake_vsock_open(r->b, op & 3, NULL));
			loop_settle(r->loop);
		} else {
			virtio_kick(&r->s.v, op % 4);
			loop_settle(r->loop);
		}
		accept_all(&h);
		take_packets(&h);
		check(&h);
	}
	for (unsigned i = 0; i < ENDS; i++)
		if (h.ends[i] >= 0)
			close(h.ends[i]);
	reset(&h);
	loop_settle(r->loop);
	fuzz_check(!r->s.n_conns); /* nobody reads what is left */
	vr_destroy(r);
}
