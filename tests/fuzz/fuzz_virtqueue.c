/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One split virtqueue whose driver has no manners. The judge is a second reading of
 * [virtio 1.3 2.7]: expect() says whether a chain is lawful and which buffers it has,
 * and virtq_pop() must say the same.
 */
#include "devices/virtio/queue.h"
#include "tests/fuzz/lib/ring.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, HELD_MAX = 8 };

struct rig {
	struct fuzz_ram ram;
	struct fuzz_ring ring;
	struct virtq q;
	uint64_t features;
	struct virtq_chain held[HELD_MAX]; /* popped and not pushed */
	unsigned n_held;
};

struct expected {
	unsigned n;
	struct expected_buf {
		uint64_t addr;
		uint32_t len;
		bool write;
	} bufs[VIRTQ_SIZE_MAX];
};

/* All buffers in order, not yet judged; false where following them already fails. */
static bool follow(struct rig *r, uint16_t head, struct expected *x)
{
	uint64_t table = r->ring.desc;
	uint32_t entries = r->ring.size, i = head;
	bool nested = false;
	uint8_t d[16];

	x->n = 0;
	while (i < entries && !guest_mem_read(&r->ram.gm, table + 16 * i, d, 16)) {
		uint64_t addr = le64_get(d);
		uint32_t len = le32_get(d + 8);
		uint16_t flags = le16_get(d + 12);

		if (flags & INDIRECT) {
			if (nested || flags & NEXT || !(r->features & VIRTIO_F_INDIRECT_DESC) ||
			    !len || len % 16 || len / 16 > r->ring.size ||
			    !guest_mem_hva(&r->ram.gm, addr, len))
				return false;
			nested = true;
			table = addr;
			entries = len / 16;
			i = 0;
			continue;
		}
		if (x->n == r->ring.size)
			return false;
		x->bufs[x->n++] = (struct expected_buf){addr, len, flags & WRITE};
		if (!(flags & NEXT))
			return true;
		i = le16_get(d + 14);
	}
	return false;
}

static bool expect(struct rig *r, uint16_t head, struct expected *x)
{
	bool written = false;
	uint64_t total = 0;
	unsigned n = 0;

	if (!follow(r, head, x))
		return false;
	for (unsigned i = 0; i < x->n; i++) {
		struct expected_buf *b = &x->bufs[i];

		if (written && !b->write)
			return false;
		if (!b->len)
			continue;
		written |= b->write;
		total += b->len;
		if (total > 1ull << 32 || !guest_mem_hva(&r->ram.gm, b->addr, b->len))
			return false;
		x->bufs[n++] = *b;
	}
	x->n = n;
	return true;
}

static bool is_held(const struct rig *r, uint16_t head)
{
	for (unsigned i = 0; i < r->n_held; i++)
		if (r->held[i].head == head)
			return true;
	return false;
}

static void check_pieces(const struct virtq_chain *c, bool writable, uint64_t off, uint64_t len)
{
	struct iovec iov[VIRTQ_SEGS_MAX];
	uint64_t total = writable ? c->write_len : c->read_len, sum = 0;
	int n = virtq_chain_iov(c, writable, off, len, iov, VIRTQ_SEGS_MAX);

	fuzz_check((n >= 0) == range_within(off, len, total));
	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	fuzz_check(n < 0 || sum == len);
}

static void check_chain(struct rig *r, const struct virtq_chain *c, const struct expected *x)
{
	unsigned n_read = 0;

	fuzz_check(c->n_read + c->n_write == x->n);
	for (unsigned i = 0; i < x->n; i++) {
		const struct virtq_seg *s = &c->segs[i];

		n_read += !x->bufs[i].write;
		fuzz_check(s->gpa == x->bufs[i].addr && s->len == x->bufs[i].len);
		fuzz_check(s->hva == guest_mem_hva(&r->ram.gm, s->gpa, s->len));
	}
	fuzz_check(c->n_read == n_read);
}

static void pop(struct rig *r)
{
	uint16_t before = r->q.last_avail, idx, head;
	struct virtq_chain *c = &r->held[r->n_held];
	struct expected x = {0};
	uint8_t word[2];

	guest_mem_read(&r->ram.gm, r->ring.avail + 2, word, 2);
	idx = le16_get(word);
	guest_mem_read(&r->ram.gm, r->ring.avail + 4 + 2ull * (before % r->ring.size), word, 2);
	head = le16_get(word);

	int ret = virtq_pop(&r->q, c);
	uint16_t pending = idx - before;
	bool lawful = pending <= r->ring.size && !is_held(r, head) && expect(r, head, &x);

	fuzz_check(ret == (!pending ? 0 : lawful ? 1 : -EPROTO));
	fuzz_check(r->q.last_avail == (uint16_t)(before + (ret > 0)));
	if (ret <= 0)
		return;
	fuzz_check(c->head == head);
	check_chain(r, c, &x);
	r->n_held++;
}

/* Answer the chain `i`: fill part of it, push it, and find that in the used ring. */
static void answer(struct fuzz_in *in, struct rig *r, unsigned i)
{
	struct virtq_chain *c = &r->held[i];
	uint8_t bytes[64] = {0}, back[64];
	uint64_t off = fuzz_u8(in), want = fuzz_u8(in) % sizeof(bytes);
	uint64_t room = off < c->write_len ? c->write_len - off : 0;
	size_t done = virtq_chain_write(c, &r->ram.gm, off, bytes, want);
	uint16_t at = r->q.used_next;
	uint32_t id, len;

	fuzz_check(done == (want < room ? want : room));
	fuzz_check(virtq_chain_read(c, off, back, want) <= want);
	check_pieces(c, true, off, want);
	check_pieces(c, false, off, want);
	virtq_push(&r->q, c->head, (uint32_t)done);
	if (!r->ram.lawless) {
		fuzz_ring_used(&r->ring, at, &id, &len);
		fuzz_check(id == c->head && len == done);
	}
	*c = r->held[--r->n_held];
}

/* What driver and device agree on; 0 to 3 of the three addresses are off the mark. */
static void start(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in), wrong = fuzz_u8(in);
	struct virtq_config *c = &r->q.config;

	virtq_stop(&r->q);
	r->n_held = 0;
	fuzz_ram_forbid(&r->ram);
	fuzz_ring_init(&r->ring, &r->ram, (uint16_t)(1u << how % 7));
	r->features =
		(how & 0x40 ? VIRTIO_F_INDIRECT_DESC : 0) | (how & 0x80 ? VIRTIO_F_EVENT_IDX : 0);
	*c = (struct virtq_config){r->ring.size, true, r->ring.desc, r->ring.avail, r->ring.used};
	if (wrong > 0xf0) {
		c->size = fuzz_u16(in);
		c->desc = wrong & 1 ? fuzz_uint(in, 8) : fuzz_below(in, RING_END);
		c->used = wrong & 2 ? c->used : fuzz_below(in, RING_END);
		if (!virtq_start(&r->q, &r->ram.gm, r->features)) {
			fuzz_check(is_power_of_2(c->size) && c->size <= VIRTQ_SIZE_MAX);
			fuzz_check(guest_mem_hva(&r->ram.gm, c->desc, 16ull * c->size));
			fuzz_check(guest_mem_hva(&r->ram.gm, c->used, 6 + 8ull * c->size));
			virtq_stop(&r->q);
		}
		*c = (struct virtq_config){r->ring.size, true, r->ring.desc, r->ring.avail,
					   r->ring.used};
	}
	fuzz_check(!virtq_start(&r->q, &r->ram.gm, r->features));
}

/* A restored queue goes on where the saved one stood. */
static void restore(struct rig *r)
{
	struct virtq again = {.size_max = VIRTQ_SIZE_MAX};
	struct state_writer w;
	struct state_reader s;

	while (r->n_held)
		virtq_push(&r->q, r->held[--r->n_held].head, 0);
	virtq_publish(&r->q);
	state_writer_init(&w);
	state_section_begin(&w, "queue", 1);
	virtq_save(&r->q, &w);
	state_section_end(&w);
	state_reader_init(&s, w.data, w.len);
	fuzz_check(state_section_open(&s, "queue", NULL) == 1);
	fuzz_check(!virtq_load(&again, &s) && !state_section_close(&s, NULL));
	fuzz_check(!virtq_restart(&again, &r->ram.gm, r->features));
	fuzz_check(!memcmp(&again.config, &r->q.config, sizeof(again.config)) &&
		   again.last_avail == r->q.last_avail && again.used_next == r->q.used_next);
	state_writer_fini(&w);
	r->q = again;
}

static void step(struct fuzz_in *in, struct rig *r)
{
	switch (fuzz_u8(in) % 8) {
	case 0:
		start(in, r);
		break;
	case 1:
		if (r->n_held < HELD_MAX)
			pop(r);
		break;
	case 2:
		if (r->n_held)
			answer(in, r, (unsigned)fuzz_below(in, r->n_held));
		break;
	case 3:
		virtq_publish(&r->q);
		fuzz_check(r->ram.lawless || fuzz_ring_used_idx(&r->ring) == r->q.used_next);
		break;
	case 4:
		virtq_disable_kick(&r->q);
		virtq_enable_kick(&r->q);
		break;
	case 5:
		restore(r);
		break;
	default:
		fuzz_ring_step(in, &r->ring);
	}
	fuzz_ram_check(&r->ram);
}

void fuzz_one(struct fuzz_in *in)
{
	struct rig *r = calloc(1, sizeof(*r));

	fuzz_check(r);
	fuzz_ram_init(&r->ram);
	r->q.size_max = VIRTQ_SIZE_MAX;
	start(in, r);
	while (fuzz_more(in))
		step(in, r);
	virtq_stop(&r->q);
	fuzz_ram_fini(&r->ram);
	free(r);
}
