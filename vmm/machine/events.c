/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/events.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/core/clock.h"
#include "vmm/core/line_out.h"
#include "vmm/machine/stats.h"
#include "vmm/machine/text.h"
#include "vmm/machine/timing.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 1, PATIENCE_MS = 2000 };

struct events {
	struct line_out *out; /* NULL: no program wants to know */
	bool running;
	bool timing, stats;                        /* a person wants to */
	void (*told)(void *ctx, const char *line); /* NULL: nobody else */
	void *told_ctx;
	struct process_start start;
	uint64_t machine_ns;  /* when this machine began: 0, or when the one before rebooted */
	json_t *counted;      /* of the machine; NULL: nothing was */
	pthread_mutex_t lock; /* of all below */
	bool let_go;
	uint64_t let_go_ns;
	uint64_t times[N_EVENTS]; /* since the beginning; 0: not yet */
	unsigned dropped;
};

/* NULL: it has no line. */
static const char *const names[N_EVENTS] = {
	[EVENT_STARTED] = "started",
	[EVENT_FIRST_INSTRUCTION] = "first-instruction",
	[EVENT_KERNEL_START] = "kernel-start",
	[EVENT_INIT] = "init",
	[EVENT_COMMAND_STARTED] = "command-started",
	[EVENT_COMMAND_ENDED] = "command-ended",
	[EVENT_PANIC] = "panic",
	[EVENT_DEVICE_ADDED] = "device-added",
	[EVENT_DEVICE_REMOVED] = "device-removed",
	[EVENT_CPUS] = "cpus",
	[EVENT_RESTARTED] = "restarted",
	[EVENT_STOPPED] = "stopped",
};

static const char *reason_name(enum stop_reason reason)
{
	static const char *const reasons[] = {
		[STOP_NONE] = "none",
		[STOP_POWEROFF] = "poweroff",
		[STOP_RESET] = "reset",
		[STOP_TRIPLE_FAULT] = "triple-fault",
		[STOP_PANIC] = "panic",
		[STOP_KVM_ERROR] = "kvm-error",
		[STOP_HOST_ERROR] = "host-error",
		[STOP_USER] = "user",
		[STOP_SIGNAL] = "signal",
		[STOP_TIMEOUT] = "timeout",
		[STOP_BOOT_TIMEOUT] = "boot-timeout",
	};

	return (size_t)reason < ARRAY_LEN(reasons) ? reasons[reason] : "none";
}

/* --- lines --------------------------------------------------------------------------- */

static uint64_t now(const struct events *ev)
{
	return clock_monotonic_ns(&clock_host) - ev->start.ns;
}

/* Takes `fields` over: an object, or NULL for none of its own. NULL for want of memory. */
static char *compose(struct events *ev, enum event what, uint64_t ns, json_t *fields)
{
	json_t *o = json_pack("{s:s, s:I}", "event", names[what], "time_ns", (json_int_t)ns);
	char *line = NULL, *flat = NULL;

	if (o && ev->dropped)
		json_object_set_new(o, "dropped", json_integer(ev->dropped));
	if (o && fields)
		json_object_update(o, fields);
	json_decref(fields);
	if (o)
		flat = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (flat && ev->told)
		ev->told(ev->told_ctx, flat);
	if (flat && asprintf(&line, "%s\n", flat) < 0)
		line = NULL;
	free(flat);
	return line;
}

/* Takes `fields` over. */
static void put(struct events *ev, enum event what, uint64_t ns, json_t *fields)
{
	ev->times[what] = ns;
	if ((!ev->out && !ev->told) || !names[what]) {
		json_decref(fields);
		return;
	}
	char *line = compose(ev, what, ns, fields);

	if (!ev->out)
		free(line);
	else if (line && line_out_put(ev->out, line))
		ev->dropped = 0;
	else
		ev->dropped++;
}

/* Who is heard runs, even if the thread that has let it go has not come to say so. */
static void put_first(struct events *ev)
{
	if (ev->let_go && !ev->times[EVENT_FIRST_INSTRUCTION])
		put(ev, EVENT_FIRST_INSTRUCTION, ev->let_go_ns, NULL);
}

/* Takes `fields` over. */
static void say(struct events *ev, enum event what, json_t *fields)
{
	pthread_mutex_lock(&ev->lock);
	put_first(ev);
	if (!ev->times[what])
		put(ev, what, now(ev), fields);
	else
		json_decref(fields);
	pthread_mutex_unlock(&ev->lock);
}

void events_mark(struct events *ev, enum event what)
{
	if (ev)
		say(ev, what, NULL);
}

void events_kernel_start(struct events *ev, const char *release)
{
	if (ev)
		say(ev, EVENT_KERNEL_START, json_pack("{s:o}", "release", json_text(release)));
}

void events_panic(struct events *ev, const char *detail)
{
	if (ev)
		say(ev, EVENT_PANIC, json_pack("{s:o}", "detail", json_text(detail)));
}

void events_command_ended(struct events *ev, int status)
{
	if (ev)
		say(ev, EVENT_COMMAND_ENDED, json_pack("{s:i}", "status", status));
}

void events_device(struct events *ev, enum event what, const char *name, bool is_net)
{
	if (!ev)
		return;
	pthread_mutex_lock(&ev->lock);
	put_first(ev);
	put(ev, what, now(ev),
	    json_pack("{s:s, s:s}", "device", name, "kind", is_net ? "net" : "disk"));
	pthread_mutex_unlock(&ev->lock);
}

void events_cpus(struct events *ev, unsigned count, unsigned target)
{
	if (!ev)
		return;
	pthread_mutex_lock(&ev->lock);
	put_first(ev);
	put(ev, EVENT_CPUS, now(ev),
	    json_pack("{s:i, s:i}", "count", (int)count, "target", (int)target));
	pthread_mutex_unlock(&ev->lock);
}

void events_let_go(struct events *ev)
{
	if (!ev)
		return;
	pthread_mutex_lock(&ev->lock);
	ev->let_go = true;
	ev->let_go_ns = now(ev);
	pthread_mutex_unlock(&ev->lock);
}

void events_stats(struct events *ev, json_t *stats)
{
	if (!ev) {
		json_decref(stats);
		return;
	}
	json_decref(ev->counted);
	ev->counted = stats;
}

/* A guest has come to an end. */
static void tell_times(const struct events *ev)
{
	if (ev->timing)
		timing_print(ev->times, ev->machine_ns, ev->machine_ns ? 0 : ev->start.exec_ns);
}

void events_restarted(struct events *ev)
{
	if (!ev)
		return;
	tell_times(ev);
	pthread_mutex_lock(&ev->lock);
	ev->machine_ns = now(ev);
	put(ev, EVENT_RESTARTED, ev->machine_ns, NULL);
	for (unsigned i = 0; i < EVENT_RESTARTED; i++)
		ev->times[i] = 0;
	ev->let_go = false;
	pthread_mutex_unlock(&ev->lock);
}

/* --- life ---------------------------------------------------------------------------- */

/* A FIFO without a reader is an error, and not a wait for one. What we open is ours alone, so
 * that it can be made to block again. */
static int open_path(const char *path, struct err *e)
{
	int fd = open(path,
		      O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		      0644);

	if (fd < 0 && errno == ENXIO)
		return err_usage(e, -errno, "--events %s: nobody reads there", path);
	if (fd < 0)
		return err_usage(e, -errno, "--events %s: %s", path, strerror(errno));
	fcntl(fd, F_SETFL, O_APPEND);
	return fd;
}

static int open_fd(int fd, struct err *e)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return err_usage(e, -errno, "--events fd=%d: is not open", fd);
	if ((flags & O_ACCMODE) == O_RDONLY)
		return err_usage(e, -EBADF, "--events fd=%d: is open for reading only", fd);
	/* No helper of ours shall hold it open. */
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

static json_t *described(const struct events *ev, const struct vm_config *c)
{
	return json_pack("{s:i, s:i, s:I, s:I, s:o, s:i, s:I, s:b}", "format", FORMAT, "pid",
			 (int)getpid(), "monotonic_ns", (json_int_t)ev->start.ns, "exec_ns",
			 (json_int_t)ev->start.exec_ns, "kernel", json_text(c->kernel), "cpus",
			 (int)c->cpus, "memory", (json_int_t)c->memory, "command",
			 c->command.wanted);
}

static int open_out(struct events *ev, const struct vm_config *c, struct err *e)
{
	int fd = c->events.path ? open_path(c->events.path, e) : open_fd(c->events.fd, e);

	if (fd < 0)
		return e->code;
	ev->out = line_out_create(fd);
	if (ev->out)
		return 0;
	close(fd);
	return err_host(e, -ENOMEM, "--events: out of memory");
}

int events_open(struct events **out, const struct vm_config *c, const struct process_start *start,
		struct err *e)
{
	bool lines = c->events.path || c->events.fd;
	bool stats = c->stats || log_enabled(LOG_DEBUG);
	struct events *ev;

	*out = NULL;
	if (!lines && !c->timing && !stats && !config_has_control(c))
		return 0;
	ev = calloc(1, sizeof(*ev));
	if (!ev)
		return err_host(e, -ENOMEM, "out of memory");
	int ret = lines ? open_out(ev, c, e) : 0;

	if (ret) {
		free(ev);
		return ret;
	}
	ev->timing = c->timing;
	ev->stats = stats;
	ev->start = *start;
	pthread_mutex_init(&ev->lock, NULL);
	say(ev, EVENT_STARTED, described(ev, c));
	*out = ev;
	return 0;
}

void events_listen(struct events *ev, void (*told)(void *ctx, const char *line), void *ctx)
{
	ev->told = told;
	ev->told_ctx = ctx;
}

int events_start(struct events *ev, struct err *e)
{
	if (!ev || !ev->out || ev->running)
		return 0;
	int ret = line_out_start(ev->out);

	if (ret)
		return err_host(e, ret, "--events: cannot start a thread: %s", strerror(-ret));
	ev->running = true;
	return 0;
}

static json_t *timings(const struct events *ev)
{
	static const struct {
		enum event what;
		const char *key;
	} all[] = {
		{EVENT_FILES_OPENED, "files_opened_ns"},
		{EVENT_RAM_MAPPED, "ram_mapped_ns"},
		{EVENT_VM_MADE, "vm_made_ns"},
		{EVENT_KERNEL_LOADED, "kernel_loaded_ns"},
		{EVENT_DEVICES_MADE, "devices_made_ns"},
		{EVENT_FIRST_INSTRUCTION, "first_instruction_ns"},
		{EVENT_KERNEL_START, "kernel_start_ns"},
		{EVENT_INIT, "init_ns"},
		{EVENT_COMMAND_STARTED, "command_started_ns"},
		{EVENT_COMMAND_ENDED, "command_ended_ns"},
		{EVENT_PANIC, "panic_ns"},
		{EVENT_ENDED, "ended_ns"},
		{EVENT_TORN_DOWN, "torn_down_ns"},
	};
	json_t *o = json_object();

	for (unsigned i = 0; i < ARRAY_LEN(all); i++)
		if (ev->times[all[i].what])
			json_object_set_new(o, all[i].key,
					    json_integer((json_int_t)ev->times[all[i].what]));
	return o;
}

static json_t *ended(const struct events *ev, const struct machine_end *end, int status,
		     const char *why)
{
	const char *detail = why ? why : end->detail;
	json_t *o = json_pack("{s:s, s:i, s:o}", "reason",
			      why ? "not-started" : reason_name(end->reason), "status", status,
			      "timings", timings(ev));

	if (*detail)
		json_object_set_new(o, "detail", json_text(detail));
	if (!why && ev->counted)
		json_object_set(o, "stats", ev->counted);
	if (!why && end->signum)
		json_object_set_new(o, "signal", json_integer(end->signum));
	if (!why && end->command)
		json_object_set_new(o, "command_status",
				    end->status < 0 ? json_null() : json_integer(end->status));
	return o;
}

void events_close(struct events *ev, const struct machine_end *end, int status, const char *why)
{
	if (!ev)
		return;
	char *last = compose(ev, EVENT_STOPPED, now(ev), ended(ev, end, status, why));

	if (ev->out)
		line_out_close(ev->out, last, PATIENCE_MS);
	else
		free(last);
	if (!why)
		tell_times(ev);
	if (!why && ev->stats)
		stats_print(ev->counted);
	json_decref(ev->counted);
	pthread_mutex_destroy(&ev->lock);
	free(ev);
}
