/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that the guest sends through the network device, from its driver's side and the host's;
 * and many at once, both ways. */
#include "tests/lib/net_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HDR = VIRTIO_NET_HDR_LEN, RX = VIRTIO_NET_RX, TX = VIRTIO_NET_TX };

/* Header and frame cut anywhere, in the ring's table and in an indirect one. */
static void test_send_in_any_framing(void **state)
{
	struct net_rig *r = *state;
	enum { LEN = 60, ALL = HDR + LEN };
	uint8_t *bytes = net_rig_at(r, NET_RIG_TX);

	net_rig_go(r, NET_RIG_ALL);
	memset(bytes, 0, HDR);
	for (unsigned i = 0; i < LEN; i++)
		bytes[HDR + i] = (uint8_t)(7 + i);
	for (uint32_t a = 1; a < ALL - 1; a += a < 16 ? 1 : 9) {
		for (uint32_t b = a + 1; b < ALL; b += b < 16 ? 1 : 13) {
			const struct vd_buf bufs[] = {{NET_RIG_TX, a, false},
						      {NET_RIG_TX + a, b - a, false},
						      {0, 0, false},
						      {NET_RIG_TX + b, ALL - b, false}};

			if (b % 2)
				virtq_driver_offer(&r->d[TX], bufs, 4);
			else
				virtq_driver_offer_indirect(&r->d[TX], bufs, 4, a % 3,
							    NET_RIG_TABLE, 0);
			net_rig_kick(r, TX);
			assert_true(net_rig_used(r, TX));
			assert_int_equal(r->net->n_out, 1);
			assert_int_equal(r->net->out[0].len, LEN);
			assert_true(net_rig_holds(r->net->out[0].data, LEN, 7));
			free(r->net->out[0].data);
			r->net->n_out = 0;
		}
	}
}

/* One descriptor for each byte. */
static void test_send_byte_by_byte(void **state)
{
	struct net_rig *r = *state;
	struct vd_buf bufs[HDR + 100];

	net_rig_go(r, NET_RIG_ALL);
	for (unsigned i = 0; i < HDR + 100; i++) {
		*net_rig_at(r, NET_RIG_TX + i) = i < HDR ? 0 : (uint8_t)(i - HDR);
		bufs[i] = (struct vd_buf){NET_RIG_TX + i, 1, false};
	}
	virtq_driver_offer(&r->d[TX], bufs, HDR + 100);
	net_rig_kick(r, TX);
	assert_true(net_rig_used(r, TX));
	assert_int_equal(r->net->n_out, 1);
	assert_true(net_rig_holds(r->net->out[0].data, 100, 0));
}

/* Without a whole header, or under 14 bytes, or longer than the longest: used, not sent. */
static void test_send_too_short_or_too_long(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_BASIC);
	for (uint32_t len = 0; len < HDR + NET_FRAME_MIN; len++) {
		const struct vd_buf buf = {NET_RIG_TX, len, false};

		virtq_driver_offer(&r->d[TX], &buf, 1);
		net_rig_kick(r, TX);
		assert_true(net_rig_used(r, TX));
	}
	assert_true(net_rig_send_plain(r, NET_FRAME_MAX + 1));
	assert_true(net_rig_send_plain(r, 1 << 20));
	assert_int_equal(r->net->n_out, 0);
	assert_true(net_rig_send_plain(r, NET_FRAME_MIN));
	assert_true(net_rig_send_plain(r, NET_FRAME_MAX));
	assert_int_equal(r->net->n_out, 2);
	assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE);
}

/* A chain that is for writing only has no header. */
static void test_send_a_buffer_to_write_into(void **state)
{
	struct net_rig *r = *state;
	const struct vd_buf buf = {NET_RIG_TX, 2000, true};

	net_rig_go(r, NET_RIG_BASIC);
	memset(net_rig_at(r, NET_RIG_TX), NET_RIG_UNTOUCHED, 2000);
	virtq_driver_offer(&r->d[TX], &buf, 1);
	net_rig_kick(r, TX);
	assert_true(net_rig_used(r, TX));
	assert_int_equal(r->used_len, 0);
	assert_int_equal(r->net->n_out, 0);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(*net_rig_at(r, NET_RIG_TX + i), NET_RIG_UNTOUCHED);
}

/* Sends a frame of 2000 bytes; gives the header that the backend got, or NULL. */
static const struct net_hdr *sent_with(struct net_rig *r, const uint8_t h[HDR])
{
	unsigned before = r->net->n_out;

	assert_true(net_rig_send(r, h, 2000));
	return r->net->n_out > before ? &r->net->out[before].hdr : NULL;
}

/* [virtio 1.3 5.1.6.2.2] */
static void test_send_checksum_fields(void **state)
{
	struct net_rig *r = *state;
	const struct net_hdr *got;
	uint8_t h[HDR];

	net_rig_go(r, NET_RIG_ALL);
	/* Fields without NEEDS_CSUM, unknown flags: not looked at. */
	net_rig_put_header(h, 0xfe, 0, 0xffff, 0xffff, 0xffff, 0xffff);
	got = sent_with(r, h);
	assert_non_null(got);
	assert_int_equal(got->flags, 0);
	assert_int_equal(got->csum_start | got->csum_offset | got->gso_size | got->gso_type, 0);
	net_rig_put_header(h, 0xff, 0, 0, 0, 34, 16);
	got = sent_with(r, h);
	assert_non_null(got);
	assert_int_equal(got->flags, NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(got->csum_start, 34);
	assert_int_equal(got->csum_offset, 16);
	/* To the last two bytes, and beyond. */
	net_rig_put_header(h, 1, 0, 0, 0, 1000, 998);
	assert_non_null(sent_with(r, h));
	net_rig_put_header(h, 1, 0, 0, 0, 1000, 999);
	assert_null(sent_with(r, h));
	net_rig_put_header(h, 1, 0, 0, 0, 0xffff, 0xffff);
	assert_null(sent_with(r, h));
	/* Not negotiated: not looked at either. */
	net_rig_reset(r);
	net_rig_go(r, NET_RIG_BASIC);
	got = sent_with(r, h);
	assert_non_null(got);
	assert_int_equal(got->flags, 0);
}

static void test_send_segmentation(void **state)
{
	static const struct {
		uint64_t features;
		uint8_t flags, gso;
		uint16_t size;
		bool good;
	} cases[] = {
		{NET_RIG_ALL, 1, 1, 1400, true},
		{NET_RIG_ALL, 1, 4, 1400, true},
		{NET_RIG_ALL, 1, 1 | 0x80, 1400, true},
		{NET_RIG_ALL, 1, 1, 0, false},           /* segments of nothing */
		{NET_RIG_ALL, 0, 1, 1400, false},        /* no checksum to complete */
		{NET_RIG_ALL, 1, 3, 1480, true},         /* UFO */
		{NET_RIG_ALL, 1, 5, 1400, true},         /* USO */
		{NET_RIG_ALL, 0, 5, 1400, false},        /* no checksum to complete */
		{NET_RIG_ALL, 1, 3 | 0x80, 1400, false}, /* ECN is TCP's */
		{NET_RIG_ALL, 1, 5 | 0x80, 1400, false},
		{NET_RIG_ALL, 1, 2, 1400, false}, /* unknown */
		{NET_RIG_ALL, 1, 0x7f, 1400, false},
		{NET_RIG_ALL, 1, 0x80, 1400, true}, /* none, of which ECN says nothing */
		{NET_RIG_BASIC | VIRTIO_NET_F_CSUM, 1, 1, 1400, false},
		{NET_RIG_BASIC | VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4, 1, 3, 1400, false},
		{NET_RIG_BASIC | VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4, 1, 5, 1400, false},
		{NET_RIG_BASIC | VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_UFO, 1, 5, 1400, false},
		{NET_RIG_BASIC | VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_USO, 1, 5, 1400, true},
		{NET_RIG_BASIC | VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4, 1, 1, 1400, true},
		{NET_RIG_BASIC | VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4, 1, 4, 1400, false},
		{NET_RIG_BASIC | VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4, 1, 0x81, 1400, false},
	};
	struct net_rig *r = *state;
	uint8_t h[HDR];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct net_hdr *got;

		net_rig_go(r, cases[i].features);
		net_rig_put_header(h, cases[i].flags, cases[i].gso, 0xffff, cases[i].size, 34, 16);
		got = sent_with(r, h);
		assert_int_equal(got != NULL, cases[i].good);
		if (got && cases[i].gso & 0x7f) {
			assert_int_equal(got->gso_type, cases[i].gso);
			assert_int_equal(got->gso_size, cases[i].size);
		}
		/* The driver's hdr_len is nobody's business. */
		if (got)
			assert_true(got->hdr_len <= 2000);
		net_rig_reset(r);
	}
}

static void test_mtu_is_kept(void **state)
{
	struct net_rig *r = net_rig_create(NET_RIG_ALL_OFFLOADS, 1500);
	uint8_t h[HDR];

	net_rig_go(r, NET_RIG_ALL | VIRTIO_NET_F_MTU);
	assert_true(net_rig_send_plain(r, 1518));
	assert_true(net_rig_send_plain(r, 1519));
	assert_int_equal(r->net->n_out, 1);
	net_rig_put_header(h, 1, 1, 54, 1448, 34, 16);
	assert_non_null(sent_with(r, h));
	for (unsigned i = 0; i < 4; i++)
		net_rig_give(r, i, 4096);
	fake_net_arrive(r->net, (struct net_hdr){0}, 1519, 0);
	assert_false(net_rig_used(r, RX));
	fake_net_arrive(r->net, (struct net_hdr){0}, 1518, 0);
	assert_true(net_rig_used(r, RX));
	fake_net_arrive(r->net, (struct net_hdr){.gso_type = 1, .gso_size = 1448}, 4000, 0);
	assert_true(net_rig_used(r, RX));
	net_rig_reset(r);
	/* A driver that did not take the feature may do as it likes. */
	net_rig_go(r, NET_RIG_ALL);
	assert_true(net_rig_send_plain(r, 3000));
	assert_int_equal(r->net->out[r->net->n_out - 1].len, 3000);
	net_rig_destroy(r);
	(void)state;
}

/* The backend is busy: frames wait in order, none is lost or sent twice. */
static void test_send_to_a_busy_backend(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_ALL);
	r->net->busy = true;
	for (uint32_t i = 0; i < 5; i++)
		assert_false(net_rig_send_plain(r, 100 + i));
	/* It was asked once: it will say when it can. */
	assert_int_equal(r->net->refused, 1);
	fake_net_unblock(r->net);
	assert_int_equal(r->net->n_out, 5);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(r->net->out[i].len, 100 + i);
		assert_true(net_rig_used(r, TX));
	}
	assert_false(net_rig_used(r, TX));
	/* The same with a reset in between: then they are gone. */
	r->net->busy = true;
	assert_false(net_rig_send_plain(r, 100));
	net_rig_reset(r);
	r->net->busy = false;
	net_rig_go(r, NET_RIG_ALL);
	assert_int_equal(r->net->n_out, 5);
	assert_true(net_rig_send_plain(r, 77));
	assert_int_equal(r->net->n_out, 6);
}

/* Many frames, one interrupt. */
static void test_a_batch_is_one_interrupt(void **state)
{
	static const uint8_t header[HDR];
	struct net_rig *r = *state;
	const struct vd_buf bufs[] = {{NET_RIG_TX, HDR, false}, {NET_RIG_TX + HDR, 60, false}};

	net_rig_go(r, NET_RIG_BASIC | VIRTIO_NET_F_MRG_RXBUF);
	memcpy(net_rig_at(r, NET_RIG_TX), header, HDR);
	for (unsigned i = 0; i < 50; i++)
		virtq_driver_offer(&r->d[TX], bufs, 2);
	net_rig_kick(r, TX);
	assert_int_equal(virtq_driver_used_idx(&r->d[TX]), 50);
	assert_int_equal(fake_transport_irqs(&r->t, TX), 1);

	for (unsigned i = 0; i < 50; i++)
		net_rig_give(r, i, 2048);
	r->net->wants = false;
	for (unsigned i = 0; i < 50; i++)
		fake_net_arrive(r->net, (struct net_hdr){0}, 60, 0);
	r->net->wants = true;
	fake_net_tell(r->net);
	assert_int_equal(virtq_driver_used_idx(&r->d[RX]), 50);
	assert_int_equal(fake_transport_irqs(&r->t, RX), 1);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, net_rig_setup, net_rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_send_in_any_framing),
		TEST(test_send_byte_by_byte),
		TEST(test_send_too_short_or_too_long),
		TEST(test_send_a_buffer_to_write_into),
		TEST(test_send_checksum_fields),
		TEST(test_send_segmentation),
		TEST(test_mtu_is_kept),
		TEST(test_send_to_a_busy_backend),
		TEST(test_a_batch_is_one_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
