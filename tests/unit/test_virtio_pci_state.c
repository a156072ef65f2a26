/* SPDX-License-Identifier: Apache-2.0 */
/* Saved state of a virtio-pci device, as far as PCI has a part in it; the rest is in
 * test_virtio_transport_state.c. */
#include "tests/lib/virtio_pci_rig.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <string.h>

/* --- saved state ------------------------------------------------------------------------------ */

static void save(struct vpci *r, struct state_writer *w)
{
	state_writer_init(w);
	virtio_pci_device_ops.save(&r->dev, w);
	assert_int_equal(w->error, 0);
}

static int load(struct vpci *r, const uint8_t *data, size_t len, struct err *e)
{
	struct state_reader reader;

	*e = (struct err){0};
	state_reader_init(&reader, data, len);
	return virtio_pci_device_ops.load(&r->dev, &reader, e);
}

/* A device in use, its BAR moved, paused; what it holds goes to *w. */
static void busy_state(struct vpci *r, struct state_writer *w)
{
	vpci_bring_up(r, true);
	vpci_cfg_st(r, 0x10, 4, (uint32_t)r->bar + 0x10000);
	vpci_find_structures(r);
	rig_transact(&r->m, 0);
	rig_transact(&r->m, 1);
	vpci_st(r, r->common + 0x10, 2, 0);
	virtio_notify_config(&r->m.echo.v);
	r->m.echo.extra = 77;
	assert_int_equal(virtio_pci_device_ops.pause(&r->dev), 0);
	save(r, w);
}

static void copy_ram(struct vpci *to, struct vpci *from)
{
	memcpy(guest_mem_hva(&to->m.gm, 0, RIG_RAM), guest_mem_hva(&from->m.gm, 0, RIG_RAM),
	       RIG_RAM);
}

static void state_survives_a_round_trip(void **state)
{
	struct state_writer w, again;
	struct vpci *r = *state;
	struct vpci *clone = (struct vpci *)rig_pci.create(0);
	struct err e;

	busy_state(r, &w);
	copy_ram(clone, r);
	assert_int_equal(load(clone, w.data, w.len, &e), 0);
	save(clone, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.data, again.data, w.len);
	assert_int_equal(clone->m.echo.extra, 77);

	/* The driver goes on as if nothing had happened. */
	virtio_pci_device_ops.resume(&clone->dev);
	vpci_find_structures(clone);
	assert_int_equal(clone->bar, r->bar);
	memcpy(clone->m.q, r->m.q, sizeof(clone->m.q));
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		clone->m.q[i].gm = &clone->m.gm;
	assert_int_equal(vpci_ld(clone, clone->isr, 1), 2);
	rig_transact(&clone->m, 0);
	rig_transact(&clone->m, 1);
	assert_int_equal(fake_doorbell_count(&clone->m.bell), RIG_QUEUES);
	rig_wait_until(vpci_delivered(clone, 0x51) && vpci_delivered(clone, 0x52));

	/* So does the original. */
	virtio_pci_device_ops.resume(&r->dev);
	rig_transact(&r->m, 0);
	rig_pci.destroy(&clone->m);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

/* The last thing to be found wrong, when virtio has its part already: the whole
 * device is at power-on then, its BAR and decoding included. */
static void a_late_refusal_leaves_no_half(void **state)
{
	static uint8_t longer[1 << 16];
	struct state_writer w, fresh, now;
	struct vpci *r = *state;
	struct vpci *clone = (struct vpci *)rig_pci.create(0);
	struct err e;

	busy_state(r, &w);
	copy_ram(clone, r);
	save(clone, &fresh);
	vpci_find_structures(clone);
	vpci_enable_memory(clone);
	vpci_cfg_st(clone, 0x10, 4, (uint32_t)clone->bar + 0x10000);
	assert_true(w.len + 4 <= sizeof(longer));
	memcpy(longer, w.data, w.len);
	le32_put(longer + 28, le32_get(longer + 28) + 4); /* the section's length */
	assert_int_equal(load(clone, longer, w.len + 4, &e), -EBADMSG);
	clone->m.echo.extra = 0;
	save(clone, &now);
	assert_int_equal(now.len, fresh.len);
	assert_memory_equal(now.data, fresh.data, now.len);
	assert_int_equal(fake_doorbell_count(&clone->m.bell), 0);
	rig_pci.destroy(&clone->m);
	virtio_pci_device_ops.resume(&r->dev);
	rig_transact(&r->m, 0);
	state_writer_fini(&now);
	state_writer_fini(&fresh);
	state_writer_fini(&w);
}

/* Well formed, and nothing a device could have held. */
static void impossible_registers_are_refused(void **state)
{
	/* header, slot and configuration space, MSI-X; then the two feature selectors
	 * and the queue selector */
	const size_t vector = 32 + 257 + 2 + 14 * (RIG_QUEUES + 1) + 10, isr = vector + 2;
	struct state_writer w;
	struct vpci *r = *state;
	struct err e;

	virtio_notify_config(&r->m.echo.v);
	vpci_bring_up(r, true);
	assert_int_equal(virtio_pci_device_ops.pause(&r->dev), 0);
	save(r, &w);
	virtio_pci_device_ops.reset(&r->dev);
	assert_memory_equal(w.data + vector, "\0\0\0\1\0\2\0", 7);
	static const struct {
		size_t at;
		uint8_t value;
	} bad[] = {{0, RIG_QUEUES + 1}, {1, 8}, {2, 4}, {2, 0x80}, {3, RIG_QUEUES + 1}, {6, 0xff}};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		uint8_t *at = w.data + vector + bad[i].at, good = *at;

		*at = bad[i].value;
		assert_int_equal(load(r, w.data, w.len, &e), -EBADMSG);
		assert_non_null(strstr(e.text, "registers"));
		*at = good;
	}
	w.data[isr] = 3;
	assert_int_equal(load(r, w.data, w.len, &e), 0);
	assert_int_equal(vpci_ld(r, r->isr, 1), 3);
	virtio_pci_device_ops.resume(&r->dev);
	state_writer_fini(&w);
}

static void machine_reset_brings_power_on_back(void **state)
{
	struct vpci *r = *state;

	vpci_find_structures(r);
	uint64_t home = r->bar;

	vpci_bring_up(r, true);
	rig_transact(&r->m, 0);
	vpci_cfg_st(r, 0x10, 4, (uint32_t)r->bar + 0x10000);
	virtio_pci_device_ops.reset(&r->dev);
	assert_int_equal(vpci_bar_address(r), home);
	assert_int_equal(vpci_cfg_ld(r, 0x04, 2), 0);
	assert_int_equal(vpci_cfg_ld(r, r->msix_cap + 2, 2), RIG_QUEUES);
	assert_int_equal(fake_doorbell_count(&r->m.bell), 0);
	vpci_find_structures(r);
	vpci_enable_memory(r);
	assert_int_equal(vpci_ld(r, r->common + 0x14, 1), 0);
	assert_int_equal(vpci_ld(r, r->table + 8, 8), 1ull << 32);
	vpci_bring_up(r, true);
	rig_transact(&r->m, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, vpci_setup, vpci_teardown)
	const struct CMUnitTest tests[] = {
		T(state_survives_a_round_trip),
		T(a_late_refusal_leaves_no_half),
		T(impossible_registers_are_refused),
		T(machine_reset_brings_power_on_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
