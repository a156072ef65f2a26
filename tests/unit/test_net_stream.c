/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over a stream socket, against a peer that cuts them wherever it likes, is
 * slow, talks nonsense or hangs up. */
#include "devices/backend/net_stream.h"
#include "tests/lib/virtq_driver.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROOM = NET_FRAME_MAX + 1, PIECES = 7 };

struct rig {
	struct net_stream s;
	struct loop *loop;
	int peer;
	unsigned readable, writable, lost;
	char why[200];

	/* The caller's room: pieces of uneven size, the first entry left free. */
	uint8_t room[ROOM];
	struct iovec iov[PIECES + 1];
	bool armed;
};

static void on_readable(void *ctx)
{
	((struct rig *)ctx)->readable++;
}

static void on_writable(void *ctx)
{
	((struct rig *)ctx)->writable++;
}

static void on_lost(void *ctx, const char *why)
{
	struct rig *r = ctx;

	r->lost++;
	strncpy(r->why, why, sizeof(r->why) - 1);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	int fds[2], size = 1 << 20;

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	assert_int_equal(net_stream_init(&r->s, fds[0]), 0);
	r->peer = fds[1];
	r->loop = loop_create();
	r->s.net.readable = on_readable;
	r->s.net.writable = on_writable;
	r->s.net.lost = on_lost;
	r->s.net.ctx = r;
	assert_int_equal(net_stream_attach(&r->s.net, r->loop, 0), 0);
	net_stream_want(&r->s.net, true);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	net_stream_detach(&r->s.net);
	net_stream_fini(&r->s);
	if (r->peer >= 0)
		close(r->peer);
	loop_destroy(r->loop);
	free(r);
	return 0;
}

/* As the device does: the same iovec until the frame is there. */
static ssize_t receive(struct rig *r)
{
	static const size_t cuts[PIECES] = {1, 13, 2, 100, 1000, 30000, ROOM - 31116};
	struct net_hdr hdr = {.flags = 0xff};
	ssize_t n;

	if (!net_stream_receiving(&r->s.net)) {
		size_t at = 0;

		for (int i = 0; i < PIECES; i++) {
			r->iov[i + 1] = (struct iovec){r->room + at, cuts[i]};
			at += cuts[i];
		}
		assert_int_equal(at, ROOM);
	}
	n = net_stream_receive(&r->s.net, &hdr, r->iov, PIECES + 1);
	if (n >= 0)
		assert_int_equal(hdr.flags, NET_HDR_F_DATA_VALID);
	return n;
}

/* Frame number `seed` of `len` bytes, at `out`; gives its length on the wire. */
static size_t encode(uint8_t *out, size_t len, uint8_t seed)
{
	uint32_t be = htobe32((uint32_t)len);

	memcpy(out, &be, 4);
	for (size_t i = 0; i < len; i++)
		out[4 + i] = (uint8_t)(seed + i);
	return 4 + len;
}

static void check(const struct rig *r, size_t len, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(r->room[i], (uint8_t)(seed + i));
}

static void peer_writes(struct rig *r, const void *p, size_t len)
{
	assert_int_equal(write(r->peer, p, len), len);
}

/* --- receiving ------------------------------------------------------------------------ */

/* Three frames cut in two at every byte, and in three at every pair of bytes. */
static void test_split_at_every_byte(void **state)
{
	struct rig *r = *state;
	static const size_t lens[] = {14, 60, 33};
	uint8_t wire[200];
	size_t all = 0;

	for (unsigned i = 0; i < 3; i++)
		all += encode(wire + all, lens[i], (uint8_t)(50 * i));
	for (size_t a = 0; a <= all; a++) {
		for (size_t b = a; b <= all; b++) {
			const size_t ends[] = {a, b, all};
			size_t at = 0;
			unsigned got = 0;

			for (unsigned part = 0; part < 3; part++) {
				ssize_t n;

				if (ends[part] > at)
					peer_writes(r, wire + at, ends[part] - at);
				at = ends[part];
				while ((n = receive(r)) != -EAGAIN) {
					assert_int_equal(n, lens[got]);
					check(r, lens[got], (uint8_t)(50 * got));
					got++;
				}
			}
			assert_int_equal(got, 3);
		}
	}
	assert_int_equal(r->lost, 0);
}

static void test_byte_by_byte(void **state)
{
	struct rig *r = *state;
	uint8_t wire[4 + 1514];
	size_t all = encode(wire, 1514, 7);

	for (size_t i = 0; i < all; i++) {
		assert_int_equal(receive(r), -EAGAIN);
		peer_writes(r, wire + i, 1);
	}
	assert_int_equal(receive(r), 1514);
	check(r, 1514, 7);
	assert_int_equal(receive(r), -EAGAIN);
}

static void test_the_longest_frame(void **state)
{
	struct rig *r = *state;
	uint8_t *wire = malloc(4 + NET_FRAME_MAX);
	size_t all = encode(wire, NET_FRAME_MAX, 1);

	peer_writes(r, wire, all);
	assert_int_equal(receive(r), NET_FRAME_MAX);
	check(r, NET_FRAME_MAX, 1);
	free(wire);
}

/* Lengths that are none: too short, too long, up to four gigabytes of nothing. What
 * they claim is skipped, whatever it is; the stream goes on behind it. */
static void test_hostile_lengths(void **state)
{
	static const uint32_t lens[] = {0, 1, 13, ROOM + 1, 100000, 1000000};
	struct rig *r = *state;
	uint8_t *junk = calloc(1, 1000000), wire[100];

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint32_t be = htobe32(lens[i]);
		size_t left = lens[i];

		peer_writes(r, &be, 4);
		assert_int_equal(receive(r), lens[i] < NET_FRAME_MIN ? -EBADMSG : -EMSGSIZE);
		while (left) {
			size_t piece = left < 50000 ? left : 50000;

			peer_writes(r, junk, piece);
			assert_int_equal(receive(r), -EAGAIN);
			left -= piece;
		}
		peer_writes(r, wire, encode(wire, 60, (uint8_t)i));
		assert_int_equal(receive(r), 60);
		check(r, 60, (uint8_t)i);
	}
	peer_writes(r, "\xff\xff\xff\xff", 4);
	assert_int_equal(receive(r), -EMSGSIZE);
	peer_writes(r, junk, 100000);
	assert_int_equal(receive(r), -EAGAIN);
	free(junk);
}

/* Given up at every byte of a frame: the rest of it is skipped. */
static void test_abandon(void **state)
{
	struct rig *r = *state;
	uint8_t wire[4 + 100], next[4 + 40];
	size_t all = encode(wire, 100, 1);

	encode(next, 40, 9);
	for (size_t cut = 0; cut <= all; cut++) {
		if (cut)
			peer_writes(r, wire, cut);
		if (cut < all)
			assert_int_equal(receive(r), -EAGAIN);
		else
			assert_int_equal(receive(r), 100);
		bool begun = net_stream_receiving(&r->s.net);

		net_stream_abandon(&r->s.net);
		assert_false(net_stream_receiving(&r->s.net));
		memset(r->room, 0xee, sizeof(r->room));
		if (cut < all)
			peer_writes(r, wire + cut, all - cut);
		peer_writes(r, next, sizeof(next));
		/* What was not begun is received. */
		if (cut < all && !begun)
			assert_int_equal(receive(r), 100);
		assert_int_equal(receive(r), 40);
		check(r, 40, 9);
		assert_int_equal(receive(r), -EAGAIN);
	}
}

/* --- sending ---------------------------------------------------------------------------- */

static uint8_t frame[NET_FRAME_MAX];

static int send_frame(struct rig *r, size_t len, uint8_t seed)
{
	const struct net_hdr hdr = {0};
	struct iovec iov[4] = {{NULL, 0}, {frame, 5}, {frame + 5, 1}, {frame + 6, len - 6}};

	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(seed + i);
	return net_stream_send(&r->s.net, &hdr, iov, 4, len);
}

static void read_full(struct rig *r, void *to, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(r->peer, (uint8_t *)to + at, len - at, MSG_DONTWAIT);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			loop_settle(r->loop);
			continue;
		}
		assert_true(n > 0);
		at += (size_t)n;
	}
}

static void expect_frame(struct rig *r, size_t len, uint8_t seed)
{
	static uint8_t got[NET_FRAME_MAX];
	uint32_t be;

	read_full(r, &be, 4);
	assert_int_equal(be32toh(be), len);
	read_full(r, got, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(got[i], (uint8_t)(seed + i));
}

static void test_send(void **state)
{
	struct rig *r = *state;

	assert_int_equal(send_frame(r, 14, 3), 0);
	assert_int_equal(send_frame(r, NET_FRAME_MAX, 4), 0);
	expect_frame(r, 14, 3);
	expect_frame(r, NET_FRAME_MAX, 4);
}

/* The peer does not read, then by and by: all that was taken comes out, whole and in
 * order, at every size of the socket's buffer. */
static void test_send_to_a_slow_reader(void **state)
{
	struct rig *r = *state;

	for (int size = 4000; size < 90000; size += 7001) {
		unsigned sent = 0, put_off = 0, seen = 0;

		assert_int_equal(setsockopt(r->s.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)),
				 0);
		r->writable = 0;
		while (sent < 200) {
			int ret = send_frame(r, 3000 + sent * 17, (uint8_t)sent);

			if (!ret) {
				sent++;
				continue;
			}
			assert_int_equal(ret, -EAGAIN);
			assert_true(seen < sent);
			put_off++;
			/* Nobody reads: it would not become writable. */
			unsigned before = r->writable;

			loop_settle(r->loop);
			assert_int_equal(r->writable, before);
			while (seen < sent && r->writable == before) {
				expect_frame(r, 3000 + seen * 17, (uint8_t)seen);
				seen++;
				loop_settle(r->loop);
			}
			assert_int_equal(r->writable, before + 1);
		}
		assert_true(put_off);
		for (; seen < sent; seen++)
			expect_frame(r, 3000 + seen * 17, (uint8_t)seen);
		loop_settle(r->loop);
	}
}

/* Detached with half a frame on the way: the other half is sent by the next one. */
static void test_detach_in_the_middle_of_a_frame(void **state)
{
	struct rig *r = *state;
	int size = 4000;
	unsigned sent = 0;

	assert_int_equal(setsockopt(r->s.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	while (!r->s.rest_len)
		assert_int_equal(send_frame(r, 60000, (uint8_t)sent++), 0);
	net_stream_detach(&r->s.net);
	assert_int_equal(net_stream_attach(&r->s.net, r->loop, 0), 0);
	for (unsigned i = 0; i < sent; i++)
		expect_frame(r, 60000, (uint8_t)i);
	assert_int_equal(send_frame(r, 60, 1), 0);
	expect_frame(r, 60, 1);
}

/* --- the loop, and the end --------------------------------------------------------------- */

static void test_no_events_unless_wanted(void **state)
{
	struct rig *r = *state;
	uint8_t wire[100];

	net_stream_want(&r->s.net, false);
	peer_writes(r, wire, encode(wire, 60, 0));
	loop_settle(r->loop);
	assert_int_equal(r->readable, 0);
	net_stream_want(&r->s.net, true);
	loop_settle(r->loop);
	assert_true(r->readable > 0);
	assert_int_equal(r->writable, 0);
}

/* The end is told once, whoever notices it first, and a line says what is known. */
static void test_the_end_while_receiving(void **state)
{
	struct rig *r = *state;
	uint8_t wire[100];

	encode(wire, 60, 0);
	peer_writes(r, wire, 30);
	close(r->peer);
	r->peer = -1;
	assert_int_equal(receive(r), -EAGAIN);
	assert_int_equal(receive(r), -EAGAIN);
	assert_int_equal(r->lost, 1);
	assert_string_equal(r->why, "the other end hung up");
	r->readable = 0;
	loop_settle(r->loop);
	assert_int_equal(r->readable, 0);
	/* What is sent is gone, as on a cable that ends nowhere. */
	assert_int_equal(send_frame(r, 60, 0), 0);
	assert_int_equal(r->lost, 1);
}

static void test_the_end_while_sending(void **state)
{
	struct rig *r = *state;

	close(r->peer);
	r->peer = -1;
	assert_int_equal(send_frame(r, 60, 0), 0);
	assert_int_equal(r->lost, 1);
	net_stream_want(&r->s.net, false);
	loop_settle(r->loop);
	assert_int_equal(r->lost, 1);
}

/* With a frame that was put off: its sender is told, and finds out. */
static void test_the_end_with_a_full_socket(void **state)
{
	struct rig *r = *state;
	int size = 4000;

	assert_int_equal(setsockopt(r->s.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	while (!send_frame(r, 3000, 0))
		;
	close(r->peer);
	r->peer = -1;
	loop_settle(r->loop);
	assert_int_equal(r->writable, 1);
	assert_int_equal(send_frame(r, 3000, 0), 0);
	assert_int_equal(r->lost, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		TEST(test_split_at_every_byte),
		TEST(test_byte_by_byte),
		TEST(test_the_longest_frame),
		TEST(test_hostile_lengths),
		TEST(test_abandon),
		TEST(test_send),
		TEST(test_send_to_a_slow_reader),
		TEST(test_detach_in_the_middle_of_a_frame),
		TEST(test_no_events_unless_wanted),
		TEST(test_the_end_while_receiving),
		TEST(test_the_end_while_sending),
		TEST(test_the_end_with_a_full_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
