/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEWEST = 3, FIELDS = 7 };
#define TOO_WIDE 2.0

/* --- statistics ------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* How many samples may be left out at each end, so that what remains still holds the
 * population's median with 95 % confidence: each sample is above it with probability 1/2
 * whatever the distribution is. None of fewer than six. */
static unsigned outside(unsigned n)
{
	double p = pow(0.5, n), sum = p;
	unsigned k = 0;

	while (sum <= 0.025 && k < n / 2) {
		k++;
		p = p * (n - k + 1) / k;
		sum += p;
	}
	return k ? k - 1 : 0;
}

/* The median of `values`, which are put in order, and its 95 % confidence interval. */
static double median(double *values, unsigned n, double *low, double *high)
{
	unsigned out = outside(n);

	qsort(values, n, sizeof(*values), ascending);
	*low = values[out];
	*high = values[n - 1 - out];
	return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static void judge(struct result *c)
{
	memcpy(c->values, c->in_order, c->n * sizeof(*c->values));
	c->median = median(c->values, c->n, &c->low, &c->high);
}

/* False without memory. */
static bool judge_rounds(struct ratio *r, const struct result *first, const struct result *other)
{
	double *each = malloc(first->n * sizeof(*each));

	if (!each)
		return false;
	for (unsigned i = 0; i < first->n; i++)
		each[i] = first->in_order[i] / other->in_order[i];
	r->value = median(each, first->n, &r->low, &r->high);
	free(each);
	return true;
}

struct ratio ratio_of(const struct result *first, const struct result *other)
{
	struct ratio r = {0};

	if (first->n < FEWEST || other->n < FEWEST) {
		r.why = "too few samples";
		return r;
	}
	if (first->median <= 0 || other->median <= 0) {
		r.why = "a median is not above zero";
		return r;
	}
	if (first->values[0] <= 0 || other->values[0] <= 0) {
		r.why = "the samples reach down to zero";
		return r;
	}
	if (first->n != other->n || !judge_rounds(&r, first, other)) {
		r.value = first->median / other->median;
		r.low = first->low / other->high;
		r.high = first->high / other->low;
	}
	if (r.high > TOO_WIDE * r.low)
		r.why = "the samples are spread too wide";
	return r;
}

/* --- input -------------------------------------------------------------------------------- */

/* `list` grown by one zeroed element; false without memory. */
static bool grow(void *list, unsigned *n, size_t size)
{
	void **at = list, *grown = realloc(*at, (*n + 1) * size);

	if (!grown)
		return false;
	*at = grown;
	memset((char *)grown + *n * size, 0, size);
	(*n)++;
	return true;
}

static bool add(struct bench *b, char *field[FIELDS])
{
	struct measure *m = NULL;
	struct result *c = NULL;
	char *end;
	double value = strtod(field[6], &end);

	if (*end || end == field[6] || !isfinite(value) ||
	    (strcmp(field[4], "less") != 0 && strcmp(field[4], "more") != 0))
		return false;
	for (unsigned i = 0; i < b->n_measures && !m; i++)
		if (!strcmp(b->measures[i].row, field[1]) &&
		    !strcmp(b->measures[i].name, field[2]) &&
		    !strcmp(b->measures[i].unit, field[3]))
			m = &b->measures[i];
	if (!m) {
		if (!grow(&b->measures, &b->n_measures, sizeof(*m)))
			return false;
		m = &b->measures[b->n_measures - 1];
		m->row = field[1];
		m->name = field[2];
		m->unit = field[3];
		m->more = !strcmp(field[4], "more");
	}
	for (unsigned i = 0; i < m->n && !c; i++)
		if (!strcmp(m->results[i].name, field[5]))
			c = &m->results[i];
	if (!c) {
		if (!grow(&m->results, &m->n, sizeof(*c)))
			return false;
		c = &m->results[m->n - 1];
		c->name = field[5];
	}
	if (!grow(&c->in_order, &c->n, sizeof(value)))
		return false;
	c->in_order[c->n - 1] = value;
	return true;
}

static bool take(struct bench *b, char *line)
{
	char *field[FIELDS];
	unsigned n = 0;

	for (char *at; n < FIELDS && (at = strsep(&line, "\t"));)
		field[n++] = at;
	if (line)
		return false;
	if (n == 7 && !strcmp(field[0], "sample"))
		return add(b, field);
	if (n != 4 || strcmp(field[0], "missing") != 0 ||
	    !grow(&b->missing, &b->n_missing, sizeof(*b->missing)))
		return false;
	b->missing[b->n_missing - 1] = (struct missing){field[1], field[2], field[3]};
	return true;
}

/* Rounds go there and back, so whoever is first in the file is not always who it is about. */
static void ours_first(struct measure *m)
{
	for (unsigned k = 1; k < m->n; k++)
		if (!strcmp(m->results[k].name, "minivmm")) {
			struct result ours = m->results[k];

			memmove(&m->results[1], &m->results[0], k * sizeof(ours));
			m->results[0] = ours;
		}
}

struct bench *bench_read(FILE *in, unsigned *line)
{
	struct bench *b = calloc(1, sizeof(*b));
	size_t room = 0;
	char *at;

	*line = 0;
	if (!b)
		goto bad;
	/* A file of text has no zero byte: this is all of it. */
	bool some = getdelim(&b->text, &room, 0, in) > 0;

	if (ferror(in))
		goto bad;
	for (char *rest = some ? b->text : NULL; rest && *rest;) {
		at = strsep(&rest, "\n");
		(*line)++;
		if (*at && !take(b, at))
			goto bad;
	}
	for (unsigned i = 0; i < b->n_measures; i++) {
		ours_first(&b->measures[i]);
		for (unsigned k = 0; k < b->measures[i].n; k++) {
			struct result *c = &b->measures[i].results[k];

			c->values = malloc(c->n * sizeof(*c->values));
			if (!c->values)
				goto bad;
			judge(c);
		}
	}
	return b;
bad:
	bench_free(b);
	return NULL;
}

void bench_free(struct bench *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->n_measures; i++) {
		for (unsigned k = 0; k < b->measures[i].n; k++) {
			free(b->measures[i].results[k].values);
			free(b->measures[i].results[k].in_order);
		}
		free(b->measures[i].results);
	}
	free(b->measures);
	free(b->missing);
	free(b->text);
	free(b);
}
