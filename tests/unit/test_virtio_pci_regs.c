/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of virtio-pci one by one, and what a hostile driver does to them: in the
 * BAR, through the PCI_CFG window, and in configuration space. */
#include "tests/lib/virtio_pci_rig.h"

#include <errno.h>
#include <string.h>

/* --- registers -------------------------------------------------------------------------- */

static void feature_select_above_1_reads_0(void **state)
{
	struct vpci *r = *state;
	static const uint32_t beyond[] = {2, 3, 31, 0x80000000, UINT32_MAX};

	vpci_find_structures(r);
	vpci_enable_memory(r);
	vpci_st(r, r->common + 0x00, 4, 0);
	assert_int_equal(vpci_ld(r, r->common + 0x04, 4), 1u << 5 | 1u << 28 | 1u << 29);
	vpci_st(r, r->common + 0x00, 4, 1);
	assert_int_equal(vpci_ld(r, r->common + 0x04, 4), 1);
	rig_negotiate(&r->m);
	for (unsigned i = 0; i < ARRAY_LEN(beyond); i++) {
		vpci_st(r, r->common + 0x00, 4, beyond[i]);
		assert_int_equal(vpci_ld(r, r->common + 0x00, 4), beyond[i]);
		assert_int_equal(vpci_ld(r, r->common + 0x04, 4), 0);
		vpci_st(r, r->common + 0x08, 4, beyond[i]);
		vpci_st(r, r->common + 0x0c, 4, UINT32_MAX);
		assert_int_equal(vpci_ld(r, r->common + 0x0c, 4), 0);
	}
	vpci_st(r, r->common + 0x08, 4, 1);
	assert_int_equal(vpci_ld(r, r->common + 0x0c, 4), 1);
}

static void queue_select_out_of_range(void **state)
{
	struct vpci *r = *state;
	static const uint16_t absent[] = {RIG_QUEUES, 63, 64, 65, 0x7fff, 0xffff};

	vpci_find_structures(r);
	vpci_enable_memory(r);
	rig_negotiate(&r->m);
	for (unsigned i = 0; i < ARRAY_LEN(absent); i++) {
		vpci_st(r, r->common + 0x16, 2, absent[i]);
		for (unsigned off = 0x18; off < 0x38; off += off < 0x20 ? 2 : 4) {
			unsigned size = off < 0x20 ? 2 : 4;

			vpci_st(r, r->common + off, size, 1);
			/* No vector: the mapping failed. */
			assert_int_equal(vpci_ld(r, r->common + off, size),
					 off == 0x1a ? 0xffff : 0);
		}
	}
}

static void addresses_are_two_halves(void **state)
{
	struct vpci *r = *state;

	vpci_find_structures(r);
	vpci_enable_memory(r);
	rig_negotiate(&r->m);
	for (unsigned off = 0x20; off < 0x38; off += 8) {
		vpci_st(r, r->common + off + 4, 4, 0x11223344);
		assert_int_equal(vpci_ld(r, r->common + off, 4), 0);
		vpci_st(r, r->common + off, 4, 0x55667788 + off);
		assert_int_equal(vpci_ld(r, r->common + off + 4, 4), 0x11223344);
		assert_int_equal(vpci_ld(r, r->common + off, 4), 0x55667788 + off);
		vpci_st(r, r->common + off, 8, 0);
		assert_int_equal(vpci_ld(r, r->common + off, 8), 0);
		assert_int_equal(vpci_ld(r, r->common + off, 4), 0x55667788 + off);
	}
}

static void queue_enable_cannot_be_taken_back(void **state)
{
	struct vpci *r = *state;

	vpci_find_structures(r);
	vpci_enable_memory(r);
	rig_negotiate(&r->m);
	vpci_st(r, r->common + 0x1c, 2, 2);
	assert_int_equal(vpci_ld(r, r->common + 0x1c, 2), 0);
	vpci_st(r, r->common + 0x1c, 2, 1);
	assert_int_equal(vpci_ld(r, r->common + 0x1c, 2), 1);
	vpci_st(r, r->common + 0x1c, 2, 0);
	vpci_st(r, r->common + 0x1c, 2, 0xffff);
	assert_int_equal(vpci_ld(r, r->common + 0x1c, 2), 1);
}

static void vectors_beyond_the_table_fail(void **state)
{
	struct vpci *r = *state;
	static const uint16_t bad[] = {RIG_QUEUES + 1, 64, 0x7ff, 0x800, 0xfffe, 0xffff};

	vpci_find_structures(r);
	vpci_enable_memory(r);
	assert_int_equal(vpci_ld(r, r->common + 0x10, 2), 0xffff);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		vpci_st(r, r->common + 0x10, 2, RIG_QUEUES);
		assert_int_equal(vpci_ld(r, r->common + 0x10, 2), RIG_QUEUES);
		vpci_st(r, r->common + 0x10, 2, bad[i]);
		assert_int_equal(vpci_ld(r, r->common + 0x10, 2), 0xffff);
		vpci_st(r, r->common + 0x1a, 2, RIG_QUEUES);
		assert_int_equal(vpci_ld(r, r->common + 0x1a, 2), RIG_QUEUES);
		vpci_st(r, r->common + 0x1a, 2, bad[i]);
		assert_int_equal(vpci_ld(r, r->common + 0x1a, 2), 0xffff);
	}
}

static void queue_fields_written_after_driver_ok(void **state)
{
	struct vpci *r = *state;
	uint64_t before[16];

	vpci_bring_up(r, true);
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		vpci_st(r, r->common + 0x16, 2, i);
		for (unsigned off = 0x18, n = 0; off < 0x38; off += off < 0x20 ? 2 : 4, n++)
			before[n] = vpci_ld(r, r->common + off, off < 0x20 ? 2 : 4);
		for (unsigned off = 0x18; off < 0x38; off += off < 0x20 ? 2 : 4) {
			if (off == 0x1a)
				continue; /* the vector may change at any time */
			vpci_st(r, r->common + off, off < 0x20 ? 2 : 4, 0);
			vpci_st(r, r->common + off, off < 0x20 ? 2 : 4, 0x1008);
		}
		for (unsigned off = 0x18, n = 0; off < 0x38; off += off < 0x20 ? 2 : 4, n++)
			assert_int_equal(vpci_ld(r, r->common + off, off < 0x20 ? 2 : 4),
					 before[n]);
		rig_transact(&r->m, i);
	}
}

/* Each register's own offset and width, from the specification's structure. */
static bool is_register(unsigned off, unsigned size)
{
	static const struct {
		unsigned off, size;
	} regs[] = {{0x00, 4}, {0x04, 4}, {0x08, 4}, {0x0c, 4}, {0x10, 2}, {0x12, 2}, {0x14, 1},
		    {0x15, 1}, {0x16, 2}, {0x18, 2}, {0x1a, 2}, {0x1c, 2}, {0x1e, 2}, {0x20, 4},
		    {0x24, 4}, {0x28, 4}, {0x2c, 4}, {0x30, 4}, {0x34, 4}};

	for (unsigned i = 0; i < ARRAY_LEN(regs); i++)
		if (regs[i].off == off && regs[i].size == size)
			return true;
	return false;
}

static void common_registers_of_the_wrong_width(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, true);
	vpci_st(r, r->common + 0x16, 2, 1);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 0x80; off++) {
			if (is_register(off, size))
				continue;
			vpci_st(r, r->common + off, size, 0);
			vpci_st(r, r->common + off, size, UINT64_MAX);
			assert_int_equal(vpci_ld(r, r->common + off, size), 0);
		}
	assert_int_equal(vpci_ld(r, r->common + 0x14, 1), 0x0f);
	assert_int_equal(vpci_ld(r, r->common + 0x16, 2), 1);
	assert_int_equal(vpci_ld(r, r->common + 0x10, 2), 0);
	rig_transact(&r->m, 0);
}

static void notify_out_of_range(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, true);
	rig_transact(&r->m, 0);
	rig_transact(&r->m, 1);
	unsigned served[RIG_QUEUES] = {r->m.echo.ready[0], r->m.echo.ready[1]};

	for (uint64_t off = 1; off < 0x1000; off++)
		if (off != r->multiplier)
			for (unsigned size = 1; size <= 8; size *= 2) {
				vpci_st(r, r->notify + off, size, 0);
				assert_int_equal(vpci_ld(r, r->notify + off, size), 0);
			}
	usleep(20000);
	assert_int_equal(r->m.echo.ready[0], served[0]);
	assert_int_equal(r->m.echo.ready[1], served[1]);
	assert_int_equal(vpci_ld(r, r->common + 0x14, 1), 0x0f);
	/* The address says which queue; the value may be any. */
	vpci_st(r, r->notify, 4, 0xffffffff);
	rig_wait_until(r->m.echo.ready[0] > served[0]);
	assert_int_equal(r->m.echo.ready[1], served[1]);
}

static void whole_bar_at_every_offset(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, true);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 0x4000; off++) {
			if (off == 0x14)
				continue; /* status: the driver would give up */
			vpci_st(r, r->bar + off, size, UINT64_MAX);
			vpci_st(r, r->bar + off, size, 0x0101010101010101);
			vpci_ld(r, r->bar + off, size);
		}
	assert_int_equal(vpci_ld(r, r->bar + 0x4000 - 2, 4), 0xffffffff);
	vpci_bring_up(r, true);
	rig_transact(&r->m, 0);
	rig_transact(&r->m, 1);
}

static void msix_table_is_in_the_bar(void **state)
{
	struct vpci *r = *state;

	vpci_find_structures(r);
	vpci_enable_memory(r);
	assert_int_equal(vpci_ld(r, r->table + 8, 8), 1ull << 32);
	vpci_st(r, r->table, 8, 0x1fee00000);
	assert_int_equal(vpci_ld(r, r->table + 4, 4), 1);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off + size <= 0x1000; off++) {
			bool good = size >= 4 && off % size == 0 && off < (RIG_QUEUES + 1) * 16;

			if (good)
				continue;
			vpci_st(r, r->table + off, size, UINT64_MAX);
			assert_int_equal(vpci_ld(r, r->table + off, size), 0);
		}
	assert_int_equal(vpci_ld(r, r->table + 32, 8), 0);
	vpci_cfg_st(r, r->msix_cap + 2, 2, 0x8000);
	vpci_st(r, r->common + 0x10, 2, 2);
	rig_negotiate(&r->m);
	vpci_st(r, r->common + 0x10, 2, 2);
	vpci_st(r, r->common + 0x14, 1, 0x0f);
	virtio_notify_config(&r->m.echo.v);
	assert_int_equal(vpci_ld(r, r->pba, 8), 4); /* masked: pending */
}

/* --- the PCI_CFG window -------------------------------------------------------------------- */

static void aim(struct vpci *r, unsigned bar, uint32_t off, uint32_t len)
{
	vpci_cfg_st(r, r->window + 4, 1, bar);
	vpci_cfg_st(r, r->window + 8, 4, off);
	vpci_cfg_st(r, r->window + 12, 4, len);
}

static uint64_t peek(struct vpci *r, uint32_t off, uint32_t len)
{
	aim(r, 0, off, len);
	return vpci_cfg_ld(r, r->window + 16, 4);
}

static void poke(struct vpci *r, uint32_t off, uint32_t len, uint32_t val)
{
	aim(r, 0, off, len);
	vpci_cfg_st(r, r->window + 16, 4, val);
}

static void window_reaches_the_structures(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, false);
	uint32_t common = (uint32_t)(r->common - r->bar), device = (uint32_t)(r->device - r->bar);
	uint32_t notify = (uint32_t)(r->notify - r->bar), isr = (uint32_t)(r->isr - r->bar);

	/* It needs no mapping. */
	vpci_cfg_st(r, 0x04, 2, 0);
	assert_int_equal(peek(r, common + 0x12, 2), RIG_QUEUES);
	assert_int_equal(peek(r, common + 0x14, 1), 0x0f);
	poke(r, common + 0x00, 4, 1);
	assert_int_equal(peek(r, common + 0x04, 4), 1);
	poke(r, common + 0x16, 2, 1);
	assert_int_equal(peek(r, common + 0x16, 2), 1);
	assert_int_equal(peek(r, common + 0x18, 2), 16);
	assert_int_equal(peek(r, device + 8, 4), 0x1b1a1918);
	assert_int_equal(peek(r, device + 2, 2), 0x1312);
	poke(r, device + 3, 1, 0x99);
	assert_int_equal(r->m.echo.config[3], 0x99);
	/* A part of the data register: the access is the same. */
	aim(r, 0, device, 4);
	assert_int_equal(vpci_cfg_ld(r, r->window + 18, 2), 0x9912);
	assert_int_equal(vpci_cfg_ld(r, r->window + 12, 8), 0x9912111000000004ull);

	/* Of what is written the first `length` bytes count. */
	poke(r, common + 0x10, 2, 0xdead0001);
	assert_int_equal(peek(r, common + 0x10, 2), 1);

	const struct vd_buf buf = {RIG_BUFFER, 16, true};
	uint32_t id, len;

	virtq_driver_offer(&r->m.q[0], &buf, 1);
	poke(r, notify, 2, 0);
	rig_wait_until(virtq_driver_take_used(&r->m.q[0], &id, &len));
	rig_wait_until(vpci_cfg_ld(r, 0x06, 2) & 8);
	assert_int_equal(peek(r, isr, 1), 1);
	assert_int_equal(peek(r, isr, 1), 0);
}

static void window_abuse_reads_0_and_writes_nothing(void **state)
{
	struct vpci *r = *state;
	static const uint32_t lens[] = {0, 3, 5, 8, 16, 0x80000000, UINT32_MAX};

	vpci_bring_up(r, true);
	uint32_t common = (uint32_t)(r->common - r->bar), device = (uint32_t)(r->device - r->bar);
	const struct {
		unsigned bar;
		uint32_t off, len;
	} bad[] = {
		{1, common + 0x14, 1},
		{5, common + 0x14, 1},
		{255, common + 0x14, 1},
		{0, common + 0x13, 2},
		{0, common + 0x12, 4},
		{0, common + 0x38, 4},
		{0, device + 1, 2},
		{0, device + 2, 4},
		{0, device + RIG_CONFIG_LEN, 4},
		{0, device + RIG_CONFIG_LEN - 1, 2},
		{0, 0x3000, 4}, /* the MSI-X table is none of virtio's structures */
		{0, 0x3800, 4},
		{0, 0x3ffc, 4},
		{0, 0x4000, 4},
		{0, 0xfffffffc, 4},
		{0, UINT32_MAX, 1},
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		aim(r, bad[i].bar, bad[i].off, bad[i].len);
		assert_int_equal(vpci_cfg_ld(r, r->window + 16, 4), 0);
		vpci_cfg_st(r, r->window + 16, 4, 0);
		assert_int_equal(vpci_cfg_ld(r, r->window + 16, 4), 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
		aim(r, 0, common + 0x14, lens[i]);
		vpci_cfg_st(r, r->window + 16, 4, 0);
		assert_int_equal(vpci_cfg_ld(r, r->window + 16, 4), 0);
	}
	assert_int_equal(vpci_ld(r, r->common + 0x14, 1), 0x0f);
	assert_int_equal(vpci_ld(r, r->table + 12, 4), 0);
	assert_int_equal(vpci_ld(r, r->device + 0, 4), 0x13121110);
	assert_int_equal(vpci_ld(r, r->device + 8, 4), 0x1b1a1918);
	rig_transact(&r->m, 0);
}

static void config_space_at_every_offset(void **state)
{
	static const uint64_t patterns[] = {UINT64_MAX, 0, 0x0102040801020408, 0x1000000010};
	struct vpci *r = *state;

	vpci_bring_up(r, true);
	for (unsigned p = 0; p < ARRAY_LEN(patterns); p++)
		for (unsigned size = 1; size <= 8; size *= 2)
			for (unsigned off = 0; off < 0x1000; off++) {
				vpci_cfg_st(r, off, size, patterns[p]);
				vpci_cfg_ld(r, off, size);
			}
	assert_int_equal(vpci_cfg_ld(r, 0x00, 4), 0x106a1af4);
	virtio_pci_device_ops.reset(&r->dev);
	vpci_bring_up(r, true);
	rig_transact(&r->m, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, vpci_setup, vpci_teardown)
	const struct CMUnitTest tests[] = {
		T(feature_select_above_1_reads_0),
		T(queue_select_out_of_range),
		T(addresses_are_two_halves),
		T(queue_enable_cannot_be_taken_back),
		T(vectors_beyond_the_table_fail),
		T(queue_fields_written_after_driver_ok),
		T(common_registers_of_the_wrong_width),
		T(notify_out_of_range),
		T(whole_bar_at_every_offset),
		T(msix_table_is_in_the_bar),
		T(window_reaches_the_structures),
		T(window_abuse_reads_0_and_writes_nothing),
		T(config_space_at_every_offset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
