/* SPDX-License-Identifier: Apache-2.0 */
/* timing: what of a machine's life took how long, as a table for people (--timing). */
#ifndef VMM_MACHINE_TIMING_H
#define VMM_MACHINE_TIMING_H

#include "vmm/machine/events.h"

#include <stdint.h>

/* Log the phases that were, whatever the level. `times`: when each event was, in nanoseconds
 * since main(), 0: never. `from_ns` is when this machine began, likewise, and `exec_ns` what
 * came before main(), 0 for a machine that is not the process's first. */
void timing_print(const uint64_t times[N_EVENTS], uint64_t from_ns, uint64_t exec_ns);

#endif
