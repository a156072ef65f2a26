/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of a benchmark, and how much a ratio of two sets of them means. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* What one program took, in the measure's unit. Text is owned by the bench. */
struct result {
	const char *name;
	double *values, *in_order; /* ascending; as they were measured */
	unsigned n;
	double median, low, high; /* the 95 % confidence interval of the median */
};

struct measure {
	const char *row, *name, *unit;
	bool more; /* is better */
	struct result *results;
	unsigned n;
};

struct missing {
	const char *row, *contender, *reason;
};

struct bench {
	struct measure *measures;
	unsigned n_measures;
	struct missing *missing;
	unsigned n_missing;
	char *text;
};

/* Reads all of `in`, lines as table.c describes them. NULL if one of them is not so, or for
 * lack of memory; *line is where. For bench_free. Measures, and contenders within, are in
 * the order of their first samples, but that "minivmm" goes first. */
struct bench *bench_read(FILE *in, unsigned *line);
void bench_free(struct bench *b);

/* The median of the rounds' ratios, and its 95 % confidence interval: what slows a machine
 * down for a minute slows down both of a round. Where the two do not have the same number of
 * samples, median over median, and what their confidence intervals allow. `why` (static
 * text) is set if that says nothing: fewer than three samples, a median not above zero, or a
 * range in which the most is over twice the least. The range is 0 to 0 where it has no meaning. */
struct ratio {
	double value, low, high;
	const char *why;
};
struct ratio ratio_of(const struct result *first, const struct result *other);
