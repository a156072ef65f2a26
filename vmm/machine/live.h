/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live: what can be asked of a machine while it runs. All of it is for the main thread, from
 * the start of a watcher's machine to its end (machine.h).
 */
#ifndef VMM_MACHINE_LIVE_H
#define VMM_MACHINE_LIVE_H

#include "vmm/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct machine;

/* Stand still: no vCPU runs, no device has anything in flight. Waits for what is; 0, or a
 * negative errno with *e filled if a disk does not finish: then all runs on. Twice is once, for
 * both. The guest's clocks go on meanwhile, and Linux is told that it stood. */
int machine_pause(struct machine *m, struct err *e);
void machine_resume(struct machine *m);
bool machine_paused(const struct machine *m);

/* The power button; a machine that stands still is resumed first. Ended by force after
 * `patience_s`, unless that is 0. */
void machine_shut_down(struct machine *m, unsigned patience_s);
/* As the reset button: another machine follows. -EINVAL with *e filled: a command's guest has no
 * second life. */
int machine_reset(struct machine *m, struct err *e);
/* The end, at once. */
void machine_stop(struct machine *m);
/* 0 or a negative errno. */
int machine_nmi(struct machine *m);

/* Plug the cable of the network called `id` in, or pull it. -ENOENT or, for a network that is gone,
 * -EPIPE, with *e filled. */
int machine_set_link(struct machine *m, const char *id, bool up, struct err *e);

/* How many bytes of its RAM the guest is to have left: it is asked for the rest, and gives what it
 * can, in its own time. -ENOENT without a balloon or -ERANGE, with *e filled. */
int machine_set_balloon(struct machine *m, int64_t target, struct err *e);

/* New JSON values; NULL for want of memory. {"state": "running" or "paused", ...}; what
 * stats_collect() gives, while the guest is asked for newer figures of its memory; the console's
 * last lines, or null if there is no console. */
json_t *machine_status(const struct machine *m);
json_t *machine_stats(struct machine *m);
json_t *machine_screenshot(struct machine *m);

#endif
