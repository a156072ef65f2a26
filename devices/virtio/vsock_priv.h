/* SPDX-License-Identifier: Apache-2.0 */
/* vsock_priv: what the files of the socket device share. Loop thread, unless it is said
 * otherwise. */
#ifndef DEVICES_VIRTIO_VSOCK_PRIV_H
#define DEVICES_VIRTIO_VSOCK_PRIV_H

#include "devices/virtio/vsock.h"

/* struct virtio_vsock_hdr on the wire [virtio 1.3 5.10.6]: offsets. */
enum {
	VSOCK_HDR_SRC_CID = 0,
	VSOCK_HDR_DST_CID = 8,
	VSOCK_HDR_SRC_PORT = 16,
	VSOCK_HDR_DST_PORT = 20,
	VSOCK_HDR_PAYLOAD = 24, /* its length */
	VSOCK_HDR_TYPE = 28,
	VSOCK_HDR_OP = 30,
	VSOCK_HDR_FLAGS = 32,
	VSOCK_HDR_BUF_ALLOC = 36,
	VSOCK_HDR_FWD_CNT = 40,
	VSOCK_HDR_LEN = 44,
};

enum { VSOCK_TYPE_STREAM = 1 };

enum {
	VSOCK_OP_REQUEST = 1,
	VSOCK_OP_RESPONSE = 2,
	VSOCK_OP_RST = 3,
	VSOCK_OP_SHUTDOWN = 4,
	VSOCK_OP_RW = 5,
	VSOCK_OP_CREDIT_UPDATE = 6,
	VSOCK_OP_CREDIT_REQUEST = 7,
};

/* Of SHUTDOWN: the sender of it receives no more, sends no more. */
enum { VSOCK_SHUT_RECEIVE = 1, VSOCK_SHUT_SEND = 2, VSOCK_SHUT_BOTH = 3 };

enum vsock_state {
	VSOCK_ASKED, /* the host's: the guest has not answered */
	VSOCK_OPEN,
	VSOCK_DEAD,   /* the host's end is closed, and the guest is to get RST */
	VSOCK_ORPHAN, /* the guest is through; the host gets what it has sent */
};

/* What the guest has yet to be sent, beside data, RST and SHUTDOWN, which follow from the
 * state. */
enum {
	VSOCK_OWED_REQUEST = 1 << 0,
	VSOCK_OWED_RESPONSE = 1 << 1,
	VSOCK_OWED_UPDATE = 1 << 2,
	VSOCK_OWED_CREDIT_REQUEST = 1 << 3,
};

struct vsock_conn {
	struct virtio_vsock *dev;
	LIST_ENTRY(vsock_conn) link;     /* of its bucket, or of the orphans */
	TAILQ_ENTRY(vsock_conn) waiting; /* among the ready, if is_ready */
	bool is_ready;
	enum vsock_state state;
	uint32_t guest_port, host_port;
	void *who; /* the backend's, while ASKED */

	int fd; /* owned; -1 once it is closed */
	struct loop_fd *watch;
	bool readable;                 /* fd was, and has not said otherwise since */
	uint8_t guest_shut, host_shut; /* who has said what about itself */
	uint8_t told_shut;             /* of host_shut, what the guest knows */
	bool told_end;                 /* the host knows that the guest sends no more */
	uint8_t owed;

	/* To the guest: bytes, modulo 2^32 [virtio 1.3 5.10.6.3]. */
	uint32_t sent, peer_alloc, peer_fwd;
	bool begged; /* CREDIT_REQUEST was sent since there was credit last */
	/* From the guest: what came, and what the host has of it. The difference is in
	 * `buf`, a ring that is there as long as it is not empty. */
	uint32_t came, fwd, told_fwd;
	uint8_t *buf; /* owned */
	uint32_t first;
};

/* --- vsock_conn.c: connections ------------------------------------------------------ */

/* NULL if there is none. Orphans are not found. */
struct vsock_conn *vsock_conn_find(struct virtio_vsock *s, uint32_t guest_port, uint32_t host_port);
/* Takes `fd` over if there is one; NULL if there are too many, or no memory. */
struct vsock_conn *vsock_conn_new(struct virtio_vsock *s, uint32_t guest_port, uint32_t host_port,
				  int fd, enum vsock_state state);
/* It is gone, with all it had; any thread that has the device. */
void vsock_conn_free(struct vsock_conn *c);
/* The guest is to get RST; the host's end is closed, and what it did not take is lost. */
void vsock_conn_reset(struct vsock_conn *c);
/* The guest is through with it, or gone: only what it has sent is still written out. Any
 * thread that has the device. */
void vsock_conn_leave(struct vsock_conn *c);
/* The same by the guest's RST: a host that was not answered is told so. */
void vsock_conn_gone(struct vsock_conn *c);
/* It may have something for the guest now: stand in the queue, then. */
void vsock_conn_wake(struct vsock_conn *c);
/* How many bytes the guest has room for. */
uint32_t vsock_conn_credit(const struct vsock_conn *c);

/* The `len` bytes of payload of the chain in s->tx_chain: into the host's socket, or kept
 * for it. Too many: it is reset. */
void vsock_conn_take(struct vsock_conn *c, uint32_t len);
/* The guest has said what it will not do any more: VSOCK_SHUT_* in `flags`. */
void vsock_conn_shut(struct vsock_conn *c, uint8_t flags);
/* Read from the host into `n` entries of s->iov: bytes, or 0: there is nothing, now or ever. */
size_t vsock_conn_read(struct vsock_conn *c, int n);

/* Begin and stop to hear of the host's ends. Begin: false if there is no memory. */
bool vsock_conns_watch(struct virtio_vsock *s);
void vsock_conns_unwatch(struct virtio_vsock *s);
/* Leave all of them; or free them, orphans too. Any thread that has the device. */
void vsock_conns_leave_all(struct virtio_vsock *s);
void vsock_conns_free_all(struct virtio_vsock *s);
/* Write out what waits, for `ms` at most: gives what is left. Any thread that has the device. */
uint64_t vsock_conns_drain(struct virtio_vsock *s, int ms);

/* --- the two directions ---------------------------------------------------------------- */

/* vsock_rx.c: give the guest what waits for it, as far as there are buffers. */
void vsock_rx_run(struct virtio_vsock *s);
/* RST for a packet of no connection. There is room: vsock_tx_run() has seen to that. */
void vsock_rx_owe_rst(struct virtio_vsock *s, const struct virtio_vsock_stray *stray);

/* vsock_tx.c: take what the guest sends. The second: what is in the ring already, when no
 * more is to be popped by virtio_pop(). */
void vsock_tx_run(struct virtio_vsock *s);
void vsock_tx_finish(struct virtio_vsock *s);

/* --- vsock_rings.c: the rings, when the backend serves them ------------------------------- */

/* It has them from here on. Gives NULL, or why it cannot. */
const char *vsock_rings_lend(struct virtio_vsock *s);
/* Fine if it has none. */
void vsock_rings_reclaim(struct virtio_vsock *s);

#endif
