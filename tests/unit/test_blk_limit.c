/* SPDX-License-Identifier: Apache-2.0 */
/* The block device with a limit: as much goes as may, the rest stays in the ring until it is time,
 * and nothing is lost whatever comes between. The clock of the limit is the test's; the timers
 * that look at it ring after milliseconds. */
#include "tests/lib/blk_rig.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MS 1000000ull

enum { PATIENCE_MS = 20000, A_WHILE_MS = 30 };

static void limit(struct blk_rig *f, uint64_t bytes, uint64_t burst, uint64_t ops,
		  uint64_t ops_burst)
{
	const struct rates rates = {{bytes, burst}, {ops, ops_burst}};

	virtio_blk_set_limit(&f->b, &rates);
}

/* The host's time goes by, and timers ring. */
static void linger(struct blk_rig *f, unsigned ms)
{
	for (; ms; ms--) {
		usleep(1000);
		if (!f->thread)
			loop_settle(f->loop);
	}
}

static void pass(struct blk_rig *f, uint64_t ns)
{
	fake_clock_advance(&f->time, ns);
}

/* Requests of queue `q` done so far: `n`, soon, and no more of them. */
static void done_of(struct blk_rig *f, unsigned q, unsigned n)
{
	for (unsigned ms = 0; ms < PATIENCE_MS && virtq_driver_used_idx(&f->d[q]) < n; ms++)
		linger(f, 1);
	linger(f, A_WHILE_MS);
	assert_int_equal(virtq_driver_used_idx(&f->d[q]), n);
}

static void done(struct blk_rig *f, unsigned n)
{
	done_of(f, 0, n);
}

/* Reads of a sector each, `from` to `to` - 1, each of another. */
static void offer(struct blk_rig *f, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		br_offer(f, i, VIRTIO_BLK_T_IN, i, 512, true);
	virtio_kick(&f->b.v, 0);

	if (!f->thread)
		loop_settle(f->loop);
}

static void all_right(struct blk_rig *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(br_status(f, i), VIRTIO_BLK_S_OK);
		assert_memory_equal(br_at(f, BR_DATA(i)), f->disk->data + i * 512ull, 512);
	}
}

static bool waits(const struct blk_rig *f)
{
	return f->b.lanes[0].waits;
}

/* --- how much ------------------------------------------------------------------------------- */

static void a_burst_then_one_at_a_time(void **state)
{
	struct blk_rig *f = *state;

	limit(f, 0, 0, 1000, 4);
	br_go(f, BR_ALL);
	offer(f, 0, 10);
	assert_int_equal(f->disk->n_submitted[BLOCK_READ], 4);
	done(f, 4);
	assert_true(waits(f));
	for (unsigned n = 5; n <= 7; n++) {
		pass(f, MS);
		done(f, n);
	}
	pass(f, 100 * MS);
	done(f, 10);
	all_right(f, 10);
	/* One more look than there was something to see, and it is quiet. */
	assert_false(waits(f));
	assert_int_equal(f->disk->n_submitted[BLOCK_READ], 10);
	offer(f, 10, 11);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 11);
}

static void bytes_count(void **state)
{
	struct blk_rig *f = *state;

	limit(f, 512000, 4096, 0, 0);
	br_go(f, BR_ALL);
	br_offer(f, 0, VIRTIO_BLK_T_IN, 0, 2048, true);
	br_offer(f, 1, VIRTIO_BLK_T_OUT, 0, 2048, false);
	br_offer(f, 2, VIRTIO_BLK_T_IN, 0, 512, true);
	br_kick(f);
	done(f, 2);
	pass(f, MS);
	done(f, 3);
}

/* Sixteen times the burst: it goes, and what comes behind it pays. */
static void one_that_is_larger_than_the_burst(void **state)
{
	struct blk_rig *f = *state;

	limit(f, 512000, 2048, 0, 0);
	br_go(f, BR_ALL);
	br_offer(f, 0, VIRTIO_BLK_T_IN, 0, 32768, true);
	br_offer(f, 1, VIRTIO_BLK_T_IN, 0, 512, true);
	br_kick(f);
	done(f, 1);
	assert_memory_equal(br_at(f, BR_DATA(0)), f->disk->data, 32768);
	pass(f, 60 * MS);
	done(f, 1);
	pass(f, MS);
	done(f, 2);
}

/* Flushes and discards are operations without bytes, zeroes have some; what never gets to the
 * disk is neither. */
static void what_counts(void **state)
{
	struct blk_rig *f = *state;

	limit(f, 512000, 512, 0, 0);
	br_go(f, BR_ALL);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(br_run(f, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), 0);
		assert_int_equal(br_range(f, VIRTIO_BLK_T_DISCARD, 0, 64, 0), 0);
		assert_int_equal(br_run(f, VIRTIO_BLK_T_IN, ~0u, 512, true, NULL),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(br_run(f, VIRTIO_BLK_T_GET_ID, 0, 20, true, NULL), 0);
	}
	assert_false(waits(f));
	assert_int_equal(br_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), 0);
	assert_true(waits(f));

	limit(f, 0, 0, 1000, 2);
	loop_settle(f->loop);
	assert_false(waits(f));
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(br_run(f, VIRTIO_BLK_T_GET_ID, 0, 20, true, NULL), 0);
	assert_int_equal(br_run(f, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), 0);
	assert_false(waits(f));
	assert_int_equal(br_run(f, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), 0);
	assert_true(waits(f));
}

/* --- who waits ------------------------------------------------------------------------------- */

/* A queue that is always full leaves the others their turn. */
static void queues_take_turns(void **state)
{
	struct blk_rig *f = *state;
	const struct vd_buf bufs[] = {{BR_REQ(0), 16, false}, {BR_STATUS(0), 1, true}};

	limit(f, 0, 0, 1000, 1);
	br_go(f, BR_ALL);
	br_put_header(f, 0, VIRTIO_BLK_T_FLUSH, 0);
	for (unsigned q = 0; q < BR_QUEUES; q++) {
		for (unsigned i = 0; i < 20; i++)
			virtq_driver_offer(&f->d[q], bufs, 2);
		virtio_kick(&f->b.v, q);
	}
	done(f, 1);
	done_of(f, 1, 0);
	for (unsigned n = 1; n < 5; n++) {
		pass(f, MS);
		done_of(f, 1, n);
		pass(f, MS);
		done(f, n + 1);
	}
}

/* Nothing is served for it, and it is told not to. */
static void a_driver_that_rings_all_the_time(void **state)
{
	struct blk_rig *f = *state;

	limit(f, 0, 0, 1, 1);
	br_go(f, VIRTIO_F_VERSION_1);
	offer(f, 0, 3);
	for (unsigned i = 0; i < 1000; i++)
		for (unsigned q = 0; q < BR_QUEUES; q++) {
			virtio_kick(&f->b.v, q);
			loop_settle(f->loop);
		}
	for (unsigned q = 0; q < BR_QUEUES; q++)
		assert_int_equal(virtq_driver_used_flags(&f->d[q]), 1); /* NO_NOTIFY */
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 1);
	limit(f, 0, 0, 1000, 1);
	pass(f, 10 * MS);
	done(f, 2);
	pass(f, 10 * MS);
	done(f, 3);
	pass(f, 10 * MS);
	linger(f, A_WHILE_MS);
	for (unsigned q = 0; q < BR_QUEUES; q++)
		assert_int_equal(virtq_driver_used_flags(&f->d[q]), 0);
}

static void a_limit_that_is_changed(void **state)
{
	struct blk_rig *f = *state;
	struct rates now;

	br_go(f, BR_ALL);
	offer(f, 0, 3);
	done(f, 3);
	/* An hour for each, and its timer as long. */
	limit(f, 1, 1, 0, 0);
	offer(f, 3, 6);
	done(f, 4);
	now = virtio_blk_limit(&f->b);
	assert_int_equal(now.bytes.per_second, 1);
	limit(f, 512000, 512, 0, 0);
	done(f, 4);
	pass(f, 2 * MS);
	done(f, 5);
	limit(f, 0, 0, 0, 0);
	done(f, 6);
	assert_false(waits(f));
	offer(f, 6, 15);
	done(f, 15);
	all_right(f, 15);
}

/* --- what comes between ------------------------------------------------------------------------
 */

static void a_reset_while_it_waits(void **state)
{
	struct blk_rig *f = *state;

	f->disk->immediate = false;
	limit(f, 0, 0, 1000, 2);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < BR_QUEUES; i++)
			virtq_driver_init(&f->d[i], &f->gm, BR_RING(i), BR_SIZE);
		br_go(f, BR_ALL);
		offer(f, 0, 5);
		assert_int_equal(fake_block_pending(f->disk), 2);
		assert_true(waits(f));
		virtio_set_status(&f->b.v, 0);
		loop_settle(f->loop);
		assert_int_equal(virtio_status(&f->b.v), BR_LIVE);
		/* In flight is what was, and no more. */
		pass(f, 1000 * MS);
		linger(f, A_WHILE_MS);
		assert_int_equal(fake_block_pending(f->disk), 2);
		fake_block_complete_all(f->disk, 0);
		loop_settle(f->loop);
		assert_int_equal(virtio_status(&f->b.v), 0);
		assert_false(waits(f));
		assert_int_equal(br_status(f, 2), BR_UNTOUCHED);
		linger(f, A_WHILE_MS);
	}
	assert_int_equal(f->disk->n_submitted[BLOCK_READ], 6);
}

static void a_failure_while_it_waits(void **state)
{
	struct blk_rig *f = *state;

	limit(f, 0, 0, 1000, 2);
	br_go(f, BR_ALL);
	offer(f, 0, 5);
	virtq_driver_set_avail_idx(&f->d[0], 5000);
	/* It is found when it is time to look. */
	pass(f, 10 * MS);
	linger(f, A_WHILE_MS);
	assert_int_equal(virtio_status(&f->b.v), BR_LIVE | BR_NEEDS_RESET);
	limit(f, 0, 0, 0, 0);
	linger(f, A_WHILE_MS);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 2);
}

static void use_thread(struct blk_rig *f)
{
	int err;

	br_unmake(f);
	f->thread = io_thread_create("disk0", &err);
	assert_non_null(f->thread);
	br_make(f, io_thread_loop(f->thread), false);
}

static void a_pause_while_it_waits(void **state)
{
	struct blk_rig *f = *state;

	use_thread(f);
	limit(f, 0, 0, 1000, 2);
	br_go(f, BR_ALL);
	offer(f, 0, 8);
	done(f, 2);
	for (unsigned n = 3; n <= 8; n++) {
		assert_int_equal(virtio_pause(&f->b.v, PATIENCE_MS), 0);
		pass(f, MS);
		done(f, n - 1);
		virtio_resume(&f->b.v);
		done(f, n);
	}
	/* Pauses earn nothing, and end at once. */
	offer(f, 8, 12);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(virtio_pause(&f->b.v, PATIENCE_MS), 0);
		virtio_resume(&f->b.v);
	}
	done(f, 8);
	limit(f, 0, 0, 0, 0);
	done(f, 12);
	all_right(f, 12);
}

/* What it has not taken is in the state, and the next device takes it. */
static void saved_while_it_waits(void **state)
{
	struct blk_rig *f = *state;
	struct state_writer w;
	struct state_reader r;
	struct err e = {0};
	uint8_t ring[0x3000];

	use_thread(f);
	limit(f, 0, 0, 1, 3);
	br_go(f, BR_ALL);
	offer(f, 0, 8);
	done(f, 3);
	assert_int_equal(virtio_pause(&f->b.v, PATIENCE_MS), 0);
	state_writer_init(&w);
	state_section_begin(&w, "disk0", 1);
	virtio_save(&f->b.v, &w);
	state_section_end(&w);
	struct virtq_driver before = f->d[0];

	guest_mem_read(&f->gm, BR_RING(0), ring, sizeof(ring));
	br_unmake(f);
	io_thread_destroy(f->thread);
	f->thread = NULL;
	br_make(f, f->loop, false);
	guest_mem_write(&f->gm, BR_RING(0), ring, sizeof(ring));
	f->d[0] = before;
	state_reader_init(&r, w.data, w.len);
	assert_int_equal(state_section_open(&r, "disk0", &e), 1);
	assert_int_equal(virtio_load(&f->b.v, &r, &e), 0);
	virtio_resume(&f->b.v);
	done(f, 8);
	assert_int_equal(f->disk->n_submitted[BLOCK_READ], 5);
	all_right(f, 8);
	state_writer_fini(&w);
}

/* --- several threads ----------------------------------------------------------------------------
 */

enum { LANES = 4, EACH = 16, BURST = 24 };

struct lanes {
	struct io_thread *threads[LANES];
	struct fake_block *disks[LANES];
	struct virtio_blk b;
	struct virtq_driver d[LANES];
	struct fake_transport t;
};

static unsigned used(const struct lanes *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LANES; i++)
		n += virtq_driver_used_idx(&s->d[i]);
	return n;
}

/* Soon, and then no more: from `n` on, one a thread more at most. */
static void all_used(const struct lanes *s, unsigned n)
{
	for (unsigned ms = 0; ms < PATIENCE_MS && used(s) < n; ms++)
		usleep(1000);
	usleep(A_WHILE_MS * 1000);
	assert_in_range(used(s), n, n + LANES - 1);
}

/* The limit is the disk's: one sum for all threads. */
static void threads_have_one_limit(void **state)
{
	struct blk_rig *f = *state;
	struct lanes s = {0};
	const struct rates some = {.ops = {1000, BURST}}, none = {0};
	struct virtio_blk_options options = {
		.name = "disk1", .n_queues = LANES, .limit = some, .clock = &f->clock};
	struct virtio_blk_host hosts[LANES];
	int err;

	for (unsigned i = 0; i < LANES; i++) {
		s.threads[i] = io_thread_create("disk1", &err);
		assert_non_null(s.threads[i]);
		s.disks[i] = fake_block_create(BR_DISK);
		s.disks[i]->immediate = true;
		hosts[i] =
			(struct virtio_blk_host){&s.disks[i]->block, io_thread_loop(s.threads[i])};
		virtq_driver_init(&s.d[i], &f->gm, 0x400000 + 0x10000ull * i, BR_SIZE);
	}
	assert_int_equal(virtio_blk_init(&s.b, &options, &f->gm, hosts, LANES), 0);
	fake_transport_init(&s.t, &s.b.v);
	virtio_driver_start(&s.b.v, BR_BASIC | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_MQ, s.d, LANES);
	for (unsigned i = 0; i < LANES; i++) {
		const struct vd_buf bufs[] = {{BR_REQ(i), 16, false}, {BR_STATUS(i), 1, true}};

		br_put_header(f, i, VIRTIO_BLK_T_FLUSH, 0);
		for (unsigned n = 0; n < EACH; n++)
			virtq_driver_offer(&s.d[i], bufs, 2);
		virtio_kick(&s.b.v, i);
	}
	all_used(&s, BURST);
	/* The overdraft is paid first. */
	fake_clock_advance(&f->time, 10 * MS);
	all_used(&s, BURST + 10);
	virtio_blk_set_limit(&s.b, &none);
	for (unsigned ms = 0; ms < PATIENCE_MS && used(&s) < LANES * EACH; ms++)
		usleep(1000);
	assert_int_equal(used(&s), LANES * EACH);
	virtio_blk_fini(&s.b);
	for (unsigned i = 0; i < LANES; i++)
		io_thread_destroy(s.threads[i]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, br_setup, br_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_burst_then_one_at_a_time),
		T(bytes_count),
		T(one_that_is_larger_than_the_burst),
		T(what_counts),
		T(queues_take_turns),
		T(a_driver_that_rings_all_the_time),
		T(a_limit_that_is_changed),
		T(a_reset_while_it_waits),
		T(a_failure_while_it_waits),
		T(a_pause_while_it_waits),
		T(saved_while_it_waits),
		T(threads_have_one_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
