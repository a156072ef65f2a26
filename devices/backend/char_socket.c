/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A unix socket that listens: one client at a time, which may leave and come back.
 *
 * Nothing is ever replaced by it (unix_path.h).
 *
 * A second client is turned away at once rather than left waiting in a queue that
 * looks like a console that says nothing.
 */
#include "devices/backend/char_backend.h"
#include "devices/backend/char_stream.h"
#include "devices/backend/unix_path.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DRAIN_MS = 2000, BACKLOG = 4, RETRY_MS = 1000 };

struct char_socket {
	struct char_backend b;
	struct loop *loop;
	int listener, client; /* -1: none */
	struct loop_fd *watch;
	struct loop_timer *retry;
	struct char_stream stream;

	struct unix_path place;
};

static struct char_socket *socket_of(struct char_backend *b)
{
	return container_of(b, struct char_socket, b);
}

static struct char_out socket_out(struct char_backend *b)
{
	return char_stream_out(&socket_of(b)->stream);
}

static struct char_room socket_room(struct char_backend *b)
{
	return char_stream_room(&socket_of(b)->stream);
}

/* --- clients ----------------------------------------------------------------- */

static void on_gone(void *ctx)
{
	struct char_socket *s = ctx;

	log_info("%s: the client left", s->b.name);
	fd_close(&s->client);
}

/* One that has left may not have been heard of yet. */
static bool is_busy(struct char_socket *s)
{
	struct pollfd p = {.fd = s->client};

	if (s->client < 0)
		return false;
	if (poll(&p, 1, 0) <= 0)
		return true;
	char_stream_detach(&s->stream);
	on_gone(s);
	return false;
}

static void on_connection(void *ctx, int events)
{
	struct char_socket *s = ctx;
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* Out of descriptors: the client waits, and we must not spin. */
		log_warn("%s: cannot accept a client: %s", s->b.name, strerror(errno));
		loop_fd_set(s->watch, 0);
		loop_timer_start(s->retry, RETRY_MS);
		return;
	}
	if (is_busy(s)) {
		log_info("%s: a second client was turned away", s->b.name);
		close(fd);
		return;
	}
	if (char_stream_attach(&s->stream, fd)) {
		close(fd);
		return;
	}
	s->client = fd;
	log_info("%s: a client is here", s->b.name);
}

static void on_retry(void *ctx)
{
	struct char_socket *s = ctx;

	loop_fd_set(s->watch, LOOP_READ);
}

static int socket_start(struct char_backend *b, const struct char_in *in, struct err *e)
{
	struct char_socket *s = socket_of(b);

	char_stream_start(&s->stream, in);
	s->retry = loop_timer_add(s->loop, on_retry, s);
	s->watch = loop_fd_add(s->loop, s->listener, LOOP_READ, on_connection, s);
	if (!s->watch || !s->retry)
		return err_host(e, -ENOMEM, "%s: out of memory", b->name);
	return 0;
}

/* --- the path ---------------------------------------------------------------- */

/* How messages name it; for the caller to free. */
static char *subject(const char *name, const char *path, struct err *e)
{
	char *what = NULL;

	if (asprintf(&what, "%s socket=%s", name, path) < 0) {
		err_host(e, -ENOMEM, "%s: out of memory", name);
		return NULL;
	}
	return what;
}

int char_socket_check(const char *name, const char *path, struct err *e)
{
	char *what = subject(name, path, e);
	int ret = what ? unix_path_check(what, path, false, e) : -ENOMEM;

	free(what);
	return ret;
}

static int bind_path(struct char_socket *s, const char *path, struct err *e)
{
	char *what = subject(s->b.name, path, e);

	if (!what)
		return -ENOMEM;
	s->listener = unix_path_listen(&s->place, what, path, BACKLOG, false, e);
	free(what);
	return s->listener < 0 ? s->listener : 0;
}

/* --- life -------------------------------------------------------------------- */

static void socket_close(struct char_backend *b)
{
	struct char_socket *s = socket_of(b);

	unix_path_remove(&s->place);
	loop_fd_del(s->watch);
	loop_timer_del(s->retry);
	if (s->client >= 0) {
		size_t left = char_stream_drain(&s->stream, DRAIN_MS);

		if (left)
			log_warn("%s: its reader took no more; %zu bytes of output are lost",
				 b->name, left + s->stream.ring.lost);
	}
	char_stream_fini(&s->stream);
	fd_close(&s->client);
	fd_close(&s->listener);
	free(s);
}

static const struct char_backend_ops ops = {socket_out, socket_room, socket_start, socket_close};

struct char_backend *char_socket_create(const char *name, const char *path, struct loop *loop,
					struct err *e)
{
	struct char_socket *s = calloc(1, sizeof(*s));
	int ret;

	if (!s) {
		err_host(e, -ENOMEM, "%s: out of memory", name);
		return NULL;
	}
	s->b = (struct char_backend){&ops, name};
	s->loop = loop;
	s->listener = s->client = -1;
	s->place = UNIX_PATH_NONE;
	ret = bind_path(s, path, e);
	if (!ret) {
		ret = char_stream_init(&s->stream, loop, on_gone, s);
		if (ret)
			err_host(e, ret, "%s: %s", name, strerror(-ret));
	}
	if (ret) {
		socket_close(&s->b);
		return NULL;
	}
	return &s->b;
}
