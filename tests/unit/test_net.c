/* SPDX-License-Identifier: Apache-2.0 */
/* The network device from its driver's side: configuration, features, the link, life;
 * frames are in test_net_frames.c. */
#include "devices/virtio/net.h"
#include "tests/lib/net_rig.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
	*state = net_rig_create(NET_RIG_ALL_OFFLOADS, 0);
	return 0;
}

static int teardown(void **state)
{
	net_rig_destroy(*state);
	return 0;
}

/* --- configuration and features --------------------------------------------------------- */

static void test_features_follow_the_backend(void **state)
{
	struct net_rig *plain = net_rig_create(0, 0), *checked = net_rig_create(0, 9000);

	assert_int_equal(virtio_offered(&((struct net_rig *)*state)->n.v, 0),
			 1u << 0 | 1u << 1 | 1u << 5 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 10 |
				 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 15 | 1u << 16 |
				 1u << 28 | 1u << 29);
	assert_int_equal(virtio_offered(&((struct net_rig *)*state)->n.v, 1),
			 1u << 0 | 1u << 22 | 1u << 23 | 1u << 24);
	assert_int_equal(virtio_offered(&plain->n.v, 0),
			 1u << 5 | 1u << 15 | 1u << 16 | 1u << 28 | 1u << 29);
	assert_int_equal(virtio_offered(&checked->n.v, 0),
			 1u << 3 | 1u << 5 | 1u << 15 | 1u << 16 | 1u << 28 | 1u << 29);
	net_rig_destroy(plain);
	net_rig_destroy(checked);
}

static void test_config(void **state)
{
	struct net_rig *r = net_rig_create(0, 9000);
	struct virtio *v = &r->n.v;

	/* Readable before FEATURES_OK. */
	assert_int_equal(virtio_config_read(v, 0, 4), 0x00005452);
	assert_int_equal(virtio_config_read(v, 4, 2), 0x0201);
	assert_int_equal(virtio_config_read(v, 6, 2), 1);
	assert_int_equal(virtio_config_read(v, 8, 2), 1);
	assert_int_equal(virtio_config_read(v, 10, 2), 9000);
	assert_int_equal(virtio_config_read(v, 11, 2), 0);
	assert_int_equal(virtio_config_read(v, 12, 1), 0);
	/* Nothing of it can be written. */
	for (unsigned off = 0; off < 16; off++) {
		uint64_t before = virtio_config_read(v, off, 1);

		virtio_config_write(v, off, 1, ~before);
		assert_int_equal(virtio_config_read(v, off, 1), before);
	}
	net_rig_destroy(r);
}

/* [virtio 1.3 5.1.3.1] */
static void test_features_without_those_they_need_are_refused(void **state)
{
	static const uint64_t bad[] = {
		VIRTIO_NET_F_GUEST_TSO4,
		VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_CSUM,
		VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_CSUM,
		VIRTIO_NET_F_HOST_TSO4,
		VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_GUEST_CSUM,
		VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_CSUM,
		VIRTIO_NET_F_GUEST_UFO,
		VIRTIO_NET_F_GUEST_USO4 | VIRTIO_NET_F_CSUM,
		VIRTIO_NET_F_GUEST_USO6,
		VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_UFO | VIRTIO_NET_F_GUEST_CSUM,
		VIRTIO_NET_F_HOST_UFO,
		VIRTIO_NET_F_HOST_USO | VIRTIO_NET_F_GUEST_CSUM,
		VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_HOST_USO | VIRTIO_NET_F_CSUM,
		1ull << 17 /* CTRL_VQ, not offered */,
	};
	static const uint64_t good[] = {
		0,
		VIRTIO_NET_F_MRG_RXBUF,
		VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_ECN,
		VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN,
		VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_UFO | VIRTIO_NET_F_GUEST_USO4,
		VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_UFO | VIRTIO_NET_F_HOST_USO,
		NET_RIG_ALL,
	};
	struct net_rig *r = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		virtio_set_status(&r->n.v, 0);
		assert_false(virtio_driver_negotiate(&r->n.v, NET_RIG_BASIC | bad[i]));
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		virtio_set_status(&r->n.v, 0);
		assert_true(virtio_driver_negotiate(&r->n.v, NET_RIG_BASIC | good[i]));
	}
	virtio_set_status(&r->n.v, 0);
}

static void test_the_backend_learns_what_the_guest_understands(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_BASIC);
	assert_int_equal(r->net->offloads, 0);
	net_rig_reset(r);
	net_rig_go(r, NET_RIG_BASIC | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4);
	assert_int_equal(r->net->offloads, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	net_rig_reset(r);
	/* A host's UDP segments are of either kind: one of the two is none. */
	net_rig_go(r, NET_RIG_BASIC | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_USO4);
	assert_int_equal(r->net->offloads, NET_OFFLOAD_CSUM);
	net_rig_reset(r);
	net_rig_go(r, NET_RIG_BASIC | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_USO4 |
			      VIRTIO_NET_F_GUEST_USO6 | VIRTIO_NET_F_GUEST_UFO);
	assert_int_equal(r->net->offloads, NET_OFFLOAD_CSUM | NET_OFFLOAD_USO | NET_OFFLOAD_UFO);
	net_rig_reset(r);
	net_rig_go(r, NET_RIG_ALL);
	assert_int_equal(r->net->offloads, NET_RIG_ALL_OFFLOADS);
}

/* --- the link ---------------------------------------------------------------------------- */

static void test_link_down_and_up(void **state)
{
	struct net_rig *r = *state;
	uint8_t generation = virtio_config_generation(&r->n.v);

	net_rig_go(r, NET_RIG_ALL);
	net_rig_give(r, 0, 2048);
	virtio_net_set_link(&r->n, false);
	assert_int_equal(virtio_config_read(&r->n.v, VIRTIO_NET_CFG_STATUS, 2), 0);
	assert_int_equal(fake_transport_config_irqs(&r->t), 1);
	assert_int_not_equal(virtio_config_generation(&r->n.v), generation);

	/* Nothing gets through, and what was sent is done with. */
	assert_true(net_rig_send_plain(r, 100));
	assert_int_equal(r->net->n_out, 0);
	fake_net_arrive(r->net, (struct net_hdr){0}, 100, 1);
	assert_false(net_rig_used(r, VIRTIO_NET_RX));
	assert_int_equal(r->net->next, 1);

	/* The same again changes nothing. */
	virtio_net_set_link(&r->n, false);
	assert_int_equal(fake_transport_config_irqs(&r->t), 1);
	virtio_net_set_link(&r->n, true);
	assert_int_equal(virtio_config_read(&r->n.v, VIRTIO_NET_CFG_STATUS, 2), 1);
	assert_int_equal(fake_transport_config_irqs(&r->t), 2);
	assert_true(net_rig_send_plain(r, 100));
	assert_int_equal(r->net->n_out, 1);
	fake_net_arrive(r->net, (struct net_hdr){0}, 100, 1);
	assert_true(net_rig_used(r, VIRTIO_NET_RX));
}

static void test_a_lost_backend_takes_the_link_down(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_BASIC);
	r->net->net.lost(r->net->net.ctx, "the cable was cut");
	assert_false(virtio_net_link(&r->n));
	assert_int_equal(fake_transport_config_irqs(&r->t), 1);
	assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE);
	/* Also for the next driver. */
	net_rig_reset(r);
	assert_int_equal(virtio_config_read(&r->n.v, VIRTIO_NET_CFG_STATUS, 2), 0);
}

static void test_a_backend_that_cannot_be_attached(void **state)
{
	struct net_rig *r = *state;

	r->net->attach_error = -ENOMEM;
	net_rig_go(r, NET_RIG_BASIC);
	assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE | VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(fake_transport_config_irqs(&r->t), 1);
	net_rig_kick(r, VIRTIO_NET_RX);
	net_rig_kick(r, VIRTIO_NET_TX);
	net_rig_reset(r);
	r->net->attach_error = 0;
	net_rig_go(r, NET_RIG_BASIC);
	assert_true(net_rig_send_plain(r, 60));
}

/* --- pause, and saved state ---------------------------------------------------------------- */

static void save(struct net_rig *r, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "net", 1);
	virtio_save(&r->n.v, w);
	state_section_end(w);
	assert_int_equal(w->error, 0);
}

static int load(struct net_rig *r, const struct state_writer *w, struct err *e)
{
	struct state_reader in;

	state_reader_init(&in, w->data, w->len);
	assert_int_equal(state_section_open(&in, "net", e), 1);
	return virtio_load(&r->n.v, &in, e);
}

/* Buffers in stock go back to the ring, a frame that waits for the backend too; the
 * state that is loaded is the state that was saved. */
static void test_save_and_load(void **state)
{
	struct net_rig *r = *state, *other;
	struct state_writer first, again;
	struct err e = {0};

	net_rig_go(r, NET_RIG_ALL);
	for (unsigned i = 0; i < 8; i++)
		net_rig_give(r, i, 2048);
	fake_net_arrive(r->net, (struct net_hdr){0}, 1000, 3);
	assert_true(net_rig_used(r, VIRTIO_NET_RX));
	r->net->busy = true;
	assert_false(net_rig_send_plain(r, 99));
	net_rig_pause(r);
	assert_int_equal(r->net->attached, 0);
	save(r, &first);

	other = net_rig_create(NET_RIG_ALL_OFFLOADS, 0);
	net_rig_adopt_ram(other, r);
	assert_int_equal(load(other, &first, &e), 0);
	save(other, &again);
	assert_int_equal(first.len, again.len);
	assert_memory_equal(first.data, again.data, first.len);

	virtio_resume(&other->n.v);
	loop_settle(other->loop);
	/* The frame that waited goes out, once; the buffers are there. */
	assert_int_equal(other->net->n_out, 1);
	assert_int_equal(other->net->out[0].len, 99);
	assert_true(net_rig_used(other, VIRTIO_NET_TX));
	fake_net_arrive(other->net, (struct net_hdr){0}, 500, 9);
	assert_true(net_rig_used(other, VIRTIO_NET_RX));
	assert_int_equal(other->used_len, 512);
	state_writer_fini(&first);
	state_writer_fini(&again);
	net_rig_destroy(other);
}

/* In the state that was saved, of the only bytes that are the device's. */
static uint8_t *mac_in(const struct net_rig *r, const struct state_writer *w)
{
	uint8_t *at = memmem(w->data, w->len, r->n.mac, 6);

	assert_non_null(at);
	return at;
}

static uint8_t mac_end_of(struct net_rig *r)
{
	return (uint8_t)virtio_config_read(&r->n.v, VIRTIO_NET_CFG_MAC + 5, 1);
}

/* The saved device's, unless another was asked for; and of that its driver is told, once. */
static void test_another_mac(void **state)
{
	for (unsigned fixed = 0; fixed < 2; fixed++) {
		struct net_rig *r = net_rig_create(NET_RIG_ALL_OFFLOADS, 0), *other;
		struct state_writer w, again;
		struct err e = {0};

		net_rig_go(r, NET_RIG_BASIC);
		net_rig_pause(r);
		save(r, &w);
		mac_in(r, &w)[5] = 0x77;
		other = net_rig_create(NET_RIG_ALL_OFFLOADS, 0);
		net_rig_adopt_ram(other, r);
		other->n.mac_fixed = fixed;
		assert_int_equal(load(other, &w, &e), 0);
		assert_int_equal(mac_end_of(other), fixed ? 2 : 0x77);
		save(other, &again);
		assert_int_equal(w.len, again.len);
		assert_int_equal(!memcmp(w.data, again.data, w.len), !fixed);
		virtio_resume(&other->n.v);
		loop_settle(other->loop);
		assert_int_equal(fake_transport_config_irqs(&other->t), fixed);
		net_rig_pause(other);
		virtio_resume(&other->n.v);
		loop_settle(other->loop);
		assert_int_equal(fake_transport_config_irqs(&other->t), fixed);
		state_writer_fini(&w);
		state_writer_fini(&again);
		net_rig_destroy(other);
		net_rig_destroy(r);
	}
}

static void test_a_group_s_mac_is_refused(void **state)
{
	struct net_rig *r = *state;
	struct state_writer w;
	struct err e = {0};

	save(r, &w);
	mac_in(r, &w)[0] |= 1;
	assert_int_equal(load(r, &w, &e), -EBADMSG);
	assert_int_equal(mac_end_of(r), 2);
	state_writer_fini(&w);
}

static void test_state_cut_short_is_refused(void **state)
{
	struct net_rig *r = *state;
	struct state_writer w;

	save(r, &w);
	for (size_t cut = 1; cut < 7; cut++) {
		struct err e = {0};
		struct state_writer less = w;

		/* The section's length is at 28, after name and version. */
		less.len -= cut;
		le32_put(less.data + 28, (uint32_t)(less.len - 32));
		assert_true(load(r, &less, &e) < 0);
	}
	state_writer_fini(&w);
}

/* Restored on a host where the link is down: the driver is told. */
static void test_a_link_that_changed_meanwhile_is_told(void **state)
{
	struct net_rig *r = *state, *other;
	struct state_writer w;
	struct err e = {0};

	net_rig_go(r, NET_RIG_BASIC);
	net_rig_pause(r);
	save(r, &w);
	other = net_rig_create(NET_RIG_ALL_OFFLOADS, 0);
	net_rig_adopt_ram(other, r);
	virtio_net_set_link(&other->n, false);
	assert_int_equal(load(other, &w, &e), 0);
	assert_int_equal(fake_transport_config_irqs(&other->t), 0);
	virtio_resume(&other->n.v);
	loop_settle(other->loop);
	assert_int_equal(fake_transport_config_irqs(&other->t), 1);
	assert_int_equal(virtio_config_read(&other->n.v, VIRTIO_NET_CFG_STATUS, 2), 0);
	state_writer_fini(&w);
	net_rig_destroy(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		TEST(test_features_follow_the_backend),
		TEST(test_config),
		TEST(test_features_without_those_they_need_are_refused),
		TEST(test_the_backend_learns_what_the_guest_understands),
		TEST(test_link_down_and_up),
		TEST(test_a_lost_backend_takes_the_link_down),
		TEST(test_a_backend_that_cannot_be_attached),
		TEST(test_save_and_load),
		TEST(test_another_mac),
		TEST(test_a_group_s_mac_is_refused),
		TEST(test_state_cut_short_is_refused),
		TEST(test_a_link_that_changed_meanwhile_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
