/* SPDX-License-Identifier: Apache-2.0 */
/* The network device with a limit, which is the same for each direction: what may not go yet waits
 * where it is, in the guest's ring or in the backend, and nothing is lost here. The clock of
 * the limit is the test's; the timer that looks at it rings after milliseconds. */
#include "tests/lib/net_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MS 1000000ull

enum { FRAME = 100, RX_LEN = FRAME + VIRTIO_NET_HDR_LEN, A_WHILE_MS = 30 };

static void limit(struct net_rig *r, uint64_t bytes, uint64_t burst, uint64_t frames,
		  uint64_t frames_burst)
{
	const struct rates rates = {{bytes, burst}, {frames, frames_burst}};

	virtio_net_set_limit(&r->n, &rates);
	loop_settle(r->loop);
}

/* The limit's time goes by, and the host's. */
static void pass(struct net_rig *r, uint64_t ns)
{
	fake_clock_advance(&r->time, ns);
	for (unsigned ms = 0; ms < A_WHILE_MS; ms++) {
		usleep(1000);
		loop_settle(r->loop);
	}
}

static bool waits(const struct net_rig *r)
{
	return r->n.rings_at;
}

static void send(struct net_rig *r, unsigned n)
{
	const struct vd_buf buf = {NET_RIG_TX, VIRTIO_NET_HDR_LEN + FRAME, false};

	while (n--)
		virtq_driver_offer(&r->d[VIRTIO_NET_TX], &buf, 1);
	net_rig_kick(r, VIRTIO_NET_TX);
}

static void sent(struct net_rig *r, unsigned n)
{
	assert_int_equal(r->net->n_out, n);
	assert_int_equal(virtq_driver_used_idx(&r->d[VIRTIO_NET_TX]), n);
}

/* Frames come, each of its own. */
static void arrive(struct net_rig *r, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		fake_net_arrive(r->net, (struct net_hdr){0}, FRAME, (uint8_t)i);
}

/* Frames `from` to `to` - 1 are with the guest, whole and in order, and no other is. */
static void received(struct net_rig *r, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		assert_true(net_rig_used(r, VIRTIO_NET_RX));
		assert_int_equal(r->used_len, RX_LEN);
		assert_true(net_rig_holds(net_rig_at(r, NET_RIG_BUF(i) + VIRTIO_NET_HDR_LEN), FRAME,
					  (uint8_t)i));
	}
	assert_false(net_rig_used(r, VIRTIO_NET_RX));
}

static void give(struct net_rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		net_rig_give(r, i, RX_LEN);
}

/* --- out ---------------------------------------------------------------------------------- */

static void frames_out(void **state)
{
	struct net_rig *r = *state;

	limit(r, 0, 0, 1000, 3);
	net_rig_go(r, NET_RIG_BASIC);
	send(r, 6);
	sent(r, 3);
	assert_true(waits(r));
	assert_int_equal(virtq_driver_used_flags(&r->d[VIRTIO_NET_TX]), 1); /* NO_NOTIFY */
	pass(r, 0);
	sent(r, 3);
	net_rig_kick(r, VIRTIO_NET_TX);
	sent(r, 3);
	pass(r, MS);
	sent(r, 4);
	pass(r, 10 * MS);
	sent(r, 6);
	pass(r, 10 * MS);
	assert_false(waits(r));
	assert_int_equal(virtq_driver_used_flags(&r->d[VIRTIO_NET_TX]), 0);
	send(r, 1);
	sent(r, 7);
}

/* The Ethernet frame, without the header before it. */
static void bytes_out(void **state)
{
	struct net_rig *r = *state;

	limit(r, 100000, 3 * FRAME, 0, 0);
	net_rig_go(r, NET_RIG_ALL);
	send(r, 6);
	sent(r, 3);
	/* As soon as there is anything, and then the rest of it is owed. */
	pass(r, MS / 100);
	sent(r, 4);
	pass(r, MS - MS / 100);
	sent(r, 4);
	pass(r, MS / 100);
	sent(r, 5);
}

/* A backend that takes nothing costs nothing; and it is no way round. */
static void a_backend_that_is_busy(void **state)
{
	struct net_rig *r = *state;

	limit(r, 0, 0, 1000, 2);
	net_rig_go(r, NET_RIG_ALL);
	r->net->busy = true;
	send(r, 5);
	assert_int_equal(r->net->n_out, 0);
	assert_false(waits(r));
	fake_net_unblock(r->net);
	sent(r, 2);
	assert_true(waits(r));
	r->net->busy = true;
	pass(r, MS);
	sent(r, 2);
	assert_int_equal(r->net->refused, 2);
	fake_net_unblock(r->net);
	sent(r, 3);
	fake_net_unblock(r->net);
	sent(r, 3);
	pass(r, 10 * MS);
	sent(r, 5);
}

/* --- in ----------------------------------------------------------------------------------- */

static void frames_in(void **state)
{
	struct net_rig *r = *state;

	limit(r, 0, 0, 1000, 3);
	net_rig_go(r, NET_RIG_ALL);
	give(r, 10);
	arrive(r, 0, 7);
	received(r, 0, 3);
	assert_true(waits(r));
	/* It is not asked, and not watched. */
	assert_false(r->net->wants);
	unsigned receives = r->net->receives;

	pass(r, 0);
	assert_int_equal(r->net->receives, receives);
	pass(r, MS);
	received(r, 3, 4);
	pass(r, 10 * MS);
	received(r, 4, 7);
	pass(r, 10 * MS);
	assert_false(waits(r));
	assert_true(r->net->wants);
	arrive(r, 7, 8);
	received(r, 7, 8);
}

static void bytes_in_pieces(void **state)
{
	struct net_rig *r = *state;

	limit(r, 100000, 2 * FRAME, 0, 0);
	net_rig_go(r, NET_RIG_ALL);
	r->net->piece = 30;
	give(r, 10);
	arrive(r, 0, 4);
	for (unsigned i = 0; i < 10; i++)
		fake_net_tell(r->net);
	received(r, 0, 2);
	pass(r, MS);
	for (unsigned i = 0; i < 10; i++)
		fake_net_tell(r->net);
	received(r, 2, 3);
	assert_false(r->net->wants);
}

/* Without a buffer nothing waits for the limit, and with one it does again. */
static void buffers_come_while_it_waits(void **state)
{
	struct net_rig *r = *state;

	limit(r, 0, 0, 1000, 2);
	net_rig_go(r, NET_RIG_ALL);
	give(r, 2);
	arrive(r, 0, 4);
	received(r, 0, 2);
	pass(r, 10 * MS);
	assert_false(waits(r));
	for (unsigned i = 2; i < 6; i++)
		net_rig_give(r, i, RX_LEN);
	/* The backend tells when it is wanted again. */
	fake_net_tell(r->net);
	received(r, 2, 4);
}

static void each_direction_has_it_all(void **state)
{
	struct net_rig *r = *state;

	limit(r, 0, 0, 1000, 2);
	net_rig_go(r, NET_RIG_ALL);
	give(r, 8);
	arrive(r, 0, 5);
	send(r, 5);
	received(r, 0, 2);
	sent(r, 2);
	pass(r, MS);
	received(r, 2, 3);
	sent(r, 3);
	pass(r, 10 * MS);
	received(r, 3, 5);
	sent(r, 5);
}

/* --- what comes between ------------------------------------------------------------------- */

static void a_limit_that_is_changed(void **state)
{
	struct net_rig *r = *state;

	net_rig_go(r, NET_RIG_ALL);
	send(r, 5);
	sent(r, 5);
	limit(r, 1, 1, 0, 0);
	give(r, 8);
	send(r, 3);
	arrive(r, 0, 3);
	sent(r, 6);
	received(r, 0, 1);
	assert_int_equal(virtio_net_limit(&r->n).bytes.per_second, 1);
	limit(r, 0, 0, 0, 0);
	fake_net_tell(r->net);
	sent(r, 8);
	received(r, 1, 3);
	assert_false(waits(r));
}

static void a_reset_while_it_waits(void **state)
{
	struct net_rig *r = *state;

	for (unsigned round = 1; round <= 3; round++) {
		limit(r, 0, 0, 0, 0);
		limit(r, 0, 0, 1000, 1);
		net_rig_go(r, NET_RIG_ALL);
		give(r, 3);
		send(r, 3);
		assert_int_equal(r->net->n_out, round);
		assert_true(waits(r));
		net_rig_reset(r);
		assert_false(waits(r));
		pass(r, 10 * MS);
		assert_int_equal(r->net->n_out, round);
	}
	limit(r, 0, 0, 0, 0);
	net_rig_go(r, NET_RIG_ALL);
	assert_true(net_rig_send_plain(r, 60));
}

static void a_failure_while_it_waits(void **state)
{
	struct net_rig *r = *state;

	limit(r, 0, 0, 1000, 1);
	net_rig_go(r, NET_RIG_ALL);
	send(r, 3);
	virtq_driver_set_avail_idx(&r->d[VIRTIO_NET_RX], 5000);
	net_rig_kick(r, VIRTIO_NET_RX);
	assert_true(virtio_status(&r->n.v) & VIRTIO_STATUS_NEEDS_RESET);
	pass(r, 10 * MS);
	limit(r, 0, 0, 0, 0);
	assert_int_equal(r->net->n_out, 1);
}

/* What it has not taken is in the state; what has arrived stays in the backend. */
static void saved_while_it_waits(void **state)
{
	struct net_rig *r = *state, *other = net_rig_create(NET_RIG_ALL_OFFLOADS, 0);
	struct state_writer w;
	struct state_reader in;
	struct err e = {0};

	limit(r, 0, 0, 1000, 2);
	net_rig_go(r, NET_RIG_ALL);
	give(r, 8);
	send(r, 6);
	arrive(r, 0, 5);
	sent(r, 2);
	received(r, 0, 2);
	net_rig_pause(r);
	pass(r, 10 * MS);
	sent(r, 2);
	received(r, 0, 0);
	state_writer_init(&w);
	state_section_begin(&w, "net", 1);
	virtio_save(&r->n.v, &w);
	state_section_end(&w);

	net_rig_adopt_ram(other, r);
	state_reader_init(&in, w.data, w.len);
	assert_int_equal(state_section_open(&in, "net", &e), 1);
	assert_int_equal(virtio_load(&other->n.v, &in, &e), 0);
	virtio_resume(&other->n.v);
	loop_settle(other->loop);
	assert_int_equal(other->net->n_out, 4);
	assert_int_equal(virtq_driver_used_idx(&other->d[VIRTIO_NET_TX]), 6);

	virtio_resume(&r->n.v);
	loop_settle(r->loop);
	fake_net_tell(r->net);
	sent(r, 4);
	received(r, 2, 4);
	pass(r, 10 * MS);
	sent(r, 6);
	received(r, 4, 5);
	state_writer_fini(&w);
	net_rig_destroy(other);
}

/* The kernel knows of no limit. */
static void rings_are_not_lent(void **state)
{
	struct net_rig *r = *state;

	fake_net_serves_rings(r->net);
	limit(r, 0, 0, 1000, 2);
	net_rig_go(r, NET_RIG_ALL);
	assert_false(r->net->has_rings);
	send(r, 4);
	sent(r, 2);
	limit(r, 0, 0, 0, 0);
	assert_true(r->net->has_rings);
	for (unsigned i = 0; i < 2; i++)
		fake_net_use(r->net, NET_RING_TX, 0);
	loop_settle(r->loop);
	assert_false(waits(r));
	/* Back, with what was offered meanwhile. */
	send(r, 4);
	limit(r, 0, 0, 1000, 3);
	assert_false(r->net->has_rings);
	assert_int_equal(r->net->n_out, 2 + 3);
	virtio_net_set_link(&r->n, false);
	virtio_net_set_link(&r->n, true);
	loop_settle(r->loop);
	assert_false(r->net->has_rings);
	pass(r, 10 * MS);
	assert_int_equal(r->net->n_out, 2 + 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, net_rig_setup, net_rig_teardown)
		T(frames_out),
		T(bytes_out),
		T(a_backend_that_is_busy),
		T(frames_in),
		T(bytes_in_pieces),
		T(buffers_come_while_it_waits),
		T(each_direction_has_it_all),
		T(a_limit_that_is_changed),
		T(a_reset_while_it_waits),
		T(a_failure_while_it_waits),
		T(saved_while_it_waits),
		T(rings_are_not_lent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
