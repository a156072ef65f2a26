/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network, of two pairs. The driver plays one of the first two queues, or the one for
 * commands; some of what it offers is proper, in any framing, and then what the other side
 * gets is known beforehand; the rest is anything. Always: the device writes into writable
 * buffers only, and what the backend is given is a frame with a header that makes sense.
 */
#include "devices/virtio/net.h"
#include "tests/fuzz/lib/ring.h"
#include "tests/lib/fake_net.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <stdlib.h>
#include <string.h>

enum {
	OK = 15,
	HDR = VIRTIO_NET_HDR_LEN,
	QUEUE_SIZE = 64,
	MTU = 9000,
	PAIRS = 2,
	CTRL = 2 * PAIRS
};

struct rig {
	struct fuzz_ram ram;
	struct fuzz_ring q;
	struct loop *loop;
	struct fake_net *backend;
	struct virtio_net net;
	struct fake_transport transport;
	uint64_t features;
	bool orderly; /* nothing hostile was done since the last reset, nothing waits */
};

/* --- what holds whatever the driver does --------------------------------------------- */

static void check_sent(struct rig *r)
{
	struct fake_net *b = r->backend;

	for (unsigned i = 0; i < b->n_out; i++) {
		const struct net_hdr *h = &b->out[i].hdr;
		size_t len = b->out[i].len;
		uint8_t gso = h->gso_type & 0x7f;

		fuzz_check(len >= NET_FRAME_MIN && len <= NET_FRAME_MAX);
		fuzz_check(!(h->flags & ~NET_HDR_F_NEEDS_CSUM) && h->hdr_len <= len);
		if (h->flags) {
			fuzz_check(r->features & VIRTIO_NET_F_CSUM);
			fuzz_check((size_t)h->csum_start + h->csum_offset + 2 <= len);
		}
		fuzz_check(gso == 0 || gso == 1 || gso == 4);
		if (gso) {
			fuzz_check(h->flags && h->gso_size);
			fuzz_check(r->features &
				   (gso == 1 ? VIRTIO_NET_F_HOST_TSO4 : VIRTIO_NET_F_HOST_TSO6));
		} else if (r->features & VIRTIO_NET_F_MTU) {
			fuzz_check(len <= MTU + 18);
		}
		free(b->out[i].data);
	}
	b->n_out = 0;
}

static void settle(struct rig *r)
{
	loop_settle(r->loop);
	fuzz_ram_check(&r->ram);
	check_sent(r);
	/* A driver that has lost hears of it, until it resets the device. */
	uint8_t status = virtio_status(&r->net.v);

	fuzz_check(!virtio_failed(&r->net.v) || !status || status & VIRTIO_STATUS_NEEDS_RESET);
}

static void forget_arrivals(struct fake_net *b)
{
	for (unsigned i = 0; i < b->n_in; i++)
		free(b->in[i].data);
	b->n_in = b->next = 0;
}

static void bring_up(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in);

	r->features = (how & 1 ? VIRTIO_F_EVENT_IDX : 0) | (how & 2 ? VIRTIO_F_INDIRECT_DESC : 0) |
		      (how & 4 ? VIRTIO_NET_F_MRG_RXBUF : 0) |
		      (how & 8 ? VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 : 0) |
		      (how & 16 ? VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO6 : 0) |
		      (how & 32 ? VIRTIO_NET_F_MTU : 0) |
		      (how & 64 ? VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_MQ : 0);
	virtio_set_status(&r->net.v, 0);
	settle(r);
	/* At once: nothing is ever in the host's hands. */
	fuzz_check(!virtio_status(&r->net.v) && !r->backend->attached);
	forget_arrivals(r->backend);
	r->backend->busy = false;
	r->backend->piece = 0;
	virtio_net_set_link(&r->net, true);
	fuzz_ram_forbid(&r->ram);
	fuzz_ring_init(&r->q, &r->ram, QUEUE_SIZE);
	r->q.index = how & 64 ? CTRL : how >> 7;
	fuzz_ring_bring_up(&r->q, &r->net.v, r->features);
	settle(r);
	r->orderly = !r->ram.lawless;
}

/* --- proper frames ---------------------------------------------------------------------- */

/* Describe [gpa, gpa+len) by one to eight descriptors, and offer it. */
static void offer(struct fuzz_in *in, struct rig *r, uint64_t gpa, uint32_t len, uint16_t flags)
{
	unsigned cuts = fuzz_u8(in) % 8, i = 0;

	while (len) {
		uint32_t piece = i < cuts ? 1 + (uint32_t)fuzz_below(in, len) : len;

		fuzz_ring_desc(&r->q, 0, i, gpa, piece, piece < len ? flags | 1 : flags,
			       (uint16_t)(i + 1));
		gpa += piece;
		len -= piece;
		i++;
	}
	fuzz_ring_offer(&r->q, 0);
	virtio_kick(&r->net.v, r->q.index);
}

static bool used_one(struct rig *r, uint16_t before, uint32_t *len)
{
	uint32_t id;

	if (fuzz_ring_used_idx(&r->q) == before)
		return false;
	fuzz_check(fuzz_ring_used_idx(&r->q) == (uint16_t)(before + 1));
	fuzz_ring_used(&r->q, before, &id, len);
	fuzz_check(id == 0);
	return true;
}

/* One frame out, of any length: it arrives if it is one. */
static void send(struct fuzz_in *in, struct rig *r)
{
	static const uint8_t header[HDR];
	uint32_t len = fuzz_u16(in) % 8000, n;
	uint16_t before = fuzz_ring_used_idx(&r->q);
	uint8_t *frame = guest_mem_hva(&r->ram.gm, RING_HIGH + HDR, 8000);
	struct fake_net *b = r->backend;

	for (uint32_t i = 0; i < len; i += 97)
		frame[i] = r->ram.before[RING_HIGH + HDR + i] = (uint8_t)(len + i);
	fuzz_ram_store(&r->ram, RING_HIGH, header, HDR);
	offer(in, r, RING_HIGH, HDR + len, 0);
	loop_settle(r->loop);
	fuzz_check(used_one(r, before, &n) && n == 0);
	fuzz_check(b->n_out == (len >= NET_FRAME_MIN));
	fuzz_check(!b->n_out || (b->out[0].len == len && !memcmp(b->out[0].data, frame, len)));
	settle(r);
}

/* One frame in, whole or in pieces, into one buffer that has room for it or not. */
static void receive(struct fuzz_in *in, struct rig *r)
{
	uint32_t len = NET_FRAME_MIN + fuzz_u16(in) % 4000, room = HDR + fuzz_u16(in) % 8000, n;
	uint16_t before = fuzz_ring_used_idx(&r->q);
	const uint8_t *got = guest_mem_hva(&r->ram.gm, RING_HIGH, room);
	bool fits = HDR + len <= room;

	r->backend->piece = fuzz_u8(in) % 4 ? 0 : 1 + fuzz_u16(in) % 4000;
	offer(in, r, RING_HIGH, room, 2);
	loop_settle(r->loop);
	fake_net_arrive(r->backend, (struct net_hdr){0}, len, (uint8_t)room);
	while (r->backend->receiving)
		fake_net_tell(r->backend);
	settle(r);
	fuzz_check(used_one(r, before, &n) == fits);
	if (!fits) {
		/* The buffer is still out. */
		r->orderly = false;
		return;
	}
	fuzz_check(n == HDR + len && le16_get(got + 10) == 1 && !got[0] && !got[1]);
	for (uint32_t i = 0; i < len; i++)
		fuzz_check(got[HDR + i] == (uint8_t)(room + i));
	forget_arrivals(r->backend);
}

/* --- anything ------------------------------------------------------------------------------- */

static void arrive(struct fuzz_in *in, struct rig *r)
{
	struct net_hdr h = {0};
	uint8_t how = fuzz_u8(in);
	size_t len = how & 1 ? fuzz_u16(in) : 1 + fuzz_u8(in);

	if (r->backend->n_in == FAKE_NET_FRAMES)
		return;
	if (how & 2) {
		h.flags = fuzz_u8(in);
		h.gso_type = fuzz_u8(in);
		h.gso_size = fuzz_u16(in);
	}
	if (how & 4)
		r->backend->piece = 1 + fuzz_u16(in);
	else
		r->backend->piece = 0;
	fake_net_arrive(r->backend, h, len + (how & 8 ? 2000 : 0), how);
	/* In pieces, but not for ever. */
	for (unsigned i = 0; i < 20 && r->backend->receiving; i++)
		fake_net_tell(r->backend);
}

/* A header that means something, and a chain that begins with it. */
static void ready_chain(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in), header[HDR] = {how & 1, how >> 1 & 0x87};
	unsigned head = fuzz_u8(in) % 60;

	le16_put(header + 2, fuzz_u16(in));
	le16_put(header + 4, how & 16 ? fuzz_u16(in) : 1400);
	le16_put(header + 6, how & 32 ? fuzz_u16(in) : 34);
	le16_put(header + 8, how & 64 ? fuzz_u16(in) : 16);
	fuzz_ram_store(&r->ram, RING_DATA, header, HDR);
	fuzz_ring_desc(&r->q, 0, head, RING_DATA, HDR, 1, (uint16_t)(head + 1));
	fuzz_ring_desc(&r->q, 0, head + 1, RING_HIGH, fuzz_u16(in), how & 8 ? 2 : 0, 0);
	fuzz_ring_offer(&r->q, (uint16_t)head);
}

/* A command that is nearly, or quite, as it should be. */
static void command(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in), bytes[8] = {VIRTIO_NET_CTRL_MQ};
	unsigned head = fuzz_u8(in) % 60;

	if (how & 1)
		bytes[0] = fuzz_u8(in);
	if (how & 2)
		bytes[1] = fuzz_u8(in);
	le16_put(bytes + 2, how & 4 ? fuzz_u16(in) : how >> 6);
	fuzz_ram_store(&r->ram, RING_DATA, bytes, sizeof(bytes));
	fuzz_ring_desc(&r->q, 0, head, RING_DATA, how & 8 ? fuzz_u8(in) % 9 : 4, 1,
		       (uint16_t)(head + 1));
	fuzz_ring_desc(&r->q, 0, head + 1, RING_HIGH, how & 16 ? fuzz_u8(in) : 1, how & 32 ? 0 : 2,
		       0);
	fuzz_ring_offer(&r->q, (uint16_t)head);
}

static void step(struct fuzz_in *in, struct rig *r)
{
	uint8_t op = fuzz_u8(in);

	switch (op % 8) {
	case 0:
		if (!r->orderly || virtio_status(&r->net.v) != OK || r->q.index == CTRL)
			return;
		if (r->q.index == VIRTIO_NET_TX)
			send(in, r);
		else
			receive(in, r);
		return;
	case 1:
		if (op >= 0xe0)
			bring_up(in, r);
		else if (op & 8)
			virtio_net_set_link(&r->net, op & 16);
		else
			r->backend->busy = op & 16;
		r->orderly = r->orderly && op >= 0xe0;
		break;
	case 2:
		virtio_kick(&r->net.v, op >> 7);
		break;
	case 3:
		if (r->backend->attached)
			fake_net_unblock(r->backend);
		break;
	case 4:
		arrive(in, r);
		r->orderly = false;
		break;
	case 5:
		if (r->q.index == CTRL)
			command(in, r);
		else
			ready_chain(in, r);
		r->orderly = false;
		break;
	default:
		fuzz_ring_step(in, &r->q);
		r->orderly = false;
	}
	settle(r);
}

void fuzz_one(struct fuzz_in *in)
{
	const struct virtio_net_options options = {.name = "net0", .mac = {2, 0, 0, 0, 0, 1}};
	struct rig *r = calloc(1, sizeof(*r));

	fuzz_check(r);
	fuzz_ram_init(&r->ram);
	r->q.ram = &r->ram;
	r->loop = loop_create();
	fuzz_check(r->loop);
	r->backend = fake_net_create(NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 |
				     NET_OFFLOAD_UFO | NET_OFFLOAD_USO);
	r->backend->net.mtu = MTU;
	struct net *backends[PAIRS] = {&r->backend->net, &fake_net_create(0)->net};

	fuzz_check(!virtio_net_init(&r->net, backends, PAIRS, &options, &r->ram.gm, r->loop));
	fake_transport_init(&r->transport, &r->net.v);
	bring_up(in, r);
	while (fuzz_more(in))
		step(in, r);
	virtio_set_status(&r->net.v, 0);
	loop_settle(r->loop);
	virtio_net_fini(&r->net);
	loop_destroy(r->loop);
	fuzz_ram_fini(&r->ram);
	free(r);
}
