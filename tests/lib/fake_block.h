/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_block: a disk in memory that finishes requests when the test says so, in
 * the order and with the result that the test chooses. The data moves at the
 * moment of completion, so that a write into guest RAM can come as late as one
 * likes.
 */
#ifndef TESTS_LIB_FAKE_BLOCK_H
#define TESTS_LIB_FAKE_BLOCK_H

#include "devices/backend/block.h"

enum { FAKE_BLOCK_PENDING_MAX = 1024 };

struct fake_block {
	struct block block;
	uint8_t *data;  /* owned, block.size bytes */
	bool immediate; /* finish inside submit, with `result` */
	int result;
	struct block_req *pending[FAKE_BLOCK_PENDING_MAX]; /* oldest first */
	unsigned n_pending;      /* atomic: tests look from another thread */
	unsigned n_submitted[5]; /* by enum block_op */
	bool last_stable, last_unmap;
	unsigned attached; /* attach minus detach */
	bool *destroyed;   /* told, if not NULL */
};

/* A writable disk of `size` bytes; every capability there is. */
struct fake_block *fake_block_create(uint64_t size);
unsigned fake_block_pending(struct fake_block *f);
/* Finish pending request `i` with `result` and end the batch. Loop thread. */
void fake_block_complete(struct fake_block *f, unsigned i, int result);
/* All of them, newest first, as one batch. Loop thread. */
void fake_block_complete_all(struct fake_block *f, int result);

#endif
