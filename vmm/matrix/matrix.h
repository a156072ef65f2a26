/* SPDX-License-Identifier: Apache-2.0 */
/*
 * matrix: the same guest over several kernels, CPU counts and memory sizes.
 *
 *	tests.ini -> plan (plan.h) -> cells (cell.h), some at a time (run.c) -> reports (report.h)
 *
 * Each cell is a `minivmm run` of its own: a child process, so that none can spoil another.
 */
#ifndef VMM_MATRIX_MATRIX_H
#define VMM_MATRIX_MATRIX_H

/* `minivmm matrix ...`; argv[0] is "matrix". Runs it all and gives the exit status: 0 all
 * passed, 1 some did not, 2 usage, 128+N ended by signal N. Main thread, before there are
 * others. */
int matrix_main(int argc, char **argv);

#endif
