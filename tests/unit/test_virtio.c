/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a virtio device, seen from its driver, with a device type that only
 * gives chains back, or keeps them until it is told to. */
#include "devices/virtio/virtio.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM     (4 * MiB)
#define RING(i) (0x10000ull + 0x10000ull * (i))
#define DATA    0x100000ull

#define F_ODD   (1ull << 0)
#define F_MAGIC (1ull << 33)
#define BASIC   (VIRTIO_F_VERSION_1)

enum { SIZE = 8, QUEUES = 2, CONFIG_LEN = 6, ACK = 1, DRIVER = 2, OK = 4, FEAT = 8, FAILED = 128 };
enum { LIVE = ACK | DRIVER | FEAT | OK, NEEDS_RESET = 64 };

struct echo {
	struct virtio v;
	struct virtq_chain chain;
	bool hold, quiescing;
	unsigned in_flight, served[QUEUES], started, stopped, resets;
	uint16_t held[64], held_queue[64];
	/* A guest that refills as fast as it is served. */
	struct virtq_driver *refill;
	char order[256];
	unsigned n_order;
	uint8_t config[CONFIG_LEN];
};

struct fixture {
	struct guest_mem gm;
	struct loop *loop;
	struct echo e;
	struct fake_transport t;
	struct virtq_driver d[QUEUES];
};

static const struct vd_buf one_buf = {DATA, 64, true};

/* --- the device --------------------------------------------------------------------- */

static void give_back(struct echo *e, unsigned queue, uint16_t head)
{
	if (!virtio_failed(&e->v))
		virtq_push(&e->v.queues[queue], head, 0);
	__atomic_add_fetch(&e->served[queue], 1, __ATOMIC_SEQ_CST);
}

static void echo_ready(void *dev, unsigned index)
{
	struct echo *e = dev;
	unsigned taken = 0;

	if (e->n_order < sizeof(e->order) - 1)
		e->order[e->n_order++] = (char)('0' + index);
	while (virtio_pop(&e->v, index, &taken, &e->chain)) {
		if (e->hold && e->in_flight < ARRAY_LEN(e->held)) {
			e->held[e->in_flight] = e->chain.head;
			e->held_queue[e->in_flight++] = (uint16_t)index;
			continue;
		}
		if (e->chain.write_len)
			virtq_chain_write(&e->chain, e->v.gm, 0, "E", 1);
		give_back(e, index, e->chain.head);
		if (e->refill && !index)
			virtq_driver_offer(e->refill, &one_buf, 1);
	}
	virtio_publish(&e->v, index);
}

static void echo_finish(void *dev)
{
	struct echo *e = dev;

	while (e->in_flight) {
		e->in_flight--;
		give_back(e, e->held_queue[e->in_flight], e->held[e->in_flight]);
	}
	for (unsigned i = 0; i < QUEUES; i++)
		if (e->v.queues[i].running)
			virtio_publish(&e->v, i);
	if (e->quiescing) {
		e->quiescing = false;
		virtio_quiesced(&e->v);
	}
}

static void echo_quiesce(void *dev)
{
	struct echo *e = dev;

	e->quiescing = true;
	if (!e->in_flight)
		echo_finish(e);
}

static void echo_started(void *dev)
{
	((struct echo *)dev)->started++;
}

static void echo_stopped(void *dev)
{
	struct echo *e = dev;

	assert_int_equal(e->in_flight, 0);
	e->stopped++;
}

static void echo_reset(void *dev)
{
	((struct echo *)dev)->resets++;
}

static bool echo_features_ok(void *dev, uint64_t features)
{
	return !(features & F_ODD) || features & F_MAGIC; /* ODD needs MAGIC */
}

static uint64_t echo_config_read(void *dev, uint32_t off, unsigned size)
{
	uint64_t val = 0;

	assert_true(off + size <= CONFIG_LEN);
	memcpy(&val, ((struct echo *)dev)->config + off, size);
	return val;
}

static void echo_config_write(void *dev, uint32_t off, unsigned size, uint64_t val)
{
	assert_true(off + size <= CONFIG_LEN);
	memcpy(((struct echo *)dev)->config + off, &val, size);
}

static const struct virtio_ops echo_ops = {
	.device_id = 99,
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.features_ok = echo_features_ok,
	.started = echo_started,
	.queue_ready = echo_ready,
	.quiesce = echo_quiesce,
	.stopped = echo_stopped,
	.reset = echo_reset,
};

static void echo_init(struct echo *e, struct fixture *f, struct loop *loop)
{
	const uint16_t sizes[QUEUES] = {SIZE, SIZE};

	memset(e, 0, sizeof(*e));
	assert_int_equal(virtio_init(&e->v, &echo_ops, e, "echo", &f->gm, loop, F_ODD | F_MAGIC,
				     CONFIG_LEN, QUEUES, sizes),
			 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_level(LOG_QUIET);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, RAM, -1, 0, NULL), 0);
	f->loop = loop_create();
	echo_init(&f->e, f, f->loop);
	fake_transport_init(&f->t, &f->e.v);
	for (unsigned i = 0; i < QUEUES; i++)
		virtq_driver_init(&f->d[i], &f->gm, RING(i), SIZE);
	*state = f;
	return 0;
}

/* Bring the device to where virtio_fini needs no loop. */
static void shut(struct fixture *f)
{
	virtio_set_status(&f->e.v, 0);
	loop_settle(f->loop);
	f->e.hold = false;
	echo_finish(&f->e);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->e.v), 0);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	shut(f);
	virtio_fini(&f->e.v);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	free(f);
	return 0;
}

static void go(struct fixture *f)
{
	virtio_driver_start(&f->e.v, BASIC, f->d, QUEUES);
	loop_settle(f->loop);
}

static void kick(struct fixture *f, unsigned queue)
{
	virtio_kick(&f->e.v, queue);
	loop_settle(f->loop);
}

/* --- negotiation ---------------------------------------------------------------------- */

static void test_offered_features(void **state)
{
	struct virtio *v = &((struct fixture *)*state)->e.v;

	assert_int_equal(virtio_offered(v, 0), 1u | 1u << 28 | 1u << 29);
	assert_int_equal(virtio_offered(v, 1), 1u | 1u << 1);
	assert_int_equal(virtio_offered(v, 2), 0);
	assert_int_equal(virtio_offered(v, 0xffffffff), 0);
}

static void refused(struct virtio *v, uint64_t features)
{
	assert_false(virtio_driver_negotiate(v, features));
	assert_int_equal(virtio_status(v), ACK | DRIVER);
	/* And DRIVER_OK is out of order now. */
	virtio_set_status(v, ACK | DRIVER | OK);
	assert_int_equal(virtio_status(v), ACK | DRIVER);
	virtio_set_status(v, 0);
}

static void test_features_refused(void **state)
{
	struct virtio *v = &((struct fixture *)*state)->e.v;

	refused(v, 0);                  /* no VERSION_1 */
	refused(v, BASIC | 1ull << 63); /* not offered */
	refused(v, BASIC | F_ODD);      /* without what it needs */
	assert_true(virtio_driver_negotiate(v, BASIC | F_ODD | F_MAGIC));
	/* Final from here. */
	virtio_set_driver_features(v, 0, 0);
	assert_int_equal(virtio_driver_features(v, 0), F_ODD);
	virtio_set_driver_features(v, 2, 5);
	assert_int_equal(virtio_driver_features(v, 2), 0);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_driver_features(v, 0), 0);
}

static void test_status_out_of_order_is_ignored(void **state)
{
	struct virtio *v = &((struct fixture *)*state)->e.v;
	const uint8_t bad[] = {DRIVER, OK,   FEAT, DRIVER | FEAT, ACK | FEAT, ACK | OK,
			       0x10,   0x20, 64};

	for (unsigned i = 0; i < sizeof(bad); i++) {
		virtio_set_status(v, bad[i]);
		assert_int_equal(virtio_status(v), 0);
	}
	virtio_set_status(v, ACK);
	virtio_set_status(v, ACK | DRIVER);
	virtio_set_status(v, ACK); /* a bit cleared */
	assert_int_equal(virtio_status(v), ACK | DRIVER);
	virtio_set_status(v, ACK | DRIVER | OK);
	assert_int_equal(virtio_status(v), ACK | DRIVER);
	virtio_set_status(v, ACK | DRIVER | FAILED);
	assert_int_equal(virtio_status(v), ACK | DRIVER | FAILED);
	assert_int_equal(((struct fixture *)*state)->e.started, 0);
}

/* --- queue set-up ----------------------------------------------------------------------- */

static void test_queue_registers(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->e.v;

	assert_int_equal(virtio_queue_get(v, 0, VIRTIO_QUEUE_SIZE), SIZE);
	for (int field = VIRTIO_QUEUE_DESC_LO; field <= VIRTIO_QUEUE_USED_HI; field++) {
		virtio_queue_set(v, 1, field, 0x1000u + (unsigned)field);
		assert_int_equal(virtio_queue_get(v, 1, field), 0x1000u + (unsigned)field);
	}
	assert_int_equal(v->queues[1].config.avail, (0x1000ull + VIRTIO_QUEUE_AVAIL_HI) << 32 |
							    (0x1000 + VIRTIO_QUEUE_AVAIL_LO));
	/* Out of range. */
	virtio_queue_set(v, QUEUES, VIRTIO_QUEUE_SIZE, 4);
	virtio_queue_set(v, 0xffffffff, VIRTIO_QUEUE_ENABLE, 1);
	assert_int_equal(virtio_queue_get(v, QUEUES, VIRTIO_QUEUE_SIZE), 0);
	assert_int_equal(virtio_queue_get(v, 0xffff, VIRTIO_QUEUE_ENABLE), 0);
	virtio_kick(v, QUEUES);
	virtio_kick(v, 0xffffffff);
	/* Enabled: fixed; and back at the defaults after a reset. */
	virtio_queue_set(v, 1, VIRTIO_QUEUE_ENABLE, 1);
	virtio_queue_set(v, 1, VIRTIO_QUEUE_SIZE, 2);
	virtio_queue_set(v, 1, VIRTIO_QUEUE_DESC_LO, 0);
	assert_int_equal(virtio_queue_get(v, 1, VIRTIO_QUEUE_SIZE), SIZE);
	assert_int_equal(virtio_queue_get(v, 1, VIRTIO_QUEUE_DESC_LO),
			 0x1000 + VIRTIO_QUEUE_DESC_LO);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_queue_get(v, 1, VIRTIO_QUEUE_ENABLE), 0);
	assert_int_equal(virtio_queue_get(v, 1, VIRTIO_QUEUE_DESC_LO), 0);
}

static void test_queue_written_after_driver_ok(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->e.v;
	uint32_t before[VIRTIO_QUEUE_USED_HI + 1];

	/* Queue 1 is left disabled: not to be enabled later either. */
	virtio_driver_start(v, BASIC, f->d, 1);
	for (unsigned q = 0; q < QUEUES; q++) {
		for (int i = 0; i <= VIRTIO_QUEUE_USED_HI; i++)
			before[i] = virtio_queue_get(v, q, i);
		for (int i = 0; i <= VIRTIO_QUEUE_USED_HI; i++)
			virtio_queue_set(v, q, i, before[i] == 1 ? 0 : 1);
		for (int i = 0; i <= VIRTIO_QUEUE_USED_HI; i++)
			assert_int_equal(virtio_queue_get(v, q, i), before[i]);
	}
}

static void test_activation_refused(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->e.v;
	const struct {
		enum virtio_queue_field field;
		uint32_t val;
	} bad[] = {
		{VIRTIO_QUEUE_SIZE, 0},
		{VIRTIO_QUEUE_SIZE, 3},
		{VIRTIO_QUEUE_SIZE, SIZE * 2},
		{VIRTIO_QUEUE_SIZE, 0x10000 + SIZE},
		{VIRTIO_QUEUE_DESC_LO, 8},
		{VIRTIO_QUEUE_AVAIL_LO, 1},
		{VIRTIO_QUEUE_USED_LO, 2},
		{VIRTIO_QUEUE_DESC_LO, RAM - 16},
		{VIRTIO_QUEUE_USED_HI, 0xffffffff},
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		unsigned irqs = fake_transport_config_irqs(&f->t);

		assert_true(virtio_driver_negotiate(v, BASIC));
		virtio_driver_set_queue(v, 0, &f->d[0]);
		virtio_driver_set_queue(v, 1, &f->d[1]);
		virtio_queue_set(v, 1, VIRTIO_QUEUE_ENABLE, 0);
		virtio_queue_set(v, 1, bad[i].field, bad[i].val);
		virtio_queue_set(v, 1, VIRTIO_QUEUE_ENABLE, 1);
		virtio_set_status(v, LIVE);
		assert_int_equal(virtio_status(v), LIVE | NEEDS_RESET);
		assert_int_equal(fake_transport_config_irqs(&f->t), irqs + 1);
		loop_settle(f->loop);
		assert_int_equal(f->e.started, 0);
		/* A reset mends it, at once since nothing ran. */
		virtio_set_status(v, 0);
		assert_int_equal(virtio_status(v), 0);
	}
	go(f);
	assert_int_equal(virtio_status(v), LIVE);
}

/* --- serving ----------------------------------------------------------------------------- */

static void test_kick_before_driver_ok(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->e.v;

	assert_true(virtio_driver_negotiate(v, BASIC));
	virtio_driver_set_queue(v, 0, &f->d[0]);
	virtq_driver_offer(&f->d[0], &one_buf, 1);
	kick(f, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 0);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 0);
	/* What was offered early is found without another kick. */
	virtio_set_status(v, LIVE);
	loop_settle(f->loop);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 1);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 1);
}

static void test_served_and_one_interrupt_a_batch(void **state)
{
	struct fixture *f = *state;

	go(f);
	for (int i = 0; i < 3; i++)
		virtq_driver_offer(&f->d[1], &one_buf, 1);
	kick(f, 1);
	assert_int_equal(virtq_driver_used_idx(&f->d[1]), 3);
	assert_int_equal(fake_transport_irqs(&f->t, 1), 1);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 0);
	/* Spurious doorbells do nothing. */
	kick(f, 1);
	assert_int_equal(fake_transport_irqs(&f->t, 1), 1);
}

static void test_one_queue_does_not_starve_the_other(void **state)
{
	struct fixture *f = *state;

	go(f);
	f->e.refill = &f->d[0];
	f->e.n_order = 0;
	virtq_driver_offer(&f->d[0], &one_buf, 1);
	virtq_driver_offer(&f->d[1], &one_buf, 1);
	virtio_kick(&f->e.v, 0);
	virtio_kick(&f->e.v, 1);
	loop_settle(f->loop);
	assert_int_equal(f->e.served[1], 1);
	/* Queue 0 had several turns of no more than its size each. */
	assert_true(f->e.served[0] > SIZE);
	assert_true(f->e.served[0] <= SIZE * f->e.n_order);
	f->e.refill = NULL;
}

static void test_violation_needs_reset(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->e.v;

	go(f);
	virtq_driver_set_avail_idx(&f->d[0], SIZE + 1);
	kick(f, 0);
	assert_int_equal(virtio_status(v), LIVE | NEEDS_RESET);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
	/* Not served any more, not even the queue that was in order. */
	virtq_driver_offer(&f->d[1], &one_buf, 1);
	kick(f, 1);
	kick(f, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[1]), 0);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
	/* The driver may not clear the bit but by a reset, which works. */
	virtio_set_status(v, LIVE);
	assert_int_equal(virtio_status(v), LIVE | NEEDS_RESET);
	virtio_set_status(v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), 0);
	virtq_driver_init(&f->d[0], &f->gm, RING(0), SIZE);
	virtq_driver_init(&f->d[1], &f->gm, RING(1), SIZE);
	go(f);
	virtq_driver_offer(&f->d[0], &one_buf, 1);
	kick(f, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 1);
}

/* --- configuration space ---------------------------------------------------------------------- */

static void test_config_every_offset_and_size(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->e.v;

	for (unsigned size = 1; size <= 8; size *= 2) {
		for (uint64_t off = 0; off < CONFIG_LEN + 16; off++) {
			bool inside = off + size <= CONFIG_LEN;

			memcpy(f->e.config, "\x11\x22\x33\x44\x55\x66", CONFIG_LEN);
			uint64_t val = virtio_config_read(v, off, size), want = 0;

			if (inside)
				memcpy(&want, f->e.config + off, size);
			assert_int_equal(val, want);
			virtio_config_write(v, off, size, UINT64_MAX);
			for (unsigned i = 0; i < CONFIG_LEN; i++)
				assert_int_equal(f->e.config[i],
						 inside && i >= off && i < off + size
							 ? 0xff
							 : 0x11 * (i + 1));
		}
		assert_int_equal(virtio_config_read(v, UINT64_MAX - size + 1, size), 0);
		assert_int_equal(virtio_config_read(v, 1ull << 32, size), 0);
		virtio_config_write(v, UINT64_MAX, size, 1);
	}
}

static void test_config_change(void **state)
{
	struct fixture *f = *state;
	uint8_t before = virtio_config_generation(&f->e.v);

	virtio_notify_config(&f->e.v); /* nobody to tell yet */
	assert_int_not_equal(virtio_config_generation(&f->e.v), before);
	assert_int_equal(fake_transport_config_irqs(&f->t), 0);
	go(f);
	virtio_notify_config(&f->e.v);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
}

/* --- reset ------------------------------------------------------------------------------------ */

static void test_reset_waits_for_what_is_in_flight(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->e.v;

	go(f);
	f->e.hold = true;
	virtq_driver_offer(&f->d[0], &one_buf, 1);
	kick(f, 0);
	assert_int_equal(f->e.in_flight, 1);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_status(v), LIVE);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), LIVE);
	assert_false(virtio_wait_reset(v, 1));
	/* Nothing that the driver writes meanwhile counts. */
	virtio_set_status(v, ACK);
	virtio_set_status(v, LIVE | FAILED);
	assert_int_equal(virtio_status(v), LIVE);
	virtq_driver_offer(&f->d[0], &one_buf, 1);
	kick(f, 0);
	assert_int_equal(f->e.in_flight, 1);

	echo_finish(&f->e);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), 0);
	assert_true(virtio_wait_reset(v, 0));
	assert_int_equal(f->e.stopped, f->e.started);
	assert_int_equal(virtio_queue_get(v, 0, VIRTIO_QUEUE_ENABLE), 0);
	/* The old ring is left alone from here. */
	uint16_t used = virtq_driver_used_idx(&f->d[0]);

	kick(f, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), used);
}

static void test_reset_before_the_loop_heard_of_the_start(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->e.v;

	virtio_driver_start(v, BASIC, f->d, QUEUES);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_status(v), LIVE);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), 0);
	assert_int_equal(f->e.started, f->e.stopped);
	go(f);
	assert_int_equal(virtio_status(v), LIVE);
}

/* --- pause -------------------------------------------------------------------------------------
 */

struct io {
	struct fixture *f;
	struct io_thread *thread;
};

static void finish_later(void *arg)
{
	struct echo *e = arg;

	echo_finish(e);
}

/* The fixture's device on a loop that really runs. */
static void use_thread(struct fixture *f, struct io *io)
{
	int err;

	shut(f);
	virtio_fini(&f->e.v);
	io->thread = io_thread_create("echo", &err);
	assert_non_null(io->thread);
	echo_init(&f->e, f, io_thread_loop(io->thread));
	fake_transport_init(&f->t, &f->e.v);
}

static void end_thread(struct fixture *f, struct io *io)
{
	virtio_fini(&f->e.v);
	io_thread_destroy(io->thread);
	echo_init(&f->e, f, f->loop);
}

static unsigned served(struct fixture *f, unsigned queue)
{
	return __atomic_load_n(&f->e.served[queue], __ATOMIC_SEQ_CST);
}

static void wait_served(struct fixture *f, unsigned queue, unsigned n)
{
	for (int i = 0; i < 20000 && served(f, queue) < n; i++)
		usleep(500);
	assert_int_equal(served(f, queue), n);
}

static void test_pause_and_resume(void **state)
{
	struct fixture *f = *state;
	struct io io;

	use_thread(f, &io);
	assert_int_equal(virtio_pause(&f->e.v, 1000), 0); /* idle: nothing to stop */
	virtio_resume(&f->e.v);
	virtio_driver_start(&f->e.v, BASIC, f->d, QUEUES);
	for (unsigned round = 0; round < 100; round++) {
		assert_int_equal(virtio_pause(&f->e.v, 10000), 0);
		virtq_driver_offer(&f->d[0], &one_buf, 1);
		virtio_kick(&f->e.v, 0);
		/* Everything stands still. */
		assert_int_equal(virtq_driver_used_idx(&f->d[0]), round);
		virtio_resume(&f->e.v);
		wait_served(f, 0, round + 1);
	}
	assert_int_equal(virtio_status(&f->e.v), LIVE);
	end_thread(f, &io);
}

static void test_pause_that_takes_too_long(void **state)
{
	struct fixture *f = *state;
	struct io io;

	use_thread(f, &io);
	f->e.hold = true;
	virtq_driver_offer(&f->d[0], &one_buf, 1);
	virtio_driver_start(&f->e.v, BASIC, f->d, QUEUES);
	/* The loop takes it as it starts; a stalled backend keeps it. */
	for (int i = 0; i < 1000 && virtio_pause(&f->e.v, 5) == 0; i++) {
		virtio_resume(&f->e.v);
		usleep(1000);
	}
	assert_int_equal(virtio_pause(&f->e.v, 5), -ETIMEDOUT);
	assert_int_equal(virtio_status(&f->e.v), LIVE);
	/* It ends after all: the device goes on by itself. */
	assert_int_equal(loop_post(io_thread_loop(io.thread), finish_later, &f->e), 0);
	wait_served(f, 0, 1);
	virtq_driver_offer(&f->d[1], &one_buf, 1);
	virtio_kick(&f->e.v, 1);
	for (int i = 0; i < 1000 && virtio_pause(&f->e.v, 5) == 0; i++) {
		virtio_resume(&f->e.v);
		usleep(1000);
	}
	/* A reset while a pause is pending wins. */
	virtio_set_status(&f->e.v, 0);
	assert_int_equal(virtio_status(&f->e.v), LIVE);
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
	struct fixture *f = *state;
	struct io io;
	struct echo copy;
	struct state_writer w, again;

	use_thread(f, &io);
	virtio_driver_start(&f->e.v, BASIC | VIRTIO_F_EVENT_IDX, f->d, QUEUES);
	for (int i = 0; i < 5; i++)
		virtq_driver_offer(&f->d[0], &one_buf, 1);
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
	virtq_driver_offer(&f->d[0], &one_buf, 1);
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
	struct fixture *f = *state;
	struct echo copy;
	struct state_writer w;

	go(f);
	virtio_set_status(&f->e.v, 0);
	loop_settle(f->loop);
	assert_true(virtio_driver_negotiate(&f->e.v, BASIC));
	virtio_driver_set_queue(&f->e.v, 0, &f->d[0]);
	save(&f->e.v, &w);
	w.data[32] |= OK; /* as if it was saved alive */

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
	struct fixture *f;
	bool stop;
};

/* Another vCPU, storing into rings and descriptors whatever comes. */
static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint64_t x = 88172645463325252ull;
	uint64_t *words[QUEUES];

	for (unsigned i = 0; i < QUEUES; i++)
		words[i] = guest_mem_hva(&m->f->gm, m->f->d[i].desc, 16 * SIZE);
	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		unsigned q = x & 1, at = (unsigned)(x >> 8) % (2 * SIZE);
		/* Often plausible: an address near RAM, a short buffer, a small next. */
		uint64_t val = at % 2 ? (x & 0x0007000700000fffull) : 0x200000 | (x & 0x3ffff0ull);

		__atomic_store_n(&words[q][at], val, __ATOMIC_RELAXED);
		if (!(x >> 20 & 63)) {
			virtq_driver_avail(&m->f->d[q], (uint16_t)(x >> 40) % SIZE);
			virtio_kick(&m->f->e.v, q);
		}
	}
	return NULL;
}

static void test_descriptors_changed_while_parsed(void **state)
{
	struct fixture *f = *state;
	struct mutator m = {.f = f};
	struct io io;
	pthread_t thread;

	use_thread(f, &io);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	for (int i = 0; i < 300; i++) {
		virtio_driver_start(&f->e.v, BASIC | VIRTIO_F_INDIRECT_DESC, f->d, QUEUES);
		for (int wait = 0; wait < 20 && !(virtio_status(&f->e.v) & NEEDS_RESET); wait++)
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
	struct fixture *f = *state;
	struct io io;

	use_thread(f, &io);
	for (int i = 0; i < 10000; i++) {
		virtq_driver_init(&f->d[0], &f->gm, RING(0), SIZE);
		virtio_driver_start(&f->e.v, BASIC, f->d, 1);
		for (int n = i % SIZE; n >= 0; n--) {
			virtq_driver_offer(&f->d[0], &one_buf, 1);
			virtio_kick(&f->e.v, 0);
		}
		virtio_set_status(&f->e.v, 0);
		while (virtio_status(&f->e.v))
			assert_true(virtio_wait_reset(&f->e.v, 10000));
		/* RAM is the driver's again: nobody but us writes to it. */
		uint8_t *buf = guest_mem_hva(&f->gm, DATA, 1);
		uint16_t used = virtq_driver_used_idx(&f->d[0]);

		*buf = 0;
		virtq_driver_offer(&f->d[0], &one_buf, 1);
		virtio_kick(&f->e.v, 0);
		assert_int_equal(virtq_driver_used_idx(&f->d[0]), used);
		assert_int_equal(*buf, 0);
	}
	end_thread(f, &io);
}

static void test_fini_while_active(void **state)
{
	struct fixture *f = *state;
	struct io io;

	for (int i = 0; i < 20; i++) {
		use_thread(f, &io);
		virtio_driver_start(&f->e.v, BASIC, f->d, QUEUES);
		virtio_kick(&f->e.v, 0);
		end_thread(f, &io);
	}
	struct virtio never = {0};

	virtio_fini(&never);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_offered_features),
		T(test_features_refused),
		T(test_status_out_of_order_is_ignored),
		T(test_queue_registers),
		T(test_queue_written_after_driver_ok),
		T(test_activation_refused),
		T(test_kick_before_driver_ok),
		T(test_served_and_one_interrupt_a_batch),
		T(test_one_queue_does_not_starve_the_other),
		T(test_violation_needs_reset),
		T(test_config_every_offset_and_size),
		T(test_config_change),
		T(test_reset_waits_for_what_is_in_flight),
		T(test_reset_before_the_loop_heard_of_the_start),
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
