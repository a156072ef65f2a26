/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that has connected to PATH is ours until its line is there, and the device's from
 * then on. Nothing behind the line's end is read here: a client may send on without waiting
 * for the answer, and the device reads that from the socket. So the line is looked at with
 * MSG_PEEK first, and then as much is taken as belongs to it.
 */
#include "devices/backend/vsock_unix.h"

#include "devices/backend/unix_path.h"
#include "devices/backend/vsock_connector.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
	BACKLOG = 128,
	CLIENTS_MAX = 64, /* that have not said their line; the others wait to be accepted */
	LINE_MS = 10000,
	RETRY_MS = 1000,
};

static const char connect_word[] = "CONNECT ";

enum { LINE_MAX_LEN = sizeof(connect_word) - 1 + VSOCK_PORT_DIGITS + 1 };
enum { PATH_MAX_LEN = VSOCK_PATH_MAX };

struct client {
	struct vsock_unix *u;
	LIST_ENTRY(client) link;
	int fd; /* owned; -1: handed on */
	struct loop_fd *watch;
	struct loop_timer *timer;
	char line[LINE_MAX_LEN + 1];
	size_t len;
};

struct vsock_unix {
	struct vsock_backend b;
	char *name, *path, *what; /* owned; the last for messages about the path */
	struct unix_path place;
	int listener;                     /* -1: none */
	struct vsock_connector connector; /* none: we connect ourselves */
	unsigned line_ms;
	struct log_budget complaints;

	/* Attached: */
	struct loop *loop;
	struct loop_fd *watch;
	struct loop_timer *retry;
	LIST_HEAD(, client) clients;
	unsigned n_clients;
};

static struct vsock_unix *of(struct vsock_backend *b)
{
	return container_of(b, struct vsock_unix, b);
}

/* --- to the guest -------------------------------------------------------------------------- */

static void end_client(struct client *c)
{
	struct vsock_unix *u = c->u;

	loop_fd_del(c->watch);
	loop_timer_del(c->timer);
	fd_close(&c->fd);
	LIST_REMOVE(c, link);
	free(c);
	if (u->n_clients-- == CLIENTS_MAX)
		loop_fd_set(u->watch, LOOP_READ);
}

/* The line without its end. */
static bool parse_line(const char *line, uint32_t *port)
{
	const char *digits = line + sizeof(connect_word) - 1;
	uint64_t n = 0;

	if (strncmp(line, connect_word, sizeof(connect_word) - 1) != 0 || !*digits)
		return false;
	for (const char *p = digits; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		n = n * 10 + (uint64_t)(*p - '0');
	}
	*port = (uint32_t)n;
	return n < UINT32_MAX; /* that one means any port */
}

/* Take of the line what is there. 1: all of it, without its end; 0: not yet; -1: it is none. */
static int take_line(struct client *c)
{
	ssize_t n = recv(c->fd, c->line + c->len, LINE_MAX_LEN - c->len, MSG_PEEK | MSG_DONTWAIT);
	char *end;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (!n)
		return -1; /* it left, or the line is too long */
	end = memchr(c->line + c->len, '\n', (size_t)n);
	if (end)
		n = end + 1 - (c->line + c->len);
	if (recv(c->fd, c->line + c->len, (size_t)n, MSG_DONTWAIT) != n)
		return -1;
	c->len += (size_t)n;
	if (!end)
		return 0;
	*end = '\0';
	return strlen(c->line) + 1 == c->len ? 1 : -1;
}

static void on_line(void *ctx, int events)
{
	struct client *c = ctx;
	struct vsock_unix *u = c->u;
	uint32_t port;
	int got = take_line(c);

	if (!got)
		return;
	if (got < 0 || !parse_line(c->line, &port)) {
		log_info("%s: a client did not say CONNECT and a port", u->name);
		end_client(c);
		return;
	}
	/* The device watches the same descriptor, so we are to be off it before. */
	loop_fd_del(c->watch);
	c->watch = NULL;
	int ret = u->b.open(u->b.ctx, port, c->fd, NULL);

	if (ret)
		log_warn("%s: a client is turned away: %s", u->name, strerror(-ret));
	else
		c->fd = -1;
	end_client(c);
}

static void on_timer(void *ctx)
{
	struct client *c = ctx;

	log_info("%s: a client did not say CONNECT and a port in time", c->u->name);
	end_client(c);
}

static void on_connection(void *ctx, int events)
{
	struct vsock_unix *u = ctx;
	int fd = accept4(u->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* Out of descriptors: the client waits, and we must not spin. */
		log_warn("%s: cannot accept a client: %s", u->name, strerror(errno));
		loop_fd_set(u->watch, 0);
		loop_timer_start(u->retry, RETRY_MS);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		fd_close(&fd);
		return;
	}
	*c = (struct client){.u = u, .fd = fd};
	LIST_INSERT_HEAD(&u->clients, c, link);
	if (++u->n_clients == CLIENTS_MAX)
		loop_fd_set(u->watch, 0);
	c->timer = loop_timer_add(u->loop, on_timer, c);
	c->watch = loop_fd_add(u->loop, fd, LOOP_READ, on_line, c);
	if (c->timer && c->watch)
		loop_timer_start(c->timer, u->line_ms);
	else
		end_client(c);
}

static void on_retry(void *ctx)
{
	struct vsock_unix *u = ctx;

	if (u->n_clients < CLIENTS_MAX)
		loop_fd_set(u->watch, LOOP_READ);
}

static void unix_answered(struct vsock_backend *b, void *who, int fd, uint32_t host_port)
{
	char line[3 + VSOCK_PORT_DIGITS + 2];
	int len = snprintf(line, sizeof(line), "OK %u\n", host_port);

	/* The first bytes in a socket's queue find room; a client that has gone is found out
	 * by who reads there next. */
	if (host_port && send(fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_info("%s: a client left before it was answered", of(b)->name);
}

/* --- from the guest ------------------------------------------------------------------------ */

static int unix_connect(struct vsock_backend *b, uint32_t port)
{
	struct vsock_unix *u = of(b);
	int fd = u->connector.wire >= 0 ? vsock_connector_connect(&u->connector, port)
					: vsock_connect_here(u->path, port);

	/* That nobody listens is no news; that somebody cannot be reached may be. */
	if (fd < 0 && fd != -ENOENT && fd != -ECONNREFUSED)
		log_guest(&u->complaints, "%s: the guest is refused at %s_%u: %s", u->name, u->path,
			  port, strerror(-fd));
	return fd;
}

/* --- life --------------------------------------------------------------------------------------
 */

static void unix_detach(struct vsock_backend *b)
{
	struct vsock_unix *u = of(b);

	while (!LIST_EMPTY(&u->clients))
		end_client(LIST_FIRST(&u->clients));
	loop_fd_del(u->watch);
	loop_timer_del(u->retry);
	u->watch = NULL;
	u->retry = NULL;
}

static int unix_attach(struct vsock_backend *b, struct loop *loop)
{
	struct vsock_unix *u = of(b);

	u->loop = loop;
	u->retry = loop_timer_add(loop, on_retry, u);
	u->watch = loop_fd_add(loop, u->listener, LOOP_READ, on_connection, u);
	if (u->retry && u->watch)
		return 0;
	unix_detach(b);
	return -ENOMEM;
}

static void unix_destroy(struct vsock_backend *b)
{
	struct vsock_unix *u = of(b);

	vsock_connector_stop(&u->connector);
	unix_path_remove(&u->place);
	fd_close(&u->listener);
	free(u->name);
	free(u->path);
	free(u->what);
	free(u);
}

static const struct vsock_backend_ops ops = {
	.attach = unix_attach,
	.detach = unix_detach,
	.connect = unix_connect,
	.answered = unix_answered,
	.destroy = unix_destroy,
};

int vsock_unix_create(struct vsock_backend **out, const char *name, const char *path, struct err *e)
{
	struct vsock_unix *u = calloc(1, sizeof(*u));

	if (!u)
		return err_host(e, -ENOMEM, "%s: out of memory", name);
	u->b.ops = &ops;
	u->listener = -1;
	u->connector = VSOCK_CONNECTOR_NONE;
	u->line_ms = LINE_MS;
	u->place = UNIX_PATH_NONE;
	u->name = strdup(name);
	u->path = strdup(path);
	if (asprintf(&u->what, "%s %s", name, path) < 0)
		u->what = NULL;
	if (!u->name || !u->path || !u->what) {
		unix_destroy(&u->b);
		return err_host(e, -ENOMEM, "%s: out of memory", name);
	}
	*out = &u->b;
	return 0;
}

int vsock_unix_check(struct vsock_backend *b, struct err *e)
{
	struct vsock_unix *u = of(b);

	if (strlen(u->path) > PATH_MAX_LEN)
		return err_usage(e, -ENAMETOOLONG,
				 "%s: longer than %d bytes, as a port is put behind it; give a "
				 "shorter one",
				 u->what, PATH_MAX_LEN);
	return unix_path_check(u->what, u->path, true, e);
}

int vsock_unix_listen(struct vsock_backend *b, struct err *e)
{
	struct vsock_unix *u = of(b);
	int ret = vsock_unix_check(b, e);

	if (ret)
		return ret;
	ret = unix_path_listen(&u->place, u->what, u->path, BACKLOG, true, e);
	if (ret < 0)
		return ret;
	u->listener = ret;
	return 0;
}

int vsock_unix_confine(struct vsock_backend *b, struct err *e)
{
	struct vsock_unix *u = of(b);
	int ret = vsock_connector_start(&u->connector, u->path);

	return ret ? err_host(e, ret, "%s: who connects cannot be begun: %s", u->what,
			      strerror(-ret))
		   : 0;
}

void vsock_unix_set_patience(struct vsock_backend *b, unsigned ms)
{
	of(b)->line_ms = ms;
}
