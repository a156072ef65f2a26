/* SPDX-License-Identifier: Apache-2.0 */
/* activation: sockets that a service manager opened for us and tells of by LISTEN_PID,
 * LISTEN_FDS and LISTEN_FDNAMES [sd_listen_fds(3)]. */
#ifndef VMM_CONTROL_ACTIVATION_H
#define VMM_CONTROL_ACTIVATION_H

#include "vmm/base/err.h"

/* The one that is called `name`, or the only one: a descriptor, the caller's. Or a negative errno
 * with *e filled (ERR_USAGE). All of them are closed on exec, and the variables are gone: what
 * we start is not meant. Once, while there is one thread. */
int activation_fd(const char *name, struct err *e);

#endif
