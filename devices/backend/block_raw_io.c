/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a raw disk does with a request, by plain system calls on the caller's
 * thread, or with what a ring has done of one. The rules:
 *
 * - A read or write is whole or failed: short counts go on where they stopped,
 *   EINTR repeats the call, everything else is the request's error.
 * - After a failed sync the kernel has marked the lost pages clean, so a second
 *   sync would succeed and lie. The first error therefore stands for good.
 * - A host that lacks a call says EOPNOTSUPP; it is asked once, and from then on
 *   the next best way is taken: hole, zeroed range, zeroes written.
 * - What direct I/O cannot take as it lies in memory goes by way of a buffer of ours. Not
 *   through the page cache: a direct write beside it in the same page would be lost.
 */
#include "devices/backend/block_raw.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

enum { ZERO_CHUNK = 64 * 1024, ZERO_IOV = 16 };

static _Alignas(4096) const uint8_t zeroes[ZERO_CHUNK];

/* What is left of a transfer. */
struct rest {
	struct iovec *iov;
	int n;
	uint64_t off, len;
};

static void rest_advance(struct rest *r, size_t done)
{
	r->off += done;
	r->len -= done;
	while (r->n && done >= r->iov->iov_len) {
		done -= r->iov->iov_len;
		r->iov++;
		r->n--;
	}
	if (r->n) {
		r->iov->iov_base = (char *)r->iov->iov_base + done;
		r->iov->iov_len -= done;
	}
}

bool block_raw_aligned(const struct block_raw *b, const struct iovec *iov, int n)
{
	uintptr_t all = 0;

	for (int i = 0; i < n && b->direct_align; i++)
		all |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return !b->direct_align || !(all & (b->direct_align - 1));
}

/* The beginning of what is left, as much as there is room for in the bounce buffer. */
static struct iovec bounced(const struct block_raw *b, const struct rest *r)
{
	return (struct iovec){b->bounce, r->len < BLOCK_BOUNCE ? r->len : BLOCK_BOUNCE};
}

/* Copy `len` bytes between the bounce buffer and where they lie. */
static void bounce(const struct block_raw *b, const struct rest *r, size_t len, bool out)
{
	uint8_t *at = b->bounce;

	for (int i = 0; i < r->n && len; i++) {
		size_t n = r->iov[i].iov_len < len ? r->iov[i].iov_len : len;

		if (out)
			memcpy(at, r->iov[i].iov_base, n);
		else
			memcpy(r->iov[i].iov_base, at, n);
		at += n;
		len -= n;
	}
}

/* As preadv(2) of what is left. */
static ssize_t read_some(struct block_raw *b, const struct rest *r)
{
	if (block_raw_aligned(b, r->iov, r->n))
		return b->sys->preadv(b->fd, r->iov, r->n, (off_t)r->off);

	struct iovec iov = bounced(b, r);
	ssize_t got = b->sys->preadv(b->fd, &iov, 1, (off_t)r->off);

	if (got > 0)
		bounce(b, r, (size_t)got, false);
	return got;
}

static ssize_t write_some(struct block_raw *b, const struct rest *r, int flags)
{
	if (block_raw_aligned(b, r->iov, r->n))
		return b->sys->pwritev2(b->fd, r->iov, r->n, (off_t)r->off, flags);

	struct iovec iov = bounced(b, r);

	bounce(b, r, iov.iov_len, true);
	return b->sys->pwritev2(b->fd, &iov, 1, (off_t)r->off, flags);
}

static int read_all(struct block_raw *b, struct rest *r)
{
	while (r->len) {
		ssize_t got = read_some(b, r);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return -EIO; /* the file was cut short under us */
		rest_advance(r, (size_t)got);
	}
	return 0;
}

/* On failure *r is what was not written. */
static int write_all(struct block_raw *b, struct rest *r, int flags)
{
	while (r->len) {
		ssize_t put = write_some(b, r, flags);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		if (!put)
			return -EIO;
		rest_advance(r, (size_t)put);
	}
	return 0;
}

static int sync_all(struct block_raw *b)
{
	int ret;

	if (b->sync_error || b->block.read_only)
		return b->sync_error;
	do
		ret = b->sys->fdatasync(b->fd);
	while (ret && errno == EINTR);
	if (ret)
		b->sync_error = -errno;
	return b->sync_error;
}

static int write_stable(struct block_raw *b, struct rest *r)
{
	int ret = -EOPNOTSUPP;

	if (b->sync_error)
		return b->sync_error;
	if (!b->no_dsync)
		ret = write_all(b, r, RWF_DSYNC);
	if (ret == -EOPNOTSUPP) {
		b->no_dsync = true;
		ret = write_all(b, r, 0);
		return ret ? ret : sync_all(b);
	}
	/* EIO may be about older pages than these, and nobody will be told again. */
	if (ret == -EIO)
		b->sync_error = ret;
	return ret;
}

/* fallocate(2) through EINTR, for a mode that the host may not know: then *lacking
 * is set and the next call does not ask. */
static int allocate(struct block_raw *b, int mode, uint64_t off, uint64_t len, bool *lacking)
{
	int ret;

	if (*lacking)
		return -EOPNOTSUPP;
	do
		ret = b->sys->fallocate(b->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
	while (ret && errno == EINTR);
	if (ret && errno == EOPNOTSUPP)
		*lacking = true;
	return ret ? -errno : 0;
}

/* A range smaller than a device's blocks is refused with EINVAL. */
static bool try_next(int ret)
{
	return ret == -EOPNOTSUPP || ret == -EINVAL;
}

static int write_zeroes_by_hand(struct block_raw *b, uint64_t off, uint64_t len)
{
	while (len) {
		struct iovec iov[ZERO_IOV];
		uint64_t sum = 0;
		int n = 0;

		for (; n < ZERO_IOV && sum < len; n++) {
			uint64_t left = len - sum;

			iov[n].iov_base = (void *)zeroes;
			iov[n].iov_len = left < ZERO_CHUNK ? left : ZERO_CHUNK;
			sum += iov[n].iov_len;
		}
		struct rest r = {iov, n, off, sum};
		int ret = write_all(b, &r, 0);

		if (ret)
			return ret;
		off += sum;
		len -= sum;
	}
	return 0;
}

int block_raw_range_mode(const struct block_raw *b, const struct block_req *req)
{
	bool punch = req->op == BLOCK_DISCARD || req->unmap;

	if (punch && !b->no_punch)
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	if (req->op == BLOCK_WRITE_ZEROES && !b->no_zero_range)
		return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	return 0;
}

static int write_zeroes(struct block_raw *b, struct block_req *req)
{
	int ret = -EOPNOTSUPP;

	if (req->stable && b->sync_error)
		return b->sync_error;
	if (req->unmap)
		ret = allocate(b, FALLOC_FL_PUNCH_HOLE, req->offset, req->len, &b->no_punch);
	if (try_next(ret))
		ret = allocate(b, FALLOC_FL_ZERO_RANGE, req->offset, req->len, &b->no_zero_range);
	if (try_next(ret))
		ret = write_zeroes_by_hand(b, req->offset, req->len);
	if (!ret && req->stable)
		ret = sync_all(b);
	return ret;
}

/* Advice: what the host cannot discard just stays. */
static int discard(struct block_raw *b, struct block_req *req)
{
	uint64_t begin = req->offset, end = req->offset + req->len;
	int ret;

	if (!b->device) {
		ret = allocate(b, FALLOC_FL_PUNCH_HOLE, begin, req->len, &b->no_punch);
		return ret == -EOPNOTSUPP ? 0 : ret;
	}
	begin = align_up(begin, b->block.block_size);
	end = align_down(end, b->block.block_size);
	if (begin >= end)
		return 0;
	do
		ret = b->sys->discard(b->fd, begin, end - begin);
	while (ret && errno == EINTR);
	return ret && errno != EOPNOTSUPP ? -errno : 0;
}

int block_raw_execute(struct block_raw *b, struct block_req *req)
{
	struct rest r = {req->iov, req->n_iov, req->offset, req->len};

	if (b->block.read_only && req->op != BLOCK_READ && req->op != BLOCK_FLUSH)
		return -EROFS;
	switch (req->op) {
	case BLOCK_READ:
		return read_all(b, &r);
	case BLOCK_WRITE:
		return req->stable ? write_stable(b, &r) : write_all(b, &r, 0);
	case BLOCK_FLUSH:
		return sync_all(b);
	case BLOCK_DISCARD:
		return discard(b, req);
	case BLOCK_WRITE_ZEROES:
		return write_zeroes(b, req);
	}
	return -EOPNOTSUPP;
}

/* A flush that the kernel has carried out. */
static int conclude_flush(struct block_raw *b, int res)
{
	if (res < 0 && !b->sync_error)
		b->sync_error = res;
	return b->sync_error;
}

int block_raw_conclude(struct block_raw *b, struct block_req *req, int res)
{
	struct rest r = {req->iov, req->n_iov, req->offset, req->len};

	/* Not done, and for no fault of the disk: again, by plain calls, which find out
	 * themselves what the host lacks. */
	if (res == -EINTR || res == -EAGAIN || res == -EOPNOTSUPP || res == -EINVAL)
		return block_raw_execute(b, req);
	if (req->op == BLOCK_FLUSH)
		return conclude_flush(b, res);
	if (req->op == BLOCK_DISCARD || req->op == BLOCK_WRITE_ZEROES)
		return res;
	/* As in write_stable(). */
	if (req->stable && res == -EIO && !b->sync_error)
		b->sync_error = res;
	if (req->stable && b->sync_error)
		return b->sync_error;
	if (res <= 0)
		return res ? res : -EIO;
	rest_advance(&r, (size_t)res);
	if (req->op == BLOCK_READ)
		return read_all(b, &r);
	return !r.len ? 0 : req->stable ? write_stable(b, &r) : write_all(b, &r, 0);
}
