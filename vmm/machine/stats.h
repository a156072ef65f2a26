/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: what is counted while a machine runs, for --stats, -vv and the last event: exits
 * to us by reason and by device, what each virtqueue carried, and KVM's own counters.
 * Only exits cost anything to count, and only where they are asked for; queues count
 * always, in words of their own thread.
 */
#ifndef VMM_MACHINE_STATS_H
#define VMM_MACHINE_STATS_H

#include <jansson.h>

struct machine;
struct stats;

/* Have exits counted from now on. Before vCPUs run, main thread. 0 or -ENOMEM. */
int stats_begin(struct machine *m);
/* NULL is fine. No vCPU runs any more. */
void stats_end(struct stats *s);

/* All of it, a new object: {"exits": {REASON: n}, "devices": {NAME: {"reads": n, "writes":
 * n}}, "queues": {"DEVICE.INDEX": {...}}, "kvm": {NAME: n}}; what is 0 is left out, and so are
 * the first two if exits are not counted. NULL for want of memory. vCPUs are gone or parked. */
json_t *stats_collect(struct machine *m);

/* The same as lines for a person. */
void stats_print(const json_t *stats);

#endif
