/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device served by several threads, each with a way of its own to the same file: what
 * is written by one queue is read by another one, a flush in one is of all that any has
 * written, and a pause or reset in the middle of it finds every thread.
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
	QUEUES = 4,
	QUEUE_SIZE = 64,
	REQS = 16,    /* of a queue, at a time: three descriptors each */
	BLOCK = 4096, /* of the disk, for each */
	DISK = QUEUES * REQS * BLOCK,
	RAM = 4 * MiB,
	RINGS = 0x10000, /* 64 KiB each */
	HEADERS = 0x80000,
	STATUSES = 0x90000,
	DATA = 0x100000,
	UNTOUCHED = 0xee,
};

struct fixture {
	struct scratch dir;
	char path[160];
	int fd; /* the disk, beside the device */
	struct guest_mem gm;
	struct io_thread *threads[QUEUES];
	struct virtio_blk b;
	struct fake_transport t;
	struct virtq_driver d[QUEUES];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int ret;

	log_set_level(LOG_QUIET);
	scratch_init(&f->dir);
	snprintf(f->path, sizeof(f->path), "%s", scratch_path(&f->dir, "disk"));
	f->fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, DISK), 0);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, RAM, -1, 0, NULL), 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		f->threads[i] = io_thread_create("disk0", &ret);
		assert_non_null(f->threads[i]);
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->b.n_lanes)
		virtio_blk_fini(&f->b);
	for (unsigned i = 0; i < QUEUES; i++)
		io_thread_destroy(f->threads[i]);
	guest_mem_fini(&f->gm);
	close(f->fd);
	scratch_fini(&f->dir);
	free(f);
	return 0;
}

static void plug(struct fixture *f, unsigned n_threads, bool direct)
{
	const struct virtio_blk_options options = {.name = "disk0", .n_queues = QUEUES};
	struct virtio_blk_host ways[QUEUES];
	struct err e = {0};

	for (unsigned i = 0; i < n_threads; i++) {
		ways[i].loop = io_thread_loop(f->threads[i]);
		assert_int_equal(i ? block_raw_again(&ways[i].backend, ways[0].backend, f->path, &e)
				   : block_raw_open(&ways[i].backend, f->path, false, direct, &e),
				 0);
	}
	assert_int_equal(virtio_blk_init(&f->b, &options, &f->gm, ways, n_threads), 0);
	fake_transport_init(&f->t, &f->b.v);
}

static void go(struct fixture *f)
{
	for (unsigned q = 0; q < QUEUES; q++)
		virtq_driver_init(&f->d[q], &f->gm, RINGS + 0x10000ull * q, QUEUE_SIZE);
	virtio_driver_start(&f->b.v, VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_MQ,
			    f->d, QUEUES);
}

static uint8_t *at(struct fixture *f, uint64_t gpa)
{
	return guest_mem_hva(&f->gm, gpa, 1);
}

/* --- requests ------------------------------------------------------------------------------- */

static uint64_t data_of(unsigned n)
{
	return DATA + (uint64_t)n * BLOCK;
}

/* Request `n` of the whole, 0 to QUEUES * REQS - 1: of block n of the disk, in queue `q`. */
static void offer(struct fixture *f, unsigned q, unsigned n, uint32_t type)
{
	const struct vd_buf bufs[] = {
		{HEADERS + 16ull * n, 16, false},
		{data_of(n), BLOCK, type == VIRTIO_BLK_T_IN},
		{STATUSES + n, 1, true},
	};
	const struct vd_buf flush[] = {bufs[0], bufs[2]};
	uint8_t *h = at(f, HEADERS + 16ull * n);

	le32_put(h, type);
	le32_put(h + 4, 0);
	le64_put(h + 8, (uint64_t)n * BLOCK / 512);
	*at(f, STATUSES + n) = UNTOUCHED;
	if (type == VIRTIO_BLK_T_FLUSH)
		virtq_driver_offer(&f->d[q], flush, 2);
	else
		virtq_driver_offer(&f->d[q], bufs, 3);
}

/* The requests of each queue, which are of the blocks that queue q + shift has written. */
static void offer_all(struct fixture *f, uint32_t type, unsigned shift)
{
	for (unsigned q = 0; q < QUEUES; q++) {
		for (unsigned i = 0; i < REQS; i++)
			offer(f, q, (q + shift) % QUEUES * REQS + i, type);
		virtio_kick(&f->b.v, q);
	}
}

static void wait_all(struct fixture *f)
{
	for (unsigned q = 0; q < QUEUES; q++) {
		unsigned done = 0;
		uint32_t id, len;

		for (unsigned ms = 0; ms < 20000 && done < REQS; ms++) {
			while (virtq_driver_take_used(&f->d[q], &id, &len))
				done++;
			usleep(done < REQS ? 1000 : 0);
		}
		assert_int_equal(done, REQS);
	}
	for (unsigned n = 0; n < QUEUES * REQS; n++)
		assert_int_equal(__atomic_load_n(at(f, STATUSES + n), __ATOMIC_ACQUIRE),
				 VIRTIO_BLK_S_OK);
}

/* What block n holds after round `round`. */
static uint8_t byte_of(unsigned n, unsigned round)
{
	return (uint8_t)(n * 7 + round * 31 + 1);
}

static void fill(struct fixture *f, unsigned round)
{
	for (unsigned n = 0; n < QUEUES * REQS; n++)
		memset(at(f, data_of(n)), byte_of(n, round), BLOCK);
}

static void check(struct fixture *f, unsigned round)
{
	for (unsigned n = 0; n < QUEUES * REQS; n++) {
		const uint8_t *p = at(f, data_of(n));

		for (unsigned i = 0; i < BLOCK; i += 511)
			assert_int_equal(p[i], byte_of(n, round));
	}
}

static void check_file(struct fixture *f, unsigned round)
{
	uint8_t block[BLOCK];

	for (unsigned n = 0; n < QUEUES * REQS; n++) {
		assert_int_equal(pread(f->fd, block, BLOCK, (off_t)n * BLOCK), BLOCK);
		assert_int_equal(block[0], byte_of(n, round));
		assert_int_equal(block[BLOCK - 1], byte_of(n, round));
	}
}

/* --- the ways ----------------------------------------------------------------------------------
 */

static int fd_of(struct block *disk)
{
	return container_of(disk, struct block_raw, block)->fd;
}

static struct block *open_again(struct fixture *f, bool read_only, bool direct,
				struct block **first)
{
	struct block *second;
	struct err e = {0};

	assert_int_equal(block_raw_open(first, f->path, read_only, direct, &e), 0);
	assert_int_equal(block_raw_again(&second, *first, f->path, &e), 0);
	assert_int_equal(second->size, DISK);
	assert_int_equal(second->discard_align, (*first)->discard_align);
	assert_int_equal(second->read_only, read_only);
	assert_true(fcntl(fd_of(second), F_GETFD) & FD_CLOEXEC);
	return second;
}

/* The kernel tells each open file what became of its writes. */
static void each_way_is_an_open_file_of_its_own(void **state)
{
	struct fixture *f = *state;
	struct block *first, *second = open_again(f, false, false, &first);
	struct err e = {0};

	assert_int_equal(lseek(fd_of(first), 512, SEEK_SET), 512);
	assert_int_equal(lseek(fd_of(second), 0, SEEK_CUR), 0);
	/* The lock is the first's, and still held when the second has gone. */
	block_destroy(second);
	assert_int_equal(block_raw_open(&second, f->path, false, false, &e), -EBUSY);
	block_destroy(first);

	second = open_again(f, true, false, &first);
	assert_int_equal(fcntl(fd_of(second), F_GETFL) & O_ACCMODE, O_RDONLY);
	block_destroy(second);
	block_destroy(first);

	if (!scratch_is_direct(f->path))
		return;
	second = open_again(f, false, true, &first);
	assert_true(fcntl(fd_of(second), F_GETFL) & O_DIRECT);
	block_destroy(second);
	block_destroy(first);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void every_number(struct fixture *f, bool direct)
{
	if (direct && !scratch_is_direct(f->path))
		return;
	for (unsigned n = 1; n <= QUEUES; n++) {
		plug(f, n, direct);
		go(f);
		for (unsigned round = 0; round < 8; round++) {
			fill(f, round);
			offer_all(f, VIRTIO_BLK_T_OUT, 0);
			wait_all(f);
			memset(at(f, DATA), 0, DISK);
			offer_all(f, VIRTIO_BLK_T_IN, 1 + round);
			wait_all(f);
			check(f, round);
			offer_all(f, VIRTIO_BLK_T_FLUSH, round);
			wait_all(f);
		}
		virtio_blk_fini(&f->b);
		check_file(f, 7);
	}
}

static void through_the_page_cache(void **state)
{
	every_number(*state, false);
}

static void past_it(void **state)
{
	every_number(*state, true);
}

/* Nothing is lost, and nothing moves while it stands. */
static void a_pause_in_the_middle(void **state)
{
	struct fixture *f = *state;

	plug(f, 3, false);
	go(f);
	for (unsigned round = 0; round < 50; round++) {
		uint16_t used[QUEUES];

		fill(f, round);
		offer_all(f, VIRTIO_BLK_T_OUT, 0);
		assert_int_equal(virtio_pause(&f->b.v, 20000), 0);
		for (unsigned q = 0; q < QUEUES; q++)
			used[q] = virtq_driver_used_idx(&f->d[q]);
		usleep(round % 8 ? 0 : 2000);
		for (unsigned q = 0; q < QUEUES; q++)
			assert_int_equal(virtq_driver_used_idx(&f->d[q]), used[q]);
		virtio_resume(&f->b.v);
		wait_all(f);
		check_file(f, round);
	}
}

/* After it, no thread has anything of the queues: they are laid anew, in the same place. */
static void a_reset_in_the_middle(void **state)
{
	struct fixture *f = *state;

	plug(f, QUEUES, false);
	for (unsigned round = 0; round < 50; round++) {
		go(f);
		fill(f, round);
		offer_all(f, VIRTIO_BLK_T_OUT, round);
		virtio_set_status(&f->b.v, 0);
		assert_true(virtio_wait_reset(&f->b.v, 20000));
		go(f);
		fill(f, round + 1);
		offer_all(f, VIRTIO_BLK_T_OUT, 0);
		wait_all(f);
		check_file(f, round + 1);
		virtio_set_status(&f->b.v, 0);
		assert_true(virtio_wait_reset(&f->b.v, 20000));
	}
}

/* A driver that breaks the rules in one queue has no device any more, in none. */
static void a_failure_in_one_queue(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf no_status = {HEADERS, 16, false};

	plug(f, QUEUES, false);
	go(f);
	offer_all(f, VIRTIO_BLK_T_OUT, 0);
	virtq_driver_offer(&f->d[2], &no_status, 1);
	virtio_kick(&f->b.v, 2);
	for (unsigned ms = 0; ms < 20000 && !(virtio_status(&f->b.v) & VIRTIO_STATUS_NEEDS_RESET);
	     ms++)
		usleep(1000);
	assert_true(virtio_status(&f->b.v) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
	virtio_set_status(&f->b.v, 0);
	assert_true(virtio_wait_reset(&f->b.v, 20000));
	go(f);
	offer_all(f, VIRTIO_BLK_T_IN, 0);
	wait_all(f);
}

/* Capacity, read in two halves and again until nothing has changed [virtio 1.3 2.5.1]. */
static uint64_t capacity(struct fixture *f)
{
	uint8_t generation;
	uint64_t low, high;

	do {
		generation = virtio_config_generation(&f->b.v);
		low = virtio_config_read(&f->b.v, VIRTIO_BLK_CFG_CAPACITY, 4);
		high = virtio_config_read(&f->b.v, VIRTIO_BLK_CFG_CAPACITY + 4, 4);
	} while (generation != virtio_config_generation(&f->b.v));
	return high << 32 | low;
}

/* The first sector of the disk's last block, read by each queue in turn: their answers. */
static void read_the_end(struct fixture *f, uint64_t size, uint8_t want)
{
	uint32_t id, len;

	for (unsigned q = 0; q < QUEUES; q++) {
		const struct vd_buf bufs[] = {
			{HEADERS, 16, false}, {DATA, 512, true}, {STATUSES, 1, true}};

		le32_put(at(f, HEADERS), VIRTIO_BLK_T_IN);
		le64_put(at(f, HEADERS + 8), size / 512 - 1);
		virtq_driver_offer(&f->d[q], bufs, 3);
		virtio_kick(&f->b.v, q);
		for (unsigned ms = 0; !virtq_driver_take_used(&f->d[q], &id, &len); ms++) {
			assert_true(ms < 20000);
			usleep(1000);
		}
		assert_int_equal(__atomic_load_n(at(f, STATUSES), __ATOMIC_ACQUIRE), want);
	}
}

/* Under load, again and again; each thread knows of it when the driver does. */
static void growing_in_the_middle(void **state)
{
	struct fixture *f = *state;
	uint64_t size = DISK;
	struct err e = {0};

	plug(f, 3, false);
	assert_int_equal(virtio_blk_resize(&f->b, size + BLOCK, &e), 0); /* nobody to tell yet */
	assert_int_equal(fake_transport_config_irqs(&f->t), 0);
	size += BLOCK;
	go(f);
	assert_int_equal(capacity(f), size / 512);
	for (unsigned round = 0; round < 30; round++) {
		uint8_t generation = virtio_config_generation(&f->b.v);

		read_the_end(f, size + BLOCK, VIRTIO_BLK_S_IOERR);
		fill(f, round);
		offer_all(f, VIRTIO_BLK_T_OUT, 0);
		size += BLOCK;
		if (round % 2)
			assert_int_equal(ftruncate(f->fd, (off_t)size), 0);
		assert_int_equal(virtio_blk_resize(&f->b, round % 2 ? 0 : size, &e), 0);
		assert_int_equal(fake_transport_config_irqs(&f->t), round + 1);
		assert_true(virtio_config_generation(&f->b.v) != generation);
		assert_int_equal(capacity(f), size / 512);
		wait_all(f);
		read_the_end(f, size, VIRTIO_BLK_S_OK);
		check_file(f, round);
	}
	/* Nothing new is nothing to tell. */
	assert_int_equal(virtio_blk_resize(&f->b, 0, &e), 0);
	assert_int_equal(virtio_blk_resize(&f->b, size, &e), 0);
	assert_int_equal(virtio_blk_resize(&f->b, size - BLOCK, &e), -EINVAL);
	assert_int_equal(fake_transport_config_irqs(&f->t), 30);
	assert_int_equal(virtio_blk_size(&f->b), size);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_way_is_an_open_file_of_its_own),
		T(through_the_page_cache),
		T(past_it),
		T(a_pause_in_the_middle),
		T(a_reset_in_the_middle),
		T(a_failure_in_one_queue),
		T(growing_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
