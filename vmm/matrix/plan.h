/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan: which cells there are, from a file.
 *
 * The file is one of `minivmm run --config`, with a section more, [matrix], whose kernel,
 * cpus and memory are lists. A cell is one of each; what a cell is to be in all else, the
 * other sections say. Every cell is tried on the configuration's own parser before the first
 * is run, so a wrong setting costs nobody an hour.
 */
#ifndef VMM_MATRIX_PLAN_H
#define VMM_MATRIX_PLAN_H

#include "vmm/base/err.h"

#include <stdint.h>

enum { MATRIX_CELLS_MAX = 256, MATRIX_WORDS_MAX = 16 };

struct cell_plan {
	char *words[MATRIX_WORDS_MAX]; /* the options of its run, and then NULL; owned */
	unsigned n_words;
	/* What the configuration makes of them. */
	char *kernel; /* as a person would name it */
	unsigned cpus;
	uint64_t memory;
	unsigned timeout_s; /* 0: none */
};

struct plan {
	char *file;    /* as the user names it */
	char *command; /* that a shell in the guest is to run; NULL: the guest is its own test */
	struct cell_plan *cells;
	unsigned n; /* 1 or more */
};

/* Read `file`. 0, or a negative errno with *e filled; *p may be handed to plan_fini() in
 * every case. Opens nothing but the file, and whatever that has the configuration read. */
int plan_read(struct plan *p, const char *file, struct err *e);
void plan_fini(struct plan *p);

#endif
