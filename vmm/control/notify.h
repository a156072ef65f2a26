/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify: telling the service manager how the machine does, where it asked by NOTIFY_SOCKET to
 * be told [sd_notify(3), "Standalone implementations"]: a datagram with a line for each thing.
 *
 *	the guest's first instruction  READY=1, and what runs as STATUS=
 *	the end                        STOPPING=1, and why as STATUS=
 *
 * A manager that does not listen costs a warning, and a second at the most. All of it is for
 * the main thread.
 */
#ifndef VMM_CONTROL_NOTIFY_H
#define VMM_CONTROL_NOTIFY_H

#include "vmm/config/config.h"
#include "vmm/machine/machine.h"

struct notify {
	int fd; /* -1: nobody wants to know */
	const struct vm_config *config;
	const struct machine_watcher *inner;
	struct machine_watcher watcher;
};

/* Takes NOTIFY_SOCKET out of the environment: what we start is not to speak for us. Never fails:
 * a variable that leads nowhere is a warning. `config` is borrowed. While there is one thread. */
void notify_open(struct notify *n, const struct vm_config *config);

/* For machine_run(): says that the guest runs, and hands all on to `inner` (borrowed, or NULL).
 * Where nobody wants to know it is `inner` itself. As long as *n. */
const struct machine_watcher *notify_watcher(struct notify *n, const struct machine_watcher *inner);

/* The end, for that reason: any bytes. Harmless where nobody wants to know. */
void notify_close(struct notify *n, const char *why);

#endif
