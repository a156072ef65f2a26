/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root_spec: what root= asks for, and whether a disk or partition is it.
 *
 * Pure text and comparisons, so that the guest's init and the packer on the
 * host read root= in the same way, and a unit test reads it a third time.
 */
#ifndef FIRMWARE_INIT_ROOT_SPEC_H
#define FIRMWARE_INIT_ROOT_SPEC_H

#include "firmware/init/superblock.h"

#include <stdbool.h>

enum root_kind {
	ROOT_ANY,       /* no root=: the first that holds an init */
	ROOT_DEVICE,    /* /dev/vda1 */
	ROOT_NUMBER,    /* 254:1 */
	ROOT_UUID,      /* UUID=, /dev/disk/by-uuid/ */
	ROOT_LABEL,     /* LABEL=, /dev/disk/by-label/ */
	ROOT_PARTUUID,  /* PARTUUID=, /dev/disk/by-partuuid/ */
	ROOT_PARTLABEL, /* PARTLABEL=, /dev/disk/by-partlabel/ */
	ROOT_TAG,       /* with rootfstype=virtiofs: a share's name */
};

struct root_spec {
	enum root_kind kind;
	char value[257];       /* the device's name below /dev, or the name asked for */
	unsigned major, minor; /* ROOT_NUMBER */
};

/* A disk or partition that could be meant. */
struct root_candidate {
	char name[32]; /* vda1 */
	unsigned major, minor;
	bool has_fs;
	struct superblock sb; /* if has_fs */
	char partuuid[37];    /* "": not a partition */
	char partlabel[109];
};

/* Parse the value of root= ("" is ROOT_ANY), beside that of rootfstype=. Gives 0, -EINVAL
 * for a form that is none of the above (nfs, ubi0, ...), -ENAMETOOLONG. */
int root_spec_parse(struct root_spec *spec, const char *text, const char *type);

/* UUIDs compare without regard to case, labels exactly. ROOT_ANY matches all, ROOT_TAG
 * none: it is no disk. */
bool root_spec_matches(const struct root_spec *spec, const struct root_candidate *c);

/* Would the kernel find it without any help from user space? It knows devices,
 * numbers, tags and what stands in partition tables, but no superblocks
 * [Linux Documentation/admin-guide/kernel-parameters.txt, root=]. */
bool root_spec_kernel_knows(const struct root_spec *spec);

#endif
