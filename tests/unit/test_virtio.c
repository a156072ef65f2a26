/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a virtio device, seen from its driver: negotiation, queues, serving, configuration,
 * reset. With another thread, paused and saved it is test_virtio_pause's. */
#include "tests/lib/echo_rig.h"
#include "vmm/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* --- negotiation ---------------------------------------------------------------------- */

static void test_offered_features(void **state)
{
	struct virtio *v = &((struct echo_rig *)*state)->e.v;

	assert_int_equal(virtio_offered(v, 0), 1u | 1u << 28 | 1u << 29);
	assert_int_equal(virtio_offered(v, 1), 1u | 1u << 1);
	assert_int_equal(virtio_offered(v, 2), 0);
	assert_int_equal(virtio_offered(v, 0xffffffff), 0);
}

static void refused(struct virtio *v, uint64_t features)
{
	assert_false(virtio_driver_negotiate(v, features));
	assert_int_equal(virtio_status(v), ECHO_ACK | ECHO_DRIVER);
	/* And DRIVER_OK is out of order now. */
	virtio_set_status(v, ECHO_ACK | ECHO_DRIVER | ECHO_OK);
	assert_int_equal(virtio_status(v), ECHO_ACK | ECHO_DRIVER);
	virtio_set_status(v, 0);
}

static void test_features_refused(void **state)
{
	struct virtio *v = &((struct echo_rig *)*state)->e.v;

	refused(v, 0);                       /* no VERSION_1 */
	refused(v, ECHO_BASIC | 1ull << 63); /* not offered */
	refused(v, ECHO_BASIC | ECHO_F_ODD); /* without what it needs */
	assert_true(virtio_driver_negotiate(v, ECHO_BASIC | ECHO_F_ODD | ECHO_F_MAGIC));
	/* Final from here. */
	virtio_set_driver_features(v, 0, 0);
	assert_int_equal(virtio_driver_features(v, 0), ECHO_F_ODD);
	virtio_set_driver_features(v, 2, 5);
	assert_int_equal(virtio_driver_features(v, 2), 0);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_driver_features(v, 0), 0);
}

static void test_status_out_of_order_is_ignored(void **state)
{
	struct virtio *v = &((struct echo_rig *)*state)->e.v;
	const uint8_t bad[] = {ECHO_DRIVER,
			       ECHO_OK,
			       ECHO_FEAT,
			       ECHO_DRIVER | ECHO_FEAT,
			       ECHO_ACK | ECHO_FEAT,
			       ECHO_ACK | ECHO_OK,
			       0x10,
			       0x20,
			       64};

	for (unsigned i = 0; i < sizeof(bad); i++) {
		virtio_set_status(v, bad[i]);
		assert_int_equal(virtio_status(v), 0);
	}
	virtio_set_status(v, ECHO_ACK);
	virtio_set_status(v, ECHO_ACK | ECHO_DRIVER);
	virtio_set_status(v, ECHO_ACK); /* a bit cleared */
	assert_int_equal(virtio_status(v), ECHO_ACK | ECHO_DRIVER);
	virtio_set_status(v, ECHO_ACK | ECHO_DRIVER | ECHO_OK);
	assert_int_equal(virtio_status(v), ECHO_ACK | ECHO_DRIVER);
	virtio_set_status(v, ECHO_ACK | ECHO_DRIVER | ECHO_FAILED);
	assert_int_equal(virtio_status(v), ECHO_ACK | ECHO_DRIVER | ECHO_FAILED);
	assert_int_equal(((struct echo_rig *)*state)->e.started, 0);
}

/* --- queue set-up ----------------------------------------------------------------------- */

static void test_queue_registers(void **state)
{
	struct echo_rig *f = *state;
	struct virtio *v = &f->e.v;

	assert_int_equal(virtio_queue_get(v, 0, VIRTIO_QUEUE_SIZE), ECHO_SIZE);
	for (int field = VIRTIO_QUEUE_DESC_LO; field <= VIRTIO_QUEUE_USED_HI; field++) {
		virtio_queue_set(v, 1, field, 0x1000u + (unsigned)field);
		assert_int_equal(virtio_queue_get(v, 1, field), 0x1000u + (unsigned)field);
	}
	assert_int_equal(v->queues[1].config.avail, (0x1000ull + VIRTIO_QUEUE_AVAIL_HI) << 32 |
							    (0x1000 + VIRTIO_QUEUE_AVAIL_LO));
	/* Out of range. */
	virtio_queue_set(v, ECHO_QUEUES, VIRTIO_QUEUE_SIZE, 4);
	virtio_queue_set(v, 0xffffffff, VIRTIO_QUEUE_ENABLE, 1);
	assert_int_equal(virtio_queue_get(v, ECHO_QUEUES, VIRTIO_QUEUE_SIZE), 0);
	assert_int_equal(virtio_queue_get(v, 0xffff, VIRTIO_QUEUE_ENABLE), 0);
	virtio_kick(v, ECHO_QUEUES);
	virtio_kick(v, 0xffffffff);
	/* Enabled: fixed; and back at the defaults after a reset. */
	virtio_queue_set(v, 1, VIRTIO_QUEUE_ENABLE, 1);
	virtio_queue_set(v, 1, VIRTIO_QUEUE_SIZE, 2);
	virtio_queue_set(v, 1, VIRTIO_QUEUE_DESC_LO, 0);
	assert_int_equal(virtio_queue_get(v, 1, VIRTIO_QUEUE_SIZE), ECHO_SIZE);
	assert_int_equal(virtio_queue_get(v, 1, VIRTIO_QUEUE_DESC_LO),
			 0x1000 + VIRTIO_QUEUE_DESC_LO);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_queue_get(v, 1, VIRTIO_QUEUE_ENABLE), 0);
	assert_int_equal(virtio_queue_get(v, 1, VIRTIO_QUEUE_DESC_LO), 0);
}

static void test_queue_written_after_driver_ok(void **state)
{
	struct echo_rig *f = *state;
	struct virtio *v = &f->e.v;
	uint32_t before[VIRTIO_QUEUE_USED_HI + 1];

	/* Queue 1 is left disabled: not to be enabled later either. */
	virtio_driver_start(v, ECHO_BASIC, f->d, 1);
	for (unsigned q = 0; q < ECHO_QUEUES; q++) {
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
	struct echo_rig *f = *state;
	struct virtio *v = &f->e.v;
	const struct {
		enum virtio_queue_field field;
		uint32_t val;
	} bad[] = {
		{VIRTIO_QUEUE_SIZE, 0},
		{VIRTIO_QUEUE_SIZE, 3},
		{VIRTIO_QUEUE_SIZE, ECHO_SIZE * 2},
		{VIRTIO_QUEUE_SIZE, 0x10000 + ECHO_SIZE},
		{VIRTIO_QUEUE_DESC_LO, 8},
		{VIRTIO_QUEUE_AVAIL_LO, 1},
		{VIRTIO_QUEUE_USED_LO, 2},
		{VIRTIO_QUEUE_DESC_LO, ECHO_RAM - 16},
		{VIRTIO_QUEUE_USED_HI, 0xffffffff},
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		unsigned irqs = fake_transport_config_irqs(&f->t);

		assert_true(virtio_driver_negotiate(v, ECHO_BASIC));
		virtio_driver_set_queue(v, 0, &f->d[0]);
		virtio_driver_set_queue(v, 1, &f->d[1]);
		virtio_queue_set(v, 1, VIRTIO_QUEUE_ENABLE, 0);
		virtio_queue_set(v, 1, bad[i].field, bad[i].val);
		virtio_queue_set(v, 1, VIRTIO_QUEUE_ENABLE, 1);
		virtio_set_status(v, ECHO_LIVE);
		assert_int_equal(virtio_status(v), ECHO_LIVE | ECHO_NEEDS_RESET);
		assert_int_equal(fake_transport_config_irqs(&f->t), irqs + 1);
		loop_settle(f->loop);
		assert_int_equal(f->e.started, 0);
		/* A reset mends it, at once since nothing ran. */
		virtio_set_status(v, 0);
		assert_int_equal(virtio_status(v), 0);
	}
	echo_rig_go(f);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
}

/* --- serving ----------------------------------------------------------------------------- */

static void test_kick_before_driver_ok(void **state)
{
	struct echo_rig *f = *state;
	struct virtio *v = &f->e.v;

	assert_true(virtio_driver_negotiate(v, ECHO_BASIC));
	virtio_driver_set_queue(v, 0, &f->d[0]);
	virtq_driver_offer(&f->d[0], &echo_buf, 1);
	echo_rig_kick(f, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 0);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 0);
	/* What was offered early is found without another kick. */
	virtio_set_status(v, ECHO_LIVE);
	loop_settle(f->loop);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 1);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 1);
}

static void test_served_and_one_interrupt_a_batch(void **state)
{
	struct echo_rig *f = *state;

	echo_rig_go(f);
	for (int i = 0; i < 3; i++)
		virtq_driver_offer(&f->d[1], &echo_buf, 1);
	echo_rig_kick(f, 1);
	assert_int_equal(virtq_driver_used_idx(&f->d[1]), 3);
	assert_int_equal(fake_transport_irqs(&f->t, 1), 1);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 0);
	/* Spurious doorbells do nothing. */
	echo_rig_kick(f, 1);
	assert_int_equal(fake_transport_irqs(&f->t, 1), 1);
	assert_true(f->e.v.queues[1].counts.kicks == 2);
	assert_true(f->e.v.queues[1].counts.interrupts == 1);
}

static void test_one_queue_does_not_starve_the_other(void **state)
{
	struct echo_rig *f = *state;

	echo_rig_go(f);
	f->e.refill = &f->d[0];
	f->e.n_order = 0;
	virtq_driver_offer(&f->d[0], &echo_buf, 1);
	virtq_driver_offer(&f->d[1], &echo_buf, 1);
	virtio_kick(&f->e.v, 0);
	virtio_kick(&f->e.v, 1);
	loop_settle(f->loop);
	assert_int_equal(f->e.served[1], 1);
	/* Queue 0 had several turns of no more than its size each. */
	assert_true(f->e.served[0] > ECHO_SIZE);
	assert_true(f->e.served[0] <= ECHO_SIZE * f->e.n_order);
	f->e.refill = NULL;
}

static void test_violation_needs_reset(void **state)
{
	struct echo_rig *f = *state;
	struct virtio *v = &f->e.v;

	echo_rig_go(f);
	virtq_driver_set_avail_idx(&f->d[0], ECHO_SIZE + 1);
	echo_rig_kick(f, 0);
	assert_int_equal(virtio_status(v), ECHO_LIVE | ECHO_NEEDS_RESET);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
	/* Not served any more, not even the queue that was in order. */
	virtq_driver_offer(&f->d[1], &echo_buf, 1);
	echo_rig_kick(f, 1);
	echo_rig_kick(f, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[1]), 0);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
	/* The driver may not clear the bit but by a reset, which works. */
	virtio_set_status(v, ECHO_LIVE);
	assert_int_equal(virtio_status(v), ECHO_LIVE | ECHO_NEEDS_RESET);
	virtio_set_status(v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), 0);
	virtq_driver_init(&f->d[0], &f->gm, ECHO_RING(0), ECHO_SIZE);
	virtq_driver_init(&f->d[1], &f->gm, ECHO_RING(1), ECHO_SIZE);
	echo_rig_go(f);
	virtq_driver_offer(&f->d[0], &echo_buf, 1);
	echo_rig_kick(f, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), 1);
}

/* --- configuration space ---------------------------------------------------------------------- */

static void test_config_every_offset_and_size(void **state)
{
	struct echo_rig *f = *state;
	struct virtio *v = &f->e.v;

	for (unsigned size = 1; size <= 8; size *= 2) {
		for (uint64_t off = 0; off < ECHO_CONFIG_LEN + 16; off++) {
			bool inside = off + size <= ECHO_CONFIG_LEN;

			memcpy(f->e.config, "\x11\x22\x33\x44\x55\x66", ECHO_CONFIG_LEN);
			uint64_t val = virtio_config_read(v, off, size), want = 0;

			if (inside)
				memcpy(&want, f->e.config + off, size);
			assert_int_equal(val, want);
			virtio_config_write(v, off, size, UINT64_MAX);
			for (unsigned i = 0; i < ECHO_CONFIG_LEN; i++)
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
	struct echo_rig *f = *state;
	uint8_t before = virtio_config_generation(&f->e.v);

	virtio_notify_config(&f->e.v); /* nobody to tell yet */
	assert_int_not_equal(virtio_config_generation(&f->e.v), before);
	assert_int_equal(fake_transport_config_irqs(&f->t), 0);
	echo_rig_go(f);
	virtio_notify_config(&f->e.v);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
}

/* --- reset ------------------------------------------------------------------------------------ */

static void test_reset_waits_for_what_is_in_flight(void **state)
{
	struct echo_rig *f = *state;
	struct virtio *v = &f->e.v;

	echo_rig_go(f);
	f->e.hold = true;
	virtq_driver_offer(&f->d[0], &echo_buf, 1);
	echo_rig_kick(f, 0);
	assert_int_equal(f->e.in_flight, 1);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
	assert_false(virtio_wait_reset(v, 1));
	/* Nothing that the driver writes meanwhile counts. */
	virtio_set_status(v, ECHO_ACK);
	virtio_set_status(v, ECHO_LIVE | ECHO_FAILED);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
	virtq_driver_offer(&f->d[0], &echo_buf, 1);
	echo_rig_kick(f, 0);
	assert_int_equal(f->e.in_flight, 1);

	echo_finish(&f->e);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), 0);
	assert_true(virtio_wait_reset(v, 0));
	assert_int_equal(f->e.stopped, f->e.started);
	assert_int_equal(virtio_queue_get(v, 0, VIRTIO_QUEUE_ENABLE), 0);
	/* The old ring is left alone from here. */
	uint16_t used = virtq_driver_used_idx(&f->d[0]);

	echo_rig_kick(f, 0);
	assert_int_equal(virtq_driver_used_idx(&f->d[0]), used);
}

static void test_reset_before_the_loop_heard_of_the_start(void **state)
{
	struct echo_rig *f = *state;
	struct virtio *v = &f->e.v;

	virtio_driver_start(v, ECHO_BASIC, f->d, ECHO_QUEUES);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(v), 0);
	assert_int_equal(f->e.started, f->e.stopped);
	echo_rig_go(f);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, echo_rig_setup, echo_rig_teardown)
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
