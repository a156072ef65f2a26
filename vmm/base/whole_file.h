/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whole_file: a report that is there whole or not at all.
 *
 * It is written beside its place, under a name of its own, and renamed into it: who reads
 * FILE finds the last report or the new one, and never half of one.
 */
#ifndef VMM_BASE_WHOLE_FILE_H
#define VMM_BASE_WHOLE_FILE_H

#include "vmm/base/err.h"

#include <stdio.h>

/* Could `path` be written? Nothing is made. What is there and no regular file is refused, as it
 * would be replaced; a link is followed. `option` ("--junit") begins the message. 0, or a
 * negative errno with *e filled (ERR_USAGE). */
int whole_file_check(const char *option, const char *path, struct err *e);

/* Have `fill` write it. 0, or a negative errno with *e filled (ERR_HOST) and what was there
 * before left as it was. `fill` gives 0 or a negative errno. */
int whole_file_write(const char *option, const char *path, int (*fill)(FILE *out, void *ctx),
		     void *ctx, struct err *e);

#endif
