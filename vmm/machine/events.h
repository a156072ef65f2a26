/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events: what becomes of a run, as it happens: for programs a JSON object a line
 * (--events), and for people, at the end, what took how long (--timing) and what was
 * counted (--stats, -vv). What each event and field means, and what can be relied on, is
 * said in one place: vmm/machine/EVENTS.md.
 *
 * All functions but events_open() take NULL: nobody wants to know. An event that comes once
 * in a machine's life is told once, whoever says it again.
 */
#ifndef VMM_MACHINE_EVENTS_H
#define VMM_MACHINE_EVENTS_H

#include "vmm/base/err.h"
#include "vmm/config/config.h"
#include "vmm/machine/machine.h"

#include <jansson.h>
#include <stdint.h>

struct events;

/* In the order in which they come. */
enum event {
	EVENT_STARTED,
	/* These have no line of their own; their times are told in the last one. */
	EVENT_FILES_OPENED,
	EVENT_RAM_MAPPED,
	EVENT_VM_MADE,
	EVENT_KERNEL_LOADED,
	EVENT_DEVICES_MADE,
	EVENT_FIRST_INSTRUCTION,
	EVENT_KERNEL_START,
	EVENT_INIT,
	EVENT_COMMAND_STARTED,
	EVENT_COMMAND_ENDED,
	EVENT_PANIC,
	EVENT_DEVICE_ADDED, /* these three as often as it happens */
	EVENT_DEVICE_REMOVED,
	EVENT_CPUS,
	EVENT_ENDED,     /* it is known why the guest ends; no line of its own, */
	EVENT_TORN_DOWN, /* nor has this */
	EVENT_RESTARTED,
	EVENT_STOPPED,
	N_EVENTS,
};

/* When main() began, of the host's monotonic clock: all times are counted from then. And
 * how much processor time the process had had by then, for its exec and its libraries. */
struct process_start {
	uint64_t ns, exec_ns;
};

/* Open what --events names and tell that we have started; *out is NULL if nobody wants to
 * know anything. 0, or a negative errno with *e filled. Main thread, as all where nothing
 * else is said. */
int events_open(struct events **out, const struct vm_config *c, const struct process_start *start,
		struct err *e);

/* Have each line that follows told as well, without its newline: from any thread and under a lock,
 * so `told` must not wait, nor say anything here. Once, before there is a machine. */
void events_listen(struct events *ev, void (*told)(void *ctx, const char *line), void *ctx);

/* Start to write, by a thread; until then events wait. Harmless when called again. */
int events_start(struct events *ev, struct err *e);

/* The vCPUs are about to be let go. It is told with EVENT_FIRST_INSTRUCTION, once they
 * are, or as soon as the guest is heard of. */
void events_let_go(struct events *ev);

/* Those with no field of their own. Any thread, and it never waits; the same holds for the
 * next four. */
void events_mark(struct events *ev, enum event what);
void events_kernel_start(struct events *ev, const char *release);
void events_panic(struct events *ev, const char *detail);
void events_command_ended(struct events *ev, int status);
/* EVENT_DEVICE_ADDED or EVENT_DEVICE_REMOVED, of a disk or a network of that name. */
void events_device(struct events *ev, enum event what, const char *name, bool is_net);
/* It has so many CPUs now, and is to have `target`: as often as it comes. */
void events_cpus(struct events *ev, unsigned count, unsigned target);

/* What was counted of the machine, or NULL; takes `stats` over. */
void events_stats(struct events *ev, json_t *stats);

/* The guest begins anew: times are counted from here. */
void events_restarted(struct events *ev);

/* The end, with the process's exit status; `why` is the error that kept a machine from
 * running, or NULL. Then wait a while for the reader, and free all. */
void events_close(struct events *ev, const struct machine_end *end, int status, const char *why);

#endif
