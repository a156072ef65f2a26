/* SPDX-License-Identifier: Apache-2.0 */
/* The block device from its driver's side: what it offers, each kind of request, its write cache.
 * Requests that take their time are test_blk_in_flight's. */
#include "tests/lib/blk_rig.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- configuration ---------------------------------------------------------------- */

static void test_features_and_config(void **state)
{
	struct blk_rig *f = *state;
	struct virtio *v = &f->b.v;

	assert_int_equal(virtio_offered(v, 0), 1u << 2 | 1u << 6 | 1u << 9 | 1u << 11 | 1u << 12 |
						       1u << 13 | 1u << 14 | 1u << 28 | 1u << 29);
	/* Readable before FEATURES_OK. */
	assert_int_equal(virtio_config_read(v, 0, 8), BR_DISK / 512);
	assert_int_equal(virtio_config_read(v, 4, 4), 0);
	assert_int_equal(virtio_config_read(v, 12, 4), 254);
	assert_int_equal(virtio_config_read(v, 20, 4), 512);
	assert_int_equal(virtio_config_read(v, 34, 2), BR_QUEUES);
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
	struct blk_rig *f = *state;

	br_go(f, BR_ALL);
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
	struct blk_rig *f = *state;

	br_unmake(f);
	br_make(f, f->loop, true);
	assert_int_equal(virtio_offered(&f->b.v, 0),
			 1u << 2 | 1u << 5 | 1u << 6 | 1u << 9 | 1u << 12 | 1u << 28 | 1u << 29);
}

/* --- requests ------------------------------------------------------------------------ */

static void test_read(void **state)
{
	struct blk_rig *f = *state;
	uint32_t len;

	br_go(f, BR_ALL);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_IN, 5, 2048, true, &len), 0);
	assert_int_equal(len, 2049);
	assert_memory_equal(br_at(f, BR_DATA(0)), f->disk->data + 5 * 512, 2048);
}

static void test_write(void **state)
{
	struct blk_rig *f = *state;
	uint32_t len;

	br_go(f, BR_ALL);
	memset(br_at(f, BR_DATA(0)), 0x42, 1024);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_OUT, BR_DISK / 512 - 2, 1024, false, &len), 0);
	assert_int_equal(len, 1);
	assert_memory_equal(f->disk->data + BR_DISK - 1024, br_at(f, BR_DATA(0)), 1024);
	assert_int_not_equal(f->disk->data[BR_DISK - 1025], 0x42);
}

/* A header cut anywhere, data in odd pieces, the status byte alone or at the end
 * of the data's descriptor: all the same. */
static void test_any_framing(void **state)
{
	struct blk_rig *f = *state;
	uint32_t id, len;

	br_go(f, BR_ALL);
	for (unsigned cut = 1; cut < 16; cut++) {
		for (int glued = 0; glued < 2; glued++) {
			for (int indirect = 0; indirect < 3; indirect++) {
				struct vd_buf read[] = {
					{BR_REQ(0), cut, false},
					{BR_REQ(0) + cut, 16 - cut, false},
					{BR_DATA(0), 512 - cut, true},
					{BR_DATA(0) + 512 - cut, cut + glued, true},
					{BR_STATUS(0), 1, true},
				};
				unsigned n = glued ? 4 : 5;

				br_put_header(f, 0, VIRTIO_BLK_T_IN, cut);
				*br_at(f, BR_DATA(0) + 512) = BR_UNTOUCHED;
				memset(br_at(f, BR_DATA(0)), 0, 512);
				virtq_driver_offer_indirect(&f->d[0], read, n,
							    indirect ? (unsigned)indirect - 1 : n,
							    BR_TABLE, 0);
				br_kick(f);
				assert_true(virtq_driver_take_used(&f->d[0], &id, &len));
				assert_int_equal(len, 513);
				assert_memory_equal(br_at(f, BR_DATA(0)), f->disk->data + cut * 512,
						    512);
				assert_int_equal(*br_at(f, glued ? BR_DATA(0) + 512 : BR_STATUS(0)),
						 0);
				assert_int_equal(*br_at(f, glued ? BR_STATUS(0) : BR_DATA(0) + 512),
						 BR_UNTOUCHED);

				/* A write whose header and data share a descriptor. */
				struct vd_buf write[] = {
					{BR_REQ(0), cut, false},
					{BR_REQ(0) + cut, 16 - cut + 100, false},
					{BR_REQ(0) + 16 + 100, 412, false},
					{BR_STATUS(0), 1, true},
				};

				br_put_header(f, 0, VIRTIO_BLK_T_OUT, 7);
				memset(br_at(f, BR_REQ(0) + 16), (int)(cut + 1), 512);
				virtq_driver_offer(&f->d[0], write, 4);
				br_kick(f);
				assert_true(virtq_driver_take_used(&f->d[0], &id, &len));
				assert_int_equal(br_status(f, 0), 0);
				assert_memory_equal(f->disk->data + 7 * 512,
						    br_at(f, BR_REQ(0) + 16), 512);
			}
		}
	}
	assert_int_equal(virtio_status(&f->b.v), BR_LIVE);
}

static void test_largest_request(void **state)
{
	struct blk_rig *f = *state;
	struct vd_buf bufs[256] = {{BR_REQ(0), 16, false}};

	for (unsigned i = 1; i < 255; i++)
		bufs[i] = (struct vd_buf){BR_DATA(1) + 512 * i, 512, true};
	bufs[255] = (struct vd_buf){BR_STATUS(0), 1, true};
	br_go(f, BR_ALL);
	br_put_header(f, 0, VIRTIO_BLK_T_IN, 0);
	virtq_driver_offer_indirect(&f->d[0], bufs, 256, 0, BR_TABLE, 0);
	br_kick(f);
	assert_int_equal(br_status(f, 0), 0);
	assert_memory_equal(br_at(f, BR_DATA(1) + 512), f->disk->data, 254 * 512);
}

static void test_get_id(void **state)
{
	struct blk_rig *f = *state;
	uint32_t len;

	br_go(f, BR_ALL);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_GET_ID, 0, 20, true, &len), 0);
	assert_int_equal(len, 21);
	assert_memory_equal(br_at(f, BR_DATA(0)), "serial-0123456789abc", 20);
	memset(br_at(f, BR_DATA(0)), BR_UNTOUCHED, 64);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_GET_ID, 0, 5, true, &len), 0);
	assert_int_equal(*br_at(f, BR_DATA(0) + 5), BR_UNTOUCHED);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_GET_ID, 0, 64, true, &len), 0);
	assert_int_equal(len, 20);
	assert_int_equal(*br_at(f, BR_DATA(0) + 20), BR_UNTOUCHED);
}

static void test_unknown_types(void **state)
{
	struct blk_rig *f = *state;
	const uint32_t types[] = {2, 3, 5, 7, 9, 10, 12, 14, 15, 16, 0x80000000u, 0xffffffffu};

	br_go(f, BR_ALL);
	for (unsigned i = 0; i < ARRAY_LEN(types); i++)
		assert_int_equal(br_run(f, types[i], 0, 512, true, NULL), VIRTIO_BLK_S_UNSUPP);
}

static void test_outside_the_disk(void **state)
{
	struct blk_rig *f = *state;
	const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{BR_DISK / 512, 512},
		{BR_DISK / 512 - 1, 1024},
		{UINT64_MAX, 512},
		{UINT64_MAX - 1, 1024},
		{UINT64_MAX / 512, 512},
		{UINT64_MAX / 512 + 1, 512}, /* times 512 it wraps to 0 */
		{1ull << 55, 512},
		{0, 511},
		{0, 513},
		{0, 1},
	};
	uint8_t *before = malloc(BR_DISK);
	uint32_t len;

	memcpy(before, f->disk->data, BR_DISK);
	br_go(f, BR_ALL);
	memset(br_at(f, BR_DATA(0)), 0x77, 2048);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(
			br_run(f, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].len, false, &len),
			VIRTIO_BLK_S_IOERR);
		assert_int_equal(len, 1);
		assert_int_equal(br_run(f, VIRTIO_BLK_T_IN, bad[i].sector, bad[i].len, true, &len),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(len, 0); /* there is a gap of unwritten data before the status */
		assert_int_equal(*br_at(f, BR_DATA(0)), 0x77);
	}
	assert_memory_equal(before, f->disk->data, BR_DISK);
	assert_int_equal(f->disk->n_submitted[BLOCK_READ] + f->disk->n_submitted[BLOCK_WRITE], 0);
	free(before);
}

static void test_write_to_read_only(void **state)
{
	struct blk_rig *f = *state;

	br_unmake(f);
	br_make(f, f->loop, true);
	br_go(f, BR_BASIC); /* a driver that does not know of RO */
	assert_int_equal(br_run(f, VIRTIO_BLK_T_OUT, 0, 512, false, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false, NULL),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(f->disk->n_submitted[BLOCK_WRITE], 0);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_IN, 0, 512, true, NULL), 0);
}

static void needs_reset(struct blk_rig *f, const struct vd_buf *bufs, unsigned n)
{
	br_go(f, BR_ALL);
	br_put_header(f, 0, VIRTIO_BLK_T_IN, 0);
	virtq_driver_offer(&f->d[0], bufs, n);
	br_kick(f);
	assert_int_equal(virtio_status(&f->b.v), BR_LIVE | BR_NEEDS_RESET);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 0);
	br_unmake(f);
	br_make(f, f->loop, false);
}

static void test_no_place_for_the_status(void **state)
{
	struct blk_rig *f = *state;
	const struct vd_buf none[] = {{BR_REQ(0), 16, false}, {BR_DATA(0), 512, false}};
	const struct vd_buf short_header[] = {{BR_REQ(0), 15, false}, {BR_STATUS(0), 1, true}};
	const struct vd_buf no_header[] = {{BR_DATA(0), 512, true}};
	const struct vd_buf empty[] = {{BR_DATA(0), 0, true}};

	needs_reset(f, none, 2);
	needs_reset(f, short_header, 2);
	needs_reset(f, no_header, 1);
	needs_reset(f, empty, 1);
}

static void test_discard_and_write_zeroes(void **state)
{
	struct blk_rig *f = *state;
	const uint32_t d = VIRTIO_BLK_T_DISCARD, z = VIRTIO_BLK_T_WRITE_ZEROES;
	static const uint8_t zero[1024];

	br_go(f, BR_ALL);
	assert_int_equal(br_range(f, z, 4, 2, 0), 0);
	assert_memory_equal(f->disk->data + 4 * 512, zero, 1024);
	assert_int_not_equal(f->disk->data[4 * 512 - 1], 0);
	assert_false(f->disk->last_unmap);
	assert_int_equal(br_range(f, z, 4, 2, 1), 0);
	assert_true(f->disk->last_unmap);
	assert_int_equal(br_range(f, d, 0, 8, 0), 0);
	assert_int_equal(f->disk->n_submitted[BLOCK_DISCARD], 1);
	assert_int_equal(f->disk->n_submitted[BLOCK_WRITE_ZEROES], 2);

	/* Unknown flags; for a discard, unmap too. */
	assert_int_equal(br_range(f, d, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(br_range(f, d, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(br_range(f, z, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(br_range(f, z, 0, 8, 0x80000001u), VIRTIO_BLK_S_UNSUPP);
	/* Ranges. */
	for (int i = 0; i < 2; i++) {
		uint32_t type = i ? z : d;

		assert_int_equal(br_range(f, type, BR_DISK / 512, 1, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(br_range(f, type, BR_DISK / 512 - 1, 2, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(br_range(f, type, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(br_range(f, type, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(br_run(f, type, 0, 15, false, NULL), VIRTIO_BLK_S_IOERR);
		assert_int_equal(br_run(f, type, 0, 0, false, NULL), VIRTIO_BLK_S_IOERR);
		assert_int_equal(br_run(f, type, 0, 32, false, NULL), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(f->disk->n_submitted[BLOCK_DISCARD], 1);
	assert_int_equal(f->disk->n_submitted[BLOCK_WRITE_ZEROES], 2);
}

static void test_host_errors_are_ioerr(void **state)
{
	struct blk_rig *f = *state;
	const int errors[] = {-EIO, -ENOSPC, -EAGAIN, -EROFS};

	br_go(f, BR_ALL);
	for (unsigned i = 0; i < ARRAY_LEN(errors); i++) {
		f->disk->result = errors[i];
		assert_int_equal(br_run(f, VIRTIO_BLK_T_IN, 0, 512, true, NULL),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(br_run(f, VIRTIO_BLK_T_OUT, 0, 512, false, NULL),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(br_run(f, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL),
				 VIRTIO_BLK_S_IOERR);
	}
	f->disk->result = 0;
	assert_int_equal(br_run(f, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), 0);
	assert_int_equal(virtio_status(&f->b.v), BR_LIVE);
}

/* --- the write cache ------------------------------------------------------------------- */

static void again(struct blk_rig *f, uint64_t features)
{
	br_unmake(f);
	br_make(f, f->loop, false);
	br_go(f, features);
}

static void test_writes_are_stable_without_flush(void **state)
{
	struct blk_rig *f = *state;
	const uint64_t flush = VIRTIO_BLK_F_FLUSH, wce = VIRTIO_BLK_F_CONFIG_WCE;
	const unsigned off = VIRTIO_BLK_CFG_WRITEBACK;
	struct virtio *v = &f->b.v;

	again(f, BR_BASIC | VIRTIO_BLK_F_WRITE_ZEROES);
	assert_true(br_write_is_stable(f));
	assert_int_equal(br_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), 0);
	assert_true(f->disk->last_stable);
	virtio_config_write(v, off, 1, 1); /* not negotiated: ignored */
	assert_true(br_write_is_stable(f));

	again(f, BR_BASIC | flush);
	assert_false(br_write_is_stable(f));
	virtio_config_write(v, off, 1, 0);
	assert_false(br_write_is_stable(f));

	again(f, BR_BASIC | flush | wce);
	assert_int_equal(virtio_config_read(v, off, 1), 1);
	assert_false(br_write_is_stable(f));
	virtio_config_write(v, off, 1, 0);
	assert_int_equal(virtio_config_read(v, off, 1), 0);
	assert_true(br_write_is_stable(f));
	virtio_config_write(v, off, 1, 2);
	assert_int_equal(virtio_config_read(v, off, 1), 0);
	virtio_config_write(v, off, 1, 1);
	assert_false(br_write_is_stable(f));

	again(f, BR_BASIC | wce); /* writeback begins as 0 */
	assert_int_equal(virtio_config_read(v, off, 1), 0);
	assert_true(br_write_is_stable(f));
	virtio_config_write(v, off, 1, 1);
	assert_false(br_write_is_stable(f));
	/* A reset forgets it. */
	virtio_set_status(v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_config_read(v, off, 1), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, br_setup, br_teardown)
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
