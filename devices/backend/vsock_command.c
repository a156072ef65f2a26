/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/vsock_command.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"
#include "vmm/base/log.h"
#include "vmm/base/thread.h"
#include "vmm/core/command_wire.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STALLED_MS = 2000, PUMP_BYTES = 128 * 1024, PUMP_STACK = 128 * 1024 };

/* The streams by their ports. */
enum { CONTROL, IN, OUT, ERR, STREAMS };

/* A thread of its own, and all it knows: it may outlive the machine, when it is stuck with a
 * reader that does not read, or a person who does not type. Who of the two is the last to
 * leave it frees it. */
struct pump {
	pthread_t thread;
	int from, to;  /* one of them is the socket, which is owned */
	bool to_guest; /* ... and it is `to` */
	_Atomic uint64_t moved;
	atomic_flag left;
	uint8_t bytes[PUMP_BYTES];
};

struct command {
	struct vsock_backend backend;
	struct vsock_backend *rest; /* owned; NULL: there are no other ports */
	int ours[STREAMS];          /* ends of the socket pairs; -1: given away or closed */
	int guests[STREAMS];        /* until the guest has connected */
	struct pump *pumps[STREAMS];
	struct loop_fd *control;
	struct loop_fd *input; /* with a terminal: of its stream */
	struct char_room room;
	void (*changed)(void *ctx, bool running);
	void *ctx;
	uint8_t message[COMMAND_MESSAGE_LEN];
	size_t n_message;
	bool running;
	int status; /* -1: not known */
};

/* --- the vsock device's calls: its loop ------------------------------------------------ */

static struct command *of(struct vsock_backend *b)
{
	return container_of(b, struct command, backend);
}

static int attach(struct vsock_backend *b, struct loop *loop)
{
	struct vsock_backend *rest = of(b)->rest;

	if (!rest)
		return 0;
	rest->open = b->open;
	rest->ctx = b->ctx;
	return rest->ops->attach ? rest->ops->attach(rest, loop) : 0;
}

static void detach(struct vsock_backend *b)
{
	struct vsock_backend *rest = of(b)->rest;

	if (rest && rest->ops->detach)
		rest->ops->detach(rest);
}

/* Each of the command's ports once: who else in the guest comes is refused. */
static int connect_port(struct vsock_backend *b, uint32_t port)
{
	struct command *c = of(b);
	uint32_t stream = port - COMMAND_PORT_CONTROL;
	int fd;

	if (stream >= STREAMS)
		return c->rest ? c->rest->ops->connect(c->rest, port) : -ECONNREFUSED;
	if (c->guests[stream] < 0)
		return -ECONNREFUSED;
	fd = c->guests[stream];
	c->guests[stream] = -1;
	return fd;
}

/* Only the rest calls open(). */
static void answered(struct vsock_backend *b, void *who, int fd, uint32_t host_port)
{
	struct vsock_backend *rest = of(b)->rest;

	if (rest && rest->ops->answered)
		rest->ops->answered(rest, who, fd, host_port);
}

static void destroy_backend(struct vsock_backend *b)
{
	struct command *c = of(b);

	/* A guest that never connected ends its streams all the same. */
	for (unsigned i = 0; i < STREAMS; i++)
		fd_close(&c->guests[i]);
	vsock_backend_destroy(c->rest);
	c->rest = NULL;
}

static const struct vsock_backend_ops backend_ops = {
	.attach = attach,
	.detach = detach,
	.connect = connect_port,
	.answered = answered,
	.destroy = destroy_backend,
};

/* --- pumps ---------------------------------------------------------------------------- */

/* Wait for input; false: the guest wants no more of it. */
static bool await_input(struct pump *p)
{
	struct pollfd fds[] = {{p->from, POLLIN, 0}, {p->to_guest ? p->to : -1, POLLRDHUP, 0}};

	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	return !fds[1].revents;
}

static void leave(struct pump *p)
{
	if (atomic_flag_test_and_set(&p->left))
		free(p);
}

static void *pump_main(void *arg)
{
	struct pump *p = arg;
	ssize_t n;

	while (await_input(p)) {
		n = read(p->from, p->bytes, sizeof(p->bytes));
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0 || fd_write_moving(p->to, p->bytes, (size_t)n, &p->moved))
			break;
	}
	/* The end of the input, behind all of it; or what the guest sends and nobody reads any
	 * more meets a closed socket, as a closed pipe. */
	close(p->to_guest ? p->to : p->from);
	leave(p);
	return NULL;
}

static int start_pump(struct command *c, unsigned stream, int from, int to, struct err *e)
{
	struct pump *p = calloc(1, sizeof(*p)); /* with a clear flag */
	int ret;

	if (!p)
		return err_host(e, -ENOMEM, "out of memory");
	p->from = from;
	p->to = to;
	p->to_guest = stream == IN;
	ret = thread_start(&p->thread, THREAD_HELPER, p->to_guest ? "stdin" : "stdout", PUMP_STACK,
			   pump_main, p);
	if (ret) {
		free(p);
		return err_host(e, ret, "cannot start a thread: %s", strerror(-ret));
	}
	c->pumps[stream] = p;
	/* The socket goes with the thread. */
	c->ours[stream] = -1;
	return 0;
}

/* Wait for its end as long as it moves; then it is left to itself. */
static void join_pump(struct pump *p)
{
	uint64_t moved;
	struct timespec until;

	if (!p)
		return;
	do {
		moved = p->moved;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += STALLED_MS / 1000;
		if (!pthread_timedjoin_np(p->thread, NULL, &until)) {
			leave(p);
			return;
		}
	} while (p->moved != moved);
	pthread_detach(p->thread);
	leave(p);
}

/* --- control --------------------------------------------------------------------------- */

static void hang_up(struct command *c)
{
	loop_fd_del(c->control);
	c->control = NULL;
	c->running = false;
	fd_close(&c->ours[CONTROL]);
}

static void obey(struct command *c, uint32_t what, uint32_t value)
{
	if (what == COMMAND_STARTED && !c->running) {
		c->running = true;
		c->changed(c->ctx, true);
	} else if (what == COMMAND_EXITED) {
		c->status = (int)(value & 0xff);
		hang_up(c);
		c->changed(c->ctx, false);
	}
}

static void on_control(void *ctx, int events)
{
	struct command *c = ctx;

	while (c->control) {
		ssize_t n = recv(c->ours[CONTROL], c->message + c->n_message,
				 sizeof(c->message) - c->n_message, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			hang_up(c);
			return;
		}
		c->n_message += (size_t)n;
		if (c->n_message < sizeof(c->message))
			continue;
		c->n_message = 0;
		obey(c, le32_get(c->message), le32_get(c->message + 4));
	}
}

static bool say(struct command *c, uint32_t what, uint32_t value)
{
	uint8_t m[COMMAND_MESSAGE_LEN];

	le32_put(m, what);
	le32_put(m + 4, value);
	return send(c->ours[CONTROL], m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) ==
	       (ssize_t)sizeof(m);
}

bool command_signal(struct command *c, int signum)
{
	return c->running && say(c, COMMAND_SIGNAL, (uint32_t)signum);
}

/* --- a terminal ------------------------------------------------------------------------ */

void command_resize(struct command *c, uint16_t columns, uint16_t rows)
{
	if (c->control)
		say(c, COMMAND_SIZE, rows | (uint32_t)columns << 16);
}

static void on_room(void *ctx, int events)
{
	struct command *c = ctx;

	loop_fd_set(c->input, 0);
	c->room.room(c->room.ctx);
}

static size_t receive(void *dev, const uint8_t *bytes, size_t len)
{
	struct command *c = dev;
	ssize_t n = send(c->ours[IN], bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return len; /* nobody wants it any more */
	if (n < (ssize_t)len)
		loop_fd_set(c->input, LOOP_WRITE);
	return n < 0 ? 0 : (size_t)n;
}

struct char_in command_input(struct command *c, const struct char_room *room)
{
	c->room = *room;
	return (struct char_in){.receive = receive, .dev = c};
}

/* --- life ------------------------------------------------------------------------------ */

struct command *command_create(struct err *e)
{
	struct command *c = calloc(1, sizeof(*c));

	if (!c) {
		err_host(e, -ENOMEM, "out of memory");
		return NULL;
	}
	c->backend.ops = &backend_ops;
	c->status = -1;
	for (unsigned i = 0; i < STREAMS; i++)
		c->ours[i] = c->guests[i] = -1;
	for (unsigned i = 0; i < STREAMS; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
			err_host(e, -errno, "the command's streams: %s", strerror(errno));
			command_destroy(c);
			return NULL;
		}
		c->ours[i] = pair[0];
		c->guests[i] = pair[1];
	}
	return c;
}

struct vsock_backend *command_backend(struct command *c, struct vsock_backend *rest)
{
	c->rest = rest;
	return &c->backend;
}

int command_start(struct command *c, struct loop *loop, const int fds[3],
		  void (*changed)(void *ctx, bool running), void *ctx, struct err *e)
{
	int ret;

	c->changed = changed;
	c->ctx = ctx;
	c->control = loop_fd_add(loop, c->ours[CONTROL], LOOP_READ, on_control, c);
	if (!c->control)
		return err_host(e, -ENOMEM, "out of memory");
	if (fds[0] >= 0) {
		ret = start_pump(c, IN, fds[0], c->ours[IN], e);
	} else {
		c->input = loop_fd_add(loop, c->ours[IN], 0, on_room, c);
		ret = c->input ? 0 : err_host(e, -ENOMEM, "out of memory");
	}
	if (!ret)
		ret = start_pump(c, OUT, c->ours[OUT], fds[1], e);
	return ret ? ret : start_pump(c, ERR, c->ours[ERR], fds[2], e);
}

int command_status(const struct command *c)
{
	return c->status;
}

void command_destroy(struct command *c)
{
	if (!c)
		return;
	if (c->control)
		hang_up(c);
	loop_fd_del(c->input);
	for (unsigned i = 0; i < STREAMS; i++) {
		fd_close(&c->ours[i]);
		fd_close(&c->guests[i]);
	}
	/* The input may wait for a person at a keyboard: it is left to itself. */
	if (c->pumps[IN]) {
		pthread_detach(c->pumps[IN]->thread);
		leave(c->pumps[IN]);
	}
	join_pump(c->pumps[OUT]);
	join_pump(c->pumps[ERR]);
	free(c);
}
