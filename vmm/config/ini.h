/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ini: an INI file, strictly.
 *
 * iniparser 4.1 reads generously: it cuts values at `;` and `#`, lets a later
 * duplicate win, joins lines that end in a backslash (even those of a comment),
 * folds names to lower case, and takes a directory for an empty file. A VM that
 * differs silently from what its file says is worse than an error, so the text is
 * looked through before: every line must be one that iniparser and a person
 * understand alike. After that iniparser's answer is the only one that counts.
 *
 * What sections and keys mean is the caller's business: vmm/config, and vmm/matrix.
 */
#ifndef VMM_CONFIG_INI_H
#define VMM_CONFIG_INI_H

#include "vmm/base/err.h"

/* Called for each section with key and value NULL, then for each key in it, both
 * in the file's order. 0 goes on; a negative errno with *e filled ends the walk. */
typedef int ini_visit(void *arg, const char *section, const char *key, const char *value,
		      struct err *e);

/* Gives 0, what `visit` gave, or a negative errno with *e (not NULL) filled. Main
 * thread only: iniparser's error callback is one for the process. */
int ini_walk(const char *path, ini_visit *visit, void *arg, struct err *e);

#endif
