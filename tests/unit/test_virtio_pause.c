/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device that is paused, saved and loaded, and one on a thread of its own that another one
 * gets in the way of. */
#include "tests/lib/echo_rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

/* --- pause -------------------------------------------------------------------------------------
 */

struct io {
	struct echo_rig *f;
	struct io_thread *thread;
};

static void finish_later(void *arg)
{
	struct echo *e = arg;

	echo_finish(e);
}

/* The fixture's device on a loop that really runs. */
static void use_thread(struct echo_rig *f, struct io *io)
{
	int err;

	echo_rig_shut(f);
	virtio_fini(&f->e.v);
	io->thread = io_thread_create("echo", &err);
	assert_non_null(io->thread);
	echo_init(&f->e, f, io_thread_loop(io->thread));
	fake_transport_init(&f->t, &f->e.v);
}

static void end_thread(struct echo_rig *f, struct io *io)
{
	virtio_fini(&f->e.v);
	io_thread_destroy(io->thread);
	echo_init(&f->e, f, f->loop);
}

static unsigned served(struct echo_rig *f, unsigned queue)
{
	return __atomic_load_n(&f->e.served[queue], __ATOMIC_SEQ_CST);
}

static void wait_served(struct echo_rig *f, unsigned queue, unsigned n)
{
	for (int i = 0; i < 20000 && served(f, queue) < n; i++)
		usleep(500);
	assert_int_equal(served(f, queue), n);
}

static void test_pause_and_resume(void **state)
{
	struct echo_rig *f = *state;
	struct io io;

	use_thread(f, &io);
	assert_int_equal(virtio_pause(&f->e.v, 1000), 0); /* idle: nothing to stop */
	virtio_resume(&f->e.v);
	virtio_driver_start(&f->e.v, ECHO_BASIC, f->d, ECHO_QUEUES);
	for (unsigned round = 0; round < 100; round++) {
		assert_int_equal(virtio_pause(&f->e.v, 10000), 0);
		virtq_driver_offer(&f->d[0], &echo_buf, 1);
		virtio_kick(&f->e.v, 0);
		/* Everything stands still. */
		assert_int_equal(virtq_driver_used_idx(&f->d[0]), round);
		virtio_resume(&f->e.v);
		wait_served(f, 0, round + 1);
	}
	assert_int_equal(virtio_status(&f->e.v), ECHO_LIVE);
	end_thread(f, &io);
}

static void test_pause_that_takes_too_long(void **state)
{
	struct echo_rig *f = *state;
	struct io io;

	use_thread(f, &io);
	f->e.hold = true;
	virtq_driver_offer(&f->d[0], &echo_buf, 1);
	virtio_driver_start(&f->e.v, ECHO_BASIC, f->d, ECHO_QUEUES);
	/* The loop takes it as it starts; a stalled backend keeps it. */
	for (int i = 0; i < 1000 && virtio_pause(&f->e.v, 5) == 0; i++) {
		virtio_resume(&f->e.v);
		usleep(1000);
	}
	assert_int_equal(virtio_pause(&f->e.v, 5), -ETIMEDOUT);
	assert_int_equal(virtio_status(&f->e.v), ECHO_LIVE);
	/* It ends after all: the device goes on by itself. */
	assert_int_equal(loop_post(io_thread_loop(io.thread), finish_later, &f->e), 0);
	wait_served(f, 0, 1);
	virtq_driver_offer(&f->d[1], &echo_buf, 1);
	virtio_kick(&f->e.v, 1);
	for (int i = 0; i < 1000 && virtio_pause(&f->e.v, 5) == 0; i++) {
		virtio_resume(&f->e.v);
		usleep(1000);
	}
	/* A reset while a pause is pending wins. */
	virtio_set_status(&f->e.v, 0);
	assert_int_equal(virtio_status(&f->e.v), ECHO_LIVE);
	assert_int_equal(loop_post(io_thread_loop(io.thread), finish_later, &f->e), 0);
	assert_true(virtio_wait_reset(&f->e.v, 10000));
	assert_int_equal(virtio_status(&f->e.v), 0);
	end_thread(f, &io);
}

/* --- saved state
 * ----------------------------------------------------------------------------------- */

static void save(struct virtio *v, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "echo", 1);
	virtio_save(v, w);
	state_section_end(w);
	assert_int_equal(w->error, 0);
}

static int load(struct virtio *v, const void *data, size_t len)
{
	struct state_reader r;
	struct err e = {0};

	state_reader_init(&r, data, len);
	if (state_section_open(&r, "echo", &e) < 0)
		return -EBADMSG;
	int ret = virtio_load(v, &r, &e);

	if (ret)
		assert_int_equal(e.code, ret);
	return ret;
}

static void test_save_load_save(void **state)
{
	struct echo_rig *f = *state;
	struct io io;
	struct echo copy;
	struct state_writer w, again;

	use_thread(f, &io);
	virtio_driver_start(&f->e.v, ECHO_BASIC | VIRTIO_F_EVENT_IDX, f->d, ECHO_QUEUES);
	for (int i = 0; i < 5; i++)
		virtq_driver_offer(&f->d[0], &echo_buf, 1);
	virtio_kick(&f->e.v, 0);
	wait_served(f, 0, 5);
	assert_int_equal(virtio_pause(&f->e.v, 10000), 0);
	save(&f->e.v, &w);
	end_thread(f, &io);

	echo_init(&copy, f, f->loop);
	assert_int_equal(load(&copy.v, w.data, w.len), 0);
	save(&copy.v, &again);
	assert_int_equal(again.len, w.len);
	assert_memory_equal(again.data, w.data, w.len);

	/* It goes on where it was, and repeats the interrupt that may have been lost. */
	fake_transport_init(&f->t, &copy.v);
	virtio_resume(&copy.v);
	loop_settle(f->loop);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 1);
	virtq_driver_offer(&f->d[0], &echo_buf, 1);
	virtio_kick(&copy.v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 6);
	virtio_set_status(&copy.v, 0);
	loop_settle(f->loop);
	virtio_fini(&copy.v);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

/* Any byte flipped, any length: refused with nothing set, or a state that a driver
 * could have made; never more. */
static void test_load_hostile(void **state)
{
	struct echo_rig *f = *state;
	struct echo copy;
	struct state_writer w;

	echo_rig_go(f);
	virtio_set_status(&f->e.v, 0);
	loop_settle(f->loop);
	assert_true(virtio_driver_negotiate(&f->e.v, ECHO_BASIC));
	virtio_driver_set_queue(&f->e.v, 0, &f->d[0]);
	save(&f->e.v, &w);
	w.data[32] |= ECHO_OK; /* as if it was saved alive */

	for (size_t at = 32; at < w.len; at++) {
		for (int bit = 0; bit < 8; bit++) {
			w.data[at] ^= 1u << bit;
			echo_init(&copy, f, f->loop);
			if (load(&copy.v, w.data, w.len)) {
				assert_int_equal(virtio_status(&copy.v), 0);
				assert_int_equal(virtio_driver_features(&copy.v, 1), 0);
			} else {
				virtio_resume(&copy.v);
				loop_settle(f->loop);
				virtio_set_status(&copy.v, 0);
				loop_settle(f->loop);
			}
			virtio_fini(&copy.v);
			w.data[at] ^= 1u << bit;
		}
	}
	for (size_t len = 32; len < w.len; len++) {
		echo_init(&copy, f, f->loop);
		assert_int_not_equal(load(&copy.v, w.data, len), 0);
		assert_int_equal(virtio_status(&copy.v), 0);
		virtio_fini(&copy.v);
	}
	/* Features this device does not offer. */
	w.data[32 + 2 + 7] |= 0x80;
	echo_init(&copy, f, f->loop);
	assert_int_equal(load(&copy.v, w.data, w.len), -EBADMSG);
	virtio_fini(&copy.v);
	state_writer_fini(&w);
}

/* --- threads
 * ------------------------------------------------------------------------------------------ */

struct mutator {
	struct echo_rig *f;
	bool stop;
};

/* Another vCPU, storing into rings and descriptors whatever comes. */
static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint64_t x = 88172645463325252ull;
	uint64_t *words[ECHO_QUEUES];

	for (unsigned i = 0; i < ECHO_QUEUES; i++)
		words[i] = guest_mem_hva(&m->f->gm, m->f->d[i].desc, 16 * ECHO_SIZE);
	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		unsigned q = x & 1, at = (unsigned)(x >> 8) % (2 * ECHO_SIZE);
		/* Often plausible: an address near ECHO_RAM, a short buffer, a small next. */
		uint64_t val = at % 2 ? (x & 0x0007000700000fffull) : 0x200000 | (x & 0x3ffff0ull);

		__atomic_store_n(&words[q][at], val, __ATOMIC_RELAXED);
		if (!(x >> 20 & 63)) {
			virtq_driver_avail(&m->f->d[q], (uint16_t)(x >> 40) % ECHO_SIZE);
			virtio_kick(&m->f->e.v, q);
		}
	}
	return NULL;
}

static void test_descriptors_changed_while_parsed(void **state)
{
	struct echo_rig *f = *state;
	struct mutator m = {.f = f};
	struct io io;
	pthread_t thread;

	use_thread(f, &io);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	for (int i = 0; i < 300; i++) {
		virtio_driver_start(&f->e.v, ECHO_BASIC | VIRTIO_F_INDIRECT_DESC, f->d,
				    ECHO_QUEUES);
		for (int wait = 0; wait < 20 && !(virtio_status(&f->e.v) & ECHO_NEEDS_RESET);
		     wait++)
			usleep(50);
		virtio_set_status(&f->e.v, 0);
		assert_true(virtio_wait_reset(&f->e.v, 10000));
	}
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	end_thread(f, &io);
}

static void test_ten_thousand_resets_under_load(void **state)
{
	struct echo_rig *f = *state;
	struct io io;

	use_thread(f, &io);
	for (int i = 0; i < 10000; i++) {
		virtq_driver_init(&f->d[0], &f->gm, ECHO_RING(0), ECHO_SIZE);
		virtio_driver_start(&f->e.v, ECHO_BASIC, f->d, 1);
		for (int n = i % ECHO_SIZE; n >= 0; n--) {
			virtq_driver_offer(&f->d[0], &echo_buf, 1);
			virtio_kick(&f->e.v, 0);
		}
		virtio_set_status(&f->e.v, 0);
		while (virtio_status(&f->e.v))
			assert_true(virtio_wait_reset(&f->e.v, 10000));
		/* ECHO_RAM is the driver's again: nobody but us writes to it. */
		uint8_t *buf = guest_mem_hva(&f->gm, ECHO_DATA, 1);
		uint16_t used = virtq_driver_used_idx(&f->d[0]);

		*buf = 0;
		virtq_driver_offer(&f->d[0], &echo_buf, 1);
		virtio_kick(&f->e.v, 0);
		assert_int_equal(virtq_driver_used_idx(&f->d[0]), used);
		assert_int_equal(*buf, 0);
	}
	end_thread(f, &io);
}

static void test_fini_while_active(void **state)
{
	struct echo_rig *f = *state;
	struct io io;

	for (int i = 0; i < 20; i++) {
		use_thread(f, &io);
		virtio_driver_start(&f->e.v, ECHO_BASIC, f->d, ECHO_QUEUES);
		virtio_kick(&f->e.v, 0);
		end_thread(f, &io);
	}
	struct virtio never = {0};

	virtio_fini(&never);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, echo_rig_setup, echo_rig_teardown)
	const struct CMUnitTest tests[] = {
		T(test_pause_and_resume),
		T(test_pause_that_takes_too_long),
		T(test_save_load_save),
		T(test_load_hostile),
		T(test_descriptors_changed_while_parsed),
		T(test_ten_thousand_resets_under_load),
		T(test_fini_while_active),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
