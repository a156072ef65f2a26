/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device on a raw disk, served by a thread as in a machine: queues of every size, rings
 * and buffers at every alignment, requests cut into descriptors anywhere, by io_uring and by plain
 * calls, past the page cache and through it; and a host that does things by halves, or fails.
 *
 * The driver rings the doorbell only where the device asked for it, and sleeps until the interrupt
 * that it asked for: one that is lost is a test that hangs, and then fails.
 */
#include "devices/backend/block_raw.h"
#include "devices/virtio/blk.h"
#include "tests/lib/scratch.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	SECTOR = 512,
	REQS = 128,   /* at most, in a batch */
	SLICE = 4096, /* of the disk, for each of them: they do not overlap */
	DISK = REQS * SLICE,
	RAM = 4 * MiB,
	RING = 0x10000,
	TABLES = 0x20000, /* indirect ones, 16 descriptors each */
	MEMORY = 0x100000,
	ROOM = 20 * 1024,     /* for each request: first what the device reads, */
	WRITABLE = 12 * 1024, /* then what it writes */
	PIECES = 8,
	FEATURES = VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_WRITE_ZEROES,
};

enum fault { NO_FAULT, SHORT_COUNTS, EINTRS, ERRORS };

struct request {
	uint32_t type;
	uint64_t offset, len;  /* bytes of the disk */
	uint64_t data, status; /* gpa */
};

struct fixture {
	char path[64];
	int fd; /* the disk, beside the device */
	struct guest_mem gm;
	struct io_thread *thread;
	struct virtio_blk b;
	struct fake_transport t;
	struct virtq_driver d;
	struct request reqs[REQS], *by_head[VIRTQ_SIZE_MAX];
	uint8_t *model;
	bool direct, event_idx, indirect, flush_failed;
	unsigned seed, failed;
};

/* --- a host with faults: the disk's thread ---------------------------------------------- */

static struct {
	enum fault fault;
	unsigned calls, ring_answers;
} host;

/* Of a call or an answer, in turn: what goes wrong with it, 0 for nothing. */
static int goes_wrong(void)
{
	static const int errors[] = {EIO, ENOSPC, EDQUOT};
	unsigned n = host.calls++;

	if (host.fault == EINTRS && n % 3)
		return EINTR;
	return host.fault == ERRORS && n % 5 == 1 ? errors[n / 5 % ARRAY_LEN(errors)] : 0;
}

static int fails(void)
{
	errno = goes_wrong();
	return errno ? -1 : 0;
}

/* One sector, or half of what is less. */
static struct iovec less(const struct iovec *iov)
{
	size_t len = iov->iov_len > SECTOR ? SECTOR : iov->iov_len % SECTOR ? 1 : iov->iov_len;

	return (struct iovec){iov->iov_base, len};
}

static ssize_t host_preadv(int fd, const struct iovec *iov, int n, off_t off)
{
	struct iovec one = less(iov);

	if (fails())
		return -1;
	return host.fault == SHORT_COUNTS ? preadv(fd, &one, 1, off) : preadv(fd, iov, n, off);
}

static ssize_t host_pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct iovec one = less(iov);

	if (fails())
		return -1;
	return host.fault == SHORT_COUNTS ? pwritev2(fd, &one, 1, off, flags)
					  : pwritev2(fd, iov, n, off, flags);
}

static int host_fdatasync(int fd)
{
	return fails() ? -1 : fdatasync(fd);
}

static int host_fallocate(int fd, int mode, off_t off, off_t len)
{
	return fails() ? -1 : fallocate(fd, mode, off, len);
}

static int host_discard(int fd, uint64_t off, uint64_t len)
{
	errno = EOPNOTSUPP;
	return -1;
}

static int ring_says(const struct block_req *req, int res)
{
	int wrong = goes_wrong();

	host.ring_answers++;
	if (wrong)
		return -wrong;
	/* Of whole sectors, as direct I/O moves them. */
	return host.fault == SHORT_COUNTS && res > SECTOR ? res / 2 / SECTOR * SECTOR : res;
}

static struct block_raw_sys sys = {
	.preadv = host_preadv,
	.pwritev2 = host_pwritev2,
	.fdatasync = host_fdatasync,
	.fallocate = host_fallocate,
	.discard = host_discard,
	.ring_says = ring_says,
};

/* --- the machine -------------------------------------------------------------------------- */

static unsigned chance(struct fixture *f, unsigned n)
{
	return (unsigned)rand_r(&f->seed) % n;
}

static uint8_t *at(struct fixture *f, uint64_t gpa)
{
	return guest_mem_hva(&f->gm, gpa, 1);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int ret;

	log_set_level(LOG_QUIET);
	/* Beside the program: /tmp may be a file system without direct I/O. */
	strcpy(f->path, "blk-disk.XXXXXX");
	f->fd = mkstemp(f->path);
	assert_true(f->fd >= 0);
	f->model = malloc(DISK);
	for (size_t i = 0; i < DISK; i++)
		f->model[i] = (uint8_t)(i * 7 + i / SECTOR);
	assert_int_equal(pwrite(f->fd, f->model, DISK, 0), DISK);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, RAM, -1, 0, NULL), 0);
	f->thread = io_thread_create("disk0", &ret);
	assert_non_null(f->thread);
	f->seed = 1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->b.n_lanes)
		virtio_blk_fini(&f->b);
	io_thread_destroy(f->thread);
	guest_mem_fini(&f->gm);
	close(f->fd);
	unlink(f->path);
	free(f->model);
	free(f);
	return 0;
}

static void plug(struct fixture *f, bool direct, bool ring)
{
	const struct virtio_blk_options options = {.name = "disk0", .n_queues = 1};
	struct block *disk;
	struct err e = {0};

	sys.ring = ring;
	f->direct = direct;
	assert_int_equal(block_raw_open_sys(&disk, f->path, false, direct, &sys, &e), 0);
	const struct virtio_blk_host way = {disk, io_thread_loop(f->thread)};

	assert_int_equal(virtio_blk_init(&f->b, &options, &f->gm, &way, 1), 0);
	fake_transport_init(&f->t, &f->b.v);
}

/* A queue of `size`, its three areas anywhere where they may be [virtio 1.3 2.7]. */
static void lay_ring(struct fixture *f, uint16_t size)
{
	memset(at(f, RING), 0, TABLES - RING);
	virtq_driver_init(&f->d, &f->gm, RING, size);
	f->d.desc += 16ull * chance(f, 16);
	f->d.avail += 256 + 2ull * chance(f, 16);
	f->d.used += 512 + 4ull * chance(f, 16);
}

/* --- requests ------------------------------------------------------------------------------ */

/* Cut [gpa, gpa + len) into at most `most` descriptors; gives how many. */
static unsigned cut(struct fixture *f, struct vd_buf *bufs, uint64_t gpa, uint64_t len,
		    uint64_t first, unsigned most, bool write)
{
	unsigned n = 0;

	while (len) {
		uint64_t piece = n + 1 == most ? len : n ? 1 + chance(f, (unsigned)len) : first;

		bufs[n++] = (struct vd_buf){gpa, (uint32_t)piece, write};
		gpa += piece;
		len -= piece;
	}
	return n;
}

/* Request `k` into the queue, in at most `room` descriptors of it; gives how many it took. */
static unsigned offer(struct fixture *f, unsigned k, unsigned room)
{
	static const uint32_t types[] = {
		VIRTIO_BLK_T_IN,  VIRTIO_BLK_T_IN,  VIRTIO_BLK_T_IN,    VIRTIO_BLK_T_OUT,
		VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_WRITE_ZEROES};
	struct request *r = &f->reqs[k];
	uint64_t align = virtio_blk_disk(&f->b)->block_size,
		 first = chance(f, (unsigned)(SLICE / align));
	bool aligned = chance(f, 2);
	struct vd_buf bufs[PIECES];

	*r = (struct request){types[chance(f, ARRAY_LEN(types))], k * SLICE + first * align, 0, 0,
			      0};
	if (r->type != VIRTIO_BLK_T_FLUSH)
		r->len = align * (1 + chance(f, (unsigned)(SLICE / align - first)));

	bool out = r->type == VIRTIO_BLK_T_OUT, in = r->type == VIRTIO_BLK_T_IN;
	uint64_t read_len = 16 + (out ? r->len : r->type == VIRTIO_BLK_T_WRITE_ZEROES ? 16 : 0);
	uint64_t write_len = (in ? r->len : 0) + 1;
	/* Data begins where direct I/O can take it, or anywhere. */
	uint64_t from = MEMORY + k * ROOM + 4096 - 16 + (aligned ? 0 : chance(f, 512));
	uint64_t to = MEMORY + k * ROOM + WRITABLE + (aligned ? 0 : chance(f, 512));

	r->data = out ? from + 16 : to;
	r->status = to + write_len - 1;
	le32_put(at(f, from), r->type);
	le64_put(at(f, from + 8), r->type == VIRTIO_BLK_T_OUT || in ? r->offset / SECTOR : 0);
	if (r->type == VIRTIO_BLK_T_WRITE_ZEROES) {
		le64_put(at(f, from + 16), r->offset / SECTOR);
		le32_put(at(f, from + 24), (uint32_t)(r->len / SECTOR));
		le32_put(at(f, from + 28), chance(f, 2));
	}
	for (uint64_t i = 0; out && i < r->len; i++)
		*at(f, r->data + i) = (uint8_t)chance(f, 256);
	*at(f, r->status) = 0xee;

	/* An indirect table is no longer than the queue either [virtio 1.3 2.7.5.3.1]. */
	bool indirect = f->indirect && chance(f, 2);
	unsigned most = indirect ? f->d.size : room;

	most = (most < PIECES ? most : PIECES) / 2;

	unsigned n = cut(f, bufs, from, read_len, aligned ? 16 : 1 + chance(f, 16), most, false);

	n += cut(f, bufs + n, to, write_len, aligned && in ? r->len : 1, most, true);
	uint16_t head =
		virtq_driver_offer_indirect(&f->d, bufs, n, indirect ? 0 : n, TABLES + k * 256, 0);

	f->by_head[head] = r;
	return indirect ? 1 : n;
}

/* Does the device want to hear of those that were offered since `before`? */
static void kick(struct fixture *f, uint16_t before)
{
	uint16_t now = f->d.avail_idx;
	bool wanted = f->event_idx ? (uint16_t)(now - virtq_driver_avail_event(&f->d) - 1) <
					     (uint16_t)(now - before)
				   : !(virtq_driver_used_flags(&f->d) & VIRTQ_USED_F_NO_NOTIFY);

	if (wanted)
		virtio_kick(&f->b.v, 0);
}

static void check(struct fixture *f, const struct request *r)
{
	uint8_t status = *at(f, r->status);

	assert_true(status == VIRTIO_BLK_S_OK ||
		    (status == VIRTIO_BLK_S_IOERR && host.fault == ERRORS));
	if (r->type == VIRTIO_BLK_T_FLUSH) {
		/* One that failed is never mended [virtio/README.md]. */
		assert_true(!f->flush_failed || status == VIRTIO_BLK_S_IOERR);
		f->flush_failed = f->flush_failed || status;
	} else if (status) { /* what a request that failed has written is anything */
		assert_int_equal(pread(f->fd, f->model + r->offset, r->len, (off_t)r->offset),
				 r->len);
	} else if (r->type == VIRTIO_BLK_T_IN) {
		assert_memory_equal(at(f, r->data), f->model + r->offset, r->len);
	} else if (r->type == VIRTIO_BLK_T_OUT) {
		memcpy(f->model + r->offset, at(f, r->data), r->len);
	} else {
		memset(f->model + r->offset, 0, r->len);
	}
	f->failed += status != VIRTIO_BLK_S_OK;
}

/* Sleep until the interrupt. With EVENT_IDX it comes when the last of `n` is done. */
static void wait_for(struct fixture *f, unsigned irqs, unsigned n)
{
	for (unsigned ms = 0; ms < 20000; ms++) {
		/* In this order: what an interrupt tells of is there when it comes. */
		bool came = fake_transport_irqs(&f->t, 0) > irqs;
		bool all = (uint16_t)(virtq_driver_used_idx(&f->d) - f->d.last_used) == n;

		if (came && (all || f->event_idx)) {
			assert_true(all);
			return;
		}
		usleep(ms < 5 ? 100 : 1000);
	}
	fail_msg("%u requests, queue of %u: no interrupt", n, f->d.size);
}

static void batch(struct fixture *f)
{
	unsigned n = 0, used = 0, most = 1 + chance(f, REQS);
	unsigned irqs = fake_transport_irqs(&f->t, 0);
	uint16_t before = f->d.avail_idx;
	uint32_t id, len;

	/* More of them than there will be: nothing is to be heard of yet. */
	virtq_driver_set_used_event(&f->d, f->d.last_used - 1);
	while (n < most && f->d.size - used >= 2) {
		used += offer(f, n++, f->d.size - used);
		if (chance(f, 4))
			continue;
		kick(f, before);
		before = f->d.avail_idx;
	}
	virtq_driver_set_used_event(&f->d, (uint16_t)(f->d.last_used + n - 1));
	if (f->event_idx && (uint16_t)(virtq_driver_used_idx(&f->d) - f->d.last_used) == n)
		irqs--; /* all was done before we asked [virtio 1.3 2.7.14] */
	if (before != f->d.avail_idx)
		kick(f, before);
	wait_for(f, irqs, n);
	for (unsigned k = 0; k < n; k++) {
		assert_true(virtq_driver_take_used(&f->d, &id, &len));
		assert_true(id < f->d.size && f->by_head[id]);
		check(f, f->by_head[id]);
		f->by_head[id] = NULL;
	}
	assert_false(virtq_driver_take_used(&f->d, &id, &len));
}

static void check_file(struct fixture *f)
{
	uint8_t *now = malloc(DISK);

	assert_int_equal(pread(f->fd, now, DISK, 0), DISK);
	assert_memory_equal(now, f->model, DISK);
	free(now);
}

/* All sizes that can hold a request, with each of the ring's features. */
static void every_size(struct fixture *f, bool direct, bool ring, enum fault fault)
{
	unsigned rounds = fault ? 3 : 6;

	if (direct && !scratch_is_direct(f->path))
		return;
	host = (typeof(host)){.fault = fault};
	plug(f, direct, ring);
	for (uint16_t size = 2; size <= VIRTQ_SIZE_MAX; size *= 2) {
		for (unsigned features = 0; features < 4; features++) {
			f->event_idx = features & 1;
			f->indirect = features & 2;
			lay_ring(f, size);
			virtio_driver_start(&f->b.v,
					    VIRTIO_F_VERSION_1 | FEATURES |
						    (f->event_idx ? VIRTIO_F_EVENT_IDX : 0) |
						    (f->indirect ? VIRTIO_F_INDIRECT_DESC : 0),
					    &f->d, 1);
			for (unsigned i = 0; i < rounds; i++)
				batch(f);
			virtio_set_status(&f->b.v, 0);
			assert_true(virtio_wait_reset(&f->b.v, 10000));
		}
	}
	check_file(f);
	assert_int_equal(!!f->failed, fault == ERRORS);
	/* Without, the host has none for us, or nothing was worth it. */
	if (!ring)
		assert_int_equal(host.ring_answers, 0);
	else if (!host.ring_answers)
		print_message("this host has no io_uring for us\n");
}

static void test_cached_by_calls(void **state)
{
	every_size(*state, false, false, NO_FAULT);
}

static void test_cached_by_ring(void **state)
{
	every_size(*state, false, true, NO_FAULT);
}

static void test_direct_by_calls(void **state)
{
	every_size(*state, true, false, NO_FAULT);
}

static void test_direct_by_ring(void **state)
{
	every_size(*state, true, true, NO_FAULT);
}

static void test_short_counts_by_calls(void **state)
{
	every_size(*state, false, false, SHORT_COUNTS);
}

static void test_short_counts_by_ring(void **state)
{
	every_size(*state, true, true, SHORT_COUNTS);
}

static void test_eintr_by_calls(void **state)
{
	every_size(*state, false, false, EINTRS);
}

static void test_eintr_by_ring(void **state)
{
	every_size(*state, true, true, EINTRS);
}

static void test_errors_by_calls(void **state)
{
	every_size(*state, false, false, ERRORS);
}

static void test_errors_by_ring(void **state)
{
	every_size(*state, true, true, ERRORS);
}

/* A queue of one has no room for a request, which both reads and writes. */
static void test_a_queue_of_one(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf header = {MEMORY, 16, false};

	host = (typeof(host)){0};
	plug(f, false, false);
	lay_ring(f, 1);
	virtio_driver_start(&f->b.v, VIRTIO_F_VERSION_1 | FEATURES, &f->d, 1);
	virtq_driver_offer(&f->d, &header, 1);
	virtio_kick(&f->b.v, 0);
	for (unsigned ms = 0; ms < 10000 && !(virtio_status(&f->b.v) & VIRTIO_STATUS_NEEDS_RESET);
	     ms++)
		usleep(1000);
	assert_true(virtio_status(&f->b.v) & VIRTIO_STATUS_NEEDS_RESET);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_cached_by_calls),       T(test_cached_by_ring),
		T(test_direct_by_calls),       T(test_direct_by_ring),
		T(test_short_counts_by_calls), T(test_short_counts_by_ring),
		T(test_eintr_by_calls),        T(test_eintr_by_ring),
		T(test_errors_by_calls),       T(test_errors_by_ring),
		T(test_a_queue_of_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
