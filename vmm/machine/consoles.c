/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All consoles of the machine, and what the user's keys do to it.
 *
 * Only one has the terminal, and with it the keys; the machine's buttons work
 * whichever it is.
 */
#include "vmm/base/log.h"
#include "vmm/machine/live.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static void on_leave(void *ctx)
{
	struct machine *m = ctx;

	stop_request(&m->stop, STOP_USER, NULL);
}

static void on_button(void *ctx)
{
	struct machine *m = ctx;

	log_info("pressing the power button");
	power_button_press(&m->power);
}

static void on_nmi(void *ctx)
{
	machine_nmi(ctx);
}

/* A serial line has no size; only a virtio console can pass it on. */
static void on_resize(void *ctx, uint16_t cols, uint16_t rows)
{
	struct machine *m = ctx;

	if (m->command)
		command_resize(m->command, cols, rows);
	else
		virtio_console_resize(&m->hvc, 0, cols, rows);
}

static const char *const names[N_CONSOLES] = {
	[CONSOLE_SERIAL] = "--serial",
	[CONSOLE_SERIAL2] = "--serial2",
	[CONSOLE_HVC] = "--hvc",
};

static const struct char_config *config_of(const struct vm_config *c, unsigned i)
{
	const struct char_config *all[N_CONSOLES] = {
		[CONSOLE_SERIAL] = &c->serial,
		[CONSOLE_SERIAL2] = &c->serial2,
		[CONSOLE_HVC] = &c->hvc,
	};

	return all[i];
}

int machine_check_consoles(const struct vm_config *c, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < N_CONSOLES && !ret; i++)
		ret = console_check(names[i], config_of(c, i), e);
	return ret;
}

static int open_console(struct machine *m, unsigned i, const struct terminal_config *keys,
			struct err *e)
{
	int ret =
		console_open(&m->consoles[i], names[i], config_of(m->config, i), keys, m->loop, e);

	if (!ret && config_has_control(m->config) && console_remember(&m->consoles[i]))
		ret = err_host(e, -ENOMEM, "%s: out of memory", names[i]);
	if (!ret && m->events)
		console_watch(&m->consoles[i], m->events);
	return ret;
}

static struct terminal_config keys_of(struct machine *m)
{
	return (struct terminal_config){
		.leave = on_leave,
		.press_button = on_button,
		.inject_nmi = on_nmi,
		.resized = m->command || m->config->hvc.kind == CHAR_TTY ? on_resize : NULL,
		.ctx = m,
	};
}

int machine_open_consoles(struct machine *m, struct err *e)
{
	const struct terminal_config keys = keys_of(m);
	int ret = 0;

	/* The terminal first: it forks, and output may have threads. */
	if (m->command && machine_command_has_terminal()) {
		m->terminal = terminal_create(STDIN_FILENO, e);
		ret = m->terminal ? 0 : e->code;
	}
	for (unsigned i = 0; i < N_CONSOLES && !ret; i++)
		if (config_of(m->config, i)->kind == CHAR_TTY)
			ret = open_console(m, i, &keys, e);
	for (unsigned i = 0; i < N_CONSOLES && !ret; i++)
		if (config_of(m->config, i)->kind != CHAR_TTY)
			ret = open_console(m, i, NULL, e);
	return ret;
}

/* What is typed is the command's. */
static int start_terminal(struct machine *m, struct err *e)
{
	const struct char_room room = terminal_room(m->terminal);
	struct terminal_config keys = keys_of(m);

	keys.loop = m->loop;
	keys.in = command_input(m->command, &room);
	keys.log_on_tty = isatty(STDERR_FILENO);
	return terminal_start(m->terminal, &keys, e);
}

int machine_start_consoles(struct machine *m, struct err *e)
{
	int ret = m->terminal ? start_terminal(m, e) : 0;

	for (unsigned i = 0; i < N_CONSOLES && !ret; i++) {
		const struct char_in line = {uart16550_receive, uart16550_receive_break,
					     i == CONSOLE_HVC ? NULL : &m->uarts[i]};
		const struct char_in hvc = {virtio_console_receive, NULL, &m->hvc.ports[0]};
		const struct char_in in = i == CONSOLE_HVC ? hvc : line;

		ret = console_start(&m->consoles[i], &in, e);
	}
	return ret;
}

void machine_renew_consoles(struct machine *m)
{
	for (unsigned i = 0; i < N_CONSOLES; i++)
		console_renew(&m->consoles[i]);
}

bool machine_console_panicked(const struct machine *m, char *buf, size_t size)
{
	for (unsigned i = 0; i < N_CONSOLES; i++)
		if (console_panicked(&m->consoles[i], buf, size))
			return true;
	return false;
}

bool machine_console_rebooted(const struct machine *m)
{
	for (unsigned i = 0; i < N_CONSOLES; i++)
		if (console_rebooted(&m->consoles[i]))
			return true;
	return false;
}

void machine_tell_consoles(struct machine *m)
{
	for (unsigned i = 0; i < N_CONSOLES; i++)
		console_tell(&m->consoles[i]);
}

char *machine_last_lines(struct machine *m)
{
	char *lines = NULL;

	for (unsigned i = 0; i < N_CONSOLES && !(lines && *lines); i++) {
		free(lines);
		lines = console_last_lines(&m->consoles[i]);
	}
	return lines;
}

void machine_close_consoles(struct machine *m)
{
	terminal_destroy(m->terminal);
	m->terminal = NULL;
	for (unsigned i = N_CONSOLES; i-- > 0;)
		console_close(&m->consoles[i]);
}
