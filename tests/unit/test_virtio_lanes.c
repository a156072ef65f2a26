/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device that two loops serve, a queue each: what one of them does, and what it takes
 * for both to be through. */
#include "tests/lib/echo_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct lanes {
	struct echo_rig *f;
	struct loop *other; /* of lane 1; f->loop is lane 0's */
};

static int setup(void **state)
{
	struct lanes *l = calloc(1, sizeof(*l));

	assert_int_equal(echo_rig_setup((void **)&l->f), 0);
	l->other = loop_create();
	assert_int_equal(virtio_add_lane(&l->f->e.v, l->other), 0);
	*state = l;
	return 0;
}

static void settle(struct lanes *l)
{
	loop_settle(l->f->loop);
	loop_settle(l->other);
}

static int teardown(void **state)
{
	struct lanes *l = *state;
	struct echo *e = &l->f->e;

	virtio_set_status(&e->v, 0);
	settle(l);
	e->hold = false;
	echo_finish(e);
	settle(l);
	assert_int_equal(virtio_status(&e->v), 0);
	assert_int_equal(echo_rig_teardown((void **)&l->f), 0);
	loop_destroy(l->other);
	free(l);
	return 0;
}

static void go(struct lanes *l)
{
	virtio_driver_start(&l->f->e.v, ECHO_BASIC, l->f->d, ECHO_QUEUES);
	settle(l);
	assert_int_equal(l->f->e.started, 2);
}

static void kick_both(struct lanes *l)
{
	for (unsigned i = 0; i < ECHO_QUEUES; i++) {
		virtq_driver_offer(&l->f->d[i], &echo_buf, 1);
		virtio_kick(&l->f->e.v, i);
	}
}

static void each_loop_serves_its_queue(void **state)
{
	struct lanes *l = *state;

	go(l);
	kick_both(l);
	loop_settle(l->other);
	assert_int_equal(l->f->e.served[0], 0);
	assert_int_equal(l->f->e.served[1], 1);
	loop_settle(l->f->loop);
	assert_int_equal(l->f->e.served[0], 1);
}

/* One loop has not even heard of it yet. */
static void a_reset_is_complete_when_both_have_let_go(void **state)
{
	struct lanes *l = *state;
	struct virtio *v = &l->f->e.v;

	go(l);
	virtio_set_status(v, 0);
	loop_settle(l->f->loop);
	assert_int_equal(l->f->e.stopped, 1);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
	assert_false(virtio_wait_reset(v, 1));
	/* The lane that has let go serves nobody, the other one is still at it. */
	kick_both(l);
	loop_settle(l->f->loop);
	assert_int_equal(l->f->e.served[0], 0);
	loop_settle(l->other);
	assert_int_equal(l->f->e.stopped, 2);
	assert_int_equal(virtio_status(v), 0);
	assert_int_equal(l->f->e.resets, 1);
}

static void a_lane_drains_by_itself(void **state)
{
	struct lanes *l = *state;
	struct virtio *v = &l->f->e.v;

	go(l);
	l->f->e.hold = true;
	virtq_driver_offer(&l->f->d[1], &echo_buf, 1);
	virtio_kick(v, 1);
	settle(l);
	assert_int_equal(l->f->e.in_flight, 1);
	virtio_set_status(v, 0);
	settle(l);
	assert_int_equal(l->f->e.stopped, 1);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
	echo_finish(&l->f->e);
	settle(l);
	assert_int_equal(l->f->e.stopped, 2);
	assert_int_equal(virtio_status(v), 0);
}

/* A driver that starts and resets before any loop has heard of either. */
static void a_reset_before_the_loops_heard_of_the_start(void **state)
{
	struct lanes *l = *state;
	struct virtio *v = &l->f->e.v;

	for (unsigned order = 0; order < 2; order++) {
		unsigned resets = l->f->e.resets;

		virtio_driver_start(v, ECHO_BASIC, l->f->d, ECHO_QUEUES);
		virtio_set_status(v, 0);
		loop_settle(order ? l->other : l->f->loop);
		assert_int_equal(virtio_status(v), ECHO_LIVE);
		loop_settle(order ? l->f->loop : l->other);
		assert_int_equal(virtio_status(v), 0);
		assert_int_equal(l->f->e.resets, resets + 1);
		assert_int_equal(l->f->e.started, l->f->e.stopped);
	}
}

static void a_failure_stops_both(void **state)
{
	struct lanes *l = *state;
	struct virtio *v = &l->f->e.v;
	const struct vd_buf outside = {ECHO_RAM, 64, true};

	go(l);
	virtq_driver_offer(&l->f->d[1], &outside, 1);
	virtio_kick(v, 1);
	loop_settle(l->other);
	assert_int_equal(virtio_status(v), ECHO_LIVE | ECHO_NEEDS_RESET);
	assert_int_equal(fake_transport_config_irqs(&l->f->t), 1);
	virtq_driver_offer(&l->f->d[0], &echo_buf, 1);
	virtio_kick(v, 0);
	loop_settle(l->f->loop);
	assert_int_equal(l->f->e.served[0], 0);
	virtio_set_status(v, 0);
	settle(l);
	assert_int_equal(virtio_status(v), 0);
	/* It is over with the reset, for both. */
	for (unsigned i = 0; i < ECHO_QUEUES; i++)
		virtq_driver_init(&l->f->d[i], &l->f->gm, ECHO_RING(i), ECHO_SIZE);
	virtio_driver_start(v, ECHO_BASIC, l->f->d, ECHO_QUEUES);
	kick_both(l);
	settle(l);
	assert_int_equal(l->f->e.served[0], 1);
	assert_int_equal(l->f->e.served[1], 1);
}

/* --- pause -------------------------------------------------------------------------------- */

static void both_stand_still_and_go_on(void **state)
{
	struct lanes *l = *state;
	struct virtio *v = &l->f->e.v;

	go(l);
	assert_int_equal(virtio_pause(v, 0), -ETIMEDOUT);
	loop_settle(l->other);
	assert_int_equal(virtio_pause(v, 0), -ETIMEDOUT);
	/* Nobody waits for it any more: both go on as soon as both have let go. */
	loop_settle(l->f->loop);
	settle(l);
	kick_both(l);
	settle(l);
	assert_int_equal(l->f->e.served[0], 1);
	assert_int_equal(l->f->e.served[1], 1);
	assert_int_equal(l->f->e.started, 4);
	assert_int_equal(l->f->e.stopped, 2);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
}

static void a_reset_wins_over_a_pause_under_way(void **state)
{
	struct lanes *l = *state;
	struct virtio *v = &l->f->e.v;

	go(l);
	assert_int_equal(virtio_pause(v, 0), -ETIMEDOUT);
	loop_settle(l->other);
	virtio_set_status(v, 0);
	assert_int_equal(virtio_status(v), ECHO_LIVE);
	loop_settle(l->f->loop);
	assert_int_equal(virtio_status(v), 0);
	settle(l);
	assert_int_equal(l->f->e.started, 2);
	assert_int_equal(l->f->e.stopped, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_loop_serves_its_queue),
		T(a_reset_is_complete_when_both_have_let_go),
		T(a_lane_drains_by_itself),
		T(a_reset_before_the_loops_heard_of_the_start),
		T(a_failure_stops_both),
		T(both_stand_still_and_go_on),
		T(a_reset_wins_over_a_pause_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
