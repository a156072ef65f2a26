/* SPDX-License-Identifier: Apache-2.0 */
/* run: all cells, some at a time. */
#ifndef VMM_MATRIX_RUN_H
#define VMM_MATRIX_RUN_H

#include "vmm/base/err.h"
#include "vmm/matrix/cell.h"

/* How much runs at once: `jobs` cells; or with 0 as many as have together no more CPUs than
 * the host, and one at least. */
struct run_options {
	unsigned jobs;
	/* A cell has ended, the `nth` of them to do so. */
	void (*ended)(void *ctx, const struct cell *c, unsigned nth);
	void *ctx;
};

/* Run `n` cells; all have ended then. SIGINT, SIGTERM, SIGHUP or SIGQUIT ends those that run,
 * and no other is begun; a second one does so by force. *signum: which it was, or 0. 0, or a
 * negative errno with *e filled, and no cell was begun. Main thread. */
int run_cells(struct cell *cells, unsigned n, const struct run_options *options, int *signum,
	      struct err *e);

#endif
