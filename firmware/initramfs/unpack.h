/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack: a file's contents, decompressed if they are compressed.
 *
 * Distributions ship modules as .ko, .ko.gz, .ko.xz or .ko.zst. The kernel could
 * decompress some of them itself, but not every kernel all of them; the host
 * is the faster place for it, too.
 */
#ifndef FIRMWARE_INITRAMFS_UNPACK_H
#define FIRMWARE_INITRAMFS_UNPACK_H

#include <stddef.h>
#include <stdint.h>

/* Read the regular file `path` below `dirfd` (AT_FDCWD: from here) and decompress
 * it by what its first bytes say, not by its name. *out is malloc'ed and has a 0
 * behind it that `len` does not count. Gives 0, the errno of open or read, -EISDIR
 * and the like for no regular file, -EFBIG if it is or becomes longer than `max`
 * bytes, -EBADMSG if the compressed data is damaged or cut short, -ENOMEM. */
int unpack_file(uint8_t **out, size_t *len, int dirfd, const char *path, size_t max);

/* The same for bytes in memory. */
int unpack_bytes(uint8_t **out, size_t *len, const uint8_t *in, size_t in_len, size_t max);

#endif
