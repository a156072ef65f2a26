/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To the guest [virtio 1.3 5.10.6.4]: each buffer of the receive queue becomes one packet.
 * Buffers are taken only when there is something to put into them, so between two calls
 * nothing is in flight:
 *
 *	strays (RSTs that belong to no connection), then the connections that are ready, one
 *	packet each and round and round
 *
 * What a connection has to say is decided when there is a buffer for it, from its state. Data
 * is read from the host's socket right into the buffer.
 */
#include "devices/virtio/vsock_priv.h"
#include "vmm/base/le.h"

#include <assert.h>

enum { PACKET_MAX = 64 << 10 };

/* A packet's header; what is not said of it is 0. */
struct packet {
	uint64_t host_cid;
	uint32_t guest_port, host_port, len, flags, fwd;
	uint16_t type, op;
};

/* The chain that was popped, with a payload of p->len bytes in its place, goes. */
static void send_packet(struct virtio_vsock *s, const struct packet *p)
{
	uint8_t h[VSOCK_HDR_LEN];

	le64_put(h + VSOCK_HDR_SRC_CID, p->host_cid);
	le64_put(h + VSOCK_HDR_DST_CID, s->cid);
	le32_put(h + VSOCK_HDR_SRC_PORT, p->host_port);
	le32_put(h + VSOCK_HDR_DST_PORT, p->guest_port);
	le32_put(h + VSOCK_HDR_PAYLOAD, p->len);
	le16_put(h + VSOCK_HDR_TYPE, p->type);
	le16_put(h + VSOCK_HDR_OP, p->op);
	le32_put(h + VSOCK_HDR_FLAGS, p->flags);
	le32_put(h + VSOCK_HDR_BUF_ALLOC, VIRTIO_VSOCK_BUFFER);
	le32_put(h + VSOCK_HDR_FWD_CNT, p->fwd);
	virtq_chain_write(&s->rx_chain, s->v.gm, 0, h, sizeof(h));
	if (p->len)
		virtq_chain_mark_dirty(&s->rx_chain, s->v.gm, sizeof(h), p->len);
	virtq_push(&s->v.queues[VIRTIO_VSOCK_RX], s->rx_chain.head, (uint32_t)sizeof(h) + p->len);
}

void vsock_rx_owe_rst(struct virtio_vsock *s, const struct virtio_vsock_stray *stray)
{
	assert(s->n_strays < VIRTIO_VSOCK_STRAYS_MAX);
	s->strays[s->n_strays++] = *stray;
}

static void send_stray(struct virtio_vsock *s)
{
	const struct virtio_vsock_stray *stray = &s->strays[--s->n_strays];

	send_packet(s, &(struct packet){.host_cid = stray->host_cid,
					.guest_port = stray->guest_port,
					.host_port = stray->host_port,
					.type = stray->type,
					.op = VSOCK_OP_RST});
}

/* Data from the host, into the chain's place for it. Gives how many bytes. */
static uint32_t read_data(struct virtio_vsock *s, struct vsock_conn *c)
{
	uint64_t room = s->rx_chain.write_len - VSOCK_HDR_LEN;
	uint32_t credit = vsock_conn_credit(c), len;
	int n;

	if (!c->readable || c->state != VSOCK_OPEN || c->guest_shut & VSOCK_SHUT_RECEIVE ||
	    c->host_shut & VSOCK_SHUT_SEND)
		return 0;
	if (room > credit)
		room = credit;
	if (room > PACKET_MAX)
		room = PACKET_MAX;
	if (!room)
		return 0;
	n = virtq_chain_iov(&s->rx_chain, true, VSOCK_HDR_LEN, room, s->iov, VIRTQ_SEGS_MAX);
	assert(n > 0); /* the chain has this room, and no more segments than this */
	len = (uint32_t)vsock_conn_read(c, n);
	c->sent += len;
	return len;
}

/* The next of what is owed, which is not owed any more; 0: nothing. */
static uint16_t take_owed(struct vsock_conn *c, uint8_t which)
{
	static const struct {
		uint8_t bit;
		uint16_t op;
	} ops[] = {
		{VSOCK_OWED_REQUEST, VSOCK_OP_REQUEST},
		{VSOCK_OWED_RESPONSE, VSOCK_OP_RESPONSE},
		{VSOCK_OWED_UPDATE, VSOCK_OP_CREDIT_UPDATE},
		{VSOCK_OWED_CREDIT_REQUEST, VSOCK_OP_CREDIT_REQUEST},
	};

	for (unsigned i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		if (c->owed & which & ops[i].bit) {
			c->owed &= (uint8_t)~ops[i].bit;
			return ops[i].op;
		}
	return 0;
}

/* Fill p->op, p->len and p->flags with what comes next; op 0: nothing. */
static void choose(struct virtio_vsock *s, struct vsock_conn *c, struct packet *p)
{
	p->op = take_owed(c, VSOCK_OWED_REQUEST | VSOCK_OWED_RESPONSE);
	if (p->op)
		return;
	p->len = read_data(s, c);
	/* That may have found the end of the host's data, or of the connection. */
	if (p->len) {
		p->op = VSOCK_OP_RW;
	} else if (c->state == VSOCK_DEAD) {
		p->op = VSOCK_OP_RST;
	} else if (c->host_shut & ~c->told_shut) {
		p->op = VSOCK_OP_SHUTDOWN;
		p->flags = c->told_shut = c->host_shut;
	} else {
		p->op = take_owed(c, VSOCK_OWED_UPDATE | VSOCK_OWED_CREDIT_REQUEST);
	}
}

/* The first of those that are ready says one thing. */
static void serve_first(struct virtio_vsock *s)
{
	struct vsock_conn *c = TAILQ_FIRST(&s->ready);
	struct packet p = {.host_cid = VIRTIO_VSOCK_CID_HOST,
			   .guest_port = c->guest_port,
			   .host_port = c->host_port,
			   .type = VSOCK_TYPE_STREAM};

	TAILQ_REMOVE(&s->ready, c, waiting);
	c->is_ready = false;
	choose(s, c, &p);
	if (!p.op) {
		virtq_unpop(&s->v.queues[VIRTIO_VSOCK_RX], s->rx_chain.head);
		return;
	}
	/* Each packet tells the guest's credit. */
	p.fwd = c->told_fwd = c->fwd;
	c->owed &= (uint8_t)~VSOCK_OWED_UPDATE;
	send_packet(s, &p);
	if (p.op == VSOCK_OP_RST)
		vsock_conn_free(c);
	else
		vsock_conn_wake(c);
}

void vsock_rx_run(struct virtio_vsock *s)
{
	unsigned taken = 0;

	while ((s->n_strays || !TAILQ_EMPTY(&s->ready)) &&
	       virtio_pop(&s->v, VIRTIO_VSOCK_RX, &taken, &s->rx_chain)) {
		if (s->rx_chain.write_len <= VSOCK_HDR_LEN) {
			virtio_fail(&s->v, "a receive buffer without room for a byte of data");
			break;
		}
		if (s->n_strays)
			send_stray(s);
		else
			serve_first(s);
	}
	virtio_publish(&s->v, VIRTIO_VSOCK_RX);
	if (s->tx_waits && s->n_strays < VIRTIO_VSOCK_STRAYS_MAX) {
		s->tx_waits = false;
		virtio_kick(&s->v, VIRTIO_VSOCK_TX);
	}
}
