/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template: a process that has opened a snapshot, and forks a machine from it whenever it is asked
 * to at its unix socket.
 *
 *	client -> line -> rpc -> fork -> machine
 *	client <- line <-  it runs, or why not; later, that it has ended
 *
 * It has one thread, no virtual machine and no event loop, so nothing of it is in a child's way: a
 * child closes what was the parent's and makes its own. Between requests it sleeps. What can be
 * asked has a table here and is in vmm/control/openrpc.json; what clients may do to it is bounded
 *as vmm/control/server.h has it.
 */
#ifndef VMM_CLONE_TEMPLATE_H
#define VMM_CLONE_TEMPLATE_H

#include "vmm/base/err.h"
#include "vmm/clone/clone.h"
#include "vmm/clone/words.h"

/* Serve until a signal or a client ends it, and then, once all clones have ended (their power
 * buttons are pressed), give the exit status. A failure to begin is told in *e. It returns in each
 * clone as well, with that one's status. */
int template_run(const struct clone_words *w, const struct clone_maker *maker, struct err *e);

#endif
