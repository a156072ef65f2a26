/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-net of this kernel with a real tap, and a driver's rings in memory of ours; the
 * other end of the tap is a packet socket. Skipped where there is none of them.
 */
#include "devices/backend/net_tap.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM         (4 * MiB)
#define RING(i)     (0x10000ull + 0x10000ull * (i))
#define BUF(i)      (0x100000ull + 0x1000ull * (i))
#define TX_BUF      0x80000ull
#define F_MRG       (1ull << 15)
#define FEATURES    (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | F_MRG)
#define HOLE_BEYOND 0x80000000ull

enum { SKIPPED = 77, SIZE = 64, HEADER = 12, BUF_LEN = 2048, BUFS = 32 };

struct rig {
	struct net *net;
	struct loop *loop;
	struct guest_mem gm;
	struct virtq_driver d[NET_RINGS];
	struct vhost_ring rings[NET_RINGS];
	bool has_rings;
	int packets;
	unsigned broken, lost;
	char why[100];
};

static void on_none(void *ctx)
{
}

static void on_lost(void *ctx, const char *why)
{
	struct rig *r = ctx;

	r->lost++;
	snprintf(r->why, sizeof(r->why), "%s", why);
}

static void on_broken(void *ctx)
{
	((struct rig *)ctx)->broken++;
}

/* Waits for what the kernel does by itself. */
#define until(r, condition)                            \
	do {                                           \
		unsigned tries_ = 0;                   \
		while (!(condition)) {                 \
			loop_settle((r)->loop);        \
			usleep(1000);                  \
			assert_true(++tries_ < 10000); \
		}                                      \
	} while (0)

static void take(struct rig *r)
{
	assert_int_equal(r->net->ops->take_rings(r->net, &r->gm, FEATURES, r->rings), 0);
	r->has_rings = true;
}

static void give(struct rig *r)
{
	r->net->ops->give_rings(r->net, r->rings);
	r->has_rings = false;
}

static void kick(struct rig *r, unsigned ring)
{
	const uint64_t one = 1;

	assert_int_equal(write(r->rings[ring].kick, &one, sizeof(one)), sizeof(one));
}

static bool called(struct rig *r, unsigned ring)
{
	uint64_t count;

	return read(r->rings[ring].call, &count, sizeof(count)) == sizeof(count);
}

static void offer_buffers(struct rig *r)
{
	for (unsigned i = 0; i < BUFS; i++) {
		const struct vd_buf buf = {BUF(i), BUF_LEN, true};

		virtq_driver_offer(&r->d[NET_RING_RX], &buf, 1);
	}
	kick(r, NET_RING_RX);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct err e = {0};

	log_set_level(LOG_QUIET);
	assert_int_equal(system("ip tuntap add mvtap1 mode tap vnet_hdr && "
				"ip link set mvtap1 mtu 9000 up"),
			 0);
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&r->gm, 0, RAM, -1, 0, NULL), 0);
	r->loop = loop_create();
	if (net_tap_open(&r->net, 1, "mvtap1", NET_TAP_VHOST_ON, &e))
		fail_msg("%s", e.text);
	r->net->readable = r->net->writable = on_none;
	r->net->lost = on_lost;
	r->net->broken = on_broken;
	r->net->ctx = r;
	assert_int_equal(r->net->ops->attach(r->net, r->loop, 0), 0);
	for (unsigned i = 0; i < NET_RINGS; i++) {
		struct virtq_driver *d = &r->d[i];

		virtq_driver_init(d, &r->gm, RING(i), SIZE);
		r->rings[i] = (struct vhost_ring){
			.size = SIZE,
			.desc = guest_mem_hva(&r->gm, d->desc, 1),
			.avail = guest_mem_hva(&r->gm, d->avail, 1),
			.used = guest_mem_hva(&r->gm, d->used, 1),
			.kick = eventfd(0, EFD_NONBLOCK),
			.call = eventfd(0, EFD_NONBLOCK),
		};
	}
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = (int)if_nametoindex("mvtap1")};

	r->packets = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
	assert_int_equal(bind(r->packets, (struct sockaddr *)&at, sizeof(at)), 0);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	if (r->has_rings)
		give(r);
	r->net->ops->detach(r->net);
	net_destroy(r->net);
	for (unsigned i = 0; i < NET_RINGS; i++) {
		close(r->rings[i].kick);
		close(r->rings[i].call);
	}
	close(r->packets);
	loop_destroy(r->loop);
	guest_mem_fini(&r->gm);
	free(r);
	return system("ip link delete mvtap1 2>/dev/null") < 0;
}

/* --- frames ---------------------------------------------------------------------------------- */

static void make_frame(uint8_t *frame, size_t len, uint8_t seed)
{
	static const uint8_t header[14] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
					   0,    0,    0,    0,    9,    0x88, 0xb5};

	memcpy(frame, header, sizeof(header));
	for (size_t i = sizeof(header); i < len; i++)
		frame[i] = (uint8_t)(seed + i);
}

static bool ours(const uint8_t *frame)
{
	return frame[12] == 0x88 && frame[13] == 0xb5;
}

/* The next frame of ours that the driver finds, over several buffers: its length, or 0.
 * What it used is offered again. */
static size_t received(struct rig *r, uint8_t *frame, unsigned *buffers)
{
	struct virtq_driver *d = &r->d[NET_RING_RX];
	uint32_t id, len;
	size_t total = 0;

	while (virtq_driver_take_used(d, &id, &len)) {
		const uint8_t *buf = guest_mem_hva(&r->gm, BUF(id % BUFS), BUF_LEN);
		unsigned n = le16_get(buf + 10);
		const struct vd_buf again = {BUF(id % BUFS), BUF_LEN, true};

		memcpy(frame, buf + HEADER, len - HEADER);
		total = len - HEADER;
		*buffers = n;
		virtq_driver_offer(d, &again, 1);
		for (unsigned i = 1; i < n; i++) {
			assert_true(virtq_driver_take_used(d, &id, &len));
			const struct vd_buf more = {BUF(id % BUFS), BUF_LEN, true};

			memcpy(frame + total, guest_mem_hva(&r->gm, more.gpa, 1), len);
			total += len;
			virtq_driver_offer(d, &more, 1);
		}
		if (ours(frame))
			break;
		total = 0;
	}
	return total;
}

/* A frame, sent until it comes, as an interface that has just got its carrier takes a moment.
 * Others may come before it. */
static void arrives(struct rig *r, size_t len, unsigned buffers)
{
	uint8_t frame[9014], got[16 * BUF_LEN];
	bool came = false;
	unsigned used = 0;
	size_t n;

	make_frame(frame, len, (uint8_t)len);
	for (unsigned tries = 0; !came; tries++) {
		assert_true(tries < 1000);
		assert_int_equal(send(r->packets, frame, len, 0), len);
		for (unsigned wait = 0; wait < 50 && !came; wait++) {
			usleep(1000);
			while (!came && (n = received(r, got, &used)))
				came = n == len && !memcmp(got, frame, len);
			kick(r, NET_RING_RX);
		}
	}
	assert_int_equal(used, buffers);
}

static void goes_out(struct rig *r, size_t len)
{
	const struct vd_buf bufs[] = {{TX_BUF, HEADER, false},
				      {TX_BUF + HEADER, (uint32_t)len, false}};
	uint8_t *frame = guest_mem_hva(&r->gm, TX_BUF + HEADER, len), got[10000];
	uint32_t id, used_len;
	ssize_t n = 0;

	make_frame(frame, len, 7);
	uint16_t head = virtq_driver_offer(&r->d[NET_RING_TX], bufs, 2);

	kick(r, NET_RING_TX);
	until(r, virtq_driver_take_used(&r->d[NET_RING_TX], &id, &used_len));
	assert_int_equal(id, head);
	until(r, (n = recv(r->packets, got, sizeof(got), 0)) >= 14 && ours(got));
	assert_int_equal(n, len);
	assert_memory_equal(got, frame, len);
}

static void test_frames_both_ways(void **state)
{
	struct rig *r = *state;

	take(r);
	offer_buffers(r);
	arrives(r, 60, 1);
	assert_true(called(r, NET_RING_RX));
	arrives(r, BUF_LEN - HEADER, 1);
	/* Over several buffers, of which the last may be full. */
	arrives(r, BUF_LEN - HEADER + 1, 2);
	arrives(r, 2 * BUF_LEN - HEADER, 2);
	arrives(r, 9014, 5);
	for (size_t len = 14; len <= 9014; len += 900)
		goes_out(r, len);
	assert_int_equal(r->broken + r->lost, 0);
}

/* --- taking the rings back -------------------------------------------------------------------- */

static void test_nothing_moves_once_they_are_back(void **state)
{
	struct rig *r = *state;
	uint8_t frame[60], got[100];

	make_frame(frame, sizeof(frame), 1);
	take(r);
	offer_buffers(r);
	for (unsigned round = 0; round < 20; round++) {
		arrives(r, 60 + round, 1);
		goes_out(r, 60 + round);
		send(r->packets, frame, sizeof(frame), 0);
		give(r);
		uint16_t used = virtq_driver_used_idx(&r->d[NET_RING_RX]);

		/* All that was taken was used. */
		assert_int_equal(r->rings[NET_RING_RX].next, used);
		assert_int_equal(r->rings[NET_RING_TX].next, round + 1);
		for (unsigned i = 0; i < 5; i++)
			send(r->packets, frame, sizeof(frame), 0);
		kick(r, NET_RING_RX);
		kick(r, NET_RING_TX);
		usleep(5000);
		assert_int_equal(virtq_driver_used_idx(&r->d[NET_RING_RX]), used);
		while (recv(r->packets, got, sizeof(got), 0) > 0)
			;
		take(r);
		kick(r, NET_RING_RX);
	}
	arrives(r, 1000, 1);
	goes_out(r, 1000);
}

static void test_what_it_cannot_do(void **state)
{
	struct rig *r = *state;

	assert_int_equal(r->net->ops->take_rings(r->net, &r->gm, VIRTIO_F_VERSION_1, r->rings),
			 -ENOTSUP);
	/* It is none the worse for that. */
	take(r);
	offer_buffers(r);
	arrives(r, 60, 1);
}

/* --- drivers that mean harm ------------------------------------------------------------------- */

/* As a reset by the driver has it: the next one has nothing of this one. */
static void next_driver(struct rig *r)
{
	give(r);
	loop_settle(r->loop);
	for (unsigned i = 0; i < NET_RINGS; i++) {
		virtq_driver_init(&r->d[i], &r->gm, RING(i), SIZE);
		r->rings[i].next = 0;
	}
	r->broken = 0;
	take(r);
}

static void expect_broken(struct rig *r, unsigned ring)
{
	kick(r, ring);
	until(r, r->broken);
	assert_int_equal(r->lost, 0);
	next_driver(r);
	offer_buffers(r);
	arrives(r, 60, 1);
	goes_out(r, 60);
	assert_int_equal(r->broken, 0);
}

static void test_an_address_beyond_ram(void **state)
{
	struct rig *r = *state;
	const struct vd_buf bufs[] = {{TX_BUF, HEADER, false}, {HOLE_BEYOND, 60, false}};

	take(r);
	virtq_driver_offer(&r->d[NET_RING_TX], bufs, 2);
	expect_broken(r, NET_RING_TX);
}

static void test_an_index_that_jumps(void **state)
{
	struct rig *r = *state;

	take(r);
	virtq_driver_set_avail_idx(&r->d[NET_RING_TX], SIZE + 1);
	expect_broken(r, NET_RING_TX);
}

static void test_a_chain_that_loops(void **state)
{
	struct rig *r = *state;
	struct virtq_driver *d = &r->d[NET_RING_TX];

	take(r);
	virtq_driver_desc(d, d->desc, 0, TX_BUF, 60, VD_NEXT, 1);
	virtq_driver_desc(d, d->desc, 1, TX_BUF, 60, VD_NEXT, 0);
	virtq_driver_avail(d, 0);
	expect_broken(r, NET_RING_TX);
}

static void test_what_is_sent_is_for_us_to_write(void **state)
{
	struct rig *r = *state;
	const struct vd_buf buf = {TX_BUF, 100, true};

	take(r);
	virtq_driver_offer(&r->d[NET_RING_TX], &buf, 1);
	expect_broken(r, NET_RING_TX);
}

/* Most are dropped. Kernels stand still at one whose checksum lies beyond the frame, and
 * try it again and again: until the driver, whom it hurts, resets the device. */
static void test_headers_without_sense(void **state)
{
	struct rig *r = *state;
	uint8_t *wire = guest_mem_hva(&r->gm, TX_BUF, HEADER);
	unsigned used = 0;

	take(r);
	for (unsigned i = 0; i < 60; i++) {
		const struct vd_buf bufs[] = {{TX_BUF, HEADER, false},
					      {TX_BUF + HEADER, 60, false}};
		uint32_t id, len;
		bool done = false;

		for (unsigned b = 0; b < HEADER; b++)
			wire[b] = (uint8_t)(i * 37 + b * 101);
		make_frame(wire + HEADER, 60, 1);
		virtq_driver_offer(&r->d[NET_RING_TX], bufs, 2);
		kick(r, NET_RING_TX);
		for (unsigned wait = 0; wait < 50 && !done; wait++) {
			usleep(1000);
			done = virtq_driver_take_used(&r->d[NET_RING_TX], &id, &len);
		}
		used += done;
		if (!done)
			next_driver(r);
	}
	assert_true(used > 0);
	loop_settle(r->loop);
	assert_int_equal(r->broken, 0);
	next_driver(r);
	memset(wire, 0, HEADER);
	goes_out(r, 60);
}

/* --- the tap goes ------------------------------------------------------------------------------
 */

static void test_deleted_meanwhile(void **state)
{
	struct rig *r = *state;

	take(r);
	offer_buffers(r);
	arrives(r, 60, 1);
	/* Others come and go, and are none of our business. */
	assert_int_equal(system("ip link add mvother type dummy 2>/dev/null; ip link set lo up"),
			 0);
	loop_settle(r->loop);
	assert_int_equal(r->lost, 0);
	assert_int_equal(system("ip link delete mvtap1"), 0);
	until(r, r->lost);
	assert_string_equal(r->why, "the tap mvtap1 is gone");
	loop_settle(r->loop);
	assert_int_equal(r->lost, 1);
	assert_int_equal(r->broken, 0);
	give(r);
	assert_int_equal(r->net->ops->take_rings(r->net, &r->gm, FEATURES, r->rings), -ENOTSUP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		TEST(test_frames_both_ways),
		TEST(test_nothing_moves_once_they_are_back),
		TEST(test_what_it_cannot_do),
		TEST(test_an_address_beyond_ram),
		TEST(test_an_index_that_jumps),
		TEST(test_a_chain_that_loops),
		TEST(test_what_is_sent_is_for_us_to_write),
		TEST(test_headers_without_sense),
		TEST(test_deleted_meanwhile),
	};
	_cleanup_fd_ int vhost = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	_cleanup_fd_ int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (vhost < 0 || tun < 0) {
		printf("SKIP: %s: %s\n", vhost < 0 ? "/dev/vhost-net" : "/dev/net/tun",
		       strerror(errno));
		return SKIPPED;
	}
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		printf("SKIP: no network namespace of our own: %s\n", strerror(errno));
		return SKIPPED;
	}
	if (system("ip tuntap >/dev/null 2>&1")) {
		printf("SKIP: no ip (Debian package iproute2)\n");
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
