/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest writes byte by byte. The first one wakes the loop, which writes at once and
 * then keeps itself awake for a millisecond (`linger`): what comes in that time needs
 * no wake-up and goes together. When nothing came, it sleeps for good.
 *
 * What was taken out of the ring and not written stays in `out` when a reader leaves,
 * and is the first that the next one gets.
 */
#include "devices/backend/char_stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { LINGER_MS = 1 };

/* --- output ------------------------------------------------------------------ */

static void on_output(void *ctx);

static void stream_send(void *ctx, const uint8_t *bytes, size_t len)
{
	struct char_stream *s = ctx;

	pthread_mutex_lock(&s->lock);
	char_ring_append(&s->ring, bytes, len);
	bool wake = s->attached && !s->awake;

	if (wake)
		s->awake = !loop_post(s->loop, on_output, s);
	pthread_mutex_unlock(&s->lock);
}

struct char_out char_stream_out(struct char_stream *s)
{
	return (struct char_out){stream_send, s};
}

/* More to write, into `out` if that is empty: gives whether there is something. */
static bool refill(struct char_stream *s)
{
	if (s->out_from < s->out_to)
		return true;
	pthread_mutex_lock(&s->lock);
	s->out_from = s->out_to = 0;
	/* A mark alone can wait: it belongs before the bytes that follow. */
	if (char_ring_waiting(&s->ring)) {
		s->out_to = char_ring_mark(&s->ring, s->out, "\r\n");
		s->out_to += char_ring_take(&s->ring, s->out + s->out_to, CHAR_STREAM_CHUNK);
	}
	pthread_mutex_unlock(&s->lock);
	return s->out_to;
}

/* One write: 1 if something moved, 0 if there is nothing to write or no room for it,
 * or a negative errno when the other end is gone. */
static int write_some(struct char_stream *s)
{
	ssize_t n;

	if (!refill(s))
		return 0;
	n = write(s->fd, s->out + s->out_from, s->out_to - s->out_from);
	if (n > 0) {
		s->out_from += (size_t)n;
		return 1;
	}
	if (n < 0 && errno == EINTR)
		return 1;
	s->blocked = n == 0 || errno == EAGAIN;
	return s->blocked ? 0 : -errno;
}

/* --- input ------------------------------------------------------------------- */

static void feed(struct char_stream *s)
{
	while (s->in_from < s->in_to) {
		size_t n = s->in_to - s->in_from;
		size_t taken = s->in.receive(s->in.dev, s->input + s->in_from, n);

		s->in_from += taken;
		if (taken < n)
			return;
	}
	s->in_from = s->in_to = 0;
}

/* 0, or a negative errno when the other end is gone. */
static int read_some(struct char_stream *s)
{
	ssize_t n;

	if (s->eof || s->in_to)
		return 0;
	n = read(s->fd, s->input, sizeof(s->input));
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0) {
		/* Who has only finished talking may still listen. */
		struct pollfd p = {.fd = s->fd};

		s->eof = true;
		return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR) ? -EPIPE : 0;
	}
	s->in_to = (size_t)n;
	feed(s);
	return 0;
}

/* --- the loop ---------------------------------------------------------------- */

static void update_watch(struct char_stream *s)
{
	if (s->watch)
		loop_fd_set(s->watch, (s->in.receive && !s->eof && !s->in_to ? LOOP_READ : 0) |
					      (s->blocked ? LOOP_WRITE : 0));
}

/* Write as much as there is room for, but let others have their turn, too. */
static void serve(struct char_stream *s, bool readable)
{
	enum { ROUNDS = 16 };
	int ret = readable ? read_some(s) : 0;

	for (unsigned i = 0; i < ROUNDS && ret >= 0 && !s->blocked; i++) {
		ret = write_some(s);
		if (!ret)
			break;
	}
	if (ret < 0) {
		char_stream_detach(s);
		s->gone(s->ctx);
		return;
	}
	pthread_mutex_lock(&s->lock);
	s->awake = s->blocked || s->out_from < s->out_to || char_ring_waiting(&s->ring) || ret > 0;
	pthread_mutex_unlock(&s->lock);
	update_watch(s);
	/* Blocked: the watch says when to go on. */
	if (s->awake && !s->blocked)
		loop_timer_start(s->linger, LINGER_MS);
}

static void on_output(void *ctx)
{
	struct char_stream *s = ctx;
	bool moved;

	if (s->fd < 0)
		return;
	moved = !s->blocked && refill(s);
	serve(s, false);
	/* Stay awake for what comes next, if something came. */
	if (moved && s->fd >= 0 && !s->blocked) {
		pthread_mutex_lock(&s->lock);
		s->awake = true;
		pthread_mutex_unlock(&s->lock);
		loop_timer_start(s->linger, LINGER_MS);
	}
}

static void on_ready(void *ctx, int events)
{
	struct char_stream *s = ctx;

	s->blocked = s->blocked && !(events & LOOP_WRITE);
	serve(s, events & LOOP_READ);
}

static void on_room(void *ctx)
{
	struct char_stream *s = ctx;

	pthread_mutex_lock(&s->lock);
	s->room_posted = false;
	pthread_mutex_unlock(&s->lock);
	feed(s);
	update_watch(s);
}

static void stream_room(void *ctx)
{
	struct char_stream *s = ctx;

	pthread_mutex_lock(&s->lock);
	if (!s->room_posted)
		s->room_posted = !loop_post(s->loop, on_room, s);
	pthread_mutex_unlock(&s->lock);
}

struct char_room char_stream_room(struct char_stream *s)
{
	return (struct char_room){stream_room, s};
}

/* --- life -------------------------------------------------------------------- */

int char_stream_init(struct char_stream *s, struct loop *loop, void (*gone)(void *ctx), void *ctx)
{
	int ret;

	*s = (struct char_stream){.loop = loop, .gone = gone, .ctx = ctx, .fd = -1};
	ret = char_ring_init(&s->ring);
	if (ret)
		return ret;
	s->linger = loop_timer_add(loop, on_output, s);
	if (!s->linger) {
		char_ring_fini(&s->ring);
		return -ENOMEM;
	}
	pthread_mutex_init(&s->lock, NULL);
	return 0;
}

void char_stream_fini(struct char_stream *s)
{
	if (!s->loop)
		return;
	char_stream_detach(s);
	loop_timer_del(s->linger);
	char_ring_fini(&s->ring);
	pthread_mutex_destroy(&s->lock);
	s->loop = NULL;
}

void char_stream_start(struct char_stream *s, const struct char_in *in)
{
	s->in = *in;
	update_watch(s);
}

int char_stream_attach(struct char_stream *s, int fd)
{
	s->watch = loop_fd_add(s->loop, fd, 0, on_ready, s);
	if (!s->watch)
		return -ENOMEM;
	s->fd = fd;
	s->eof = s->blocked = false;
	pthread_mutex_lock(&s->lock);
	s->attached = true;
	s->awake = true;
	pthread_mutex_unlock(&s->lock);
	update_watch(s);
	/* By the timer, not from inside our caller: gone() may be called. */
	loop_timer_start(s->linger, LINGER_MS);
	return 0;
}

void char_stream_detach(struct char_stream *s)
{
	loop_fd_del(s->watch);
	s->watch = NULL;
	s->fd = -1;
	loop_timer_stop(s->linger);
	pthread_mutex_lock(&s->lock);
	s->attached = s->awake = false;
	pthread_mutex_unlock(&s->lock);
}

size_t char_stream_drain(struct char_stream *s, int timeout_ms)
{
	while (s->fd >= 0) {
		struct pollfd p = {.fd = s->fd, .events = POLLOUT};
		int ret = write_some(s);

		if (ret < 0 || (!ret && !refill(s)) || (!ret && poll(&p, 1, timeout_ms) <= 0))
			break;
	}
	return s->out_to - s->out_from + char_ring_waiting(&s->ring);
}
