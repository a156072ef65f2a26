/* SPDX-License-Identifier: Apache-2.0 */
/* child: a clone on its way into being, as its template sees it. For vmm/clone only. */
#ifndef VMM_CLONE_CHILD_H
#define VMM_CLONE_CHILD_H

#include "vmm/clone/clone.h"
#include "vmm/clone/words.h"

#include <signal.h>
#include <sys/types.h>

struct clone_order {
	unsigned number;
	char **more; /* options beside the template's; n_more, borrowed */
	size_t n_more;
	int output;       /* its stdout, owned: clone_fork() takes it; -1: it goes nowhere */
	sigset_t signals; /* what was blocked before the template began */
	/* In the child: close what is the template's. */
	void (*close_all)(void *ctx);
	void *ctx;
};

/* Fork it. In the template *pid is the child's process, and *told a descriptor that does not block,
 * for clone_news(). In the child, which has run its machine, *pid is 0 and *status the exit status.
 * 0, or a negative errno. */
int clone_fork(struct clone_order *o, const struct clone_words *w, const struct clone_maker *maker,
	       pid_t *pid, int *told, int *status);

/* What it has told: 1 that its guest runs; 0 nothing yet; or -1: it has failed, with *e filled. */
int clone_news(int told, struct err *e);

#endif
