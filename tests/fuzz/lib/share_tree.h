/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share_tree: a directory to share, of real files in a private place, with secrets beside it:
 *
 *	TOP/secret  TOP/o/secret    nobody reads or changes them
 *	TOP/s/                      the share: f, d/g, l -> ../secret, p a FIFO
 *
 * and a host that changes it. What it moves out of the share goes to TOP/o.
 */
#ifndef TESTS_FUZZ_LIB_SHARE_TREE_H
#define TESTS_FUZZ_LIB_SHARE_TREE_H

#include "tests/fuzz/lib/fuzz.h"

/* Made anew, as each input is to find it; gives the path of the share. */
const char *share_tree_fill(void);
/* The host makes, removes, moves or changes something. */
void share_tree_event(struct fuzz_in *in);
bool share_tree_has_secret(const void *bytes, size_t len);
/* The secrets are as they were, nothing came to be beside the share, and no device in it. */
void share_tree_check(void);
/* What was filled in has its contents still: nobody may have changed it. */
void share_tree_check_contents(void);

#endif
