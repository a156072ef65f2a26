/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/clone/template.h"

#include "devices/backend/unix_path.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/clone/child.h"
#include "vmm/control/peer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of those that are on their way into being, and of what waits for a client that does not read. */
enum { CLIENTS_MAX = 32, STARTING_MAX = 64, OUT_MAX = 256 * 1024, BACKLOG = 64, RETRY_MS = 1000 };

struct clone {
	struct clone *next;
	pid_t pid;
	unsigned number;
	int told;        /* -1: it runs, or has failed */
	unsigned client; /* who asked for it, CLIENTS_MAX: nobody who is still there */
	json_t *id;      /* owned: of the request that is not answered yet; or NULL */
};

struct template
{
	const struct clone_words *words;
	const struct clone_maker *maker;
	struct unix_path place;
	int listener, signals; /* -1: none */
	bool deaf;             /* the host had no descriptor for one who came */
	sigset_t before;
	bool ends;
	int signum; /* that ended it; 0: a client did */
	unsigned next, starting, n_clones;
	struct clone *clones;
	struct peer clients[CLIENTS_MAX];
	/* while a request is carried out */
	struct rpc_fds *fds;
	unsigned client;
	struct clone *asked; /* the clone that it has made */
	bool is_child;       /* we are that one, and have ended */
	int status;
};

/* --- clones -------------------------------------------------------------------------------- */

static json_t *identity(const struct clone *c)
{
	return json_pack("{s:i, s:i}", "number", (int)c->number, "pid", (int)c->pid);
}

/* To whom asked for it, if that one is there; takes `line` over. */
static void tell(struct template *t, const struct clone *c, char *line)
{
	struct peer *p = c->client < CLIENTS_MAX ? &t->clients[c->client] : NULL;

	if (p && (!p->out || p->out_len - p->out_at < OUT_MAX))
		peer_put(p, line);
	else
		free(line);
}

/* It runs, or *e is why it does not. */
static void settle(struct template *t, struct clone *c, const struct err *e)
{
	json_t *result = e->kind ? NULL : identity(c);

	if (c->id)
		tell(t, c, rpc_late_answer(c->id, json_incref(result), e));
	json_decref(result);
	json_decref(c->id);
	c->id = NULL;
	fd_close(&c->told);
	t->starting--;
}

static void hear(struct template *t, struct clone *c)
{
	struct err e = {0};

	if (clone_news(c->told, &e))
		settle(t, c, &e);
}

static void bury(struct template *t, struct clone **at, int status)
{
	struct clone *c = *at;
	json_t *params = identity(c);

	/* What it had to say is there, or it has said nothing. */
	if (c->told >= 0) {
		struct err e = {0};

		if (!clone_news(c->told, &e))
			err_host(&e, -ECHILD, "the clone ended before its guest ran");
		settle(t, c, &e);
	}
	if (params && !json_object_set_new(params, "status", json_integer(status)))
		tell(t, c, rpc_notification("ended", json_incref(params)));
	json_decref(params);
	*at = c->next;
	t->n_clones--;
	free(c);
}

static void reap(struct template *t)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct clone **at = &t->clones;

		while (*at && (*at)->pid != pid)
			at = &(*at)->next;
		if (*at)
			bury(t, at, clone_status(status));
	}
}

/* In a child: none of this is its own. */
static void close_all(void *ctx)
{
	struct template *t = ctx;

	fd_close(&t->listener);
	fd_close(&t->signals);
	fd_close(&t->place.dir);
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		if (t->clients[i].fd >= 0)
			peer_close(&t->clients[i]);
	for (struct clone *c = t->clones; c; c = c->next)
		fd_close(&c->told);
	rpc_close_fds(t->fds);
}

static void end(struct template *t)
{
	t->ends = true;
	for (const struct clone *c = t->clones; c; c = c->next)
		kill(c->pid, SIGTERM);
}

/* --- what can be asked ------------------------------------------------------------------------ */

static int order_from(struct clone_order *o, struct template *t, const json_t *params,
		      struct err *e)
{
	const json_t *options = json_object_get(params, "options");
	const json_t *number = json_object_get(params, "number");
	json_int_t n = number ? json_integer_value(number) : t->next;

	if (n < 0 || n >= INT_MAX)
		return err_usage(e, -ERANGE, "number has to be 0 to %d", INT_MAX - 1);
	o->number = (unsigned)n;
	o->n_more = json_array_size(options);
	o->more = calloc(o->n_more + 1, sizeof(*o->more));
	if (!o->more)
		return err_host(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < o->n_more; i++)
		o->more[i] = (char *)json_string_value(json_array_get(options, i));
	return 0;
}

static int make(struct template *t, struct clone_order *o, struct err *e)
{
	struct clone *c = calloc(1, sizeof(*c));
	int ret = -ENOMEM;

	if (c) {
		*c = (struct clone){
			.next = t->clones, .number = o->number, .told = -1, .client = t->client};
		ret = clone_fork(o, t->words, t->maker, &c->pid, &c->told, &t->status);
	}
	fd_close(&o->output);
	if (ret) {
		free(c);
		return err_host(e, ret, "no clone can be made: %s", strerror(-ret));
	}
	t->is_child = !c->pid;
	t->clones = t->asked = c;
	t->next = o->number >= t->next ? o->number + 1 : t->next;
	t->n_clones++;
	t->starting++;
	e->code = RPC_LATER;
	return 0;
}

static json_t *on_clone(void *ctx, const json_t *params, struct err *e)
{
	struct template *t = ctx;
	struct clone_order o = {
		.output = -1, .signals = t->before, .close_all = close_all, .ctx = t};

	if (t->ends)
		err_host(e, -ESHUTDOWN, "the template ends");
	else if (t->n_clones >= CLONES_MAX)
		err_host(e, -EAGAIN, "there are %d clones, which is the most", CLONES_MAX);
	if (e->kind || order_from(&o, t, params, e))
		return NULL;
	o.output = rpc_take_fd(t->fds, params, "stdout");
	make(t, &o, e);
	free(o.more);
	return NULL;
}

static json_t *on_status(void *ctx, const json_t *params, struct err *e)
{
	const struct template *t = ctx;

	return json_pack("{s:s, s:s, s:i, s:i}", "state", t->ends ? "ending" : "waiting",
			 "template", t->words->dir, "clones", (int)t->n_clones, "next",
			 (int)t->next);
}

static json_t *on_stop(void *ctx, const json_t *params, struct err *e)
{
	end(ctx);
	return json_object();
}

static const struct rpc_method methods[] = {
	{"status", {{0}}, on_status},
	{"stop", {{0}}, on_stop},
	{"clone",
	 {{"number", RPC_INTEGER, false}, {"options", RPC_LIST, false}, {"stdout", RPC_FD, false}},
	 on_clone},
};
static const struct rpc_table table = {ARRAY_LEN(methods), methods};

/* --- clients ---------------------------------------------------------------------------------- */

static void leave(struct template *t, unsigned i)
{
	for (struct clone *c = t->clones; c; c = c->next)
		if (c->client == i)
			c->client = CLIENTS_MAX;
	peer_close(&t->clients[i]);
}

static bool has_clones(const struct template *t, unsigned i)
{
	for (const struct clone *c = t->clones; c; c = c->next)
		if (c->client == i)
			return true;
	return false;
}

static void carry_out(struct template *t, unsigned i, size_t len, struct rpc_fds *fds)
{
	struct peer *p = &t->clients[i];
	char *answer = NULL;
	json_t *later = NULL;

	t->fds = fds;
	t->client = i;
	t->asked = NULL;
	if (rpc_request(&table, t, p->in, len, fds->n, &answer, &later))
		p->last = true; /* there is no memory to tell it with */
	rpc_close_fds(fds);
	if (t->is_child) {
		json_decref(later);
		return;
	}
	if (t->asked)
		t->asked->id = later;
	peer_taken(p, len);
	peer_put(p, answer);
}

/* One turn: answers go before the next line is carried out. */
static void serve(struct template *t, unsigned i)
{
	struct peer *p = &t->clients[i];
	int sent;

	while ((sent = peer_send(p)) > 0 && t->starting < STARTING_MAX) {
		struct rpc_fds fds = {0};
		size_t len = 0;
		enum peer_line came = peer_line(p, &len, &fds);

		if (came == PEER_LINE)
			carry_out(t, i, len, &fds);
		if (came == PEER_NONE || t->is_child)
			break;
	}
	if (t->is_child)
		return;
	/* Whoever has said all may still wait to be told. */
	if (sent < 0 || (p->last && sent > 0 && t->starting < STARTING_MAX && !has_clones(t, i)))
		leave(t, i);
}

static void on_connection(struct template *t)
{
	int fd = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	unsigned i = 0;

	if (fd < 0) {
		t->deaf = errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
		if (t->deaf)
			log_warn("--template: cannot accept a client: %s", strerror(errno));
		return;
	}
	while (i < CLIENTS_MAX && t->clients[i].fd >= 0)
		i++;
	if (i < CLIENTS_MAX) {
		peer_open(&t->clients[i], fd);
		return;
	}
	char *line = rpc_complaint(RPC_FAILED, "too many clients");

	if (line)
		(void)!send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
	free(line);
	close(fd);
}

/* --- the loop --------------------------------------------------------------------------------- */

static void on_signal(struct template *t)
{
	struct signalfd_siginfo info;

	while (read(t->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		t->signum = (int)info.ssi_signo;
		end(t);
	}
	reap(t);
}

static short wish(const struct template *t, const struct peer *p)
{
	return p->out ? POLLOUT : p->last || t->starting >= STARTING_MAX ? 0 : POLLIN;
}

enum { AT_SIGNALS, AT_LISTENER, AT_CLIENTS, AT_CLONES = AT_CLIENTS + CLIENTS_MAX };

static int watch(const struct template *t, struct pollfd *p)
{
	int n = AT_CLONES;

	p[AT_SIGNALS] = (struct pollfd){.fd = t->signals, .events = POLLIN};
	p[AT_LISTENER] = (struct pollfd){.fd = t->deaf ? -1 : t->listener, .events = POLLIN};
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		p[AT_CLIENTS + i] =
			(struct pollfd){.fd = t->clients[i].fd, .events = wish(t, &t->clients[i])};
	for (const struct clone *c = t->clones; c; c = c->next)
		if (c->told >= 0)
			p[n++] = (struct pollfd){.fd = c->told, .events = POLLIN};
	return n;
}

static void turn(struct template *t)
{
	struct pollfd p[AT_CLONES + STARTING_MAX];
	int n = watch(t, p), at = AT_CLONES;

	if (poll(p, (nfds_t)n, t->deaf ? RETRY_MS : -1) < 0)
		return;
	t->deaf = false;
	/* First those that p has in this order: later on there are others. */
	for (struct clone *c = t->clones; c; c = c->next)
		if (c->told >= 0 && p[at++].revents)
			hear(t, c);
	if (p[AT_SIGNALS].revents)
		on_signal(t);
	for (unsigned i = 0; i < CLIENTS_MAX && !t->is_child; i++) {
		struct peer *peer = &t->clients[i];
		short came = p[AT_CLIENTS + i].revents;

		if (peer->fd < 0)
			continue;
		if (came & POLLIN)
			peer_receive(peer);
		else if (came & (POLLHUP | POLLERR) && !peer->out)
			leave(t, i);
		/* Also of one who waited for others. */
		if (peer->fd >= 0)
			serve(t, i);
	}
	if (!t->is_child && p[AT_LISTENER].revents)
		on_connection(t);
}

static int begin(struct template *t, struct err *e)
{
	char what[300];
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, &t->before);
	snprintf(what, sizeof(what), "--template %.250s", t->words->socket);
	t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (t->signals < 0)
		return err_host(e, -errno, "clone: %s", strerror(errno));
	t->listener = unix_path_listen(&t->place, what, t->words->socket, BACKLOG, true, e);
	return t->listener < 0 ? t->listener : 0;
}

static void finish(struct template *t)
{
	unix_path_remove(&t->place);
	close_all(t);
	sigprocmask(SIG_SETMASK, &t->before, NULL);
}

int template_run(const struct clone_words *w, const struct clone_maker *maker, struct err *e)
{
	struct rpc_fds none = {0};
	struct template *t = calloc(1, sizeof(*t));
	int status = CLONE_STATUS_FAILED;

	if (!t) {
		err_host(e, -ENOMEM, "clone: out of memory");
		return status;
	}
	*t = (struct template){.words = w,
			       .maker = maker,
			       .place = UNIX_PATH_NONE,
			       .listener = -1,
			       .signals = -1,
			       .fds = &none};
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		t->clients[i].fd = -1;
	int ret = begin(t, e);

	while (!ret && !t->is_child && !(t->ends && !t->clones))
		turn(t);
	if (t->is_child) {
		status = t->status;
		free(t->place.leaf); /* the path itself is the parent's to remove */
	} else {
		t->fds = &none;
		finish(t);
		status = ret         ? (e->kind == ERR_USAGE ? CLONE_STATUS_USAGE : status)
			 : t->signum ? CLONE_STATUS_SIGNAL + t->signum
				     : 0;
	}
	while (t->clones) {
		struct clone *c = t->clones;

		t->clones = c->next;
		json_decref(c->id);
		free(c);
	}
	free(t);
	return status;
}
