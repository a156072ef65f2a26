/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suggest: the known name that a mistyped one was probably meant to be.
 *
 * A running best: start from zeroes, offer every candidate, look at `name`. It
 * stays NULL when nothing is near enough to be worth a guess.
 */
#ifndef VMM_CONFIG_SUGGEST_H
#define VMM_CONFIG_SUGGEST_H

struct suggestion {
	const char *name; /* borrowed from the caller's candidates */
	unsigned distance;
};

/* Typing errors count one each: a letter too many, too few, wrong, or two swapped. */
void suggest_offer(struct suggestion *best, const char *typed, const char *candidate);

#endif
