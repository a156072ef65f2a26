/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams: the command's stdin, stdout and stderr, each over a vsock connection of its
 * own, so that a slow reader of one holds up no other.
 *
 *	host  <-- vsock -->  pump  <-- pipe -->  command
 *
 * or a terminal, where the host has one. Pipes, for to most programs a socket is no file:
 * /dev/stdout cannot be opened if it is one.
 */
#include "firmware/init/command.h"

#include "firmware/init/report.h"
#include "vmm/core/command_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* struct sockaddr_vm [Linux include/uapi/linux/vm_sockets.h], which musl's headers do not
 * have. */
struct vsock_address {
	unsigned short family, reserved;
	unsigned int port, cid;
	unsigned char flags, zero[3];
};
enum { VSOCK = 40, CID_HOST = 2 };

/* By their ports. */
enum { CONTROL, IN, OUT, ERR, STREAMS };

/* What was written to a terminal passes through a work queue of the kernel's; and as long as
 * somebody has it open, it has no end. */
enum { TTY_LATE_MS = 100 };

static int begin_connecting(unsigned port)
{
	struct vsock_address address = {.family = VSOCK, .port = port, .cid = CID_HOST};
	int fd = socket(VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		give_up("vsock: %s (the kernel has no vsock for virtio)", strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) && errno != EINPROGRESS)
		give_up("vsock: connecting to the host: %s", strerror(errno));
	return fd;
}

static void await_connection(int fd)
{
	struct pollfd p = {fd, POLLOUT, 0};
	int error = 0;
	socklen_t len = sizeof(error);

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) || error)
		give_up("vsock: connecting to the host: %s", strerror(error ? error : errno));
}

/* All at once: each takes a turn to the host and back. */
static void connect_host(int fds[STREAMS])
{
	for (unsigned i = 0; i < STREAMS; i++)
		fds[i] = begin_connecting(COMMAND_PORT_CONTROL + i);
	for (unsigned i = 0; i < STREAMS; i++)
		await_connection(fds[i]);
}

static void make_pump(struct pump *p, int from, int to)
{
	*p = (struct pump){.from = from, .to = to};
	fcntl(from, F_SETFL, O_NONBLOCK);
	fcntl(to, F_SETFL, O_NONBLOCK);
}

static void make_pipes(struct streams *s, const int host[STREAMS], int child[3])
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		give_up("pipes: %s", strerror(errno));
	make_pump(&s->in, host[IN], in[1]);
	make_pump(&s->out, out[0], host[OUT]);
	make_pump(&s->err, err[0], host[ERR]);
	child[0] = in[0];
	child[1] = out[1];
	child[2] = err[1];
}

/* A terminal in the place of the pipes. */
static void make_terminal(struct streams *s, const struct command *c, int child[3])
{
	int slave, i;

	s->tty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->tty < 0 || grantpt(s->tty) || unlockpt(s->tty))
		give_up("a terminal: %s", strerror(errno));
	streams_resize(s, c->rows, c->columns);
	slave = open(ptsname(s->tty), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		give_up("a terminal: %s", strerror(errno));
	close(s->in.to);
	close(s->out.from);
	s->in.to = fcntl(s->tty, F_DUPFD_CLOEXEC, 0);
	s->out.from = fcntl(s->tty, F_DUPFD_CLOEXEC, 0);
	s->out.late_ms = TTY_LATE_MS;
	fcntl(s->tty, F_SETFL, O_RDWR | O_NONBLOCK);
	for (i = 0; i < (c->tty_err ? 3 : 2); i++) {
		close(child[i]);
		child[i] = i ? fcntl(slave, F_DUPFD_CLOEXEC, 0) : slave;
	}
}

void streams_open(struct streams *s, const struct command *c, int child[3])
{
	int host[STREAMS];

	connect_host(host);
	s->control = host[CONTROL];
	fcntl(s->control, F_SETFL, 0);
	s->tty = -1;
	make_pipes(s, host, child);
	if (c->tty)
		make_terminal(s, c, child);
}

void streams_resize(struct streams *s, unsigned rows, unsigned columns)
{
	const struct winsize size = {.ws_row = (unsigned short)rows,
				     .ws_col = (unsigned short)columns};

	if (s->tty >= 0)
		ioctl(s->tty, TIOCSWINSZ, &size);
}

/* Nobody reads any more, or nothing comes any more: say so at both ends. */
static void finish(struct pump *p)
{
	if (p->done)
		return;
	p->done = true;
	shutdown(p->to, SHUT_WR); /* of a socket */
	close(p->from);
}

/* Gives whether something moved. */
static bool turn(struct pump *p, bool draining)
{
	bool moved = false;
	ssize_t n;

	if (p->done)
		return false;
	if (!p->len && !p->ended) {
		n = read(p->from, p->bytes, sizeof(p->bytes));
		if (n > 0) {
			p->at = 0;
			p->len = (size_t)n;
			moved = true;
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			p->ended = true;
		} else if (draining) {
			moved = poll(&(struct pollfd){p->from, POLLIN, 0}, 1, p->late_ms) > 0;
			p->ended = !moved;
		}
	}
	while (p->len) {
		n = write(p->to, p->bytes + p->at, p->len);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return moved;
		if (n < 0) {
			finish(p);
			return true;
		}
		p->at += (size_t)n;
		p->len -= (size_t)n;
		moved = true;
	}
	if (p->ended)
		finish(p);
	return moved;
}

/* What the pump waits for. */
static struct pollfd wish(const struct pump *p)
{
	if (p->done)
		return (struct pollfd){.fd = -1};
	return p->len ? (struct pollfd){p->to, POLLOUT, 0} : (struct pollfd){p->from, POLLIN, 0};
}

bool streams_run(struct streams *s, int wake, bool draining)
{
	struct pump *const in = &s->in, *const out = &s->out, *const err = &s->err;

	if (draining)
		finish(in);
	for (;;) {
		bool was_open = !in->done;
		bool moved = turn(in, false) | turn(out, draining) | turn(err, draining);

		if (was_open && in->done)
			close(in->to); /* the end of the command's input */
		if (draining && out->done && err->done)
			return false;
		if (moved)
			continue;

		struct pollfd fds[] = {
			wish(in), wish(out), wish(err), {wake, POLLIN, 0}, {s->control, POLLIN, 0}};

		if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) > 0 &&
		    (fds[3].revents || fds[4].revents))
			return true;
	}
}

/* The host closes its end when what it was sent is with the reader. */
static void await_close(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	char byte;

	while (poll(&p, 1, -1) < 0 || (read(fd, &byte, 1) < 0 && errno == EAGAIN))
		;
	close(fd);
}

void streams_close(struct streams *s)
{
	await_close(s->out.to);
	await_close(s->err.to);
}
