/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cell: one run of the matrix, as a child process.
 *
 * What it says, on stdout and stderr alike, is kept, the last of it at least. How it ended is
 * asked of its events (vmm/machine/EVENTS.md), as a status alone does not tell a command's 124
 * from minivmm's.
 */
#ifndef VMM_MATRIX_CELL_H
#define VMM_MATRIX_CELL_H

#include "vmm/core/loop.h"
#include "vmm/matrix/plan.h"
#include "vmm/results/results.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { CELL_OUTPUT = 64 * 1024, CELL_MESSAGE = 400 };

enum cell_state { CELL_WAITS, CELL_RUNS, CELL_ENDED };

/* The end of what came, and how much of its beginning is gone. */
struct tail {
	char *bytes; /* owned */
	size_t len;
	uint64_t dropped;
};

struct cell {
	const struct cell_plan *plan; /* borrowed */
	bool command;                 /* its plan has one */
	enum cell_state state;
	pid_t pid;
	uint64_t began_ns, took_ns;
	bool interrupted, overdue; /* ended by us, and why */
	struct tail output, events;
	int output_fd, events_fd; /* owned; -1: closed */
	struct loop_fd *output_watch, *events_watch;
	struct loop_timer *overdue_timer;
	json_t *stopped; /* its last event; NULL: none came */

	/* once it has ended */
	enum test_verdict verdict;
	const char *type;
	char message[CELL_MESSAGE]; /* why it did not pass */
	int status;                 /* of the process, as a shell has it; -1: there was none */
};

void cell_init(struct cell *c, const struct cell_plan *plan, bool command);
void cell_fini(struct cell *c);

/* Start its process, and listen to it on `loop`. A failure is the cell's own: it has ended
 * then. Main thread, as all here: its end is that of the child. */
void cell_start(struct cell *c, struct loop *loop);

/* Has its process ended? Then so has the cell, with a verdict. */
bool cell_reap(struct cell *c);

/* End it, at once, or by force. Harmless if it does not run. */
void cell_interrupt(struct cell *c);
void cell_kill(struct cell *c);

/* It will not be begun. */
void cell_skip(struct cell *c);

#endif
