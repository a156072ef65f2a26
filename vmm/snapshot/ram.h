/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ram: guest RAM as a file, its regions one behind the other.
 *
 * Pages of zeroes are holes, and a guest that was restored from the file maps it as it is. Sums are
 * of chunks, so that the file can be verified without a second copy; 0 is that of a chunk of
 * zeroes.
 */
#ifndef VMM_SNAPSHOT_RAM_H
#define VMM_SNAPSHOT_RAM_H

#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"

#include <stddef.h>
#include <stdint.h>

enum { RAM_CHUNK = 2 << 20 };

/* How many sums a RAM of `len` bytes has. */
static inline size_t ram_chunks(uint64_t len)
{
	return (size_t)((len + RAM_CHUNK - 1) / RAM_CHUNK);
}

/* Write all of *gm, at which nobody stores meanwhile, into the empty file `fd`. 0 or a negative
 * errno. Main thread. */
int ram_write(const struct guest_mem *gm, int fd);

/* The same into a file that has *gm as it was once: only the pages that `dirty` has a bit for, a
 * bitmap for each region as guest_mem_log_fetch() gives it. */
int ram_write_dirty(const struct guest_mem *gm, int fd, uint64_t *const *dirty);

/* Another such file, `from`, of `len` bytes, into the empty file `to`; its blocks are shared where
 * the file system can. 0 or a negative errno. Any thread. */
int ram_copy(int from, int to, uint64_t len);

/* The ram_chunks(len) sums of what is in the file `fd`. 0 or a negative errno. Any thread. */
int ram_sum(int fd, uint64_t len, uint64_t *sums);

/* The sum of the `n` bytes of it at `off`, which are in `chunk` afterwards, unless the sum is 0. 0
 * or a negative errno. Any thread. */
int ram_sum_chunk(int fd, uint64_t off, size_t n, char *chunk, uint64_t *sum);

/* Is the file `fd` what these are the sums of? 0; -EBADMSG, with *at the first byte of a chunk that
 * is not; or a negative errno. */
int ram_verify(int fd, uint64_t len, const uint64_t *sums, uint64_t *at);

/* Read the file into *gm, which is as big and still zeroes. 0 or a negative errno. */
int ram_read(struct guest_mem *gm, int fd);

/* Whole pages, `len` bytes, that the file would have at `at`, into *gm, where there are zeroes yet;
 * those of zeroes take nothing from the host. 0, or -EFAULT beyond its end. */
int ram_store(struct guest_mem *gm, uint64_t at, const char *p, size_t len);

#endif
