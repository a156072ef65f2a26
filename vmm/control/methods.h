/* SPDX-License-Identifier: Apache-2.0 */
/* methods: what can be asked of a running machine; openrpc.json has them in words. */
#ifndef VMM_CONTROL_METHODS_H
#define VMM_CONTROL_METHODS_H

#include "vmm/control/rpc.h"

struct machine;

struct control_late {
	void (*tell)(void *ctx, json_t *result, const struct err *e);
	void *ctx;
};

/* What one is called with: their `ctx`. */
struct control_call {
	struct machine *machine; /* on the main thread, while it runs */
	bool listens;            /* set: who asks wants to hear of events */
	/* Whom to tell what comes later (RPC_LATER), with a new value or *e filled, on the main
	 * thread; NULL: nobody waits, so all is done at once. There is one answer outstanding at
	 * most. */
	const struct control_late *late;
	struct rpc_fds fds; /* that came with the line: for rpc_take_fd() */
};

extern const struct rpc_table control_methods;

#endif
