/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/rng.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RING  0x10000ull
#define DATA  0x100000ull
#define BASIC VIRTIO_F_VERSION_1

enum { SIZE = 64, LIVE = 15, NEEDS_RESET = 64 };

struct fixture {
	struct guest_mem gm;
	struct loop *loop;
	struct virtio_rng rng;
	struct fake_transport t;
	struct virtq_driver d;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_level(LOG_QUIET);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, 4 * MiB, -1, 0, NULL), 0);
	f->loop = loop_create();
	assert_int_equal(virtio_rng_init(&f->rng, "rng", &f->gm, f->loop), 0);
	fake_transport_init(&f->t, &f->rng.v);
	virtq_driver_init(&f->d, &f->gm, RING, SIZE);
	virtio_driver_start(&f->rng.v, BASIC, &f->d, 1);
	loop_settle(f->loop);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_set_status(&f->rng.v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->rng.v), 0);
	virtio_rng_fini(&f->rng);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	free(f);
	return 0;
}

static void kick(struct fixture *f)
{
	virtio_kick(&f->rng.v, 0);
	loop_settle(f->loop);
}

static void test_fills_buffers(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{DATA, 100, true}, {DATA + 0x1001, 156, true}};
	static const uint8_t zero[256];
	uint32_t id, len;
	uint8_t *p = guest_mem_hva(&f->gm, DATA, 0x2000);

	virtq_driver_offer(&f->d, bufs, 2);
	kick(f);
	assert_true(virtq_driver_take_used(&f->d, &id, &len));
	assert_int_equal(len, 256);
	assert_memory_not_equal(p, zero, 100);
	assert_memory_not_equal(p + 0x1001, zero, 156);
	assert_int_equal(p[100], 0);
	assert_int_equal(p[0x1001 + 156], 0);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 1);
	/* Other bytes the next time. */
	uint8_t first[100];

	memcpy(first, p, 100);
	virtq_driver_offer(&f->d, bufs, 2);
	kick(f);
	assert_memory_not_equal(first, p, 100);
}

static void test_work_is_bounded(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {DATA, 2 * MiB, true};
	uint32_t id, len;

	virtq_driver_offer(&f->d, &buf, 1);
	kick(f);
	assert_true(virtq_driver_take_used(&f->d, &id, &len));
	assert_in_range(len, 1, 4096);
	assert_int_equal(*(uint8_t *)guest_mem_hva(&f->gm, DATA + len, 1), 0);
}

static void test_nothing_to_fill(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {DATA, 16, false};

	virtq_driver_offer(&f->d, &buf, 1);
	kick(f);
	assert_int_equal(virtio_status(&f->rng.v), LIVE | NEEDS_RESET);
	assert_int_equal(virtq_driver_used_idx(&f->d), 0);
}

static void test_no_configuration_space(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(virtio_config_read(&f->rng.v, 0, 4), 0);
	virtio_config_write(&f->rng.v, 0, 4, 1);
	assert_int_equal(f->rng.v.ops->device_id, 4);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_fills_buffers),
		T(test_work_is_bounded),
		T(test_nothing_to_fill),
		T(test_no_configuration_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
