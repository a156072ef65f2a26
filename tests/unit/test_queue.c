/* SPDX-License-Identifier: Apache-2.0 */
/* The split virtqueue from the driver's side: lawful chains in every framing, and
 * every way to break the rules that the queue must survive. */
#include "devices/virtio/queue.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* RAM as a PC has it: [0, 16 MiB), a hole, and 2 GiB from 4 GiB on, most of which
 * is never touched. */
#define LOW_END  (16 * MiB)
#define HIGH     (4 * GiB)
#define HIGH_LEN (2 * GiB)
#define RINGS    0x10000ull
#define TABLE    0x40000ull
#define DATA     0x100000ull

enum { SIZE = 16 };

struct fixture {
	struct guest_mem gm;
	struct virtq q;
	struct virtq_driver d;
	struct virtq_chain c;
};

static void configure(struct fixture *f, uint16_t size)
{
	virtq_driver_init(&f->d, &f->gm, RINGS, size);
	f->q.config = (struct virtq_config){size, true, f->d.desc, f->d.avail, f->d.used};
}

static void start(struct fixture *f, uint64_t features)
{
	virtq_stop(&f->q);
	configure(f, SIZE);
	assert_int_equal(virtq_start(&f->q, &f->gm, features), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, LOW_END, -1, 0, NULL), 0);
	assert_int_equal(guest_mem_add(&f->gm, HIGH, HIGH_LEN, -1, 0, NULL), 0);
	f->q.size_max = VIRTQ_SIZE_MAX;
	virtq_reset(&f->q);
	start(f, VIRTIO_F_INDIRECT_DESC);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	guest_mem_fini(&f->gm);
	free(f);
	return 0;
}

/* --- lawful chains --------------------------------------------------------------- */

static void test_empty(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(virtq_pop(&f->q, &f->c), 0);
	assert_false(virtq_publish(&f->q));
}

static void test_direct_chain(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{DATA, 16, false}, {HIGH, 4096, false}, {DATA + 64, 1, true}};
	uint16_t head = virtq_driver_offer(&f->d, bufs, 3);

	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.head, head);
	assert_int_equal(f->c.n_read, 2);
	assert_int_equal(f->c.n_write, 1);
	assert_int_equal(f->c.read_len, 16 + 4096);
	assert_int_equal(f->c.write_len, 1);
	assert_ptr_equal(f->c.segs[1].hva, guest_mem_hva(&f->gm, HIGH, 4096));
	assert_int_equal(virtq_pop(&f->q, &f->c), 0);
}

static void test_used_ring(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {DATA, 512, true};
	uint16_t first = virtq_driver_offer(&f->d, &buf, 1);
	uint16_t second = virtq_driver_offer(&f->d, &buf, 1);
	uint32_t id, len;

	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	/* Out of order, and nothing to be seen before the batch is published. */
	virtq_push(&f->q, second, 7);
	virtq_push(&f->q, first, 9);
	assert_int_equal(virtq_driver_used_idx(&f->d), 0);
	virtq_publish(&f->q);
	assert_int_equal(virtq_driver_used_idx(&f->d), 2);
	assert_true(virtq_driver_take_used(&f->d, &id, &len));
	assert_int_equal(id, second);
	assert_int_equal(len, 7);
	assert_true(virtq_driver_take_used(&f->d, &id, &len));
	assert_int_equal(id, first);
	assert_int_equal(len, 9);
}

enum { ROUNDS = 20000 };

struct watcher {
	struct virtq_driver *d;
	atomic_uint seen; /* rounds */
	unsigned wrong;
};

/* A driver on another processor, which takes what is used the moment it can be seen. */
static void *watch_used(void *arg)
{
	struct watcher *w = arg;
	uint32_t id, len;

	for (unsigned i = 1; i <= ROUNDS; i++) {
		for (unsigned spins = 1; !virtq_driver_take_used(w->d, &id, &len); spins++)
			if (spins % 10000 == 0)
				sched_yield();
		w->wrong += len != i;
		atomic_store(&w->seen, i);
	}
	return NULL;
}

/* What an element says is there before the index that shows it [virtio 1.3 2.7.8.2]. */
static void test_used_element_before_its_index(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {DATA, 512, true};
	struct watcher w = {.d = &f->d};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, watch_used, &w), 0);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		virtq_driver_offer(&f->d, &buf, 1);
		assert_int_equal(virtq_pop(&f->q, &f->c), 1);
		virtq_push(&f->q, f->c.head, i);
		virtq_publish(&f->q);
		for (unsigned spins = 1; atomic_load(&w.seen) != i; spins++)
			if (spins % 10000 == 0)
				sched_yield();
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(w.wrong, 0);
}

static void test_counts(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{DATA, 16, false}, {DATA + 64, 512, true}};
	const struct virtq_counts *c = &f->q.counts;

	for (unsigned i = 1; i <= 3; i++) {
		virtq_driver_offer(&f->d, bufs, 2);
		assert_int_equal(virtq_pop(&f->q, &f->c), 1);
		virtq_push(&f->q, f->c.head, 100);
		assert_true(c->requests == i);
		assert_true(c->from_guest == i * 16u);
		assert_true(c->to_guest == i * 100u);
	}
	virtq_stop(&f->q);
	virtq_reset(&f->q);
	assert_true(c->requests == 3 && c->from_guest == 48 && c->to_guest == 300);
	configure(f, SIZE);
}

/* The bytes of a chain are the same however it is cut up. */
static void test_any_framing(void **state)
{
	struct fixture *f = *state;
	uint8_t pattern[100], got[100];

	for (unsigned i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + 1);
	for (unsigned cut = 1; cut < 99; cut++) {
		struct vd_buf bufs[] = {{DATA, cut, false},
					{DATA + 0x1001, 99 - cut, false},
					{DATA + 0x3003, 1, false},
					{DATA + 0x5000, cut, true},
					{DATA + 0x7001, 100 - cut, true}};
		bool indirect = cut % 2;
		struct iovec iov[2];

		guest_mem_write(&f->gm, bufs[0].gpa, pattern, cut);
		guest_mem_write(&f->gm, bufs[1].gpa, pattern + cut, 99 - cut);
		guest_mem_write(&f->gm, bufs[2].gpa, pattern + 99, 1);
		if (indirect) /* from no indirection to all of it; a table at any address */
			virtq_driver_offer_indirect(&f->d, bufs, 5, cut % 5, TABLE + cut, 0);
		else
			virtq_driver_offer(&f->d, bufs, 5);
		assert_int_equal(virtq_pop(&f->q, &f->c), 1);
		assert_int_equal(f->c.read_len, 100);
		assert_int_equal(f->c.write_len, 100);
		assert_int_equal(virtq_chain_read(&f->c, 0, got, 100), 100);
		assert_memory_equal(got, pattern, 100);
		assert_int_equal(virtq_chain_read(&f->c, 90, got, 100), 10);
		assert_memory_equal(got, pattern + 90, 10);
		assert_int_equal(virtq_chain_read(&f->c, 100, got, 1), 0);

		assert_int_equal(virtq_chain_write(&f->c, &f->gm, 0, pattern, 100), 100);
		guest_mem_read(&f->gm, bufs[3].gpa, got, cut);
		guest_mem_read(&f->gm, bufs[4].gpa, got + cut, 100 - cut);
		assert_memory_equal(got, pattern, 100);
		assert_int_equal(virtq_chain_write(&f->c, &f->gm, 99, pattern, 5), 1);

		assert_int_equal(virtq_chain_iov(&f->c, true, 0, 100, iov, 2), 2);
		assert_int_equal(iov[0].iov_len + iov[1].iov_len, 100);
		assert_int_equal(virtq_chain_iov(&f->c, true, 1, 100, iov, 2), -EINVAL);
		assert_int_equal(virtq_chain_iov(&f->c, true, 0, 100, iov, 1), -EINVAL);
		virtq_push(&f->q, f->c.head, 0);
	}
}

static void test_indirect_ignores_write_flag(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{DATA, 16, false}, {DATA + 64, 1, true}};

	virtq_driver_offer_indirect(&f->d, bufs, 2, 0, TABLE, VD_WRITE);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.n_read, 1);
	assert_int_equal(f->c.n_write, 1);
}

static void test_direct_then_indirect(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {
		{DATA, 16, false}, {DATA + 64, 32, false}, {DATA + 128, 1, true}};

	virtq_driver_offer_indirect(&f->d, bufs, 3, 1, TABLE, 0);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.read_len, 48);
	assert_int_equal(f->c.write_len, 1);
}

static void test_longest_chain(void **state)
{
	struct fixture *f = *state;
	struct vd_buf bufs[SIZE + 1];

	for (unsigned i = 0; i <= SIZE; i++)
		bufs[i] = (struct vd_buf){DATA + 64 * i, 64, false};
	virtq_driver_offer(&f->d, bufs, SIZE);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.n_read, SIZE);
	virtq_push(&f->q, f->c.head, 0);
	/* One direct, the rest indirect: one buffer too many, in a lawful table. */
	virtq_driver_offer_indirect(&f->d, bufs, SIZE + 1, 1, TABLE, 0);
	assert_int_equal(virtq_pop(&f->q, &f->c), -EPROTO);
}

static void test_empty_buffers_are_nothing(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{0, 0, false}, {DATA, 5, false}, {0, 0, true}};

	virtq_driver_offer(&f->d, bufs, 3);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.n_read, 1);
	assert_int_equal(f->c.n_write, 0);
}

static void test_indexes_wrap(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {DATA, 8, true};
	uint32_t id, len;

	for (unsigned i = 0; i < 70000; i++) {
		uint16_t head = virtq_driver_offer(&f->d, &buf, 1);

		assert_int_equal(virtq_pop(&f->q, &f->c), 1);
		virtq_push(&f->q, f->c.head, i);
		virtq_publish(&f->q);
		assert_true(virtq_driver_take_used(&f->d, &id, &len));
		assert_int_equal(id, head);
		assert_int_equal(len, i);
	}
	assert_int_equal(virtq_driver_used_idx(&f->d), 70000 % 65536);
}

/* --- notifications ------------------------------------------------------------------ */

static bool one_round(struct fixture *f)
{
	const struct vd_buf buf = {DATA, 8, true};

	virtq_driver_offer(&f->d, &buf, 1);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	virtq_push(&f->q, f->c.head, 0);
	return virtq_publish(&f->q);
}

static void test_interrupt_by_flags(void **state)
{
	struct fixture *f = *state;

	/* used_event means nothing without EVENT_IDX. */
	virtq_driver_set_used_event(&f->d, 100);
	assert_true(one_round(f));
	virtq_driver_set_avail_flags(&f->d, 1);
	assert_false(one_round(f));
	virtq_driver_set_avail_flags(&f->d, 0);
	assert_true(one_round(f));
}

static void test_interrupt_by_event_idx(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {DATA, 8, true};

	start(f, VIRTIO_F_EVENT_IDX);
	virtq_driver_set_avail_flags(&f->d, 1); /* and the flag means nothing with it */
	assert_true(one_round(f));              /* used 0 -> 1 passes event 0 */
	assert_false(one_round(f));             /* 1 -> 2 does not */
	virtq_driver_set_used_event(&f->d, 3);
	assert_false(one_round(f)); /* 2 -> 3: "when used.idx passes 3" is not yet */
	assert_true(one_round(f));  /* 3 -> 4 */
	/* A batch that steps over it: 4 -> 7 with event 5. */
	virtq_driver_set_used_event(&f->d, 5);
	for (int i = 0; i < 3; i++) {
		virtq_driver_offer(&f->d, &buf, 1);
		assert_int_equal(virtq_pop(&f->q, &f->c), 1);
		virtq_push(&f->q, f->c.head, 0);
	}
	assert_true(virtq_publish(&f->q));
	/* Across the wrap of the index. */
	while (virtq_driver_used_idx(&f->d) != 65535)
		one_round(f);
	virtq_driver_set_used_event(&f->d, 65535);
	assert_true(one_round(f));
	virtq_driver_set_used_event(&f->d, 65535);
	assert_false(one_round(f));
}

static void test_doorbells_by_flags(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {DATA, 8, true};

	virtq_disable_kick(&f->q);
	assert_int_equal(virtq_driver_used_flags(&f->d), 1);
	assert_false(virtq_enable_kick(&f->q));
	assert_int_equal(virtq_driver_used_flags(&f->d), 0);
	virtq_driver_offer(&f->d, &buf, 1);
	assert_true(virtq_enable_kick(&f->q));
}

static void test_doorbells_by_event_idx(void **state)
{
	struct fixture *f = *state;

	start(f, VIRTIO_F_EVENT_IDX);
	for (int i = 0; i < 5; i++)
		one_round(f);
	virtq_disable_kick(&f->q);
	assert_int_equal(virtq_driver_used_flags(&f->d), 0);
	assert_false(virtq_enable_kick(&f->q));
	assert_int_equal(virtq_driver_used_flags(&f->d), 0);
	assert_int_equal(virtq_driver_avail_event(&f->d), 5);
}

/* --- hostile ------------------------------------------------------------------------- */

#define assert_refused(f)                                                \
	do {                                                             \
		struct virtq before_ = (f)->q;                           \
		assert_int_equal(virtq_pop(&(f)->q, &(f)->c), -EPROTO);  \
		assert_memory_equal(&before_, &(f)->q, sizeof(before_)); \
	} while (0)

static void test_chain_to_itself(void **state)
{
	struct fixture *f = *state;

	virtq_driver_desc(&f->d, f->d.desc, 3, DATA, 8, VD_NEXT, 3);
	virtq_driver_avail(&f->d, 3);
	assert_refused(f);
}

static void test_chain_of_two_in_a_circle(void **state)
{
	struct fixture *f = *state;

	virtq_driver_desc(&f->d, f->d.desc, 3, DATA, 8, VD_NEXT, 4);
	virtq_driver_desc(&f->d, f->d.desc, 4, DATA, 8, VD_NEXT, 3);
	virtq_driver_avail(&f->d, 3);
	assert_refused(f);
	/* The same in an indirect table, and of empty buffers. */
	start(f, VIRTIO_F_INDIRECT_DESC);
	virtq_driver_desc(&f->d, TABLE, 0, DATA, 0, VD_NEXT, 1);
	virtq_driver_desc(&f->d, TABLE, 1, DATA, 0, VD_NEXT, 0);
	virtq_driver_desc(&f->d, f->d.desc, 0, TABLE, 32, VD_INDIRECT, 0);
	virtq_driver_avail(&f->d, 0);
	assert_refused(f);
}

static void test_chain_over_4_gib(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf most[] = {{HIGH, 0x80000000u, true}, {HIGH, 0x80000000u, true}};
	const struct vd_buf more[] = {
		{HIGH, 0x80000000u, false}, {HIGH, 0x80000000u, true}, {DATA, 1, true}};

	virtq_driver_offer(&f->d, most, 2);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.write_len, 1ull << 32);
	virtq_driver_offer(&f->d, more, 3);
	assert_refused(f);
}

static void test_avail_index_jumps(void **state)
{
	struct fixture *f = *state;

	virtq_driver_set_avail_idx(&f->d, SIZE + 1);
	assert_refused(f);
	virtq_driver_set_avail_idx(&f->d, 0xffff); /* backwards */
	assert_refused(f);
}

static void test_head_offered_twice(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {DATA, 8, true};
	uint16_t head = virtq_driver_offer(&f->d, &buf, 1);

	virtq_driver_avail(&f->d, head);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	assert_refused(f);
	/* Once it was given back it may come again. */
	virtq_push(&f->q, head, 0);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
}

static void test_head_or_next_out_of_range(void **state)
{
	struct fixture *f = *state;

	virtq_driver_avail(&f->d, SIZE);
	assert_refused(f);
	start(f, VIRTIO_F_INDIRECT_DESC);
	virtq_driver_desc(&f->d, f->d.desc, 0, DATA, 8, VD_NEXT, SIZE);
	virtq_driver_avail(&f->d, 0);
	assert_refused(f);
	start(f, VIRTIO_F_INDIRECT_DESC);
	virtq_driver_desc(&f->d, TABLE, 0, DATA, 8, VD_NEXT, 1); /* beyond the table */
	virtq_driver_desc(&f->d, f->d.desc, 0, TABLE, 16, VD_INDIRECT, 0);
	virtq_driver_avail(&f->d, 0);
	assert_refused(f);
}

static void test_readable_after_writable(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{DATA, 8, true}, {DATA, 8, false}};

	virtq_driver_offer(&f->d, bufs, 2);
	assert_refused(f);
}

static void test_buffer_not_in_ram(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bad[] = {
		{LOW_END, 8, true},                 /* in the hole, where devices are */
		{LOW_END - 8, 16, true},            /* across its beginning */
		{HIGH - 8, 16, false},              /* across its end */
		{LOW_END - 8, 0xf0000010u, false},  /* over the whole hole */
		{HIGH + HIGH_LEN - 1, 2, true},     /* past the end */
		{0xfffffffffffffff8ull, 16, false}, /* round the end of the address space */
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		start(f, 0);
		virtq_driver_offer(&f->d, &bad[i], 1);
		assert_refused(f);
	}
}

/* The descriptor in the ring that refers to a table, and what the table holds. */
static void refuse_indirect(struct fixture *f, uint64_t features, uint64_t table, uint32_t len,
			    uint16_t flags, uint16_t inner_flags)
{
	start(f, features);
	virtq_driver_desc(&f->d, TABLE, 0, DATA, 16, inner_flags, 0);
	virtq_driver_desc(&f->d, f->d.desc, 1, DATA, 8, 0, 0);
	virtq_driver_desc(&f->d, f->d.desc, 0, table, len, flags, 1);
	virtq_driver_avail(&f->d, 0);
	assert_refused(f);
}

static void test_unlawful_indirect(void **state)
{
	struct fixture *f = *state;
	const uint64_t on = VIRTIO_F_INDIRECT_DESC;

	refuse_indirect(f, on, TABLE, 0, VD_INDIRECT, 0);
	refuse_indirect(f, on, TABLE, 15, VD_INDIRECT, 0);
	refuse_indirect(f, on, TABLE, 24, VD_INDIRECT, 0);
	refuse_indirect(f, on, TABLE, 16 * (SIZE + 1), VD_INDIRECT, 0);
	refuse_indirect(f, on, TABLE, 0xfffffff0u, VD_INDIRECT, 0);
	refuse_indirect(f, on, TABLE, 16, VD_INDIRECT, VD_INDIRECT); /* nested */
	refuse_indirect(f, on, TABLE, 16, VD_INDIRECT | VD_NEXT, 0);
	refuse_indirect(f, 0, TABLE, 16, VD_INDIRECT, 0); /* not negotiated */
	refuse_indirect(f, on, LOW_END, 16, VD_INDIRECT, 0);
	refuse_indirect(f, on, LOW_END - 16, 32, VD_INDIRECT, 0);
}

static void refuse_start(struct fixture *f, uint16_t size, uint64_t desc, uint64_t avail,
			 uint64_t used)
{
	virtq_stop(&f->q);
	f->q.config = (struct virtq_config){size, true, desc, avail, used};
	assert_int_equal(virtq_start(&f->q, &f->gm, 0), -EINVAL);
	assert_false(f->q.running);
}

static void test_start_refused(void **state)
{
	struct fixture *f = *state;
	const uint64_t d = RINGS, a = RINGS + 0x1000, u = RINGS + 0x2000;

	refuse_start(f, 0, d, a, u);
	refuse_start(f, 3, d, a, u);
	refuse_start(f, 2 * VIRTQ_SIZE_MAX, d, a, u);
	refuse_start(f, 0x8000, d, a, u);
	refuse_start(f, 8, d + 8, a, u);
	refuse_start(f, 8, d, a + 1, u);
	refuse_start(f, 8, d, a, u + 2);
	refuse_start(f, 8, LOW_END - 112, a, u); /* one descriptor short */
	refuse_start(f, 8, d, LOW_END - 20, u);
	refuse_start(f, 8, d, a, LOW_END - 68);
	refuse_start(f, 8, HIGH - 64, a, u);
	refuse_start(f, 8, HIGH + HIGH_LEN, a, u);
	refuse_start(f, 8, 0xfffffffffffffff0ull, a, u);
	refuse_start(f, 8, d, 0xfffffffffffffffeull, u);
	f->q.config = (struct virtq_config){8, true, LOW_END - 128, a, u};
	assert_int_equal(virtq_start(&f->q, &f->gm, 0), 0);
}

/* --- dirty pages and state -------------------------------------------------------------- */

static bool page_dirty(struct fixture *f, uint64_t gpa)
{
	static uint64_t bits[LOW_END / 4096 / 64];

	assert_int_equal(guest_mem_log_fetch(&f->gm, 0, bits, ARRAY_LEN(bits)), 0);
	return bits[gpa / 4096 / 64] >> (gpa / 4096 % 64) & 1;
}

static void test_own_writes_are_logged(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {DATA, 8, true};

	assert_int_equal(guest_mem_log_start(&f->gm), 0);
	virtq_driver_offer(&f->d, &buf, 1);
	assert_int_equal(virtq_pop(&f->q, &f->c), 1);
	assert_false(page_dirty(f, DATA));
	virtq_chain_write(&f->c, &f->gm, 0, "x", 1);
	assert_true(page_dirty(f, DATA));
	virtq_push(&f->q, f->c.head, 1);
	assert_true(page_dirty(f, f->d.used));
	virtq_publish(&f->q);
	assert_true(page_dirty(f, f->d.used));
	virtq_chain_mark_dirty(&f->c, &f->gm, 0, 8);
	assert_true(page_dirty(f, DATA));
}

static void test_state_round_trip(void **state)
{
	struct fixture *f = *state;
	struct virtq copy = {.size_max = VIRTQ_SIZE_MAX};
	struct state_writer w, again;
	struct state_reader r;

	for (int i = 0; i < 21; i++)
		one_round(f);
	state_writer_init(&w);
	state_section_begin(&w, "queue", 1);
	virtq_save(&f->q, &w);
	state_section_end(&w);
	state_reader_init(&r, w.data, w.len);
	assert_int_equal(state_section_open(&r, "queue", NULL), 1);
	assert_int_equal(virtq_load(&copy, &r), 0);
	assert_int_equal(state_section_close(&r, NULL), 0);
	state_writer_init(&again);
	state_section_begin(&again, "queue", 1);
	virtq_save(&copy, &again);
	state_section_end(&again);
	assert_int_equal(again.len, w.len);
	assert_memory_equal(again.data, w.data, w.len);

	/* And the copy goes on where the other stopped. */
	assert_int_equal(virtq_restart(&copy, &f->gm, 0), 0);
	f->q = copy;
	one_round(f);
	assert_int_equal(virtq_driver_used_idx(&f->d), 22);

	/* Cut short anywhere, it is refused. */
	for (size_t len = 0; len < 30; len++) {
		struct virtq none = {.size_max = VIRTQ_SIZE_MAX};

		state_reader_init(&r, w.data + 32, len);
		r.end = len;
		assert_int_equal(virtq_load(&none, &r), -EBADMSG);
	}
	state_writer_fini(&w);
	state_writer_fini(&again);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_empty),
		T(test_direct_chain),
		T(test_used_ring),
		T(test_used_element_before_its_index),
		T(test_counts),
		T(test_any_framing),
		T(test_indirect_ignores_write_flag),
		T(test_direct_then_indirect),
		T(test_longest_chain),
		T(test_empty_buffers_are_nothing),
		T(test_indexes_wrap),
		T(test_interrupt_by_flags),
		T(test_interrupt_by_event_idx),
		T(test_doorbells_by_flags),
		T(test_doorbells_by_event_idx),
		T(test_chain_to_itself),
		T(test_chain_of_two_in_a_circle),
		T(test_chain_over_4_gib),
		T(test_avail_index_jumps),
		T(test_head_offered_twice),
		T(test_head_or_next_out_of_range),
		T(test_readable_after_writable),
		T(test_buffer_not_in_ram),
		T(test_unlawful_indirect),
		T(test_start_refused),
		T(test_own_writes_are_logged),
		T(test_state_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
