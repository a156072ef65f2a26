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
/* As the reset button: the guest begins anew. -EINVAL with *e filled: a command's guest has no
 * second life. */
int machine_reset(struct machine *m, struct err *e);
/* The end, at once. */
void machine_stop(struct machine *m);
/* 0 or a negative errno. */
int machine_nmi(struct machine *m);

/* How a snapshot is wanted. */
struct snapshot_wish {
	const char *path; /* of its directory; */
	int at;           /* a name in this one, the caller's; -1: the path as it is */
	const char *base; /* that of the last one with `track`: only what has changed since is taken
			   * while the machine stands. NULL: all */
	int base_at;      /* likewise */
	bool track; /* note what changes from here on, for one with this as `base`; with a base it
		     * goes on. The guest is slower for it: each page's first store is an exit */
	bool pack;  /* compress its RAM, when the machine has gone on. Neither with a base nor
		     * with `track`: such a one is no base */
};
/* What it took. */
struct snapshot_told {
	uint64_t paused_ns; /* how long the machine stood, at most, */
	uint64_t bytes;     /* and what its RAM takes on disk */
};

/* Write all of it to a directory (vmm/snapshot/README.md), from which it can be restored; an older
 * snapshot there is replaced at the end. It goes on afterwards as it was, running or paused. 0, or
 * a negative errno with *e filled and nothing left behind. */
int machine_snapshot(struct machine *m, const struct snapshot_wish *wish,
		     struct snapshot_told *told, struct err *e);
/* The same, but with 0 the machine has gone on and the rest of it is done by a thread; `done` is
 * called with what came of it, by the main loop or at the machine's end, which waits for it. *told
 * counts if e->kind is 0. Until then another one is refused with -EBUSY. */
typedef void snapshot_done_fn(void *ctx, const struct snapshot_told *told, const struct err *e);
int machine_snapshot_begin(struct machine *m, const struct snapshot_wish *wish,
			   snapshot_done_fn *done, void *ctx, struct err *e);

/* Plug the cable of the network called `id` in, or pull it. -ENOENT or, for a network that is gone,
 * -EPIPE, with *e filled. */
int machine_set_link(struct machine *m, const char *id, bool up, struct err *e);

/* What is to become of a limit: numbers as in struct rate_config, negative ones leave it as it is;
 * a rate of 0 takes its burst along. */
struct limit_change {
	int64_t bps, burst, ops, ops_burst;
};
/* Of the disk, or each direction of the network, called `id`, from now on. -ENOENT, -ERANGE or
 * -EINVAL, with *e filled. */
int machine_limit_disk(struct machine *m, const char *id, const struct limit_change *to,
		       struct err *e);
int machine_limit_net(struct machine *m, const char *id, const struct limit_change *to,
		      struct err *e);
/* Tell the guest of what the disk called `id` has on the host by now; or first make its file *size
 * bytes, unless that is 0. What it has then is in *size. 0, or a negative errno with *e filled and
 * all as it was: there is no such disk, it would shrink, the host refuses. */
int machine_resize_disk(struct machine *m, const char *id, uint64_t *size, struct err *e);
/* Give the running guest a disk or a network; on PCI, in a slot that --hotplug left free. `id` and
 * `serial` may be NULL. `fd` is taken over, also on failure: of a file that is open for reading
 * and, unless `readonly`, for writing; of a tap that is attached to its interface. It stays when
 * the guest begins anew. NULL with *e filled, or what it is called. */
const char *machine_add_disk(struct machine *m, int fd, const char *id, const char *serial,
			     bool readonly, struct err *e);
const char *machine_add_net(struct machine *m, int fd, const char *id, struct err *e);
/* Ask the guest to give up what was added under that name. When it does, which may be never, the
 * device goes and its file is closed; it may as well do so by itself. 0, -ENOENT, or -EPERM of what
 * was there from the start, with *e filled. */
int machine_remove_disk(struct machine *m, const char *id, struct err *e);
int machine_remove_net(struct machine *m, const char *id, struct err *e);
/* How many bytes of its RAM the guest is to have left: it is asked for the rest, and gives what it
 * can, in its own time. -ENOENT without a balloon or -ERANGE, with *e filled. */
int machine_set_balloon(struct machine *m, int64_t target, struct err *e);

/* How many bytes of RAM the guest is to have in all: it plugs what is missing or unplugs what is
 * too much, as far as it can, in its own time. What it starts with and a multiple of
 * VIRTIO_MEM_BLOCK, up to --memory's max. -ENOENT without that, -ERANGE or -EINVAL, with *e filled.
 */
int machine_set_memory(struct machine *m, int64_t size, struct err *e);

/* How many CPUs the guest is to have, 1 to --cpus' max: it takes what is missing, or gives up what
 * is too much, the last ones first, as far as it can, in its own time. -ENOENT without max,
 * -ERANGE, or a negative errno of KVM's, with *e filled. */
int machine_set_cpus(struct machine *m, int64_t count, struct err *e);

/* New JSON values; NULL for want of memory. {"state": "running" or "paused", ...}; what
 * stats_collect() gives, while the guest is asked for newer figures of its memory; the console's
 * last lines, or null if there is no console. */
json_t *machine_status(const struct machine *m);
json_t *machine_stats(struct machine *m);
json_t *machine_screenshot(struct machine *m);

#endif
