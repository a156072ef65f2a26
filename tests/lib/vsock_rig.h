/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_rig: the socket device and its driver, for tests: packets in and out, field by
 * field as the specification lays them out [virtio 1.3 5.10.6]. The device's loop has no
 * thread, or one of its own; what waits, waits for either. Errors are cmocka failures.
 */
#ifndef TESTS_LIB_VSOCK_RIG_H
#define TESTS_LIB_VSOCK_RIG_H

#include "devices/virtio/vsock.h"
#include "tests/lib/fake_vsock.h"
#include "tests/lib/virtq_driver.h"

enum {
	VR_CID = 77,
	VR_HOST = 2,
	VR_SIZE = 256,
	VR_HDR = 44,
	VR_SLOT = 0x11000, /* bytes of RAM for each packet */
	VR_SLOTS = VR_SIZE,
	VR_LIVE = 15,
	VR_NEEDS_RESET = 64,
};

enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { NO_RECEIVE = 1, NO_SEND = 2, NEITHER = 3 };

struct vsock_rig {
	struct guest_mem gm;
	struct loop *loop;
	struct io_thread *thread; /* NULL: the loop runs when it is let */
	struct virtio_vsock s;
	struct fake_vsock *b;
	struct fake_transport t;
	struct virtq_driver q[3];
	unsigned rx_given;   /* buffers that the device has */
	unsigned next_slot;  /* of what is sent */
	uint32_t alloc, fwd; /* what packets say of our credit */
	uint64_t features;
};

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len, flags, buf_alloc, fwd_cnt;
	uint16_t type, op;
	const uint8_t *payload; /* in the guest's RAM */
	uint32_t used;          /* bytes that the device says it wrote */
};

/* Not started. */
struct vsock_rig *vr_create(bool threaded);
/* The driver comes: rings from scratch, no buffers. */
void vr_start(struct vsock_rig *r);
/* The device ends, and everything. */
void vr_destroy(struct vsock_rig *r);
/* Let the device work: until it has nothing to do, without a thread. */
void vr_settle(struct vsock_rig *r);

/* Give `n` buffers to receive into, of `len` bytes (VR_SLOT at most), in pieces of `piece`. */
void vr_give(struct vsock_rig *r, unsigned n, uint32_t len, uint32_t piece);
/* What a packet of stream (guest_port, host_port) has in all fields. */
struct packet vr_packet(const struct vsock_rig *r, uint16_t op, uint32_t guest_port,
			uint32_t host_port);
/* Lay it out with `len` bytes of payload behind it, cut into pieces, and offer it; the first
 * does not ring. vr_send rings, settles and wants it back. */
void vr_offer(struct vsock_rig *r, const struct packet *p, const void *payload, uint32_t len,
	      uint32_t piece);
void vr_send(struct vsock_rig *r, const struct packet *p, const void *payload, uint32_t len);
/* The usual ones. */
void vr_op(struct vsock_rig *r, uint16_t op, uint32_t guest_port, uint32_t host_port);
void vr_shutdown(struct vsock_rig *r, uint32_t guest_port, uint32_t host_port, uint32_t flags);
void vr_data(struct vsock_rig *r, uint32_t guest_port, uint32_t host_port, const void *bytes,
	     uint32_t len);

/* The next packet that the device sent: false if there is none. */
bool vr_take(struct vsock_rig *r, struct packet *p);
/* It is there, and such a one, with all its other fields as they have to be. */
struct packet vr_expect(struct vsock_rig *r, uint16_t op, uint32_t guest_port, uint32_t host_port);
void vr_expect_nothing(struct vsock_rig *r);
/* The guest's connection to `host_port`: our end of it. */
int vr_connect(struct vsock_rig *r, uint32_t guest_port, uint32_t host_port);

/* The host's end: reads that do not wait; "" is the end, NULL nothing yet. */
const char *vr_read(int fd);
void vr_write(int fd, const char *text);

/* Bytes in which each place is told from its neighbours. */
uint8_t vr_pattern(size_t i);
/* Send the pattern until the host's socket is full and `want` bytes wait in the device; gives how
 * many were sent in all. */
uint32_t vr_fill(struct vsock_rig *r, uint32_t guest_port, uint32_t host_port, uint32_t want);
/* Read `n` bytes of the pattern from its `from`-th on, while the device goes on. */
void vr_read_pattern(struct vsock_rig *r, int fd, size_t from, size_t n);

/* For cmocka: not started; with some buffers to receive into; the same with a thread. */
int vr_idle(void **state);
int vr_live(void **state);
int vr_threaded(void **state);
int vr_teardown(void **state);

#endif
