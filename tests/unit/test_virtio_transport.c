/* SPDX-License-Identifier: Apache-2.0 */
/* What every transport promises a driver, over each of them: negotiation, queues, kicks,
 * interrupts, resets, and what a hostile driver gets. Saved state is in
 * test_virtio_transport_state.c; the registers themselves are in test_virtio_pci*.c and
 * test_virtio_mmio.c. */
#include "tests/lib/virtio_rig.h"

#include <errno.h>
#include <string.h>

/* --- working -------------------------------------------------------------------------- */

static void driver_brings_it_up_and_uses_it(struct rig *r)
{
	const struct rig_transport *t = r->t;

	rig_bring_up(r);
	for (unsigned round = 0; round < 100; round++)
		rig_transact(r, round % RIG_QUEUES);
	rig_wait_until(t->used_interrupt(r, 0));
	assert_false(t->config_interrupt(r));
	assert_true(r->echo.ready[0] > 0 && r->echo.ready[1] > 0);
	/* The kicks did not go through the device model. */
	unsigned before = r->trapped;

	t->kick(r, 0);
	t->kick(r, 1);
	assert_int_equal(r->trapped, before);
	assert_int_equal(fake_doorbell_count(&r->bell), RIG_QUEUES);
}

static void each_queue_interrupts(struct rig *r)
{
	const struct rig_transport *t = r->t;

	rig_bring_up(r);
	for (unsigned round = 0; round < 20; round++)
		for (unsigned i = 0; i < RIG_QUEUES; i++) {
			rig_transact(r, i);
			rig_wait_until(t->used_interrupt(r, i));
		}
}

static void doorbell_without_ioeventfd_is_trapped(struct rig *r)
{
	rig_bring_up(r);
	assert_int_equal(fake_doorbell_count(&r->bell), 0);
	for (unsigned round = 0; round < 20; round++)
		rig_transact(r, round % RIG_QUEUES);
	rig_wait_until(r->t->used_interrupt(r, 0));
}

static void config_change_interrupts_and_bumps_the_generation(struct rig *r)
{
	const struct rig_transport *t = r->t;

	/* Before DRIVER_OK nobody is told. */
	virtio_notify_config(&r->echo.v);
	rig_bring_up(r);
	assert_false(t->config_interrupt(r));
	uint32_t generation = t->generation(r);

	virtio_notify_config(&r->echo.v);
	assert_true(t->config_interrupt(r));
	assert_int_not_equal(t->generation(r), generation);
	assert_false(t->config_interrupt(r));
}

static void config_space_at_every_offset(struct rig *r)
{
	const struct rig_transport *t = r->t;

	t->find(r);
	/* Readable before FEATURES_OK [virtio 1.3 2.5.2]. */
	assert_int_equal(t->config_ld(r, 0, 4), 0x13121110);
	assert_int_equal(t->config_ld(r, 4, 8), 0x1b1a191817161514);
	assert_int_equal(t->config_ld(r, 11, 1), 0x1b);
	t->config_st(r, 2, 2, 0xbeef);
	assert_int_equal(t->config_ld(r, 0, 4), 0xbeef1110);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 0xe00; off++) {
			if (off + size <= RIG_CONFIG_LEN) {
				t->config_ld(r, off, size);
				continue;
			}
			t->config_st(r, off, size, UINT64_MAX);
			assert_int_equal(t->config_ld(r, off, size), 0);
		}
	assert_int_equal(t->config_ld(r, 4, 8), 0x1b1a191817161514);
}

/* --- negotiation ------------------------------------------------------------------------ */

static void feature_select_above_1_reads_0(struct rig *r)
{
	static const uint32_t beyond[] = {2, 3, 31, 0x80000000, UINT32_MAX};
	const struct rig_transport *t = r->t;

	t->find(r);
	assert_int_equal(t->offered(r, 0), 1u << 5 | 1u << 28 | 1u << 29);
	assert_int_equal(t->offered(r, 1), 1);
	t->set_status(r, RIG_ACK);
	t->set_status(r, RIG_DRIVER);
	t->accept(r, 1, 1);
	for (unsigned i = 0; i < ARRAY_LEN(beyond); i++) {
		assert_int_equal(t->offered(r, beyond[i]), 0);
		t->accept(r, beyond[i], UINT32_MAX); /* and is nobody's */
	}
	t->set_status(r, RIG_FEATURES_OK);
	assert_int_equal(t->status(r), RIG_FEATURES_OK);
}

static void features_not_offered_are_refused(struct rig *r)
{
	static const struct {
		uint32_t low, high;
	} bad[] = {{0, 0}, {1, 1},           {1u << 4, 1},
		   {0, 3}, {0, 1u << 8 | 1}, {UINT32_MAX, UINT32_MAX}};
	const struct rig_transport *t = r->t;

	t->find(r);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		t->reset(r);
		t->set_status(r, RIG_ACK);
		t->set_status(r, RIG_DRIVER);
		t->accept(r, 0, bad[i].low);
		t->accept(r, 1, bad[i].high);
		t->set_status(r, RIG_FEATURES_OK);
		assert_int_equal(t->status(r), RIG_DRIVER);
		t->set_status(r, RIG_RUNNING);
		assert_int_equal(t->status(r), RIG_DRIVER);
	}
	rig_bring_up(r);
	rig_transact(r, 0);
}

static void status_bits_out_of_order_are_ignored(struct rig *r)
{
	static const uint8_t bad[] = {0x02, 0x04, 0x08, 0x0c, 0x05, 0x09, 0x06, 0x0e, 0x07};
	const struct rig_transport *t = r->t;

	t->find(r);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		t->set_status(r, bad[i]);
		assert_int_equal(t->status(r), 0);
	}
	rig_negotiate(r);
	t->set_status(r, RIG_DRIVER); /* a bit taken back */
	t->set_status(r, RIG_ACK);
	assert_int_equal(t->status(r), RIG_FEATURES_OK);
	t->set_up_interrupts(r);
	rig_set_up_queues(r);
	t->set_status(r, RIG_RUNNING);
	rig_transact(r, 0);
	t->set_status(r, RIG_FEATURES_OK);
	assert_int_equal(t->status(r), RIG_RUNNING);
	rig_transact(r, 1);
}

/* "Consume and notify nothing before DRIVER_OK." */
static void kick_before_driver_ok(struct rig *r)
{
	const struct rig_transport *t = r->t;
	uint32_t id, len;

	t->find(r);
	t->kick(r, 0);
	rig_negotiate(r);
	t->set_up_interrupts(r);
	rig_set_up_queues(r);
	rig_offer(r, 0);
	usleep(20000);
	assert_int_equal(virtq_driver_used_idx(&r->q[0]), 0);
	assert_int_equal(r->echo.ready[0], 0);
	assert_false(t->used_interrupt(r, 0));
	/* It is not forgotten either. */
	t->set_status(r, RIG_RUNNING);
	rig_wait_until(virtq_driver_take_used(&r->q[0], &id, &len));
}

/* --- queues -------------------------------------------------------------------------------- */

static const enum virtio_queue_field fields[] = {
	VIRTIO_QUEUE_SIZE,     VIRTIO_QUEUE_DESC_LO, VIRTIO_QUEUE_DESC_HI, VIRTIO_QUEUE_AVAIL_LO,
	VIRTIO_QUEUE_AVAIL_HI, VIRTIO_QUEUE_USED_LO, VIRTIO_QUEUE_USED_HI, VIRTIO_QUEUE_ENABLE,
};

static void queue_select_out_of_range(struct rig *r)
{
	static const uint32_t absent[] = {RIG_QUEUES, 63, 64, 65, 0x7fff, 0xffff};
	const struct rig_transport *t = r->t;

	t->find(r);
	rig_negotiate(r);
	for (unsigned i = 0; i < ARRAY_LEN(absent); i++) {
		assert_int_equal(t->queue_get(r, absent[i], VIRTIO_QUEUE_SIZE_MAX), 0);
		for (unsigned f = 0; f < ARRAY_LEN(fields); f++) {
			t->queue_set(r, absent[i], fields[f], 1);
			assert_int_equal(t->queue_get(r, absent[i], fields[f]), 0);
		}
	}
	rig_bring_up(r);
	rig_transact(r, 1);
}

static void queue_fields_written_after_driver_ok(struct rig *r)
{
	const struct rig_transport *t = r->t;

	rig_bring_up(r);
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		struct virtq_config before = r->echo.v.queues[i].config;

		for (unsigned f = 0; f < ARRAY_LEN(fields); f++) {
			uint32_t was = t->queue_get(r, i, fields[f]);

			t->queue_set(r, i, fields[f], 0);
			t->queue_set(r, i, fields[f], 0x1008);
			assert_int_equal(t->queue_get(r, i, fields[f]), was);
		}
		assert_memory_equal(&before, &r->echo.v.queues[i].config, sizeof(before));
		rig_transact(r, i);
	}
}

/* Size 0, no power of two, above the largest; addresses unaligned, beyond RAM, wrapping. */
static void bad_queues_are_refused_at_driver_ok(struct rig *r)
{
	static const struct {
		enum virtio_queue_field field;
		uint32_t val;
	} bad[] = {
		{VIRTIO_QUEUE_SIZE, 0},
		{VIRTIO_QUEUE_SIZE, 3},
		{VIRTIO_QUEUE_SIZE, 128},
		{VIRTIO_QUEUE_SIZE, 0x8000},
		{VIRTIO_QUEUE_DESC_LO, 0x10008},
		{VIRTIO_QUEUE_AVAIL_LO, 0x10401},
		{VIRTIO_QUEUE_USED_LO, 0x11002},
		{VIRTIO_QUEUE_DESC_LO, RIG_RAM},
		{VIRTIO_QUEUE_USED_LO, RIG_RAM - 8},
		{VIRTIO_QUEUE_DESC_HI, 1},
		{VIRTIO_QUEUE_AVAIL_HI, UINT32_MAX},
		{VIRTIO_QUEUE_USED_LO, 0xfffffffc},
	};
	const struct rig_transport *t = r->t;

	t->find(r);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		rig_negotiate(r);
		t->set_up_interrupts(r);
		rig_set_up_queues(r);
		t->reset(r);
		t->set_status(r, RIG_ACK);
		t->set_status(r, RIG_DRIVER);
		t->accept(r, 1, 1);
		t->set_status(r, RIG_FEATURES_OK);
		t->set_up_interrupts(r);
		/* As rig_set_up_queues(), but for one word. */
		for (unsigned q = 0; q < RIG_QUEUES; q++) {
			t->queue_set(r, q, VIRTIO_QUEUE_SIZE, r->q[q].size);
			t->queue_set(r, q, VIRTIO_QUEUE_DESC_LO, (uint32_t)r->q[q].desc);
			t->queue_set(r, q, VIRTIO_QUEUE_AVAIL_LO, (uint32_t)r->q[q].avail);
			t->queue_set(r, q, VIRTIO_QUEUE_USED_LO, (uint32_t)r->q[q].used);
			if (q == 0)
				t->queue_set(r, q, bad[i].field, bad[i].val);
			t->queue_set(r, q, VIRTIO_QUEUE_ENABLE, 1);
		}
		t->set_status(r, RIG_RUNNING);
		assert_int_equal(t->status(r), RIG_BROKEN);
		assert_true(t->config_interrupt(r));
	}
	rig_bring_up(r);
	rig_transact(r, 0);
}

/* A queue that was not enabled is not touched. */
static void queue_that_is_not_ready_is_left_alone(struct rig *r)
{
	const struct rig_transport *t = r->t;

	t->find(r);
	rig_negotiate(r);
	t->set_up_interrupts(r);
	rig_set_up_queues(r);
	t->reset(r);
	rig_negotiate(r);
	t->set_up_interrupts(r);
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		t->queue_set(r, i, VIRTIO_QUEUE_SIZE, r->q[i].size);
		t->queue_set(r, i, VIRTIO_QUEUE_DESC_LO, (uint32_t)r->q[i].desc);
		t->queue_set(r, i, VIRTIO_QUEUE_AVAIL_LO, (uint32_t)r->q[i].avail);
		t->queue_set(r, i, VIRTIO_QUEUE_USED_LO, (uint32_t)r->q[i].used);
	}
	t->queue_set(r, 1, VIRTIO_QUEUE_ENABLE, 1);
	t->set_status(r, RIG_RUNNING);
	rig_offer(r, 0);
	rig_transact(r, 1);
	usleep(20000);
	assert_int_equal(virtq_driver_used_idx(&r->q[0]), 0);
	assert_int_equal(r->echo.ready[0], 0);
	assert_int_equal(t->status(r), RIG_RUNNING);
}

static void kicks_of_queues_that_are_not_there(struct rig *r)
{
	const struct rig_transport *t = r->t;

	rig_bring_up(r);
	rig_transact(r, 0);
	rig_transact(r, 1);
	unsigned served[RIG_QUEUES] = {r->echo.ready[0], r->echo.ready[1]};

	for (unsigned i = RIG_QUEUES; i < 80; i++)
		t->kick(r, i);
	usleep(20000);
	assert_int_equal(r->echo.ready[0], served[0]);
	assert_int_equal(r->echo.ready[1], served[1]);
	assert_int_equal(t->status(r), RIG_RUNNING);
}

/* "avail.idx jumps by more than the queue size". */
static void broken_ring_needs_reset_and_says_so(struct rig *r)
{
	const struct rig_transport *t = r->t;

	rig_bring_up(r);
	virtq_driver_set_avail_idx(&r->q[0], 1000);
	t->kick(r, 0);
	rig_wait_until(t->config_interrupt(r));
	assert_int_equal(t->status(r), RIG_BROKEN);
	rig_bring_up(r);
	rig_transact(r, 0);
}

/* "Bear spurious notifications." */
static void kicks_without_a_cause(struct rig *r)
{
	rig_bring_up(r);
	for (unsigned i = 0; i < 1000; i++)
		r->t->kick(r, i % RIG_QUEUES);
	rig_transact(r, 0);
	rig_transact(r, 1);
	assert_int_equal(virtq_driver_used_idx(&r->q[0]), 1);
	assert_int_equal(r->t->status(r), RIG_RUNNING);
}

/* --- resets -------------------------------------------------------------------------------------
 */

static void reset_gives_the_defaults_back(struct rig *r)
{
	const struct rig_transport *t = r->t;

	rig_bring_up(r);
	rig_transact(r, 0);
	virtio_notify_config(&r->echo.v);
	t->reset(r);
	assert_int_equal(t->status(r), 0);
	assert_int_equal(t->generation(r), 0);
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		assert_int_equal(t->queue_get(r, i, VIRTIO_QUEUE_SIZE_MAX), i ? 16 : 64);
		for (unsigned f = 1; f < ARRAY_LEN(fields); f++)
			assert_int_equal(t->queue_get(r, i, fields[f]), 0);
	}
	t->config_interrupt(r);
	rig_bring_up(r);
	assert_false(t->config_interrupt(r));
	rig_transact(r, 1);
}

/* "drained before status reads 0; no write into guest RAM afterwards", also if the
 * device takes its time. */
static void reset_waits_for_what_is_in_flight(struct rig *r)
{
	const struct rig_transport *t = r->t;

	rig_bring_up(r);
	r->echo.stalled = true;
	rig_offer(r, 0);
	rig_wait_until(r->echo.ready[0] > 0);
	t->set_status(r, 0);
	usleep(20000);
	assert_int_equal(t->status(r), RIG_RUNNING);
	assert_int_equal(virtq_driver_used_idx(&r->q[0]), 0);
	/* Meanwhile all writes of the status are ignored. */
	t->set_status(r, RIG_ACK);
	t->set_status(r, 0);
	assert_int_equal(t->status(r), RIG_RUNNING);
	rig_unstall(r);
	rig_wait_until(!t->status(r));
	uint16_t used = virtq_driver_used_idx(&r->q[0]);

	usleep(5000);
	assert_int_equal(virtq_driver_used_idx(&r->q[0]), used);
	rig_bring_up(r);
	rig_transact(r, 0);
}

static void reset_ten_thousand_times_under_load(struct rig *r)
{
	const struct rig_transport *t = r->t;

	rig_bring_up(r);
	for (unsigned round = 0; round < 10000; round++) {
		const struct vd_buf buf = {RIG_BUFFER, 16, true};

		for (unsigned i = 0; i < 8; i++)
			virtq_driver_offer(&r->q[0], &buf, 1);
		t->kick(r, 0);
		rig_negotiate(r);
		/* Acknowledged: not one more write to the old ring. */
		uint16_t used = virtq_driver_used_idx(&r->q[0]);

		if (round % 512 == 0)
			usleep(1000);
		assert_int_equal(virtq_driver_used_idx(&r->q[0]), used);
		rig_set_up_queues(r);
		t->set_status(r, RIG_RUNNING);
	}
	rig_bring_up(r);
	rig_transact(r, 0);
}

int main(void)
{
#define T(name)                \
	{                      \
#name, name, 0 \
	}
	static const struct rig_case cases[] = {
		T(driver_brings_it_up_and_uses_it),
		T(each_queue_interrupts),
		{"doorbell_without_ioeventfd_is_trapped", doorbell_without_ioeventfd_is_trapped,
		 -ENOTSUP},
		{"doorbells_that_the_host_refuses", doorbell_without_ioeventfd_is_trapped, -ENOSPC},
		T(config_change_interrupts_and_bumps_the_generation),
		T(config_space_at_every_offset),
		T(feature_select_above_1_reads_0),
		T(features_not_offered_are_refused),
		T(status_bits_out_of_order_are_ignored),
		T(kick_before_driver_ok),
		T(queue_select_out_of_range),
		T(queue_fields_written_after_driver_ok),
		T(bad_queues_are_refused_at_driver_ok),
		T(queue_that_is_not_ready_is_left_alone),
		T(kicks_of_queues_that_are_not_there),
		T(broken_ring_needs_reset_and_says_so),
		T(kicks_without_a_cause),
		T(reset_gives_the_defaults_back),
		T(reset_waits_for_what_is_in_flight),
		T(reset_ten_thousand_times_under_load),
	};

	return rig_run_over_all(cases, ARRAY_LEN(cases));
}
