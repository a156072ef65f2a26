/* SPDX-License-Identifier: Apache-2.0 */
/* The block device while requests are in flight: they finish when and how the test says, a reset or
 * another thread comes between, and its state is saved and loaded. */
#include "tests/lib/blk_rig.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* --- asynchronous --------------------------------------------------------------------------- */

static void test_out_of_order_completion(void **state)
{
	struct blk_rig *f = *state;
	const unsigned order[] = {2, 0, 1, 0};
	const unsigned meaning[] = {2, 0, 3, 1}; /* requests in order of completion */
	uint32_t id, len;

	f->disk->immediate = false;
	br_go(f, BR_ALL);
	for (unsigned i = 0; i < 4; i++)
		br_offer(f, i, VIRTIO_BLK_T_IN, i * 10, 512, true);
	br_kick(f);
	assert_int_equal(fake_block_pending(f->disk), 4);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 0);
	for (unsigned n = 0; n < 4; n++) {
		unsigned i = meaning[n];

		assert_int_equal(br_status(f, i), BR_UNTOUCHED);
		fake_block_complete(f->disk, order[n], i == 3 ? -EIO : 0);
		assert_true(virtq_driver_take_used(&f->d[0], &id, &len));
		assert_int_equal(id, 3 * i);
		assert_int_equal(br_status(f, i), i == 3 ? VIRTIO_BLK_S_IOERR : 0);
		if (i != 3)
			assert_memory_equal(br_at(f, BR_DATA(i)), f->disk->data + i * 5120, 512);
	}
	assert_int_equal(fake_transport_irqs(&f->t, 0), 4);
}

static void test_one_interrupt_for_a_batch(void **state)
{
	struct blk_rig *f = *state;

	f->disk->immediate = false;
	br_go(f, BR_ALL);
	for (unsigned i = 0; i < 8; i++)
		br_offer(f, i, VIRTIO_BLK_T_IN, 0, 512, true);
	br_kick(f);
	fake_block_complete_all(f->disk, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 8);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 1);
}

static void test_full_queues_in_flight(void **state)
{
	struct blk_rig *f = *state;
	const struct vd_buf bufs[] = {{BR_REQ(0), 16, false}, {BR_STATUS(0), 1, true}};
	size_t slots = f->b.lanes[0].slots;

	f->disk->immediate = false;
	br_go(f, BR_ALL);
	br_put_header(f, 0, VIRTIO_BLK_T_FLUSH, 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned q = 0; q < BR_QUEUES; q++) {
			for (unsigned i = 0; i < BR_SIZE; i++)
				virtq_driver_offer_indirect(&f->d[q], bufs, 2, 0, BR_TABLE, 0);
			virtio_kick(&f->b.v, q);
		}
		loop_settle(f->loop);
		assert_int_equal(fake_block_pending(f->disk), BR_QUEUES * BR_SIZE);
		fake_block_complete_all(f->disk, 0);
		/* The same memory each time. */
		assert_true(f->b.lanes[0].fresh <= slots);
	}
	assert_int_equal(virtq_driver_used_idx(&f->d[1]), 3 * BR_SIZE);
	assert_int_equal(virtio_status(&f->b.v), BR_LIVE);
}

static void test_reset_with_requests_in_flight(void **state)
{
	struct blk_rig *f = *state;
	struct virtio *v = &f->b.v;

	f->disk->immediate = false;
	br_go(f, BR_ALL);
	br_offer(f, 0, VIRTIO_BLK_T_IN, 1, 512, true);
	br_offer(f, 1, VIRTIO_BLK_T_IN, 2, 512, true);
	br_kick(f);
	virtio_set_status(v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), BR_LIVE);
	fake_block_complete(f->disk, 1, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), BR_LIVE); /* one to go */
	fake_block_complete(f->disk, 0, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), 0);
	assert_int_equal(f->disk->attached, 0);
	/* And the disk works for the next driver. */
	for (unsigned i = 0; i < BR_QUEUES; i++)
		virtq_driver_init(&f->d[i], &f->gm, BR_RING(i), BR_SIZE);
	f->disk->immediate = true;
	br_go(f, BR_ALL);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_IN, 3, 512, true, NULL), 0);
}

static void test_completion_after_needs_reset(void **state)
{
	struct blk_rig *f = *state;

	f->disk->immediate = false;
	br_go(f, BR_ALL);
	br_offer(f, 0, VIRTIO_BLK_T_IN, 1, 512, true);
	br_kick(f);
	virtq_driver_set_avail_idx(&f->d[0], 5000);
	br_kick(f);
	assert_int_equal(virtio_status(&f->b.v), BR_LIVE | BR_NEEDS_RESET);
	fake_block_complete_all(f->disk, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 0);
	assert_int_equal(br_status(f, 0), BR_UNTOUCHED);
	virtio_set_status(&f->b.v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->b.v), 0);
}

static void test_reads_are_logged_as_dirty(void **state)
{
	struct blk_rig *f = *state;
	static uint64_t bits[BR_RAM / 4096 / 64];

	br_go(f, BR_ALL);
	assert_int_equal(guest_mem_log_start(&f->gm), 0);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_IN, 0, 8192, true, NULL), 0);
	assert_int_equal(guest_mem_log_fetch(&f->gm, 0, bits, ARRAY_LEN(bits)), 0);
	for (uint64_t gpa = BR_DATA(0); gpa < BR_DATA(0) + 8192; gpa += 4096)
		assert_true(bits[gpa / 4096 / 64] >> (gpa / 4096 % 64) & 1);
	assert_true(bits[BR_STATUS(0) / 4096 / 64] >> (BR_STATUS(0) / 4096 % 64) & 1);
	assert_false(bits[BR_DATA(1) / 4096 / 64] >> (BR_DATA(1) / 4096 % 64) & 1);
}

/* --- threads -----------------------------------------------------------------------------------
 */

static void use_thread(struct blk_rig *f)
{
	int err;

	br_unmake(f);
	f->thread = io_thread_create("disk0", &err);
	assert_non_null(f->thread);
	br_make(f, io_thread_loop(f->thread), false);
}

static void complete_all(void *arg)
{
	fake_block_complete_all(arg, 0);
}

static void wait_pending(struct blk_rig *f, unsigned n)
{
	for (int i = 0; i < 20000 && fake_block_pending(f->disk) != n; i++)
		usleep(500);
	assert_int_equal(fake_block_pending(f->disk), n);
}

/* The vCPU's side of a stalled disk: every register answers at once, a reset is
 * asked for and not waited for; when the disk comes back, so does the device. */
static void test_stalled_disk_holds_no_vcpu(void **state)
{
	struct blk_rig *f = *state;
	struct virtio *v = &f->b.v;

	use_thread(f);
	f->disk->immediate = false;
	br_go(f, BR_ALL);
	br_offer(f, 0, VIRTIO_BLK_T_IN, 1, 512, true);
	virtio_kick(v, 0);
	wait_pending(f, 1);
	virtio_kick(v, 0);
	assert_int_equal(virtio_config_read(v, 0, 8), BR_DISK / 512);
	assert_int_equal(virtio_pause(v, 10), -ETIMEDOUT);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_status(v), BR_LIVE);
	assert_false(virtio_wait_reset(v, 10));
	assert_int_equal(loop_post(io_thread_loop(f->thread), complete_all, f->disk), 0);
	assert_true(virtio_wait_reset(v, 10000));
	assert_int_equal(virtio_status(v), 0);
}

static void test_no_write_after_the_reset(void **state)
{
	struct blk_rig *f = *state;
	struct virtio *v = &f->b.v;

	use_thread(f);
	f->disk->immediate = false;
	for (unsigned round = 0; round < 500; round++) {
		unsigned n = round % 7 + 1;

		virtq_driver_init(&f->d[0], &f->gm, BR_RING(0), BR_SIZE);
		virtio_driver_start(v, BR_ALL, f->d, 1);
		for (unsigned i = 0; i < n; i++)
			br_offer(f, i, VIRTIO_BLK_T_IN, i, 4096, true);
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
			memset(br_at(f, BR_REQ(i)), 0x11, 0x2000);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(*br_at(f, BR_DATA(i)), 0x11);
	}
}

struct mutator {
	struct blk_rig *f;
	bool stop;
};

/* Another vCPU that changes descriptors of requests while they are parsed. Data
 * stays away from rings and headers: those races would be the guest's own. */
static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint64_t *desc = guest_mem_hva(&m->f->gm, BR_RING(0), 16 * BR_SIZE);
	uint64_t x = 88172645463325252ull;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		unsigned i = (unsigned)(x >> 8) % 3;
		uint64_t flags = x >> 16 & 3;

		__atomic_store_n(&desc[2 * i], (i ? 0x400000 : BR_REQ(0)) + (x >> 24 & 0xfffff),
				 __ATOMIC_RELAXED);
		__atomic_store_n(&desc[2 * i + 1],
				 (x >> 32 & 0x3ff) | flags << 32 | (uint64_t)((i + 1) % 3) << 48,
				 __ATOMIC_RELAXED);
	}
	return NULL;
}

static void test_descriptors_changed_while_parsed(void **state)
{
	struct blk_rig *f = *state;
	struct mutator m = {.f = f};
	pthread_t thread;

	use_thread(f);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	for (unsigned round = 0; round < 500; round++) {
		virtio_driver_start(&f->b.v, BR_ALL, f->d, 1);
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
	struct blk_rig *f = *state;
	struct state_writer w, twice;
	struct err e = {0};
	uint32_t id, len;

	use_thread(f);
	br_go(f, BR_ALL);
	virtio_config_write(&f->b.v, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
	br_offer(f, 0, VIRTIO_BLK_T_OUT, 9, 512, false);
	virtio_kick(&f->b.v, 0);
	while (!virtq_driver_take_used(&f->d[0], &id, &len))
		usleep(100);
	assert_int_equal(virtio_pause(&f->b.v, 10000), 0);
	save(&f->b, &w);
	br_unmake(f);
	io_thread_destroy(f->thread);
	f->thread = NULL;

	struct virtq_driver before = f->d[0];
	uint8_t ring[0x3000];

	guest_mem_read(&f->gm, BR_RING(0), ring, sizeof(ring));
	br_make(f, f->loop, false);
	guest_mem_write(&f->gm, BR_RING(0), ring, sizeof(ring));
	f->d[0] = before;
	assert_int_equal(load(&f->b, &w, &e), 0);
	save(&f->b, &twice);
	assert_int_equal(twice.len, w.len);
	assert_memory_equal(twice.data, w.data, w.len);
	virtio_resume(&f->b.v);
	loop_settle(f->loop);
	assert_true(br_write_is_stable(f)); /* writeback 0 was kept */
	state_writer_fini(&twice);

	/* Another disk, or a mode there is not. */
	br_unmake(f);
	br_make(f, f->loop, false);
	f->b.size -= 512;
	assert_int_equal(load(&f->b, &w, &e), -EINVAL);
	assert_non_null(strstr(e.text, "disk0"));
	f->b.size += 512;
	virtio_set_status(&f->b.v, 0);
	w.data[w.len - 1] = 3;
	e = (struct err){0};
	assert_int_equal(load(&f->b, &w, &e), -EBADMSG);
	state_writer_fini(&w);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, br_setup, br_teardown)
	const struct CMUnitTest tests[] = {
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
