/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine: the whole VM, from a config to its end.
 *
 *	config -> machine_create -> machine_run -> machine_destroy -> exit status
 *
 * machine_create() is the one place where the order of things is decided; read
 * it to see how a machine comes to be. All three are for the main thread.
 */
#ifndef VMM_MACHINE_MACHINE_H
#define VMM_MACHINE_MACHINE_H

#include "vmm/base/err.h"
#include "vmm/config/config.h"
#include "vmm/core/stop.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct loop;
struct machine;
struct events;

/* How a run ended, in the words of the exit status. */
struct machine_end {
	enum stop_reason reason;
	int signum;        /* of the last signal that asked to stop, or 0 */
	char detail[256];  /* one line more, or empty */
	bool reset_asked;  /* not by the guest: it begins anew in any case */
	bool command;      /* there was one, */
	int status;        /* and it ended with this status; -1: it did not */
	uint64_t began_ns; /* host's clock, when the machine began to run */
	char *console; /* for --junit: the console's last lines, the caller's to free; or NULL */
};

/* Open everything, build everything, load the guest, or with config->restore what was saved of one;
 * nothing runs yet. `config` and `events` (NULL: none) are borrowed and outlive the machine; limits
 * that are changed while it runs are changed in `config`. 0, or a negative errno with *e filled and
 * nothing left behind. */
int machine_create(struct machine **out, struct vm_config *config, struct events *events,
		   struct err *e);

/* Open the snapshot of config->restore and look at all of it, for machines of forked processes: in
 * each, machine_create() with this config (or what follows from it) takes config->restore.kept
 * over, which this makes, and reads nothing anew. 0, or a negative errno with *e filled. Main
 * thread, while there is no other. */
int machine_keep(struct vm_config *config, struct err *e);
/* What config->restore.kept was; NULL is fine. */
void machine_keep_no_more(struct snapshot_kept *kept);

/* --dry-run: the same files opened and judged, the same machine made, but for KVM and
 * for whatever would leave a trace; then it is told on `out` (config->json: as JSON) and
 * is gone. 0, or a negative errno with *e filled: what machine_create() would refuse. */
int machine_describe(struct vm_config *config, FILE *out, struct err *e);

/* Who wants to know of a machine while it runs: what can be asked of it then, vmm/machine/live.h
 * has. All on the main thread, whose loop is `loop`; `begins` comes before the guest does, and
 * what it fails with is machine_run()'s failure. `runs` (which may be NULL): the guest has been let
 * go. `ends` always follows. */
struct machine_watcher {
	int (*begins)(void *ctx, struct machine *m, struct loop *loop, struct err *e);
	void (*runs)(void *ctx);
	void (*ends)(void *ctx);
	void *ctx;
};

/* Run the guest until something ends it, and say what in *end. `w` may be NULL. A guest that
 * reboots, where that means so (machine_end_restarts()), begins anew in the same machine. A failure
 * to start gives a negative errno with *e filled. Once per machine. */
int machine_run(struct machine *m, const struct machine_watcher *w, struct machine_end *end,
		struct err *e);

/* Does the guest begin anew after this end, as it rebooted and that means so? One that
 * was asked to power off and reboots instead does not. */
bool machine_end_restarts(const struct machine_end *end, const struct vm_config *config);

/* Everything that machine_create() did, in reverse. NULL is fine. */
void machine_destroy(struct machine *m);

/* The process's exit status for an end; why it ended, for a person; the same as a line of
 * the log, unless the end was a command's own. */
enum { MACHINE_END_TEXT = 400, MACHINE_STATUS_TIMEOUT = 124 };
int machine_end_status(const struct machine_end *end);
void machine_end_text(const struct machine_end *end, char text[MACHINE_END_TEXT]);
void machine_end_log(const struct machine_end *end);

#endif
