/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of a disk through io_uring: a batch is one system call, as many as there are
 * wait for the disk at once, and what the page cache has is done before the call returns.
 *
 *	begin: list -> submission queue -> io_uring_enter -> reap what is done already
 *	loop:  the ring's descriptor is readable -> reap -> block_batch_end()
 *
 * No buffers or files are registered with the kernel: of guest RAM that would pin every page, and
 * a guest costs what it has touched; and a descriptor would stay open, with the disk's lock, for
 * as long as the kernel takes to clean up behind a ring, which is after we have closed both.
 */
#include "devices/backend/block_raw.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 128 };

/* --- the end of requests ----------------------------------------------------------------- */

static unsigned reap(struct block_ring *r)
{
	struct io_uring_cqe *cqe;
	unsigned n = 0;

	while (!io_uring_peek_cqe(&r->uring, &cqe)) {
		struct block_req *req = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		if (r->b->sys->ring_says)
			res = r->b->sys->ring_says(req, res);
		io_uring_cqe_seen(&r->uring, cqe);
		r->in_flight--;
		n++;
		req->done(req, block_raw_conclude(r->b, req, res));
	}
	return n;
}

static void on_readable(void *ctx, int events)
{
	struct block_ring *r = ctx;

	if (reap(r))
		block_batch_end(&r->b->block);
}

/* --- their beginning ---------------------------------------------------------------------- */

static void prepare(struct block_ring *r, struct io_uring_sqe *sqe, struct block_req *req)
{
	int fd = r->b->fd;

	switch (req->op) {
	case BLOCK_READ:
		io_uring_prep_readv(sqe, fd, req->iov, (unsigned)req->n_iov, req->offset);
		break;
	case BLOCK_WRITE:
		io_uring_prep_writev2(sqe, fd, req->iov, (unsigned)req->n_iov, req->offset,
				      req->stable ? RWF_DSYNC : 0);
		break;
	case BLOCK_FLUSH:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		io_uring_prep_fallocate(sqe, fd, block_raw_range_mode(r->b, req),
					(off_t)req->offset, (off_t)req->len);
	}
	io_uring_sqe_set_data(sqe, req);
}

/* Fill the submission queue from the list; gives how many there are in it now. */
static unsigned fill(struct block_ring *r, struct block_req **list)
{
	struct io_uring_sqe *sqe;

	while (*list && (sqe = io_uring_get_sqe(&r->uring))) {
		prepare(r, sqe, *list);
		*list = (*list)->next;
	}
	return io_uring_sq_ready(&r->uring);
}

/* A kernel that takes nothing, as it is short of memory, takes it when something has ended;
 * one that takes nothing with nothing in flight never will. */
static bool wait_for_room(struct block_ring *r)
{
	struct io_uring_cqe *cqe;

	if (!r->in_flight)
		return false;
	io_uring_wait_cqe(&r->uring, &cqe);
	reap(r);
	return true;
}

bool block_ring_begin(struct block_ring *r, struct block_req *req, struct block_req **left)
{
	struct block_req *first = req; /* of those that the kernel has not taken */

	while (fill(r, &req)) {
		int n = io_uring_submit(&r->uring);

		if (n <= 0 && n != -EINTR && !wait_for_room(r)) {
			log_warn("a disk goes on without io_uring, which says: %s", strerror(-n));
			*left = first;
			return false;
		}
		for (; n > 0; n--) {
			first = first->next;
			r->in_flight++;
		}
	}
	reap(r);
	return true;
}

/* --- life --------------------------------------------------------------------------------- */

/* A disk has one thread, which is told of completions when it asks for them. Older kernels
 * (before 6.0) do not know that, which is no harm. */
static int init(struct io_uring *uring, unsigned flags, unsigned or_these)
{
	int ret = io_uring_queue_init(ENTRIES, uring, flags);

	return ret == -EINVAL ? io_uring_queue_init(ENTRIES, uring, or_these) : ret;
}

/* To what prepare() asks for, and nothing else: no opening, no sockets (io_uring_register(2),
 * IORING_REGISTER_RESTRICTIONS, Linux 5.10). */
static int restrict_to_disks(struct io_uring *uring)
{
	static const uint8_t ops[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
				      IORING_OP_FALLOCATE};
	struct io_uring_restriction allowed[ARRAY_LEN(ops)] = {0};

	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
		allowed[i].sqe_op = ops[i];
	}
	/* Their own functions are missing in the shared library of liburing 2.3. */
	int ret = io_uring_register((unsigned)uring->ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
				    ARRAY_LEN(ops));

	return ret ? ret
		   : io_uring_register((unsigned)uring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
				       0);
}

/* The thread that makes a restricted one is not the one that uses it. */
static int make(struct io_uring *uring, bool restricted)
{
	if (!restricted)
		return init(uring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN, 0);
	int ret = init(uring, IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN,
		       IORING_SETUP_R_DISABLED);

	if (!ret) {
		ret = restrict_to_disks(uring);
		if (ret)
			io_uring_queue_exit(uring);
	}
	return ret;
}

struct block_ring *block_ring_create(struct block_raw *b, bool restricted)
{
	struct block_ring *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->b = b;
	int ret = make(&r->uring, restricted);

	if (ret) {
		log_info("a disk goes without io_uring: %s", strerror(-ret));
		free(r);
		return NULL;
	}
	io_uring_ring_dontfork(&r->uring);
	return r;
}

bool block_ring_attach(struct block_ring *r)
{
	r->watch = loop_fd_add(r->b->loop, r->uring.ring_fd, LOOP_READ, on_readable, r);
	return r->watch;
}

void block_ring_detach(struct block_ring *r)
{
	assert(!r->in_flight);
	if (r->watch)
		loop_fd_del(r->watch);
	r->watch = NULL;
}

void block_ring_destroy(struct block_ring *r)
{
	if (!r)
		return;
	block_ring_detach(r);
	io_uring_queue_exit(&r->uring);
	free(r);
}
