/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server: the unix socket at which a running machine takes orders (--control).
 *
 *	client -> line -> rpc -> methods -> machine (vmm/machine/live.h)
 *	client <- line <-
 *
 * It lives on the main loop while a machine runs there; from one machine to the next, when the
 * guest restarts, it and its clients wait. Who may connect is the socket's mode, 0600.
 *
 * No client can hold the machine up (peer.h): one that does not read its answers is not read from,
 * and the number of clients has a limit. Descriptors that the method does not take are closed.
 */
#ifndef VMM_CONTROL_SERVER_H
#define VMM_CONTROL_SERVER_H

#include "vmm/base/err.h"
#include "vmm/config/config.h"
#include "vmm/control/peer.h"
#include "vmm/machine/machine.h"

struct control;

struct events;

/* Events that wait for the main thread; and as many bytes for a client, before they are dropped. */
enum { CONTROL_EVENTS_MAX = 64, CONTROL_OUT_MAX = 256 * 1024 };
enum { CONTROL_CLIENTS_MAX = 32 };

/* Could control_open() make its path? Makes nothing. As that, otherwise. */
int control_check(const struct vm_config *c, struct err *e);

/* Make the socket that c->control names, or take the inherited one over: one that listens, or one
 * that is connected, to a single client. *out is NULL if there is to be none. Clients may
 * want to hear of `events`, which is closed before this is. 0, or a negative errno with *e filled.
 * Main thread; so is all else. */
int control_open(struct control **out, const struct vm_config *c, struct events *events,
		 struct err *e);

/* For machine_run(); NULL for NULL. */
const struct machine_watcher *control_watcher(const struct control *c);

/* Answers that wait are given up; the path is removed. NULL is fine. */
void control_close(struct control *c);

#endif
