/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of virtio-mmio one by one [virtio 1.3 4.2.2], its line, its doorbell and
 * the processor that a reset holds; what a hostile driver does to them. What all
 * transports promise is in test_virtio_transport*.c. */
#include "tests/lib/virtio_mmio_rig.h"

#include <errno.h>
#include <string.h>

/* --- registers -------------------------------------------------------------------------- */

static void identity(void **state)
{
	struct vmmio *r = *state;

	/* "virt", and version 2: version 1 is the legacy interface. */
	assert_int_equal(vmmio_get(r, VMMIO_MAGIC), 0x74726976);
	assert_int_equal(vmmio_get(r, VMMIO_VERSION), 2);
	assert_int_equal(vmmio_get(r, VMMIO_DEVICE_ID), RIG_DEVICE_ID);
	assert_int_not_equal(vmmio_get(r, VMMIO_VENDOR_ID), 0);
	for (unsigned reg = VMMIO_MAGIC; reg <= VMMIO_VENDOR_ID; reg += 4) {
		uint32_t was = vmmio_get(r, reg);

		vmmio_set(r, reg, ~was);
		assert_int_equal(vmmio_get(r, reg), was);
	}
}

enum { READS = 1, WRITES = 2 };

/* What the specification's table says of each offset. */
static unsigned access_of(unsigned off)
{
	switch (off) {
	case VMMIO_MAGIC:
	case VMMIO_VERSION:
	case VMMIO_DEVICE_ID:
	case VMMIO_VENDOR_ID:
	case VMMIO_DEVICE_FEATURES:
	case VMMIO_QUEUE_SIZE_MAX:
	case VMMIO_INTERRUPT_STATUS:
	case VMMIO_SHM_LEN:
	case VMMIO_SHM_LEN + 4:
	case VMMIO_SHM_BASE:
	case VMMIO_SHM_BASE + 4:
	case VMMIO_CONFIG_GENERATION:
		return READS;
	case VMMIO_QUEUE_READY:
	case VMMIO_STATUS:
		return READS | WRITES;
	case VMMIO_DEVICE_FEATURES_SEL:
	case VMMIO_DRIVER_FEATURES:
	case VMMIO_DRIVER_FEATURES_SEL:
	case VMMIO_QUEUE_SEL:
	case VMMIO_QUEUE_SIZE:
	case VMMIO_QUEUE_NOTIFY:
	case VMMIO_INTERRUPT_ACK:
	case VMMIO_QUEUE_DESC:
	case VMMIO_QUEUE_DESC + 4:
	case VMMIO_QUEUE_DRIVER:
	case VMMIO_QUEUE_DRIVER + 4:
	case VMMIO_QUEUE_DEVICE:
	case VMMIO_QUEUE_DEVICE + 4:
		return WRITES;
	default:
		return 0;
	}
}

static void what_cannot_be_read_reads_0(void **state)
{
	struct vmmio *r = *state;

	rig_bring_up(&r->m);
	for (unsigned off = 0; off < VMMIO_CONFIG; off += 4)
		if (!(access_of(off) & READS))
			assert_int_equal(vmmio_get(r, off), 0);
}

/* Control registers have 32 bits and are aligned; other accesses hit nothing. */
static void registers_of_the_wrong_width(void **state)
{
	struct vmmio *r = *state;
	struct state_writer before, after;

	rig_bring_up(&r->m);
	rig_transact(&r->m, 1);
	virtio_notify_config(&r->m.echo.v);
	assert_int_equal(virtio_mmio_device_ops.pause(&r->dev), 0);
	state_writer_init(&before);
	virtio_mmio_device_ops.save(&r->dev, &before);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < VMMIO_CONFIG; off++) {
			if (size == 4 && off % 4 == 0 && access_of(off))
				continue;
			if (off + size > VMMIO_CONFIG)
				continue;
			vmmio_st(r, off, size, 0);
			vmmio_st(r, off, size, 1);
			vmmio_st(r, off, size, UINT64_MAX);
			assert_int_equal(vmmio_ld(r, off, size), 0);
		}
	/* Across the end of the registers. */
	vmmio_st(r, 0xfc, 8, UINT64_MAX);
	assert_int_equal(vmmio_ld(r, 0xfc, 8), 0);
	vmmio_st(r, 0xfe, 4, UINT64_MAX);
	assert_int_equal(vmmio_ld(r, 0xfe, 4), 0);
	state_writer_init(&after);
	virtio_mmio_device_ops.save(&r->dev, &after);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, after.len);
	virtio_mmio_device_ops.resume(&r->dev);
	rig_transact(&r->m, 0);
	state_writer_fini(&before);
	state_writer_fini(&after);
}

static void whole_page_at_every_offset(void **state)
{
	struct vmmio *r = *state;

	rig_bring_up(&r->m);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < VIRTIO_MMIO_LEN; off++) {
			vmmio_st(r, off, size, UINT64_MAX);
			vmmio_st(r, off, size, 0x0101010101010101);
			vmmio_ld(r, off, size);
		}
	/* Where the page ends, the next device may begin. */
	assert_int_equal(vmmio_ld(r, VIRTIO_MMIO_LEN - 2, 4), 0xffffffff);
	rig_bring_up(&r->m);
	rig_transact(&r->m, 0);
	rig_transact(&r->m, 1);
}

/* There are none: length and address are all ones, whichever is selected. */
static void shared_memory_regions(void **state)
{
	static const uint32_t ids[] = {0, 1, 255, UINT32_MAX};
	struct vmmio *r = *state;

	for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
		vmmio_set(r, VMMIO_SHM_SEL, ids[i]);
		for (unsigned off = VMMIO_SHM_LEN; off < VMMIO_SHM_BASE + 8; off += 4)
			assert_int_equal(vmmio_get(r, off), UINT32_MAX);
	}
}

/* QueueReset belongs to RING_RESET, which is not offered. */
static void queue_reset_is_not_there(void **state)
{
	struct vmmio *r = *state;

	vmmio_set(r, VMMIO_DEVICE_FEATURES_SEL, 1);
	assert_int_equal(vmmio_get(r, VMMIO_DEVICE_FEATURES) & 1u << (40 - 32), 0);
	rig_bring_up(&r->m);
	vmmio_set(r, VMMIO_QUEUE_SEL, 0);
	vmmio_set(r, VMMIO_QUEUE_RESET, 1);
	assert_int_equal(vmmio_get(r, VMMIO_QUEUE_RESET), 0);
	assert_int_equal(vmmio_get(r, VMMIO_QUEUE_READY), 1);
	rig_transact(&r->m, 0);
}

/* Linux takes a queue back before DRIVER_OK when it cannot use it after all. */
static void queue_ready_can_be_taken_back_before_driver_ok(void **state)
{
	struct vmmio *r = *state;

	rig_negotiate(&r->m);
	rig_set_up_queues(&r->m);
	vmmio_set(r, VMMIO_QUEUE_SEL, 0);
	assert_int_equal(vmmio_get(r, VMMIO_QUEUE_READY), 1);
	vmmio_set(r, VMMIO_QUEUE_READY, 2); /* no value for it */
	assert_int_equal(vmmio_get(r, VMMIO_QUEUE_READY), 1);
	vmmio_set(r, VMMIO_QUEUE_READY, 0);
	assert_int_equal(vmmio_get(r, VMMIO_QUEUE_READY), 0);
	vmmio_set(r, VMMIO_STATUS, RIG_RUNNING);
	rig_offer(&r->m, 0);
	rig_transact(&r->m, 1);
	assert_int_equal(virtq_driver_used_idx(&r->m.q[0]), 0);
	/* Running: it stays as it is. */
	vmmio_set(r, VMMIO_QUEUE_SEL, 1);
	vmmio_set(r, VMMIO_QUEUE_READY, 0);
	assert_int_equal(vmmio_get(r, VMMIO_QUEUE_READY), 1);
	rig_transact(&r->m, 1);
}

/* 64-bit addresses are two registers, which cannot be read: their effect can. */
static void addresses_are_two_halves(void **state)
{
	static const unsigned regs[] = {VMMIO_QUEUE_DESC, VMMIO_QUEUE_DRIVER, VMMIO_QUEUE_DEVICE};
	struct vmmio *r = *state;

	rig_negotiate(&r->m);
	for (unsigned q = 0; q < RIG_QUEUES; q++) {
		const struct virtq_config *c = &r->m.echo.v.queues[q].config;

		vmmio_set(r, VMMIO_QUEUE_SEL, q);
		for (unsigned i = 0; i < ARRAY_LEN(regs); i++) {
			vmmio_set(r, regs[i] + 4, 0x11223344 + i);
			vmmio_set(r, regs[i], 0x55667788 + i);
			vmmio_st(r, regs[i], 8, 0);
		}
		assert_int_equal(c->desc, 0x1122334455667788);
		assert_int_equal(c->avail, 0x1122334555667789);
		assert_int_equal(c->used, 0x112233465566778a);
	}
}

/* A status is one byte; what has more bits set is no status, and above all no reset. */
static void status_beyond_its_byte(void **state)
{
	struct vmmio *r = *state;

	rig_bring_up(&r->m);
	vmmio_set(r, VMMIO_STATUS, 0x100);
	vmmio_set(r, VMMIO_STATUS, 0xffffff00);
	vmmio_set(r, VMMIO_STATUS, 0x8f | 1u << 31);
	usleep(20000); /* a reset would be through */
	assert_int_equal(vmmio_get(r, VMMIO_STATUS), RIG_RUNNING);
	rig_transact(&r->m, 0);
}

static void too_large_a_config_is_refused(void **state)
{
	const struct virtio_mmio_env env = {.base = VMMIO_BASE};
	static const uint32_t lens[] = {VIRTIO_MMIO_LEN - VMMIO_CONFIG,
					VIRTIO_MMIO_LEN - VMMIO_CONFIG + 1, UINT32_MAX};
	const uint16_t size = 8;

	for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
		struct guest_mem gm = {0};
		struct rig_echo d = {0};
		struct virtio_mmio m;

		assert_int_equal(
			virtio_init(&d.v, &rig_echo_ops, &d, "x", &gm, NULL, 0, lens[i], 1, &size),
			0);
		assert_int_equal(virtio_mmio_init(&m, &d.v, &env), i ? -EINVAL : 0);
		virtio_mmio_fini(&m);
		virtio_fini(&d.v);
	}
}

/* --- the line ----------------------------------------------------------------------------- */

/* "present each event from the moment it takes place until the driver acknowledges". */
static void interrupt_status_stays_until_acknowledged(void **state)
{
	struct vmmio *r = *state;

	rig_bring_up(&r->m);
	assert_int_equal(vmmio_get(r, VMMIO_INTERRUPT_STATUS), 0);
	assert_false(vmmio_line(r));
	rig_transact(&r->m, 0);
	rig_wait_until(vmmio_get(r, VMMIO_INTERRUPT_STATUS) == 1);
	assert_true(vmmio_line(r));
	assert_int_equal(vmmio_get(r, VMMIO_INTERRUPT_STATUS), 1); /* reading clears nothing */
	virtio_notify_config(&r->m.echo.v);
	assert_int_equal(vmmio_get(r, VMMIO_INTERRUPT_STATUS), 3);

	/* Bits that are not set, or do not exist. */
	vmmio_set(r, VMMIO_INTERRUPT_ACK, 0);
	vmmio_set(r, VMMIO_INTERRUPT_ACK, ~3u);
	assert_int_equal(vmmio_get(r, VMMIO_INTERRUPT_STATUS), 3);
	vmmio_set(r, VMMIO_INTERRUPT_ACK, 1);
	assert_int_equal(vmmio_get(r, VMMIO_INTERRUPT_STATUS), 2);
	assert_true(vmmio_line(r));
	vmmio_set(r, VMMIO_INTERRUPT_ACK, UINT32_MAX);
	assert_int_equal(vmmio_get(r, VMMIO_INTERRUPT_STATUS), 0);
	assert_false(vmmio_line(r));
	/* It cannot be written. */
	vmmio_set(r, VMMIO_INTERRUPT_STATUS, 3);
	assert_int_equal(vmmio_get(r, VMMIO_INTERRUPT_STATUS), 0);
	assert_false(vmmio_line(r));
}

/* With an edge-triggered pin, an event that comes before the last is acknowledged
 * interrupts as well: the driver may have looked at its cause already. */
static void each_event_is_an_edge(void **state)
{
	struct vmmio *r = *state;

	rig_bring_up(&r->m);
	for (unsigned i = 1; i <= 5; i++) {
		virtio_notify_config(&r->m.echo.v);
		assert_int_equal(vmmio_edges(r), i);
		assert_true(vmmio_line(r));
	}
	rig_transact(&r->m, 0);
	rig_wait_until(vmmio_edges(r) == 6);
	vmmio_set(r, VMMIO_INTERRUPT_ACK, 2);
	assert_int_equal(vmmio_edges(r), 6); /* an acknowledgement is no event */
	assert_true(vmmio_line(r));
	vmmio_set(r, VMMIO_INTERRUPT_ACK, 1);
	assert_false(vmmio_line(r));
}

/* "cleared on reset together with QueueReady", also what comes during the reset. */
static void reset_takes_the_line_down(void **state)
{
	struct vmmio *r = *state;

	rig_bring_up(&r->m);
	rig_transact(&r->m, 0);
	virtio_notify_config(&r->m.echo.v);
	rig_wait_until(vmmio_get(r, VMMIO_INTERRUPT_STATUS) == 3);
	r->m.t->reset(&r->m);
	assert_int_equal(vmmio_get(r, VMMIO_INTERRUPT_STATUS), 0);
	assert_false(vmmio_line(r));
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		vmmio_set(r, VMMIO_QUEUE_SEL, i);
		assert_int_equal(vmmio_get(r, VMMIO_QUEUE_READY), 0);
	}

	rig_bring_up(&r->m);
	r->m.echo.stalled = true;
	rig_offer(&r->m, 0);
	rig_offer(&r->m, 1);
	rig_wait_until(r->m.echo.n_held == 2);
	vmmio_set(r, VMMIO_STATUS, 0);
	rig_unstall(&r->m); /* two used buffers and their interrupts, before it is complete */
	rig_wait_until(!vmmio_get(r, VMMIO_STATUS));
	assert_int_equal(virtq_driver_used_idx(&r->m.q[0]), 1);
	assert_int_equal(virtq_driver_used_idx(&r->m.q[1]), 1);
	assert_int_equal(vmmio_get(r, VMMIO_INTERRUPT_STATUS), 0);
	assert_false(vmmio_line(r));
}

/* Used buffers from the loop, configuration changes from here, acknowledgements of a
 * vCPU: in the end the line says what the register says. */
static void line_and_register_agree_under_load(void **state)
{
	struct vmmio *r = *state;
	const struct vd_buf buf = {RIG_BUFFER, 16, true};
	uint32_t id, len;

	rig_bring_up(&r->m);
	for (unsigned i = 0; i < 2000; i++) {
		unsigned before = vmmio_edges(r);

		virtq_driver_offer(&r->m.q[0], &buf, 1);
		vmmio_set(r, VMMIO_QUEUE_NOTIFY, 0);
		virtio_notify_config(&r->m.echo.v);
		vmmio_set(r, VMMIO_INTERRUPT_ACK, vmmio_get(r, VMMIO_INTERRUPT_STATUS));
		rig_wait_until(virtq_driver_take_used(&r->m.q[0], &id, &len));
		/* An interrupt for each, whatever was acknowledged when. */
		rig_wait_until(vmmio_edges(r) == before + 2);
		assert_int_equal(vmmio_line(r), vmmio_get(r, VMMIO_INTERRUPT_STATUS) != 0);
	}
}

/* --- doorbells ------------------------------------------------------------------------------ */

/* One address: only a 4-byte store of a queue's number is a doorbell's. */
static void doorbell_compares(void **state)
{
	struct vmmio *r = *state;
	uint64_t at = VMMIO_BASE + VMMIO_QUEUE_NOTIFY;

	rig_bring_up(&r->m);
	assert_int_equal(fake_doorbell_count(&r->m.bell), 0);
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		rig_transact(&r->m, i);
		rig_transact(&r->m, i);
		assert_int_equal(fake_doorbell_count(&r->m.bell), i + 1);
	}
	assert_int_equal(r->m.bell.attaches, RIG_QUEUES);
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		assert_true(fake_doorbell_store(&r->m.bell, at, 4, i));
	assert_false(fake_doorbell_store(&r->m.bell, at, 4, RIG_QUEUES));
	assert_false(fake_doorbell_store(&r->m.bell, at, 2, 0));
	assert_false(fake_doorbell_store(&r->m.bell, at, 8, 0));
	assert_false(fake_doorbell_store(&r->m.bell, at + 4, 4, 0));
	rig_transact(&r->m, 0);
	rig_transact(&r->m, 1);
	/* A reset takes no doorbell away: the address is the machine's, not the driver's. */
	r->m.t->reset(&r->m);
	assert_int_equal(fake_doorbell_count(&r->m.bell), RIG_QUEUES);
}

/* --- the processor that waits ------------------------------------------------------------------
 */

static void reset_of_an_idle_device_holds_nobody(void **state)
{
	struct vmmio *r = *state;

	vmmio_set(r, VMMIO_STATUS, 0);
	rig_negotiate(&r->m);
	vmmio_set(r, VMMIO_STATUS, 0);
	assert_int_equal(vmmio_get(r, VMMIO_STATUS), 0);
	assert_int_equal(r->holds, 0);
}

/* The store itself comes back at once, whatever the disk does; the processor is held
 * until the device has drained, and not a moment of that is inside the access. */
static void reset_holds_the_processor_until_drained(void **state)
{
	struct vmmio *r = *state;

	rig_bring_up(&r->m);
	r->m.echo.stalled = true;
	rig_offer(&r->m, 0);
	rig_wait_until(r->m.echo.n_held == 1);
	vmmio_set(r, VMMIO_STATUS, 0);
	assert_int_equal(r->holds, 1);
	assert_ptr_equal(r->held_by, &r->dev);
	/* It may look again as often as it likes, and go away in between. */
	for (unsigned i = 0; i < 5; i++)
		assert_false(r->held_until(r->held_by, i));
	/* Others see that it is not complete. */
	assert_int_equal(vmmio_get(r, VMMIO_STATUS), RIG_RUNNING);
	/* A second reset by another processor holds that one, too. */
	vmmio_set(r, VMMIO_STATUS, 0);
	assert_int_equal(r->holds, 2);
	rig_unstall(&r->m);
	rig_wait_until(r->held_until(r->held_by, 10));
	assert_int_equal(vmmio_get(r, VMMIO_STATUS), 0);
	rig_bring_up(&r->m);
	rig_transact(&r->m, 0);
}

/* --- saved state ---------------------------------------------------------------------------------
 */

static void save(struct vmmio *r, struct state_writer *w)
{
	state_writer_init(w);
	virtio_mmio_device_ops.save(&r->dev, w);
	assert_int_equal(w->error, 0);
}

static int load(struct vmmio *r, const struct state_writer *w, struct err *e)
{
	struct state_reader reader;

	*e = (struct err){0};
	state_reader_init(&reader, w->data, w->len);
	return virtio_mmio_device_ops.load(&r->dev, &reader, e);
}

/* Selectors are the driver's; an interrupt that was due is due. */
static void registers_come_back(void **state)
{
	struct vmmio *r = *state, *clone;
	struct state_writer w;
	struct err e;

	rig_bring_up(&r->m);
	virtio_notify_config(&r->m.echo.v);
	vmmio_set(r, VMMIO_DEVICE_FEATURES_SEL, 1);
	vmmio_set(r, VMMIO_QUEUE_SEL, 1);
	assert_int_equal(virtio_mmio_device_ops.pause(&r->dev), 0);
	save(r, &w);
	clone = (struct vmmio *)rig_mmio.create(0);
	memcpy(guest_mem_hva(&clone->m.gm, 0, RIG_RAM), guest_mem_hva(&r->m.gm, 0, RIG_RAM),
	       RIG_RAM);
	assert_int_equal(load(clone, &w, &e), 0);
	assert_true(vmmio_line(clone));
	assert_int_equal(vmmio_get(clone, VMMIO_INTERRUPT_STATUS), 2);
	assert_int_equal(vmmio_get(clone, VMMIO_DEVICE_FEATURES), 1);
	assert_int_equal(vmmio_get(clone, VMMIO_QUEUE_SIZE_MAX), 16);
	vmmio_set(clone, VMMIO_INTERRUPT_ACK, 2);
	assert_false(vmmio_line(clone));
	rig_mmio.destroy(&clone->m);
	virtio_mmio_device_ops.resume(&r->dev);
	state_writer_fini(&w);
}

/* Well formed, and nothing a device could have held. */
static void impossible_registers_are_refused(void **state)
{
	static const uint8_t bad[] = {4, 8, 0x80, 0xff};
	const size_t status = 32 + 3 * 4; /* header; three selectors */
	struct vmmio *r = *state;
	struct state_writer w;
	struct err e;

	virtio_notify_config(&r->m.echo.v);
	save(r, &w);
	assert_int_equal(w.data[status], 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		for (unsigned byte = 0; byte < 4; byte++) {
			if (byte == 0 && bad[i] < 4)
				continue;
			w.data[status + byte] = bad[i];
			assert_int_equal(load(r, &w, &e), -EBADMSG);
			assert_non_null(strstr(e.text, "registers"));
			w.data[status + byte] = 0;
			assert_false(vmmio_line(r));
		}
	w.data[status] = 3;
	assert_int_equal(load(r, &w, &e), 0);
	assert_true(vmmio_line(r));
	virtio_mmio_device_ops.reset(&r->dev);
	assert_false(vmmio_line(r));
	state_writer_fini(&w);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, vmmio_setup, vmmio_teardown)
	const struct CMUnitTest tests[] = {
		T(identity),
		T(what_cannot_be_read_reads_0),
		T(registers_of_the_wrong_width),
		T(whole_page_at_every_offset),
		T(shared_memory_regions),
		T(queue_reset_is_not_there),
		T(queue_ready_can_be_taken_back_before_driver_ok),
		T(addresses_are_two_halves),
		T(status_beyond_its_byte),
		cmocka_unit_test(too_large_a_config_is_refused),
		T(interrupt_status_stays_until_acknowledged),
		T(each_event_is_an_edge),
		T(reset_takes_the_line_down),
		T(line_and_register_agree_under_load),
		T(doorbell_compares),
		T(reset_of_an_idle_device_holds_nobody),
		T(reset_holds_the_processor_until_drained),
		T(registers_come_back),
		T(impossible_registers_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
