/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that the guest receives through the network device, from its driver's side and the host's.
 */
#include "tests/lib/net_rig.h"
#include "vmm/base/le.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HDR = VIRTIO_NET_HDR_LEN, RX = VIRTIO_NET_RX, TX = VIRTIO_NET_TX };

/* Rule: num_buffers is 1 without MRG_RXBUF; flags and gso zero unless negotiated. */
static void test_receive_without_features(void **state)
{
	struct net_rig *r = *state;
	static const uint8_t header[HDR] = {[10] = 1};

	net_rig_go(r, NET_RIG_BASIC);
	net_rig_give(r, 0, 2048);
	fake_net_arrive(r->net,
			(struct net_hdr){.flags = NET_HDR_F_DATA_VALID,
					 .hdr_len = 5,
					 .gso_size = 6,
					 .csum_start = 7,
					 .csum_offset = 8},
			1514, 3);
	assert_true(net_rig_used(r, RX));
	assert_int_equal(r->used_len, HDR + 1514);
	assert_memory_equal(net_rig_at(r, NET_RIG_BUF(0)), header, HDR);
	assert_true(net_rig_holds(net_rig_at(r, NET_RIG_BUF(0) + HDR), 1514, 3));
	assert_int_equal(*net_rig_at(r, NET_RIG_BUF(0) + HDR + 1514), NET_RIG_UNTOUCHED);
	assert_int_equal(fake_transport_irqs(&r->t, RX), 1);
}

/* What the host leaves to a guest that did not offer to do it is dropped. */
static void test_receive_what_was_not_negotiated(void **state)
{
	static const struct net_hdr bad[] = {
		{.flags = NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16},
		{.gso_type = NET_HDR_GSO_TCPV4, .gso_size = 1448},
		{.gso_type = NET_HDR_GSO_TCPV6, .gso_size = 1448},
		{.gso_type = NET_HDR_GSO_UDP, .gso_size = 1448},
		{.gso_type = NET_HDR_GSO_UDP_L4, .gso_size = 1448},
		{.gso_type = 2, .gso_size = 1448},
	};
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_BASIC | VIRTIO_NET_F_MRG_RXBUF);
	net_rig_give(r, 0, 4096);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fake_net_arrive(r->net, bad[i], 2000, 0);
		assert_false(net_rig_used(r, RX));
	}
	net_rig_reset(r);
	net_rig_go(r, NET_RIG_BASIC | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4);
	net_rig_give(r, 0, 4096);
	fake_net_arrive(r->net, (struct net_hdr){.gso_type = 0x81, .gso_size = 9}, 2000, 0);
	fake_net_arrive(r->net, (struct net_hdr){.gso_type = 4, .gso_size = 9}, 2000, 0);
	fake_net_arrive(r->net, (struct net_hdr){.gso_type = 5, .gso_size = 9}, 2000, 0);
	assert_false(net_rig_used(r, RX));
	fake_net_arrive(r->net, (struct net_hdr){.flags = 1, .gso_type = 1, .gso_size = 9}, 2000,
			0);
	assert_true(net_rig_used(r, RX));
}

static void test_receive_header(void **state)
{
	struct net_rig *r = *state;
	const struct net_hdr hdr = {NET_HDR_F_NEEDS_CSUM, NET_HDR_GSO_TCPV4, 66, 1448, 34, 16};
	uint8_t want[HDR];

	net_rig_go(r, NET_RIG_ALL);
	for (unsigned i = 0; i < 3; i++)
		net_rig_give(r, i, 4096);
	fake_net_arrive(r->net, hdr, 3000, 0);
	net_rig_put_header(want, 1, 1, 66, 1448, 34, 16);
	want[10] = 1;
	assert_true(net_rig_used(r, RX));
	assert_memory_equal(net_rig_at(r, NET_RIG_BUF(0)), want, HDR);
	/* The host's word that it is intact, for who understands it. */
	fake_net_arrive(r->net, (struct net_hdr){.flags = NET_HDR_F_DATA_VALID}, 60, 0);
	memset(want, 0, HDR);
	want[0] = NET_HDR_F_DATA_VALID;
	want[10] = 1;
	assert_true(net_rig_used(r, RX));
	assert_memory_equal(net_rig_at(r, NET_RIG_BUF(1)), want, HDR);
}

/* A receive buffer in any pieces, down to one byte each over the header. */
static void test_receive_into_any_framing(void **state)
{
	struct net_rig *r = *state;
	enum { PIECES = 40 };

	net_rig_go(r, NET_RIG_BASIC | VIRTIO_F_INDIRECT_DESC);
	for (uint32_t piece = 1; piece < 30; piece++) {
		struct vd_buf bufs[PIECES];

		/* Each piece apart from the next. */
		for (unsigned i = 0; i < PIECES; i++)
			bufs[i] = (struct vd_buf){NET_RIG_BUF(0) + 64ull * i,
						  i == PIECES - 1 ? 2000 : piece, true};
		memset(net_rig_at(r, NET_RIG_BUF(0)), NET_RIG_UNTOUCHED, 8192);
		virtq_driver_offer_indirect(&r->d[RX], bufs, PIECES, piece % 4, NET_RIG_TABLE, 0);
		net_rig_kick(r, RX);
		fake_net_arrive(r->net, (struct net_hdr){0}, 700, (uint8_t)piece);
		assert_true(net_rig_used(r, RX));
		assert_int_equal(r->used_len, HDR + 700);
		for (uint32_t at = 0; at < HDR + 700; at++) {
			unsigned i = at / piece < PIECES - 1 ? at / piece : PIECES - 1;
			uint8_t got = *net_rig_at(r, bufs[i].gpa + at - i * piece);

			if (at >= HDR)
				assert_int_equal(got, (uint8_t)(piece + at - HDR));
			else
				assert_int_equal(got, at == 10);
		}
	}
}

/* Too large for the one buffer that a frame may have: dropped, the buffer stays. */
static void test_receive_too_large_for_the_buffer(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_BASIC);
	net_rig_give(r, 0, HDR + 1000);
	net_rig_give(r, 1, HDR + 1000);
	fake_net_arrive(r->net, (struct net_hdr){0}, 1001, 0);
	fake_net_arrive(r->net, (struct net_hdr){0}, NET_FRAME_MAX, 0);
	fake_net_arrive(r->net, (struct net_hdr){0}, NET_FRAME_MAX + 1, 0);
	fake_net_arrive(r->net, (struct net_hdr){0}, NET_FRAME_MIN - 1, 0);
	assert_false(net_rig_used(r, RX));
	fake_net_arrive(r->net, (struct net_hdr){0}, 1000, 5);
	assert_true(net_rig_used(r, RX));
	assert_int_equal(r->used_id, 0);
	assert_true(net_rig_holds(net_rig_at(r, NET_RIG_BUF(0) + HDR), 1000, 5));
}

/* The longest frame over buffers of every size: all but the last are filled, and
 * num_buffers counts them. */
static void test_receive_over_several_buffers(void **state)
{
	static const uint32_t sizes[] = {HDR + 300, 1536, 4096, 65536};
	struct net_rig *r = *state;

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		const uint32_t size = sizes[s], all = HDR + NET_FRAME_MAX;
		const unsigned n = (all + size - 1) / size;
		uint32_t at = 0;

		net_rig_go(r, NET_RIG_ALL);
		for (unsigned i = 0; i < 250; i++)
			net_rig_give(r, i, size);
		fake_net_arrive(r->net, (struct net_hdr){0}, NET_FRAME_MAX, 1);
		fake_net_arrive(r->net, (struct net_hdr){0}, 60, 2);
		for (unsigned i = 0; i < n; i++) {
			uint32_t len = all - at < size ? all - at : size;
			uint32_t skip = i ? 0 : HDR;

			assert_true(net_rig_used(r, RX));
			assert_int_equal(r->used_id, i);
			assert_int_equal(r->used_len, len);
			assert_true(net_rig_holds(net_rig_at(r, NET_RIG_BUF(i) + skip), len - skip,
						  (uint8_t)(1 + at + skip - HDR)));
			at += len;
		}
		assert_int_equal(le16_get(net_rig_at(r, NET_RIG_BUF(0) + 10)), n);
		assert_true(net_rig_used(r, RX));
		assert_int_equal(r->used_id, n);
		assert_int_equal(le16_get(net_rig_at(r, NET_RIG_BUF(n) + 10)), 1);
		assert_false(net_rig_used(r, RX));
		net_rig_reset(r);
	}
}

/* A long frame meets few buffers: it waits for more, and is whole then. */
static void test_a_long_frame_waits_for_buffers(void **state)
{
	struct net_rig *r = *state;
	uint32_t at = 0;

	net_rig_go(r, NET_RIG_ALL);
	/* The driver has had ten out, and gets them back one by one. */
	for (unsigned i = 0; i < 10; i++)
		net_rig_give(r, i, 2000);
	for (unsigned i = 0; i < 7; i++) {
		fake_net_arrive(r->net, (struct net_hdr){0}, 60, 0);
		assert_true(net_rig_used(r, RX));
	}
	fake_net_arrive(r->net, (struct net_hdr){0}, 15000, 9);
	fake_net_arrive(r->net, (struct net_hdr){0}, 61, 0);
	assert_false(net_rig_used(r, RX));
	assert_false(r->net->wants);
	for (unsigned i = 10; i < 15; i++) {
		assert_false(net_rig_used(r, RX));
		net_rig_give(r, i, 2000);
	}
	for (unsigned i = 7; i < 15; i++) {
		uint32_t skip = at ? 0 : HDR;

		assert_true(net_rig_used(r, RX));
		assert_int_equal(r->used_id, i);
		assert_true(net_rig_holds(net_rig_at(r, NET_RIG_BUF(i) + skip), r->used_len - skip,
					  (uint8_t)(9 + at + skip - HDR)));
		at += r->used_len;
	}
	assert_int_equal(at, HDR + 15000);
	assert_int_equal(le16_get(net_rig_at(r, NET_RIG_BUF(7) + 10)), 8);
	/* The one behind it is still there. */
	net_rig_give(r, 15, 2000);
	assert_true(net_rig_used(r, RX));
	assert_int_equal(r->used_len, HDR + 61);
}

/* A driver that never has more: the frame is dropped, and the next gets through. */
static void test_a_frame_longer_than_all_buffers(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_ALL);
	for (unsigned i = 0; i < 3; i++)
		net_rig_give(r, i, 2000);
	fake_net_arrive(r->net, (struct net_hdr){0}, 6000, 0);
	assert_false(net_rig_used(r, RX));
	fake_net_arrive(r->net, (struct net_hdr){0}, 5000, 4);
	for (unsigned i = 0; i < 3; i++)
		assert_true(net_rig_used(r, RX));
	assert_true(net_rig_holds(net_rig_at(r, NET_RIG_BUF(2)), 5000 + HDR - 4000,
				  (uint8_t)(4 + 4000 - HDR)));
}

/* A flood without buffers: nobody asks the backend; then buffers, and reception goes on. */
static void test_reception_resumes_with_buffers(void **state)
{
	struct net_rig *r = *state;
	unsigned asked;

	net_rig_go(r, NET_RIG_BASIC);
	assert_false(r->net->wants);
	for (unsigned i = 0; i < 300; i++)
		fake_net_arrive(r->net, (struct net_hdr){0}, 100 + i, 0);
	assert_int_equal(r->net->receives, 0);
	net_rig_give(r, 0, 2048);
	assert_true(net_rig_used(r, RX));
	assert_int_equal(r->used_len, HDR + 100);
	assert_false(r->net->wants);
	asked = r->net->receives;
	fake_net_tell(r->net);
	assert_int_equal(r->net->receives, asked);
	for (unsigned i = 1; i < 300; i++) {
		net_rig_give(r, i % 200, 2048);
		assert_true(net_rig_used(r, RX));
		assert_int_equal(r->used_len, HDR + 100 + i);
	}
	net_rig_give(r, 1, 2048);
	assert_false(net_rig_used(r, RX));
	assert_true(r->net->wants);
}

/* Frames that all are dropped do not hold the loop. */
static void test_a_flood_has_turns(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_BASIC);
	net_rig_give(r, 0, HDR + 100);
	r->net->wants = false;
	for (unsigned i = 0; i < FAKE_NET_FRAMES; i++)
		fake_net_arrive(r->net, (struct net_hdr){0}, 101, 0);
	r->net->wants = true;
	r->net->net.readable(r->net->net.ctx);
	assert_int_equal(r->net->next, 256);
	assert_true(r->net->wants);
	fake_net_tell(r->net);
	fake_net_tell(r->net);
	assert_int_equal(r->net->next, FAKE_NET_FRAMES);
}

static void test_a_receive_buffer_without_room_for_the_header(void **state)
{
	struct net_rig *r = *state;

	for (uint32_t len = 0; len < HDR; len++) {
		const struct vd_buf bufs[] = {{NET_RIG_TX, 100, false},
					      {NET_RIG_BUF(0), len, true}};

		net_rig_go(r, NET_RIG_ALL);
		net_rig_give(r, 1, 2048);
		virtq_driver_offer(&r->d[RX], bufs, 2);
		net_rig_kick(r, RX);
		assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE | VIRTIO_STATUS_NEEDS_RESET);
		/* Nothing is served any more, and nothing falls over. */
		fake_net_arrive(r->net, (struct net_hdr){0}, 60, 0);
		assert_false(net_rig_used(r, RX));
		assert_false(net_rig_send_plain(r, 60));
		net_rig_reset(r);
		r->net->next = r->net->n_in;
	}
}

/* A frame that comes in pieces, at every cut, into buffers that are split elsewhere. */
static void test_receive_in_pieces(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_ALL);
	for (size_t piece = 1; piece < 200; piece++) {
		r->net->piece = piece;
		for (unsigned i = 0; i < 5; i++)
			net_rig_give(r, i, 64);
		fake_net_arrive(r->net, (struct net_hdr){0}, 200, 3);
		/* More buffers while it is half there change nothing. */
		net_rig_give(r, 5, 64);
		while (r->net->receiving)
			fake_net_tell(r->net);
		for (uint32_t i = 0, at = 0; at < HDR + 200; i++) {
			uint32_t skip = i ? 0 : HDR;

			assert_true(net_rig_used(r, RX));
			assert_true(net_rig_holds(
				net_rig_at(r, r->d[RX].gm ? NET_RIG_BUF(i) + skip : 0),
				r->used_len - skip, (uint8_t)(3 + at + skip - HDR)));
			at += r->used_len;
		}
		net_rig_reset(r);
		net_rig_go(r, NET_RIG_ALL);
	}
}

/* Reset with half a frame in the guest's buffers: it is given up, and nothing is
 * written any more. */
static void test_reset_in_the_middle_of_a_frame(void **state)
{
	struct net_rig *r = *state;
	unsigned given_up;

	net_rig_go(r, NET_RIG_ALL);
	net_rig_give(r, 0, 2048);
	given_up = r->net->abandoned;
	r->net->piece = 100;
	fake_net_arrive(r->net, (struct net_hdr){0}, 1000, 3);
	assert_true(r->net->receiving);
	net_rig_reset(r);
	assert_int_equal(r->net->attached, 0);
	assert_true(r->net->abandoned > given_up);
	memset(net_rig_at(r, NET_RIG_BUF(0)), NET_RIG_UNTOUCHED, 2048);
	r->net->piece = 0;
	net_rig_go(r, NET_RIG_ALL);
	net_rig_give(r, 1, 2048);
	fake_net_arrive(r->net, (struct net_hdr){0}, 500, 4);
	assert_true(net_rig_used(r, RX));
	assert_int_equal(r->used_len, HDR + 500);
	for (unsigned i = 0; i < 2048; i++)
		assert_int_equal(*net_rig_at(r, NET_RIG_BUF(0) + i), NET_RIG_UNTOUCHED);
}

/* A pause with buffers in stock and half a frame: they are there again afterwards. */
static void test_pause_gives_buffers_back(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_ALL);
	for (unsigned i = 0; i < 4; i++)
		net_rig_give(r, i, 2048);
	r->net->piece = 10;
	fake_net_arrive(r->net, (struct net_hdr){0}, 1000, 3);
	net_rig_pause(r);
	r->net->piece = 0;
	virtio_resume(&r->n.v);
	loop_settle(r->loop);
	for (unsigned i = 0; i < 4; i++) {
		fake_net_arrive(r->net, (struct net_hdr){0}, 1000 + i, (uint8_t)i);
		assert_true(net_rig_used(r, RX));
		assert_int_equal(r->used_id, i);
		assert_true(
			net_rig_holds(net_rig_at(r, NET_RIG_BUF(i) + HDR), 1000 + i, (uint8_t)i));
	}
}

/* The ring goes round and round with buffers of changing sizes and frames of all
 * lengths: what comes out is what went in. */
static void test_a_long_run(void **state)
{
	struct net_rig *r = *state;
	uint64_t x = 88172645463325252ull;
	uint32_t size[NET_RIG_QUEUE];

	net_rig_go(r, NET_RIG_ALL);
	for (unsigned i = 0; i < 200; i++)
		net_rig_give(r, i, size[i] = 64 + i * 37 % 3000);
	for (unsigned round = 0; round < 3000; round++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		size_t len = x % 5 ? 14 + x % 2000 : 14 + x % 60000;
		uint64_t at = 0, all = HDR + len;

		fake_net_arrive(r->net, (struct net_hdr){0}, len, (uint8_t)round);
		while (at < all) {
			unsigned i;
			uint32_t skip = at ? 0 : HDR;

			assert_true(net_rig_used(r, RX));
			i = r->used_id % 200;
			assert_true(r->used_len <= size[i]);
			assert_true(at + r->used_len == all || r->used_len == size[i]);
			assert_true(net_rig_holds(net_rig_at(r, NET_RIG_BUF(i) + skip),
						  r->used_len - skip,
						  (uint8_t)(round + at + skip - HDR)));
			at += r->used_len;
			/* The same buffer again, under the same head. */
			virtq_driver_avail(&r->d[RX], (uint16_t)r->used_id);
		}
		assert_int_equal(at, all);
		assert_false(net_rig_used(r, RX));
		net_rig_kick(r, RX);
		free(r->net->in[0].data);
		r->net->n_in = r->net->next = 0;
	}
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, net_rig_setup, net_rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_receive_without_features),
		TEST(test_receive_what_was_not_negotiated),
		TEST(test_receive_header),
		TEST(test_receive_into_any_framing),
		TEST(test_receive_too_large_for_the_buffer),
		TEST(test_receive_over_several_buffers),
		TEST(test_a_long_frame_waits_for_buffers),
		TEST(test_a_frame_longer_than_all_buffers),
		TEST(test_reception_resumes_with_buffers),
		TEST(test_a_flood_has_turns),
		TEST(test_a_receive_buffer_without_room_for_the_header),
		TEST(test_receive_in_pieces),
		TEST(test_reset_in_the_middle_of_a_frame),
		TEST(test_pause_gives_buffers_back),
		TEST(test_a_long_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
