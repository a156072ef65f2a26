/* SPDX-License-Identifier: Apache-2.0 */
/* tracking: which pages of RAM are others than a snapshot has, for the files of vmm/machine only.
 * All of it on the main thread, while the machine stands still. */
#ifndef VMM_MACHINE_TRACKING_H
#define VMM_MACHINE_TRACKING_H

#include "vmm/core/guest_mem.h"

#include <stdbool.h>
#include <stdint.h>

struct machine;

struct tracking {
	uint64_t base;                          /* the sum of that snapshot's state */
	uint64_t *dirty[GUEST_MEM_REGIONS_MAX]; /* owned, as guest_mem_log_fetch() gives them; the
						 * first is NULL: it is off */
};

bool tracking_is_on(const struct machine *m);
/* Have m->tracking.dirty know of all that was written until now; the first time, begin. 0, or a
 * negative errno: then it is off. */
int tracking_collect(struct machine *m);
/* All that was collected last is in the snapshot whose state has that sum. */
void tracking_saved(struct machine *m, uint64_t base);
/* Fine if it is off. */
void tracking_stop(struct machine *m);

#endif
