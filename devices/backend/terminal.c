/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fd -> escape keys -> buffer -> receive()
 *
 * The guest takes what it likes; the rest waits in the buffer until it calls
 * room(). From a pipe or file we read no more meanwhile. From a terminal we do,
 * or Ctrl-a x would not get through to leave a guest that hangs; there the
 * buffer is as large as anybody types or pastes.
 *
 * The descriptor itself is never given to the loop: libuv would make it
 * non-blocking, and it belongs to an open file that the user's shell shares. An
 * epoll of our own watches it, and the loop watches that. Regular files and
 * /dev/null refuse epoll; reading them never blocks, so they are read whenever
 * there is room.
 *
 * Job control. In the background we must neither read nor set the terminal:
 * SIGTTIN and SIGTTOU would stop the whole VM, hence they are blocked, too. We
 * come to the foreground with a SIGCONT after a stop, but without any notice
 * when a running job is fetched by `fg`: so in the background, and only there,
 * we look once a second.
 */
#include "devices/backend/terminal.h"

#include "devices/backend/tty_guard.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { CTRL_A = 0x01, READ_MAX = 4096, LOOK_MS = 1000 };

struct terminal {
	int fd;
	bool readable;           /* there is more to read, as far as we know */
	struct tty_guard *guard; /* NULL: not a terminal */
	pid_t group;             /* ours, which a shell gave us before we began */
	sigset_t blocked;        /* by us, of job control's signals */
	struct terminal_config c;

	int epoll; /* -1: read without waiting */
	struct loop_fd *watch;
	struct loop_timer *look; /* for the foreground */
	struct loop_signal *on_stop, *on_continue, *on_resize;
	bool present; /* in the foreground, or not a terminal */

	enum { KEY_PLAIN, KEY_ESCAPED, KEY_SYSRQ } next; /* what the next key is */
	_Atomic bool room_posted;                        /* on_room() is on its way */
	size_t from, to;                                 /* what of `buffer` waits */
	bool break_waits;                                /* and a break, */
	size_t break_at;                                 /* before the byte there */
	uint8_t buffer[TERMINAL_BUFFER]; /* not cleared: few of its pages are used */
};

/* --- to the guest ------------------------------------------------------------ */

static void feed(struct terminal *t)
{
	while (t->from < t->to || t->break_waits) {
		if (t->break_waits && t->from == t->break_at) {
			if (!t->c.in.receive_break(t->c.in.dev))
				return;
			t->break_waits = false;
			continue;
		}
		size_t n = (t->break_waits ? t->break_at : t->to) - t->from;
		size_t taken = t->c.in.receive(t->c.in.dev, t->buffer + t->from, n);

		t->from += taken;
		if (taken < n)
			return;
	}
	t->from = t->to = 0;
}

static void put(struct terminal *t, uint8_t byte)
{
	t->buffer[t->to++] = byte;
}

/* Bytes that may be read now, so that what becomes of them fits. An escape that
 * was none is given on, so n bytes can become n + 1. */
static size_t space(struct terminal *t)
{
	size_t free_bytes;

	if (!t->guard && t->from < t->to)
		return 0;
	if (t->from) {
		memmove(t->buffer, t->buffer + t->from, t->to - t->from);
		t->break_at -= t->break_waits ? t->from : 0;
		t->to -= t->from;
		t->from = 0;
	}
	free_bytes = TERMINAL_BUFFER - t->to;
	if (free_bytes < 2)
		return 0;
	return free_bytes - 1 < READ_MAX ? free_bytes - 1 : READ_MAX;
}

/* --- escape keys -------------------------------------------------------------- */

static void show_help(void)
{
	static const char text[] = "\r\nminivmm: keys after Ctrl-a:\r\n"
				   "  x    leave: stop the virtual machine\r\n"
				   "  p    press the power button\r\n"
				   "  s K  magic SysRq with the key K (h lists the guest's)\r\n"
				   "  b    send a break on the serial line\r\n"
				   "  n    a non-maskable interrupt (NMI)\r\n"
				   "  a    send Ctrl-a itself (Ctrl-a Ctrl-a does, too)\r\n"
				   "  h    this help\r\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		return; /* nobody to help */
}

static void call(void (*fn)(void *ctx), void *ctx)
{
	if (fn)
		fn(ctx);
}

/* In its place among what was typed. One at a time can wait for the guest. */
static void put_break(struct terminal *t)
{
	if (!t->c.in.receive_break) {
		log_warn("this console knows no break; Ctrl-a s KEY is for SysRq");
	} else if (t->break_waits) {
		log_warn("the guest has not taken the last break yet");
	} else {
		t->break_waits = true;
		t->break_at = t->to;
	}
}

/* A break and then the key, or what stands for a break where there is none. */
static void put_sysrq(struct terminal *t, uint8_t key)
{
	if (t->c.in.receive_break)
		put_break(t);
	else
		put(t, TERMINAL_SYSRQ);
	put(t, key);
}

static void after_escape(struct terminal *t, uint8_t key)
{
	switch (key) {
	case 'x':
		call(t->c.leave, t->c.ctx);
		break;
	case 'p':
		call(t->c.press_button, t->c.ctx);
		break;
	case 'n':
		call(t->c.inject_nmi, t->c.ctx);
		break;
	case 'h':
	case '?':
		show_help();
		break;
	case 's':
		t->next = KEY_SYSRQ;
		break;
	case 'b':
		put_break(t);
		break;
	case 'a':
	case CTRL_A:
		put(t, CTRL_A);
		break;
	default: /* not ours */
		put(t, CTRL_A);
		put(t, key);
	}
}

static void take_keys(struct terminal *t, const uint8_t *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int what = t->next;

		t->next = KEY_PLAIN;
		if (what == KEY_ESCAPED)
			after_escape(t, keys[i]);
		else if (what == KEY_SYSRQ)
			put_sysrq(t, keys[i]);
		else if (keys[i] == CTRL_A)
			t->next = KEY_ESCAPED;
		else
			put(t, keys[i]);
	}
}

/* --- from the descriptor ------------------------------------------------------ */

static bool in_foreground(const struct terminal *t)
{
	pid_t group = tcgetpgrp(t->fd);

	/* Job control is about the controlling terminal only. */
	return group < 0 || group == t->group;
}

static void go_background(struct terminal *t)
{
	t->present = false;
	loop_timer_start(t->look, LOOK_MS);
}

/* Read once: false when there is nothing more to read for now or for ever. */
static bool read_some(struct terminal *t)
{
	uint8_t bytes[READ_MAX];
	size_t room = space(t);
	ssize_t n;

	if (!room || !t->readable || !t->present)
		return false;
	if (t->guard && !in_foreground(t)) {
		go_background(t);
		return false;
	}
	n = read(t->fd, bytes, room);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (n < 0 && errno == EIO && t->guard && !in_foreground(t)) {
		go_background(t);
		return false;
	}
	if (n <= 0) {
		if (n < 0 && errno != EIO)
			log_warn("standard input: %s", strerror(errno));
		t->readable = false;
		return false;
	}
	if (t->guard) {
		take_keys(t, bytes, (size_t)n);
	} else {
		memcpy(t->buffer + t->to, bytes, (size_t)n);
		t->to += (size_t)n;
	}
	feed(t);
	return true;
}

static void update_watch(struct terminal *t)
{
	if (t->watch)
		loop_fd_set(t->watch, t->readable && t->present && space(t) ? LOOP_READ : 0);
}

static void on_readable(void *ctx, int events)
{
	struct terminal *t = ctx;

	read_some(t);
	update_watch(t);
}

/* One piece a turn, so that a large file does not keep the loop from the rest. */
static void read_unwatched(void *ctx)
{
	struct terminal *t = ctx;

	if (read_some(t) && t->from == t->to)
		loop_post(t->c.loop, read_unwatched, t);
}

static void on_room(void *ctx)
{
	struct terminal *t = ctx;

	atomic_store(&t->room_posted, false);
	feed(t);
	if (t->watch)
		update_watch(t);
	else
		read_unwatched(t);
}

static void room(void *ctx)
{
	struct terminal *t = ctx;

	if (atomic_exchange(&t->room_posted, true))
		return;
	if (!t->c.loop || loop_post(t->c.loop, on_room, t))
		atomic_store(&t->room_posted, false);
}

struct char_room terminal_room(struct terminal *t)
{
	return (struct char_room){room, t};
}

/* --- the terminal's modes ------------------------------------------------------ */

static void set_raw(struct terminal *t)
{
	int ret = tty_guard_raw(t->guard);

	if (ret)
		log_warn("terminal: cannot make it raw: %s", strerror(-ret));
	log_set_raw_tty(t->c.log_on_tty && !ret);
}

static void set_cooked(struct terminal *t)
{
	tty_guard_restore(t->guard);
	log_set_raw_tty(false);
}

static void tell_size(struct terminal *t)
{
	struct winsize ws;

	if (!ioctl(t->fd, TIOCGWINSZ, &ws))
		t->c.resized(t->c.ctx, ws.ws_col, ws.ws_row);
}

static void look_around(void *ctx)
{
	struct terminal *t = ctx;

	if (in_foreground(t)) {
		t->present = true;
		loop_timer_stop(t->look);
		set_raw(t);
		/* In the background nobody told us of its size. */
		if (t->c.resized)
			tell_size(t);
	} else {
		/* The terminal's settings are the shell's affair now. */
		if (tty_guard_is_raw(t->guard))
			tty_guard_forget(t->guard);
		log_set_raw_tty(false);
		go_background(t);
	}
	update_watch(t);
}

static void on_stop(void *ctx, int signum)
{
	struct terminal *t = ctx;

	set_cooked(t);
	raise(SIGSTOP); /* here we stand until somebody continues us */
	look_around(t);
}

static void on_continue(void *ctx, int signum)
{
	look_around(ctx);
}

static void on_resize(void *ctx, int signum)
{
	tell_size(ctx);
}

/* --- life -------------------------------------------------------------------- */

static int watch_fd(struct terminal *t, struct err *e)
{
	struct epoll_event ev = {.events = EPOLLIN};

	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll < 0)
		return err_host(e, -errno, "standard input: %s", strerror(errno));
	if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->fd, &ev)) {
		int ret = -errno;

		fd_close(&t->epoll);
		if (ret == -EPERM)
			return loop_post(t->c.loop, read_unwatched, t);
		return err_host(e, ret, "standard input: %s", strerror(-ret));
	}
	t->watch = loop_fd_add(t->c.loop, t->epoll, LOOP_READ, on_readable, t);
	return t->watch ? 0 : err_host(e, -ENOMEM, "standard input: out of memory");
}

static void block_job_control(struct terminal *t)
{
	static const int signals[] = {SIGTTIN, SIGTTOU};
	sigset_t before;

	sigemptyset(&t->blocked);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
		if (!sigismember(&before, signals[i]))
			sigaddset(&t->blocked, signals[i]);
	pthread_sigmask(SIG_BLOCK, &t->blocked, NULL);
}

struct terminal *terminal_create(int fd, struct err *e)
{
	struct terminal *t = malloc(sizeof(*t));

	if (!t) {
		err_host(e, -ENOMEM, "terminal: out of memory");
		return NULL;
	}
	memset(t, 0, offsetof(struct terminal, buffer));
	t->fd = fd;
	t->epoll = -1;
	t->present = true;
	t->group = getpgrp();
	/* Now, before something else is opened under a number that is free. */
	t->readable = fcntl(fd, F_GETFD) >= 0;
	if (!isatty(fd))
		return t;
	/* Before the guardian looks at the terminal, and for all threads to come. */
	block_job_control(t);
	t->guard = tty_guard_create(fd, e);
	if (!t->guard) {
		pthread_sigmask(SIG_UNBLOCK, &t->blocked, NULL);
		free(t);
		return NULL;
	}
	return t;
}

int terminal_start(struct terminal *t, const struct terminal_config *c, struct err *e)
{
	int ret;

	t->c = *c;
	if (!t->readable)
		return 0;
	ret = watch_fd(t, e);
	if (ret || !t->guard)
		return ret;
	t->look = loop_timer_add(c->loop, look_around, t);
	t->on_stop = loop_signal_add(c->loop, SIGTSTP, on_stop, t);
	t->on_continue = loop_signal_add(c->loop, SIGCONT, on_continue, t);
	if (!t->look || !t->on_stop || !t->on_continue)
		return err_host(e, -ENOMEM, "terminal: out of memory");
	if (c->resized) {
		t->on_resize = loop_signal_add(c->loop, SIGWINCH, on_resize, t);
		if (!t->on_resize)
			return err_host(e, -ENOMEM, "terminal: out of memory");
	}
	look_around(t);
	return 0;
}

void terminal_destroy(struct terminal *t)
{
	if (!t)
		return;
	loop_fd_del(t->watch);
	loop_timer_del(t->look);
	loop_signal_del(t->on_stop);
	loop_signal_del(t->on_continue);
	loop_signal_del(t->on_resize);
	if (t->guard) {
		log_set_raw_tty(false);
		tty_guard_destroy(t->guard);
		pthread_sigmask(SIG_UNBLOCK, &t->blocked, NULL);
	}
	fd_close(&t->epoll);
	free(t);
}
