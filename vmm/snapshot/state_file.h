/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_file: the sections of a saved machine as a file, which shows when a byte of it is not
 * what was written.
 *
 *	file := "MINIVMM\n" format u32, zero u32, length u64, checksum u64, sections
 *
 * little-endian; `length` is that of the sections. The checksum, XXH3 of 64 bits, is that of the
 * sections with that of format to length for its seed.
 */
#ifndef VMM_SNAPSHOT_STATE_FILE_H
#define VMM_SNAPSHOT_STATE_FILE_H

#include "vmm/base/err.h"
#include "vmm/core/state.h"

#include <stddef.h>
#include <stdint.h>

/* The one that is written, and the oldest that is read. */
enum { STATE_FORMAT = 1, STATE_FORMAT_OLDEST = 1, STATE_FILE_MAX = 64 << 20 };

/* All of *w into the empty file `fd`, and its checksum into *sum: 0 or a negative errno. */
int state_file_write(int fd, const struct state_writer *w, uint64_t *sum);

/* The checksum that the file `fd` says it has: 0, or a negative errno; -EBADMSG if it is no such
 * file. */
int state_file_sum(int fd, uint64_t *sum);

/* The sections of the file `fd`, whose checksum is right: *data is the caller's to free. 0, or a
 * negative errno with *e filled, which begins with `path`: -EBADMSG if it is no such file or is
 * damaged, -ENOTSUP if a newer minivmm wrote it. */
int state_file_read(int fd, const char *path, uint8_t **data, size_t *len, struct err *e);

#endif
