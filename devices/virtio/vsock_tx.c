/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the guest [virtio 1.3 5.10.6]: each chain of the transmit queue is a packet, header
 * and payload cut anywhere.
 *
 * Each may call for one RST that belongs to no connection. As many as there is room for may
 * wait for receive buffers; then nothing more is taken from this queue until the driver has
 * given some [virtio 1.3 5.10.6.1].
 */
#include "devices/virtio/vsock_priv.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <errno.h>

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len, flags, buf_alloc, fwd_cnt;
	uint16_t type, op;
};

static void parse(struct packet *p, const uint8_t *h)
{
	*p = (struct packet){
		.src_cid = le64_get(h + VSOCK_HDR_SRC_CID),
		.dst_cid = le64_get(h + VSOCK_HDR_DST_CID),
		.src_port = le32_get(h + VSOCK_HDR_SRC_PORT),
		.dst_port = le32_get(h + VSOCK_HDR_DST_PORT),
		.len = le32_get(h + VSOCK_HDR_PAYLOAD),
		.type = le16_get(h + VSOCK_HDR_TYPE),
		.op = le16_get(h + VSOCK_HDR_OP),
		.flags = le32_get(h + VSOCK_HDR_FLAGS),
		.buf_alloc = le32_get(h + VSOCK_HDR_BUF_ALLOC),
		.fwd_cnt = le32_get(h + VSOCK_HDR_FWD_CNT),
	};
}

/* RST, unless it would answer one: two that do so would never end. */
static void refuse(struct virtio_vsock *s, const struct packet *p)
{
	if (p->op != VSOCK_OP_RST)
		vsock_rx_owe_rst(s, &(struct virtio_vsock_stray){
					    .host_cid = p->dst_cid,
					    .guest_port = p->src_port,
					    .host_port = p->dst_port,
					    .type = p->type,
				    });
}

static void learn_credit(struct vsock_conn *c, const struct packet *p)
{
	c->peer_alloc = p->buf_alloc;
	c->peer_fwd = p->fwd_cnt;
}

/* The guest wants a connection. */
static void connect_host(struct virtio_vsock *s, const struct packet *p)
{
	struct vsock_backend *b = s->backend;
	int fd = -1;

	if (s->n_conns < s->conns_max)
		fd = b->ops->connect(b, p->dst_port);
	else
		log_guest(&s->complaints, "%s: more than %u connections", s->v.name, s->conns_max);
	struct vsock_conn *c =
		fd < 0 ? NULL : vsock_conn_new(s, p->src_port, p->dst_port, fd, VSOCK_OPEN);

	if (!c) {
		fd_close(&fd);
		refuse(s, p);
		return;
	}
	learn_credit(c, p);
	c->owed = VSOCK_OWED_RESPONSE;
	vsock_conn_wake(c);
}

/* The guest has accepted what the host wanted. */
static void on_response(struct vsock_conn *c)
{
	struct vsock_backend *b = c->dev->backend;

	if (c->state != VSOCK_ASKED) {
		vsock_conn_reset(c);
		return;
	}
	if (b->ops->answered)
		b->ops->answered(b, c->who, c->fd, c->host_port);
	c->state = VSOCK_OPEN;
	/* Nothing is shut yet: this only begins to listen to the host. */
	vsock_conn_shut(c, 0);
}

/* A packet for a connection that has not ended. */
static void on_packet(struct vsock_conn *c, const struct packet *p)
{
	bool open = c->state == VSOCK_OPEN;

	learn_credit(c, p);
	if (p->op == VSOCK_OP_RESPONSE)
		on_response(c);
	else if (p->op == VSOCK_OP_SHUTDOWN && open)
		vsock_conn_shut(c, p->flags & VSOCK_SHUT_BOTH);
	else if (p->op == VSOCK_OP_RW && open && !(c->guest_shut & VSOCK_SHUT_SEND))
		vsock_conn_take(c, p->len);
	else if (p->op == VSOCK_OP_CREDIT_REQUEST && open)
		c->owed |= VSOCK_OWED_UPDATE;
	else if (p->op != VSOCK_OP_CREDIT_UPDATE || !open)
		vsock_conn_reset(c);
	vsock_conn_wake(c);
}

/* The packet in s->tx_chain. False if the device has failed. */
static bool receive(struct virtio_vsock *s)
{
	const struct virtq_chain *chain = &s->tx_chain;
	uint8_t h[VSOCK_HDR_LEN];
	struct packet p;

	if (virtq_chain_read(chain, 0, h, sizeof(h)) != sizeof(h)) {
		virtio_fail(&s->v, "a packet without a whole header");
		return false;
	}
	parse(&p, h);
	if (p.len > chain->read_len - sizeof(h)) {
		virtio_fail(&s->v, "a packet that is shorter than it says");
		return false;
	}
	if (p.src_cid != s->cid) {
		/* Whoever that is, an answer to it would not get there. */
		log_guest(&s->complaints, "%s: a packet from another address, %lu", s->v.name,
			  p.src_cid);
		return true;
	}
	if (p.dst_cid != VIRTIO_VSOCK_CID_HOST || p.type != VSOCK_TYPE_STREAM) {
		refuse(s, &p);
		return true;
	}

	struct vsock_conn *c = vsock_conn_find(s, p.src_port, p.dst_port);

	if (c && p.op == VSOCK_OP_RST)
		vsock_conn_gone(c);
	else if (c && c->state != VSOCK_DEAD) /* it has its RST coming otherwise */
		on_packet(c, &p);
	else if (!c && p.op == VSOCK_OP_REQUEST)
		connect_host(s, &p);
	else if (!c)
		refuse(s, &p);
	return true;
}

static bool room_to_refuse(struct virtio_vsock *s)
{
	s->tx_waits = s->n_strays == VIRTIO_VSOCK_STRAYS_MAX;
	return !s->tx_waits;
}

void vsock_tx_run(struct virtio_vsock *s)
{
	unsigned taken = 0;

	while (room_to_refuse(s) && virtio_pop(&s->v, VIRTIO_VSOCK_TX, &taken, &s->tx_chain) &&
	       receive(s))
		virtq_push(&s->v.queues[VIRTIO_VSOCK_TX], s->tx_chain.head, 0);
	virtio_publish(&s->v, VIRTIO_VSOCK_TX);
	vsock_rx_run(s);
}

void vsock_tx_finish(struct virtio_vsock *s)
{
	struct virtq *q = &s->v.queues[VIRTIO_VSOCK_TX];

	/* No more than the ring can hold: a guest that goes on must not keep us here. */
	for (unsigned i = q->running ? q->config.size : 0; i && room_to_refuse(s); i--) {
		if (virtio_failed(&s->v) || virtq_pop(q, &s->tx_chain) != 1 || !receive(s))
			break;
		virtq_push(q, s->tx_chain.head, 0);
	}
	virtio_publish(&s->v, VIRTIO_VSOCK_TX);
}
