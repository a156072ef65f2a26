/* SPDX-License-Identifier: Apache-2.0 */
/*
 * working_set: which parts of its RAM a restored guest has touched first, and in what order.
 *
 *	file := "MINIVMW\n" format u32, count u32, sum of the state u64, checksum u64, count times:
 *block u32
 *
 * little-endian; the checksum is XXH3 of the blocks, with that of format to sum for its seed. It
 * is beside a snapshot and no part of it: where there is none, or one that is not right, all is as
 * without it.
 */
#ifndef VMM_SNAPSHOT_WORKING_SET_H
#define VMM_SNAPSHOT_WORKING_SET_H

#include <stdint.h>

/* What a block is, in bytes of the file with the RAM: one read, and little that was not asked for.
 */
enum { WORKING_SET_BLOCK = 64 << 10, WORKING_SET_FORMAT = 1 };

struct working_set {
	uint32_t *blocks; /* owned; each once */
	uint32_t n, most; /* there are no more than `most` blocks */
	uint64_t *has;    /* owned: a bit for each */
};

/* An empty one, of a RAM of `len` bytes: 0, -ENOMEM, or -E2BIG: more blocks than it can name. Any
 * thread, as all of these. */
int working_set_init(struct working_set *w, uint64_t len);
/* Fine on zeroes, and twice. */
void working_set_fini(struct working_set *w);

/* One more, if it is not in it yet; it is there. */
void working_set_add(struct working_set *w, uint32_t block);

/* Fill the empty *w from the directory `dir`, if what is there is of the snapshot whose state has
 * that sum. 0, or a negative errno and it is empty still: -ENOENT, -EBADMSG, ... */
int working_set_load(struct working_set *w, int dir, uint64_t state_sum);
/* The same from the file `fd`, the caller's. */
int working_set_read(struct working_set *w, int fd, uint64_t state_sum);

/* Put it into the directory, whole or not at all. 0, or a negative errno: -EBUSY if another process
 * is at it. */
int working_set_save(const struct working_set *w, int dir, uint64_t state_sum);

#endif
