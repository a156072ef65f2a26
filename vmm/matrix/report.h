/* SPDX-License-Identifier: Apache-2.0 */
/* report: what the cells came to, for people and for programs. */
#ifndef VMM_MATRIX_REPORT_H
#define VMM_MATRIX_REPORT_H

#include "vmm/matrix/cell.h"

#include <stdio.h>

/* All of the matrix. */
struct matrix_report {
	const struct plan *plan;
	const struct cell *cells; /* plan->n of them */
};

/* A line on stderr: this one has ended, the `nth`; if it did not pass, its last lines too. */
void matrix_progress(const struct matrix_report *r, const struct cell *c, unsigned nth);

/* The table, for people. 0, or -EIO if `out` did not take it. */
int matrix_table(const struct matrix_report *r, FILE *out);

/* All as JSON (README.md here has the fields), as JUnit XML; ctx is a struct matrix_report. 0,
 * -ENOMEM or -EIO. */
int matrix_json(FILE *out, void *ctx);
int matrix_junit(FILE *out, void *ctx);

/* How many have this verdict. */
unsigned matrix_count(const struct matrix_report *r, enum test_verdict verdict);

#endif
