/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block_raw, for its own files and tests.
 *
 *	block_raw.c     opening a disk, and the way that a request goes
 *	block_raw_io.c  what a request comes down to, by system calls
 *	block_ring.c    many at a time, by io_uring
 */
#ifndef DEVICES_BACKEND_BLOCK_RAW_H
#define DEVICES_BACKEND_BLOCK_RAW_H

#include "devices/backend/block.h"

#include <liburing.h>
#include <sys/types.h>

enum { BLOCK_BOUNCE = 128 * 1024 };

struct block_ring {
	struct block_raw *b;
	struct io_uring uring;
	struct loop_fd *watch; /* while it is attached */
	unsigned in_flight;
};

/* The system calls that are made on an open disk, replaceable so that a test can have
 * each of them fail at will. As those of these names: -1 and errno. */
struct block_raw_sys {
	ssize_t (*preadv)(int fd, const struct iovec *iov, int n, off_t off);
	ssize_t (*pwritev2)(int fd, const struct iovec *iov, int n, off_t off, int flags);
	int (*fdatasync)(int fd);
	int (*fallocate)(int fd, int mode, off_t off, off_t len);
	int (*discard)(int fd, uint64_t off, uint64_t len); /* ioctl BLKDISCARD */
	bool ring; /* and io_uring may be used beside them */
	/* What a test makes of the ring's answer `res` to `req`. NULL: nothing. */
	int (*ring_says)(const struct block_req *req, int res);
};

struct block_raw {
	struct block block;
	const struct block_raw_sys *sys;
	int fd;
	uint64_t direct_align; /* of offsets, lengths and addresses with O_DIRECT; 0: without */
	uint8_t *bounce;       /* with it, for what is not aligned in memory */
	bool device;           /* a block device, not a file */
	bool no_punch, no_zero_range, no_dsync; /* the host said EOPNOTSUPP once */
	int sync_error;                         /* of the first failed sync: never forgotten */

	/* While it is attached. */
	struct loop *loop;
	struct block_ring *ring;         /* NULL: not made, or */
	bool no_ring;                    /* the host has none for us */
	bool confined;                   /* none is to be made but */
	struct block_ring *ready;        /* this one; NULL: there is none, or it is in use */
	struct block_req *first, **last; /* submitted, and to be begun by a kick */
};

/* block_raw_open() with `sys` (which outlives it) in place of the host's calls. */
int block_raw_open_sys(struct block **out, const char *path, bool read_only, bool direct,
		       const struct block_raw_sys *sys, struct err *e);

/* Carry one request out, here and now: 0 or a negative errno. */
int block_raw_execute(struct block_raw *b, struct block_req *req);

/* Can these bytes go to the disk and come from it as they lie in memory? */
bool block_raw_aligned(const struct block_raw *b, const struct iovec *iov, int n);

/* How fallocate(2) does this DISCARD or WRITE_ZEROES, FALLOC_FL_KEEP_SIZE included. 0: the
 * host is known to have no way. */
int block_raw_range_mode(const struct block_raw *b, const struct block_req *req);

/* What becomes of a request of which the kernel says `res`, a count of bytes or
 * a negative errno: its result. What is left of it is carried out here. */
int block_raw_conclude(struct block_raw *b, struct block_req *req, int res);

/* Make a ring: for one who is to use it at once, on the loop's thread; or `restricted` to what a
 * disk takes, on any. NULL if the host has none: forbidden, unknown, or out of memory. */
struct block_ring *block_ring_create(struct block_raw *b, bool restricted);
/* The disk is attached: on its loop's thread. False if out of memory. */
bool block_ring_attach(struct block_ring *r);
/* No longer, with nothing in flight. */
void block_ring_detach(struct block_ring *r);
/* With nothing in flight. NULL is fine. */
void block_ring_destroy(struct block_ring *r);
/* Begin all of the list `req`. Some may end in here. False if the ring is of no use any
 * more; nothing is in flight then, and *left, of which nothing was begun, is for the
 * caller to carry out. */
bool block_ring_begin(struct block_ring *r, struct block_req *req, struct block_req **left);

#endif
