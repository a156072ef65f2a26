/* SPDX-License-Identifier: Apache-2.0 */
/* text: a small text file as one string. Internal to vmm/config. */
#ifndef VMM_CONFIG_TEXT_H
#define VMM_CONFIG_TEXT_H

#include "vmm/base/err.h"

enum { TEXT_MAX = 64 << 10 };

/* Reads the whole of a regular file of at most TEXT_MAX bytes without a NUL into a
 * new string. Never waits for a writer, as opening a FIFO would. Gives 0, or a
 * negative errno with *e (not NULL) filled; its text leaves out the path. Any thread. */
int text_read(const char *path, char **text, struct err *e);

#endif
