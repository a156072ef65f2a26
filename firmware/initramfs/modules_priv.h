/* SPDX-License-Identifier: Apache-2.0 */
/* modules_priv: the index, between the file that reads it and the one that resolves. */
#ifndef FIRMWARE_INITRAMFS_MODULES_PRIV_H
#define FIRMWARE_INITRAMFS_MODULES_PRIV_H

#include "firmware/initramfs/modules.h"

enum module_state { MODULE_UNSEEN, MODULE_VISITING, MODULE_LISTED };

struct module_entry {
	const char *path; /* within the directory; not terminated */
	uint16_t len;
	uint16_t name, name_len; /* the name within the path */
	bool builtin;
	enum module_state state;
	unsigned listed; /* MODULE_LISTED: index in the list */
};

/* The module called `name` ('-' and '_' are the same), or NULL. */
struct module_entry *modules_find(const struct modules *m, const char *name, size_t len);

#endif
