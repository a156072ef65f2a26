/* SPDX-License-Identifier: Apache-2.0 */
/* words: what a clone is to have. For vmm/clone only. */
#ifndef VMM_CLONE_WORDS_H
#define VMM_CLONE_WORDS_H

#include <stdbool.h>

struct clone_words {
	const char *dir;
	const char *socket; /* of a template; NULL: all are started at once, */
	unsigned n;         /* as many */
	bool counted;       /* the user said how many */
	char **options;     /* borrowed; n_options of them */
	int n_options;
	bool help;
};

enum {
	CLONES_MAX = 10000,
	CLONE_STATUS_FAILED = 1,
	CLONE_STATUS_USAGE = 2,
	CLONE_STATUS_SIGNAL = 128
};

/* `word` with the number for each %i: the caller's; NULL for want of memory. */
char *clone_word(const char *word, unsigned number);

/* The exit status that a wait status tells. */
int clone_status(int wait_status);

#endif
