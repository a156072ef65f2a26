/* SPDX-License-Identifier: Apache-2.0 */
/* scratch: a directory of files that a test makes and that goes away with it. All
 * functions fail the test when the host does not play along. */
#ifndef TESTS_LIB_SCRATCH_H
#define TESTS_LIB_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

struct scratch {
	char path[128];
};

void scratch_init(struct scratch *s);
void scratch_fini(struct scratch *s);

/* "path/of/the/scratch/NAME", in a buffer that lives until the fourth call after. */
const char *scratch_path(const struct scratch *s, const char *name);

/* Write a file, with the directories that it needs. */
void scratch_write(const struct scratch *s, const char *name, const void *bytes, size_t len);
void scratch_text(const struct scratch *s, const char *name, const char *text);

/* Can the file be opened for direct I/O? File systems in memory often have none. Says SKIP if it
 * cannot: the caller returns. */
bool scratch_is_direct(const char *path);

#endif
