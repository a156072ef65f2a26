/* SPDX-License-Identifier: Apache-2.0 */
/* The block device from its driver's side, over a disk that finishes requests when
 * and how the test says. */
#include "devices/virtio/blk.h"
#include "tests/lib/fake_block.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM       (8 * MiB)
#define RING(i)   (0x10000ull + 0x10000ull * (i))
#define TABLE     0x80000ull
#define REQ(i)    (0x100000ull + 0x10000ull * (i)) /* header, then status, then data */
#define STATUS(i) (REQ(i) + 0x800)
#define DATA(i)   (REQ(i) + 0x1000)
#define DISK      (1 * MiB)
#define BASIC     VIRTIO_F_VERSION_1
#define ALL                                                                           \
	(BASIC | VIRTIO_F_INDIRECT_DESC | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_DISCARD | \
	 VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_CONFIG_WCE)

enum { SIZE = 256, QUEUES = 2, LIVE = 15, NEEDS_RESET = 64, UNTOUCHED = 0xee };

struct fixture {
	struct guest_mem gm;
	struct loop *loop;
	struct io_thread *thread;
	struct virtio_blk b;
	struct fake_block *disk;
	struct fake_transport t;
	struct virtq_driver d[QUEUES];
	bool destroyed;
};

static void make_with(struct fixture *f, struct loop *loop, bool read_only)
{
	const struct virtio_blk_options options = {"disk0", "serial-0123456789abcdef", QUEUES};

	f->disk = fake_block_create(DISK);
	f->disk->immediate = true;
	f->disk->destroyed = &f->destroyed;
	f->disk->block.read_only = read_only;
	for (uint64_t i = 0; i < DISK; i++)
		f->disk->data[i] = (uint8_t)(i / 512 * 3 + i % 251);
	assert_int_equal(virtio_blk_init(&f->b, &f->disk->block, &options, &f->gm, loop), 0);
	fake_transport_init(&f->t, &f->b.v);
	for (unsigned i = 0; i < QUEUES; i++)
		virtq_driver_init(&f->d[i], &f->gm, RING(i), SIZE);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_level(LOG_QUIET);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, RAM, -1, 0, NULL), 0);
	f->loop = loop_create();
	make_with(f, f->loop, false);
	*state = f;
	return 0;
}

static void unmake(struct fixture *f)
{
	if (!f->thread) {
		virtio_set_status(&f->b.v, 0);
		loop_settle(f->loop);
		if (fake_block_pending(f->disk))
			fake_block_complete_all(f->disk, 0);
		loop_settle(f->loop);
	}
	f->destroyed = false;
	virtio_blk_fini(&f->b);
	assert_true(f->destroyed);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unmake(f);
	io_thread_destroy(f->thread);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	free(f);
	return 0;
}

static void go(struct fixture *f, uint64_t features)
{
	virtio_driver_start(&f->b.v, features, f->d, QUEUES);
	if (!f->thread)
		loop_settle(f->loop);
}

static uint8_t *at(struct fixture *f, uint64_t gpa)
{
	uint8_t *p = guest_mem_hva(&f->gm, gpa, 1);

	assert_non_null(p);
	return p;
}

static void put_header(struct fixture *f, unsigned i, uint32_t type, uint64_t sector)
{
	uint8_t *h = at(f, REQ(i));

	le32_put(h, type);
	le32_put(h + 4, 0);
	le64_put(h + 8, sector);
	*at(f, STATUS(i)) = UNTOUCHED;
}

/* Request `i` (its header, data and status have a place of their own) in the usual
 * three descriptors, in queue 0. */
static void offer(struct fixture *f, unsigned i, uint32_t type, uint64_t sector, uint32_t len,
		  bool device_writes)
{
	const struct vd_buf bufs[] = {
		{REQ(i), 16, false}, {DATA(i), len, device_writes}, {STATUS(i), 1, true}};

	put_header(f, i, type, sector);
	virtq_driver_offer(&f->d[0], bufs, 3);
}

static void kick(struct fixture *f)
{
	virtio_kick(&f->b.v, 0);
	loop_settle(f->loop);
}

static uint8_t status(struct fixture *f, unsigned i)
{
	return __atomic_load_n(at(f, STATUS(i)), __ATOMIC_ACQUIRE);
}

/* One request from offer to answer: its status; *len is what the used ring says. */
static uint8_t run(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len,
		   bool device_writes, uint32_t *used_len)
{
	uint32_t id, got = 0;

	offer(f, 0, type, sector, len, device_writes);
	kick(f);
	assert_true(virtq_driver_take_used(&f->d[0], &id, &got));
	if (used_len)
		*used_len = got;
	return status(f, 0);
}

/* --- configuration ---------------------------------------------------------------- */

static void test_features_and_config(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->b.v;

	assert_int_equal(virtio_offered(v, 0), 1u << 2 | 1u << 6 | 1u << 9 | 1u << 11 | 1u << 12 |
						       1u << 13 | 1u << 14 | 1u << 28 | 1u << 29);
	/* Readable before FEATURES_OK. */
	assert_int_equal(virtio_config_read(v, 0, 8), DISK / 512);
	assert_int_equal(virtio_config_read(v, 4, 4), 0);
	assert_int_equal(virtio_config_read(v, 12, 4), 254);
	assert_int_equal(virtio_config_read(v, 20, 4), 512);
	assert_int_equal(virtio_config_read(v, 34, 2), QUEUES);
	assert_int_equal(virtio_config_read(v, 33, 1), 0);
	assert_true(virtio_config_read(v, 36, 4) > 0);
	assert_int_equal(virtio_config_read(v, 40, 4), 1);
	assert_int_equal(virtio_config_read(v, 44, 4), 8);
	assert_true(virtio_config_read(v, 48, 4) > 0);
	assert_int_equal(virtio_config_read(v, 52, 4), 1);
	assert_int_equal(virtio_config_read(v, 56, 4), 1); /* may unmap, and padding of zeroes */
	assert_int_equal(virtio_config_read(v, 60, 1), 0);
}

static void test_config_every_offset_and_size(void **state)
{
	struct fixture *f = *state;

	go(f, ALL);
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (unsigned off = 0; off < 80; off++) {
			uint64_t before = virtio_config_read(&f->b.v, off, size);

			if (off + size > VIRTIO_BLK_CFG_LEN)
				assert_int_equal(before, 0);
			virtio_config_write(&f->b.v, off, size, 0x5a5a5a5a5a5a5a5aull);
			assert_int_equal(virtio_config_read(&f->b.v, off, size), before);
		}
	}
}

static void test_read_only_offers_nothing_that_writes(void **state)
{
	struct fixture *f = *state;

	unmake(f);
	make_with(f, f->loop, true);
	assert_int_equal(virtio_offered(&f->b.v, 0),
			 1u << 2 | 1u << 5 | 1u << 6 | 1u << 9 | 1u << 12 | 1u << 28 | 1u << 29);
}

/* --- requests ------------------------------------------------------------------------ */

static void test_read(void **state)
{
	struct fixture *f = *state;
	uint32_t len;

	go(f, ALL);
	assert_int_equal(run(f, VIRTIO_BLK_T_IN, 5, 2048, true, &len), 0);
	assert_int_equal(len, 2049);
	assert_memory_equal(at(f, DATA(0)), f->disk->data + 5 * 512, 2048);
}

static void test_write(void **state)
{
	struct fixture *f = *state;
	uint32_t len;

	go(f, ALL);
	memset(at(f, DATA(0)), 0x42, 1024);
	assert_int_equal(run(f, VIRTIO_BLK_T_OUT, DISK / 512 - 2, 1024, false, &len), 0);
	assert_int_equal(len, 1);
	assert_memory_equal(f->disk->data + DISK - 1024, at(f, DATA(0)), 1024);
	assert_int_not_equal(f->disk->data[DISK - 1025], 0x42);
}

/* A header cut anywhere, data in odd pieces, the status byte alone or at the end
 * of the data's descriptor: all the same. */
static void test_any_framing(void **state)
{
	struct fixture *f = *state;
	uint32_t id, len;

	go(f, ALL);
	for (unsigned cut = 1; cut < 16; cut++) {
		for (int glued = 0; glued < 2; glued++) {
			for (int indirect = 0; indirect < 3; indirect++) {
				struct vd_buf read[] = {
					{REQ(0), cut, false},
					{REQ(0) + cut, 16 - cut, false},
					{DATA(0), 512 - cut, true},
					{DATA(0) + 512 - cut, cut + glued, true},
					{STATUS(0), 1, true},
				};
				unsigned n = glued ? 4 : 5;

				put_header(f, 0, VIRTIO_BLK_T_IN, cut);
				*at(f, DATA(0) + 512) = UNTOUCHED;
				memset(at(f, DATA(0)), 0, 512);
				virtq_driver_offer_indirect(&f->d[0], read, n,
							    indirect ? (unsigned)indirect - 1 : n,
							    TABLE, 0);
				kick(f);
				assert_true(virtq_driver_take_used(&f->d[0], &id, &len));
				assert_int_equal(len, 513);
				assert_memory_equal(at(f, DATA(0)), f->disk->data + cut * 512, 512);
				assert_int_equal(*at(f, glued ? DATA(0) + 512 : STATUS(0)), 0);
				assert_int_equal(*at(f, glued ? STATUS(0) : DATA(0) + 512),
						 UNTOUCHED);

				/* A write whose header and data share a descriptor. */
				struct vd_buf write[] = {
					{REQ(0), cut, false},
					{REQ(0) + cut, 16 - cut + 100, false},
					{REQ(0) + 16 + 100, 412, false},
					{STATUS(0), 1, true},
				};

				put_header(f, 0, VIRTIO_BLK_T_OUT, 7);
				memset(at(f, REQ(0) + 16), (int)(cut + 1), 512);
				virtq_driver_offer(&f->d[0], write, 4);
				kick(f);
				assert_true(virtq_driver_take_used(&f->d[0], &id, &len));
				assert_int_equal(status(f, 0), 0);
				assert_memory_equal(f->disk->data + 7 * 512, at(f, REQ(0) + 16),
						    512);
			}
		}
	}
	assert_int_equal(virtio_status(&f->b.v), LIVE);
}

static void test_largest_request(void **state)
{
	struct fixture *f = *state;
	struct vd_buf bufs[256] = {{REQ(0), 16, false}};

	for (unsigned i = 1; i < 255; i++)
		bufs[i] = (struct vd_buf){DATA(1) + 512 * i, 512, true};
	bufs[255] = (struct vd_buf){STATUS(0), 1, true};
	go(f, ALL);
	put_header(f, 0, VIRTIO_BLK_T_IN, 0);
	virtq_driver_offer_indirect(&f->d[0], bufs, 256, 0, TABLE, 0);
	kick(f);
	assert_int_equal(status(f, 0), 0);
	assert_memory_equal(at(f, DATA(1) + 512), f->disk->data, 254 * 512);
}

static void test_get_id(void **state)
{
	struct fixture *f = *state;
	uint32_t len;

	go(f, ALL);
	assert_int_equal(run(f, VIRTIO_BLK_T_GET_ID, 0, 20, true, &len), 0);
	assert_int_equal(len, 21);
	assert_memory_equal(at(f, DATA(0)), "serial-0123456789abc", 20);
	memset(at(f, DATA(0)), UNTOUCHED, 64);
	assert_int_equal(run(f, VIRTIO_BLK_T_GET_ID, 0, 5, true, &len), 0);
	assert_int_equal(*at(f, DATA(0) + 5), UNTOUCHED);
	assert_int_equal(run(f, VIRTIO_BLK_T_GET_ID, 0, 64, true, &len), 0);
	assert_int_equal(len, 20);
	assert_int_equal(*at(f, DATA(0) + 20), UNTOUCHED);
}

static void test_unknown_types(void **state)
{
	struct fixture *f = *state;
	const uint32_t types[] = {2, 3, 5, 7, 9, 10, 12, 14, 15, 16, 0x80000000u, 0xffffffffu};

	go(f, ALL);
	for (unsigned i = 0; i < ARRAY_LEN(types); i++)
		assert_int_equal(run(f, types[i], 0, 512, true, NULL), VIRTIO_BLK_S_UNSUPP);
}

static void test_outside_the_disk(void **state)
{
	struct fixture *f = *state;
	const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{DISK / 512, 512},
		{DISK / 512 - 1, 1024},
		{UINT64_MAX, 512},
		{UINT64_MAX - 1, 1024},
		{UINT64_MAX / 512, 512},
		{UINT64_MAX / 512 + 1, 512}, /* times 512 it wraps to 0 */
		{1ull << 55, 512},
		{0, 511},
		{0, 513},
		{0, 1},
	};
	uint8_t *before = malloc(DISK);
	uint32_t len;

	memcpy(before, f->disk->data, DISK);
	go(f, ALL);
	memset(at(f, DATA(0)), 0x77, 2048);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(run(f, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].len, false, &len),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(len, 1);
		assert_int_equal(run(f, VIRTIO_BLK_T_IN, bad[i].sector, bad[i].len, true, &len),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(len, 0); /* there is a gap of unwritten data before the status */
		assert_int_equal(*at(f, DATA(0)), 0x77);
	}
	assert_memory_equal(before, f->disk->data, DISK);
	assert_int_equal(f->disk->n_submitted[BLOCK_READ] + f->disk->n_submitted[BLOCK_WRITE], 0);
	free(before);
}

static void test_write_to_read_only(void **state)
{
	struct fixture *f = *state;

	unmake(f);
	make_with(f, f->loop, true);
	go(f, BASIC); /* a driver that does not know of RO */
	assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 0, 512, false, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false, NULL),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(f->disk->n_submitted[BLOCK_WRITE], 0);
	assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 512, true, NULL), 0);
}

static void needs_reset(struct fixture *f, const struct vd_buf *bufs, unsigned n)
{
	go(f, ALL);
	put_header(f, 0, VIRTIO_BLK_T_IN, 0);
	virtq_driver_offer(&f->d[0], bufs, n);
	kick(f);
	assert_int_equal(virtio_status(&f->b.v), LIVE | NEEDS_RESET);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 0);
	unmake(f);
	make_with(f, f->loop, false);
}

static void test_no_place_for_the_status(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf none[] = {{REQ(0), 16, false}, {DATA(0), 512, false}};
	const struct vd_buf short_header[] = {{REQ(0), 15, false}, {STATUS(0), 1, true}};
	const struct vd_buf no_header[] = {{DATA(0), 512, true}};
	const struct vd_buf empty[] = {{DATA(0), 0, true}};

	needs_reset(f, none, 2);
	needs_reset(f, short_header, 2);
	needs_reset(f, no_header, 1);
	needs_reset(f, empty, 1);
}

static uint8_t range(struct fixture *f, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
	uint8_t *p = at(f, DATA(0));

	le64_put(p, sector);
	le32_put(p + 8, n);
	le32_put(p + 12, flags);
	return run(f, type, 0, 16, false, NULL);
}

static void test_discard_and_write_zeroes(void **state)
{
	struct fixture *f = *state;
	const uint32_t d = VIRTIO_BLK_T_DISCARD, z = VIRTIO_BLK_T_WRITE_ZEROES;
	static const uint8_t zero[1024];

	go(f, ALL);
	assert_int_equal(range(f, z, 4, 2, 0), 0);
	assert_memory_equal(f->disk->data + 4 * 512, zero, 1024);
	assert_int_not_equal(f->disk->data[4 * 512 - 1], 0);
	assert_false(f->disk->last_unmap);
	assert_int_equal(range(f, z, 4, 2, 1), 0);
	assert_true(f->disk->last_unmap);
	assert_int_equal(range(f, d, 0, 8, 0), 0);
	assert_int_equal(f->disk->n_submitted[BLOCK_DISCARD], 1);
	assert_int_equal(f->disk->n_submitted[BLOCK_WRITE_ZEROES], 2);

	/* Unknown flags; for a discard, unmap too. */
	assert_int_equal(range(f, d, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range(f, d, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range(f, z, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range(f, z, 0, 8, 0x80000001u), VIRTIO_BLK_S_UNSUPP);
	/* Ranges. */
	for (int i = 0; i < 2; i++) {
		uint32_t type = i ? z : d;

		assert_int_equal(range(f, type, DISK / 512, 1, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(range(f, type, DISK / 512 - 1, 2, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(range(f, type, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(range(f, type, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(f, type, 0, 15, false, NULL), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(f, type, 0, 0, false, NULL), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(f, type, 0, 32, false, NULL), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(f->disk->n_submitted[BLOCK_DISCARD], 1);
	assert_int_equal(f->disk->n_submitted[BLOCK_WRITE_ZEROES], 2);
}

static void test_host_errors_are_ioerr(void **state)
{
	struct fixture *f = *state;
	const int errors[] = {-EIO, -ENOSPC, -EAGAIN, -EROFS};

	go(f, ALL);
	for (unsigned i = 0; i < ARRAY_LEN(errors); i++) {
		f->disk->result = errors[i];
		assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 512, true, NULL), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 0, 512, false, NULL), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(f, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), VIRTIO_BLK_S_IOERR);
	}
	f->disk->result = 0;
	assert_int_equal(run(f, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), 0);
	assert_int_equal(virtio_status(&f->b.v), LIVE);
}

/* --- the write cache ------------------------------------------------------------------- */

static bool write_is_stable(struct fixture *f)
{
	assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 0, 512, false, NULL), 0);
	return f->disk->last_stable;
}

static void again(struct fixture *f, uint64_t features)
{
	unmake(f);
	make_with(f, f->loop, false);
	go(f, features);
}

static void test_writes_are_stable_without_flush(void **state)
{
	struct fixture *f = *state;
	const uint64_t flush = VIRTIO_BLK_F_FLUSH, wce = VIRTIO_BLK_F_CONFIG_WCE;
	const unsigned off = VIRTIO_BLK_CFG_WRITEBACK;
	struct virtio *v = &f->b.v;

	again(f, BASIC | VIRTIO_BLK_F_WRITE_ZEROES);
	assert_true(write_is_stable(f));
	assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), 0);
	assert_true(f->disk->last_stable);
	virtio_config_write(v, off, 1, 1); /* not negotiated: ignored */
	assert_true(write_is_stable(f));

	again(f, BASIC | flush);
	assert_false(write_is_stable(f));
	virtio_config_write(v, off, 1, 0);
	assert_false(write_is_stable(f));

	again(f, BASIC | flush | wce);
	assert_int_equal(virtio_config_read(v, off, 1), 1);
	assert_false(write_is_stable(f));
	virtio_config_write(v, off, 1, 0);
	assert_int_equal(virtio_config_read(v, off, 1), 0);
	assert_true(write_is_stable(f));
	virtio_config_write(v, off, 1, 2);
	assert_int_equal(virtio_config_read(v, off, 1), 0);
	virtio_config_write(v, off, 1, 1);
	assert_false(write_is_stable(f));

	again(f, BASIC | wce); /* writeback begins as 0 */
	assert_int_equal(virtio_config_read(v, off, 1), 0);
	assert_true(write_is_stable(f));
	virtio_config_write(v, off, 1, 1);
	assert_false(write_is_stable(f));
	/* A reset forgets it. */
	virtio_set_status(v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_config_read(v, off, 1), 1);
}

/* --- asynchronous --------------------------------------------------------------------------- */

static void test_out_of_order_completion(void **state)
{
	struct fixture *f = *state;
	const unsigned order[] = {2, 0, 1, 0};
	const unsigned meaning[] = {2, 0, 3, 1}; /* requests in order of completion */
	uint32_t id, len;

	f->disk->immediate = false;
	go(f, ALL);
	for (unsigned i = 0; i < 4; i++)
		offer(f, i, VIRTIO_BLK_T_IN, i * 10, 512, true);
	kick(f);
	assert_int_equal(fake_block_pending(f->disk), 4);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 0);
	for (unsigned n = 0; n < 4; n++) {
		unsigned i = meaning[n];

		assert_int_equal(status(f, i), UNTOUCHED);
		fake_block_complete(f->disk, order[n], i == 3 ? -EIO : 0);
		assert_true(virtq_driver_take_used(&f->d[0], &id, &len));
		assert_int_equal(id, 3 * i);
		assert_int_equal(status(f, i), i == 3 ? VIRTIO_BLK_S_IOERR : 0);
		if (i != 3)
			assert_memory_equal(at(f, DATA(i)), f->disk->data + i * 5120, 512);
	}
	assert_int_equal(fake_transport_irqs(&f->t, 0), 4);
}

static void test_one_interrupt_for_a_batch(void **state)
{
	struct fixture *f = *state;

	f->disk->immediate = false;
	go(f, ALL);
	for (unsigned i = 0; i < 8; i++)
		offer(f, i, VIRTIO_BLK_T_IN, 0, 512, true);
	kick(f);
	fake_block_complete_all(f->disk, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 8);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 1);
}

static void test_full_queues_in_flight(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{REQ(0), 16, false}, {STATUS(0), 1, true}};
	size_t slots = f->b.slots;

	f->disk->immediate = false;
	go(f, ALL);
	put_header(f, 0, VIRTIO_BLK_T_FLUSH, 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned q = 0; q < QUEUES; q++) {
			for (unsigned i = 0; i < SIZE; i++)
				virtq_driver_offer_indirect(&f->d[q], bufs, 2, 0, TABLE, 0);
			virtio_kick(&f->b.v, q);
		}
		loop_settle(f->loop);
		assert_int_equal(fake_block_pending(f->disk), QUEUES * SIZE);
		fake_block_complete_all(f->disk, 0);
		/* The same memory each time. */
		assert_true(f->b.fresh <= slots);
	}
	assert_int_equal(virtq_driver_used_idx(&f->d[1]), 3 * SIZE);
	assert_int_equal(virtio_status(&f->b.v), LIVE);
}

static void test_reset_with_requests_in_flight(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->b.v;

	f->disk->immediate = false;
	go(f, ALL);
	offer(f, 0, VIRTIO_BLK_T_IN, 1, 512, true);
	offer(f, 1, VIRTIO_BLK_T_IN, 2, 512, true);
	kick(f);
	virtio_set_status(v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), LIVE);
	fake_block_complete(f->disk, 1, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), LIVE); /* one to go */
	fake_block_complete(f->disk, 0, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), 0);
	assert_int_equal(f->disk->attached, 0);
	/* And the disk works for the next driver. */
	for (unsigned i = 0; i < QUEUES; i++)
		virtq_driver_init(&f->d[i], &f->gm, RING(i), SIZE);
	f->disk->immediate = true;
	go(f, ALL);
	assert_int_equal(run(f, VIRTIO_BLK_T_IN, 3, 512, true, NULL), 0);
}

static void test_completion_after_needs_reset(void **state)
{
	struct fixture *f = *state;

	f->disk->immediate = false;
	go(f, ALL);
	offer(f, 0, VIRTIO_BLK_T_IN, 1, 512, true);
	kick(f);
	virtq_driver_set_avail_idx(&f->d[0], 5000);
	kick(f);
	assert_int_equal(virtio_status(&f->b.v), LIVE | NEEDS_RESET);
	fake_block_complete_all(f->disk, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 0);
	assert_int_equal(status(f, 0), UNTOUCHED);
	virtio_set_status(&f->b.v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->b.v), 0);
}

static void test_reads_are_logged_as_dirty(void **state)
{
	struct fixture *f = *state;
	static uint64_t bits[RAM / 4096 / 64];

	go(f, ALL);
	assert_int_equal(guest_mem_log_start(&f->gm), 0);
	assert_int_equal(run(f, VIRTIO_BLK_T_IN, 0, 8192, true, NULL), 0);
	assert_int_equal(guest_mem_log_fetch(&f->gm, 0, bits, ARRAY_LEN(bits)), 0);
	for (uint64_t gpa = DATA(0); gpa < DATA(0) + 8192; gpa += 4096)
		assert_true(bits[gpa / 4096 / 64] >> (gpa / 4096 % 64) & 1);
	assert_true(bits[STATUS(0) / 4096 / 64] >> (STATUS(0) / 4096 % 64) & 1);
	assert_false(bits[DATA(1) / 4096 / 64] >> (DATA(1) / 4096 % 64) & 1);
}

/* --- threads -----------------------------------------------------------------------------------
 */

static void use_thread(struct fixture *f)
{
	int err;

	unmake(f);
	f->thread = io_thread_create("disk0", &err);
	assert_non_null(f->thread);
	make_with(f, io_thread_loop(f->thread), false);
}

static void complete_all(void *arg)
{
	fake_block_complete_all(arg, 0);
}

static void wait_pending(struct fixture *f, unsigned n)
{
	for (int i = 0; i < 20000 && fake_block_pending(f->disk) != n; i++)
		usleep(500);
	assert_int_equal(fake_block_pending(f->disk), n);
}

/* The vCPU's side of a stalled disk: every register answers at once, a reset is
 * asked for and not waited for; when the disk comes back, so does the device. */
static void test_stalled_disk_holds_no_vcpu(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->b.v;

	use_thread(f);
	f->disk->immediate = false;
	go(f, ALL);
	offer(f, 0, VIRTIO_BLK_T_IN, 1, 512, true);
	virtio_kick(v, 0);
	wait_pending(f, 1);
	virtio_kick(v, 0);
	assert_int_equal(virtio_config_read(v, 0, 8), DISK / 512);
	assert_int_equal(virtio_pause(v, 10), -ETIMEDOUT);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_status(v), LIVE);
	assert_false(virtio_wait_reset(v, 10));
	assert_int_equal(loop_post(io_thread_loop(f->thread), complete_all, f->disk), 0);
	assert_true(virtio_wait_reset(v, 10000));
	assert_int_equal(virtio_status(v), 0);
}

static void test_no_write_after_the_reset(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->b.v;

	use_thread(f);
	f->disk->immediate = false;
	for (unsigned round = 0; round < 500; round++) {
		unsigned n = round % 7 + 1;

		virtq_driver_init(&f->d[0], &f->gm, RING(0), SIZE);
		virtio_driver_start(v, ALL, f->d, 1);
		for (unsigned i = 0; i < n; i++)
			offer(f, i, VIRTIO_BLK_T_IN, i, 4096, true);
		virtio_kick(v, 0);
		if (round % 2)
			wait_pending(f, n);
		virtio_set_status(v, 0);
		assert_int_equal(loop_post(io_thread_loop(f->thread), complete_all, f->disk), 0);
		while (!virtio_wait_reset(v, 20))
			assert_int_equal(
				loop_post(io_thread_loop(f->thread), complete_all, f->disk), 0);
		assert_int_equal(virtio_status(v), 0);
		assert_int_equal(fake_block_pending(f->disk), 0);
		/* Under TSan a late write is a race with this one. */
		for (unsigned i = 0; i < n; i++)
			memset(at(f, REQ(i)), 0x11, 0x2000);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(*at(f, DATA(i)), 0x11);
	}
}

struct mutator {
	struct fixture *f;
	bool stop;
};

/* Another vCPU that changes descriptors of requests while they are parsed. Data
 * stays away from rings and headers: those races would be the guest's own. */
static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint64_t *desc = guest_mem_hva(&m->f->gm, RING(0), 16 * SIZE);
	uint64_t x = 88172645463325252ull;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		unsigned i = (unsigned)(x >> 8) % 3;
		uint64_t flags = x >> 16 & 3;

		__atomic_store_n(&desc[2 * i], (i ? 0x400000 : REQ(0)) + (x >> 24 & 0xfffff),
				 __ATOMIC_RELAXED);
		__atomic_store_n(&desc[2 * i + 1],
				 (x >> 32 & 0x3ff) | flags << 32 | (uint64_t)((i + 1) % 3) << 48,
				 __ATOMIC_RELAXED);
	}
	return NULL;
}

static void test_descriptors_changed_while_parsed(void **state)
{
	struct fixture *f = *state;
	struct mutator m = {.f = f};
	pthread_t thread;

	use_thread(f);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	for (unsigned round = 0; round < 500; round++) {
		virtio_driver_start(&f->b.v, ALL, f->d, 1);
		for (int i = 0; i < 10; i++) {
			virtq_driver_avail(&f->d[0], 0);
			virtio_kick(&f->b.v, 0);
		}
		virtio_set_status(&f->b.v, 0);
		assert_true(virtio_wait_reset(&f->b.v, 10000));
		virtq_driver_set_avail_idx(&f->d[0], 0);
		uint16_t *used_idx = guest_mem_hva(&f->gm, f->d[0].used + 2, 2);

		__atomic_store_n(used_idx, 0, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

/* --- saved state
 * ---------------------------------------------------------------------------------- */

static void save(struct virtio_blk *b, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "disk0", 1);
	virtio_save(&b->v, w);
	state_section_end(w);
}

static int load(struct virtio_blk *b, const struct state_writer *w, struct err *e)
{
	struct state_reader r;

	state_reader_init(&r, w->data, w->len);
	assert_int_equal(state_section_open(&r, "disk0", e), 1);
	return virtio_load(&b->v, &r, e);
}

static void test_save_load_save(void **state)
{
	struct fixture *f = *state;
	struct state_writer w, twice;
	struct err e = {0};
	uint32_t id, len;

	use_thread(f);
	go(f, ALL);
	virtio_config_write(&f->b.v, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
	offer(f, 0, VIRTIO_BLK_T_OUT, 9, 512, false);
	virtio_kick(&f->b.v, 0);
	while (!virtq_driver_take_used(&f->d[0], &id, &len))
		usleep(100);
	assert_int_equal(virtio_pause(&f->b.v, 10000), 0);
	save(&f->b, &w);
	unmake(f);
	io_thread_destroy(f->thread);
	f->thread = NULL;

	struct virtq_driver before = f->d[0];
	uint8_t ring[0x3000];

	guest_mem_read(&f->gm, RING(0), ring, sizeof(ring));
	make_with(f, f->loop, false);
	guest_mem_write(&f->gm, RING(0), ring, sizeof(ring));
	f->d[0] = before;
	assert_int_equal(load(&f->b, &w, &e), 0);
	save(&f->b, &twice);
	assert_int_equal(twice.len, w.len);
	assert_memory_equal(twice.data, w.data, w.len);
	virtio_resume(&f->b.v);
	loop_settle(f->loop);
	assert_true(write_is_stable(f)); /* writeback 0 was kept */
	state_writer_fini(&twice);

	/* Another disk, or a mode there is not. */
	unmake(f);
	make_with(f, f->loop, false);
	f->disk->block.size -= 512;
	assert_int_equal(load(&f->b, &w, &e), -EINVAL);
	assert_non_null(strstr(e.text, "disk0"));
	f->disk->block.size += 512;
	virtio_set_status(&f->b.v, 0);
	w.data[w.len - 1] = 3;
	e = (struct err){0};
	assert_int_equal(load(&f->b, &w, &e), -EBADMSG);
	state_writer_fini(&w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_features_and_config),
		T(test_config_every_offset_and_size),
		T(test_read_only_offers_nothing_that_writes),
		T(test_read),
		T(test_write),
		T(test_any_framing),
		T(test_largest_request),
		T(test_get_id),
		T(test_unknown_types),
		T(test_outside_the_disk),
		T(test_write_to_read_only),
		T(test_no_place_for_the_status),
		T(test_discard_and_write_zeroes),
		T(test_host_errors_are_ioerr),
		T(test_writes_are_stable_without_flush),
		T(test_out_of_order_completion),
		T(test_one_interrupt_for_a_batch),
		T(test_full_queues_in_flight),
		T(test_reset_with_requests_in_flight),
		T(test_completion_after_needs_reset),
		T(test_reads_are_logged_as_dirty),
		T(test_stalled_disk_holds_no_vcpu),
		T(test_no_write_after_the_reset),
		T(test_descriptors_changed_while_parsed),
		T(test_save_load_save),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
