/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pvpanic: the port at which a guest's kernel says that it has panicked
 * [QEMU docs/specs/pvpanic].
 *
 * A read gives the events that the device knows; a write of one tells that it has
 * happened. Linux's driver (pvpanic-mmio, by ACPI id QEMU0001) writes from its panic
 * notifier: after the message and the stack trace, before it resets or hangs.
 */
#ifndef DEVICES_POWER_PVPANIC_H
#define DEVICES_POWER_PVPANIC_H

#include "vmm/base/log.h"
#include "vmm/core/bus.h"
#include "vmm/core/stop.h"

enum {
	PVPANIC_PORTS = 1,
	PVPANIC_PANICKED = 0x01,     /* it is the host's turn: the run ends */
	PVPANIC_CRASH_LOADED = 0x02, /* the guest has a crash kernel that takes over */
};

struct pvpanic {
	struct stop_sink stop;
	struct log_budget complaints;
};

/* `stop` is copied; it hears STOP_PANIC on a vCPU thread. */
void pvpanic_init(struct pvpanic *p, const struct stop_sink *stop);

/* PVPANIC_PORTS ports; `dev` is the struct pvpanic. There is no state to save. */
extern const struct io_ops pvpanic_io_ops;

#endif
