/* SPDX-License-Identifier: Apache-2.0 */
/*
 * superblock: which file system is on a disk or partition, and its names.
 *
 * Read by the guest's init, to find the root by UUID or label, and by the
 * packer on the host, to know which file system's module to send along. Both
 * therefore agree on what they see. What a disk says is not to be trusted: all
 * fields are copied with a bound, and names are made printable.
 */
#ifndef FIRMWARE_INIT_SUPERBLOCK_H
#define FIRMWARE_INIT_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct superblock {
	const char *type; /* as mount(2) takes it: "ext4" for ext2 and ext3 as well */
	char uuid[37];    /* lower case with dashes; vfat: "ABCD-1234"; "": it has none */
	char label[257];  /* UTF-8; "": it has none */
};

/* Identify the file system that starts at byte `base` of `fd`. False when there
 * is none that is known, or it cannot be read. Any thread; keeps no state. */
bool superblock_read(struct superblock *sb, int fd, uint64_t base);

/* Up to `units` UTF-16LE code units, ended by a 0, as UTF-8: cut at a whole
 * character if `size` is too small; always terminated. GPT names and f2fs labels. */
void superblock_utf16(char *out, unsigned size, const uint8_t *in, unsigned units);

/* 16 bytes in the order they are printed, as lower-case text with dashes. */
void superblock_uuid(char out[37], const uint8_t uuid[16]);

#endif
