/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modules: a kernel's modules, those of them that a guest needs, and in which
 * order it has to load them.
 *
 * A modules directory has an index of its files: modules.dep where depmod has
 * run, else modules.order, which comes with the kernel. From either only the
 * places of the files are taken. What a module depends on, it says itself
 * (modinfo.h), so an unpacked package works as well as an installed one.
 *
 * One thread; everything belongs to the struct modules.
 */
#ifndef FIRMWARE_INITRAMFS_MODULES_H
#define FIRMWARE_INITRAMFS_MODULES_H

#include "vmm/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More modules than a root can need, and larger ones than there are. */
enum { MODULES_MAX = 64, MODULE_BYTES_MAX = 64 << 20 };

/* Modules that name each other in circles are read again and again, but not for ever. */
enum { MODULES_READS_MAX = 256, MODULES_BYTES_MAX = 256 << 20 };

struct module {
	char name[64];  /* with '_' for '-' */
	uint8_t *bytes; /* decompressed */
	size_t len;
	bool needed; /* or the guest may go on without */
};

struct module_entry;

struct modules {
	const char *kernel, *version, *instead; /* borrowed */
	char *path;
	int dir;
	char *texts[2]; /* the index files, which the entries point into */
	struct module_entry *entries;
	size_t n_entries, room;
	struct module list[MODULES_MAX]; /* in load order */
	unsigned n;
	unsigned reads;      /* budget spent: files read, */
	uint64_t read_bytes; /* and what they held */
};

/* Find the modules of the kernel file `kernel` with release `version` and read
 * their index. `option` is --modules DIR or NULL. On success modules_fini frees. `instead`
 * is what errors offer besides other modules: "give an --initrd". It and the two names are
 * borrowed as long as *m is used.
 *
 *	with --modules DIR: DIR, DIR/VERSION, DIR/lib/modules/VERSION, no other
 *	else: next to the kernel (an unpacked package, a build tree), then
 *	/lib/modules/VERSION
 *
 * Next to the kernel comes first: an unpacked package can have the release of an
 * installed kernel and yet be another build. Gives 0, or -ENOENT with *e filled. */
int modules_open(struct modules *m, const char *kernel, const char *version, const char *option,
		 const char *instead, struct err *e);
void modules_fini(struct modules *m);

/* Append `name` to the list, after all that it depends on, unless it is there
 * already or built in. If it is not `needed`, that it is missing or damaged is no
 * error. Gives 0, or a negative errno with *e filled: -ENOENT, -EINVAL (not for
 * this kernel, not a module), -ELOOP, -E2BIG, -ENOMEM. */
int modules_add(struct modules *m, const char *name, bool needed, struct err *e);

#endif
