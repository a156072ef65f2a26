/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/console.h"

#include "vmm/base/fd.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A reader that has not moved for this long when the guest is gone does not
 * keep us from ending. */
enum { DRAIN_MS = 2000 };

static int open_output(struct console *c, const struct vm_config *config, struct err *e)
{
	switch (config->serial) {
	case SERIAL_OFF:
		return 0;
	case SERIAL_TTY:
		c->fd = STDOUT_FILENO;
		break;
	case SERIAL_FILE:
		c->fd = open(config->serial_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (c->fd < 0)
			return err_usage(e, -errno, "--serial file=%s: %s", config->serial_path,
					 strerror(errno));
		break;
	}
	c->out = char_out_create(c->fd, e);
	return c->out ? 0 : e->code;
}

int console_open(struct console *c, const struct vm_config *config, struct loop *loop,
		 struct err *e)
{
	*c = (struct console){ .kind = config->serial, .fd = -1 };
	panic_watch_init(&c->watch);
	return open_output(c, config, e);
}

static void discard(void *ctx, const uint8_t *bytes, size_t len)
{
}

struct char_out console_out(struct console *c)
{
	struct char_out next = { discard, NULL };

	if (c->out)
		next = char_out_port(c->out);
	return panic_watch_tap(&c->watch, &next);
}

struct char_room console_room(struct console *c)
{
	return (struct char_room){ NULL, NULL };
}

int console_start(struct console *c, const struct char_in *in, void (*leave)(void *ctx),
		  void *ctx, struct err *e)
{
	return 0;
}

bool console_panicked(const struct console *c, char *buf, size_t size)
{
	if (!panic_watch_seen(&c->watch))
		return false;
	panic_watch_line(&c->watch, buf, size);
	return true;
}

void console_close(struct console *c)
{
	if (c->out && !char_out_drain(c->out, DRAIN_MS))
		log_warn("console: its reader took no more; %lu bytes of output are lost",
			 char_out_lost(c->out));
	char_out_destroy(c->out);
	c->out = NULL;
	if (c->kind == SERIAL_FILE)
		fd_close(&c->fd);
}
