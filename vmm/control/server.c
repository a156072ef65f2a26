/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/server.h"

#include "devices/backend/unix_path.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/control/methods.h"
#include "vmm/core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 16, RETRY_MS = 1000 };

struct client {
	struct control *control;
	int fd; /* -1: nobody */
	struct loop_fd *watch;
	char *in; /* CONTROL_LINE_MAX bytes; what came of lines that were not carried out */
	size_t in_len;
	char *out; /* an answer that is on its way, or NULL: only then is the next line read */
	size_t out_len, out_at;
	bool skips; /* ... the rest of a line that was too long */
	bool last;  /* it has sent all: after this answer it goes */
};

struct control {
	struct unix_path place;
	int listener; /* -1: there is one client, and it is here */
	struct machine_watcher watcher;
	struct machine *machine; /* NULL: between two */
	struct loop *loop;
	struct loop_fd *watch;
	struct loop_timer *retry; /* when the host had no descriptor for one who came */
	struct client clients[CONTROL_CLIENTS_MAX];
};

/* --- a client -------------------------------------------------------------------------- */

static void leave(struct client *c)
{
	loop_fd_del(c->watch);
	c->watch = NULL;
	fd_close(&c->fd);
	free(c->in);
	free(c->out);
	*c = (struct client){.control = c->control, .fd = -1};
}

/* Gives whether all is out. */
static bool send_out(struct client *c)
{
	while (c->out) {
		ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			leave(c);
			return false;
		}
		c->out_at += (size_t)n;
		if (c->out_at == c->out_len) {
			free(c->out);
			c->out = NULL;
		}
	}
	return true;
}

/* Takes `answer` over, which may be NULL: there is none. */
static void answer_with(struct client *c, char *answer)
{
	c->out = answer;
	c->out_at = 0;
	c->out_len = answer ? strlen(answer) : 0;
}

/* Of a line that does not fit, drop what is here. Its sender has been told. */
static void skip(struct client *c)
{
	char *end = memchr(c->in, '\n', c->in_len);
	size_t len = end ? (size_t)(end - c->in) + 1 : c->in_len;

	c->skips = !end;
	c->in_len -= len;
	memmove(c->in, c->in + len, c->in_len);
}

/* The first line of what came, if one is whole: gives whether there was something to do. */
static bool carry_out(struct client *c)
{
	char *end = memchr(c->in, '\n', c->in_len), *answer;
	size_t len;

	if (!end && c->in_len == CONTROL_LINE_MAX) {
		answer_with(c, rpc_complaint(RPC_INVALID_REQUEST, "the line is too long"));
		skip(c);
		return true;
	}
	if (!end)
		return false;
	len = (size_t)(end - c->in);
	if (rpc_answer(&control_methods, c->control->machine, c->in, len, &answer))
		c->last = true; /* there is no memory to tell it with */
	c->in_len -= len + 1;
	memmove(c->in, end + 1, c->in_len);
	answer_with(c, answer);
	return true;
}

/* Read what there is. Gives false at the end. */
static bool receive(struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, CONTROL_LINE_MAX - c->in_len, MSG_DONTWAIT);

	if (n > 0)
		c->in_len += (size_t)n;
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* One turn: answers go before the next line is carried out. */
static void serve(struct client *c)
{
	while (send_out(c) && !c->last && carry_out(c))
		;
	if (c->fd < 0)
		return;
	if (c->last && !c->out)
		leave(c);
	if (c->watch)
		loop_fd_set(c->watch, c->out ? LOOP_WRITE : LOOP_READ);
}

static void on_client(void *ctx, int events)
{
	struct client *c = ctx;

	if (!c->out && !receive(c))
		c->last = true;
	if (c->skips)
		skip(c);
	/* A line without its newline at the end is none. */
	serve(c);
}

static bool watch_client(struct client *c)
{
	c->watch =
		loop_fd_add(c->control->loop, c->fd, c->out ? LOOP_WRITE : LOOP_READ, on_client, c);
	return c->watch;
}

/* Takes `fd` over. */
static void welcome(struct control *s, int fd)
{
	static const char full[] = "too many clients";
	unsigned i = 0;

	while (i < CONTROL_CLIENTS_MAX && s->clients[i].fd >= 0)
		i++;
	if (i == CONTROL_CLIENTS_MAX) {
		char *line = rpc_complaint(RPC_FAILED, full);

		if (line)
			(void)!send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
		free(line);
		close(fd);
		return;
	}
	struct client *c = &s->clients[i];

	c->fd = fd;
	c->in = malloc(CONTROL_LINE_MAX);
	if (!c->in || (s->loop && !watch_client(c)))
		leave(c);
}

/* --- the socket -------------------------------------------------------------------------- */

static void on_connection(void *ctx, int events)
{
	struct control *s = ctx;
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		welcome(s, fd);
		return;
	}
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	/* Out of descriptors: the client waits, and we must not spin. */
	log_warn("--control: cannot accept a client: %s", strerror(errno));
	loop_fd_set(s->watch, 0);
	loop_timer_start(s->retry, RETRY_MS);
}

static void on_retry(void *ctx)
{
	struct control *s = ctx;

	loop_fd_set(s->watch, LOOP_READ);
}

static int begins(void *ctx, struct machine *m, struct loop *loop, struct err *e)
{
	struct control *s = ctx;
	bool all = true;

	s->machine = m;
	s->loop = loop;
	if (s->listener >= 0) {
		s->retry = loop_timer_add(loop, on_retry, s);
		s->watch = loop_fd_add(loop, s->listener, LOOP_READ, on_connection, s);
		all = s->retry && s->watch;
	}
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX && all; i++)
		if (s->clients[i].fd >= 0)
			all = watch_client(&s->clients[i]);
	return all ? 0 : err_host(e, -ENOMEM, "--control: out of memory");
}

static void ends(void *ctx)
{
	struct control *s = ctx;

	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		loop_fd_del(s->clients[i].watch);
		s->clients[i].watch = NULL;
	}
	loop_fd_del(s->watch);
	s->watch = NULL;
	loop_timer_del(s->retry);
	s->retry = NULL;
	s->machine = NULL;
	s->loop = NULL;
}

/* --- life -------------------------------------------------------------------------------- */

static int option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) ? -errno : value;
}

/* One that listens, or one that is connected. */
static int take_over(struct control *s, int fd, struct err *e)
{
	int type = option(fd, SO_TYPE), listens = option(fd, SO_ACCEPTCONN);

	if (type == -EBADF)
		return err_usage(e, type, "--control fd=%d: is not open", fd);
	if (type != SOCK_STREAM || option(fd, SO_DOMAIN) != AF_UNIX)
		return err_usage(e, -ENOTSOCK, "--control fd=%d: is not a unix stream socket", fd);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (listens > 0)
		s->listener = fd;
	else
		welcome(s, fd);
	return 0;
}

static int make_socket(struct control *s, const char *path, struct err *e)
{
	char what[300];

	snprintf(what, sizeof(what), "--control %s", path);
	s->listener = unix_path_listen(&s->place, what, path, BACKLOG, true, e);
	return s->listener < 0 ? s->listener : 0;
}

int control_open(struct control **out, const struct vm_config *c, struct err *e)
{
	struct control *s;

	*out = NULL;
	if (!config_has_control(c))
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_host(e, -ENOMEM, "--control: out of memory");
	s->place = UNIX_PATH_NONE;
	s->listener = -1;
	s->watcher = (struct machine_watcher){begins, ends, s};
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		s->clients[i] = (struct client){.control = s, .fd = -1};
	int ret = c->control.path ? make_socket(s, c->control.path, e)
				  : take_over(s, c->control.fd, e);

	if (ret) {
		control_close(s);
		return ret;
	}
	*out = s;
	return 0;
}

const struct machine_watcher *control_watcher(const struct control *c)
{
	return c ? &c->watcher : NULL;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		leave(&c->clients[i]);
	unix_path_remove(&c->place);
	fd_close(&c->listener);
	free(c);
}
