/* SPDX-License-Identifier: Apache-2.0 */
/* The network device's rings in the hands of its backend, as vhost has them, and the ways
 * back: the link, a reset, a pause, rings that make no sense. */
#include "devices/virtio/net.h"
#include "tests/lib/net_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct net_rig *r = net_rig_create(NET_RIG_ALL_OFFLOADS, 0);

	fake_net_serves_rings(r->net);
	*state = r;
	return 0;
}

static unsigned kicks(const struct net_rig *r, unsigned ring)
{
	uint64_t count;

	return read(r->net->rings[ring].kick, &count, sizeof(count)) == sizeof(count)
		       ? (unsigned)count
		       : 0;
}

/* The kernel receives a frame, and sends one. */
static void the_kernel_works(struct net_rig *r)
{
	loop_settle(r->loop);
	unsigned irqs = fake_transport_irqs(&r->t, VIRTIO_NET_RX);
	uint16_t head = net_rig_give(r, 0, 2048);

	assert_true(r->net->has_rings);
	assert_int_equal(fake_net_use(r->net, NET_RING_RX, 100), head);
	loop_settle(r->loop);
	assert_true(net_rig_used(r, VIRTIO_NET_RX));
	assert_int_equal(r->used_len, 100);
	assert_int_equal(fake_transport_irqs(&r->t, VIRTIO_NET_RX), irqs + 1);

	irqs = fake_transport_irqs(&r->t, VIRTIO_NET_TX);
	assert_false(net_rig_send_plain(r, 60));
	fake_net_use(r->net, NET_RING_TX, 0);
	loop_settle(r->loop);
	assert_true(net_rig_used(r, VIRTIO_NET_TX));
	assert_int_equal(fake_transport_irqs(&r->t, VIRTIO_NET_TX), irqs + 1);
}

/* And so do we: a frame out, and one in. */
static void we_work(struct net_rig *r)
{
	unsigned sent = r->net->n_out;

	assert_false(r->net->has_rings);
	assert_true(net_rig_send_plain(r, 60));
	assert_int_equal(r->net->n_out, sent + 1);
	net_rig_give(r, 1, 2048);
	fake_net_arrive(r->net, (struct net_hdr){0}, 200, 1);
	assert_true(net_rig_used(r, VIRTIO_NET_RX));
	assert_int_equal(r->used_len, 212);
}

static void test_the_backend_gets_the_rings(void **state)
{
	struct net_rig *r = *state;
	const struct vhost_ring *rings = r->net->rings;

	net_rig_go(r, NET_RIG_ALL);
	assert_true(r->net->has_rings);
	assert_false(r->net->wants);
	assert_int_equal(r->net->ring_features, NET_RIG_ALL);
	assert_int_equal(r->net->offloads, NET_RIG_ALL_OFFLOADS);
	for (unsigned i = 0; i < NET_RINGS; i++) {
		assert_int_equal(rings[i].size, NET_RIG_QUEUE);
		assert_int_equal(rings[i].next, 0);
		assert_ptr_equal(rings[i].desc, net_rig_at(r, r->d[i].desc));
		assert_ptr_equal(rings[i].avail, net_rig_at(r, r->d[i].avail));
		assert_ptr_equal(rings[i].used, net_rig_at(r, r->d[i].used));
		assert_int_equal(rings[i].kick, virtio_doorbell_fd(&r->n.v, i));
		/* For what was offered before it listened. */
		assert_int_equal(kicks(r, i), 1);
	}
	for (unsigned i = 0; i < 600; i++)
		the_kernel_works(r);
	/* Doorbells are its to hear. */
	assert_int_equal(kicks(r, NET_RING_RX), 600);
	assert_int_equal(r->net->n_out, 0);
	assert_int_equal(r->net->receives, 0);
	assert_int_equal(fake_transport_config_irqs(&r->t), 0);
}

static void test_a_backend_that_cannot(void **state)
{
	static const int errors[] = {-ENOTSUP, -ENOMEM, -EFAULT};
	struct net_rig *r = *state;

	for (unsigned i = 0; i < 3; i++) {
		r->net->take_error = errors[i];
		net_rig_go(r, NET_RIG_ALL);
		assert_int_equal(r->net->takes, i + 1);
		assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE);
		we_work(r);
		net_rig_reset(r);
	}
}

/* A driver that sets only one of them up sends, or receives, and no more. */
static void test_one_ring_alone_is_ours(void **state)
{
	struct net_rig *r = *state;

	assert_true(virtio_driver_negotiate(&r->n.v, NET_RIG_ALL));
	virtio_driver_set_queue(&r->n.v, VIRTIO_NET_TX, &r->d[VIRTIO_NET_TX]);
	virtio_set_status(&r->n.v, NET_RIG_LIVE);
	loop_settle(r->loop);
	assert_int_equal(r->net->takes, 0);
	assert_true(net_rig_send_plain(r, 60));
	assert_int_equal(r->net->n_out, 1);
}

static void test_the_link_down_and_up(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_ALL);
	the_kernel_works(r);
	/* What it has not taken is ours: the buffer waits, the frame is dropped. */
	net_rig_give(r, 0, 2048);
	assert_false(net_rig_send_plain(r, 60));
	virtio_net_set_link(&r->n, false);
	loop_settle(r->loop);
	assert_false(r->net->has_rings);
	assert_int_equal(fake_transport_config_irqs(&r->t), 1);
	assert_true(net_rig_used(r, VIRTIO_NET_TX));
	assert_int_equal(r->net->n_out, 0);
	fake_net_arrive(r->net, (struct net_hdr){0}, 100, 1);
	assert_false(net_rig_used(r, VIRTIO_NET_RX));

	virtio_net_set_link(&r->n, true);
	loop_settle(r->loop);
	assert_true(r->net->has_rings);
	assert_int_equal(r->net->rings[NET_RING_RX].next, 1);
	assert_int_equal(r->net->rings[NET_RING_TX].next, 2);
	fake_net_use(r->net, NET_RING_RX, 50);
	assert_true(net_rig_used(r, VIRTIO_NET_RX));
	the_kernel_works(r);
	/* Quicker than anybody looks. */
	for (unsigned i = 0; i < 11; i++)
		virtio_net_set_link(&r->n, i % 2);
	loop_settle(r->loop);
	assert_false(r->net->has_rings);
}

/* Before DRIVER_OK, and while it is down, the rings stay with us. */
static void test_started_with_the_link_down(void **state)
{
	struct net_rig *r = *state;

	virtio_net_set_link(&r->n, false);
	net_rig_go(r, NET_RIG_ALL);
	assert_int_equal(r->net->takes, 0);
	assert_true(net_rig_send_plain(r, 60));
	virtio_net_set_link(&r->n, true);
	loop_settle(r->loop);
	the_kernel_works(r);
}

/* Stock and chain in hand go back to the ring before it is lent. */
static void test_lent_in_the_middle_of_work(void **state)
{
	struct net_rig *r = *state;

	r->net->take_error = -ENOTSUP;
	net_rig_go(r, NET_RIG_ALL);
	we_work(r);
	for (unsigned i = 0; i < 40; i++)
		net_rig_give(r, i, 2048);
	r->net->busy = true;
	assert_false(net_rig_send_plain(r, 60));
	virtio_net_set_link(&r->n, false);
	loop_settle(r->loop);
	r->net->take_error = 0;
	virtio_net_set_link(&r->n, true);
	loop_settle(r->loop);
	assert_true(r->net->has_rings);
	assert_int_equal(r->net->rings[NET_RING_RX].next, 1);
	assert_int_equal(r->net->rings[NET_RING_TX].next, 1);
	fake_net_use(r->net, NET_RING_TX, 0);
	assert_true(net_rig_used(r, VIRTIO_NET_TX));
	for (unsigned i = 0; i < 40; i++) {
		fake_net_use(r->net, NET_RING_RX, i);
		assert_true(net_rig_used(r, VIRTIO_NET_RX));
		assert_int_equal(r->used_len, i);
	}
}

static void test_a_lost_backend_gives_them_back(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_ALL);
	r->net->net.lost(r->net->net.ctx, "the cable was cut");
	loop_settle(r->loop);
	assert_false(r->net->has_rings);
	assert_false(virtio_net_link(&r->n));
	assert_int_equal(fake_transport_config_irqs(&r->t), 1);
	assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE);
	/* The driver's frames are dropped, and it goes on. */
	assert_true(net_rig_send_plain(r, 60));
}

static void test_rings_without_sense(void **state)
{
	struct net_rig *r = *state;

	for (unsigned i = 0; i < 3; i++) {
		net_rig_go(r, NET_RIG_ALL);
		the_kernel_works(r);
		r->net->net.broken(r->net->net.ctx);
		loop_settle(r->loop);
		assert_false(r->net->has_rings);
		assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE | VIRTIO_STATUS_NEEDS_RESET);
		assert_int_equal(fake_transport_config_irqs(&r->t), i + 1);
		/* Nobody serves it any more, whatever happens. */
		virtio_net_set_link(&r->n, false);
		virtio_net_set_link(&r->n, true);
		net_rig_give(r, 0, 2048);
		assert_false(net_rig_send_plain(r, 60));
		assert_int_equal(r->net->takes, i + 1);
		net_rig_reset(r);
		fake_transport_init(&r->t, &r->n.v);
		r->t.config_irqs = i + 1;
	}
	net_rig_go(r, NET_RIG_ALL);
	the_kernel_works(r);
}

static void test_resets_under_load(void **state)
{
	struct net_rig *r = *state;

	for (unsigned i = 0; i < 1000; i++) {
		net_rig_go(r, NET_RIG_ALL);
		the_kernel_works(r);
		net_rig_give(r, 1, 2048);
		net_rig_reset(r);
		assert_false(r->net->has_rings);
	}
	assert_int_equal(r->net->takes, 1000);
}

/* The state says how far the kernel was; here or there, it goes on from that. */
static void test_save_and_load(void **state)
{
	struct net_rig *r = *state, *other = net_rig_create(NET_RIG_ALL_OFFLOADS, 0);
	struct state_writer w;
	struct state_reader in;
	struct err e = {0};

	net_rig_go(r, NET_RIG_ALL);
	for (unsigned i = 0; i < 300; i++)
		the_kernel_works(r);
	net_rig_give(r, 0, 2048);
	assert_false(net_rig_send_plain(r, 99));
	net_rig_pause(r);
	assert_false(r->net->has_rings);
	assert_int_equal(r->net->attached, 0);
	state_writer_init(&w);
	state_section_begin(&w, "net", 1);
	virtio_save(&r->n.v, &w);
	state_section_end(&w);

	/* To a host that has no such thing. */
	net_rig_adopt_ram(other, r);
	state_reader_init(&in, w.data, w.len);
	assert_int_equal(state_section_open(&in, "net", &e), 1);
	assert_int_equal(virtio_load(&other->n.v, &in, &e), 0);
	virtio_resume(&other->n.v);
	loop_settle(other->loop);
	assert_int_equal(other->net->n_out, 1);
	assert_int_equal(other->net->out[0].len, 99);
	assert_true(net_rig_used(other, VIRTIO_NET_TX));
	fake_net_arrive(other->net, (struct net_hdr){0}, 500, 9);
	assert_true(net_rig_used(other, VIRTIO_NET_RX));

	virtio_resume(&r->n.v);
	loop_settle(r->loop);
	assert_true(r->net->has_rings);
	assert_int_equal(r->net->rings[NET_RING_TX].next, 300);
	fake_net_use(r->net, NET_RING_RX, 10);
	assert_true(net_rig_used(r, VIRTIO_NET_RX));
	fake_net_use(r->net, NET_RING_TX, 0);
	assert_true(net_rig_used(r, VIRTIO_NET_TX));
	the_kernel_works(r);
	state_writer_fini(&w);
	net_rig_destroy(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, net_rig_teardown)
		TEST(test_the_backend_gets_the_rings),
		TEST(test_a_backend_that_cannot),
		TEST(test_one_ring_alone_is_ours),
		TEST(test_the_link_down_and_up),
		TEST(test_started_with_the_link_down),
		TEST(test_lent_in_the_middle_of_work),
		TEST(test_a_lost_backend_gives_them_back),
		TEST(test_rings_without_sense),
		TEST(test_resets_under_load),
		TEST(test_save_and_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
