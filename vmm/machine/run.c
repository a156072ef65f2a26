/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main loop while the guest runs: signals, the console's input, timers. It
 * ends when somebody says why the machine stops: a device or a vCPU (the guest
 * powered off, reset or crashed), the user, a signal, or a timer.
 */
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/core/clock.h"
#include "vmm/machine/live.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ECHO_NS = 200000000, IMPATIENT_NS = 1000000000 };

static const int stop_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};

struct run {
	struct machine *m;
	struct log_budget reboots;
	uint64_t signalled_ns; /* when the last signal came, */
	int signum;            /* and which it was */
	struct loop_timer *timeout, *boot_timeout;
	struct loop_signal *signals[ARRAY_LEN(stop_signals)];
};

/* A command gets SIGINT as often as its user means it; twice within a moment, and it is us
 * who are meant. Other signals ask it to end, once. What does not reach it, as it has not
 * begun, is for us as well: our init does not look at the power button. */
static void signal_command(struct run *r, int signum, uint64_t now)
{
	struct machine *m = r->m;
	bool impatient =
		signum == SIGINT && r->signalled_ns && now - r->signalled_ns < IMPATIENT_NS;
	unsigned patience_s = m->config->stop_timeout_s;

	r->signalled_ns = now;
	machine_resume(m);
	if (signum == SIGQUIT || impatient || m->end.signum || (signum != SIGINT && !patience_s) ||
	    !command_signal(m->command, signum)) {
		m->end.signum = signum;
		stop_request(&m->stop, STOP_SIGNAL, NULL);
	} else if (signum != SIGINT) {
		m->end.signum = signum;
		loop_timer_start(r->m->stop_timer, patience_s * 1000ull);
	}
}

/* The first signal asks the guest nicely; the second, or SIGQUIT, does not ask.
 * timeout(1) and others signal the process and then its group: what comes within
 * a moment of the first is its echo. */
static void on_signal(void *ctx, int signum)
{
	struct run *r = ctx;
	struct machine_end *end = &r->m->end;
	uint64_t now = clock_monotonic_ns(&clock_host);
	bool first = !end->signum;

	if (r->signalled_ns && signum == r->signum && now - r->signalled_ns < ECHO_NS)
		return;
	r->signum = signum;
	if (r->m->command) {
		signal_command(r, signum, now);
		return;
	}
	end->signum = signum; /* the main thread's alone, unlike the reason */
	r->signalled_ns = now;
	if (!first || signum == SIGQUIT || !r->m->config->stop_timeout_s) {
		stop_request(&r->m->stop, STOP_SIGNAL, first ? NULL : "a second one");
		return;
	}
	log_info("%s: pressing the power button; the guest has %u s", strsignal(signum),
		 r->m->config->stop_timeout_s);
	machine_shut_down(r->m, r->m->config->stop_timeout_s);
}

static void on_stop_timeout(void *ctx)
{
	struct run *r = ctx;

	if (r->m->end.signum || r->m->command)
		stop_request(&r->m->stop, STOP_SIGNAL,
			     "it did not power off within --stop-timeout");
	else
		stop_request(&r->m->stop, STOP_USER, "it did not power off in time");
}

static void on_boot_timeout(void *ctx)
{
	struct run *r = ctx;

	stop_request(&r->m->stop, STOP_BOOT_TIMEOUT, NULL);
}

/* A guest that does not power off when its command has ended is stopped. */
static void on_command(void *ctx, bool running)
{
	struct run *r = ctx;

	log_info("the command %s", running ? "begins" : "has ended");
	if (running)
		events_mark(r->m->events, EVENT_COMMAND_STARTED);
	else
		events_command_ended(r->m->events, command_status(r->m->command));
	if (running)
		loop_timer_stop(r->boot_timeout);
	else
		loop_timer_start(r->m->stop_timer, r->m->config->stop_timeout_s * 1000ull);
}

static void on_timeout(void *ctx)
{
	struct run *r = ctx;

	stop_request(&r->m->stop, STOP_TIMEOUT, NULL);
}

/* As nohup(1) leaves SIGHUP for those who shall outlive the terminal. */
static bool is_ignored(int signum)
{
	struct sigaction sa;

	return !sigaction(signum, NULL, &sa) && sa.sa_handler == SIG_IGN;
}

static int listen(struct run *r, struct err *e)
{
	struct machine *m = r->m;
	const int standard[] = {m->terminal ? -1 : STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};

	m->stop_timer = loop_timer_add(m->loop, on_stop_timeout, r);
	r->timeout = loop_timer_add(m->loop, on_timeout, r);
	r->boot_timeout = loop_timer_add(m->loop, on_boot_timeout, r);
	if (!m->stop_timer || !r->timeout || !r->boot_timeout)
		return err_host(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < ARRAY_LEN(stop_signals); i++) {
		if (stop_signals[i] == SIGHUP && is_ignored(SIGHUP))
			continue;
		r->signals[i] = loop_signal_add(m->loop, stop_signals[i], on_signal, r);
		if (!r->signals[i])
			return err_host(e, -ENOMEM, "cannot catch signals");
	}
	if (m->config->timeout_s)
		loop_timer_start(r->timeout, m->config->timeout_s * 1000ull);
	if (m->command && m->config->command.boot_timeout_s)
		loop_timer_start(r->boot_timeout, m->config->command.boot_timeout_s * 1000ull);
	int ret = m->command ? command_start(m->command, m->loop, standard, on_command, r, e) : 0;

	return ret ? ret : machine_start_consoles(m, e);
}

/* Back to the signals' defaults, and none is lost between: what libuv has caught is
 * heard now, what comes meanwhile waits, and then ends us. */
static void unlisten(struct run *r)
{
	sigset_t before, held;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	sigemptyset(&held);
	for (unsigned i = 0; i < ARRAY_LEN(stop_signals); i++)
		if (r->signals[i] && !sigismember(&before, stop_signals[i]))
			sigaddset(&held, stop_signals[i]);
	pthread_sigmask(SIG_BLOCK, &held, NULL);
	loop_poll(r->m->loop);
	for (unsigned i = 0; i < ARRAY_LEN(stop_signals); i++)
		loop_signal_del(r->signals[i]);
	pthread_sigmask(SIG_UNBLOCK, &held, NULL);
	loop_timer_del(r->boot_timeout);
	loop_timer_del(r->timeout);
	loop_timer_del(r->m->stop_timer);
	r->m->stop_timer = NULL;
}

/* The console tells a panic or a reboot from what looks the same at the pins: a
 * panicked kernel resets like a rebooting one, and reboot=t is a triple fault. And
 * what pvpanic only counts, the console has in words. */
static void judge_by_console(struct machine *m)
{
	char line[PHRASE_WATCH_LINE + 1];

	if (m->end.reset_asked && m->end.reason == STOP_RESET)
		return;
	if (m->end.reason != STOP_RESET && m->end.reason != STOP_TRIPLE_FAULT &&
	    m->end.reason != STOP_PANIC)
		return;
	if (machine_console_panicked(m, line, sizeof(line))) {
		m->end.reason = STOP_PANIC;
		snprintf(m->end.detail, sizeof(m->end.detail), "%s", line);
	} else if (m->end.reason == STOP_TRIPLE_FAULT && machine_console_rebooted(m)) {
		m->end.reason = STOP_RESET;
		snprintf(m->end.detail, sizeof(m->end.detail), "by a triple fault");
	}
}

/* With the vCPUs gone: what was in flight ends, or its host is at fault. */
static void drain(struct machine *m)
{
	int ret = m->paused ? 0 : device_list_pause(&m->devices);

	if (!ret)
		return;
	m->stuck = true;
	m->end.reason = STOP_HOST_ERROR;
	snprintf(m->end.detail, sizeof(m->end.detail), "a disk does not finish its I/O: %s",
		 strerror(-ret));
}

/* What it ended with; or, if the guest failed it, what the guest's last words were. */
static void end_command(struct machine *m)
{
	m->end.command = true;
	m->end.status = command_status(m->command);
	if (m->end.status < 0)
		machine_tell_consoles(m);
	if (m->end.status && m->config->command.junit)
		m->end.console = machine_last_lines(m);
}

/* The devices go on before the processors, which may ask them for more. */
static void let_go(struct machine *m)
{
	events_let_go(m->events);
	if (m->paused) {
		m->paused = false;
		device_list_resume(&m->devices);
		vcpus_tell_stood(&m->vcpus);
	}
}

/* The events' thread comes only now, as what forks has done so. */
static int start_guest(struct machine *m, struct err *e)
{
	int ret = events_start(m->events, e);

	if (ret)
		return ret;
	let_go(m);
	ret = machine_start_vcpus(m, e);
	if (!ret)
		events_mark(m->events, EVENT_FIRST_INSTRUCTION);
	return ret;
}

/* Until it is known why the guest ends: then no vCPU runs, nor is anything written of them. Who
 * said so second, and late, has stopped the loop once more. */
static void run_to_end(struct machine *m)
{
	do
		loop_run(m->loop);
	while (!machine_has_ended(m));
	vcpus_park(&m->vcpus);
	machine_snapshot_end(m);
	judge_by_console(m);
	if (m->end.reason == STOP_PANIC)
		events_panic(m->events, m->end.detail);
}

/* As the guest wanted, or who controls it. A device that does not let go of its I/O is not to meet
 * another guest. */
static int restart(struct run *r, struct err *e)
{
	struct machine *m = r->m;
	char text[MACHINE_END_TEXT];

	vcpus_log_crashed(&m->vcpus);
	vcpus_renew(&m->vcpus);
	drain(m);
	if (m->stuck)
		return 0;
	m->paused = true;
	machine_end_text(&m->end, text);
	log_guest(&r->reboots, "%s", text);
	events_mark(m->events, EVENT_TORN_DOWN);
	events_restarted(m->events);
	machine_ends_not(m);
	int ret = machine_begin_anew(m, e);

	if (ret)
		return ret;
	let_go(m);
	vcpus_resume(&m->vcpus);
	events_mark(m->events, EVENT_FIRST_INSTRUCTION);
	return 0;
}

int machine_run(struct machine *m, const struct machine_watcher *w, struct machine_end *end,
		struct err *e)
{
	struct run r = {.m = m};
	int ret;

	m->end.began_ns = clock_monotonic_ns(&clock_host);
	ret = listen(&r, e);
	if (!ret && w)
		ret = w->begins(w->ctx, m, m->loop, e);
	if (!ret)
		ret = start_guest(m, e);
	if (!ret && w && w->runs)
		w->runs(w->ctx);
	while (!ret) {
		run_to_end(m);
		if (!machine_end_restarts(&m->end, m->config))
			break;
		ret = restart(&r, e);
		if (m->stuck)
			break;
	}
	if (w)
		w->ends(w->ctx);
	vcpus_quit(&m->vcpus);
	machine_snapshot_end(m);
	if (!m->stuck)
		drain(m);
	if (m->stats)
		events_stats(m->events, stats_collect(m));
	if (m->command)
		end_command(m);
	unlisten(&r);
	/* Not earlier: a reader that does not read holds us up, but no signal to us. */
	vcpus_log_crashed(&m->vcpus);
	if (m->end.reason == STOP_TIMEOUT || m->end.reason == STOP_BOOT_TIMEOUT)
		vcpus_log_stood(&m->vcpus);
	*end = m->end;
	return ret;
}
