/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/console.h"

#include "vmm/base/fd.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A reader that has not moved for this long when the guest is gone does not
 * keep us from ending. */
enum { DRAIN_MS = 2000 };

static int refuse_file(const struct vm_config *config, int code, struct err *e)
{
	return err_usage(e, -code, "--serial file=%s: %s", config->serial_path, strerror(code));
}

int console_check(const struct vm_config *config, struct err *e)
{
	struct stat st;
	int ret = 0;

	if (config->serial != SERIAL_FILE)
		return 0;
	if (!stat(config->serial_path, &st)) {
		if (S_ISDIR(st.st_mode))
			return refuse_file(config, EISDIR, e);
		return access(config->serial_path, W_OK) ? refuse_file(config, errno, e) : 0;
	}
	if (errno != ENOENT)
		return refuse_file(config, errno, e);
	/* It will be made: is there a folder for it? (A dangling link is left to open.) */
	char *path = strdup(config->serial_path);

	if (!path)
		return err_host(e, -ENOMEM, "out of memory");
	if (access(dirname(path), W_OK | X_OK))
		ret = refuse_file(config, errno, e);
	free(path);
	return ret;
}

static int open_output(struct console *c, const struct vm_config *config, struct err *e)
{
	switch (config->serial) {
	case SERIAL_OFF:
		return 0;
	case SERIAL_TTY:
		c->fd = STDOUT_FILENO;
		break;
	case SERIAL_FILE:
		c->fd = open(config->serial_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (c->fd < 0)
			return refuse_file(config, errno, e);
		break;
	}
	c->out = char_out_create(c->fd, e);
	return c->out ? 0 : e->code;
}

int console_open(struct console *c, const struct vm_config *config, struct loop *loop,
		 struct err *e)
{
	*c = (struct console){.kind = config->serial, .fd = -1, .loop = loop};
	phrase_watch_init(&c->panic, "Kernel panic - not syncing");
	phrase_watch_init(&c->reboot, "Restarting system");
	/* The terminal first: it forks, and the output has a thread. */
	if (config->serial == SERIAL_TTY) {
		c->terminal = terminal_create(STDIN_FILENO, e);
		if (!c->terminal)
			return e->code;
	}
	return open_output(c, config, e);
}

static void discard(void *ctx, const uint8_t *bytes, size_t len)
{
}

struct char_out console_out(struct console *c)
{
	struct char_out next = {discard, NULL};

	if (c->out)
		next = char_out_port(c->out);
	next = phrase_watch_tap(&c->reboot, &next);
	return phrase_watch_tap(&c->panic, &next);
}

struct char_room console_room(struct console *c)
{
	return c->terminal ? terminal_room(c->terminal) : (struct char_room){0};
}

int console_start(struct console *c, const struct console_wishes *wishes, struct err *e)
{
	const struct terminal_config config = {
		.loop = c->loop,
		.in = wishes->in,
		.leave = wishes->leave,
		.send_break = wishes->send_break,
		.ctx = wishes->ctx,
		.log_on_tty = isatty(STDERR_FILENO),
	};

	/* Not when it was opened: a start that fails must not cost the last run's record,
	 * and neither must a restart. What is no file cannot be cut, and need not. */
	if (c->kind == SERIAL_FILE && wishes->fresh && ftruncate(c->fd, 0) && errno != EINVAL)
		return err_host(e, -errno, "--serial: its file cannot be emptied: %s",
				strerror(errno));
	return c->terminal ? terminal_start(c->terminal, &config, e) : 0;
}

bool console_panicked(const struct console *c, char *buf, size_t size)
{
	if (!phrase_watch_seen(&c->panic))
		return false;
	phrase_watch_line(&c->panic, buf, size);
	return true;
}

bool console_rebooted(const struct console *c)
{
	return phrase_watch_seen(&c->reboot);
}

void console_close(struct console *c)
{
	terminal_destroy(c->terminal);
	c->terminal = NULL;
	if (c->out && !char_out_drain(c->out, DRAIN_MS))
		log_warn("console: its reader took no more; %lu bytes of output are lost",
			 char_out_lost(c->out) + char_out_waiting(c->out));
	char_out_destroy(c->out);
	c->out = NULL;
	if (c->kind == SERIAL_FILE)
		fd_close(&c->fd);
}
