/* SPDX-License-Identifier: Apache-2.0 */
/*
 * initramfs: what a kernel needs to reach its root, packed in memory.
 *
 * Stock kernels have virtio, and some their file systems, as modules. When no
 * --initrd is given, this finds the kernel's modules, takes those that reach the
 * root disk, and packs them with a small init of our own (firmware/init) into an
 * archive that the kernel unpacks as its first root. See README.md.
 */
#ifndef FIRMWARE_INITRAMFS_INITRAMFS_H
#define FIRMWARE_INITRAMFS_INITRAMFS_H

#include "vmm/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A share, and where on the root it is to be mounted. */
struct initramfs_mount {
	const char *tag, *on;
	bool read_only;
};

/* All borrowed for the call. */
struct initramfs_request {
	const char *kernel;  /* the file: its modules may be next to it */
	const char *version; /* its release, as uname -r says it; NULL: not known */
	bool only_32bit;     /* the kernel cannot run our init, which is a 64-bit program */
	const char *modules; /* --modules DIR; "none": all is built in; NULL: look for them */
	const char *cmdline; /* for root=, rootfstype=; NULL: empty */
	const char *const *drivers; /* modules without which the root is not reached */
	unsigned n_drivers;
	const char *const *extras; /* modules to load if the kernel has them */
	unsigned n_extras;
	const char *const *disks; /* paths, in the guest's order: the first is vda */
	unsigned n_disks;
	const struct initramfs_mount *mounts; /* for these there is always an archive */
	unsigned n_mounts;
	/* What our init is to run (vmm/core/command_wire.h); NULL: the root's own init.
	 * For a command there is always an archive, too. */
	const void *command;
	size_t command_len;
};

struct initramfs {
	uint8_t *bytes; /* owned; NULL if len is 0 */
	size_t len;     /* 0: the kernel boots without one */
	/* Which device looks like the root: for the command line when it has no root=.
	 * "": cannot be told; then there is an archive, and its init tries all. */
	char root[40];
};

/* Pack. Nothing is packed (len 0) when there is neither a disk nor a share to be
 * the root, hence none to look for, or when there is nothing to mount on it and all drivers are
 * built in and the kernel finds the root by itself. Reads the disks' first blocks: call it before
 * they are locked. One thread; a few milliseconds. Gives 0, or a negative errno with *e filled (the
 * kernel's modules or one of them not found, damaged, for another kernel; an archive needed by a
 * kernel that is only_32bit; no memory). */
int initramfs_pack(struct initramfs *out, const struct initramfs_request *req, struct err *e);

void initramfs_fini(struct initramfs *out);

#endif
