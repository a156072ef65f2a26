/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-vsock of this kernel, and a driver's rings in memory of ours; the other end is a socket of
 * AF_VSOCK. Skipped where there is none of them.
 */
#include "devices/backend/vsock_vhost.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include <cmocka.h>

#define RAM         (4 * MiB)
#define RING(i)     (0x10000ull + 0x10000ull * (i))
#define BUF(i)      (0x100000ull + 0x1000ull * (i))
#define TX_BUF      0x80000ull
#define FEATURES    (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | 1)
#define HOLE_BEYOND 0x80000000ull

enum { SKIPPED = 77, SIZE = 64, HEADER = 44, BUF_LEN = 4096, BUFS = 16 };
enum { CID = 431234, PORT = 77, REQUEST = 1, RESPONSE = 2, RST = 3, RW = 5 };

struct rig {
	struct vsock_backend *b;
	struct loop *loop;
	struct guest_mem gm;
	struct virtq_driver d[VSOCK_RINGS];
	struct vhost_ring rings[VSOCK_RINGS];
	bool has_rings;
	unsigned broken;
};

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
			assert_true(++tries_ < 30000); \
		}                                      \
	} while (0)

static void kick(struct rig *r, unsigned ring)
{
	const uint64_t one = 1;

	assert_int_equal(write(r->rings[ring].kick, &one, sizeof(one)), sizeof(one));
}

static void give(struct rig *r)
{
	r->b->ops->give_rings(r->b, r->rings);
	r->has_rings = false;
}

static void take(struct rig *r)
{
	assert_int_equal(r->b->ops->take_rings(r->b, &r->gm, FEATURES, r->rings), 0);
	r->has_rings = true;
	for (unsigned i = 0; i < VSOCK_RINGS; i++)
		kick(r, i);
}

/* Rings from scratch, as a reset by the driver has it. */
static void next_driver(struct rig *r)
{
	if (r->has_rings)
		give(r);
	loop_settle(r->loop);
	r->broken = 0;
	for (unsigned i = 0; i < VSOCK_RINGS; i++) {
		virtq_driver_init(&r->d[i], &r->gm, RING(i), SIZE);
		r->rings[i].next = 0;
	}
	for (unsigned i = 0; i < BUFS; i++) {
		const struct vd_buf buf = {BUF(i), BUF_LEN, true};

		virtq_driver_offer(&r->d[VSOCK_RING_RX], &buf, 1);
	}
	take(r);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct err e = {0};

	assert_non_null(r);
	log_set_level(LOG_QUIET);
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&r->gm, 0, RAM, -1, 0, NULL), 0);
	r->loop = loop_create();
	if (vsock_vhost_open(&r->b, "--vsock vhost", CID, &e))
		fail_msg("%s", e.text);
	r->b->broken = on_broken;
	r->b->ctx = r;
	assert_int_equal(r->b->ops->attach(r->b, r->loop), 0);
	for (unsigned i = 0; i < VSOCK_RINGS; i++) {
		virtq_driver_init(&r->d[i], &r->gm, RING(i), SIZE);
		r->rings[i] = (struct vhost_ring){
			.size = SIZE,
			.desc = guest_mem_hva(&r->gm, r->d[i].desc, 1),
			.avail = guest_mem_hva(&r->gm, r->d[i].avail, 1),
			.used = guest_mem_hva(&r->gm, r->d[i].used, 1),
			.kick = eventfd(0, EFD_NONBLOCK),
			.call = eventfd(0, EFD_NONBLOCK),
		};
	}
	next_driver(r);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	if (r->has_rings)
		give(r);
	r->b->ops->detach(r->b);
	vsock_backend_destroy(r->b);
	for (unsigned i = 0; i < VSOCK_RINGS; i++) {
		close(r->rings[i].kick);
		close(r->rings[i].call);
	}
	loop_destroy(r->loop);
	guest_mem_fini(&r->gm);
	free(r);
	return 0;
}

/* --- packets --------------------------------------------------------------------------------- */

/* The next one of `op` that the guest gets. */
static const uint8_t *expect(struct rig *r, unsigned op)
{
	const uint8_t *p = NULL;

	while (!p || le16_get(p + 30) != op) {
		uint32_t id, len;

		until(r, virtq_driver_take_used(&r->d[VSOCK_RING_RX], &id, &len));
		p = guest_mem_hva(&r->gm, BUF(id), BUF_LEN);
		assert_true(len >= HEADER);
		assert_int_equal(le64_get(p), 2);
		assert_int_equal(le64_get(p + 8), CID);
	}
	return p;
}

/* The guest's answer to what it got. */
static void answer(struct rig *r, const uint8_t *to, unsigned op)
{
	const struct vd_buf buf = {TX_BUF, HEADER, false};
	uint8_t *p = guest_mem_hva(&r->gm, TX_BUF, HEADER);
	uint32_t id, len;

	memset(p, 0, HEADER);
	le64_put(p, CID);
	le64_put(p + 8, 2);
	le32_put(p + 16, le32_get(to + 20));
	le32_put(p + 20, le32_get(to + 16));
	le16_put(p + 28, 1);
	le16_put(p + 30, (uint16_t)op);
	le32_put(p + 36, 1 << 16);
	virtq_driver_offer(&r->d[VSOCK_RING_TX], &buf, 1);
	kick(r, VSOCK_RING_TX);
	until(r, virtq_driver_take_used(&r->d[VSOCK_RING_TX], &id, &len));
}

/* A program of the host begins to connect. */
static int dial(void)
{
	const struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = CID, .svm_port = PORT};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0);
	assert_int_equal(errno, EINPROGRESS);
	return fd;
}

static int outcome(int fd)
{
	struct pollfd p = {fd, POLLOUT, 0};
	int error = 0;
	socklen_t len = sizeof(error);

	assert_int_equal(poll(&p, 1, 30000), 1);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
	return error;
}

static void it_works(struct rig *r)
{
	_cleanup_fd_ int refused = dial();

	answer(r, expect(r, REQUEST), RST);
	assert_int_equal(outcome(refused), ECONNRESET);
	_cleanup_fd_ int fd = dial();

	answer(r, expect(r, REQUEST), RESPONSE);
	assert_int_equal(outcome(fd), 0);
	assert_int_equal(write(fd, "hello", 5), 5);
	const uint8_t *p = expect(r, RW);

	assert_int_equal(le32_get(p + 24), 5);
	assert_memory_equal(p + HEADER, "hello", 5);
	answer(r, p, RST);
	assert_int_equal(r->broken, 0);
}

static void test_both_ways(void **state)
{
	it_works(*state);
}

static void test_an_address_is_had_once(void **state)
{
	struct vsock_backend *b = NULL;
	struct err e = {0};

	assert_int_equal(vsock_vhost_open(&b, "--vsock vhost", CID, &e), -EADDRINUSE);
	assert_string_equal(e.text, "--vsock vhost: cid=431234: another machine of this host has "
				    "it, or the host itself; give another");
	assert_null(b);
	assert_int_equal(vsock_vhost_open(&b, "--vsock vhost", CID + 1, &e), 0);
	vsock_backend_destroy(b);
	it_works(*state);
}

/* What comes while they are back waits, and nothing is stored. */
static void test_nothing_moves_once_they_are_back(void **state)
{
	struct rig *r = *state;

	for (unsigned i = 0; i < 4; i++) {
		give(r);
		uint16_t used = virtq_driver_used_idx(&r->d[VSOCK_RING_RX]);

		assert_int_equal(r->rings[VSOCK_RING_RX].next, used);
		assert_int_equal(r->rings[VSOCK_RING_TX].next, i);
		_cleanup_fd_ int fd = dial();

		kick(r, VSOCK_RING_RX);
		usleep(5000);
		assert_int_equal(virtq_driver_used_idx(&r->d[VSOCK_RING_RX]), used);
		take(r);
		answer(r, expect(r, REQUEST), RST);
		assert_int_equal(outcome(fd), ECONNRESET);
	}
}

/* --- drivers that mean harm ------------------------------------------------------------------- */

static void expect_broken(struct rig *r, unsigned ring)
{
	kick(r, ring);
	until(r, r->broken);
	next_driver(r);
	it_works(r);
}

static void test_an_address_beyond_ram(void **state)
{
	struct rig *r = *state;
	const struct vd_buf buf = {HOLE_BEYOND, HEADER, false};

	virtq_driver_offer(&r->d[VSOCK_RING_TX], &buf, 1);
	expect_broken(r, VSOCK_RING_TX);
}

static void test_an_index_that_jumps(void **state)
{
	struct rig *r = *state;

	virtq_driver_set_avail_idx(&r->d[VSOCK_RING_TX], SIZE + 1);
	expect_broken(r, VSOCK_RING_TX);
}

static void test_a_chain_that_loops(void **state)
{
	struct rig *r = *state;
	struct virtq_driver *d = &r->d[VSOCK_RING_TX];

	virtq_driver_desc(d, d->desc, 0, TX_BUF, 60, VD_NEXT, 1);
	virtq_driver_desc(d, d->desc, 1, TX_BUF, 60, VD_NEXT, 0);
	virtq_driver_avail(d, 0);
	expect_broken(r, VSOCK_RING_TX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		TEST(test_both_ways),
		TEST(test_an_address_is_had_once),
		TEST(test_nothing_moves_once_they_are_back),
		TEST(test_an_address_beyond_ram),
		TEST(test_an_index_that_jumps),
		TEST(test_a_chain_that_loops),
	};
	_cleanup_fd_ int vhost = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);
	_cleanup_fd_ int sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (vhost < 0 || sock < 0) {
		printf("SKIP: %s: %s\n", vhost < 0 ? "/dev/vhost-vsock" : "AF_VSOCK",
		       strerror(errno));
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
