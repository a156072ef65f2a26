/* SPDX-License-Identifier: Apache-2.0 */
/* list: one axis of the matrix, "a, b, c". */
#ifndef VMM_MATRIX_LIST_H
#define VMM_MATRIX_LIST_H

#include "vmm/base/err.h"

enum { LIST_MAX = 64 };

struct list {
	char *items[LIST_MAX]; /* owned */
	unsigned n;
};

/* Split `text` at its commas; blanks around an item do not count, and a comma that belongs to
 * one is written twice, as in --initrd. An empty item, the same one twice and more than
 * LIST_MAX are refused in words that begin with `where`. 0, or a negative errno with *e
 * filled; what is in *l then is still list_fini()'s. */
int list_split(struct list *l, const char *text, const char *where, struct err *e);
void list_fini(struct list *l);

#endif
