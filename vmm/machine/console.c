/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/console.h"

#include "vmm/base/log.h"
#include "vmm/machine/events.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(const char *name, const struct char_config *config, int code, struct err *e)
{
	return err_usage(e, -code, "%s %s=%s: %s", name,
			 config->kind == CHAR_FILE ? "file" : "socket", config->path,
			 strerror(code));
}

/* It will be made: is there a folder for it? */
static int check_folder(const char *name, const struct char_config *config, struct err *e)
{
	char *path = strdup(config->path);
	int ret = 0;

	if (!path)
		return err_host(e, -ENOMEM, "out of memory");
	if (access(dirname(path), W_OK | X_OK))
		ret = refuse(name, config, errno, e);
	free(path);
	return ret;
}

int console_check(const char *name, const struct char_config *config, struct err *e)
{
	struct stat st;
	bool is_file = config->kind == CHAR_FILE;

	if (!is_file && config->kind != CHAR_SOCKET)
		return 0;
	if (!is_file)
		return char_socket_check(name, config->path, e) ?: check_folder(name, config, e);
	if (!stat(config->path, &st)) {
		if (S_ISDIR(st.st_mode))
			return refuse(name, config, EISDIR, e);
		return access(config->path, W_OK) ? refuse(name, config, errno, e) : 0;
	}
	/* (A dangling link is left to open.) */
	return errno == ENOENT ? check_folder(name, config, e) : refuse(name, config, errno, e);
}

static struct char_backend *open_backend(const char *name, const struct char_config *config,
					 const struct terminal_config *keys, struct loop *loop,
					 struct err *e)
{
	switch (config->kind) {
	case CHAR_TTY:
		return char_tty_create(name, loop, keys, e);
	case CHAR_FILE:
		return char_file_create(name, config->path, e);
	case CHAR_PTY:
		return char_pty_create(name, loop, e);
	case CHAR_SOCKET:
		return char_socket_create(name, config->path, loop, e);
	case CHAR_KEPT:
		return char_kept_create(name, log_enabled(LOG_INFO), e);
	case CHAR_DEFAULT:
	case CHAR_OFF:
		break;
	}
	return NULL;
}

int console_open(struct console *c, const char *name, const struct char_config *config,
		 const struct terminal_config *keys, struct loop *loop, struct err *e)
{
	*c = (struct console){.open = config->kind != CHAR_OFF, .kept = config->kind == CHAR_KEPT};
	phrase_watch_init(&c->panic, "Kernel panic - not syncing");
	phrase_watch_init(&c->reboot, "Restarting system");
	if (!c->open)
		return 0;
	c->backend = open_backend(name, config, keys, loop, e);
	return c->backend ? 0 : e->code;
}

int console_remember(struct console *c)
{
	if (!c->open || c->kept)
		return 0;
	c->remembers = true;
	return char_last_init(&c->last);
}

static void on_kernel(void *ctx, const char *line)
{
	char release[PHRASE_WATCH_LINE + 1];

	snprintf(release, sizeof(release), "%.*s", (int)strcspn(line, " "), line);
	events_kernel_start(ctx, release);
}

static void on_init(void *ctx, const char *line)
{
	events_mark(ctx, EVENT_INIT);
}

static void on_panic(void *ctx, const char *line)
{
	events_panic(ctx, line);
}

void console_watch(struct console *c, struct events *events)
{
	phrase_watch_init(&c->kernel, "Linux version ");
	phrase_watch_init(&c->init, "as init process");
	phrase_watch_notify(&c->kernel, on_kernel, events);
	phrase_watch_notify(&c->init, on_init, events);
	phrase_watch_notify(&c->panic, on_panic, events);
	c->watched = true;
}

static void discard(void *ctx, const uint8_t *bytes, size_t len)
{
}

struct char_out console_out(struct console *c)
{
	struct char_out next = {discard, NULL};

	if (c->backend)
		next = c->backend->ops->out(c->backend);
	if (c->remembers)
		next = char_last_tap(&c->last, &next);
	if (c->watched) {
		next = phrase_watch_tap(&c->init, &next);
		next = phrase_watch_tap(&c->kernel, &next);
	}
	next = phrase_watch_tap(&c->reboot, &next);
	return phrase_watch_tap(&c->panic, &next);
}

struct char_room console_room(struct console *c)
{
	return c->backend ? c->backend->ops->room(c->backend) : (struct char_room){0};
}

int console_start(struct console *c, const struct char_in *in, struct err *e)
{
	return c->backend ? c->backend->ops->start(c->backend, in, e) : 0;
}

void console_renew(struct console *c)
{
	phrase_watch_renew(&c->panic);
	phrase_watch_renew(&c->reboot);
	phrase_watch_renew(&c->kernel);
	phrase_watch_renew(&c->init);
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

void console_tell(struct console *c)
{
	if (c->kept && c->backend)
		char_kept_tell(c->backend);
}

char *console_last_lines(struct console *c)
{
	if (c->remembers)
		return char_last_lines(&c->last);
	return c->kept && c->backend ? char_kept_last(c->backend) : NULL;
}

void console_close(struct console *c)
{
	if (c->backend)
		c->backend->ops->close(c->backend);
	c->backend = NULL;
	if (c->remembers)
		char_last_fini(&c->last);
	c->remembers = false;
}
