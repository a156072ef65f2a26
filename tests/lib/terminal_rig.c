/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/terminal_rig.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

static size_t receive(void *dev, const uint8_t *bytes, size_t len)
{
	struct terminal_rig *g = dev;
	size_t n = len < g->appetite ? len : g->appetite;

	assert_true(g->n + n <= sizeof(g->got));
	memcpy(g->got + g->n, bytes, n);
	g->n += n;
	if (g->want && g->n >= g->want)
		loop_stop(g->loop);
	return n;
}

static void on_leave(void *ctx)
{
	struct terminal_rig *g = ctx;

	g->leaves++;
	loop_stop(g->loop);
}

/* Its place among the bytes shows, too. */
static bool receive_break(void *dev)
{
	struct terminal_rig *g = dev;

	if (g->faults)
		__builtin_trap();
	if (g->refuses_breaks)
		return false;
	g->breaks++;
	g->got[g->n++] = '!';
	return true;
}

static void on_button(void *ctx)
{
	struct terminal_rig *g = ctx;

	g->buttons++;
}

static void on_nmi(void *ctx)
{
	struct terminal_rig *g = ctx;

	g->nmis++;
}

static void on_size(void *ctx, uint16_t cols, uint16_t rows)
{
	struct terminal_rig *g = ctx;

	g->cols = cols;
	g->rows = rows;
	g->sizes++;
}

static void give_up(void *ctx)
{
	struct terminal_rig *g = ctx;

	loop_stop(g->loop);
}

struct terminal_rig *terminal_rig_start_on(int fd, bool line)
{
	struct terminal_rig *g = calloc(1, sizeof(*g));
	struct err e = {0};

	g->appetite = sizeof(g->got);
	g->t = terminal_create(fd, &e);
	assert_non_null(g->t);
	g->loop = loop_create();
	g->room = terminal_room(g->t);
	struct terminal_config c = {.loop = g->loop,
				    .in = {receive, line ? receive_break : NULL, g},
				    .leave = on_leave,
				    .press_button = on_button,
				    .inject_nmi = on_nmi,
				    .resized = on_size,
				    .ctx = g};

	assert_int_equal(terminal_start(g->t, &c, &e), 0);
	return g;
}

struct terminal_rig *terminal_rig_start(int fd)
{
	return terminal_rig_start_on(fd, true);
}

void terminal_rig_run(struct terminal_rig *g, unsigned ms)
{
	struct loop_timer *timer = loop_timer_add(g->loop, give_up, g);

	loop_timer_start(timer, ms);
	loop_run(g->loop);
	loop_timer_del(timer);
}

void terminal_rig_end(struct terminal_rig *g)
{
	terminal_destroy(g->t);
	loop_destroy(g->loop);
	free(g);
}

void terminal_rig_open_pty(int *master, int *slave)
{
	assert_int_equal(openpty(master, slave, NULL, NULL, NULL), 0);
	fcntl(*master, F_SETFD, FD_CLOEXEC);
}

bool terminal_rig_is_raw(int tty)
{
	struct termios t;

	assert_int_equal(tcgetattr(tty, &t), 0);
	return !(t.c_lflag & (ICANON | ECHO | ISIG)) && !(t.c_oflag & OPOST);
}

void terminal_rig_await_raw(int tty, bool want)
{
	for (int i = 0; i < TERMINAL_RIG_PATIENCE_MS && terminal_rig_is_raw(tty) != want; i++)
		usleep(1000);
	assert_int_equal(terminal_rig_is_raw(tty), want);
}

void terminal_rig_type(int fd, const char *keys, size_t n)
{
	assert_int_equal(write(fd, keys, n), n);
}
