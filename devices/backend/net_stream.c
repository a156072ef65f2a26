/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream has no frames: a length and its frame may come apart, in pieces, or many at
 * once. To read with one system call for each frame and without a copy, each readv(2)
 * takes the rest of a frame into the guest's buffers and the length of the next one
 * behind it:
 *
 *	| len | frame ........ | len | frame .... | len | ...
 *	 `----' first read
 *	        `--- readv: buffers + len ---'
 *
 * A frame that is sent is taken whole or not at all: what the socket does not take
 * of it at once is copied, and goes before the next one. So nobody ever has to hold
 * on to half a frame whose other half is on the way, which a reset could not wait for.
 */
#include "devices/backend/net_stream.h"

#include "vmm/base/fd.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct net_stream *of(struct net *n)
{
	return (struct net_stream *)n;
}

static void set_watch(struct net_stream *s)
{
	if (s->watch)
		loop_fd_set(s->watch, (s->wants && !s->hung_up ? LOOP_READ : 0) |
					      (s->rest_len && !s->hung_up ? LOOP_WRITE : 0) |
					      (s->blocked && !s->hung_up ? LOOP_WRITE : 0));
}

void net_stream_hang_up(struct net_stream *s)
{
	const char *why;

	if (s->told)
		return;
	s->hung_up = true;
	s->rest_len = 0;
	set_watch(s);
	why = s->why ? s->why(s) : "the other end hung up";
	if (!why)
		return;
	s->told = true;
	s->net.lost(s->net.ctx, why);
}

/* --- reception ------------------------------------------------------------------------- */

/* Give bytes read, 0 when there are none; the end of the stream is one of those. */
static size_t stream_read(struct net_stream *s, const struct iovec *iov, int n_iov)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n_iov};
	ssize_t n;

	if (s->hung_up)
		return 0;
	do
		n = recvmsg(s->fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return (size_t)n;
	if (n == 0 || errno != EAGAIN)
		net_stream_hang_up(s);
	return 0;
}

static bool skip_rest(struct net_stream *s)
{
	uint8_t bin[8192];

	while (s->skip) {
		struct iovec iov = {bin, s->skip < sizeof(bin) ? s->skip : sizeof(bin)};
		size_t n = stream_read(s, &iov, 1);

		if (!n)
			return false;
		s->skip -= n;
	}
	return true;
}

/* Read what is missing of the length, but no more: the frame has its own place. */
static bool read_len(struct net_stream *s)
{
	while (s->len_got < NET_STREAM_LEN) {
		struct iovec iov = {s->len + s->len_got, NET_STREAM_LEN - s->len_got};
		size_t n = stream_read(s, &iov, 1);

		if (!n)
			return false;
		s->len_got += n;
	}
	return true;
}

/* Cut the caller's room to the frame and put the next length behind it. The first
 * entry is ours, so there is a place for one more. */
static void aim(struct net_stream *s, struct iovec *iov, int n_iov)
{
	size_t left = s->frame;
	int i = 0;

	while (left && i < n_iov - 1) {
		iov[i] = iov[i + 1];
		if (iov[i].iov_len > left)
			iov[i].iov_len = left;
		left -= iov[i++].iov_len;
	}
	iov[i++] = (struct iovec){s->len, NET_STREAM_LEN};
	s->at = 0;
	s->n_iov = i;
	s->got = 0;
	s->len_got = 0;
	s->receiving = true;
}

static size_t room_of(const struct iovec *iov, int n_iov)
{
	size_t room = 0;

	for (int i = 1; i < n_iov; i++)
		room += iov[i].iov_len;
	return room;
}

static void advance(struct net_stream *s, struct iovec *iov, size_t n)
{
	for (; n && n >= iov[s->at].iov_len; s->at++)
		n -= iov[s->at].iov_len;
	if (n) {
		iov[s->at].iov_base = (uint8_t *)iov[s->at].iov_base + n;
		iov[s->at].iov_len -= n;
	}
}

ssize_t net_stream_receive(struct net *n, struct net_hdr *hdr, struct iovec *iov, int n_iov)
{
	struct net_stream *s = of(n);

	if (!skip_rest(s))
		return -EAGAIN;
	if (!s->receiving) {
		uint32_t len;

		if (!read_len(s))
			return -EAGAIN;
		memcpy(&len, s->len, sizeof(len));
		s->frame = be32toh(len);
		if (s->frame < NET_FRAME_MIN || s->frame > room_of(iov, n_iov)) {
			s->skip = s->frame;
			s->len_got = 0;
			return s->frame < NET_FRAME_MIN ? -EBADMSG : -EMSGSIZE;
		}
		aim(s, iov, n_iov);
	}
	while (s->got < s->frame) {
		size_t bytes = stream_read(s, iov + s->at, s->n_iov - s->at);

		if (!bytes)
			return -EAGAIN;
		s->got += bytes;
		if (s->got < s->frame)
			advance(s, iov, bytes);
	}
	s->len_got = s->got - s->frame;
	s->receiving = false;
	*hdr = (struct net_hdr){.flags = NET_HDR_F_DATA_VALID};
	return (ssize_t)s->frame;
}

bool net_stream_receiving(const struct net *n)
{
	return ((const struct net_stream *)n)->receiving;
}

void net_stream_abandon(struct net *n)
{
	struct net_stream *s = of(n);

	if (s->receiving)
		s->skip = s->frame - s->got;
	s->receiving = false;
}

/* --- transmission ------------------------------------------------------------------------ */

/* Give bytes sent, 0 when there is no room, or -EPIPE: there is nobody any more. */
static ssize_t stream_write(struct net_stream *s, struct iovec *iov, int n_iov)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n_iov};
	ssize_t n;

	do
		n = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
		return 0;
	net_stream_hang_up(s);
	return -EPIPE;
}

static bool flush_rest(struct net_stream *s)
{
	while (s->rest_len) {
		struct iovec iov = {s->rest + s->rest_at, s->rest_len};
		ssize_t n = stream_write(s, &iov, 1);

		if (n <= 0)
			return n < 0;
		s->rest_at += (size_t)n;
		s->rest_len -= (size_t)n;
	}
	return true;
}

static void keep_rest(struct net_stream *s, const struct iovec *iov, int n_iov, size_t sent)
{
	s->rest_at = s->rest_len = 0;
	for (int i = 0; i < n_iov; i++) {
		size_t gone = iov[i].iov_len < sent ? iov[i].iov_len : sent;

		sent -= gone;
		memcpy(s->rest + s->rest_len, (uint8_t *)iov[i].iov_base + gone,
		       iov[i].iov_len - gone);
		s->rest_len += iov[i].iov_len - gone;
	}
}

int net_stream_send(struct net *n, const struct net_hdr *hdr, struct iovec *iov, int n_iov,
		    size_t len)
{
	struct net_stream *s = of(n);
	uint32_t be = htobe32((uint32_t)len);
	ssize_t sent = 0;

	if (s->hung_up)
		return 0;
	iov[0] = (struct iovec){&be, sizeof(be)};
	if (flush_rest(s))
		sent = s->hung_up ? -EPIPE : stream_write(s, iov, n_iov);
	if (sent < 0)
		return 0; /* gone with whom it was for */
	if (sent && (size_t)sent < sizeof(be) + len)
		keep_rest(s, iov, n_iov, (size_t)sent);
	s->blocked = !sent;
	if (s->blocked || s->rest_len)
		set_watch(s);
	return sent ? 0 : -EAGAIN;
}

/* --- the loop -------------------------------------------------------------------------- */

static void on_events(void *ctx, int events)
{
	struct net_stream *s = ctx;

	if (events & LOOP_WRITE && flush_rest(s)) {
		bool tell = s->blocked;

		s->blocked = false;
		set_watch(s);
		if (tell)
			s->net.writable(s->net.ctx);
	}
	if (events & LOOP_READ && s->wants)
		s->net.readable(s->net.ctx);
}

int net_stream_attach(struct net *n, struct loop *loop, unsigned offloads)
{
	struct net_stream *s = of(n);

	s->wants = s->blocked = false;
	s->watch = loop_fd_add(loop, s->fd, 0, on_events, s);
	if (!s->watch)
		return -ENOMEM;
	set_watch(s);
	return 0;
}

void net_stream_detach(struct net *n)
{
	struct net_stream *s = of(n);

	net_stream_abandon(n);
	loop_fd_del(s->watch);
	s->watch = NULL;
}

void net_stream_want(struct net *n, bool frames)
{
	struct net_stream *s = of(n);

	s->wants = frames;
	set_watch(s);
}

/* --- life ------------------------------------------------------------------------------ */

int net_stream_init(struct net_stream *s, int fd)
{
	*s = (struct net_stream){.fd = fd, .rest = malloc(NET_STREAM_LEN + NET_FRAME_MAX)};
	if (s->rest)
		return 0;
	net_stream_fini(s);
	return -ENOMEM;
}

void net_stream_fini(struct net_stream *s)
{
	fd_close(&s->fd);
	free(s->rest);
	s->rest = NULL;
}
