/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ram_index: what the state says of the file with the RAM: the section "ram".
 *
 *	version 1 := count u32, count times: sum u64
 *	version 2 := count u32, count times: sum u64, length u32
 *
 * One for each chunk (ram.h), in their order. The sum is 0 for a chunk of zeroes. Version 2 is of a
 * RAM that was packed (packed.h), where `length` is that of the chunk's frame, 0 for zeroes, and
 *the sum is of that frame, with the chunk's for its seed.
 */
#ifndef VMM_SNAPSHOT_RAM_INDEX_H
#define VMM_SNAPSHOT_RAM_INDEX_H

#include "vmm/base/err.h"
#include "vmm/core/state.h"

#include <stddef.h>
#include <stdint.h>

#define RAM_INDEX_SECTION "ram"

struct ram_index {
	size_t n;          /* chunks */
	uint64_t *sums;    /* owned */
	uint32_t *lengths; /* owned; NULL: it is not packed */
};

/* Room for a RAM of `len` bytes, all zeroes: 0 or -ENOMEM. Any thread, as all of these. */
int ram_index_init(struct ram_index *x, uint64_t len, bool packed);

/* Fine on zeroes, and twice. */
void ram_index_fini(struct ram_index *x);

/* The section, of either version. */
void ram_index_save(const struct ram_index *x, struct state_writer *w);

/* Read it, wherever it lies behind where `r` stands, which stays there: of a RAM of `len` bytes. 0,
 * -ENOMEM, or -EBADMSG: it is missing, of an unknown version, of another size, or no packed RAM
 * looks like that. With *e filled and nothing to free then. */
int ram_index_load(struct ram_index *x, const struct state_reader *r, uint64_t len, struct err *e);

/* How long a packed file is. */
uint64_t ram_index_packed_len(const struct ram_index *x);

#endif
