/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/lib/ring.h"

#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <string.h>

enum { DESC_LEN = 16, F_WRITE = 2, STATUS_RUNNING = 15 };

void fuzz_ram_init(struct fuzz_ram *r)
{
	memset(r, 0, sizeof(*r));
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	fuzz_check(!guest_mem_add(&r->gm, 0, RING_HOLE, -1, 0, NULL));
	fuzz_check(!guest_mem_add(&r->gm, RING_HIGH, RING_END - RING_HIGH, -1, 0, NULL));
}

void fuzz_ram_fini(struct fuzz_ram *r)
{
	guest_mem_fini(&r->gm);
}

void fuzz_ram_store(struct fuzz_ram *r, uint64_t gpa, const void *bytes, size_t len)
{
	if (!len || guest_mem_write(&r->gm, gpa, bytes, len) || gpa >= RING_END)
		return;
	memcpy(r->before + gpa, bytes, len);
}

void fuzz_ram_allow(struct fuzz_ram *r, uint64_t gpa, uint64_t len)
{
	if (!range_within(gpa, len, RING_END))
		return;
	if (ranges_overlap(gpa, len, 0, RING_DATA))
		r->lawless = true;
	memset(r->writable + gpa, true, len);
}

void fuzz_ram_forbid(struct fuzz_ram *r)
{
	memset(r->writable, 0, sizeof(r->writable));
}

static void check_region(struct fuzz_ram *r, const struct guest_mem_region *region)
{
	const uint8_t *now = region->hva;
	uint8_t *before = r->before + region->gpa;

	if (!memcmp(now, before, region->len))
		return;
	for (uint64_t i = 0; i < region->len && !r->lawless; i++)
		fuzz_check(now[i] == before[i] || r->writable[region->gpa + i]);
	memcpy(before, now, region->len);
}

void fuzz_ram_check(struct fuzz_ram *r)
{
	for (unsigned i = 0; i < r->gm.n_regions; i++)
		if (r->gm.regions[i].gpa < RING_END)
			check_region(r, &r->gm.regions[i]);
}

/* --- the ring ---------------------------------------------------------------------- */

static void store16(struct fuzz_ring *q, uint64_t gpa, uint16_t v)
{
	uint8_t bytes[2];

	le16_put(bytes, v);
	fuzz_ram_store(q->ram, gpa, bytes, sizeof(bytes));
}

void fuzz_ring_init(struct fuzz_ring *q, struct fuzz_ram *r, uint16_t size)
{
	static const uint8_t zeroes[RING_TABLES];
	uint64_t used_len = 6 + 8ull * size;

	*q = (struct fuzz_ring){.ram = r, .size = size};
	q->avail = (uint64_t)DESC_LEN * size;
	q->used = align_up(q->avail + 6 + 2ull * size, 4);
	fuzz_check(q->used + used_len <= RING_TABLES);
	fuzz_ram_store(r, 0, zeroes, sizeof(zeroes));
	memset(r->writable + q->used, true, used_len);
}

void fuzz_ring_desc(struct fuzz_ring *q, uint64_t table, unsigned i, uint64_t addr, uint32_t len,
		    uint16_t flags, uint16_t next)
{
	uint8_t d[DESC_LEN];

	le64_put(d, addr);
	le32_put(d + 8, len);
	le16_put(d + 12, flags);
	le16_put(d + 14, next);
	fuzz_ram_store(q->ram, table + (uint64_t)i * DESC_LEN, d, sizeof(d));
	if (flags & F_WRITE)
		fuzz_ram_allow(q->ram, addr, len);
}

void fuzz_ring_offer(struct fuzz_ring *q, uint16_t head)
{
	store16(q, q->avail + 4 + 2ull * (q->avail_idx % q->size), head);
	store16(q, q->avail + 2, ++q->avail_idx);
}

uint16_t fuzz_ring_used_idx(const struct fuzz_ring *q)
{
	return le16_get(guest_mem_hva(&q->ram->gm, q->used + 2, 2));
}

void fuzz_ring_used(const struct fuzz_ring *q, uint16_t at, uint32_t *id, uint32_t *len)
{
	const uint8_t *e = guest_mem_hva(&q->ram->gm, q->used + 4 + 8ull * (at % q->size), 8);

	*id = le32_get(e);
	*len = le32_get(e + 4);
}

void fuzz_ring_bring_up(struct fuzz_ring *q, struct virtio *v, uint64_t features)
{
	fuzz_check(virtio_driver_negotiate(v, features | VIRTIO_F_VERSION_1));
	virtio_queue_set(v, q->index, VIRTIO_QUEUE_SIZE, q->size);
	virtio_queue_set(v, q->index, VIRTIO_QUEUE_AVAIL_LO, (uint32_t)q->avail);
	virtio_queue_set(v, q->index, VIRTIO_QUEUE_USED_LO, (uint32_t)q->used);
	virtio_queue_set(v, q->index, VIRTIO_QUEUE_ENABLE, 1);
	virtio_set_status(v, STATUS_RUNNING);
	fuzz_check(virtio_status(v) == STATUS_RUNNING);
}

/* --- bad manners -------------------------------------------------------------------- */

/* Mostly in RAM, often at an edge of it, at times nowhere at all. */
static uint64_t any_address(struct fuzz_in *in)
{
	static const uint32_t edges[] = {RING_TABLES, RING_DATA, RING_HOLE, RING_HIGH, RING_END};
	uint8_t how = fuzz_u8(in);

	switch (how >> 6) {
	case 0:
		return RING_DATA + fuzz_below(in, RING_HOLE - RING_DATA);
	case 1:
		return RING_HIGH + fuzz_below(in, RING_END - RING_HIGH);
	case 2:
		return edges[how % ARRAY_LEN(edges)] - (how >> 3 & 7) * 8ull;
	default:
		return how & 1 ? fuzz_uint(in, 8) : fuzz_below(in, RING_END);
	}
}

static uint32_t any_length(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);

	return how < 0xc0 ? how & 0x3f : how < 0xe0 ? 512u << (how & 7) : fuzz_u32(in);
}

/* One statement for each number: the order in which a call's arguments are made is the
 * compiler's, and a seed must mean the same to all of them. */
static void any_descriptor(struct fuzz_in *in, struct fuzz_ring *q)
{
	uint8_t how = fuzz_u8(in), flags = how & 7;
	unsigned i = (unsigned)fuzz_below(in, q->size);
	bool indirect = how & 8;
	uint64_t addr;
	uint32_t len;

	if (flags & 4 && !indirect) {
		addr = RING_TABLES + DESC_LEN * fuzz_below(in, 256);
		len = DESC_LEN * (fuzz_u8(in) % 20u);
	} else {
		addr = any_address(in);
		len = any_length(in);
	}
	fuzz_ring_desc(q, indirect ? RING_TABLES : q->desc, i, addr, len, flags,
		       fuzz_u8(in) % (q->size + 1u));
}

void fuzz_ring_step(struct fuzz_in *in, struct fuzz_ring *q)
{
	const uint8_t *bytes;
	uint64_t gpa;
	size_t len;

	switch (fuzz_u8(in) % 8) {
	case 0:
		fuzz_ring_offer(q, fuzz_u8(in));
		break;
	case 1:
		q->avail_idx = fuzz_u16(in);
		store16(q, q->avail + 2, q->avail_idx);
		break;
	case 2:
		store16(q, q->avail, fuzz_u8(in)); /* flags */
		break;
	case 3:
		store16(q, q->avail + 4 + 2ull * q->size, fuzz_u16(in)); /* used_event */
		break;
	case 4:
		gpa = any_address(in);
		len = fuzz_bytes(in, 1 + fuzz_u8(in) % 32, &bytes);
		if (ranges_overlap(gpa, len, 0, RING_DATA))
			q->ram->lawless = true;
		fuzz_ram_store(q->ram, gpa, bytes, len);
		break;
	default:
		any_descriptor(in, q);
	}
}
