/* SPDX-License-Identifier: Apache-2.0 */
/* text: what is told in JSON, which is UTF-8 and nothing else. */
#ifndef VMM_MACHINE_TEXT_H
#define VMM_MACHINE_TEXT_H

#include "vmm/base/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A string of any bytes as a new JSON string (utf8_clean()); NULL for want of memory. */
static inline json_t *json_text(const char *bytes)
{
	char *clean = utf8_clean(bytes, strlen(bytes));
	json_t *s = clean ? json_string(clean) : NULL;

	free(clean);
	return s;
}

#endif
