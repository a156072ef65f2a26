/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device from its driver's side: connections from either side, data and credit,
 * half-closes, ends of all kinds, resets, its state. What a hostile driver gets is
 * test_vsock_hostile's. */
#include "devices/virtio/vsock_priv.h"
#include "tests/lib/vsock_rig.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define FIRST_PORT (1u << 30) /* of the host's own connections */

static int idle(void **state)
{
	*state = vr_create(false);
	return 0;
}

static int live(void **state)
{
	struct vsock_rig *r = vr_create(false);

	vr_start(r);
	vr_give(r, 64, 4096, 4096);
	*state = r;
	return 0;
}

static int threaded(void **state)
{
	struct vsock_rig *r = vr_create(true);

	vr_start(r);
	vr_give(r, 64, 4096, 4096);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	if (*state)
		vr_destroy(*state);
	return 0;
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

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

/* Send until the host's socket is full and `want` bytes wait in the device; gives how many
 * were sent in all. */
static uint32_t fill(struct vsock_rig *r, uint32_t guest_port, uint32_t host_port, uint32_t want)
{
	struct vsock_conn *c = vsock_conn_find(&r->s, guest_port, host_port);
	uint8_t bytes[4096];
	uint32_t sent = 0, waits;

	while ((waits = c->came - c->fwd) < want) {
		uint32_t n = want - waits < sizeof(bytes) ? want - waits : sizeof(bytes);

		for (uint32_t i = 0; i < n; i++)
			bytes[i] = pattern(sent + i);
		vr_data(r, guest_port, host_port, bytes, n);
		sent += n;
	}
	return sent;
}

/* Read `n` bytes of the pattern from its `from`-th on, while the device goes on. */
static void read_pattern(struct vsock_rig *r, int fd, size_t from, size_t n)
{
	static uint8_t bytes[32768];

	while (n) {
		ssize_t got = recv(fd, bytes, n < sizeof(bytes) ? n : sizeof(bytes), MSG_DONTWAIT);

		if (got < 0) {
			assert_int_equal(errno, EAGAIN);
			vr_settle(r);
			continue;
		}
		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			assert_int_equal(bytes[i], pattern(from + (size_t)i));
		from += (size_t)got;
		n -= (size_t)got;
	}
}

/* What a slow reader does not take waits, as much as the guest has credit for; it hears when
 * there is room again. */
static void test_a_slow_reader_on_the_host(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct vsock_conn *c = vsock_conn_find(&r->s, 1000, 52);
	uint32_t sent = fill(r, 1000, 52, VIRTIO_VSOCK_BUFFER), at = 0;
	struct packet p;

	for (unsigned round = 0; round < 5; round++) {
		bool told = false;

		while (vr_take(r, &p)) /* while the socket still took it */
			assert_int_equal(p.op, CREDIT_UPDATE);
		assert_non_null(c->buf);
		/* Part of it: the guest hears of room, and what it sends goes round the ring's
		 * end. */
		for (; c->came - c->fwd > VIRTIO_VSOCK_BUFFER / 3; at += 4096) {
			read_pattern(r, fd, at, 4096);
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
				bytes[i] = pattern(sent + i);
			vr_data(r, 1000, 52, bytes, n);
		}
	}
	read_pattern(r, fd, at, sent - at);
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
			b[i] = pattern(sent * sizeof(b) + i);
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
			assert_int_equal(p.payload[i], pattern(got + i));
		got += p.len;
	}
	assert_int_equal(got, sent);
	close(fd);
}

/* --- ends ---------------------------------------------------------------------------------- */

static void test_guest_has_said_all(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p;

	vr_data(r, 1000, 52, "last words", 10);
	vr_shutdown(r, 1000, 52, NO_SEND);
	assert_string_equal(vr_read(fd), "last words");
	assert_string_equal(vr_read(fd), "");
	/* The other half lives on. */
	vr_write(fd, "answer");
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "answer", 6);
	vr_expect_nothing(r);
	close(fd);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NEITHER);
	vr_op(r, RST, 1000, 52);
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 0);
}

static void test_host_has_said_all(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p;

	vr_write(fd, "question");
	shutdown(fd, SHUT_WR);
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "question", 8);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NO_SEND);
	vr_data(r, 1000, 52, "still heard", 11);
	assert_string_equal(vr_read(fd), "still heard");
	vr_expect_nothing(r);
	/* The guest closes, and gets the answer that ends it. */
	vr_shutdown(r, 1000, 52, NEITHER);
	assert_string_equal(vr_read(fd), "");
	vr_expect(r, RST, 1000, 52);
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 0);
	close(fd);
}

static void test_host_closes(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p;

	vr_write(fd, "bye");
	close(fd);
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "bye", 3);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NEITHER);
	/* What the guest sent before it knew goes nowhere, and costs it no credit. */
	vr_data(r, 1000, 52, "too late", 8);
	vr_op(r, CREDIT_REQUEST, 1000, 52);
	p = vr_expect(r, CREDIT_UPDATE, 1000, 52);
	assert_int_equal(p.fwd_cnt, 8);
	vr_op(r, RST, 1000, 52);
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 0);
}

/* It goes without having read what was there for it. */
static void test_host_aborts(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	vr_data(r, 1000, 52, "unread", 6);
	close(fd);
	vr_expect(r, RST, 1000, 52);
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 0);
}

/* It only stops reading: it is the guest's sending that ends. */
static void test_host_stops_reading(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p;

	shutdown(fd, SHUT_RD);
	vr_settle(r);
	vr_data(r, 1000, 52, "unwanted", 8);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NO_RECEIVE);
	vr_write(fd, "but this");
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "but this", 8);
	close(fd);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NEITHER);
}

static void test_guest_stops_reading(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	vr_shutdown(r, 1000, 52, NO_RECEIVE);
	assert_true(send(fd, "x", 1, MSG_NOSIGNAL) < 0);
	assert_int_equal(errno, EPIPE);
	vr_data(r, 1000, 52, "still sends", 11);
	assert_string_equal(vr_read(fd), "still sends");
	vr_expect_nothing(r);
	/* The bits of several packets add up. */
	vr_shutdown(r, 1000, 52, NO_SEND);
	assert_string_equal(vr_read(fd), "");
	vr_expect(r, RST, 1000, 52);
	assert_int_equal(r->s.n_conns, 0);
	close(fd);
}

/* All that the guest has sent comes before the end of it, and RST tells it so. */
static void test_guest_closes_on_a_slow_reader(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	uint32_t sent = fill(r, 1000, 52, 100000);
	struct packet p;

	vr_shutdown(r, 1000, 52, NEITHER);
	while (vr_take(r, &p))
		assert_int_equal(p.op, CREDIT_UPDATE);
	read_pattern(r, fd, 0, sent - 100000); /* until the rest is in the socket */
	read_pattern(r, fd, sent - 100000, 100000);
	assert_string_equal(vr_read(fd), "");
	do
		assert_true(vr_take(r, &p));
	while (p.op == CREDIT_UPDATE);
	assert_int_equal(p.op, RST);
	vr_expect_nothing(r);
	close(fd);
}

/* It does not wait for that as long as it takes; the host gets everything all the same, and
 * the guest may use its ports again. */
static void test_guest_gives_up_on_a_slow_reader(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52), again;
	uint32_t sent = fill(r, 1000, 52, 100000);
	struct packet p;

	vr_shutdown(r, 1000, 52, NEITHER);
	vr_op(r, RST, 1000, 52);
	while (vr_take(r, &p))
		assert_int_equal(p.op, CREDIT_UPDATE);
	assert_int_equal(r->s.n_conns, 1);
	again = vr_connect(r, 1000, 52);
	read_pattern(r, fd, 0, sent);
	vr_settle(r);
	assert_string_equal(vr_read(fd), "");
	assert_int_equal(r->s.n_conns, 1);
	vr_data(r, 1000, 52, "new", 3);
	assert_string_equal(vr_read(again), "new");
	vr_expect_nothing(r);
	close(fd);
	close(again);
}

/* A reader that went while something waited for it. */
static void test_an_orphan_without_a_reader(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	fill(r, 1000, 52, 1000);
	vr_op(r, RST, 1000, 52);
	assert_int_equal(r->s.n_conns, 1);
	close(fd);
	vr_settle(r);
	assert_int_equal(r->s.n_conns, 0);
}

/* --- the driver comes and goes ------------------------------------------------------------- */

static void test_reset_ends_connections(void **state)
{
	struct vsock_rig *r = *state;

	for (unsigned i = 0; i < 200; i++) {
		int fd = vr_connect(r, 1000, 52), asked = fake_vsock_open(r->b, 80, NULL);
		unsigned answers = r->b->n_answers;

		vr_expect(r, REQUEST, 80, FIRST_PORT + i + 1);
		vr_data(r, 1000, 52, "something", 9);
		vr_write(fd, "not read any more");
		virtio_kick(&r->s.v, VIRTIO_VSOCK_RX);
		virtio_set_status(&r->s.v, 0);
		vr_settle(r);
		assert_int_equal(virtio_status(&r->s.v), 0);
		assert_int_equal(r->s.n_conns, 0);
		assert_false(r->b->attached);
		assert_string_equal(vr_read(fd), "something");
		assert_string_equal(vr_read(fd), "");
		assert_string_equal(vr_read(asked), "");
		assert_int_equal(r->b->n_answers, answers);
		close(fd);
		close(asked);
		vr_start(r);
		vr_give(r, 16, 4096, 4096);
		vr_expect_nothing(r);
	}
}

/* What lies in the ring when the driver resets the device was sent. */
static void test_reset_takes_what_was_offered(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p = vr_packet(r, RW, 1000, 52);

	p.len = 10;
	vr_offer(r, &p, "last words", 10, 4096);
	virtio_set_status(&r->s.v, 0);
	vr_settle(r);
	assert_int_equal(virtio_status(&r->s.v), 0);
	assert_string_equal(vr_read(fd), "last words");
	assert_string_equal(vr_read(fd), "");
	close(fd);
}

/* A reader that is slow gets what is left of it with the next driver. */
static void test_reset_with_a_slow_reader(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	uint32_t sent = fill(r, 1000, 52, 50000);

	virtio_set_status(&r->s.v, 0);
	vr_settle(r);
	assert_int_equal(virtio_status(&r->s.v), 0);
	assert_int_equal(r->s.n_conns, 1);
	vr_start(r);
	read_pattern(r, fd, 0, sent);
	vr_settle(r);
	assert_string_equal(vr_read(fd), "");
	assert_int_equal(r->s.n_conns, 0);
	close(fd);
}

static void test_pause_and_resume(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	for (unsigned i = 0; i < 20; i++) {
		struct packet p;

		vr_data(r, 1000, 52, "before", 6);
		assert_int_equal(virtio_pause(&r->s.v, 5000), 0);
		assert_false(r->b->attached);
		assert_string_equal(vr_read(fd), "before");
		vr_write(fd, "meanwhile");
		assert_int_equal(r->s.n_conns, 1);
		virtio_resume(&r->s.v);
		p = vr_expect(r, RW, 1000, 52);
		assert_memory_equal(p.payload, "meanwhile", 9);
	}
	assert_int_equal(r->b->attaches, r->b->detaches + 1);
	close(fd);
}

/* --- the end of the machine -------------------------------------------------------------- */

struct reader {
	int fd;
	size_t got;
	bool good;
};

/* Slow at first. */
static void *read_all(void *arg)
{
	struct reader *rd = arg;
	uint8_t bytes[8192];
	ssize_t n;

	usleep(300000);
	rd->good = true;
	while ((n = recv(rd->fd, bytes, sizeof(bytes), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			rd->good = rd->good && bytes[i] == pattern(rd->got++);
	return NULL;
}

/* As machine_run() and machine_destroy() end it. */
static void end_machine(struct vsock_rig *r)
{
	assert_int_equal(virtio_pause(&r->s.v, 5000), 0);
	vr_destroy(r);
}

static void test_end_waits_for_readers(void **state)
{
	struct vsock_rig *r = *state;
	struct reader rd = {.fd = vr_connect(r, 1000, 52)};
	static uint8_t bytes[60000];
	uint32_t sent = 0;
	pthread_t t;

	/* More than a socket takes. */
	for (unsigned i = 0; i < 5; i++) {
		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = pattern(sent + k);
		vr_data(r, 1000, 52, bytes, sizeof(bytes));
		sent += sizeof(bytes);
	}
	assert_int_equal(pthread_create(&t, NULL, read_all, &rd), 0);
	end_machine(r);
	*state = NULL;
	pthread_join(t, NULL);
	assert_int_equal(rd.got, sent);
	assert_true(rd.good);
	close(rd.fd);
}

/* What nobody takes in time is lost, and that is told in a line. */
static void test_end_does_not_wait_for_ever(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52), said = memfd_create("log", MFD_CLOEXEC);
	static uint8_t bytes[60000];
	struct timespec from, to;
	char line[200] = "";

	for (unsigned i = 0; i < 5; i++)
		vr_data(r, 1000, 52, bytes, sizeof(bytes));
	assert_int_equal(virtio_pause(&r->s.v, 5000), 0);
	log_set_fd(said);
	log_set_level(LOG_WARN);
	clock_gettime(CLOCK_MONOTONIC, &from);
	end_machine(r);
	*state = NULL;
	clock_gettime(CLOCK_MONOTONIC, &to);
	log_set_level(LOG_QUIET);
	log_set_fd(STDERR_FILENO);
	assert_in_range(to.tv_sec - from.tv_sec, 1, 30);
	assert_true(pread(said, line, sizeof(line) - 1, 0) > 0);
	assert_non_null(strstr(line, "vsock: its readers took no more; "));
	assert_non_null(strstr(line, " bytes from the guest are lost\n"));
	assert_ptr_equal(strchr(line, '\n') + 1, line + strlen(line));
	close(said);
	close(fd);
}

/* --- two threads --------------------------------------------------------------------------- */

struct echo {
	int fd;
	size_t n;
};

static void *echo_all(void *arg)
{
	struct echo *e = arg;
	uint8_t bytes[4096];
	ssize_t n;

	while ((n = recv(e->fd, bytes, sizeof(bytes), 0)) > 0) {
		for (ssize_t at = 0, w; at < n; at += w) {
			w = send(e->fd, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
			if (w < 0)
				return NULL;
		}
		e->n += (size_t)n;
	}
	shutdown(e->fd, SHUT_WR);
	return NULL;
}

/* Data goes there and back, with credit on both sides, while all run on their own. */
static void test_echo(void **state)
{
	enum { TOTAL = 1 << 20, PIECE = 3000 };
	struct vsock_rig *r = *state;
	struct echo e;
	uint32_t sent = 0, got = 0, told = 0;
	uint8_t bytes[PIECE];
	pthread_t t;
	bool ended = false;

	r->alloc = 20000;
	e = (struct echo){.fd = vr_connect(r, 1000, 52)};
	assert_int_equal(pthread_create(&t, NULL, echo_all, &e), 0);
	while (got < TOTAL || !ended) {
		struct packet p;

		if (sent < TOTAL && VIRTIO_VSOCK_BUFFER - (sent - told) >= PIECE) {
			uint32_t n = TOTAL - sent < PIECE ? TOTAL - sent : PIECE;

			for (uint32_t i = 0; i < n; i++)
				bytes[i] = pattern(sent + i);
			vr_data(r, 1000, 52, bytes, n);
			sent += n;
			if (sent == TOTAL)
				vr_shutdown(r, 1000, 52, NO_SEND);
		}
		while (vr_take(r, &p)) {
			assert_int_equal(p.dst_port, 1000);
			told = p.fwd_cnt;
			for (uint32_t i = 0; i < p.len; i++)
				assert_int_equal(p.payload[i], pattern(got + i));
			got += p.len;
			assert_true(got - r->fwd <= r->alloc);
			ended = ended || (p.op == SHUTDOWN && p.flags & NO_SEND);
			vr_give(r, 1, 4096, 4096);
			r->fwd = got;
			if (sent == TOTAL)
				vr_op(r, CREDIT_UPDATE, 1000, 52);
		}
	}
	pthread_join(t, NULL);
	assert_int_equal(e.n, TOTAL);
	assert_int_equal(got, TOTAL);
	close(e.fd);
}

/* --- state ---------------------------------------------------------------------------------- */

static void save(struct vsock_rig *r, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "vsock", 1);
	r->s.v.ops->save(&r->s, w);
	state_section_end(w);
}

static int load(struct vsock_rig *r, const uint8_t *data, size_t len)
{
	struct state_reader reader;
	struct err e = {0};

	state_reader_init(&reader, data, len);
	if (state_section_open(&reader, "vsock", &e) != 1)
		return -1;
	int ret = r->s.v.ops->load(&r->s, &reader, &e);

	return ret ? ret : state_section_close(&reader, &e);
}

static void test_save_load_save(void **state)
{
	struct vsock_rig *r = *state, *g = vr_create(false);
	struct state_writer a, b;
	int fd = vr_connect(r, 1000, 52);

	save(r, &a);
	assert_int_equal(load(g, a.data, a.len), 0);
	save(g, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	for (size_t len = 0; len < a.len; len++)
		assert_true(load(g, a.data, len) < 0);
	/* Addresses that are no guest's. */
	for (uint64_t bad = 0; bad < 3; bad++) {
		le64_put(a.data + a.len - 8, bad);
		assert_true(load(g, a.data, a.len) < 0);
	}
	le64_put(a.data + a.len - 8, 0xffffffff);
	assert_true(load(g, a.data, a.len) < 0);
	/* Another one is lawful, and this machine's own is what counts. */
	le64_put(a.data + a.len - 8, 1234);
	assert_int_equal(load(g, a.data, a.len), 0);
	assert_int_equal(virtio_config_read(&g->s.v, 0, 8), VR_CID);
	state_writer_fini(&a);
	state_writer_fini(&b);
	vr_destroy(g);
	close(fd);
}

/* The whole of a device that was active: its driver is told that all connections ended, as
 * soon as it has a buffer for that, and once. */
static void test_restored_driver_hears_of_it(void **state)
{
	struct vsock_rig *r = *state, *g = vr_create(true);
	int fd = vr_connect(r, 1000, 52);
	const struct vd_buf event = {0xe0000, 4, true};
	struct state_reader reader;
	struct state_writer w;
	struct err e = {0};
	uint32_t id, len;
	unsigned tries = 0;

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
	state_reader_init(&reader, w.data, w.len);
	assert_int_equal(state_section_open(&reader, "all", &e), 1);
	assert_int_equal(virtio_load(&g->s.v, &reader, &e), 0);
	virtio_resume(&g->s.v);
	memset(guest_mem_hva(&g->gm, event.gpa, 4), 0xee, 4);
	virtq_driver_offer(&g->q[VIRTIO_VSOCK_EVENT], &event, 1);
	virtq_driver_offer(&g->q[VIRTIO_VSOCK_EVENT], &event, 1);
	virtio_kick(&g->s.v, VIRTIO_VSOCK_EVENT);
	while (!virtq_driver_take_used(&g->q[VIRTIO_VSOCK_EVENT], &id, &len)) {
		assert_true(++tries < 50000);
		usleep(200);
	}
	assert_int_equal(len, 4);
	assert_int_equal(le32_get(guest_mem_hva(&g->gm, event.gpa, 4)), 0);
	/* Of the old connections nothing is known; new ones work. */
	vr_data(g, 1000, 52, "lost", 4);
	vr_expect(g, RST, 1000, 52);
	vr_connect(g, 1000, 52);
	assert_false(virtq_driver_take_used(&g->q[VIRTIO_VSOCK_EVENT], &id, &len));
	/* The one that was saved goes on, if it is not ended. */
	virtio_resume(&r->s.v);
	vr_data(r, 1000, 52, "alive", 5);
	assert_string_equal(vr_read(fd), "alive");
	state_writer_fini(&w);
	vr_destroy(g);
	close(fd);
}

int main(void)
{
#define IDLE(f)     cmocka_unit_test_setup_teardown(f, idle, teardown)
#define LIVE(f)     cmocka_unit_test_setup_teardown(f, live, teardown)
#define THREADED(f) cmocka_unit_test_setup_teardown(f, threaded, teardown)
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
		LIVE(test_guest_has_said_all),
		LIVE(test_host_has_said_all),
		LIVE(test_host_closes),
		LIVE(test_host_aborts),
		LIVE(test_host_stops_reading),
		LIVE(test_guest_stops_reading),
		LIVE(test_guest_closes_on_a_slow_reader),
		LIVE(test_guest_gives_up_on_a_slow_reader),
		LIVE(test_an_orphan_without_a_reader),
		LIVE(test_reset_ends_connections),
		LIVE(test_reset_takes_what_was_offered),
		LIVE(test_reset_with_a_slow_reader),
		THREADED(test_pause_and_resume),
		THREADED(test_end_waits_for_readers),
		THREADED(test_end_does_not_wait_for_ever),
		THREADED(test_echo),
		LIVE(test_save_load_save),
		THREADED(test_restored_driver_hears_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
