/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdin and stdout, which need not be a terminal, and the file, which is stdout's
 * half of the same: a writer thread for the output (char_out), and for the input
 * the terminal (terminal).
 */
#include "devices/backend/char_backend.h"
#include "devices/backend/char_out.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A reader that has not moved for this long when the guest is gone does not
 * keep us from ending. */
enum { DRAIN_MS = 2000 };

struct char_tty {
	struct char_backend b;
	bool is_file;
	int fd; /* of the output; owned if it is a file */
	struct char_out_fd *out;
	struct terminal *terminal; /* NULL: no input */
	struct terminal_config keys;
};

static struct char_tty *tty_of(struct char_backend *b)
{
	return container_of(b, struct char_tty, b);
}

static struct char_out tty_out(struct char_backend *b)
{
	return char_out_port(tty_of(b)->out);
}

static struct char_room tty_room(struct char_backend *b)
{
	struct char_tty *t = tty_of(b);

	return t->terminal ? terminal_room(t->terminal) : (struct char_room){0};
}

static int tty_start(struct char_backend *b, const struct char_in *in, struct err *e)
{
	struct char_tty *t = tty_of(b);

	/* What is no file cannot be cut, and need not. */
	if (t->is_file && ftruncate(t->fd, 0) && errno != EINVAL)
		return err_host(e, -errno, "%s: its file cannot be emptied: %s", b->name,
				strerror(errno));
	if (!t->terminal)
		return 0;
	t->keys.in = *in;
	return terminal_start(t->terminal, &t->keys, e);
}

static void tty_close(struct char_backend *b)
{
	struct char_tty *t = tty_of(b);

	terminal_destroy(t->terminal);
	if (t->out && !char_out_drain(t->out, DRAIN_MS))
		log_warn("%s: its reader took no more; %lu bytes of output are lost", b->name,
			 char_out_lost(t->out) + char_out_waiting(t->out));
	char_out_destroy(t->out);
	if (t->is_file)
		fd_close(&t->fd);
	free(t);
}

static const struct char_backend_ops ops = {tty_out, tty_room, tty_start, tty_close};

static struct char_tty *create(const char *name, struct err *e)
{
	struct char_tty *t = calloc(1, sizeof(*t));

	if (!t) {
		err_host(e, -ENOMEM, "%s: out of memory", name);
		return NULL;
	}
	t->b = (struct char_backend){&ops, name};
	t->fd = -1;
	return t;
}

struct char_backend *char_tty_create(const char *name, struct loop *loop,
				     const struct terminal_config *keys, struct err *e)
{
	struct char_tty *t = create(name, e);

	if (!t)
		return NULL;
	t->keys = *keys;
	t->keys.loop = loop;
	t->keys.log_on_tty = isatty(STDERR_FILENO);
	/* The terminal first: it forks, and the output has a thread. */
	t->terminal = terminal_create(STDIN_FILENO, e);
	if (t->terminal)
		t->out = char_out_create(STDOUT_FILENO, e);
	if (!t->out) {
		tty_close(&t->b);
		return NULL;
	}
	return &t->b;
}

struct char_backend *char_file_create(const char *name, const char *path, struct err *e)
{
	struct char_tty *t = create(name, e);

	if (!t)
		return NULL;
	t->is_file = true;
	t->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (t->fd < 0)
		err_usage(e, -errno, "%s file=%s: %s", name, path, strerror(errno));
	else
		t->out = char_out_create(t->fd, e);
	if (!t->out) {
		tty_close(&t->b);
		return NULL;
	}
	return &t->b;
}
