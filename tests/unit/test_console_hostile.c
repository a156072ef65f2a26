/* SPDX-License-Identifier: Apache-2.0 */
/* Drivers that break the rules of the virtio console: it fails, alone, and nobody grows. */
#include "tests/lib/console_rig.h"
#include "vmm/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void assert_failed(struct console_rig *f)
{
	assert_int_equal(virtio_status(&f->c.v), CONSOLE_RIG_LIVE | CONSOLE_RIG_NEEDS_RESET);
}

static void test_hostile_input_buffer_is_not_writable(void **state)
{
	struct console_rig *f = *state;
	const struct vd_buf b = {CONSOLE_RIG_DATA, 16, false};

	virtq_driver_offer(&f->q[0], &b, 1);
	console_rig_type(f, 0, "x");
	assert_failed(f);
	/* And what was typed is there for the next driver. */
	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	console_rig_start(f, CONSOLE_RIG_BASIC);
	console_rig_offer(f, 0, 1, 10);
	console_rig_expect_input(f, 0, 0, "x");
}

static void test_hostile_output_without_a_byte(void **state)
{
	struct console_rig *f = *state;
	const struct vd_buf b = {CONSOLE_RIG_DATA, 16, true};
	uint32_t id, len;

	virtq_driver_offer(&f->q[1], &b, 1);
	console_rig_kick(f, 1);
	assert_true(virtq_driver_take_used(&f->q[1], &id, &len));
	assert_int_equal(len, 0);
	assert_int_equal(f->hosts[0].n, 0);
	assert_int_equal(virtio_status(&f->c.v), CONSOLE_RIG_LIVE);
}

/* The same megabytes again and again in one chain: the work is bounded. */
static void test_hostile_endless_chain(void **state)
{
	struct console_rig *f = *state;
	struct vd_buf bufs[60];

	for (unsigned i = 0; i < 60; i++)
		bufs[i] = (struct vd_buf){CONSOLE_RIG_DATA, 2 * MiB, false};
	*console_rig_ram(f, CONSOLE_RIG_DATA + 2 * MiB - 1) = '!';
	virtq_driver_offer(&f->q[1], bufs, 60);
	console_rig_kick(f, 1);
	assert_int_equal(f->hosts[0].n, VIRTIO_CONSOLE_CHAIN_MAX);
	assert_int_equal(f->hosts[0].got[f->hosts[0].n - 1], '!');
	assert_int_equal(virtio_status(&f->c.v), CONSOLE_RIG_LIVE);
}

static void test_hostile_control_message_cut_short(void **state)
{
	struct console_rig *f = *state;
	const struct vd_buf b = {CONSOLE_RIG_DATA, 7, false};

	virtq_driver_offer(&f->q[3], &b, 1);
	console_rig_kick(f, 3);
	assert_failed(f);
}

static void test_hostile_control_messages_without_sense(void **state)
{
	struct console_rig *f = *state;

	console_rig_offer(f, 2, 20, 64);
	for (unsigned event = 0; event < 300; event++)
		for (unsigned value = 0; value < 3; value++) {
			console_rig_control(f, CONSOLE_RIG_PORTS,
					    (uint16_t)event ? (uint16_t)event : 3, (uint16_t)value);
			console_rig_control(f, UINT32_MAX, (uint16_t)event ? (uint16_t)event : 6,
					    (uint16_t)value);
			if (event != CONSOLE_RIG_READY && event != CONSOLE_RIG_PORT_READY &&
			    event != CONSOLE_RIG_OPEN)
				console_rig_control(f, 1, (uint16_t)event, (uint16_t)value);
		}
	console_rig_control(f, 0, CONSOLE_RIG_READY, 0); /* the driver gives up */
	console_rig_expect_nothing(f, 2);
	assert_int_equal(virtio_status(&f->c.v), CONSOLE_RIG_LIVE);
	console_rig_control(f, 0, CONSOLE_RIG_READY, 1); /* and is heard when it does not */
	console_rig_expect_control(f, 0, 0, CONSOLE_RIG_ADD, 0, 0);
}

static void test_hostile_control_buffer_too_small(void **state)
{
	struct console_rig *f = *state;

	console_rig_offer(f, 2, 1, 7);
	console_rig_control(f, 0, CONSOLE_RIG_READY, 1);
	assert_failed(f);
}

/* A driver that asks for messages faster than it takes them makes nobody grow. */
static void test_hostile_flood_of_control_messages(void **state)
{
	struct console_rig *f = *state;

	for (unsigned i = 0; i < 10000; i++)
		console_rig_control(f, i % CONSOLE_RIG_PORTS,
				    i % 2 ? CONSOLE_RIG_READY : CONSOLE_RIG_PORT_READY, 1);
	console_rig_offer(f, 2, 20, 64);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t id, len;

		/* ADD, (CONSOLE), (NAME), OPEN: each once. */
		for (unsigned k = 0; k < 3; k++)
			assert_true(virtq_driver_take_used(&f->q[2], &id, &len));
	}
	console_rig_expect_nothing(f, 2);
}

/* A driver that set up the queue of its messages, and none for the answers. */
static void test_hostile_answers_without_a_queue(void **state)
{
	struct console_rig *f = *state;

	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	virtq_driver_init(&f->q[3], &f->gm, CONSOLE_RIG_RINGS, CONSOLE_RIG_QUEUE);
	assert_true(virtio_driver_negotiate(&f->c.v, CONSOLE_RIG_MULTIPORT));
	virtio_driver_set_queue(&f->c.v, 3, &f->q[3]);
	virtio_set_status(&f->c.v, CONSOLE_RIG_LIVE);
	loop_settle(f->loop);
	console_rig_control(f, 0, CONSOLE_RIG_READY, 1);
	console_rig_control(f, 0, CONSOLE_RIG_PORT_READY, 1);
	console_rig_type(f, 0, "x");
	assert_int_equal(virtio_status(&f->c.v), CONSOLE_RIG_LIVE);
}

static void test_hostile_every_config_access(void **state)
{
	struct console_rig *f = *state;

	for (unsigned off = 0; off < 32; off++)
		for (unsigned size = 1; size <= 8; size *= 2)
			if (off + size > VIRTIO_CONSOLE_CFG_LEN)
				assert_int_equal(virtio_config_read(&f->c.v, off, size), 0);
			else
				virtio_config_read(&f->c.v, off, size);
}

int main(void)
{
#define ONE(f)  cmocka_unit_test_setup_teardown(f, console_rig_single, console_rig_teardown)
#define MANY(f) cmocka_unit_test_setup_teardown(f, console_rig_several, console_rig_teardown)
	const struct CMUnitTest tests[] = {
		ONE(test_hostile_input_buffer_is_not_writable),
		ONE(test_hostile_output_without_a_byte),
		ONE(test_hostile_endless_chain),
		MANY(test_hostile_control_message_cut_short),
		MANY(test_hostile_control_messages_without_sense),
		MANY(test_hostile_control_buffer_too_small),
		MANY(test_hostile_flood_of_control_messages),
		MANY(test_hostile_answers_without_a_queue),
		MANY(test_hostile_every_config_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
