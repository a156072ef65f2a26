/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lazy: guest RAM that comes from a snapshot's file while the guest runs.
 *
 *	start -> what was touched the last time -> what is touched now -> all the rest -> over
 *
 * A thread of its own does it. Who touches a page that is not there waits until it is, and goes
 * before all else. Once nothing has been asked for for a while the thread reads the rest, and ends:
 * then the RAM is like any other and the file is closed.
 *
 * When the file cannot be read the machine is stopped (STOP_HOST_ERROR), and the memory in question
 * is as that of a file that was cut short: an access by the guest is an error of KVM_RUN, one of
 * ours SIGBUS (vmm/base/sigbus.h). Nobody waits for it.
 */
#ifndef VMM_SNAPSHOT_LAZY_H
#define VMM_SNAPSHOT_LAZY_H

#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"
#include "vmm/core/stop.h"

#include <stdint.h>

struct lazy;

struct lazy_source {
	int memory;         /* the file, as ram.h has it, as long as the RAM; taken over */
	int dir;            /* where the working set is; taken over. -1: nowhere */
	uint64_t state_sum; /* by which that knows whose it is */
	unsigned quiet_ms;  /* so long nothing must have been asked for before the rest is read */
};

enum { LAZY_QUIET_MS = 500 };

/* Begin, with *gm of GUEST_MEM_ANON, which nobody has touched yet; both outlive it. The descriptors
 * of *s are taken also on failure. 0, or a negative errno with *e filled: -EPERM where the host
 * does not permit it. Main thread; so are those below. */
int lazy_start(struct lazy **out, struct guest_mem *gm, const struct lazy_source *s, struct err *e);

/* From now on, and of what has happened already, *stop hears when the file cannot be read. NULL for
 * `l` is fine. */
void lazy_watch(struct lazy *l, const struct stop_sink *stop);

/* Wait until all is there: 0, or the negative errno for which some of it never will be. NULL is
 * fine. */
int lazy_complete(struct lazy *l);

/* The end, when nobody touches the RAM any more, neither we nor the kernel for us. NULL is fine. */
void lazy_stop(struct lazy *l);

#endif
