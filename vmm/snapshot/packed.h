/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packed: guest RAM as a file of zstd frames.
 *
 * Each chunk (ram.h) that is not all zeroes is a frame of its own, with its size in its header
 * [RFC 8878 3.1.1.1], one behind the other in the chunks' order; how long each is, and the sum of
 * what is in it, is in the state (ram_index.h). So neither side needs memory for more than a chunk
 * and its frame, and what a frame claims to be is known before it is opened.
 */
#ifndef VMM_SNAPSHOT_PACKED_H
#define VMM_SNAPSHOT_PACKED_H

#include "vmm/core/guest_mem.h"
#include "vmm/snapshot/ram_index.h"

#include <stdint.h>

/* No frame of a chunk is longer: 2 MiB and what zstd adds at worst. */
enum { PACKED_FRAME_MAX = (2 << 20) + (16 << 10) };

/* Pack a file of ram.h's, `from`, of `len` bytes, into the empty file `to`; *x is of that RAM, and
 * gets its sums and lengths. 0 or a negative errno. Any thread. */
int packed_write(int from, uint64_t len, int to, struct ram_index *x);

/* Is each frame of the file `fd`, of a RAM of `len` bytes, what *x says? If `gm` is not NULL, into
 * that, which is as big and still zeroes; pages of zeroes are left alone. 0; -EBADMSG, with *at the
 * first byte of RAM of a chunk that cannot be had; or a negative errno. Who may write to *gm. */
int packed_read(struct guest_mem *gm, int fd, uint64_t len, const struct ram_index *x,
		uint64_t *at);

#endif
