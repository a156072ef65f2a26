/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split virtqueue [virtio 1.3 2.7], the device's half. All of it lies in
 * guest RAM as little-endian fields:
 *
 *	desc   16 bytes each: addr u64, len u32, flags u16, next u16
 *	avail  flags u16, idx u16, ring[size] u16, used_event u16
 *	used   flags u16, idx u16, ring[size] {id u32, len u32}, avail_event u16
 *
 * Two orders between the driver and us carry everything:
 *
 *	driver: desc, ring  -> wmb -> avail.idx      device: avail.idx (acquire) -> desc, ring
 *	device: data, used.ring -> used.idx (release)   driver: used.idx -> rmb -> used.ring
 *
 * and the two sleeps ("nothing there, wake me") are Dekker's: each side stores
 * its own word, has a full fence, and loads the other's.
 *
 * Every load from the ring is one relaxed atomic: a vCPU may store there at the
 * same moment, and what was judged has to be what is used.
 */
#include "devices/virtio/queue.h"

#include "vmm/base/bytes.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

enum { DESC_SIZE = 16, USED_ELEM_SIZE = 8, RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4 };

/* The longest chain in bytes [virtio 1.3 2.7.5]. */
#define CHAIN_BYTES_MAX (1ull << 32)

static uint64_t desc_area(uint16_t size)
{
	return (uint64_t)size * DESC_SIZE;
}

static uint64_t avail_area(uint16_t size)
{
	return RING_ENTRIES + 2ull * size + 2;
}

static uint64_t used_area(uint16_t size)
{
	return RING_ENTRIES + (uint64_t)USED_ELEM_SIZE * size + 2;
}

/* --- one access each to a ring ------------------------------------------------ */

static uint16_t ring_load(const uint8_t *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED));
}

static uint16_t ring_load_acquire(const uint8_t *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE));
}

static void used_store(struct virtq *q, uint64_t off, uint16_t v, int order)
{
	__atomic_store_n((uint16_t *)(void *)(q->used + off), htole16(v), order);
	guest_mem_mark_dirty(q->gm, q->config.used + off, sizeof(v));
}

static uint8_t *used_event(const struct virtq *q)
{
	return q->avail + avail_area(q->config.size) - 2;
}

static uint64_t avail_event_off(const struct virtq *q)
{
	return used_area(q->config.size) - 2;
}

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* Each field exactly once. An indirect table may begin at any address, so what
 * is not aligned is read byte by byte. */
static struct desc desc_load(const uint8_t *p)
{
	uint64_t w[2];

	if ((uintptr_t)p % sizeof(uint64_t) == 0) {
		const uint64_t *aligned = (const void *)p;

		w[0] = __atomic_load_n(&aligned[0], __ATOMIC_RELAXED);
		w[1] = __atomic_load_n(&aligned[1], __ATOMIC_RELAXED);
	} else {
		uint8_t b[DESC_SIZE];

		for (unsigned i = 0; i < DESC_SIZE; i++)
			b[i] = __atomic_load_n(&p[i], __ATOMIC_RELAXED);
		memcpy(w, b, sizeof(w));
	}
	uint64_t rest = le64toh(w[1]);

	return (struct desc){le64toh(w[0]), (uint32_t)rest, (uint16_t)(rest >> 32),
			     (uint16_t)(rest >> 48)};
}

/* --- start and stop ------------------------------------------------------------ */

static uint8_t *area(struct guest_mem *gm, uint64_t gpa, uint64_t len, uint64_t align)
{
	return gpa % align ? NULL : guest_mem_hva(gm, gpa, len);
}

/* Put the three areas on the host's map. `last_avail` and `used_next` are set. */
static int ring_map(struct virtq *q, struct guest_mem *gm, uint64_t features)
{
	const struct virtq_config *c = &q->config;

	assert(!q->running);
	if (!is_power_of_2(c->size) || c->size > q->size_max)
		return -EINVAL;
	q->desc = area(gm, c->desc, desc_area(c->size), 16);
	q->avail = area(gm, c->avail, avail_area(c->size), 2);
	q->used = area(gm, c->used, used_area(c->size), 4);
	if (!q->desc || !q->avail || !q->used)
		return -EINVAL;
	q->gm = gm;
	q->event_idx = features & VIRTIO_F_EVENT_IDX;
	q->indirect = features & VIRTIO_F_INDIRECT_DESC;
	q->used_published = q->used_next;
	q->in_flight = 0;
	memset(q->busy, 0, sizeof(q->busy));
	q->running = true;
	return 0;
}

int virtq_start(struct virtq *q, struct guest_mem *gm, uint64_t features)
{
	q->last_avail = 0;
	q->used_next = 0;
	return ring_map(q, gm, features);
}

int virtq_restart(struct virtq *q, struct guest_mem *gm, uint64_t features)
{
	return ring_map(q, gm, features);
}

void virtq_stop(struct virtq *q)
{
	*q = (struct virtq){.config = q->config, .size_max = q->size_max, .counts = q->counts};
}

void virtq_reset(struct virtq *q)
{
	*q = (struct virtq){
		.config.size = q->size_max, .size_max = q->size_max, .counts = q->counts};
}

/* --- popping -------------------------------------------------------------------- */

static bool head_busy(const struct virtq *q, uint16_t head)
{
	return q->busy[head / 64] >> (head % 64) & 1;
}

static int add_seg(struct virtq *q, struct virtq_chain *c, const struct desc *d)
{
	bool write = d->flags & VIRTQ_DESC_F_WRITE;
	struct virtq_seg *seg = &c->segs[c->n_read + c->n_write];

	/* All that the device reads comes first [virtio 1.3 2.7.4.2]. */
	if (!write && c->n_write)
		return -EPROTO;
	if (!d->len)
		return 0;
	if (c->read_len + c->write_len + d->len > CHAIN_BYTES_MAX)
		return -EPROTO;
	seg->hva = guest_mem_hva(q->gm, d->addr, d->len);
	if (!seg->hva)
		return -EPROTO;
	seg->gpa = d->addr;
	seg->len = d->len;
	if (write) {
		c->n_write++;
		c->write_len += d->len;
	} else {
		c->n_read++;
		c->read_len += d->len;
	}
	return 0;
}

/* Follow the chain from c->head. Buffers are counted against the queue size,
 * which no lawful chain exceeds [virtio 1.3 2.7.5.3.1] and which ends a loop. */
static int walk(struct virtq *q, struct virtq_chain *c)
{
	const uint8_t *table = q->desc;
	uint32_t entries = q->config.size, i = c->head;
	bool indirect = false;
	unsigned buffers = 0;

	for (;;) {
		struct desc d = desc_load(table + (size_t)i * DESC_SIZE);
		int ret;

		if (d.flags & VIRTQ_DESC_F_INDIRECT) {
			/* The table ends the chain, holds no table, and WRITE says nothing
			 * here [virtio 1.3 2.7.5.3]. */
			if (!q->indirect || indirect || d.flags & VIRTQ_DESC_F_NEXT || !d.len ||
			    d.len % DESC_SIZE || d.len > desc_area(q->config.size))
				return -EPROTO;
			table = guest_mem_hva(q->gm, d.addr, d.len);
			if (!table)
				return -EPROTO;
			entries = d.len / DESC_SIZE;
			indirect = true;
			i = 0;
			continue;
		}
		if (++buffers > q->config.size)
			return -EPROTO;
		ret = add_seg(q, c, &d);
		if (ret)
			return ret;
		if (!(d.flags & VIRTQ_DESC_F_NEXT))
			return 0;
		if (d.next >= entries)
			return -EPROTO;
		i = d.next;
	}
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	uint16_t mask = q->config.size - 1;
	/* Pairs with the driver's write barrier before avail.idx [virtio 1.3 2.7.13.3.1]. */
	uint16_t pending = ring_load_acquire(q->avail + RING_IDX) - q->last_avail;
	int ret;

	if (!pending)
		return 0;
	if (pending > q->config.size)
		return -EPROTO;

	c->head = ring_load(q->avail + RING_ENTRIES + 2u * (q->last_avail & mask));
	if (c->head >= q->config.size || head_busy(q, c->head))
		return -EPROTO;
	c->n_read = c->n_write = 0;
	c->read_len = c->write_len = 0;
	ret = walk(q, c);
	if (ret)
		return ret;

	q->busy[c->head / 64] |= 1ull << (c->head % 64);
	q->in_flight++;
	q->last_avail++;
	virtq_count(&q->counts.from_guest, c->read_len);
	return 1;
}

void virtq_unpop(struct virtq *q, uint16_t head)
{
	assert(q->running && head_busy(q, head));
	q->busy[head / 64] &= ~(1ull << (head % 64));
	q->in_flight--;
	q->last_avail--;
}

void virtq_continue(struct virtq *q, uint16_t next)
{
	uint16_t used = ring_load(q->used + RING_IDX);

	assert(q->running && !q->in_flight);
	/* Whoever serves in order has not used what lies between the two: it is taken again.
	 * No other value is his; a driver that wrote it there gets what it deserves. */
	if ((uint16_t)(next - used) <= q->config.size)
		next = used;
	q->last_avail = q->used_next = q->used_published = next;
}

/* --- pushing -------------------------------------------------------------------- */

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	uint16_t mask = q->config.size - 1;
	uint64_t off = RING_ENTRIES + (uint64_t)USED_ELEM_SIZE * (q->used_next & mask);
	uint32_t *elem = (uint32_t *)(void *)(q->used + off);

	assert(q->running && head_busy(q, head));
	__atomic_store_n(&elem[0], htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&elem[1], htole32(written), __ATOMIC_RELAXED);
	guest_mem_mark_dirty(q->gm, q->config.used + off, USED_ELEM_SIZE);

	q->busy[head / 64] &= ~(1ull << (head % 64));
	q->in_flight--;
	q->used_next++;
	virtq_count(&q->counts.requests, 1);
	virtq_count(&q->counts.to_guest, written);
}

bool virtq_publish(struct virtq *q)
{
	uint16_t before = q->used_published;

	if (q->used_next == before)
		return false;
	/* Release: pairs with the driver's read barrier after used.idx, so that it
	 * finds the entries and the data [virtio 1.3 2.7.8.2, 2.7.14]. */
	used_store(q, RING_IDX, q->used_next, __ATOMIC_RELEASE);
	q->used_published = q->used_next;

	/* Pairs with the driver's full barrier between writing used_event (or the
	 * flags) and looking at used.idx again [virtio 1.3 2.7.7, 2.7.14]. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->event_idx)
		return !(ring_load(q->avail + RING_FLAGS) & VIRTQ_AVAIL_F_NO_INTERRUPT);
	/* Did the index step over used_event, modulo 2^16? */
	uint16_t event = ring_load(used_event(q));

	return (uint16_t)(q->used_published - event - 1) < (uint16_t)(q->used_published - before);
}

/* --- doorbells ------------------------------------------------------------------ */

void virtq_disable_kick(struct virtq *q)
{
	/* With EVENT_IDX the flags stay 0, and avail_event lies behind already
	 * [virtio 1.3 2.7.10]. */
	if (!q->event_idx)
		used_store(q, RING_FLAGS, VIRTQ_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
}

bool virtq_enable_kick(struct virtq *q)
{
	if (q->event_idx)
		used_store(q, avail_event_off(q), q->last_avail, __ATOMIC_RELAXED);
	else
		used_store(q, RING_FLAGS, 0, __ATOMIC_RELAXED);
	/* Pairs with the driver's full barrier between avail.idx and reading
	 * avail_event or the flags [virtio 1.3 2.7.13.4.1]. */
	atomic_thread_fence(memory_order_seq_cst);
	return ring_load(q->avail + RING_IDX) != q->last_avail;
}

/* --- bytes of a chain, whatever its framing ---------------------------------------- */

/* Walks the bytes [off, off+len) of one half of a chain. */
struct span {
	const struct virtq_seg *seg, *end;
	uint64_t skip; /* bytes to leave out before the next piece */
	uint64_t left;
};

static struct span span_of(const struct virtq_chain *c, bool writable, uint64_t off, uint64_t len)
{
	const struct virtq_seg *first = c->segs + (writable ? c->n_read : 0);
	uint64_t total = writable ? c->write_len : c->read_len;

	off = off < total ? off : total;
	return (struct span){first, first + (writable ? c->n_write : c->n_read), off,
			     len < total - off ? len : total - off};
}

/* The next piece, never empty; false at the end. */
static bool span_next(struct span *s, uint64_t *gpa, uint8_t **hva, size_t *len)
{
	for (; s->left && s->seg < s->end; s->seg++) {
		if (s->skip >= s->seg->len) {
			s->skip -= s->seg->len;
			continue;
		}
		uint64_t n = s->seg->len - s->skip;

		*len = n < s->left ? n : s->left;
		*gpa = s->seg->gpa + s->skip;
		*hva = (uint8_t *)s->seg->hva + s->skip;
		s->left -= *len;
		s->skip = 0;
		s->seg++;
		return true;
	}
	return false;
}

size_t virtq_chain_read(const struct virtq_chain *c, uint64_t off, void *buf, size_t len)
{
	struct span s = span_of(c, false, off, len);
	size_t done = 0, n;
	uint64_t gpa;
	uint8_t *hva;

	for (; span_next(&s, &gpa, &hva, &n); done += n)
		memcpy((uint8_t *)buf + done, hva, n);
	return done;
}

size_t virtq_chain_write(const struct virtq_chain *c, struct guest_mem *gm, uint64_t off,
			 const void *buf, size_t len)
{
	struct span s = span_of(c, true, off, len);
	size_t done = 0, n;
	uint64_t gpa;
	uint8_t *hva;

	for (; span_next(&s, &gpa, &hva, &n); done += n) {
		memcpy(hva, (const uint8_t *)buf + done, n);
		guest_mem_mark_dirty(gm, gpa, n);
	}
	return done;
}

int virtq_chain_iov(const struct virtq_chain *c, bool writable, uint64_t off, uint64_t len,
		    struct iovec *iov, int max)
{
	uint64_t total = writable ? c->write_len : c->read_len;
	struct span s = span_of(c, writable, off, len);
	uint64_t gpa;
	uint8_t *hva;
	size_t piece;
	int n = 0;

	if (!range_within(off, len, total))
		return -EINVAL;
	while (span_next(&s, &gpa, &hva, &piece)) {
		if (n == max)
			return -EINVAL;
		iov[n++] = (struct iovec){hva, piece};
	}
	return n;
}

void virtq_chain_mark_dirty(const struct virtq_chain *c, struct guest_mem *gm, uint64_t off,
			    uint64_t len)
{
	struct span s = span_of(c, true, off, len);
	uint64_t gpa;
	uint8_t *hva;
	size_t n;

	while (span_next(&s, &gpa, &hva, &n))
		guest_mem_mark_dirty(gm, gpa, n);
}

/* --- state ------------------------------------------------------------------------ */

void virtq_save(const struct virtq *q, struct state_writer *w)
{
	state_put_u16(w, q->config.size);
	state_put_bool(w, q->config.enabled);
	state_put_u64(w, q->config.desc);
	state_put_u64(w, q->config.avail);
	state_put_u64(w, q->config.used);
	state_put_u16(w, q->last_avail);
	state_put_u16(w, q->used_published);
}

int virtq_load(struct virtq *q, struct state_reader *r)
{
	assert(!q->running);
	q->config.size = state_get_u16(r);
	q->config.enabled = state_get_bool(r);
	q->config.desc = state_get_u64(r);
	q->config.avail = state_get_u64(r);
	q->config.used = state_get_u64(r);
	q->last_avail = state_get_u16(r);
	q->used_next = q->used_published = state_get_u16(r);
	return r->error;
}
