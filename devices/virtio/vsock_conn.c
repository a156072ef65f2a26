/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections. One has two ends, which come and go by themselves:
 *
 *	            the guest answers         both of the guest's halves are closed and
 *	ASKED ------------------------> OPEN    written out, or somebody broke the rules
 *	  |                            /    `------------------------------> DEAD --RST--> gone
 *	  | RST                       / RST, or the driver is gone
 *	  v                          v
 *	 gone               nothing left: gone; else ORPHAN --written out--> gone
 *
 * All that the guest is ever owed follows from these, so a driver that takes nothing makes
 * nothing grow.
 *
 * From the guest: what the socket does not take at once waits in a ring. Its size is the
 * credit that the guest has, so there is always room, or the guest has cheated. To the guest:
 * nothing is read before there is a buffer and credit for it; what waits, waits in the host's
 * socket.
 */
#include "devices/virtio/vsock_priv.h"

#include "vmm/base/fd.h"
#include "vmm/core/clock.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

/* --- the table ------------------------------------------------------------------------ */

static struct vsock_conns *bucket_of(struct virtio_vsock *s, uint32_t guest_port,
				     uint32_t host_port)
{
	uint32_t h = (guest_port * 31 + host_port) * 0x9e3779b1u;

	return &s->buckets[h >> 24];
}

struct vsock_conn *vsock_conn_find(struct virtio_vsock *s, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_conn *c;

	LIST_FOREACH (c, bucket_of(s, guest_port, host_port), link)
		if (c->guest_port == guest_port && c->host_port == host_port)
			break;
	return c;
}

/* fn may free the connection, or make an orphan of it, which is then visited again. */
static void for_all(struct virtio_vsock *s, void (*fn)(struct vsock_conn *c))
{
	struct vsock_conn *c, *next;

	for (unsigned i = 0; i < VIRTIO_VSOCK_BUCKETS; i++)
		for (c = LIST_FIRST(&s->buckets[i]); c; c = next) {
			next = LIST_NEXT(c, link);
			fn(c);
		}
	for (c = LIST_FIRST(&s->orphans); c; c = next) {
		next = LIST_NEXT(c, link);
		fn(c);
	}
}

static uint32_t waiting(const struct vsock_conn *c)
{
	return c->came - c->fwd;
}

/* --- what is waited for ------------------------------------------------------------------ */

static bool may_read(const struct vsock_conn *c)
{
	return c->state == VSOCK_OPEN && !(c->host_shut & VSOCK_SHUT_SEND) &&
	       !(c->guest_shut & VSOCK_SHUT_RECEIVE);
}

static void update_watch(struct vsock_conn *c)
{
	if (c->watch)
		loop_fd_set(c->watch, (may_read(c) && !c->readable ? LOOP_READ : 0) |
					      (waiting(c) ? LOOP_WRITE : 0));
}

static bool wants_guest(struct vsock_conn *c)
{
	if (c->state == VSOCK_DEAD || c->owed || c->host_shut & ~c->told_shut)
		return c->state != VSOCK_ORPHAN;
	return may_read(c) && c->readable && vsock_conn_credit(c);
}

void vsock_conn_wake(struct vsock_conn *c)
{
	if (vsock_conn_credit(c)) {
		c->begged = false;
	} else if (may_read(c) && c->readable && !c->begged) {
		c->begged = true;
		c->owed |= VSOCK_OWED_CREDIT_REQUEST;
	}
	if (!c->is_ready && wants_guest(c)) {
		TAILQ_INSERT_TAIL(&c->dev->ready, c, waiting);
		c->is_ready = true;
	}
}

static void leave_queue(struct vsock_conn *c)
{
	if (c->is_ready)
		TAILQ_REMOVE(&c->dev->ready, c, waiting);
	c->is_ready = false;
}

uint32_t vsock_conn_credit(const struct vsock_conn *c)
{
	uint32_t in_flight = c->sent - c->peer_fwd;

	return in_flight < c->peer_alloc ? c->peer_alloc - in_flight : 0;
}

/* --- the host's end ------------------------------------------------------------------------ */

static void close_host(struct vsock_conn *c)
{
	loop_fd_del(c->watch);
	c->watch = NULL;
	fd_close(&c->fd);
	free(c->buf);
	c->buf = NULL;
	c->fwd = c->came;
}

/* Nobody reads there any more: neither what waits nor what is yet to come. */
static void lose_reader(struct vsock_conn *c)
{
	c->host_shut |= VSOCK_SHUT_RECEIVE;
	c->fwd = c->came;
}

/* Gives how many bytes the socket took. */
static uint32_t write_some(struct vsock_conn *c, struct iovec *iov, int n)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	ssize_t sent;

	do
		sent = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return (uint32_t)sent;
	if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
		lose_reader(c);
	return 0;
}

/* Describe `len` bytes of the ring from `at` on. */
static int ring_iov(struct vsock_conn *c, uint32_t at, uint32_t len, struct iovec iov[2])
{
	at %= VIRTIO_VSOCK_BUFFER;
	uint32_t front = VIRTIO_VSOCK_BUFFER - at < len ? VIRTIO_VSOCK_BUFFER - at : len;

	iov[0] = (struct iovec){c->buf + at, front};
	iov[1] = (struct iovec){c->buf, len - front};
	return front < len ? 2 : 1;
}

/* After anything that may have changed what waits. Gives false if the connection is gone. */
static bool settle(struct vsock_conn *c)
{
	if (!waiting(c)) {
		free(c->buf);
		c->buf = NULL;
		if (c->state == VSOCK_ORPHAN) {
			vsock_conn_free(c);
			return false;
		}
		if (c->guest_shut == VSOCK_SHUT_BOTH && c->state == VSOCK_OPEN) {
			vsock_conn_reset(c);
			return true;
		}
		if (c->guest_shut & VSOCK_SHUT_SEND && !c->told_end) {
			shutdown(c->fd, SHUT_WR);
			c->told_end = true;
		}
	}
	/* Before the guest, which does not know of the rest, runs out of credit. */
	if (c->fwd - c->told_fwd >= VIRTIO_VSOCK_BUFFER / 2)
		c->owed |= VSOCK_OWED_UPDATE;
	update_watch(c);
	vsock_conn_wake(c);
	return true;
}

/* As much of the ring as the socket takes. Gives false if the connection is gone. */
static bool flush(struct vsock_conn *c)
{
	while (waiting(c)) {
		struct iovec iov[2];
		uint32_t n = write_some(c, iov, ring_iov(c, c->first, waiting(c), iov));

		if (!n)
			break;
		c->first = (c->first + n) % VIRTIO_VSOCK_BUFFER;
		c->fwd += n;
	}
	return settle(c);
}

/* Put the payload's bytes from `off` on behind those that wait already, which are `before`. */
static bool keep(struct vsock_conn *c, uint32_t before, uint32_t off, uint32_t len)
{
	struct iovec iov[2];

	if (!c->buf) {
		c->buf = malloc(VIRTIO_VSOCK_BUFFER);
		c->first = 0;
	}
	if (!c->buf)
		return false;
	int n = ring_iov(c, c->first + before, len, iov);

	for (int i = 0; i < n; i++) {
		virtq_chain_read(&c->dev->tx_chain, VSOCK_HDR_LEN + off, iov[i].iov_base,
				 iov[i].iov_len);
		off += (uint32_t)iov[i].iov_len;
	}
	return true;
}

void vsock_conn_take(struct vsock_conn *c, uint32_t len)
{
	struct virtio_vsock *s = c->dev;
	uint32_t before = waiting(c), sent = 0;
	int n;

	if (len > VIRTIO_VSOCK_BUFFER - before) {
		log_guest(&s->complaints, "%s: the guest sends more than it has credit for",
			  s->v.name);
		vsock_conn_reset(c);
		return;
	}
	c->came += len;
	if (len && !before && !(c->host_shut & VSOCK_SHUT_RECEIVE)) {
		n = virtq_chain_iov(&s->tx_chain, false, VSOCK_HDR_LEN, len, s->iov,
				    VIRTQ_SEGS_MAX);
		assert(n > 0); /* the chain has these bytes, and no more segments than this */
		sent = write_some(c, s->iov, n);
	}
	if (c->host_shut & VSOCK_SHUT_RECEIVE)
		c->fwd = c->came; /* nobody wants it */
	else
		c->fwd += sent;
	if (waiting(c) > before && !keep(c, before, sent, len - sent)) {
		log_warn("%s: out of memory; a connection is reset", s->v.name);
		vsock_conn_reset(c);
		return;
	}
	settle(c);
}

void vsock_conn_shut(struct vsock_conn *c, uint8_t flags)
{
	uint8_t fresh = flags & ~c->guest_shut;

	c->guest_shut |= flags;
	if (fresh & VSOCK_SHUT_RECEIVE)
		shutdown(c->fd, SHUT_RD);
	settle(c);
}

/* The end of what the host sends; whether it still reads is another matter. */
static void end_of_host(struct vsock_conn *c)
{
	struct pollfd p = {.fd = c->fd};

	c->host_shut |= VSOCK_SHUT_SEND;
	if (poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR))
		lose_reader(c);
	settle(c);
}

size_t vsock_conn_read(struct vsock_conn *c, int n)
{
	struct msghdr msg = {.msg_iov = c->dev->iov, .msg_iovlen = (size_t)n};
	ssize_t got = recvmsg(c->fd, &msg, MSG_DONTWAIT);

	if (got > 0)
		return (size_t)got;
	if (!got) {
		end_of_host(c);
	} else if (errno == EAGAIN || errno == EINTR) {
		c->readable = false;
		update_watch(c);
	} else {
		/* It went without having read all: an abort, which the guest is to know. */
		vsock_conn_reset(c);
	}
	return 0;
}

static void on_events(void *ctx, int events)
{
	struct vsock_conn *c = ctx;
	struct virtio_vsock *s = c->dev;

	if (events & LOOP_READ)
		c->readable = true;
	if (flush(c))
		vsock_conn_wake(c);
	vsock_rx_run(s);
}

static bool watch(struct vsock_conn *c)
{
	if (c->fd >= 0 && !c->watch)
		c->watch = loop_fd_add(virtio_loop(&c->dev->v, 0), c->fd, 0, on_events, c);
	update_watch(c);
	return c->fd < 0 || c->watch;
}

/* --- their life ------------------------------------------------------------------------------ */

struct vsock_conn *vsock_conn_new(struct virtio_vsock *s, uint32_t guest_port, uint32_t host_port,
				  int fd, enum vsock_state state)
{
	struct vsock_conn *c = s->n_conns < s->conns_max ? calloc(1, sizeof(*c)) : NULL;

	if (!c)
		return NULL;
	c->dev = s;
	c->guest_port = guest_port;
	c->host_port = host_port;
	c->fd = fd;
	c->state = state;
	if (!watch(c)) {
		free(c);
		return NULL;
	}
	LIST_INSERT_HEAD(bucket_of(s, guest_port, host_port), c, link);
	s->n_conns++;
	return c;
}

void vsock_conn_free(struct vsock_conn *c)
{
	close_host(c);
	leave_queue(c);
	LIST_REMOVE(c, link);
	c->dev->n_conns--;
	free(c);
}

/* A host that was not answered is refused. */
static void refuse(struct vsock_conn *c)
{
	struct vsock_backend *b = c->dev->backend;

	if (c->state == VSOCK_ASKED && b->ops->answered)
		b->ops->answered(b, c->who, c->fd, 0);
}

void vsock_conn_reset(struct vsock_conn *c)
{
	refuse(c);
	close_host(c);
	c->state = VSOCK_DEAD;
	c->owed = 0;
	c->told_shut = c->host_shut;
	vsock_conn_wake(c);
}

void vsock_conn_leave(struct vsock_conn *c)
{
	if (c->state == VSOCK_ORPHAN)
		return;
	if (c->state != VSOCK_OPEN || !waiting(c)) {
		vsock_conn_free(c);
		return;
	}
	leave_queue(c);
	LIST_REMOVE(c, link);
	LIST_INSERT_HEAD(&c->dev->orphans, c, link);
	c->state = VSOCK_ORPHAN;
	update_watch(c);
}

void vsock_conn_gone(struct vsock_conn *c)
{
	refuse(c);
	vsock_conn_leave(c);
}

bool vsock_conns_watch(struct virtio_vsock *s)
{
	struct vsock_conn *c;
	bool all = true;

	for (unsigned i = 0; i < VIRTIO_VSOCK_BUCKETS; i++)
		LIST_FOREACH (c, &s->buckets[i], link)
			all = watch(c) && all;
	LIST_FOREACH (c, &s->orphans, link)
		all = watch(c) && all;
	return all;
}

static void unwatch(struct vsock_conn *c)
{
	loop_fd_del(c->watch);
	c->watch = NULL;
}

void vsock_conns_unwatch(struct virtio_vsock *s)
{
	for_all(s, unwatch);
}

void vsock_conns_leave_all(struct virtio_vsock *s)
{
	for_all(s, vsock_conn_leave);
}

void vsock_conns_free_all(struct virtio_vsock *s)
{
	for_all(s, vsock_conn_free);
}

/* --- the end -----------------------------------------------------------------------------------
 */

static void flush_one(struct vsock_conn *c)
{
	if (c->fd >= 0)
		flush(c);
}

/* Fill `fds` with those that something waits for; gives how many, and in *left bytes. */
static nfds_t list_waiting(struct virtio_vsock *s, struct pollfd *fds, uint64_t *left)
{
	struct vsock_conn *c;
	nfds_t n = 0;

	*left = 0;
	for (unsigned i = 0; i <= VIRTIO_VSOCK_BUCKETS; i++) {
		struct vsock_conns *l = i < VIRTIO_VSOCK_BUCKETS ? &s->buckets[i] : &s->orphans;

		LIST_FOREACH (c, l, link)
			if (waiting(c)) {
				fds[n++] = (struct pollfd){.fd = c->fd, .events = POLLOUT};
				*left += waiting(c);
			}
	}
	return n;
}

uint64_t vsock_conns_drain(struct virtio_vsock *s, int ms)
{
	uint64_t until = clock_monotonic_ns(&clock_host) + (uint64_t)ms * 1000000, left;
	struct pollfd fds[VIRTIO_VSOCK_CONNS_MAX];
	nfds_t n;

	while ((n = list_waiting(s, fds, &left))) {
		uint64_t now = clock_monotonic_ns(&clock_host);

		if (now >= until)
			break;
		poll(fds, n, (int)((until - now) / 1000000) + 1);
		for_all(s, flush_one);
	}
	return left;
}
