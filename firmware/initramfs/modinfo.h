/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modinfo: what a kernel module says of itself.
 *
 * Section .modinfo of a module holds strings "key=value", each with its 0. The
 * module's own word is used for its dependencies, so that nothing depends on
 * depmod having been run for a kernel that was only unpacked.
 */
#ifndef FIRMWARE_INITRAMFS_MODINFO_H
#define FIRMWARE_INITRAMFS_MODINFO_H

#include <stddef.h>
#include <stdint.h>

struct modinfo {
	const char *at, *end; /* within the module's bytes */
};

/* Find the section in a little-endian 64-bit ELF file. Borrows `bytes`. Gives 0,
 * -ENOEXEC if that is no such file or is damaged, -ENODATA if it has no .modinfo. */
int modinfo_find(struct modinfo *m, const uint8_t *bytes, size_t len);

/* The next value of `key` after `after` (NULL: the first), or NULL. */
const char *modinfo_next(const struct modinfo *m, const char *key, const char *after);

#endif
