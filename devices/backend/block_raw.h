/* SPDX-License-Identifier: Apache-2.0 */
/* block_raw, for its own files and tests: the system calls it makes on an open
 * disk, replaceable so that a test can have each of them fail at will. */
#ifndef DEVICES_BACKEND_BLOCK_RAW_H
#define DEVICES_BACKEND_BLOCK_RAW_H

#include "devices/backend/block.h"

#include <sys/types.h>

/* As the system calls of these names: -1 and errno. */
struct block_raw_sys {
	ssize_t (*preadv)(int fd, const struct iovec *iov, int n, off_t off);
	ssize_t (*pwritev2)(int fd, const struct iovec *iov, int n, off_t off, int flags);
	int (*fdatasync)(int fd);
	int (*fallocate)(int fd, int mode, off_t off, off_t len);
	int (*discard)(int fd, uint64_t off, uint64_t len); /* ioctl BLKDISCARD */
};

struct block_raw {
	struct block block;
	const struct block_raw_sys *sys;
	int fd;
	bool device;                            /* a block device, not a file */
	bool no_punch, no_zero_range, no_dsync; /* the host said EOPNOTSUPP once */
	int sync_error;                         /* of the first failed sync: never forgotten */
};

/* block_raw_open() with `sys` (which outlives it) in place of the host's calls. */
int block_raw_open_sys(struct block **out, const char *path, bool read_only,
		       const struct block_raw_sys *sys, struct err *e);

/* Carry one request out, here and now: 0 or a negative errno. */
int block_raw_execute(struct block_raw *b, struct block_req *req);

#endif
