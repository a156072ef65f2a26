/* SPDX-License-Identifier: Apache-2.0 */
/* results: what tests came to, for programs that collect such. */
#ifndef VMM_RESULTS_RESULTS_H
#define VMM_RESULTS_RESULTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum test_verdict {
	TEST_PASSED,
	TEST_FAILED,  /* it says so itself: a status that is not 0 */
	TEST_ERROR,   /* it did not come to say anything */
	TEST_SKIPPED, /* it was not begun */
};

/* All strings are borrowed, and of any bytes. */
struct test_result {
	const char *group, *name;
	enum test_verdict verdict;
	const char *type;    /* of a failure or an error, one word */
	const char *message; /* why, in a line; NULL: it passed */
	uint64_t ns;         /* how long it took */
	const char *output;  /* its last lines; NULL: none are known */
	size_t output_len;
};

/*
 * Write the results as JUnit XML: one suite called `suite`, a testcase each. What JUnit's XML 1.0
 * cannot say is told otherwise: control characters as their pictures (U+2400 and on), what is
 * no UTF-8 as U+FFFD. 0, or -EIO if `out` did not take it. Any thread.
 */
int junit_write(FILE *out, const char *suite, const struct test_result *results, unsigned n);

#endif
