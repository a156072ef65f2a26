/* SPDX-License-Identifier: Apache-2.0 */
/* Raw disks: every way a path can be wrong, real files, and a host whose n-th call
 * fails, for all n. */
#include "devices/backend/block_raw.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { DISK = 256 * 1024 };

/* A host in memory. Call number `fail_at` (counted over all calls, from 0) gives
 * `fail_errno`, or half of what was asked if that is 0. */
static struct {
	uint8_t data[DISK];
	uint64_t size;
	int calls, fail_at, fail_errno;
	int fallocate_errno; /* of every fallocate, if not 0 */
	size_t piece;        /* most bytes moved by one call */
	int syncs, dsyncs, punches, zero_ranges, discards;
} host;

struct fixture {
	char dir[64], path[96];
};

static bool host_fails(void)
{
	int n = host.calls++;

	if (n != host.fail_at)
		return false;
	errno = host.fail_errno;
	return host.fail_errno;
}

static size_t host_move(const struct iovec *iov, int n, off_t off, bool write)
{
	bool half = host.calls - 1 == host.fail_at; /* with errno 0: a short count */
	uint64_t sum = 0, done = 0, most;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	most = half ? (sum + 1) / 2 : sum;
	if (most > host.piece)
		most = host.piece;
	for (int i = 0; i < n && done < most; i++) {
		for (size_t b = 0; b < iov[i].iov_len && done < most; b++, done++) {
			uint8_t *mem = (uint8_t *)iov[i].iov_base + b;

			if ((uint64_t)off + done >= host.size && !write)
				return done;
			assert_true((uint64_t)off + done < DISK);
			if (write)
				host.data[(uint64_t)off + done] = *mem;
			else
				*mem = host.data[(uint64_t)off + done];
		}
	}
	return done;
}

static ssize_t fake_preadv(int fd, const struct iovec *iov, int n, off_t off)
{
	return host_fails() ? -1 : (ssize_t)host_move(iov, n, off, false);
}

static ssize_t fake_pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	host.dsyncs += !!(flags & RWF_DSYNC);
	return host_fails() ? -1 : (ssize_t)host_move(iov, n, off, true);
}

static int fake_fdatasync(int fd)
{
	host.syncs++;
	return host_fails() ? -1 : 0;
}

static int fake_fallocate(int fd, int mode, off_t off, off_t len)
{
	assert_true(mode & FALLOC_FL_KEEP_SIZE);
	host.punches += !!(mode & FALLOC_FL_PUNCH_HOLE);
	host.zero_ranges += !!(mode & FALLOC_FL_ZERO_RANGE);
	if (host.fallocate_errno) {
		errno = host.fallocate_errno;
		return -1;
	}
	if (host_fails())
		return -1;
	memset(host.data + off, 0, (size_t)len);
	return 0;
}

static int fake_discard(int fd, uint64_t off, uint64_t len)
{
	host.discards++;
	return host_fails() ? -1 : 0;
}

static const struct block_raw_sys fake_sys = {
	.preadv = fake_preadv,
	.pwritev2 = fake_pwritev2,
	.fdatasync = fake_fdatasync,
	.fallocate = fake_fallocate,
	.discard = fake_discard,
};

static void host_reset(int fail_at, int fail_errno)
{
	memset(&host, 0, sizeof(host));
	for (size_t i = 0; i < DISK; i++)
		host.data[i] = (uint8_t)(i * 31 + i / 512);
	host.size = DISK;
	host.piece = SIZE_MAX;
	host.fail_at = fail_at;
	host.fail_errno = fail_errno;
}

/* --- a file to open ------------------------------------------------------------------- */

static void make_file(const char *path, uint64_t size, mode_t mode)
{
	unlink(path);
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_level(LOG_QUIET);
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_block_raw.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/disk.img", f->dir);
	make_file(f->path, DISK, 0600);
	host_reset(-1, 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static struct block *open_disk(struct fixture *f, bool read_only, const struct block_raw_sys *sys)
{
	struct block *b = NULL;
	struct err e = {0};
	int ret = sys ? block_raw_open_sys(&b, f->path, read_only, false, sys, &e)
		      : block_raw_open(&b, f->path, read_only, false, &e);

	if (ret)
		print_error("%s\n", e.text);
	assert_int_equal(ret, 0);
	return b;
}

struct result {
	struct block_req req;
	int result, calls;
};

static void record(struct block_req *req, int result)
{
	struct result *r = (struct result *)req;

	r->result = result;
	r->calls++;
}

static int submit(struct block *b, struct block_req req)
{
	struct result r = {.req = req};

	r.req.done = record;
	block_submit(b, &r.req);
	assert_int_equal(r.calls, 1);
	return r.result;
}

/* A transfer of `len` bytes in three pieces of odd lengths. */
static int transfer(struct block *b, bool write, bool stable, uint64_t off, uint8_t *buf,
		    size_t len)
{
	struct iovec iov[] = {{buf, 7}, {buf + 7, 600}, {buf + 607, len - 607}};

	return submit(b, (struct block_req){
				 .op = write ? BLOCK_WRITE : BLOCK_READ,
				 .stable = stable,
				 .offset = off,
				 .len = len,
				 .iov = iov,
				 .n_iov = 3,
			 });
}

static int simple(struct block *b, enum block_op op)
{
	return submit(b, (struct block_req){.op = op});
}

static int ranged(struct block *b, enum block_op op, bool unmap, bool stable, uint64_t off,
		  uint64_t len)
{
	return submit(
		b, (struct block_req){
			   .op = op, .unmap = unmap, .stable = stable, .offset = off, .len = len});
}

/* --- what can be wrong with a path -------------------------------------------------------- */

static void refused(const char *path, bool read_only, int code, const char *cause)
{
	struct block *b = NULL;
	struct err e = {0};
	char begin[128];

	snprintf(begin, sizeof(begin), "--disk %s: ", path);
	assert_int_equal(block_raw_open(&b, path, read_only, false, &e), code);
	assert_null(b);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_memory_equal(e.text, begin, strlen(begin));
	if (!strstr(e.text, cause))
		fail_msg("'%s' does not say '%s'", e.text, cause);
	assert_null(strchr(e.text, '\n'));
}

static void test_missing(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	refused(f->path, false, -ENOENT, "does not exist");
	refused(f->path, true, -ENOENT, "does not exist");
	refused("", false, -ENOENT, "does not exist");
}

static void test_empty(void **state)
{
	struct fixture *f = *state;

	make_file(f->path, 0, 0600);
	refused(f->path, false, -EINVAL, "is empty");
}

static void test_odd_size(void **state)
{
	struct fixture *f = *state;

	make_file(f->path, 513, 0600);
	refused(f->path, false, -EINVAL, "multiple of 512");
	make_file(f->path, 511, 0600);
	refused(f->path, true, -EINVAL, "multiple of 512");
}

static void test_not_a_disk(void **state)
{
	struct fixture *f = *state;

	refused(f->dir, false, -EISDIR, "is a directory");
	refused("/dev/null", false, -EINVAL, "character device");
	unlink(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	refused(f->path, true, -EINVAL, "FIFO"); /* and does not wait for a writer */
}

static void test_permissions(void **state)
{
	struct fixture *f = *state;
	struct block *b;

	/* Root may do all, so be somebody else. */
	bool root = !geteuid();

	if (root) {
		assert_int_equal(chown(f->dir, 65534, 65534), 0);
		unlink(f->path);
		assert_int_equal(seteuid(65534), 0);
	}
	make_file(f->path, DISK, 0400);
	refused(f->path, false, -EACCES, "readonly=on");
	b = open_disk(f, true, NULL);
	assert_true(b->read_only);
	block_destroy(b);
	make_file(f->path, DISK, 0600);
	chmod(f->path, 0000);
	refused(f->path, false, -EACCES, "no permission");
	refused(f->path, true, -EACCES, "no permission");
	if (root)
		assert_int_equal(seteuid(0), 0);
}

static void test_two_writers(void **state)
{
	struct fixture *f = *state;
	struct block *b = open_disk(f, false, NULL), *c;

	refused(f->path, false, -EBUSY, "given twice");
	refused(f->path, true, -EBUSY, "open for writing");
	block_destroy(b);
	/* Readers share; a writer does not get in. */
	b = open_disk(f, true, NULL);
	c = open_disk(f, true, NULL);
	refused(f->path, false, -EBUSY, "in use");
	block_destroy(b);
	block_destroy(c);
	block_destroy(open_disk(f, false, NULL));
	block_destroy(NULL);
}

/* It was taken over, so it is closed; `why` is a part of what is said. */
static void not_adopted(int fd, bool read_only, int code, const char *why)
{
	struct block *b = NULL;
	struct err e = {0};

	assert_true(fd >= 0);
	assert_int_equal(block_raw_adopt(&b, fd, "data", read_only, &e), code);
	assert_non_null(strstr(e.text, "--disk data: "));
	assert_non_null(strstr(e.text, why));
	assert_null(b);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* What somebody else opened: judged and locked as what we open. */
static void test_adopted(void **state)
{
	struct fixture *f = *state;
	struct block *b = NULL;
	struct err e = {0};
	uint8_t buf[1024] = "adopted", got[1024];
	int ends[2], fd = open(f->path, O_RDWR | O_CLOEXEC), kept;

	assert_int_equal(block_raw_adopt(&b, fd, "data", false, &e), 0);
	assert_int_equal(b->size, DISK);
	assert_true(b->can_write_zeroes);
	refused(f->path, false, -EBUSY, "in use");
	not_adopted(open(f->path, O_RDWR | O_CLOEXEC), false, -EBUSY, "in use");
	not_adopted(open(f->path, O_RDONLY | O_CLOEXEC), true, -EBUSY, "open for writing");
	assert_int_equal(transfer(b, true, false, 4096, buf, sizeof(buf)), 0);
	/* Whoever has the same open file keeps the lock. */
	kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	block_destroy(b);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(pread(kept, got, sizeof(got), 4096), sizeof(got));
	assert_memory_equal(got, buf, sizeof(buf));
	refused(f->path, false, -EBUSY, "in use");
	close(kept);
	block_destroy(open_disk(f, false, NULL));
	/* One that can be written serves a disk that cannot. */
	assert_int_equal(block_raw_adopt(&b, open(f->path, O_RDWR | O_CLOEXEC), "data", true, &e),
			 0);
	assert_false(b->can_write_zeroes);
	block_destroy(b);
	b = NULL;
	not_adopted(open(f->path, O_RDONLY | O_CLOEXEC), false, -EBADF, "for reading and writing");
	not_adopted(open(f->path, O_WRONLY | O_CLOEXEC), true, -EBADF, "not opened for reading");
	not_adopted(open(f->path, O_PATH | O_CLOEXEC), true, -EBADF, "not opened for reading");
	not_adopted(open(f->path, O_RDWR | O_APPEND | O_CLOEXEC), false, -EINVAL, "appending");
	not_adopted(open("/dev/null", O_RDWR | O_CLOEXEC), false, -EINVAL, "character device");
	not_adopted(open("/tmp", O_RDONLY | O_CLOEXEC), true, -EISDIR, "directory");
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[1]);
	not_adopted(ends[0], true, -EINVAL, "FIFO");
	assert_int_equal(truncate(f->path, 0), 0);
	not_adopted(open(f->path, O_RDWR | O_CLOEXEC), false, -EINVAL, "is empty");
}

static void test_geometry(void **state)
{
	struct fixture *f = *state;
	struct block *b = open_disk(f, false, NULL);

	assert_int_equal(b->size, DISK);
	assert_int_equal(b->block_size, 512);
	assert_true(b->discard_align >= 512);
	assert_true(b->can_write_zeroes);
	block_destroy(b);
	b = open_disk(f, true, NULL);
	assert_int_equal(b->discard_align, 0);
	assert_false(b->can_write_zeroes);
	block_destroy(b);
}

static void test_growing(void **state)
{
	struct fixture *f = *state;
	struct block *b = open_disk(f, false, NULL);
	uint8_t buf[1024] = "grown", got[1024];
	uint64_t size = 1;
	struct stat st;
	struct err e = {0};

	/* As it is; by somebody else; by us, to that size and no other. */
	assert_int_equal(block_resize(b, DISK, 0, &size, &e), 0);
	assert_int_equal(size, DISK);
	assert_int_equal(block_resize(b, DISK, DISK, &size, &e), 0);
	assert_int_equal(size, DISK);
	assert_int_equal(truncate(f->path, DISK + 4096), 0);
	assert_int_equal(block_resize(b, DISK, 0, &size, &e), 0);
	assert_int_equal(size, DISK + 4096);
	assert_int_equal(block_resize(b, size, DISK + 8192, &size, &e), 0);
	assert_int_equal(size, DISK + 8192);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, DISK + 8192);
	assert_int_equal(transfer(b, true, false, DISK + 8192 - 1024, buf, sizeof(buf)), 0);
	assert_int_equal(transfer(b, false, false, DISK + 8192 - 1024, got, sizeof(got)), 0);
	assert_memory_equal(got, buf, sizeof(buf));

	static const struct {
		uint64_t now, want;
		const char *why;
	} wrong[] = {
		{DISK + 8192, DISK, "does not shrink"},
		{DISK, DISK, "does not shrink"}, /* the file would */
		{DISK + 8192, DISK + 8192 + 1, "no multiple of its block"},
		{DISK + 8192, DISK + 8192 + 511, "no multiple of its block"},
		{DISK + 16384, 0, "does not shrink"}, /* it was cut short outside */
		{DISK, INT64_MAX - 511, "cannot have"},
		{DISK, UINT64_MAX - 511, "cannot have"},
	};

	/* On tmpfs a file may have INT64_MAX bytes; with a limit it may nowhere. */
	struct rlimit before, limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = (struct rlimit){DISK + 16384, before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		e = (struct err){0};
		size = 7;
		assert_true(block_resize(b, wrong[i].now, wrong[i].want, &size, &e) < 0);
		assert_int_equal(e.kind, ERR_USAGE);
		if (!strstr(e.text, wrong[i].why))
			fail_msg("%s: not %s", e.text, wrong[i].why);
		assert_int_equal(size, 7);
		assert_int_equal(stat(f->path, &st), 0);
		assert_int_equal(st.st_size, DISK + 8192);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(truncate(f->path, DISK + 8192 + 5), 0);
	assert_int_equal(block_resize(b, DISK, 0, &size, &e), -EINVAL);
	block_destroy(b);

	/* One for reading grows by others alone. */
	assert_int_equal(truncate(f->path, DISK), 0);
	b = open_disk(f, true, NULL);
	e = (struct err){0};
	assert_int_equal(block_resize(b, DISK, DISK + 4096, &size, &e), -EINVAL);
	assert_non_null(strstr(e.text, "opened for reading"));
	assert_int_equal(truncate(f->path, DISK + 4096), 0);
	assert_int_equal(block_resize(b, DISK, 0, &size, &e), 0);
	assert_int_equal(size, DISK + 4096);
	block_destroy(b);
}

/* The format is not guessed: what looks like a qcow2 image is bytes. */
static void test_format_is_never_guessed(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[1024] = "QFI\xfb\0\0\0\x03", got[1024];
	struct block *b = open_disk(f, false, NULL);

	assert_int_equal(transfer(b, true, false, 0, buf, sizeof(buf)), 0);
	block_destroy(b);
	b = open_disk(f, false, NULL);
	assert_int_equal(b->size, DISK);
	assert_int_equal(transfer(b, false, false, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, buf, sizeof(buf));
	block_destroy(b);
}

/* --- real files ------------------------------------------------------------------------------ */

static void test_real_file(void **state)
{
	struct fixture *f = *state;
	static uint8_t out[64 * 1024], in[64 * 1024], zero[64 * 1024];
	struct block *b = open_disk(f, false, NULL);
	struct stat st;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 13 + 1);
	for (int stable = 0; stable < 2; stable++) {
		assert_int_equal(transfer(b, true, stable, 4096, out, sizeof(out)), 0);
		assert_int_equal(transfer(b, false, false, 4096, in, sizeof(in)), 0);
		assert_memory_equal(in, out, sizeof(in));
		assert_int_equal(simple(b, BLOCK_FLUSH), 0);
		for (int unmap = 0; unmap < 2; unmap++) {
			/* Not aligned to any block of the file system. */
			assert_int_equal(transfer(b, true, stable, 4096, out, sizeof(out)), 0);
			assert_int_equal(ranged(b, BLOCK_WRITE_ZEROES, unmap, stable, 4608, 20480),
					 0);
			assert_int_equal(transfer(b, false, false, 4096, in, sizeof(in)), 0);
			assert_memory_equal(in, out, 512);
			assert_memory_equal(in + 512, zero, 20480);
			assert_memory_equal(in + 20992, out + 20992, sizeof(in) - 20992);
		}
	}
	assert_int_equal(ranged(b, BLOCK_DISCARD, false, false, 0, DISK), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, DISK);
	block_destroy(b);
}

static void test_file_cut_short(void **state)
{
	struct fixture *f = *state;
	struct block *b = open_disk(f, false, NULL);
	uint8_t buf[4096];

	assert_int_equal(truncate(f->path, DISK / 2), 0);
	assert_int_equal(transfer(b, false, false, DISK / 2, buf, sizeof(buf)), -EIO);
	assert_int_equal(transfer(b, false, false, DISK / 2 - 2048, buf, sizeof(buf)), -EIO);
	assert_int_equal(transfer(b, false, false, 0, buf, sizeof(buf)), 0);
	block_destroy(b);
}

static void test_read_only_writes_nothing(void **state)
{
	struct fixture *f = *state;
	struct block *b = open_disk(f, true, NULL);
	uint8_t buf[1024] = {1};

	assert_int_equal(transfer(b, true, false, 0, buf, sizeof(buf)), -EROFS);
	assert_int_equal(ranged(b, BLOCK_DISCARD, false, false, 0, 4096), -EROFS);
	assert_int_equal(ranged(b, BLOCK_WRITE_ZEROES, true, false, 0, 4096), -EROFS);
	assert_int_equal(simple(b, BLOCK_FLUSH), 0);
	block_destroy(b);
}

/* --- a host that fails at call n -----------------------------------------------------------------
 */

/* Short counts and EINTR anywhere: exact bytes all the same. */
static void test_short_counts_and_eintr(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[2048], want[2048];

	for (int eintr = 0; eintr < 2; eintr++) {
		for (size_t piece = 1; piece < 700; piece += 37) {
			for (int n = -1; n < 60; n++) {
				struct block *b = open_disk(f, false, &fake_sys);

				host_reset(n, eintr ? EINTR : 0);
				host.piece = piece;
				memcpy(want, host.data + 1024, sizeof(want));
				assert_int_equal(transfer(b, false, false, 1024, buf, sizeof(buf)),
						 0);
				assert_memory_equal(buf, want, sizeof(buf));
				host_reset(n, eintr ? EINTR : 0);
				host.piece = piece;
				memset(buf, 0xa5, sizeof(buf));
				memcpy(want, host.data, 1024);
				assert_int_equal(transfer(b, true, n & 1, 1024, buf, sizeof(buf)),
						 0);
				assert_memory_equal(host.data + 1024, buf, sizeof(buf));
				assert_memory_equal(host.data, want, 1024);
				assert_int_equal(host.data[1024 + sizeof(buf)],
						 (uint8_t)((1024 + sizeof(buf)) * 31 +
							   (1024 + sizeof(buf)) / 512));
				block_destroy(b);
			}
		}
	}
}

static void test_errors_at_call_n(void **state)
{
	struct fixture *f = *state;
	const int errors[] = {EIO, ENOSPC, EAGAIN, EDQUOT};
	uint8_t buf[2048] = {0};

	for (unsigned i = 0; i < ARRAY_LEN(errors); i++) {
		for (int n = 0; n < 5; n++) {
			for (int write = 0; write < 2; write++) {
				struct block *b = open_disk(f, false, &fake_sys);
				/* 2048 bytes in pieces of 512 are four calls. */
				int want = n < 4 ? -errors[i] : 0;

				host_reset(n, errors[i]);
				host.piece = 512;
				assert_int_equal(transfer(b, write, false, 0, buf, sizeof(buf)),
						 want);
				/* It stopped there: nothing was tried again. */
				assert_int_equal(host.calls, n < 4 ? n + 1 : 4);
				block_destroy(b);
			}
		}
	}
}

static void test_host_that_moves_nothing(void **state)
{
	struct fixture *f = *state;
	struct block *b = open_disk(f, false, &fake_sys);
	uint8_t buf[2048] = {0};

	host.piece = 0;
	assert_int_equal(transfer(b, true, false, 0, buf, sizeof(buf)), -EIO);
	assert_int_equal(transfer(b, false, false, 0, buf, sizeof(buf)), -EIO);
	assert_int_equal(host.calls, 2);
	block_destroy(b);
}

static void test_failed_sync_stays_failed(void **state)
{
	struct fixture *f = *state;
	struct block *b = open_disk(f, false, &fake_sys);
	uint8_t buf[2048] = {0};

	assert_int_equal(simple(b, BLOCK_FLUSH), 0);
	host_reset(0, EIO);
	assert_int_equal(simple(b, BLOCK_FLUSH), -EIO);
	/* The host would succeed now, as a real one does; that is the trap. */
	assert_int_equal(simple(b, BLOCK_FLUSH), -EIO);
	assert_int_equal(simple(b, BLOCK_FLUSH), -EIO);
	assert_int_equal(host.syncs, 1);
	assert_int_equal(transfer(b, true, true, 0, buf, sizeof(buf)), -EIO);
	assert_int_equal(ranged(b, BLOCK_WRITE_ZEROES, false, true, 0, 512), -EIO);
	/* What promises no durability goes on. */
	assert_int_equal(transfer(b, true, false, 0, buf, sizeof(buf)), 0);
	assert_int_equal(transfer(b, false, false, 0, buf, sizeof(buf)), 0);
	block_destroy(b);
	/* An interrupted sync is not a failed one. */
	b = open_disk(f, false, &fake_sys);
	host_reset(0, EINTR);
	assert_int_equal(simple(b, BLOCK_FLUSH), 0);
	assert_int_equal(host.syncs, 2);
	block_destroy(b);
}

static void test_stable_writes(void **state)
{
	struct fixture *f = *state;
	struct block *b = open_disk(f, false, &fake_sys);
	uint8_t buf[2048] = {0};

	assert_int_equal(transfer(b, true, true, 0, buf, sizeof(buf)), 0);
	assert_int_equal(host.dsyncs, 1);
	assert_int_equal(transfer(b, true, false, 0, buf, sizeof(buf)), 0);
	assert_int_equal(host.dsyncs, 1);
	assert_int_equal(ranged(b, BLOCK_WRITE_ZEROES, true, true, 0, 512), 0);
	assert_int_equal(host.syncs, 1);
	/* EIO of a synchronous write may stand for older pages: no flush after it. */
	host_reset(0, EIO);
	assert_int_equal(transfer(b, true, true, 0, buf, sizeof(buf)), -EIO);
	assert_int_equal(simple(b, BLOCK_FLUSH), -EIO);
	block_destroy(b);
	/* No space is about this write alone. */
	b = open_disk(f, false, &fake_sys);
	host_reset(0, ENOSPC);
	assert_int_equal(transfer(b, true, true, 0, buf, sizeof(buf)), -ENOSPC);
	assert_int_equal(simple(b, BLOCK_FLUSH), 0);
	block_destroy(b);
	/* A host without RWF_DSYNC, found out at any call: written, then synced. */
	for (int n = 0; n < 4; n++) {
		b = open_disk(f, false, &fake_sys);
		host_reset(n, EOPNOTSUPP);
		host.piece = 512;
		memset(buf, 0x3c, sizeof(buf));
		assert_int_equal(transfer(b, true, true, 512, buf, sizeof(buf)), 0);
		assert_memory_equal(host.data + 512, buf, sizeof(buf));
		assert_int_equal(host.syncs, 1);
		block_destroy(b);
	}
}

static void test_write_zeroes_falls_back(void **state)
{
	struct fixture *f = *state;
	static const uint8_t zero[200 * 1024];

	const int lacks[] = {0, EOPNOTSUPP, EINVAL};

	for (int unmap = 0; unmap < 2; unmap++) {
		for (unsigned i = 0; i < ARRAY_LEN(lacks); i++) {
			struct block *b = open_disk(f, false, &fake_sys);

			host_reset(-1, 0);
			host.fallocate_errno = lacks[i];
			uint8_t before = host.data[4607], after = host.data[4608 + sizeof(zero)];

			assert_int_equal(
				ranged(b, BLOCK_WRITE_ZEROES, unmap, false, 4608, sizeof(zero)), 0);
			assert_memory_equal(host.data + 4608, zero, sizeof(zero));
			assert_int_equal(host.data[4607], before);
			assert_int_equal(host.data[4608 + sizeof(zero)], after);
			/* A hole only if the guest allows it. */
			assert_int_equal(host.punches, unmap);
			assert_int_equal(host.zero_ranges, !unmap || lacks[i]);
			block_destroy(b);
		}
	}
	/* Asked once, not every time. */
	struct block *b = open_disk(f, false, &fake_sys);

	host_reset(-1, 0);
	host.fallocate_errno = EOPNOTSUPP;
	assert_int_equal(ranged(b, BLOCK_WRITE_ZEROES, false, false, 0, 4096), 0);
	assert_int_equal(ranged(b, BLOCK_WRITE_ZEROES, false, false, 0, 4096), 0);
	assert_int_equal(host.zero_ranges, 1);
	block_destroy(b);
	/* Other errors are the request's, at whatever call: 200 KiB are four writes. */
	for (int n = 0; n < 5; n++) {
		b = open_disk(f, false, &fake_sys);
		host_reset(n, ENOSPC);
		host.fallocate_errno = EOPNOTSUPP;
		host.piece = 64 * 1024;
		assert_int_equal(ranged(b, BLOCK_WRITE_ZEROES, true, false, 0, sizeof(zero)),
				 n < 4 ? -ENOSPC : 0);
		block_destroy(b);
	}
	b = open_disk(f, false, &fake_sys);
	host_reset(0, ENOSPC);
	assert_int_equal(ranged(b, BLOCK_WRITE_ZEROES, true, false, 0, 4096), -ENOSPC);
	block_destroy(b);
}

static void test_discard(void **state)
{
	struct fixture *f = *state;
	struct block *b = open_disk(f, false, &fake_sys);

	assert_int_equal(ranged(b, BLOCK_DISCARD, false, false, 512, 1024), 0);
	assert_int_equal(host.punches, 1);
	host_reset(0, EOPNOTSUPP);
	assert_int_equal(ranged(b, BLOCK_DISCARD, false, false, 512, 1024), 0);
	host_reset(0, EIO);
	((struct block_raw *)b)->no_punch = false;
	assert_int_equal(ranged(b, BLOCK_DISCARD, false, false, 512, 1024), -EIO);
	/* A device is told whole blocks only, and nothing if there is none. */
	((struct block_raw *)b)->device = true;
	b->block_size = 4096;
	host_reset(0, EINTR);
	assert_int_equal(ranged(b, BLOCK_DISCARD, false, false, 4096, 4096), 0);
	assert_int_equal(host.discards, 2);
	assert_int_equal(ranged(b, BLOCK_DISCARD, false, false, 512, 4096), 0);
	assert_int_equal(host.discards, 2);
	block_destroy(b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_missing),
		T(test_empty),
		T(test_odd_size),
		T(test_not_a_disk),
		T(test_permissions),
		T(test_two_writers),
		T(test_adopted),
		T(test_geometry),
		T(test_growing),
		T(test_format_is_never_guessed),
		T(test_real_file),
		T(test_file_cut_short),
		T(test_read_only_writes_nothing),
		T(test_short_counts_and_eintr),
		T(test_errors_at_call_n),
		T(test_host_that_moves_nothing),
		T(test_failed_sync_stays_failed),
		T(test_stable_writes),
		T(test_write_zeroes_falls_back),
		T(test_discard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
