/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block: what a disk talks to on the host, as an asynchronous interface.
 *
 * A request is submitted on the disk's loop thread and ends in exactly one call
 * of its `done`, on the same thread: at once, inside submit or kick, or later, in any
 * order. Whoever submits calls block_kick() after the last of a batch: a backend may
 * begin none before. One that reaps later reaps many at a time, so it ends each such
 * group, even of one, with block_batch_end(); what ends inside submit or kick needs none.
 * Memory is the caller's: a backend allocates nothing for a request.
 */
#ifndef DEVICES_BACKEND_BLOCK_H
#define DEVICES_BACKEND_BLOCK_H

#include "vmm/base/err.h"
#include "vmm/core/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

struct block_req {
	enum block_op op;
	bool unmap;        /* WRITE_ZEROES: the range may be deallocated */
	bool stable;       /* WRITE, WRITE_ZEROES: durable before done (no flush will come) */
	uint64_t offset;   /* bytes; within the disk, checked by the device */
	uint64_t len;      /* bytes; for READ and WRITE the sum of the iovec */
	struct iovec *iov; /* the backend may change the entries as it goes */
	int n_iov;
	/* `result`: 0 or a negative errno; a read or write is whole or failed. */
	void (*done)(struct block_req *req, int result);
	void *ctx;
	struct block_req *next; /* the backend's, until done */
};

struct block;

struct block_ops {
	void (*submit)(struct block *b, struct block_req *req);
	/* A batch is complete. NULL: submit has begun everything. */
	void (*kick)(struct block *b);
	/* The loop that requests will come from: on its thread, before the first
	 * submit. `detach` undoes it, with nothing in flight; then comes `destroy`, or
	 * another `attach`. Both may be NULL. */
	int (*attach)(struct block *b, struct loop *loop);
	void (*detach)(struct block *b);
	/* How large the disk is by now, in bytes, into *size: `now`, which it had, or more. `want`,
	 * if it is not 0: make a file that large first. `b->size` stays what it was at the opening.
	 * NULL: its size is what it is. Main thread, beside requests. 0, or a negative errno with
	 * *e filled and all as it was. */
	int (*resize)(struct block *b, uint64_t now, uint64_t want, uint64_t *size, struct err *e);
	/* Any thread, detached. */
	void (*destroy)(struct block *b);
	/* Have all that was written durable: 0 or a negative errno, which every flush has from then
	 * on. Any thread, detached. */
	int (*sync)(struct block *b);
	/* A number that is another one once something was written, as far as the host tells, into
	 * *stamp; 0 where it does not. 0 or a negative errno. Any thread. */
	int (*stamp)(const struct block *b, uint64_t *stamp);
};

/* An opened backend; a backend embeds it as its first member. */
struct block {
	const struct block_ops *ops;
	uint64_t size;          /* bytes, a multiple of 512; when it was opened */
	uint32_t block_size;    /* logical block: 512 for files, the device's own otherwise */
	uint32_t discard_align; /* bytes; 0: DISCARD is not supported */
	bool read_only;
	bool can_write_zeroes;
	/* Set by the device that uses it. */
	void (*batch_end)(void *ctx);
	void *batch_ctx;
};

static inline void block_submit(struct block *b, struct block_req *req)
{
	b->ops->submit(b, req);
}

static inline void block_kick(struct block *b)
{
	if (b->ops->kick)
		b->ops->kick(b);
}

static inline int block_resize(struct block *b, uint64_t now, uint64_t want, uint64_t *size,
			       struct err *e)
{
	if (!b->ops->resize)
		return err_usage(e, -ENOTSUP, "this disk has the size that it has");
	return b->ops->resize(b, now, want, size, e);
}

static inline void block_batch_end(struct block *b)
{
	b->batch_end(b->batch_ctx);
}

static inline int block_sync(struct block *b)
{
	return b->ops->sync(b);
}

static inline int block_stamp(const struct block *b, uint64_t *stamp)
{
	return b->ops->stamp(b, stamp);
}

/* NULL is fine. Nothing may be in flight. */
static inline void block_destroy(struct block *b)
{
	if (b)
		b->ops->destroy(b);
}

/* Open a raw file or block device: the format is never guessed from its bytes.
 * A disk opened for writing is locked against a second writer and against
 * readers, of this process and of others; read-only disks may be shared. `direct`:
 * past the host's page cache (O_DIRECT), which may make blocks larger. Errors begin with
 * "--disk PATH: ". On success *out is owned by the caller. */
int block_raw_open(struct block **out, const char *path, bool read_only, bool direct,
		   struct err *e);
/* The same with a file that somebody else has opened, for reading and writing unless `read_only`,
 * and not for appending. `fd` is taken over, also on failure. O_DIRECT stays as it is. The lock is
 * the open file description's, which whoever sent it may keep: until they let go of it as well, the
 * file is locked. Errors begin with "--disk NAME: ". */
int block_raw_adopt(struct block **out, int fd, const char *name, bool read_only, struct err *e);
/* Another way to a disk that block_raw_open() opened and holds, so that another thread can
 * serve it as well: each way is told of every write that the host could not keep, when it
 * syncs. `path` is for errors, which begin as above. On success *out is owned by the caller,
 * as is `disk`, which has to be destroyed last. */
int block_raw_again(struct block **out, const struct block *disk, const char *path, struct err *e);
/* What block_raw_open() and the like gave is to be served by a thread that may make no ring of
 * io_uring's: have one made now, restricted to what a disk takes. Without one, where the host
 * refuses, the thread does the same by other calls. Any thread, detached. */
void block_raw_confine(struct block *disk);

#endif
