/* SPDX-License-Identifier: Apache-2.0 */
/* suggest: edit distance by the usual table, of which three rows are alive at a time. */
#include "vmm/config/suggest.h"

#include <string.h>

enum { WORD_MAX = 32 };

static unsigned min(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned rows[3][WORD_MAX + 1];
	unsigned *older = rows[0], *old = rows[1], *now = rows[2];

	for (unsigned j = 0; j <= nb; j++)
		old[j] = j;
	for (unsigned i = 1; i <= na; i++) {
		now[0] = i;
		for (unsigned j = 1; j <= nb; j++) {
			now[j] = min(min(old[j], now[j - 1]) + 1,
				     old[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = min(now[j], older[j - 2] + 1);
		}
		unsigned *free_row = older;

		older = old;
		old = now;
		now = free_row;
	}
	return old[nb];
}

void suggest_offer(struct suggestion *best, const char *typed, const char *candidate)
{
	size_t nt = strlen(typed), nc = strlen(candidate);
	unsigned d;

	if (nt > WORD_MAX || nc > WORD_MAX)
		return;
	d = distance(typed, nt, candidate, nc);
	/* Further than a third of the word is no slip of the finger; and `x` is
	 * near to every short name. */
	if (d > 1 + nc / 4 || d >= nc || d >= nt)
		return;
	if (!best->name || d < best->distance) {
		best->name = candidate;
		best->distance = d;
	}
}
