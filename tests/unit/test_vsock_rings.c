/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device's rings in the hands of its backend, as vhost has them, and the ways back: a
 * reset, a pause, a saved state, rings that make no sense. */
#include "devices/virtio/vsock.h"
#include "tests/lib/fake_ring.h"
#include "tests/lib/vsock_rig.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define EVENT 0xe0000ull

static int setup(void **state)
{
	struct vsock_rig *r = vr_create(false);

	fake_vsock_serves_rings(r->b);
	*state = r;
	return 0;
}

static int setup_threaded(void **state)
{
	struct vsock_rig *r = vr_create(true);

	fake_vsock_serves_rings(r->b);
	*state = r;
	return 0;
}

static bool has_rings(const struct vsock_rig *r)
{
	return __atomic_load_n(&r->b->has_rings, __ATOMIC_ACQUIRE);
}

static void await_rings(const struct vsock_rig *r)
{
	for (unsigned tries = 0; !has_rings(r); tries++) {
		assert_true(tries < 50000);
		usleep(200);
	}
}

static unsigned kicks(const struct vsock_rig *r, unsigned ring)
{
	uint64_t count;

	return read(r->b->rings[ring].kick, &count, sizeof(count)) == sizeof(count)
		       ? (unsigned)count
		       : 0;
}

static void await_irqs(struct vsock_rig *r, unsigned queue, unsigned want)
{
	vr_settle(r);
	for (unsigned tries = 0; fake_transport_irqs(&r->t, queue) < want; tries++) {
		assert_true(tries < 50000);
		usleep(200);
	}
	assert_int_equal(fake_transport_irqs(&r->t, queue), want);
}

/* A packet to the guest, and one from it. */
static void the_kernel_works(struct vsock_rig *r)
{
	for (unsigned q = 0; q < VSOCK_RINGS; q++) {
		const struct vd_buf buf = {0x100000 + q * 0x10000, 4096, q == VSOCK_RING_RX};
		unsigned irqs = fake_transport_irqs(&r->t, q);
		uint16_t head = virtq_driver_offer(&r->q[q], &buf, 1);
		uint32_t id, len;

		virtio_kick(&r->s.v, q);
		vr_settle(r);
		/* Nobody else has taken it. */
		assert_false(virtq_driver_take_used(&r->q[q], &id, &len));
		assert_int_equal(fake_ring_use(&r->b->rings[q], 44), head);
		assert_true(virtq_driver_take_used(&r->q[q], &id, &len));
		assert_int_equal(id, head);
		await_irqs(r, q, irqs + 1);
	}
}

static void test_the_backend_gets_the_rings(void **state)
{
	struct vsock_rig *r = *state;
	const struct vhost_ring *rings = r->b->rings;

	vr_start(r);
	assert_true(has_rings(r));
	assert_int_equal(r->b->ring_features, r->features);
	for (unsigned i = 0; i < VSOCK_RINGS; i++) {
		assert_int_equal(rings[i].size, VR_SIZE);
		assert_int_equal(rings[i].next, 0);
		assert_ptr_equal(rings[i].desc, guest_mem_hva(&r->gm, r->q[i].desc, 1));
		assert_ptr_equal(rings[i].avail, guest_mem_hva(&r->gm, r->q[i].avail, 1));
		assert_ptr_equal(rings[i].used, guest_mem_hva(&r->gm, r->q[i].used, 1));
		assert_int_equal(rings[i].kick, virtio_doorbell_fd(&r->s.v, i));
		/* For what was offered before it listened. */
		assert_int_equal(kicks(r, i), 1);
	}
	for (unsigned i = 0; i < 3 * VR_SIZE; i++)
		the_kernel_works(r);
	/* Doorbells are its to hear. */
	assert_int_equal(kicks(r, VSOCK_RING_RX), 3 * VR_SIZE);
	assert_int_equal(fake_transport_config_irqs(&r->t), 0);
	assert_int_equal(virtio_config_read(&r->s.v, 0, 8), VR_CID);
}

static void expect_needs_reset(struct vsock_rig *r)
{
	vr_settle(r);
	assert_int_equal(virtio_status(&r->s.v), VR_LIVE | VR_NEEDS_RESET);
	assert_false(has_rings(r));
}

static void reset(struct vsock_rig *r)
{
	virtio_set_status(&r->s.v, 0);
	vr_settle(r);
	assert_int_equal(virtio_status(&r->s.v), 0);
	assert_false(has_rings(r));
	assert_false(r->b->attached);
}

/* Nobody else can serve it. */
static void test_a_kernel_that_cannot(void **state)
{
	static const int errors[] = {-ENOTSUP, -ENOMEM, -EFAULT};
	struct vsock_rig *r = *state;

	for (unsigned i = 0; i < 3; i++) {
		r->b->take_error = errors[i];
		for (unsigned q = 0; q < 3; q++)
			virtq_driver_init(&r->q[q], &r->gm, 0x10000 + q * 0x8000, 16);
		virtio_driver_start(&r->s.v, r->features, r->q, 3);
		expect_needs_reset(r);
		assert_int_equal(r->b->takes, i + 1);
		reset(r);
	}
	r->b->take_error = 0;
	vr_start(r);
	the_kernel_works(r);
}

static void test_one_ring_alone(void **state)
{
	struct vsock_rig *r = *state;

	virtq_driver_init(&r->q[VIRTIO_VSOCK_TX], &r->gm, 0x10000, VR_SIZE);
	assert_true(virtio_driver_negotiate(&r->s.v, r->features));
	virtio_driver_set_queue(&r->s.v, VIRTIO_VSOCK_TX, &r->q[VIRTIO_VSOCK_TX]);
	virtio_set_status(&r->s.v, VR_LIVE);
	expect_needs_reset(r);
	assert_int_equal(r->b->takes, 0);
	reset(r);
	vr_start(r);
	the_kernel_works(r);
}

static void test_resets(void **state)
{
	struct vsock_rig *r = *state;

	for (unsigned i = 0; i < 5; i++) {
		vr_start(r);
		assert_int_equal(r->b->takes, i + 1);
		assert_int_equal(r->b->rings[VSOCK_RING_RX].next, 0);
		the_kernel_works(r);
		reset(r);
	}
}

static void test_rings_without_sense(void **state)
{
	struct vsock_rig *r = *state;

	vr_start(r);
	the_kernel_works(r);
	r->b->b.broken(r->b->b.ctx);
	expect_needs_reset(r);
	/* What it is sent then is looked at by nobody. */
	const struct vd_buf buf = {0x100000, 44, false};
	uint32_t id, len;

	virtq_driver_offer(&r->q[VIRTIO_VSOCK_TX], &buf, 1);
	virtio_kick(&r->s.v, VIRTIO_VSOCK_TX);
	vr_settle(r);
	assert_false(virtq_driver_take_used(&r->q[VIRTIO_VSOCK_TX], &id, &len));
	reset(r);
	vr_start(r);
	the_kernel_works(r);
}

/* What it has not taken stays for it. */
static void test_pauses(void **state)
{
	struct vsock_rig *r = *state;
	uint16_t next = 0;

	vr_start(r);
	await_rings(r);
	for (unsigned i = 0; i < 20; i++) {
		const struct vd_buf buf = {0x200000, 4096, true};
		uint32_t id, len;

		the_kernel_works(r);
		next++;
		virtq_driver_offer(&r->q[VIRTIO_VSOCK_RX], &buf, 1);
		virtio_kick(&r->s.v, VIRTIO_VSOCK_RX);
		assert_int_equal(virtio_pause(&r->s.v, 5000), 0);
		assert_false(has_rings(r));
		assert_false(virtq_driver_take_used(&r->q[VIRTIO_VSOCK_RX], &id, &len));
		virtio_resume(&r->s.v);
		await_rings(r);
		assert_int_equal(r->b->rings[VSOCK_RING_RX].next, next);
		fake_ring_use(&r->b->rings[VSOCK_RING_RX], 44);
		next++;
		assert_true(virtq_driver_take_used(&r->q[VIRTIO_VSOCK_RX], &id, &len));
		await_irqs(r, VIRTIO_VSOCK_RX, next);
	}
}

/* The event queue is ours all along: the driver hears that its connections ended, once. */
static void test_restored_driver_hears_of_it(void **state)
{
	struct vsock_rig *r = *state, *g = vr_create(true);
	const struct vd_buf event = {EVENT, 4, true};
	struct state_reader reader;
	struct state_writer w;
	struct err e = {0};
	uint32_t id, len;

	vr_start(r);
	await_rings(r);
	the_kernel_works(r);
	virtq_driver_offer(&r->q[VIRTIO_VSOCK_EVENT], &event, 1);
	assert_int_equal(virtio_pause(&r->s.v, 5000), 0);
	state_writer_init(&w);
	state_section_begin(&w, "all", 1);
	virtio_save(&r->s.v, &w);
	state_section_end(&w);
	for (uint64_t gpa = 0; gpa < 0x100000; gpa += 4096)
		memcpy(guest_mem_hva(&g->gm, gpa, 4096), guest_mem_hva(&r->gm, gpa, 4096), 4096);
	memcpy(g->q, r->q, sizeof(g->q));
	for (unsigned i = 0; i < 3; i++)
		g->q[i].gm = &g->gm;
	fake_vsock_serves_rings(g->b);
	state_reader_init(&reader, w.data, w.len);
	assert_int_equal(state_section_open(&reader, "all", &e), 1);
	memset(guest_mem_hva(&g->gm, EVENT, 4), 0xee, 4);
	assert_int_equal(virtio_load(&g->s.v, &reader, &e), 0);
	virtio_resume(&g->s.v);
	await_rings(g);
	for (unsigned q = 0; q < VSOCK_RINGS; q++)
		assert_int_equal(g->b->rings[q].next, 1);
	for (unsigned tries = 0; !virtq_driver_take_used(&g->q[VIRTIO_VSOCK_EVENT], &id, &len);
	     tries++) {
		assert_true(tries < 50000);
		usleep(200);
	}
	assert_int_equal(len, 4);
	assert_int_equal(le32_get(guest_mem_hva(&g->gm, EVENT, 4)), 0);
	virtq_driver_offer(&g->q[VIRTIO_VSOCK_EVENT], &event, 1);
	virtio_kick(&g->s.v, VIRTIO_VSOCK_EVENT);
	/* As they were given, each queue was told of once, for what may have been lost. */
	await_irqs(g, VIRTIO_VSOCK_TX, 1);
	the_kernel_works(g);
	assert_false(virtq_driver_take_used(&g->q[VIRTIO_VSOCK_EVENT], &id, &len));
	/* The one that was saved goes on, if it is not ended, and hears nothing. */
	virtio_resume(&r->s.v);
	await_rings(r);
	the_kernel_works(r);
	assert_false(virtq_driver_take_used(&r->q[VIRTIO_VSOCK_EVENT], &id, &len));
	state_writer_fini(&w);
	vr_destroy(g);
}

int main(void)
{
#define ALONE(f)    cmocka_unit_test_setup_teardown(f, setup, vr_teardown)
#define THREADED(f) cmocka_unit_test_setup_teardown(f, setup_threaded, vr_teardown)
	const struct CMUnitTest tests[] = {
		ALONE(test_the_backend_gets_the_rings),
		ALONE(test_a_kernel_that_cannot),
		ALONE(test_one_ring_alone),
		ALONE(test_resets),
		ALONE(test_rings_without_sense),
		THREADED(test_pauses),
		THREADED(test_restored_driver_hears_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
