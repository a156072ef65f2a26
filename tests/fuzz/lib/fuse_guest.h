/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_guest: a guest of a shared directory that says anything: requests that are nearly right,
 * with node ids and handles that it was given or made up, cut and lengthened, for buffers of any
 * size.
 */
#ifndef TESTS_FUZZ_LIB_FUSE_GUEST_H
#define TESTS_FUZZ_LIB_FUSE_GUEST_H

#include "tests/fuzz/lib/fuzz.h"

enum {
	FUSE_GUEST_REQUEST_MAX = 4096,
	FUSE_GUEST_ROOM_MAX = 16384,
	FUSE_GUEST_KNOWN = 16,
	FUSE_GUEST_MARK = 0xee,
};

struct fuse_guest {
	uint64_t unique;
	uint64_t nodes[FUSE_GUEST_KNOWN], handles[FUSE_GUEST_KNOWN]; /* that it was given */
	unsigned n_nodes, n_handles, learned, opened;
};

struct fuse_guest_request {
	uint32_t op;
	uint64_t unique;
	uint32_t room; /* for the answer */
	size_t len;
	uint8_t bytes[FUSE_GUEST_REQUEST_MAX];
};

void fuse_guest_init(struct fuse_guest *g);
/* What it says next. */
void fuse_guest_ask(struct fuzz_in *in, struct fuse_guest *g, struct fuse_guest_request *q);
/* Is there no way to answer? Then, and only then, the device fails. */
bool fuse_guest_hopeless(const struct fuse_guest_request *q);
/* The answer: `n` bytes at the front of `answer`, which was FUSE_GUEST_MARK all over and has
 * FUSE_GUEST_ROOM_MAX bytes. It must be one, nothing else may be written, and it tells
 * nothing of what lies beside the directory. */
void fuse_guest_hear(struct fuse_guest *g, const struct fuse_guest_request *q,
		     const uint8_t *answer, uint64_t n);

#endif
