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

struct client {
	struct control *control;
	struct peer peer; /* its descriptor is -1: nobody */
	struct loop_fd *watch;
	json_t *waits;    /* owned: the id of what it is answered later; NULL: nothing */
	bool listens;     /* to events, */
	unsigned dropped; /* of which so many did not fit */
};

struct control {
	struct unix_path place;
	struct mark_left mark;
	int listener; /* -1: there is one client, and it is here */
	struct machine_watcher watcher;
	struct control_late late;
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
	json_decref(c->waits);
	peer_close(&c->peer);
	*c = (struct client){.control = c->control, .peer = {.fd = -1}};
}

/* Gives whether all is out. */
static bool send_out(struct client *c)
{
	int ret = peer_send(&c->peer);

	if (ret < 0)
		leave(c);
	return ret > 0;
}

/* The first line of what came, if one is whole: gives whether there was something to do. */
static bool carry_out(struct client *c)
{
	struct control_call call = {.machine = c->control->machine, .late = &c->control->late};
	char *answer = NULL;
	size_t len = 0;
	enum peer_line came = peer_line(&c->peer, &len, &call.fds);

	if (came != PEER_LINE)
		return came == PEER_REFUSED;
	if (rpc_request(&control_methods, &call, c->peer.in, len, call.fds.n, &answer, &c->waits))
		c->peer.last = true; /* there is no memory to tell it with */
	rpc_close_fds(&call.fds);
	if (call.listens && !c->listens)
		count_listener(c->control, 1);
	c->listens |= call.listens;
	peer_taken(&c->peer, len);
	peer_put(&c->peer, answer);
	return true;
}

/* What it is watched for. */
static int wish(const struct client *c)
{
	return c->peer.out ? LOOP_WRITE : c->peer.last || c->waits ? 0 : LOOP_READ;
}

/* One turn: answers go before the next line is carried out, be they late, and without a machine
 * nothing is. */
static void serve(struct client *c)
{
	while (send_out(c) && c->control->machine && !c->peer.last && !c->waits && carry_out(c))
		;
	if (c->peer.fd < 0)
		return;
	if (c->peer.last && !c->peer.out && !c->listens && !c->waits)
		leave(c);
	if (c->watch)
		loop_fd_set(c->watch, wish(c));
}

/* To who waits for it, if they still do. Takes `result` over. */
static void tell_late(void *ctx, json_t *result, const struct err *e)
{
	struct control *s = ctx;
	struct client *c = s->clients;

	while (c < s->clients + CONTROL_CLIENTS_MAX && !c->waits)
		c++;
	if (c == s->clients + CONTROL_CLIENTS_MAX) {
		json_decref(result);
		return;
	}
	char *line = rpc_late_answer(c->waits, result, e);

	json_decref(c->waits);
	c->waits = NULL;
	if (!line)
		c->peer.last = true; /* there is no memory to tell it with */
	peer_put(&c->peer, line);
	serve(c);
}

static void on_client(void *ctx, int events)
{
	struct client *c = ctx;

	if (!c->peer.out && !c->peer.last && !c->waits)
		peer_receive(&c->peer);
	/* A line without its newline at the end is none. */
	serve(c);
}

static bool watch_client(struct client *c)
{
	c->watch = loop_fd_add(c->control->loop, c->peer.fd, wish(c), on_client, c);
	return c->watch;
}

/* Takes `fd` over. */
static void welcome(struct control *s, int fd)
{
	static const char full[] = "too many clients";
	unsigned i = 0;

	while (i < CONTROL_CLIENTS_MAX && s->clients[i].peer.fd >= 0)
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

	if (peer_open(&c->peer, fd) || (s->loop && !watch_client(c)))
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
	size_t waits = c->peer.out ? c->peer.out_len - c->peer.out_at : 0;
	char *copy = waits + strlen(line) < CONTROL_OUT_MAX ? strdup(line) : NULL;
	char *before = copy && c->dropped ? gap(c->dropped) : NULL;

	if (before && peer_put(&c->peer, before))
		c->dropped = 0;
	if (!copy || !peer_put(&c->peer, copy))
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
		if (s->clients[i].peer.fd >= 0)
			all = watch_client(&s->clients[i]);
	if (!all)
		return err_host(e, -ENOMEM, "--control: out of memory");
	/* What was told, and asked, before it is there. */
	deliver(s);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (s->clients[i].peer.fd >= 0)
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

	int ret = mark_leave(&s->mark, path ? path : place_of(s, &addr));

	if (ret)
		log_warn("--control: minivmm list will not tell of it: %s", strerror(-ret));
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
	s->mark = (struct mark_left){-1, -1};
	s->watcher = (struct machine_watcher){begins, NULL, ends, s};
	s->late = (struct control_late){tell_late, s};
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		s->clients[i] = (struct client){.control = s, .peer = {.fd = -1}};
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
	mark_remove(&c->mark);
	free(c);
}
