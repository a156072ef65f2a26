/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device from its driver's side: connections from either side, data and credit. How they
 * end, and the device, is test_vsock_ends's; what a hostile driver gets is
 * test_vsock_hostile's. */
#include "devices/virtio/vsock_priv.h"
#include "tests/lib/vsock_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define FIRST_PORT (1u << 30) /* of the host's own connections */

/* --- what it is ---------------------------------------------------------------------- */

static void test_what_it_offers(void **state)
{
	struct vsock_rig *r = *state;
	struct virtio *v = &r->s.v;

	assert_int_equal(v->ops->device_id, 19);
	assert_int_equal(v->n_queues, 3);
	assert_int_equal(virtio_offered(v, 0) & 0xffffff, 1); /* STREAM; SEQPACKET is not there */
	assert_int_equal(virtio_config_read(v, 0, 8), VR_CID);
	assert_int_equal(virtio_config_read(v, 0, 4), VR_CID);
	assert_int_equal(virtio_config_read(v, 4, 4), 0);
	virtio_config_write(v, 0, 4, 5);
	assert_int_equal(virtio_config_read(v, 0, 8), VR_CID);
	for (unsigned off = 0; off < 32; off++)
		for (unsigned size = 1; size <= 8; size *= 2)
			assert_int_equal(virtio_config_read(v, off, size), off == 0 ? VR_CID : 0);
}

/* --- connections ------------------------------------------------------------------------ */

static void test_guest_connects(void **state)
{
	struct vsock_rig *r = *state;
	struct packet p;
	int fd;

	assert_true(r->b->attached);
	fd = vr_connect(r, 1000, 52);
	vr_data(r, 1000, 52, "hello", 5);
	assert_string_equal(vr_read(fd), "hello");
	vr_write(fd, "and back");
	p = vr_expect(r, RW, 1000, 52);
	assert_int_equal(p.len, 8);
	assert_memory_equal(p.payload, "and back", 8);
	assert_int_equal(p.fwd_cnt, 5);
	vr_expect_nothing(r);
	assert_true(fake_transport_irqs(&r->t, VIRTIO_VSOCK_TX) >= 2);
	close(fd);
}

static void test_guest_is_refused(void **state)
{
	struct vsock_rig *r = *state;

	vr_op(r, REQUEST, 1000, FAKE_VSOCK_REFUSED);
	vr_expect(r, RST, 1000, FAKE_VSOCK_REFUSED);
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 0);
}

static void test_host_connects(void **state)
{
	struct vsock_rig *r = *state;
	int one = fake_vsock_open(r->b, 80, "one"), two = fake_vsock_open(r->b, 80, "two");
	struct packet p;

	/* Before the answer nothing is read and nothing sent. */
	vr_write(one, "early");
	vr_expect(r, REQUEST, 80, FIRST_PORT + 1);
	vr_expect(r, REQUEST, 80, FIRST_PORT + 2);
	vr_expect_nothing(r);
	assert_int_equal(r->b->n_answers, 0);
	vr_op(r, RESPONSE, 80, FIRST_PORT + 1);
	assert_int_equal(r->b->n_answers, 1);
	assert_int_equal(r->b->answers[0], FIRST_PORT + 1);
	assert_string_equal(r->b->who[0], "one");
	p = vr_expect(r, RW, 80, FIRST_PORT + 1);
	assert_memory_equal(p.payload, "early", 5);
	vr_data(r, 80, FIRST_PORT + 1, "hi", 2);
	assert_string_equal(vr_read(one), "hi");

	/* The other is refused: told so, and its end is closed. */
	vr_op(r, RST, 80, FIRST_PORT + 2);
	assert_int_equal(r->b->n_answers, 2);
	assert_int_equal(r->b->answers[1], 0);
	assert_string_equal(r->b->who[1], "two");
	assert_string_equal(vr_read(two), "");
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 1);
	close(one);
	close(two);
}

static void test_many_at_once(void **state)
{
	enum { N = 100 };
	struct vsock_rig *r = *state;
	int fds[N];

	for (unsigned i = 0; i < N; i++) {
		vr_give(r, 2, 4096, 4096);
		fds[i] = vr_connect(r, 2000 + i % 10, 100 + i / 10);
	}
	for (unsigned i = 0; i < N; i++)
		vr_data(r, 2000 + i % 10, 100 + i / 10, &i, sizeof(i));
	for (unsigned i = 0; i < N; i++) {
		unsigned got = N;

		assert_int_equal(recv(fds[i], &got, sizeof(got), MSG_DONTWAIT), sizeof(got));
		assert_int_equal(got, i);
	}
	/* Each that has something to say has its turn. */
	for (unsigned i = 0; i < N; i++)
		vr_write(fds[i], "x");
	vr_settle(r);
	for (unsigned i = 0, left = N; left; i++) {
		struct packet p;

		assert_true(i < 2 * N);
		vr_give(r, 1, 4096, 4096);
		while (vr_take(r, &p)) {
			assert_int_equal(p.op, RW);
			left--;
		}
	}
	for (unsigned i = 0; i < N; i++)
		close(fds[i]);
}

/* --- framing ------------------------------------------------------------------------------ */

static void test_packets_in_pieces(void **state)
{
	struct vsock_rig *r = *state;
	struct packet p;
	int fd;

	/* Nothing may be assumed of framing [virtio 1.3 2.7.4.1]. */
	vr_start(r);
	vr_give(r, 1, VR_HDR + 8, 1);
	vr_give(r, 1, VR_HDR + 8, 43);
	vr_give(r, 1, VR_HDR + 8, 44);
	fd = vr_connect(r, 1000, 52);
	p = vr_packet(r, RW, 1000, 52);
	p.len = 11;
	for (uint32_t piece = 1; piece < 60; piece += 7) {
		uint32_t id, len;

		vr_offer(r, &p, "some bytes!", 11, piece);
		virtio_kick(&r->s.v, VIRTIO_VSOCK_TX);
		vr_settle(r);
		assert_true(virtq_driver_take_used(&r->q[VIRTIO_VSOCK_TX], &id, &len));
		assert_string_equal(vr_read(fd), "some bytes!");
	}
	vr_write(fd, "0123456789abcdef");
	p = vr_expect(r, RW, 1000, 52);
	assert_int_equal(p.len, 8);
	assert_memory_equal(p.payload, "01234567", 8);
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "89abcdef", 8);
	close(fd);
}

/* A payload that is longer than the packet says: the rest means nothing. */
static void test_what_is_behind_the_payload(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p = vr_packet(r, RW, 1000, 52);

	p.len = 3;
	vr_send(r, &p, "abcdef", 6);
	assert_string_equal(vr_read(fd), "abc");
	p.len = 0;
	vr_send(r, &p, NULL, 0);
	assert_null(vr_read(fd));
	vr_expect_nothing(r);
	close(fd);
}

/* --- credit ------------------------------------------------------------------------------- */

static void test_no_more_than_the_guest_has_room_for(void **state)
{
	struct vsock_rig *r = *state;
	struct packet p;
	int fd;

	r->alloc = 10;
	fd = vr_connect(r, 1000, 52);
	vr_write(fd, "0123456789abcdef");
	p = vr_expect(r, RW, 1000, 52);
	assert_int_equal(p.len, 10);
	vr_expect(r, CREDIT_REQUEST, 1000, 52);
	vr_expect_nothing(r);
	/* The same again is no news, and is not asked about again. */
	vr_op(r, CREDIT_UPDATE, 1000, 52);
	vr_expect_nothing(r);
	r->fwd = 4;
	vr_op(r, CREDIT_UPDATE, 1000, 52);
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "abcd", 4);
	vr_expect(r, CREDIT_REQUEST, 1000, 52);
	/* Less room than is on its way already. */
	r->alloc = 3;
	vr_op(r, CREDIT_UPDATE, 1000, 52);
	vr_expect_nothing(r);
	/* More was read than was ever sent. */
	r->alloc = 10;
	r->fwd = 40;
	vr_op(r, CREDIT_UPDATE, 1000, 52);
	vr_expect_nothing(r);
	/* Any packet tells it. */
	r->fwd = 14;
	vr_data(r, 1000, 52, "x", 1);
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "ef", 2);
	vr_expect_nothing(r);
	close(fd);
}

static void test_counters_wrap(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct vsock_conn *c = vsock_conn_find(&r->s, 1000, 52);
	struct packet p;

	c->sent = 0xfffffffc;
	c->came = c->fwd = c->told_fwd = 0xfffffff0;
	r->fwd = 0xfffffffa; /* 2 of them are on their way */
	r->alloc = 8;
	vr_op(r, CREDIT_UPDATE, 1000, 52);
	vr_write(fd, "0123456789");
	p = vr_expect(r, RW, 1000, 52);
	assert_int_equal(p.len, 6);
	assert_int_equal(p.fwd_cnt, 0xfffffff0);
	vr_expect(r, CREDIT_REQUEST, 1000, 52);
	r->fwd = 2;
	vr_op(r, CREDIT_UPDATE, 1000, 52);
	p = vr_expect(r, RW, 1000, 52);
	assert_int_equal(p.len, 4);
	vr_data(r, 1000, 52, "twenty bytes of text", 20);
	assert_string_equal(vr_read(fd), "twenty bytes of text");
	vr_op(r, CREDIT_REQUEST, 1000, 52);
	p = vr_expect(r, CREDIT_UPDATE, 1000, 52);
	assert_int_equal(p.fwd_cnt, 4);
	close(fd);
}

/* What a slow reader does not take waits, as much as the guest has credit for; it hears when
 * there is room again. */
static void test_a_slow_reader_on_the_host(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct vsock_conn *c = vsock_conn_find(&r->s, 1000, 52);
	uint32_t sent = vr_fill(r, 1000, 52, VIRTIO_VSOCK_BUFFER), at = 0;
	struct packet p;

	for (unsigned round = 0; round < 5; round++) {
		bool told = false;

		while (vr_take(r, &p)) /* while the socket still took it */
			assert_int_equal(p.op, CREDIT_UPDATE);
		assert_non_null(c->buf);
		/* Part of it: the guest hears of room, and what it sends goes round the ring's
		 * end. */
		for (; c->came - c->fwd > VIRTIO_VSOCK_BUFFER / 3; at += 4096) {
			vr_read_pattern(r, fd, at, 4096);
			vr_settle(r);
		}
		while (vr_take(r, &p)) {
			assert_int_equal(p.op, CREDIT_UPDATE);
			assert_true(VIRTIO_VSOCK_BUFFER - (sent - p.fwd_cnt) > 0);
			told = true;
		}
		assert_true(told);
		vr_give(r, 16, 4096, 4096);
		/* The pattern goes on, up to the last byte of credit. */
		for (uint32_t n; (n = VIRTIO_VSOCK_BUFFER - (c->came - c->fwd)); sent += n) {
			static uint8_t bytes[10000];

			n = n < sizeof(bytes) ? n : sizeof(bytes);
			for (uint32_t i = 0; i < n; i++)
				bytes[i] = vr_pattern(sent + i);
			vr_data(r, 1000, 52, bytes, n);
		}
	}
	vr_read_pattern(r, fd, at, sent - at);
	vr_settle(r);
	assert_int_equal(c->came, c->fwd);
	assert_null(c->buf);
	close(fd);
}

/* The guest's view of its credit never runs dry while the host has read everything. */
static void test_credit_is_renewed(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	uint32_t sent = 0, told = 0;
	static uint8_t bytes[8192];

	while (sent < 2 << 20) {
		struct packet p;

		assert_true(VIRTIO_VSOCK_BUFFER - (sent - told) >= sizeof(bytes));
		vr_data(r, 1000, 52, bytes, sizeof(bytes));
		sent += sizeof(bytes);
		assert_int_equal(recv(fd, bytes, sizeof(bytes), MSG_WAITALL), sizeof(bytes));
		while (vr_take(r, &p)) {
			assert_int_equal(p.op, CREDIT_UPDATE);
			told = p.fwd_cnt;
			vr_give(r, 1, 4096, 4096);
		}
	}
	assert_true(told > 1 << 20);
	close(fd);
}

/* No buffers: what the host says stays in its socket, and nothing is lost. */
static void test_no_receive_buffers(void **state)
{
	struct vsock_rig *r = *state;
	size_t sent = 0, got = 0;
	int fd;

	vr_start(r);
	vr_give(r, 1, 4096, 4096);
	fd = vr_connect(r, 1000, 52);
	for (;; sent++) {
		uint8_t b[512];

		for (size_t i = 0; i < sizeof(b); i++)
			b[i] = vr_pattern(sent * sizeof(b) + i);
		vr_settle(r);
		if (send(fd, b, sizeof(b), MSG_DONTWAIT) < 0)
			break;
	}
	sent *= 512;
	while (got < sent) {
		struct packet p;

		vr_give(r, 1, 1000, 1000);
		p = vr_expect(r, RW, 1000, 52);
		for (uint32_t i = 0; i < p.len; i++)
			assert_int_equal(p.payload[i], vr_pattern(got + i));
		got += p.len;
	}
	assert_int_equal(got, sent);
	close(fd);
}

int main(void)
{
#define IDLE(f) cmocka_unit_test_setup_teardown(f, vr_idle, vr_teardown)
#define LIVE(f) cmocka_unit_test_setup_teardown(f, vr_live, vr_teardown)
	const struct CMUnitTest tests[] = {
		IDLE(test_what_it_offers),
		LIVE(test_guest_connects),
		LIVE(test_guest_is_refused),
		LIVE(test_host_connects),
		LIVE(test_many_at_once),
		IDLE(test_packets_in_pieces),
		LIVE(test_what_is_behind_the_payload),
		LIVE(test_no_more_than_the_guest_has_room_for),
		LIVE(test_counters_wrap),
		LIVE(test_a_slow_reader_on_the_host),
		LIVE(test_credit_is_renewed),
		IDLE(test_no_receive_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
