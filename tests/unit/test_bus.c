/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus: the device that answers is the one whose region holds the whole access.
 * The devices here answer with their own number and offset, so that a look-up
 * that went to the neighbour shows.
 */
#include "vmm/core/bus.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct probe {
	uint64_t id;
	unsigned reads, writes;
	uint64_t off, val;
	unsigned size;
};

static uint64_t probe_read(void *dev, uint64_t off, unsigned size)
{
	struct probe *p = dev;

	p->reads++;
	p->off = off;
	p->size = size;
	return p->id;
}

static void probe_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct probe *p = dev;

	p->writes++;
	p->off = off;
	p->size = size;
	p->val = val;
}

static const struct io_ops probe_ops = {probe_read, probe_write};

static struct bus *make(void **state)
{
	return *state;
}

static int setup(void **state)
{
	struct bus *b = malloc(sizeof(*b));

	bus_init(b, "test");
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	bus_fini(*state);
	bus_fini(*state); /* twice is harmless */
	free(*state);
	return 0;
}

static void nobody_is_all_ones_of_the_size(void **state)
{
	const uint64_t ones[] = {[1] = 0xff, [2] = 0xffff, [4] = 0xffffffff, [8] = UINT64_MAX};
	struct bus *b = make(state);
	uint64_t val;

	for (unsigned size = 1; size <= 8; size *= 2) {
		val = 0x5a;
		assert_false(bus_read(b, 0x3f8, size, &val));
		assert_true(val == ones[size]);
		assert_false(bus_write(b, 0x3f8, size, 0));
	}
}

static void every_edge_of_every_region(void **state)
{
	const struct {
		uint64_t base, len;
	} at[] = {
		{0x60, 1},         {0x61, 3}, /* adjacent */
		{0x70, 2},         {0xfec00000, 0x1000},
		{4 * GiB - 8, 16}, {UINT64_MAX - 7, 8}, /* ends at 2^64 */
	};
	const unsigned order[] = {3, 5, 0, 4, 2, 1}; /* not sorted: the bus sorts */
	struct probe probes[ARRAY_LEN(at)];
	struct bus *b = make(state);
	uint64_t val;

	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		unsigned o = order[i];

		probes[o] = (struct probe){.id = 0x1000000010001000 + o * 0x11};
		assert_int_equal(bus_add(b, at[o].base, at[o].len, &probe_ops, &probes[o], "probe"),
				 0);
	}
	for (unsigned i = 1; i < b->n; i++)
		assert_true(b->regions[i - 1].base < b->regions[i].base);
	/* Every access that begins within 9 bytes of an edge, against arithmetic
	 * that cannot wrap. */
	for (size_t e = 0; e < 2 * ARRAY_LEN(at); e++)
		for (int by = -9; by <= 9; by++)
			for (unsigned size = 1; size <= 8; size *= 2) {
				uint64_t edge = at[e / 2].base + (e % 2 ? at[e / 2].len : 0);
				uint64_t addr = edge + (uint64_t)(int64_t)by;
				int owner = -1;

				for (size_t i = 0; i < ARRAY_LEN(at); i++) {
					unsigned __int128 first = at[i].base,
							  end = first + at[i].len;

					if (addr >= first && (unsigned __int128)addr + size <= end)
						owner = (int)i;
				}
				bool answered = bus_read(b, addr, size, &val);

				assert_int_equal(answered, owner >= 0);
				assert_int_equal(bus_write(b, addr, size, UINT64_MAX), owner >= 0);
				if (owner < 0) {
					assert_true(val == size_mask(size));
					continue;
				}
				assert_true(val == (probes[owner].id & size_mask(size)));
				assert_true(probes[owner].off == addr - at[owner].base);
				assert_int_equal(probes[owner].size, size);
				/* Bits beyond the size are zero on write. */
				assert_true(probes[owner].val == size_mask(size));
			}
	for (size_t i = 0; i < ARRAY_LEN(at); i++)
		assert_true(probes[i].reads && probes[i].reads == probes[i].writes);
}

static void overlaps_and_wraps_are_refused(void **state)
{
	struct probe p = {.id = 1}, q = {.id = 2};
	struct bus *b = make(state);
	uint64_t val;

	assert_int_equal(bus_add(b, 0x100, 0x10, &probe_ops, &p, "p"), 0);
	assert_int_equal(bus_add(b, 0x100, 0x10, &probe_ops, &q, "q"), -EEXIST);
	assert_int_equal(bus_add(b, 0x10f, 1, &probe_ops, &q, "q"), -EEXIST);
	assert_int_equal(bus_add(b, 0x0ff, 2, &probe_ops, &q, "q"), -EEXIST);
	assert_int_equal(bus_add(b, 0, UINT64_MAX, &probe_ops, &q, "q"), -EEXIST);
	assert_int_equal(bus_add(b, 0x108, 1, &probe_ops, &q, "q"), -EEXIST);
	assert_int_equal(bus_add(b, 0x200, 0, &probe_ops, &q, "q"), -EINVAL);
	assert_int_equal(bus_add(b, UINT64_MAX, 2, &probe_ops, &q, "q"), -EINVAL);
	assert_int_equal(bus_add(b, 2, UINT64_MAX, &probe_ops, &q, "q"), -EINVAL);
	assert_int_equal(b->n, 1);
	/* One byte to either side is free. */
	assert_int_equal(bus_add(b, 0x0ff, 1, &probe_ops, &q, "q"), 0);
	assert_int_equal(bus_add(b, 0x110, 1, &probe_ops, &q, "q"), 0);
	assert_true(bus_read(b, 0x10f, 1, &val));
	assert_int_equal(val, 1);
	assert_true(bus_read(b, 0x110, 1, &val));
	assert_int_equal(val, 2);
	/* Two neighbours do not answer together. */
	assert_false(bus_read(b, 0x10f, 2, &val));
	assert_int_equal(val, 0xffff);
}

static void removal_is_by_owner_and_place(void **state)
{
	struct probe p = {.id = 1}, q = {.id = 2};
	struct bus *b = make(state);
	uint64_t val;

	assert_int_equal(bus_add(b, 0x100, 0x10, &probe_ops, &p, "p"), 0);
	assert_int_equal(bus_add(b, 0x110, 0x10, &probe_ops, &q, "q"), 0);
	assert_int_equal(bus_remove(b, 0x100, &q), -ENOENT);
	assert_int_equal(bus_remove(b, 0x101, &p), -ENOENT);
	assert_int_equal(bus_remove(b, 0x0ff, &p), -ENOENT);
	assert_int_equal(bus_remove(b, 0x400, &p), -ENOENT);
	assert_int_equal(bus_remove(b, 0x100, &p), 0);
	assert_int_equal(bus_remove(b, 0x100, &p), -ENOENT);
	assert_false(bus_read(b, 0x100, 1, &val));
	assert_true(bus_read(b, 0x110, 1, &val));
	assert_int_equal(bus_add(b, 0x108, 8, &probe_ops, &p, "p"), 0);
	assert_true(bus_read(b, 0x108, 8, &val));
}

static void a_full_table_says_so(void **state)
{
	struct probe p = {.id = 7};
	struct bus *b = make(state);
	uint64_t val;

	for (unsigned i = 0; i < BUS_REGIONS_MAX; i++) /* from the top down: the worst order */
		assert_int_equal(bus_add(b, (BUS_REGIONS_MAX - i) * 16, 16, &probe_ops, &p, "p"),
				 0);
	assert_int_equal(bus_add(b, 0, 16, &probe_ops, &p, "p"), -ENOSPC);
	for (unsigned i = 1; i <= BUS_REGIONS_MAX; i++) {
		assert_true(bus_read(b, i * 16 + 15, 1, &val));
		assert_int_equal(p.off, 15);
	}
	assert_int_equal(bus_remove(b, 16, &p), 0);
	assert_int_equal(bus_add(b, 0, 16, &probe_ops, &p, "p"), 0);
}

/* --- a BAR moves while vCPUs look things up ------------------------------------ */

static uint64_t constant_read(void *dev, uint64_t off, unsigned size)
{
	return *(const uint64_t *)dev;
}

static void constant_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
}

static const struct io_ops constant_ops = {constant_read, constant_write};
static const uint64_t still = 0xa5, moving = 0x5a;

struct reader {
	struct bus *b;
	_Atomic bool *stop;
	_Atomic unsigned *wrong, *seen;
};

static void *read_all_the_time(void *arg)
{
	struct reader *r = arg;
	uint64_t val;

	while (!atomic_load(r->stop)) {
		if (!bus_read(r->b, 0x5000, 1, &val) || val != still)
			atomic_fetch_add(r->wrong, 1);
		bool there = bus_read(r->b, 0x1000, 1, &val);

		if (val != (there ? moving : 0xff))
			atomic_fetch_add(r->wrong, 1);
		bus_write(r->b, 0x9000, 1, 0);
		atomic_fetch_add(r->seen, 1);
	}
	return NULL;
}

static void readers_see_a_whole_table_while_it_changes(void **state)
{
	struct bus *b = make(state);
	_Atomic bool stop = false;
	_Atomic unsigned wrong = 0, seen = 0;
	struct reader r = {b, &stop, &wrong, &seen};
	pthread_t threads[3];

	assert_int_equal(bus_add(b, 0x5000, 1, &constant_ops, (void *)&still, "still"), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &r), 0);
	for (unsigned i = 0; i < 2000 || atomic_load(&seen) < 2000; i++) {
		uint64_t base = i % 2 ? 0x1000 : 0x9000; /* before and behind the still one */

		assert_int_equal(bus_add(b, base, 8, &constant_ops, (void *)&moving, "m"), 0);
		assert_int_equal(bus_remove(b, base, &moving), 0);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_is_all_ones_of_the_size, setup, teardown),
		cmocka_unit_test_setup_teardown(every_edge_of_every_region, setup, teardown),
		cmocka_unit_test_setup_teardown(overlaps_and_wraps_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(removal_is_by_owner_and_place, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_table_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(readers_see_a_whole_table_while_it_changes, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
