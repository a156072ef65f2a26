/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm: argv -> config -> machine -> exit status. */
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/sigbus.h"
#include "vmm/clone/clone.h"
#include "vmm/config/config.h"
#include "vmm/control/ctl.h"
#include "vmm/control/list.h"
#include "vmm/control/notify.h"
#include "vmm/control/server.h"
#include "vmm/core/clock.h"
#include "vmm/doctor/doctor.h"
#include "vmm/machine/events.h"
#include "vmm/machine/junit.h"
#include "vmm/machine/machine.h"
#include "vmm/matrix/matrix.h"
#include "vmm/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whoever starts us may have closed 0, 1 or 2. The next file to be opened would get
 * that number, and the guest's console would be written into a disk. */
static void fill_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* An error's kind is its exit status; but where a command was to have one, that stays the
 * command's. */
static int report(const struct err *e, bool command)
{
	enum { HOST = 1, USAGE = 2, NO_COMMAND = 125 };

	log_error("%s", e->text);
	return command ? NO_COMMAND : e->kind == ERR_USAGE ? USAGE : HOST;
}

static int start_log(const struct vm_config *c, struct err *e)
{
	int fd = STDERR_FILENO;

	log_set_level(c->log_level);
	if (c->log_file)
		fd = open(c->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_usage(e, -errno, "--log-file %s: %s", c->log_file, strerror(errno));
	log_set_fd(fd);
	return 0;
}

static int run_machine(struct vm_config *c, struct events *events,
		       const struct machine_watcher *watcher, struct machine_end *end,
		       struct err *e)
{
	struct machine *m;

	if (machine_create(&m, c, events, e))
		return report(e, c->command.wanted);
	int ret = machine_run(m, watcher, end, e);

	machine_destroy(m);
	events_mark(events, EVENT_TORN_DOWN);
	if (ret)
		return report(e, c->command.wanted);
	machine_end_log(end);
	return machine_end_status(end);
}

/* Who asked a template for this machine wants to hear that it runs. */
struct asked {
	void (*runs)(void *ctx);
	void *ctx;
	const struct machine_watcher *inner; /* or NULL */
	struct machine_watcher watcher;
};

static int asked_begins(void *ctx, struct machine *m, struct loop *loop, struct err *e)
{
	const struct asked *a = ctx;

	return a->inner ? a->inner->begins(a->inner->ctx, m, loop, e) : 0;
}

static void asked_runs(void *ctx)
{
	const struct asked *a = ctx;

	if (a->inner && a->inner->runs)
		a->inner->runs(a->inner->ctx);
	a->runs(a->ctx);
}

static void asked_ends(void *ctx)
{
	const struct asked *a = ctx;

	if (a->inner)
		a->inner->ends(a->inner->ctx);
}

/* `inner` itself where nobody has asked. */
static const struct machine_watcher *asked_watcher(struct asked *a,
						   const struct machine_watcher *inner)
{
	if (!a)
		return inner;
	a->inner = inner;
	a->watcher = (struct machine_watcher){asked_begins, asked_runs, asked_ends, a};
	return &a->watcher;
}

/* ... and tell programs of it. */
static int run(struct vm_config *c, const struct process_start *start, struct asked *asked,
	       struct err *e)
{
	struct machine_end end = {0};
	struct control *control = NULL;
	struct events *events;
	struct notify notify;
	char how[MACHINE_END_TEXT];
	struct err lost = {0};
	int status;

	notify_open(&notify, c);
	if (command_junit_check(c, e) || events_open(&events, c, start, e)) {
		notify_close(&notify, e->text);
		return report(e, c->command.wanted);
	}
	if (control_open(&control, c, events, e))
		status = report(e, c->command.wanted);
	else
		status = run_machine(
			c, events,
			asked_watcher(asked, notify_watcher(&notify, control_watcher(control))),
			&end, e);
	const char *why = e->kind ? e->text : NULL;

	machine_end_text(&end, how);
	notify_close(&notify, why ? why : how);
	/* A command that passed and is in no report has not passed. */
	if (command_junit_write(c, &end, why, clock_monotonic_ns(&clock_host) - start->ns, &lost)) {
		int failed = report(&lost, true);

		status = status ? status : failed;
	}
	events_close(events, &end, status, why);
	control_close(control);
	free(end.console);
	return status;
}

/* --log-file is left alone: nothing is created. */
static int describe(struct vm_config *c, struct err *e)
{
	log_set_level(c->log_level);
	return control_check(c, e) || machine_describe(c, stdout, e) ? report(e, false) : 0;
}

static int examine(bool json, struct err *e)
{
	bool linux_runs = false;

	if (doctor(json, &linux_runs, e))
		return report(e, false);
	return linux_runs ? 0 : 1;
}

static int examine_sandbox(struct err *e)
{
	int ret = sandbox_report(stdout);

	if (ret)
		err_host(e, ret, "doctor: stdout: %s", strerror(-ret));
	return ret ? report(e, false) : !!sandbox_lacks();
}

/* --- clones of a template ---------------------------------------------------------------- */

static struct vm_config template_config;
static struct snapshot_kept *template_kept; /* what is left of it: nothing, in a clone */

static int prepare(const char *word, int argc, char **argv, struct err *e)
{
	struct vm_config first;
	int ret = config_parse_saved(&first, word, e);

	if (ret)
		return ret;
	ret = config_parse_clone(&first, 0, argc, argv, e);
	vm_config_fini(&first);
	if (!ret)
		ret = config_parse_saved(&template_config, word, e);
	if (!ret)
		ret = machine_keep(&template_config, e);
	template_kept = template_config.restore.kept;
	return ret;
}

static int become_clone(unsigned number, int argc, char **argv, void (*runs)(void *ctx), void *ctx,
			struct err *e)
{
	const struct process_start start = {clock_monotonic_ns(&clock_host), clock_process_ns()};
	struct asked asked = {.runs = runs, .ctx = ctx};
	struct vm_config *c = &template_config;

	if (config_parse_clone(c, number, argc, argv, e) || start_log(c, e))
		return report(e, false);
	return run(c, &start, &asked, e);
}

static int clone_machines(int argc, char **argv)
{
	static const struct clone_maker maker = {prepare, become_clone};
	int status = clone_main(argc, argv, &maker);

	vm_config_fini(&template_config);
	machine_keep_no_more(template_kept);
	return status;
}

/* Many machines are on one host, and most live for a moment. A heap for each thread is memory
 * and system calls for threads that hardly ever allocate. (What is large is mapped, but not
 * always: a threshold of ours would map the buffer of each reply of a shared directory anew.) */
static void trim_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
}

int main(int argc, char **argv)
{
	struct err e = {0};
	struct vm_config config;
	bool command = config_has_command(argc, argv);
	const struct process_start start = {clock_monotonic_ns(&clock_host), clock_process_ns()};
	int status = 0;

	trim_heap();
	fill_standard_fds();
	sigbus_catch();
	signal(SIGPIPE, SIG_IGN); /* a closed reader is an EPIPE, not our end */
	signal(SIGXFSZ, SIG_IGN); /* nor is a file that may not grow (ulimit -f): EFBIG */
	if (argc > 1 && !strcmp(argv[1], "ctl"))
		return ctl_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "list"))
		return list_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "clone"))
		return clone_machines(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "matrix"))
		return matrix_main(argc - 1, argv + 1);
	switch (config_parse(&config, argc, argv, &e)) {
	case CONFIG_RUN:
		if (config.dry_run)
			status = describe(&config, &e);
		else
			status = start_log(&config, &e) ? report(&e, command)
							: run(&config, &start, NULL, &e);
		break;
	case CONFIG_DOCTOR:
		status = config.sandbox == CONFIG_SANDBOX_ON ? examine_sandbox(&e)
							     : examine(config.json, &e);
		break;
	case CONFIG_VERSION:
		puts("minivmm " MINIVMM_VERSION);
		break;
	case CONFIG_DONE:
		break;
	default:
		status = report(&e, command);
	}
	vm_config_fini(&config);
	return status;
}
