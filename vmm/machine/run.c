/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main loop while the guest runs: signals, the console's input, timers. It
 * ends when somebody says why the machine stops: a device or a vCPU (the guest
 * powered off, reset or crashed), the user, a signal, or a timer.
 */
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/core/clock.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { ECHO_NS = 200000000 };

static const int stop_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};

struct run {
	struct machine *m;
	int signum; /* of the last signal, once there was one */
	uint64_t signalled_ns;
	struct loop_timer *stop_timer, *timeout;
	struct loop_signal *signals[ARRAY_LEN(stop_signals)];
};

static void stop_by_signal(struct run *r, const char *detail)
{
	r->m->end.signum = r->signum;
	stop_request(&r->m->stop, STOP_SIGNAL, detail);
}

/* The first signal asks the guest nicely; the second, or SIGQUIT, does not ask.
 * timeout(1) and others signal the process and then its group: what comes within
 * a moment of the first is its echo. */
static void on_signal(void *ctx, int signum)
{
	struct run *r = ctx;
	uint64_t now = clock_monotonic_ns(&clock_host);
	bool first = !r->signum;

	if (!first && signum == r->signum && now - r->signalled_ns < ECHO_NS)
		return;
	r->signum = signum;
	r->signalled_ns = now;
	if (!first || signum == SIGQUIT || !r->m->config->stop_timeout_s) {
		stop_by_signal(r, first ? NULL : "a second one");
		return;
	}
	log_info("%s: pressing the power button; the guest has %u s", strsignal(signum),
		 r->m->config->stop_timeout_s);
	power_button_press(&r->m->power);
	loop_timer_start(r->stop_timer, r->m->config->stop_timeout_s * 1000ull);
}

static void on_stop_timeout(void *ctx)
{
	stop_by_signal(ctx, "it did not power off within --stop-timeout");
}

static void on_timeout(void *ctx)
{
	struct run *r = ctx;

	stop_request(&r->m->stop, STOP_TIMEOUT, NULL);
}

static void on_leave(void *ctx)
{
	struct run *r = ctx;

	stop_request(&r->m->stop, STOP_USER, NULL);
}

static void on_break(void *ctx)
{
	struct run *r = ctx;

	uart16550_receive_break(&r->m->uart);
}

static int listen(struct run *r, struct err *e)
{
	struct machine *m = r->m;

	r->stop_timer = loop_timer_add(m->loop, on_stop_timeout, r);
	r->timeout = loop_timer_add(m->loop, on_timeout, r);
	if (!r->stop_timer || !r->timeout)
		return err_host(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < ARRAY_LEN(stop_signals); i++) {
		r->signals[i] = loop_signal_add(m->loop, stop_signals[i], on_signal, r);
		if (!r->signals[i])
			return err_host(e, -ENOMEM, "cannot catch signals");
	}
	if (m->config->timeout_s)
		loop_timer_start(r->timeout, m->config->timeout_s * 1000ull);

	const struct console_wishes wishes = {
		.in = {uart16550_receive, &m->uart},
		.send_break = on_break,
		.leave = on_leave,
		.ctx = r,
	};

	return console_start(&m->console, &wishes, e);
}

static void unlisten(struct run *r)
{
	for (unsigned i = 0; i < ARRAY_LEN(stop_signals); i++)
		loop_signal_del(r->signals[i]);
	loop_timer_del(r->timeout);
	loop_timer_del(r->stop_timer);
}

/* The console tells a panic or a reboot from what looks the same at the pins: a
 * panicked kernel resets like a rebooting one, and reboot=t is a triple fault. */
static void judge_by_console(struct machine *m)
{
	char line[PHRASE_WATCH_LINE + 1];

	if (m->end.reason != STOP_RESET && m->end.reason != STOP_TRIPLE_FAULT)
		return;
	if (console_panicked(&m->console, line, sizeof(line))) {
		m->end.reason = STOP_PANIC;
		snprintf(m->end.detail, sizeof(m->end.detail), "%s", line);
	} else if (m->end.reason == STOP_TRIPLE_FAULT && console_rebooted(&m->console)) {
		m->end.reason = STOP_RESET;
		snprintf(m->end.detail, sizeof(m->end.detail), "by a triple fault");
	}
}

/* With the vCPUs gone: what was in flight ends, or its host is at fault. */
static void drain(struct machine *m)
{
	int ret = device_list_pause(&m->devices);

	if (!ret)
		return;
	m->stuck = true;
	m->end.reason = STOP_HOST_ERROR;
	snprintf(m->end.detail, sizeof(m->end.detail), "a disk does not finish its I/O: %s",
		 strerror(-ret));
}

int machine_run(struct machine *m, struct machine_end *end, struct err *e)
{
	struct run r = {.m = m};
	int ret = listen(&r, e);

	if (!ret)
		ret = vcpus_start(&m->vcpus, e);
	if (!ret)
		loop_run(m->loop);
	vcpus_quit(&m->vcpus);
	unlisten(&r);
	judge_by_console(m);
	drain(m);
	*end = m->end;
	return ret;
}
