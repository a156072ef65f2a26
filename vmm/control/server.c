/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/server.h"

#include "devices/backend/unix_path.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/control/activation.h"
#include "vmm/control/mark.h"
#include "vmm/control/methods.h"
#include "vmm/core/loop.h"
#include "vmm/machine/events.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 16, RETRY_MS = 1000 };

/* A descriptor that came, and with which of the bytes in `in`: the one before that place. */
struct sent {
	int fd;
	size_t at;
};

struct client {
	struct control *control;
	int fd; /* -1: nobody */
	struct loop_fd *watch;
	char *in; /* CONTROL_LINE_MAX bytes; what came of lines that were not carried out */
	size_t in_len;
	struct sent sent[RPC_FDS_MAX]; /* owned: of lines that were not carried out */
	unsigned n_sent;
	size_t lost_at; /* likewise, some that could not be kept; 0: none */
	char *out;      /* what is on its way, or NULL: only then is the next line read */
	size_t out_len, out_at;
	bool skips;       /* ... the rest of a line that was too long */
	bool last;        /* it has sent all: after this answer it goes, unless it listens */
	bool listens;     /* to events, */
	unsigned dropped; /* of which so many did not fit */
};

struct control {
	struct unix_path place;
	int mark;     /* -1: none */
	int listener; /* -1: there is one client, and it is here */
	struct machine_watcher watcher;
	struct machine *machine; /* NULL: between two */
	struct loop *loop;       /* the same */
	pthread_mutex_t lock;    /* of `waiting`, and of `loop` for other threads */
	struct waiting {         /* events that the main thread has not passed on */
		bool posted;
		unsigned n, listeners, dropped;
		char *lines[CONTROL_EVENTS_MAX]; /* owned */
	} waiting;
	struct loop_fd *watch;
	struct loop_timer *retry; /* when the host had no descriptor for one who came */
	struct client clients[CONTROL_CLIENTS_MAX];
};

/* --- a client -------------------------------------------------------------------------- */

static void count_listener(struct control *s, int more)
{
	pthread_mutex_lock(&s->lock);
	s->waiting.listeners += (unsigned)more;
	pthread_mutex_unlock(&s->lock);
}

static void leave(struct client *c)
{
	if (c->listens)
		count_listener(c->control, -1);
	loop_fd_del(c->watch);
	c->watch = NULL;
	fd_close(&c->fd);
	for (unsigned i = 0; i < c->n_sent; i++)
		close(c->sent[i].fd);
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

/* Behind what is on its way. Takes `line` over, which may be NULL: there is none. False: there is
 * no memory. */
static bool put(struct client *c, char *line)
{
	size_t len = line ? strlen(line) : 0;

	if (!c->out) {
		c->out = line;
		c->out_at = 0;
		c->out_len = len;
		return true;
	}
	/* Of one that reads slowly, what is out by now does not pile up in front. */
	c->out_len -= c->out_at;
	memmove(c->out, c->out + c->out_at, c->out_len);
	c->out_at = 0;
	char *all = len ? realloc(c->out, c->out_len + len) : c->out;

	if (all) {
		c->out = all;
		memcpy(all + c->out_len, line ? line : "", len);
		c->out_len += len;
	}
	free(line);
	return all;
}

/* The descriptors that came with the first `len` bytes are *fds now, which was empty. Gives
 * whether those are all that did. */
static bool collect(struct client *c, size_t len, struct rpc_fds *fds)
{
	bool all = !c->lost_at || c->lost_at > len;
	unsigned kept = 0;

	for (unsigned i = 0; i < c->n_sent; i++) {
		if (c->sent[i].at <= len)
			fds->fd[fds->n++] = c->sent[i].fd;
		else
			c->sent[kept++] = (struct sent){c->sent[i].fd, c->sent[i].at - len};
	}
	c->n_sent = kept;
	c->lost_at = all && c->lost_at ? c->lost_at - len : 0;
	return all;
}

static void drop(struct client *c, size_t len)
{
	c->in_len -= len;
	memmove(c->in, c->in + len, c->in_len);
}

/* Of a line that does not fit, drop what is here. Its sender has been told. */
static void skip(struct client *c)
{
	char *end = memchr(c->in, '\n', c->in_len);
	size_t len = end ? (size_t)(end - c->in) + 1 : c->in_len;
	struct rpc_fds fds = {0};

	c->skips = !end;
	collect(c, len, &fds);
	rpc_close_fds(&fds);
	drop(c, len);
}

/* The first line of what came, if one is whole: gives whether there was something to do. */
static bool carry_out(struct client *c)
{
	static const char too_many[] = "more descriptors came with the line than can be taken";
	struct control_call call = {.machine = c->control->machine};
	char *end = memchr(c->in, '\n', c->in_len), *answer = NULL;
	size_t len;

	if (!end && c->in_len == CONTROL_LINE_MAX) {
		put(c, rpc_complaint(RPC_INVALID_REQUEST, "the line is too long"));
		skip(c);
		return true;
	}
	if (!end)
		return false;
	len = (size_t)(end - c->in);
	if (!collect(c, len + 1, &call.fds))
		answer = rpc_complaint(RPC_INVALID_REQUEST, too_many);
	else if (rpc_answer(&control_methods, &call, c->in, len, call.fds.n, &answer))
		c->last = true; /* there is no memory to tell it with */
	rpc_close_fds(&call.fds);
	if (call.listens && !c->listens)
		count_listener(c->control, 1);
	c->listens |= call.listens;
	drop(c, len + 1);
	put(c, answer);
	return true;
}

/* What came beside the last of the bytes. */
static void take_sent(struct client *c, struct msghdr *m)
{
	struct cmsghdr *h = CMSG_FIRSTHDR(m);

	for (; h; h = CMSG_NXTHDR(m, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			if (c->n_sent < RPC_FDS_MAX) {
				c->sent[c->n_sent++] = (struct sent){fd, c->in_len};
			} else {
				c->lost_at = c->in_len;
				close(fd);
			}
		}
	}
	/* More than there was room for, or the process has no numbers left. */
	if (m->msg_flags & MSG_CTRUNC)
		c->lost_at = c->in_len;
}

/* Read what there is. Gives false at the end. What has descriptors beside it ends what one
 * recvmsg() gives [unix(7)], so they are those of the last byte. */
static bool receive(struct client *c)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * RPC_FDS_MAX)];
	} beside;
	struct iovec iov = {c->in + c->in_len, CONTROL_LINE_MAX - c->in_len};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &beside,
		.msg_controllen = CMSG_LEN(sizeof(int) * RPC_FDS_MAX),
	};
	ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n > 0) {
		c->in_len += (size_t)n;
		take_sent(c, &m);
	}
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* What it is watched for. */
static int wish(const struct client *c)
{
	return c->out ? LOOP_WRITE : c->last ? 0 : LOOP_READ;
}

/* One turn: answers go before the next line is carried out, and between two machines nothing
 * is. */
static void serve(struct client *c)
{
	while (send_out(c) && c->control->machine && !c->last && carry_out(c))
		;
	if (c->fd < 0)
		return;
	if (c->last && !c->out && !c->listens)
		leave(c);
	if (c->watch)
		loop_fd_set(c->watch, wish(c));
}

static void on_client(void *ctx, int events)
{
	struct client *c = ctx;

	if (!c->out && !c->last && !receive(c))
		c->last = true;
	if (c->skips)
		skip(c);
	/* A line without its newline at the end is none. */
	serve(c);
}

static bool watch_client(struct client *c)
{
	c->watch = loop_fd_add(c->control->loop, c->fd, wish(c), on_client, c);
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

/* --- events -------------------------------------------------------------------------------- */

static char *notification(const char *params)
{
	static const char form[] = "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":%s}\n";
	char *line;

	return asprintf(&line, form, params) < 0 ? NULL : line;
}

static char *gap(unsigned n)
{
	char params[64];

	snprintf(params, sizeof(params), "{\"event\":\"dropped\",\"dropped\":%u}", n);
	return notification(params);
}

static void tell(struct client *c, const char *line)
{
	size_t waits = c->out ? c->out_len - c->out_at : 0;
	char *copy = waits + strlen(line) < CONTROL_OUT_MAX ? strdup(line) : NULL;
	char *before = copy && c->dropped ? gap(c->dropped) : NULL;

	if (before && put(c, before))
		c->dropped = 0;
	if (!copy || !put(c, copy))
		c->dropped++;
	serve(c);
}

/* Pass on what waits. Main thread. */
static void deliver(void *arg)
{
	struct control *s = arg;
	struct waiting w;

	pthread_mutex_lock(&s->lock);
	w = s->waiting;
	s->waiting = (struct waiting){.listeners = w.listeners};
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct client *c = &s->clients[i];

		for (unsigned k = 0; k < w.n && c->listens; k++)
			tell(c, w.lines[k]);
		c->dropped += c->listens ? w.dropped : 0;
	}
	for (unsigned k = 0; k < w.n; k++)
		free(w.lines[k]);
}

/* Any thread, in the midst of saying it. */
static void on_event(void *ctx, const char *params)
{
	struct control *s = ctx;
	struct waiting *w = &s->waiting;

	pthread_mutex_lock(&s->lock);
	if (w->listeners) {
		char *line = w->n < CONTROL_EVENTS_MAX ? notification(params) : NULL;

		if (line)
			w->lines[w->n++] = line;
		else
			w->dropped++;
		if (s->loop && !w->posted)
			w->posted = !loop_post(s->loop, deliver, s);
	}
	pthread_mutex_unlock(&s->lock);
}

static void set_loop(struct control *s, struct loop *loop)
{
	pthread_mutex_lock(&s->lock);
	s->loop = loop;
	s->waiting.posted = false;
	pthread_mutex_unlock(&s->lock);
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
	set_loop(s, loop);
	if (s->listener >= 0) {
		s->retry = loop_timer_add(loop, on_retry, s);
		s->watch = loop_fd_add(loop, s->listener, LOOP_READ, on_connection, s);
		all = s->retry && s->watch;
	}
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX && all; i++)
		if (s->clients[i].fd >= 0)
			all = watch_client(&s->clients[i]);
	if (!all)
		return err_host(e, -ENOMEM, "--control: out of memory");
	/* What was told, and asked, between two machines. */
	deliver(s);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (s->clients[i].fd >= 0)
			serve(&s->clients[i]);
	return 0;
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
	set_loop(s, NULL);
}

/* --- life -------------------------------------------------------------------------------- */

static int option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) ? -errno : value;
}

/* One that listens, or one that is connected. */
static int take_over(struct control *s, int inherited, struct err *e)
{
	int fd = inherited == MEETING_FD_SYSTEMD ? activation_fd("control", e) : inherited;
	int type = option(fd, SO_TYPE), listens = option(fd, SO_ACCEPTCONN);

	if (fd < 0)
		return fd;

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

enum { WHAT_MAX = 300 };

static const char *name_of(const char *path, char what[WHAT_MAX])
{
	snprintf(what, WHAT_MAX, "--control %s", path);
	return what;
}

int control_check(const struct vm_config *c, struct err *e)
{
	const char *path = c->control.path;
	char what[WHAT_MAX];

	return path ? unix_path_check(name_of(path, what), path, true, e) : 0;
}

/* Where clients find us, if they do; NULL: nowhere that we know. */
static const char *place_of(const struct control *s, struct sockaddr_un *addr)
{
	socklen_t len = sizeof(*addr);

	*addr = (struct sockaddr_un){0};
	if (s->listener < 0 || getsockname(s->listener, (struct sockaddr *)addr, &len) ||
	    len <= offsetof(struct sockaddr_un, sun_path) || len > sizeof(*addr))
		return NULL;
	return *addr->sun_path == '/' ? addr->sun_path : NULL;
}

/* For `minivmm list`. */
static void leave_mark(struct control *s, const char *path)
{
	struct sockaddr_un addr;

	s->mark = mark_leave(path ? path : place_of(s, &addr));
	if (s->mark < 0)
		log_warn("--control: minivmm list will not tell of it: %s", strerror(-s->mark));
}

static int make_socket(struct control *s, const char *path, struct err *e)
{
	char what[WHAT_MAX];

	s->listener = unix_path_listen(&s->place, name_of(path, what), path, BACKLOG, true, e);
	return s->listener < 0 ? s->listener : 0;
}

int control_open(struct control **out, const struct vm_config *c, struct events *events,
		 struct err *e)
{
	struct control *s;

	*out = NULL;
	if (!config_has_control(c))
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_host(e, -ENOMEM, "--control: out of memory");
	pthread_mutex_init(&s->lock, NULL);
	s->place = UNIX_PATH_NONE;
	s->listener = -1;
	s->mark = -1;
	s->watcher = (struct machine_watcher){begins, NULL, ends, s};
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		s->clients[i] = (struct client){.control = s, .fd = -1};
	int ret = c->control.path ? make_socket(s, c->control.path, e)
				  : take_over(s, c->control.fd, e);

	if (ret) {
		control_close(s);
		return ret;
	}
	leave_mark(s, c->control.path);
	events_listen(events, on_event, s);
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
	deliver(c);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		leave(&c->clients[i]);
	pthread_mutex_destroy(&c->lock);
	unix_path_remove(&c->place);
	fd_close(&c->listener);
	fd_close(&c->mark);
	free(c);
}
