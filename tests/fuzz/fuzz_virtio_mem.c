/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory device behind a driver without manners, and one with, against a model of its blocks:
 * what is answered is what the model says, no more is ever plugged than was requested, nothing is
 * written but the answer, and a block that was unplugged holds zeroes.
 */
#include "devices/virtio/mem.h"
#include "tests/fuzz/lib/ring.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <stdlib.h>
#include <string.h>

#define BASE  (4 * GiB)
#define BLOCK VIRTIO_MEM_BLOCK

enum { BLOCKS = 11, REQ = RING_DATA, RESP = RING_HIGH };

struct rig {
	struct virtio_mem m;
	struct fuzz_ram ram;
	struct fuzz_ring q;
	struct loop *l;
	bool plugged[BLOCKS]; /* the model */
	bool rude;            /* the device may have been told to write into its blocks */
};

static uint64_t n_plugged(const struct rig *r)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < BLOCKS; i++)
		n += r->plugged[i];
	return n;
}

static uint64_t n_requested(const struct rig *r)
{
	return virtio_mem_requested(&r->m) / BLOCK;
}

static char *byte_of(struct rig *r, unsigned block)
{
	return guest_mem_hva(&r->ram.gm, BASE + block * BLOCK, 1);
}

static void bring_up(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in);
	uint64_t features = (how & 0x80 ? VIRTIO_F_EVENT_IDX : 0) |
			    (how & 0x40 ? VIRTIO_F_INDIRECT_DESC : 0) |
			    (how & 0x20 ? 0 : VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
	uint64_t plugged = virtio_mem_plugged(&r->m);

	virtio_set_status(&r->m.v, 0);
	loop_settle(r->l);
	fuzz_check(!virtio_status(&r->m.v) && virtio_mem_plugged(&r->m) == plugged);
	fuzz_ram_forbid(&r->ram);
	r->rude = false;
	fuzz_ring_init(&r->q, &r->ram, (uint16_t)(1u << how % 5));
	fuzz_ring_bring_up(&r->q, &r->m.v, features);
	loop_settle(r->l);
}

/* What a device that follows the specification answers, and what the blocks are then. */
static uint16_t expected(struct rig *r, unsigned type, uint64_t addr, unsigned n, uint16_t *state)
{
	uint64_t first = (addr - BASE) / BLOCK;
	unsigned set = 0;

	*state = 0;
	if (type == VIRTIO_MEM_REQ_UNPLUG_ALL) {
		memset(r->plugged, 0, sizeof(r->plugged));
		return VIRTIO_MEM_RESP_ACK;
	}
	if (type > VIRTIO_MEM_REQ_STATE || addr < BASE || addr % BLOCK || !n || first >= BLOCKS ||
	    n > BLOCKS - first)
		return VIRTIO_MEM_RESP_ERROR;
	for (unsigned i = 0; i < n; i++)
		set += r->plugged[first + i];
	if (type == VIRTIO_MEM_REQ_STATE) {
		*state = set == n ? VIRTIO_MEM_STATE_PLUGGED
			 : set    ? VIRTIO_MEM_STATE_MIXED
				  : VIRTIO_MEM_STATE_UNPLUGGED;
		return VIRTIO_MEM_RESP_ACK;
	}
	if (set != (type == VIRTIO_MEM_REQ_PLUG ? 0 : n))
		return VIRTIO_MEM_RESP_ERROR;
	if (type == VIRTIO_MEM_REQ_PLUG && n_plugged(r) + n > n_requested(r))
		return VIRTIO_MEM_RESP_NACK;
	for (unsigned i = 0; i < n; i++)
		r->plugged[first + i] = type == VIRTIO_MEM_REQ_PLUG;
	return VIRTIO_MEM_RESP_ACK;
}

/* A request of a driver with manners on a ring of its own, and its answer. */
static void ask(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in);
	unsigned type = how & 0x40 ? how : how % 4, n = how & 0x80 ? fuzz_u16(in) : fuzz_u8(in) % 4;
	uint64_t addr = how & 0x20 ? fuzz_uint(in, 8)
				   : BASE + fuzz_below(in, BLOCKS + 1) * BLOCK - (how & 0x10);
	uint8_t req[VIRTIO_MEM_REQ_LEN] = {0}, *resp;
	uint16_t state, answer;

	bring_up(in, r);
	if (r->q.size < 2)
		return;
	le16_put(req, (uint16_t)type);
	le64_put(req + VIRTIO_MEM_REQ_ADDR, addr);
	le16_put(req + VIRTIO_MEM_REQ_BLOCKS, (uint16_t)n);
	fuzz_ram_store(&r->ram, REQ, req, sizeof(req));
	fuzz_ring_desc(&r->q, r->q.desc, 0, REQ, sizeof(req), 1, 1);
	fuzz_ring_desc(&r->q, r->q.desc, 1, RESP, VIRTIO_MEM_RESP_LEN, 2, 0);
	fuzz_ring_offer(&r->q, 0);
	virtio_kick(&r->m.v, 0);
	loop_settle(r->l);
	fuzz_check(fuzz_ring_used_idx(&r->q) == 1);
	resp = guest_mem_hva(&r->ram.gm, RESP, VIRTIO_MEM_RESP_LEN);
	answer = expected(r, type, addr, n, &state);
	fuzz_check(le16_get(resp) == answer);
	fuzz_check(le16_get(resp + VIRTIO_MEM_RESP_STATE) == state);
}

/* As the device has it, which is the model's from now on. */
static void learn(struct rig *r)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		r->plugged[i] = r->m.bits[i / 8] >> i % 8 & 1;
}

static void load(struct fuzz_in *in, struct rig *r)
{
	uint64_t plugged = virtio_mem_plugged(&r->m), requested = virtio_mem_requested(&r->m);
	const uint8_t *bytes;
	size_t n = fuzz_bytes(in, fuzz_u8(in), &bytes);
	struct state_writer w;
	struct state_reader s;
	struct err e = {0};

	virtio_set_status(&r->m.v, 0);
	loop_settle(r->l);
	state_writer_init(&w);
	state_section_begin(&w, "mem", 1);
	/* With what is right before it, or as it comes. */
	if (fuzz_u8(in) & 1) {
		virtio_save(&r->m.v, &w);
		w.len -= 8 + (BLOCKS + 7) / 8;
	}
	state_put_bytes(&w, bytes, n);
	state_section_end(&w);
	state_reader_init(&s, w.data, w.len);
	fuzz_check(state_section_open(&s, "mem", &e) == 1);
	if (virtio_load(&r->m.v, &s, &e)) {
		fuzz_check(!virtio_status(&r->m.v) && *e.text);
		fuzz_check(virtio_mem_plugged(&r->m) == plugged);
		fuzz_check(virtio_mem_requested(&r->m) == requested);
	}
	state_writer_fini(&w);
	/* The rings are anywhere in RAM now, and may be written. */
	r->ram.lawless = r->rude = true;
	virtio_resume(&r->m.v);
	loop_settle(r->l);
}

static void check(struct rig *r, uint64_t before)
{
	uint64_t plugged = virtio_mem_plugged(&r->m), n = 0;
	uint8_t status = virtio_status(&r->m.v);

	fuzz_ram_check(&r->ram);
	for (unsigned i = 0; i < BLOCKS; i++)
		n += r->m.bits[i / 8] >> i % 8 & 1;
	fuzz_check(plugged == n * BLOCK && plugged <= BLOCKS * BLOCK);
	fuzz_check(plugged <= before || plugged <= virtio_mem_requested(&r->m));
	fuzz_check(virtio_config_read(&r->m.v, VIRTIO_MEM_CFG_PLUGGED_SIZE, 8) == plugged);
	fuzz_check(!virtio_failed(&r->m.v) || !(status & VIRTIO_STATUS_DRIVER_OK) ||
		   status & VIRTIO_STATUS_NEEDS_RESET);
}

/* The guest uses what it has; what it gave up is gone. */
static void use(struct rig *r)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		if (r->plugged[i])
			*byte_of(r, i) = 'x';
		else if (r->rude)
			*byte_of(r, i) = 0;
		else
			fuzz_check(!*byte_of(r, i));
}

void fuzz_one(struct fuzz_in *in)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct fake_transport transport;

	fuzz_check(r && (r->l = loop_create()));
	fuzz_ram_init(&r->ram);
	fuzz_check(!guest_mem_add(&r->ram.gm, BASE, BLOCKS * BLOCK, -1, 0, NULL));
	r->q.ram = &r->ram;
	fuzz_check(!virtio_mem_init(&r->m, "mem", &r->ram.gm, r->l, BASE, BLOCKS * BLOCK));
	fake_transport_init(&transport, &r->m.v);
	bring_up(in, r);
	while (fuzz_more(in)) {
		uint64_t before = virtio_mem_plugged(&r->m);
		uint8_t op = fuzz_u8(in);

		if (op == 0xff) {
			bring_up(in, r);
		} else if (op == 0xfe) {
			load(in, r);
			before = BLOCKS * BLOCK;
		} else if (op < 0x20) {
			virtio_kick(&r->m.v, op);
			loop_settle(r->l);
		} else if (op < 0x28) {
			uint64_t blocks = fuzz_below(in, BLOCKS + 1);

			virtio_mem_request(&r->m, blocks * BLOCK);
			fuzz_check(virtio_config_read(&r->m.v, VIRTIO_MEM_CFG_REQUESTED_SIZE, 8) ==
				   blocks * BLOCK);
		} else if (op < 0x2c) {
			uint64_t requested = virtio_mem_requested(&r->m);
			uint8_t off = fuzz_u8(in);

			virtio_config_write(&r->m.v, off, 1u << (op & 3), fuzz_uint(in, 8));
			fuzz_check(virtio_mem_requested(&r->m) == requested);
		} else if (op < 0x60) {
			ask(in, r);
		} else {
			fuzz_ring_step(in, &r->q);
			r->rude = true;
		}
		check(r, before);
		learn(r);
		use(r);
	}
	virtio_set_status(&r->m.v, 0);
	loop_settle(r->l);
	virtio_mem_fini(&r->m);
	loop_destroy(r->l);
	fuzz_ram_fini(&r->ram);
	free(r);
}
