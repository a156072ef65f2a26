/* SPDX-License-Identifier: Apache-2.0 */
/* A raw disk in batches, through io_uring and without: real files, random requests beside a
 * model of them, at every alignment, with and without the page cache. */
#include "devices/backend/block_raw.h"
#include "tests/lib/scratch.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { DISK = 1024 * 1024, BATCH = 200, ARENA = 8 * 1024 * 1024, IOV = 6 };

static struct block_raw_sys sys;
static unsigned fallocates; /* plain ones */

struct item {
	struct block_req req;
	struct iovec iov[IOV], whole[IOV]; /* the backend may change the first */
	int n;
	unsigned done;
	int result;
};

struct fixture {
	char path[64];
	struct loop *loop;
	struct block *b;
	struct block_raw *raw;
	uint8_t *arena, *model;
	_Alignas(4096) uint8_t discarded[DISK]; /* the disk, after a discard */
	struct item items[BATCH];
	unsigned done, batches;
	unsigned seed;
	bool confined;
};

static unsigned chance(struct fixture *f, unsigned n)
{
	return (unsigned)rand_r(&f->seed) % n;
}

static void on_batch_end(void *ctx)
{
	struct fixture *f = ctx;

	f->batches++;
}

static void on_done(struct block_req *req, int result)
{
	struct item *i = container_of(req, struct item, req);
	struct fixture *f = req->ctx;

	i->done++;
	i->result = result;
	f->done++;
}

/* The host's own calls: in block_raw.c they are nobody's to have. */
static int real_discard(int fd, uint64_t off, uint64_t len)
{
	errno = EOPNOTSUPP;
	return -1;
}

static int counted_fallocate(int fd, int mode, off_t off, off_t len)
{
	fallocates++;
	return fallocate(fd, mode, off, len);
}

static void open_disk(struct fixture *f, bool direct, bool ring)
{
	struct err e = {0};

	fallocates = 0;
	sys = (struct block_raw_sys){
		.preadv = preadv,
		.pwritev2 = pwritev2,
		.fdatasync = fdatasync,
		.fallocate = counted_fallocate,
		.discard = real_discard,
		.ring = ring,
	};
	assert_int_equal(block_raw_open_sys(&f->b, f->path, false, direct, &sys, &e), 0);
	f->raw = container_of(f->b, struct block_raw, block);
	f->b->batch_end = on_batch_end;
	f->b->batch_ctx = f;
	if (f->confined)
		block_raw_confine(f->b);
	assert_int_equal(f->b->ops->attach(f->b, f->loop), 0);
}

static int setup(void **state)
{
	struct fixture *f = aligned_alloc(4096, align_up(sizeof(*f), 4096));
	int fd;

	memset(f, 0, sizeof(*f));

	/* Beside the program: /tmp may be a file system without direct I/O. */
	strcpy(f->path, "block-ring.XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	f->model = malloc(DISK);
	for (size_t i = 0; i < DISK; i++)
		f->model[i] = (uint8_t)(i * 13 + i / 512);
	assert_int_equal(write(fd, f->model, DISK), DISK);
	close(fd);
	f->arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(f->arena != MAP_FAILED);
	f->loop = loop_create();
	assert_non_null(f->loop);
	f->seed = 1;
	*state = f;
	return 0;
}

static void close_disk(struct fixture *f)
{
	f->b->ops->detach(f->b);
	block_destroy(f->b);
	f->b = NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->b)
		close_disk(f);
	loop_destroy(f->loop);
	munmap(f->arena, ARENA);
	unlink(f->path);
	free(f->model);
	free(f);
	return 0;
}

/* Memory for `len` bytes at item `n`'s part of the arena: in up to IOV pieces, aligned or not. */
static void lay_out(struct fixture *f, struct item *i, unsigned n, uint64_t len)
{
	uint8_t *at = f->arena + (uint64_t)n * (ARENA / BATCH / 4096 * 4096);
	bool aligned = chance(f, 2);

	at += aligned ? 0 : chance(f, 64);
	i->n = 0;
	while (len) {
		uint64_t piece = aligned ? 512 * (1 + chance(f, 8)) : 1 + chance(f, 3000);

		if (piece > len || i->n == IOV - 1)
			piece = len;
		i->whole[i->n] = i->iov[i->n] = (struct iovec){at, piece};
		i->n++;
		at += piece + (aligned ? 0 : chance(f, 9));
		len -= piece;
	}
}

/* Requests of one batch may be done in any order, so they do not overlap. */
static void random_batch(struct fixture *f, unsigned n)
{
	uint64_t slice = DISK / BATCH / 512 * 512;

	for (unsigned k = 0; k < n; k++) {
		struct item *i = &f->items[k];
		uint64_t sectors = slice / 512, first = chance(f, (unsigned)sectors);
		uint64_t len = 512 * (1 + chance(f, (unsigned)(sectors - first)));
		unsigned kind = chance(f, 10);

		*i = (struct item){.result = 1};
		lay_out(f, i, k, len);
		i->req = (struct block_req){
			.op = kind == 0   ? BLOCK_FLUSH
			      : kind < 4  ? BLOCK_WRITE
			      : kind == 4 ? BLOCK_WRITE_ZEROES
			      : kind == 5 ? BLOCK_DISCARD
					  : BLOCK_READ,
			.stable = kind == 1 || (kind == 4 && !chance(f, 4)),
			.unmap = kind == 4 && chance(f, 2),
			.offset = k * slice + first * 512,
			.len = len,
			.iov = i->iov,
			.n_iov = i->n,
			.done = on_done,
			.ctx = f,
		};
		if (i->req.op == BLOCK_FLUSH)
			i->req.offset = i->req.len = 0;
		for (int v = 0; v < i->n && i->req.op == BLOCK_WRITE; v++)
			for (size_t at = 0; at < i->whole[v].iov_len; at++)
				((uint8_t *)i->whole[v].iov_base)[at] = (uint8_t)chance(f, 256);
	}
}

static void check(struct fixture *f, const struct item *i)
{
	uint64_t off = i->req.offset;

	assert_int_equal(i->done, 1);
	assert_int_equal(i->result, 0);
	if (i->req.op == BLOCK_WRITE_ZEROES)
		memset(f->model + off, 0, i->req.len);
	if (i->req.op == BLOCK_DISCARD) /* what is there now is whatever the host likes */
		assert_int_equal(pread(f->raw->fd, f->discarded, sizeof(f->discarded), 0), DISK);
	if (i->req.op == BLOCK_DISCARD)
		memcpy(f->model + off, f->discarded + off, i->req.len);
	if (i->req.op != BLOCK_READ && i->req.op != BLOCK_WRITE)
		return;
	for (int v = 0; v < i->n; v++) {
		if (i->req.op == BLOCK_WRITE)
			memcpy(f->model + off, i->whole[v].iov_base, i->whole[v].iov_len);
		else
			assert_memory_equal(f->model + off, i->whole[v].iov_base,
					    i->whole[v].iov_len);
		off += i->whole[v].iov_len;
	}
}

static void submit(struct fixture *f, unsigned n)
{
	f->done = 0;
	for (unsigned k = 0; k < n; k++)
		block_submit(f->b, &f->items[k].req);
	block_kick(f->b);
	for (unsigned turns = 0; f->done < n && turns < 10000; turns++) {
		loop_settle(f->loop);
		if (f->done < n)
			usleep(1000);
	}
	assert_int_equal(f->done, n);
}

static void check_file(struct fixture *f)
{
	uint8_t *now = malloc(DISK);
	int fd = open(f->path, O_RDONLY);

	assert_int_equal(read(fd, now, DISK), DISK);
	assert_memory_equal(now, f->model, DISK);
	close(fd);
	free(now);
}

static struct item *one(struct fixture *f, enum block_op op, uint64_t offset, uint64_t len)
{
	struct item *i = &f->items[0];

	*i = (struct item){.n = 1};
	i->whole[0] = i->iov[0] = (struct iovec){f->arena, len};
	i->req = (struct block_req){.op = op,
				    .offset = offset,
				    .len = len,
				    .iov = i->iov,
				    .n_iov = 1,
				    .done = on_done,
				    .ctx = f};
	return i;
}

/* Of a host that has one, but maybe not for us: containers often forbid it. */
static bool host_has_ring(struct fixture *f)
{
	if (!scratch_is_direct(f->path))
		return false;
	open_disk(f, true, true);
	one(f, BLOCK_READ, 0, 512);
	submit(f, 1);
	bool has = f->raw->ring;

	if (!has)
		print_message("SKIP: this host has no io_uring for us\n");
	close_disk(f);
	return has;
}

/* A host that moves a sector at a time. */
static ssize_t short_preadv(int fd, const struct iovec *iov, int n, off_t off)
{
	return pread(fd, iov->iov_base, iov->iov_len < 512 ? iov->iov_len : 512, off);
}

static ssize_t short_pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	const struct iovec first = {iov->iov_base, iov->iov_len < 512 ? iov->iov_len : 512};

	return pwritev2(fd, &first, 1, off, flags);
}

static void random_rounds(struct fixture *f, bool direct, bool ring, bool shortly)
{
	if ((direct && !scratch_is_direct(f->path)) || (ring && !host_has_ring(f)))
		skip();
	open_disk(f, direct, ring);
	if (shortly) {
		sys.preadv = short_preadv;
		sys.pwritev2 = short_pwritev2;
	}
	for (unsigned round = 0; round < (shortly ? 5 : 60); round++) {
		unsigned n = 1 + chance(f, BATCH);

		random_batch(f, n);
		submit(f, n);
		for (unsigned k = 0; k < n; k++)
			check(f, &f->items[k]);
	}
	assert_int_equal(!!f->raw->ring, ring);
	/* Those that had to wait for the disk came by the loop. */
	assert_true(direct && ring ? f->batches > 0 : ring || !f->batches);
	close_disk(f);
	check_file(f);
}

static void test_cached_by_calls(void **state)
{
	random_rounds(*state, false, false, false);
}

static void test_cached_by_ring(void **state)
{
	random_rounds(*state, false, true, false);
}

static void test_direct_by_calls(void **state)
{
	random_rounds(*state, true, false, false);
}

static void test_cached_and_short(void **state)
{
	random_rounds(*state, false, false, true);
}

static void test_direct_and_short(void **state)
{
	random_rounds(*state, true, false, true);
}

static void test_direct_by_ring(void **state)
{
	random_rounds(*state, true, true, false);
}

/* A disk of which one thing at a time is wanted needs no ring, and gets none. */
static void test_no_ring_for_one_at_a_time(void **state)
{
	struct fixture *f = *state;

	if (!host_has_ring(f))
		skip();
	open_disk(f, false, true);
	for (unsigned k = 0; k < 3; k++) {
		struct item *i = one(f, BLOCK_READ, k * 4096, 4096);

		submit(f, 1);
		check(f, i);
	}
	assert_null(f->raw->ring);
	random_batch(f, 20);
	submit(f, 20);
	assert_non_null(f->raw->ring);
	/* With it, a new driver begins without. */
	f->b->ops->detach(f->b);
	assert_null(f->raw->ring);
	assert_int_equal(f->b->ops->attach(f->b, f->loop), 0);
	random_batch(f, 20);
	submit(f, 20);
}

/* --- ranges -------------------------------------------------------------------------- */

static struct item *range(struct fixture *f, enum block_op op, bool unmap, uint64_t off,
			  uint64_t len)
{
	struct item *i = one(f, op, off, len);

	i->req.iov = NULL;
	i->req.n_iov = 0;
	i->req.unmap = unmap;
	return i;
}

static blkcnt_t blocks(struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->raw->fd, &st), 0);
	assert_int_equal(st.st_size, DISK);
	return st.st_blocks;
}

/* Holes are real, and the ring makes them: no plain call is made. A flush behind one that has
 * ended finds it done. */
static void holes(struct fixture *f, bool direct, bool ring)
{
	if ((direct && !scratch_is_direct(f->path)) || (ring && !host_has_ring(f)))
		skip();
	open_disk(f, direct, ring);

	blkcnt_t all = blocks(f);

	range(f, BLOCK_DISCARD, false, 0, DISK / 4);
	submit(f, 1);
	check(f, &f->items[0]);
	if (f->raw->no_punch)
		skip(); /* a file system without holes */
	assert_true(blocks(f) <= all * 13 / 16);
	range(f, BLOCK_WRITE_ZEROES, true, DISK / 4, DISK / 4);
	submit(f, 1);
	check(f, &f->items[0]);
	assert_true(blocks(f) <= all * 9 / 16);
	range(f, BLOCK_WRITE_ZEROES, false, DISK / 2, DISK / 4);
	submit(f, 1);
	check(f, &f->items[0]);
	one(f, BLOCK_FLUSH, 0, 0);
	submit(f, 1);
	check(f, &f->items[0]);
	assert_int_equal(f->raw->sync_error, 0);
	if (ring && !f->raw->no_zero_range)
		assert_int_equal(fallocates, 0);
	/* One that is to be durable is two calls. */
	range(f, BLOCK_WRITE_ZEROES, true, 0, 4096)->req.stable = true;
	submit(f, 1);
	check(f, &f->items[0]);
	if (!ring)
		assert_int_equal(fallocates, 4);
	close_disk(f);
	check_file(f);
}

static void test_holes_by_calls(void **state)
{
	holes(*state, false, false);
}

static void test_holes_by_ring(void **state)
{
	holes(*state, false, true);
}

static void test_holes_by_ring_direct(void **state)
{
	holes(*state, true, true);
}

/* What the kernel says of a range: done, refused for good, refused for this one, failed. */
static void test_conclusions_of_ranges(void **state)
{
	struct fixture *f = *state;
	const int failures[] = {-EIO, -ENOSPC, -EDQUOT};
	struct item *i;

	open_disk(f, false, false);
	for (int op = BLOCK_DISCARD; op <= BLOCK_WRITE_ZEROES; op++) {
		const int again[] = {-EINTR, -EAGAIN, -EINVAL, -EOPNOTSUPP};

		i = range(f, op, true, 0, 8192);
		assert_int_equal(block_raw_conclude(f->raw, &i->req, 0), 0);
		assert_int_equal(fallocates, 0);
		for (unsigned k = 0; k < ARRAY_LEN(failures); k++)
			assert_int_equal(block_raw_conclude(f->raw, &i->req, failures[k]),
					 failures[k]);
		assert_int_equal(fallocates, 0);
		check_file(f); /* it was believed, and not done again */
		for (unsigned k = 0; k < ARRAY_LEN(again); k++) {
			assert_int_equal(block_raw_conclude(f->raw, &i->req, again[k]), 0);
			assert_true(fallocates > 0);
			fallocates = 0;
		}
		i->done = 1;
		check(f, i);
	}
	assert_int_equal(f->raw->sync_error, 0);
	check_file(f);
}

static int no_fallocate(int fd, int mode, off_t off, off_t len)
{
	fallocates++;
	errno = EOPNOTSUPP;
	return -1;
}

/* A host without holes is asked once, and then zeroes are written, past the ring. */
static void test_a_host_without_holes(void **state)
{
	struct fixture *f = *state;
	struct item *i;

	open_disk(f, false, false);
	sys.fallocate = no_fallocate;
	i = range(f, BLOCK_WRITE_ZEROES, true, 512, 9216);
	assert_true(block_raw_range_mode(f->raw, &i->req) & FALLOC_FL_PUNCH_HOLE);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, -EOPNOTSUPP), 0);
	assert_int_equal(fallocates, 2);
	assert_int_equal(block_raw_range_mode(f->raw, &i->req), 0);
	memset(f->model + 512, 0, 9216);
	check_file(f);
	i = range(f, BLOCK_DISCARD, false, 0, 4096);
	assert_int_equal(block_raw_range_mode(f->raw, &i->req), 0);
	submit(f, 1);
	assert_int_equal(i->result, 0);
	i = range(f, BLOCK_WRITE_ZEROES, true, 65536, 200 * 1024);
	submit(f, 1);
	check(f, i);
	assert_int_equal(fallocates, 2);
	check_file(f);
}

/* What the kernel says of a request, and what that means: each, with the disk as it is. */
static void test_conclusions(void **state)
{
	struct fixture *f = *state;
	struct item *i;

	open_disk(f, false, false);
	/* Not done, for no fault of the disk: done here. */
	for (unsigned k = 0; k < 4; k++) {
		const int again[] = {-EAGAIN, -EINTR, -EOPNOTSUPP, -EINVAL};

		i = one(f, BLOCK_READ, 4096, 8192);
		memset(f->arena, 0, 8192);
		assert_int_equal(block_raw_conclude(f->raw, &i->req, again[k]), 0);
		assert_memory_equal(f->arena, f->model + 4096, 8192);
	}
	/* A part of it: the rest is read here, and what was read is left alone. */
	i = one(f, BLOCK_READ, 4096, 8192);
	memset(f->arena, 0xee, 8192);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, 5000), 0);
	for (unsigned k = 0; k < 5000; k++)
		assert_int_equal(f->arena[k], 0xee);
	assert_memory_equal(f->arena + 5000, f->model + 4096 + 5000, 8192 - 5000);
	/* Likewise of a write. */
	i = one(f, BLOCK_WRITE, 0, 1024);
	memset(f->arena, 0x55, 1024);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, 1000), 0);
	memset(f->model + 1000, 0x55, 24);
	check_file(f);
	/* Nothing at all: the file was cut short. And whatever else is said is the result. */
	i = one(f, BLOCK_READ, 0, 512);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, 0), -EIO);
	i = one(f, BLOCK_READ, 0, 512);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, -ENOSPC), -ENOSPC);
	assert_int_equal(f->raw->sync_error, 0);
}

/* An error of a flush stands, for the flushes that the kernel says succeeded, too. */
static void test_a_failed_flush_stays_failed(void **state)
{
	struct fixture *f = *state;
	struct item *i;

	open_disk(f, false, false);
	i = one(f, BLOCK_FLUSH, 0, 0);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, 0), 0);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, -EIO), -EIO);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, 0), -EIO);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, -ENOSPC), -EIO);
	i = one(f, BLOCK_WRITE, 0, 512);
	i->req.stable = true;
	assert_int_equal(block_raw_conclude(f->raw, &i->req, 512), -EIO);
	/* What promises nothing is as it was. */
	i = one(f, BLOCK_WRITE, 0, 512);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, 512), 0);
	i = one(f, BLOCK_READ, 0, 512);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, 512), 0);
}

static void test_a_failed_stable_write_is_a_failed_flush(void **state)
{
	struct fixture *f = *state;
	struct item *i;

	open_disk(f, false, false);
	i = one(f, BLOCK_WRITE, 0, 512);
	i->req.stable = true;
	assert_int_equal(block_raw_conclude(f->raw, &i->req, -EIO), -EIO);
	i = one(f, BLOCK_FLUSH, 0, 0);
	assert_int_equal(block_raw_conclude(f->raw, &i->req, 0), -EIO);
}

static void cut_short(struct fixture *f, bool ring)
{
	open_disk(f, false, ring);
	random_batch(f, 20);
	submit(f, 20);
	assert_int_equal(truncate(f->path, 6144), 0);
	struct item *i = one(f, BLOCK_READ, 4096, 4096);

	submit(f, 1);
	assert_int_equal(i->result, -EIO);
	i = one(f, BLOCK_READ, 2048, 4096);
	submit(f, 1);
	assert_int_equal(i->result, 0);
}

static void test_cut_short(void **state)
{
	cut_short(*state, false);
}

static void test_cut_short_by_ring(void **state)
{
	cut_short(*state, true);
}

/* As a container's filter does it. In a process of its own, which never gets rid of it. */
static void forbid_ring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {ARRAY_LEN(code), code};

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

static void test_forbidden(void **state)
{
	struct fixture *f = *state;
	int status;

	if (!scratch_is_direct(f->path))
		skip();

	pid_t child = fork();

	if (!child) {
		forbid_ring();
		open_disk(f, true, true);
		random_batch(f, 50);
		submit(f, 50);
		for (unsigned k = 0; k < 50; k++)
			check(f, &f->items[k]);
		_exit(f->raw->no_ring && !f->raw->ring ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* That of a disk whose thread may make none, and which is to be of no other use. */
static void test_direct_by_a_ring_made_before(void **state)
{
	struct fixture *f = *state;

	f->confined = true;
	random_rounds(f, true, true, false);
}

static int answer_to(struct io_uring *uring)
{
	struct io_uring_cqe *cqe;

	assert_int_equal(io_uring_submit_and_wait(uring, 1), 1);
	assert_int_equal(io_uring_peek_cqe(uring, &cqe), 0);
	int res = cqe->res;

	io_uring_cqe_seen(uring, cqe);
	return res;
}

static void test_a_ring_made_before_takes_no_other_orders(void **state)
{
	struct fixture *f = *state;
	const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (!host_has_ring(f))
		skip();
	for (unsigned confined = 0; confined < 2; confined++) {
		f->confined = confined;
		open_disk(f, true, true);
		submit(f, (one(f, BLOCK_READ, 0, 512), 1));
		assert_non_null(f->raw->ring);
		struct io_uring *uring = &f->raw->ring->uring;

		io_uring_prep_openat(io_uring_get_sqe(uring), AT_FDCWD, "/dev/null",
				     O_RDONLY | O_CLOEXEC, 0);
		int res = answer_to(uring);

		assert_int_equal(res < 0 ? res : 0, confined ? -EACCES : 0);
		if (res >= 0)
			close(res);
		io_uring_prep_nop(io_uring_get_sqe(uring));
		assert_int_equal(answer_to(uring), confined ? -EACCES : 0);
		assert_int_equal(io_uring_register_files(uring, &fd, 1), confined ? -EACCES : 0);
		close_disk(f);
	}
	close(fd);
}

/* Where the host has none at that time, it goes without; and one that is there stays for the whole
 * life. */
static void test_confined_with_and_without_a_ring(void **state)
{
	struct fixture *f = *state;

	f->confined = true;
	open_disk(f, false, false);
	assert_null(f->raw->ready);
	random_batch(f, 50);
	submit(f, 50);
	assert_true(f->raw->no_ring && !f->raw->ring);
	close_disk(f);
	open_disk(f, false, true);
	if (f->raw->ready) {
		random_batch(f, 50);
		submit(f, 50);
		assert_non_null(f->raw->ring);
		/* The driver let go of it, and comes again. */
		f->b->ops->detach(f->b);
		assert_non_null(f->raw->ready);
		assert_int_equal(f->b->ops->attach(f->b, f->loop), 0);
		random_batch(f, 50);
		submit(f, 50);
		assert_non_null(f->raw->ring);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_cached_by_calls),
		T(test_cached_by_ring),
		T(test_direct_by_calls),
		T(test_direct_by_ring),
		T(test_cached_and_short),
		T(test_direct_and_short),
		T(test_no_ring_for_one_at_a_time),
		T(test_holes_by_calls),
		T(test_holes_by_ring),
		T(test_holes_by_ring_direct),
		T(test_conclusions),
		T(test_conclusions_of_ranges),
		T(test_a_host_without_holes),
		T(test_a_failed_flush_stays_failed),
		T(test_a_failed_stable_write_is_a_failed_flush),
		T(test_cut_short),
		T(test_cut_short_by_ring),
		T(test_forbidden),
		T(test_direct_by_a_ring_made_before),
		T(test_a_ring_made_before_takes_no_other_orders),
		T(test_confined_with_and_without_a_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
