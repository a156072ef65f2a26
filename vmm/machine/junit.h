/* SPDX-License-Identifier: Apache-2.0 */
/* junit: how a command ended, as a test's result (--junit FILE). */
#ifndef VMM_MACHINE_JUNIT_H
#define VMM_MACHINE_JUNIT_H

#include "vmm/base/err.h"
#include "vmm/config/config.h"
#include "vmm/machine/machine.h"

#include <stdint.h>

/* Could FILE be written? Makes nothing; fine without --junit. 0, or a negative errno with *e
 * filled. */
int command_junit_check(const struct vm_config *c, struct err *e);

/* Write it, or do nothing without --junit: a status of the command's own passes if it is 0 and
 * else is a failure; whatever kept it from having one is an error. `why` is what kept the
 * machine from running, or NULL. 0, or a negative errno with *e filled. Main thread. */
int command_junit_write(const struct vm_config *c, const struct machine_end *end, const char *why,
			uint64_t took_ns, struct err *e);

#endif
