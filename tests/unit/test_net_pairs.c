/* SPDX-License-Identifier: Apache-2.0 */
/* The network device with several pairs of queues, and its control queue: which pairs are in
 * use, drivers that ask for what there is not, saved state. */
#include "devices/virtio/net.h"
#include "tests/lib/net_rig.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAIRS = 3, QUEUES = 2 * PAIRS + 1, CTRL = 2 * PAIRS, SIZE = 64 };

#define RAM      (8ull << 20)
#define COMMAND  0x200000ull
#define ACK      0x201000ull
#define FRAME    0x202000ull
#define BUF(i)   (0x300000ull + 0x1000ull * (i))
#define FEATURES (NET_RIG_ALL | VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_MQ)

struct rig {
	struct guest_mem gm;
	struct loop *loop;
	struct virtio_net n;
	struct fake_net *net[PAIRS];
	struct fake_transport t;
	struct virtq_driver d[QUEUES];
};

static struct rig *create(bool rings)
{
	const struct virtio_net_options options = {.name = "net0", .mac = {0x52, 0x54, 0, 0, 1, 2}};
	struct rig *r = calloc(1, sizeof(*r));
	struct net *backends[PAIRS];

	log_set_level(LOG_QUIET);
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&r->gm, 0, RAM, -1, 0, NULL), 0);
	r->loop = loop_create();
	for (unsigned i = 0; i < PAIRS; i++) {
		r->net[i] = fake_net_create(NET_RIG_ALL_OFFLOADS);
		if (rings)
			fake_net_serves_rings(r->net[i]);
		backends[i] = &r->net[i]->net;
	}
	assert_int_equal(virtio_net_init(&r->n, backends, PAIRS, &options, &r->gm, r->loop), 0);
	fake_transport_init(&r->t, &r->n.v);
	return r;
}

static void destroy(struct rig *r)
{
	virtio_set_status(&r->n.v, 0);
	loop_settle(r->loop);
	virtio_net_fini(&r->n);
	loop_destroy(r->loop);
	guest_mem_fini(&r->gm);
	free(r);
}

static int setup(void **state)
{
	*state = create(false);
	return 0;
}

static int setup_rings(void **state)
{
	*state = create(true);
	return 0;
}

static int teardown(void **state)
{
	destroy(*state);
	return 0;
}

static void go(struct rig *r, uint64_t features, unsigned queues)
{
	virtio_set_status(&r->n.v, 0);
	loop_settle(r->loop);
	for (unsigned i = 0; i < QUEUES; i++)
		virtq_driver_init(&r->d[i], &r->gm, 0x10000ull * (i + 1), SIZE);
	virtio_driver_start(&r->n.v, features, r->d, queues);
	loop_settle(r->loop);
}

/* A command of `len` bytes on `queue`; its ack, or -1 if there is none. */
static int command_on(struct rig *r, unsigned queue, const uint8_t *bytes, uint32_t len)
{
	const struct vd_buf bufs[] = {{COMMAND, len, false}, {ACK, 1, true}};
	const uint8_t none = 0xee;
	uint32_t id, used;
	uint8_t ack;

	assert_int_equal(guest_mem_write(&r->gm, COMMAND, bytes, len), 0);
	assert_int_equal(guest_mem_write(&r->gm, ACK, &none, 1), 0);
	virtq_driver_offer(&r->d[queue], bufs, 2);
	virtio_kick(&r->n.v, queue);
	loop_settle(r->loop);
	if (!virtq_driver_take_used(&r->d[queue], &id, &used))
		return -1;
	assert_int_equal(used, 1);
	assert_int_equal(guest_mem_read(&r->gm, ACK, &ack, 1), 0);
	return ack;
}

static int use_pairs(struct rig *r, unsigned pairs)
{
	const uint8_t bytes[] = {4, 0, (uint8_t)pairs, (uint8_t)(pairs >> 8)};

	return command_on(r, CTRL, bytes, sizeof(bytes));
}

/* The first `pairs` are connected, and no others; each moves frames both ways. */
static void in_use(struct rig *r, unsigned pairs)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		const struct vd_buf buf = {BUF(i), 2048, true};
		const struct vd_buf out[] = {{FRAME, VIRTIO_NET_HDR_LEN, false},
					     {FRAME + VIRTIO_NET_HDR_LEN, 60, false}};
		struct fake_net *f = r->net[i];
		unsigned sent = f->n_out;
		uint32_t id, len;

		assert_int_equal(f->attached, i < pairs);
		if (i >= pairs)
			continue;
		virtq_driver_offer(&r->d[2 * i], &buf, 1);
		virtio_kick(&r->n.v, 2 * i);
		loop_settle(r->loop);
		fake_net_arrive(f, (struct net_hdr){0}, 100 + i, 1);
		assert_true(virtq_driver_take_used(&r->d[2 * i], &id, &len));
		assert_int_equal(len, 112 + i);
		virtq_driver_offer(&r->d[2 * i + 1], out, 2);
		virtio_kick(&r->n.v, 2 * i + 1);
		loop_settle(r->loop);
		assert_true(virtq_driver_take_used(&r->d[2 * i + 1], &id, &len));
		assert_int_equal(f->n_out, sent + 1);
	}
}

static void test_what_is_offered(void **state)
{
	struct rig *r = *state;

	assert_int_equal(virtio_offered(&r->n.v, 0) & (1u << 17 | 1u << 22), 1u << 17 | 1u << 22);
	assert_int_equal(virtio_config_read(&r->n.v, 8, 2), PAIRS);
	assert_int_equal(r->n.v.n_queues, QUEUES);
	/* MQ needs CTRL_VQ [virtio 1.3 5.1.3.1]. */
	assert_false(virtio_driver_negotiate(&r->n.v, NET_RIG_ALL | VIRTIO_NET_F_MQ));
	virtio_set_status(&r->n.v, 0);
}

static void test_more_pairs_and_fewer(void **state)
{
	struct rig *r = *state;

	go(r, FEATURES, QUEUES);
	in_use(r, 1);
	for (unsigned i = 0; i < 30; i++) {
		unsigned pairs = 1 + i * 5 % PAIRS;

		assert_int_equal(use_pairs(r, pairs), VIRTIO_NET_OK);
		in_use(r, pairs);
	}
	/* A reset, and the next driver begins with one. */
	assert_int_equal(use_pairs(r, PAIRS), VIRTIO_NET_OK);
	go(r, FEATURES, QUEUES);
	in_use(r, 1);
	assert_int_equal(use_pairs(r, 2), VIRTIO_NET_OK);
	in_use(r, 2);
}

/* What was offered before the command is seen with it, and what a pair leaves, with it too. */
static void test_buffers_wait_for_their_pair(void **state)
{
	const struct vd_buf buf = {BUF(0), 2048, true};
	struct rig *r = *state;
	uint32_t id, len;

	go(r, FEATURES, QUEUES);
	virtq_driver_offer(&r->d[2], &buf, 1);
	virtio_kick(&r->n.v, 2);
	loop_settle(r->loop);
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(use_pairs(r, 2), VIRTIO_NET_OK);
		assert_int_equal(use_pairs(r, 1), VIRTIO_NET_OK);
		assert_false(virtq_driver_take_used(&r->d[2], &id, &len));
	}
	assert_int_equal(use_pairs(r, 2), VIRTIO_NET_OK);
	fake_net_arrive(r->net[1], (struct net_hdr){0}, 88, 1);
	assert_true(virtq_driver_take_used(&r->d[2], &id, &len));
	assert_int_equal(len, 100);
}

/* A driver that knows of the control queue, but of one pair: it is queue 2. */
static void test_a_control_queue_without_mq(void **state)
{
	const uint8_t mq[] = {4, 0, 1, 0}, promisc[] = {0, 0, 1};
	struct rig *r = *state;

	go(r, NET_RIG_ALL | VIRTIO_NET_F_CTRL_VQ, 3);
	assert_int_equal(command_on(r, 2, mq, sizeof(mq)), VIRTIO_NET_ERR);
	assert_int_equal(command_on(r, 2, promisc, sizeof(promisc)), VIRTIO_NET_ERR);
	in_use(r, 1);
}

static void test_a_driver_of_old(void **state)
{
	struct rig *r = *state;

	go(r, NET_RIG_ALL, 2);
	in_use(r, 1);
}

static void test_commands_without_sense(void **state)
{
	static const uint8_t commands[][8] = {
		{4, 0, 0, 0},    {4, 0, PAIRS + 1, 0}, {4, 0, 0xff, 0xff}, {4, 0, 2, 0x80},
		{4, 1, 2, 0},    {4, 2, 1, 0},         {4, 0xff, 1, 0},    {0, 0, 2, 0},
		{1, 0, 2, 0},    {2, 0, 2, 0},         {3, 0, 2, 0},       {5, 0, 2, 0},
		{0xff, 0, 2, 0},
	};
	struct rig *r = *state;

	go(r, FEATURES, QUEUES);
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		assert_int_equal(command_on(r, CTRL, commands[i], 4), VIRTIO_NET_ERR);
	/* Too short, and too long. */
	for (uint32_t len = 1; len < 8; len++)
		if (len != 4)
			assert_int_equal(command_on(r, CTRL, (const uint8_t[8]){4, 0, 2}, len),
					 VIRTIO_NET_ERR);
	in_use(r, 1);
	/* Many at once, more than a turn has. */
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(use_pairs(r, i % 5), i % 5 && i % 5 <= PAIRS ? 0 : 1);
	assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE);
}

static void test_pairs_that_are_not_set_up(void **state)
{
	struct rig *r = *state;

	virtio_set_status(&r->n.v, 0);
	for (unsigned i = 0; i < QUEUES; i++)
		virtq_driver_init(&r->d[i], &r->gm, 0x10000ull * (i + 1), SIZE);
	assert_true(virtio_driver_negotiate(&r->n.v, FEATURES));
	for (unsigned i = 0; i < QUEUES; i++)
		if (i != 3)
			virtio_driver_set_queue(&r->n.v, i, &r->d[i]);
	virtio_set_status(&r->n.v, NET_RIG_LIVE);
	loop_settle(r->loop);
	assert_int_equal(use_pairs(r, 2), VIRTIO_NET_ERR);
	assert_int_equal(use_pairs(r, 3), VIRTIO_NET_ERR);
	assert_int_equal(use_pairs(r, 1), VIRTIO_NET_OK);
	in_use(r, 1);
}

static void test_no_room_for_the_answer(void **state)
{
	const struct vd_buf buf = {COMMAND, 4, false};
	struct rig *r = *state;

	go(r, FEATURES, QUEUES);
	virtq_driver_offer(&r->d[CTRL], &buf, 1);
	virtio_kick(&r->n.v, CTRL);
	loop_settle(r->loop);
	assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE | VIRTIO_STATUS_NEEDS_RESET);
	go(r, FEATURES, QUEUES);
	assert_int_equal(use_pairs(r, 2), VIRTIO_NET_OK);
	in_use(r, 2);
}

/* The host has no more: the driver is told, and keeps what it has. */
static void test_a_pair_that_cannot_be_attached(void **state)
{
	struct rig *r = *state;

	go(r, FEATURES, QUEUES);
	r->net[2]->attach_error = -ENOMEM;
	assert_int_equal(use_pairs(r, 3), VIRTIO_NET_ERR);
	in_use(r, 1);
	assert_int_equal(use_pairs(r, 2), VIRTIO_NET_OK);
	assert_int_equal(use_pairs(r, 3), VIRTIO_NET_ERR);
	in_use(r, 2);
	r->net[2]->attach_error = 0;
	assert_int_equal(use_pairs(r, 3), VIRTIO_NET_OK);
	in_use(r, 3);
}

static void *pause_it(void *arg)
{
	return virtio_pause(&((struct rig *)arg)->n.v, 20000) ? arg : NULL;
}

static void test_save_and_load(void **state)
{
	struct rig *r = *state, *other = create(false);
	struct state_writer w;
	struct state_reader in;
	struct err e = {0};
	pthread_t thread;
	void *failed = r;

	go(r, FEATURES, QUEUES);
	assert_int_equal(use_pairs(r, 2), VIRTIO_NET_OK);
	in_use(r, 2);
	assert_int_equal(pthread_create(&thread, NULL, pause_it, r), 0);
	while (pthread_tryjoin_np(thread, &failed))
		loop_settle(r->loop);
	assert_null(failed);
	state_writer_init(&w);
	state_section_begin(&w, "net", 1);
	virtio_save(&r->n.v, &w);
	state_section_end(&w);

	/* The last byte says how many: none, or more than there are, is nobody's state. */
	uint8_t *last = w.data + w.len - 1, lawful = *last;

	assert_int_equal(lawful, 2);
	for (unsigned i = 0; i < 2; i++) {
		*last = i ? PAIRS + 1 : 0;
		state_reader_init(&in, w.data, w.len);
		assert_int_equal(state_section_open(&in, "net", &e), 1);
		assert_int_equal(virtio_load(&other->n.v, &in, &e), -EBADMSG);
	}
	*last = lawful;
	memcpy(guest_mem_hva(&other->gm, 0, RAM), guest_mem_hva(&r->gm, 0, RAM), RAM);
	memcpy(other->d, r->d, sizeof(other->d));
	for (unsigned i = 0; i < QUEUES; i++)
		other->d[i].gm = &other->gm;
	state_reader_init(&in, w.data, w.len);
	assert_int_equal(state_section_open(&in, "net", &e), 1);
	assert_int_equal(virtio_load(&other->n.v, &in, &e), 0);
	virtio_resume(&other->n.v);
	loop_settle(other->loop);
	in_use(other, 2);
	assert_int_equal(use_pairs(other, 3), VIRTIO_NET_OK);
	in_use(other, 3);
	virtio_resume(&r->n.v);
	loop_settle(r->loop);
	in_use(r, 2);
	state_writer_fini(&w);
	destroy(other);
}

/* Pairs in use are lent, each by itself; the control queue stays here. */
static void test_by_the_kernel(void **state)
{
	struct rig *r = *state;

	go(r, FEATURES, QUEUES);
	for (unsigned i = 0; i < 20; i++) {
		unsigned pairs = 1 + i * 5 % PAIRS;

		assert_int_equal(use_pairs(r, pairs), VIRTIO_NET_OK);
		for (unsigned k = 0; k < PAIRS; k++)
			assert_int_equal(r->net[k]->has_rings, k < pairs);
	}
	assert_int_equal(use_pairs(r, PAIRS), VIRTIO_NET_OK);
	assert_ptr_equal(r->net[2]->rings[NET_RING_TX].avail,
			 guest_mem_hva(&r->gm, r->d[5].avail, 1));
	virtio_net_set_link(&r->n, false);
	loop_settle(r->loop);
	for (unsigned k = 0; k < PAIRS; k++)
		assert_false(r->net[k]->has_rings);
	virtio_net_set_link(&r->n, true);
	loop_settle(r->loop);
	for (unsigned k = 0; k < PAIRS; k++)
		assert_true(r->net[k]->has_rings);
	/* One that is broken breaks the device. */
	r->net[1]->net.broken(r->net[1]->net.ctx);
	for (unsigned k = 0; k < PAIRS; k++)
		assert_false(r->net[k]->has_rings);
	assert_int_equal(virtio_status(&r->n.v), NET_RIG_LIVE | VIRTIO_STATUS_NEEDS_RESET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		TEST(test_what_is_offered),
		TEST(test_more_pairs_and_fewer),
		TEST(test_buffers_wait_for_their_pair),
		TEST(test_a_control_queue_without_mq),
		TEST(test_a_driver_of_old),
		TEST(test_commands_without_sense),
		TEST(test_pairs_that_are_not_set_up),
		TEST(test_no_room_for_the_answer),
		TEST(test_a_pair_that_cannot_be_attached),
		TEST(test_save_and_load),
		cmocka_unit_test_setup_teardown(test_by_the_kernel, setup_rings, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
