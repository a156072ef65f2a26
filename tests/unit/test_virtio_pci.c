/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-pci as its driver finds, sets up and uses it: discovery, kicks, interrupts,
 * resets, and doorbells that follow the BAR. */
#include "tests/lib/virtio_pci_rig.h"

#include <errno.h>
#include <string.h>

/* --- discovery ------------------------------------------------------------------------ */

static void driver_finds_the_device(void **state)
{
	struct vpci *r = *state;

	assert_int_equal(vpci_cfg_ld(r, 0x00, 4), 0x106a1af4);
	assert_int_equal(vpci_cfg_ld(r, 0x08, 4) >> 8, 0x00ff00);
	assert_int_equal(vpci_cfg_ld(r, 0x08, 1), 1);
	assert_int_equal(vpci_cfg_ld(r, 0x2c, 4), 0x106a1af4);
	assert_int_equal(vpci_cfg_ld(r, 0x3d, 1), 0);
	assert_int_equal(vpci_find_structures(r), 0x3e); /* types 1 to 5 */
	assert_int_equal(vpci_cfg_ld(r, r->msix_cap + 2, 2) & 0x7ff, RIG_QUEUES);
	assert_int_equal(r->device_len, RIG_CONFIG_LEN);
	assert_true(r->notify_len >= (RIG_QUEUES - 1) * r->multiplier + 2);

	/* Size the BAR as Linux does, decoding off. */
	vpci_cfg_st(r, 0x10, 4, 0xffffffff);
	vpci_cfg_st(r, 0x14, 4, 0xffffffff);
	assert_int_equal(vpci_cfg_ld(r, 0x14, 4), 0xffffffff);
	assert_int_equal(~(uint32_t)(vpci_cfg_ld(r, 0x10, 4) & ~0xfull) + 1, 0x4000);
	vpci_cfg_st(r, 0x10, 4, (uint32_t)r->bar);
	vpci_cfg_st(r, 0x14, 4, r->bar >> 32);
	assert_int_equal(vpci_bar_address(r), r->bar);
	vpci_enable_memory(r);
	assert_int_equal(vpci_ld(r, r->common + 0x12, 2), RIG_QUEUES);
}

static uint16_t class_of(uint32_t device_id)
{
	struct virtio_ops ops = rig_echo_ops;
	const struct virtio_pci_env env = {0};
	struct guest_mem gm = {0};
	struct virtio_pci p;
	const uint16_t size = 8;
	struct virtio v;

	ops.device_id = device_id;
	ops.reset = NULL;
	assert_int_equal(virtio_init(&v, &ops, NULL, "x", &gm, NULL, 0, 0, 1, &size), 0);
	assert_int_equal(virtio_pci_init(&p, &v, &env), 0);
	uint16_t class_code = pci_config_get16(&p.pci, 0x0a);

	assert_int_equal(pci_config_get16(&p.pci, 0x02), 0x1040 + device_id);
	virtio_pci_fini(&p);
	virtio_fini(&v);
	return class_code;
}

static void class_follows_the_type(void **state)
{
	assert_int_equal(class_of(1), 0x0200);
	assert_int_equal(class_of(2), 0x0100);
	assert_int_equal(class_of(3), 0x0780);
	assert_int_equal(class_of(4), 0x00ff);
}

static void too_large_a_config_is_refused(void **state)
{
	const struct virtio_pci_env env = {0};
	struct guest_mem gm = {0};
	struct rig_echo d = {0};
	struct virtio_pci p;
	const uint16_t size = 8;
	int ret = virtio_init(&d.v, &rig_echo_ops, &d, "x", &gm, NULL, 0, 4097, 1, &size);

	assert_int_equal(ret, 0);
	assert_int_equal(virtio_pci_init(&p, &d.v, &env), -EINVAL);
	virtio_pci_fini(&p);
	virtio_fini(&d.v);
}

/* --- working -------------------------------------------------------------------------- */

static void driver_brings_it_up_and_uses_it(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, true);
	for (unsigned round = 0; round < 100; round++)
		rig_transact(&r->m, round % RIG_QUEUES);
	rig_wait_until(vpci_delivered(r, 0x51) && vpci_delivered(r, 0x52));
	assert_false(vpci_delivered(r, 0x50));
	assert_true(r->m.echo.ready[0] > 0 && r->m.echo.ready[1] > 0);
	/* Neither the kicks nor the interrupts went through the device model. */
	unsigned before = r->m.trapped;

	vpci_st(r, r->notify, 2, 0);
	vpci_st(r, r->notify + r->multiplier, 4, 1);
	assert_int_equal(r->m.trapped, before);
	assert_int_equal(r->msi.sends, 0);
}

static void queue_without_vector_is_silent(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, true);
	vpci_st(r, r->common + 0x16, 2, 1);
	vpci_st(r, r->common + 0x1a, 2, 0xffff);
	rig_transact(&r->m, 1);
	rig_transact(&r->m, 0);
	rig_wait_until(vpci_delivered(r, 0x51));
	assert_false(vpci_delivered(r, 0x52));
	assert_int_equal(vpci_ld(r, r->isr, 1), 0);
}

static void isr_tells_without_msix(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, false);
	assert_int_equal(vpci_cfg_ld(r, 0x06, 2) & 8, 0);
	rig_transact(&r->m, 0);
	rig_wait_until(vpci_cfg_ld(r, 0x06, 2) & 8); /* Interrupt Status */
	assert_int_equal(vpci_ld(r, r->isr, 4), 0);  /* wrong size: nothing is cleared */
	assert_int_equal(vpci_ld(r, r->isr + 1, 1), 0);
	assert_int_equal(vpci_ld(r, r->isr, 1), 1);
	assert_int_equal(vpci_ld(r, r->isr, 1), 0);
	assert_int_equal(vpci_cfg_ld(r, 0x06, 2) & 8, 0);
	virtio_notify_config(&r->m.echo.v);
	assert_int_equal(vpci_ld(r, r->isr, 1), 2);
	assert_int_equal(fake_msi_delivered(&r->msi), 0);
}

static void config_change_interrupts(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, true);
	uint64_t generation = vpci_ld(r, r->common + 0x15, 1);

	virtio_notify_config(&r->m.echo.v);
	assert_true(vpci_delivered(r, 0x50));
	assert_int_not_equal(vpci_ld(r, r->common + 0x15, 1), generation);
	assert_int_equal(vpci_cfg_ld(r, 0x06, 2) & 8, 0); /* MSI-X is on */
	assert_int_equal(vpci_ld(r, r->isr, 1), 2);
	assert_int_equal(vpci_ld(r, r->isr, 1), 0);
}

static void reset_unmaps_vectors_and_queues(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, true);
	rig_transact(&r->m, 0);
	vpci_st(r, r->common + 0x00, 4, 1);
	vpci_st(r, r->common + 0x14, 1, 0);
	rig_wait_until(!vpci_ld(r, r->common + 0x14, 1));
	assert_int_equal(vpci_ld(r, r->common + 0x10, 2), 0xffff);
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		vpci_st(r, r->common + 0x16, 2, i);
		assert_int_equal(vpci_ld(r, r->common + 0x1a, 2), 0xffff);
		assert_int_equal(vpci_ld(r, r->common + 0x1c, 2), 0);
		assert_int_equal(vpci_ld(r, r->common + 0x20, 4), 0);
		assert_int_equal(vpci_ld(r, r->common + 0x18, 2), i ? 16 : 64);
	}
	assert_int_equal(vpci_ld(r, r->isr, 1), 0);
	vpci_bring_up(r, true);
	rig_transact(&r->m, 1);
}

/* --- doorbells and the BAR -------------------------------------------------------------- */

static void doorbells_follow_the_bar(void **state)
{
	struct vpci *r = *state;

	vpci_find_structures(r);
	assert_int_equal(fake_doorbell_count(&r->m.bell), 0);
	vpci_bring_up(r, true);
	assert_int_equal(r->m.bell.attaches, 0);
	/* One each, with the first kick, and never a second one. */
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		rig_transact(&r->m, i);
		rig_transact(&r->m, i);
		vpci_st(r, r->notify + 4 * i, 2, i);
		assert_int_equal(fake_doorbell_count(&r->m.bell), i + 1);
	}
	vpci_st(r, r->notify + 4 * RIG_QUEUES, 2, RIG_QUEUES);
	assert_int_equal(r->m.bell.attaches, RIG_QUEUES);

	vpci_cfg_st(r, 0x14, 4, 1); /* above 4 GiB */
	vpci_cfg_st(r, 0x10, 4, 0x8000);
	uint64_t old = r->notify;

	vpci_find_structures(r);
	assert_int_equal(r->bar, 0x100008000);
	assert_int_equal(fake_doorbell_count(&r->m.bell), 0);
	assert_false(fake_doorbell_store(&r->m.bell, old, 2, 0));
	rig_transact(&r->m, 0);
	rig_transact(&r->m, 1);
	assert_int_equal(fake_doorbell_count(&r->m.bell), RIG_QUEUES);
	assert_false(fake_doorbell_store(&r->m.bell, old, 2, 0));
	vpci_cfg_st(r, 0x04, 2, 0);
	assert_int_equal(fake_doorbell_count(&r->m.bell), 0);
	assert_int_equal(vpci_ld(r, r->common + 0x14, 1), 0xff);
	assert_int_equal(vpci_ld(r, r->common, 4), 0xffffffff);
	vpci_enable_memory(r);
	rig_transact(&r->m, 0);
}

static void doorbells_that_the_host_refuses(void **state)
{
	struct vpci *r = *state;

	vpci_bring_up(r, true);
	r->m.bell.fail_attach = -ENOSPC;
	vpci_cfg_st(r, 0x04, 2, 0);
	vpci_enable_memory(r);
	rig_transact(&r->m, 0);
	rig_transact(&r->m, 1);
	assert_int_equal(fake_doorbell_count(&r->m.bell), 0);
	/* It is asked once, and not at each kick. */
	r->m.bell.fail_attach = 0;
	rig_transact(&r->m, 0);
	assert_int_equal(fake_doorbell_count(&r->m.bell), 0);
	vpci_cfg_st(r, 0x04, 2, 0);
	assert_int_equal(r->m.bell.strays, 0);
}

static void bar_moved_over_ram_or_ecam(void **state)
{
	struct vpci *r = *state;
	static const uint64_t bad[] = {0,
				       0x10000,
				       0x100000,
				       VPCI_ECAM,
				       VPCI_ECAM + 0x8000,
				       VPCI_MMIO32 + 16 * MiB,
				       UINT64_MAX & ~0x3fffull};

	vpci_bring_up(r, true);
	uint64_t home = r->bar;

	for (unsigned i = 0; i < RIG_QUEUES; i++)
		rig_transact(&r->m, i);
	assert_int_equal(fake_doorbell_count(&r->m.bell), RIG_QUEUES);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		vpci_cfg_st(r, 0x10, 4, (uint32_t)bad[i]);
		vpci_cfg_st(r, 0x14, 4, bad[i] >> 32);
		assert_int_equal(fake_doorbell_count(&r->m.bell), 0);
		assert_int_equal(vpci_cfg_ld(r, 0x00, 4), 0x106a1af4);
	}
	vpci_cfg_st(r, 0x10, 4, (uint32_t)home);
	vpci_cfg_st(r, 0x14, 4, home >> 32);
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		rig_transact(&r->m, i);
	assert_int_equal(fake_doorbell_count(&r->m.bell), RIG_QUEUES);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, vpci_setup, vpci_teardown)
	const struct CMUnitTest tests[] = {
		T(driver_finds_the_device),
		cmocka_unit_test(class_follows_the_type),
		cmocka_unit_test(too_large_a_config_is_refused),
		T(driver_brings_it_up_and_uses_it),
		T(queue_without_vector_is_silent),
		T(isr_tells_without_msix),
		T(config_change_interrupts),
		T(reset_unmaps_vectors_and_queues),
		T(doorbells_follow_the_bar),
		T(doorbells_that_the_host_refuses),
		T(bar_moved_over_ram_or_ecam),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
