/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device and a driver that breaks the rules: it ruins its connections, or its
 * device, and nothing beyond. */
#include "devices/virtio/vsock_priv.h"
#include "tests/lib/vsock_rig.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define FIRST_PORT (1u << 30)

static int hungry(void **state)
{
	struct vsock_rig *r = vr_create(false);

	vr_start(r);
	*state = r;
	return 0;
}

static void expect_broken(struct vsock_rig *r)
{
	vr_settle(r);
	assert_int_equal(virtio_status(&r->s.v), VR_LIVE | VR_NEEDS_RESET);
	assert_int_equal(fake_transport_config_irqs(&r->t), 1);
}

/* --- packets ----------------------------------------------------------------------------- */

/* Offers `len` bytes, whatever they are. */
static void offer_bytes(struct vsock_rig *r, uint32_t len)
{
	const struct vd_buf b = {0xf0000, len, false};

	virtq_driver_offer(&r->q[VIRTIO_VSOCK_TX], &b, 1);
	virtio_kick(&r->s.v, VIRTIO_VSOCK_TX);
}

static void test_packet_without_a_header(void **state)
{
	struct vsock_rig *r = *state;

	for (uint32_t len = 0; len < VR_HDR; len += 43) {
		unsigned irqs = fake_transport_config_irqs(&r->t);

		offer_bytes(r, len);
		vr_settle(r);
		assert_int_equal(virtio_status(&r->s.v), VR_LIVE | VR_NEEDS_RESET);
		assert_int_equal(fake_transport_config_irqs(&r->t), irqs + 1);
		virtio_set_status(&r->s.v, 0);
		vr_settle(r);
		vr_start(r);
	}
}

static void test_packet_shorter_than_it_says(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p = vr_packet(r, RW, 1000, 52);

	p.len = 6;
	vr_offer(r, &p, "short", 5, 4096);
	virtio_kick(&r->s.v, VIRTIO_VSOCK_TX);
	expect_broken(r);
	assert_null(vr_read(fd));
	/* The device is dead until it is reset; so are its connections. */
	vr_write(fd, "x");
	vr_expect_nothing(r);
	virtio_set_status(&r->s.v, 0);
	vr_settle(r);
	assert_string_equal(vr_read(fd), "");
	close(fd);
	vr_start(r);
	vr_give(r, 4, 4096, 4096);
	fd = vr_connect(r, 1000, 52);
	close(fd);
}

static void test_length_of_4_gib(void **state)
{
	struct vsock_rig *r = *state;
	struct packet p = vr_packet(r, RW, 1000, 52);

	p.len = 0xffffffff;
	vr_offer(r, &p, "x", 1, 4096);
	virtio_kick(&r->s.v, VIRTIO_VSOCK_TX);
	expect_broken(r);
}

static void test_receive_buffers_that_are_none(void **state)
{
	struct vsock_rig *r = *state;

	/* Too small for any data, not to be written at all. */
	for (unsigned i = 0; i < 3; i++) {
		const struct vd_buf b = {0xf0000, i == 0 ? VR_HDR : i == 1 ? 1 : 4096, i < 2};
		unsigned irqs = fake_transport_config_irqs(&r->t);

		virtio_set_status(&r->s.v, 0);
		vr_settle(r);
		vr_start(r);
		virtq_driver_offer(&r->q[VIRTIO_VSOCK_RX], &b, 1);
		virtio_kick(&r->s.v, VIRTIO_VSOCK_RX);
		vr_settle(r);
		assert_int_equal(virtio_status(&r->s.v), VR_LIVE); /* nobody has looked */
		vr_op(r, RW, 1, 2);
		vr_settle(r);
		assert_int_equal(virtio_status(&r->s.v), VR_LIVE | VR_NEEDS_RESET);
		assert_int_equal(fake_transport_config_irqs(&r->t), irqs + 1);
	}
}

/* --- addresses, types, operations ------------------------------------------------------- */

static void test_wrong_addresses(void **state)
{
	static const uint64_t cids[] = {0, 1, 3, VR_CID, 0xffffffff, 1ull << 32 | 2, ~0ull};
	struct vsock_rig *r = *state;
	struct packet p, got;

	for (unsigned i = 0; i < ARRAY_LEN(cids); i++) {
		/* Nobody has that address here: refused, in its name. */
		p = vr_packet(r, REQUEST, 1000, 52);
		p.dst_cid = cids[i];
		vr_send(r, &p, NULL, 0);
		assert_true(vr_take(r, &got));
		assert_int_equal(got.op, RST);
		assert_true(got.src_cid == cids[i]);
		assert_int_equal(got.dst_cid, VR_CID);
		assert_int_equal(got.src_port, 52);
		assert_int_equal(got.dst_port, 1000);
		/* Who says that he is somebody else gets nothing. */
		if (cids[i] == VR_CID)
			continue;
		p = vr_packet(r, REQUEST, 1000, 52);
		p.src_cid = cids[i];
		vr_send(r, &p, NULL, 0);
		vr_expect_nothing(r);
	}
	assert_int_equal(r->b->n_ends, 0);
	assert_int_equal(r->s.n_conns, 0);
}

static void test_unknown_types(void **state)
{
	static const uint16_t types[] = {0, 2, 3, 0xffff}; /* 2 is SEQPACKET, not offered */
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
		struct packet p = vr_packet(r, i % 2 ? RW : REQUEST, 1000, 52), got;

		p.type = types[i];
		vr_send(r, &p, NULL, 0);
		assert_true(vr_take(r, &got));
		assert_int_equal(got.op, RST);
		assert_int_equal(got.type, types[i]);
		p.op = RST; /* is not answered with one */
		vr_send(r, &p, NULL, 0);
		vr_expect_nothing(r);
	}
	/* The stream of these ports is another. */
	vr_data(r, 1000, 52, "alive", 5);
	assert_string_equal(vr_read(fd), "alive");
	close(fd);
}

static void test_without_a_connection(void **state)
{
	static const uint16_t ops[] = {0, RESPONSE, SHUTDOWN, RW, RW, CREDIT_UPDATE, CREDIT_REQUEST,
				       8, 0xffff};
	struct vsock_rig *r = *state;

	for (unsigned i = 0; i < ARRAY_LEN(ops); i++) {
		vr_op(r, ops[i], 1000 + i, 52);
		vr_expect(r, RST, 1000 + i, 52);
	}
	vr_op(r, RST, 1000, 52);
	vr_expect_nothing(r);
}

/* What an open connection does not allow resets it, on both sides. */
static void test_out_of_place(void **state)
{
	static const uint16_t ops[] = {0, REQUEST, RESPONSE, 8, 0xffff};
	struct vsock_rig *r = *state;

	for (unsigned i = 0; i < ARRAY_LEN(ops); i++) {
		int fd = vr_connect(r, 1000, 52);

		vr_op(r, ops[i], 1000, 52);
		vr_expect(r, RST, 1000, 52);
		vr_expect_nothing(r);
		assert_string_equal(vr_read(fd), "");
		assert_int_equal(r->s.n_conns, 0);
		close(fd);
	}
}

/* Before it has answered, the guest may only answer. */
static void test_out_of_place_before_the_answer(void **state)
{
	static const uint16_t ops[] = {0, REQUEST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST, 8};
	struct vsock_rig *r = *state;

	for (unsigned i = 0; i < ARRAY_LEN(ops); i++) {
		int fd = fake_vsock_open(r->b, 80, NULL);

		vr_expect(r, REQUEST, 80, FIRST_PORT + 1 + i);
		vr_op(r, ops[i], 80, FIRST_PORT + 1 + i);
		vr_expect(r, RST, 80, FIRST_PORT + 1 + i);
		assert_int_equal(r->b->n_answers, i + 1);
		assert_int_equal(r->b->answers[i], 0);
		assert_string_equal(vr_read(fd), "");
		close(fd);
	}
	assert_int_equal(r->s.n_conns, 0);
}

static void test_data_after_the_end(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	vr_shutdown(r, 1000, 52, NO_SEND | 0xfffffffc); /* bits without a meaning */
	vr_data(r, 1000, 52, "more", 4);
	vr_expect(r, RST, 1000, 52);
	assert_string_equal(vr_read(fd), "");
	vr_expect_nothing(r);
	close(fd);
}

/* --- credit --------------------------------------------------------------------------------- */

static void test_data_beyond_credit(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52), other = vr_connect(r, 1001, 52);
	struct vsock_conn *c = vsock_conn_find(&r->s, 1000, 52);
	static uint8_t bytes[32768];
	struct packet p;

	while (VIRTIO_VSOCK_BUFFER - (c->came - c->fwd) >= sizeof(bytes))
		vr_data(r, 1000, 52, bytes, sizeof(bytes));
	while (vr_take(r, &p))
		assert_int_equal(p.op, CREDIT_UPDATE);
	vr_data(r, 1000, 52, bytes,
		VIRTIO_VSOCK_BUFFER - (c->came - c->fwd)); /* the very last byte fits */
	vr_expect_nothing(r);
	vr_data(r, 1000, 52, "x", 1);
	vr_expect(r, RST, 1000, 52);
	vr_expect_nothing(r);
	/* Only that one. */
	assert_int_equal(r->s.n_conns, 1);
	vr_data(r, 1001, 52, "alive", 5);
	assert_string_equal(vr_read(other), "alive");
	close(fd);
	close(other);
}

static void test_credit_that_makes_no_sense(void **state)
{
	static const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p;

	for (unsigned i = 0; i < ARRAY_LEN(values); i++)
		for (unsigned k = 0; k < ARRAY_LEN(values); k++) {
			r->alloc = values[i];
			r->fwd = values[k];
			vr_write(fd, "xy");
			vr_op(r, CREDIT_UPDATE, 1000, 52);
			while (vr_take(r, &p)) {
				assert_true(p.op == RW || p.op == CREDIT_REQUEST);
				vr_give(r, 1, 4096, 4096);
			}
		}
	assert_int_equal(virtio_status(&r->s.v), VR_LIVE);
	close(fd);
}

/* --- floods ------------------------------------------------------------------------------------
 */

/* Offers a packet and rings, if there is room in the ring; false if not. */
static bool try_send(struct vsock_rig *r, const struct packet *p)
{
	struct virtq_driver *q = &r->q[VIRTIO_VSOCK_TX];
	uint32_t id, len;

	while (virtq_driver_take_used(q, &id, &len))
		;
	if ((uint16_t)(q->avail_idx - q->last_used) == q->size)
		return false;
	vr_offer(r, p, NULL, 0, 4096);
	virtio_kick(&r->s.v, VIRTIO_VSOCK_TX);
	vr_settle(r);
	return true;
}

/* Connections without end, and not a buffer to answer into. */
static void test_flood_of_requests(void **state)
{
	struct vsock_rig *r = *state;
	struct rlimit files;
	struct packet p;
	unsigned sent = 0, accepted = 0, refused = 0, idle = 0;

	/* The test holds one end of each. */
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
	setrlimit(RLIMIT_NOFILE, &files);
	for (; sent < 5000; sent++) {
		p = vr_packet(r, REQUEST, sent, 52);
		if (!try_send(r, &p))
			break;
	}
	/* So many have their place, so many wait for their refusal, the rest in the ring. */
	assert_true(r->s.n_conns <= VIRTIO_VSOCK_CONNS_MAX);
	assert_int_equal(r->s.n_strays, VIRTIO_VSOCK_STRAYS_MAX);
	assert_true(sent <= VIRTIO_VSOCK_CONNS_MAX + VIRTIO_VSOCK_STRAYS_MAX + VR_SIZE);
	vr_expect_nothing(r);
	/* With buffers each is answered, once. */
	while (idle < 3) {
		idle++;
		vr_give(r, VR_SIZE - r->rx_given, 100, 100);
		while (vr_take(r, &p)) {
			accepted += p.op == RESPONSE;
			refused += p.op == RST;
			assert_true(p.op == RESPONSE || p.op == RST);
			idle = 0;
		}
	}
	assert_int_equal(accepted + refused, sent);
	assert_int_equal(accepted, r->s.n_conns);
	assert_int_equal(r->s.n_strays, 0);
	/* The host's own have no room either. */
	if (r->s.n_conns == VIRTIO_VSOCK_CONNS_MAX)
		assert_int_equal(fake_vsock_open(r->b, 80, NULL), -ENOBUFS);
}

/* Packets for nobody, and no buffers: it is the guest that waits. */
static void test_flood_of_strays(void **state)
{
	struct vsock_rig *r = *state;
	struct packet p;
	unsigned sent = 0, got = 0;

	for (;; sent++) {
		p = vr_packet(r, RW, sent, 52);
		if (!try_send(r, &p))
			break;
		assert_true(sent < 10000);
	}
	assert_int_equal(sent, VIRTIO_VSOCK_STRAYS_MAX + VR_SIZE);
	for (unsigned i = 0; i < 10000; i++)
		virtio_kick(&r->s.v, VIRTIO_VSOCK_TX);
	vr_settle(r);
	vr_expect_nothing(r);
	for (unsigned i = 0; i < 10; i++) {
		vr_give(r, VR_SIZE - r->rx_given, 100, 100);
		for (; vr_take(r, &p); got++)
			assert_int_equal(p.op, RST);
	}
	assert_int_equal(got, sent);
	/* It goes on. */
	close(vr_connect(r, 1000, 52));
}

/* The same connection over and over, without ever taking an answer. */
static void test_flood_on_one_connection(void **state)
{
	static const uint16_t ops[] = {REQUEST, RW, CREDIT_REQUEST, SHUTDOWN, RESPONSE, 0};
	struct vsock_rig *r = *state;
	struct packet p;
	unsigned n = 0;

	for (unsigned i = 0; i < 20000; i++) {
		p = vr_packet(r, ops[i % ARRAY_LEN(ops)], 1000, 52);
		assert_true(try_send(r, &p));
		assert_true(r->s.n_conns <= 1);
		assert_int_equal(r->s.n_strays, 0);
	}
	vr_give(r, 10, 100, 100);
	while (vr_take(r, &p))
		n++;
	assert_true(n <= 2);
}

static void test_requests_and_resets(void **state)
{
	struct vsock_rig *r = *state;

	for (unsigned i = 0; i < 5000; i++) {
		vr_op(r, REQUEST, 1000 + i, 52);
		vr_op(r, RST, 1000 + i, 52);
		assert_int_equal(r->s.n_conns, 0);
		/* The test's end goes at once, as there are not so many descriptors. */
		close(fake_vsock_end(r->b, 0));
		r->b->n_ends = 0;
	}
	vr_expect_nothing(r);
}

/* --- queues ---------------------------------------------------------------------------------- */

/* Only some of the queues were set up: what is due on the others stays undone. */
static void test_missing_queues(void **state)
{
	struct vsock_rig *r = *state;

	for (unsigned set = 0; set < 8; set++) {
		int fd;

		virtio_set_status(&r->s.v, 0);
		vr_settle(r);
		for (unsigned i = 0; i < 3; i++)
			virtq_driver_init(&r->q[i], &r->gm, 0x10000 + i * 0x8000,
					  i == 2 ? 16 : VR_SIZE);
		r->rx_given = 0;
		assert_true(virtio_driver_negotiate(&r->s.v, VIRTIO_F_VERSION_1));
		for (unsigned i = 0; i < 3; i++)
			if (set & 1u << i)
				virtio_driver_set_queue(&r->s.v, i, &r->q[i]);
		virtio_set_status(&r->s.v, VR_LIVE);
		vr_settle(r);
		fd = fake_vsock_open(r->b, 80, NULL);
		assert_true(fd >= 0);
		vr_give(r, 4, 4096, 4096);
		if (set & 1)
			vr_expect(r, REQUEST, 80, FIRST_PORT + set + 1);
		if (set & 2) {
			vr_op(r, RW, 1, 2);
			vr_op(r, RESPONSE, 80, FIRST_PORT + set + 1);
		}
		vr_write(fd, "x");
		for (unsigned i = 0; i < 5; i++)
			virtio_kick(&r->s.v, i);
		vr_settle(r);
		assert_int_equal(virtio_status(&r->s.v), VR_LIVE);
		close(fd);
	}
}

static void test_events_too_small(void **state)
{
	struct vsock_rig *r = *state;
	const struct vd_buf b = {0xf0000, 3, true};

	virtq_driver_offer(&r->q[VIRTIO_VSOCK_EVENT], &b, 1);
	virtio_kick(&r->s.v, VIRTIO_VSOCK_EVENT);
	vr_settle(r);
	assert_int_equal(virtio_status(&r->s.v), VR_LIVE); /* nothing to say */
	r->s.restored = true;
	virtio_kick(&r->s.v, VIRTIO_VSOCK_EVENT);
	expect_broken(r);
}

int main(void)
{
#define LIVE(f)   cmocka_unit_test_setup_teardown(f, vr_live, vr_teardown)
#define HUNGRY(f) cmocka_unit_test_setup_teardown(f, hungry, vr_teardown)
	const struct CMUnitTest tests[] = {
		LIVE(test_packet_without_a_header),
		LIVE(test_packet_shorter_than_it_says),
		LIVE(test_length_of_4_gib),
		HUNGRY(test_receive_buffers_that_are_none),
		LIVE(test_wrong_addresses),
		LIVE(test_unknown_types),
		LIVE(test_without_a_connection),
		LIVE(test_out_of_place),
		LIVE(test_out_of_place_before_the_answer),
		LIVE(test_data_after_the_end),
		LIVE(test_data_beyond_credit),
		LIVE(test_credit_that_makes_no_sense),
		HUNGRY(test_flood_of_requests),
		HUNGRY(test_flood_of_strays),
		HUNGRY(test_flood_on_one_connection),
		HUNGRY(test_requests_and_resets),
		LIVE(test_missing_queues),
		LIVE(test_events_too_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
