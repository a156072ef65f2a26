/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_probe: what file systems the disks of a guest-to-be hold.
 *
 * Only to choose which file system's module to send along, and to find the root
 * that is meant: a wrong guess costs a module, never data. Disks are opened
 * read-only and closed again.
 */
#ifndef FIRMWARE_INITRAMFS_DISK_PROBE_H
#define FIRMWARE_INITRAMFS_DISK_PROBE_H

#include "firmware/init/root_spec.h"

enum { DISK_PROBE_MAX = 128 };

struct disk_probe {
	struct root_candidate found[DISK_PROBE_MAX]; /* disks and partitions with a file system */
	unsigned n;
};

/* Look at the disks in the guest's order: the first is vda. One that cannot be
 * read is passed over (opening it for the guest will tell why). Do not call this
 * once disks are locked with fcntl(F_SETLK): closing a file drops those locks. */
void disk_probe(struct disk_probe *p, const char *const *paths, unsigned n);

#endif
