/* SPDX-License-Identifier: Apache-2.0 */
/* rate_limit: what goes in a time is what was allowed, to the token; nothing waits for ever;
 * nothing overflows. */
#include "tests/lib/fake_clock.h"
#include "vmm/base/bytes.h"
#include "vmm/core/rate_limit.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND 1000000000ull

struct fixture {
	struct fake_clock time;
	struct clock clock;
	struct rate_limit l;
};
static struct fixture f;

/* Limits of bytes and operations; 0: none. */
static void limit(uint64_t bytes, uint64_t burst, uint64_t ops, uint64_t ops_burst)
{
	const struct rates rates = {{bytes, burst}, {ops, ops_burst}};

	rate_limit_set(&f.l, &rates);
}

static int setup(void **state)
{
	fake_clock_init(&f.time, 5 * SECOND, 0);
	f.clock = fake_clock_wire(&f.time);
	rate_limit_init(&f.l, &f.clock);
	return 0;
}

static int teardown(void **state)
{
	rate_limit_fini(&f.l);
	rate_limit_fini(&f.l);
	return 0;
}

static void pass(uint64_t ns)
{
	fake_clock_advance(&f.time, ns);
}

static bool may_go(void)
{
	return !rate_limit_wait(&f.l);
}

/* As many of `bytes` as may go now, at most `most`. */
static unsigned goes(uint64_t bytes, unsigned most)
{
	unsigned n = 0;

	for (; n < most && may_go(); n++)
		rate_limit_spend(&f.l, bytes);
	return n;
}

static void none_is_none(void **state)
{
	assert_false(rate_limit_on(&f.l));
	assert_int_equal(goes(1ull << 40, 10000), 10000);
	limit(0, 0, 0, 0);
	assert_false(rate_limit_on(&f.l));
	assert_int_equal(goes(1ull << 40, 10000), 10000);
}

static void a_burst_then_the_rate(void **state)
{
	limit(0, 0, 100, 8);
	assert_true(rate_limit_on(&f.l));
	assert_int_equal(goes(1ull << 40, 100), 8);
	assert_int_equal(rate_limit_wait(&f.l), SECOND / 100);
	pass(SECOND / 100 - 1);
	assert_int_equal(rate_limit_wait(&f.l), 1);
	pass(1);
	assert_int_equal(goes(0, 100), 1);
	pass(SECOND / 20);
	assert_int_equal(goes(0, 100), 5);
	/* A lull earns no more than the burst. */
	pass(3600 * SECOND);
	assert_int_equal(goes(0, 100), 8);
}

static void bytes(void **state)
{
	limit(1 * MiB, 64 * KiB, 0, 0);
	assert_int_equal(goes(4 * KiB, 100), 16);
	pass(SECOND / 256); /* 4 KiB */
	assert_int_equal(goes(4 * KiB, 100), 1);
	assert_int_equal(rate_limit_wait(&f.l), (SECOND + MiB - 1) / MiB);
}

/* The one that is scarcer counts. */
static void both(void **state)
{
	limit(1 * MiB, 1 * MiB, 10, 4);
	assert_int_equal(goes(4 * KiB, 100), 4);
	assert_int_equal(rate_limit_wait(&f.l), SECOND / 10);
	pass(SECOND);
	assert_int_equal(goes(512 * KiB, 100), 2);
	assert_in_range(rate_limit_wait(&f.l), 1, SECOND / MiB + 1);
	pass(SECOND);
	assert_int_equal(goes(0, 100), 4);
}

static void what_is_larger_than_the_burst_goes_and_is_paid(void **state)
{
	limit(1000, 10, 0, 0);
	assert_int_equal(goes(5010, 100), 1);
	assert_int_equal(rate_limit_wait(&f.l), 5 * SECOND + SECOND / 1000);
	pass(5 * SECOND);
	assert_false(may_go());
	pass(SECOND / 1000);
	assert_int_equal(goes(1ull << 40, 100), 1);
	assert_false(may_go());
}

/* Who does not ask is in debt all the same. */
static void what_goes_without_asking(void **state)
{
	limit(100, 100, 0, 0);
	for (unsigned i = 0; i < 10; i++)
		rate_limit_spend(&f.l, 100);
	assert_int_equal(rate_limit_wait(&f.l), 9 * SECOND + SECOND / 100);
}

static void default_bursts(void **state)
{
	static const uint64_t rates[][2] = {{1, 1},  {9, 1},      {10, 1},
					    {11, 2}, {1000, 100}, {RATE_MAX, RATE_MAX / 10 + 1}};

	for (unsigned i = 0; i < ARRAY_LEN(rates); i++) {
		const struct rate r = {rates[i][0], 0};

		assert_int_equal(rate_burst(&r), rates[i][1]);
	}
	limit(0, 0, 100, 0);
	assert_int_equal(goes(0, 100), 10);
}

/* In steps that no rate divides, for an hour, to the token. */
static void no_drift(void **state)
{
	static const uint64_t rates[] = {1, 3, 7, 999999937, 1 * GiB + 1, RATE_MAX - 1};

	for (unsigned i = 0; i < ARRAY_LEN(rates); i++) {
		const uint64_t step = 7777777, steps = 3600 * SECOND / 7777777;
		unsigned __int128 gone = 0;

		limit(0, 0, 0, 0);
		limit(rates[i], RATE_MAX, 0, 0);
		rate_limit_spend(&f.l, RATE_MAX); /* all there was */
		for (uint64_t n = 0; n < steps; n++) {
			pass(step);
			while (may_go()) {
				uint64_t take = rates[i] / 128 + 1;

				rate_limit_spend(&f.l, take);
				gone += take;
			}
		}
		unsigned __int128 earned = (unsigned __int128)rates[i] * step * steps / SECOND;

		/* The last may be in debt, or have left less than a token. */
		assert_true(gone >= earned && gone <= earned + rates[i] / 128 + 1);
	}
}

static void extremes(void **state)
{
	/* The longest wait, saturated and not. */
	limit(1, 1, 0, 0);
	rate_limit_spend(&f.l, 1 + (1ull << 34) - 1);
	assert_int_equal(rate_limit_wait(&f.l), (1ull << 34) * SECOND);
	rate_limit_spend(&f.l, 1ull << 40);
	assert_true(rate_limit_wait(&f.l) == UINT64_MAX);
	/* Debts without end. */
	for (unsigned i = 0; i < 5000000; i++)
		rate_limit_spend(&f.l, 1ull << 40);
	assert_true(rate_limit_wait(&f.l) == UINT64_MAX);
	limit(RATE_MAX, RATE_MAX, RATE_MAX, RATE_MAX);
	assert_true(rate_limit_wait(&f.l) > SECOND);
	/* The longest lull at the highest rate. */
	pass(UINT64_MAX - 10 * SECOND);
	assert_int_equal(goes(1ull << 40, 100), 1);
	assert_int_equal(rate_limit_wait(&f.l), 1);
	/* The lowest rate still has a token in the end. */
	fake_clock_init(&f.time, 0, 0);
	teardown(state);
	rate_limit_init(&f.l, &f.clock);
	limit(0, 0, 1, 0);
	assert_int_equal(goes(0, 5), 1);
	pass(SECOND - 1);
	assert_false(may_go());
	pass(1);
	assert_int_equal(goes(0, 5), 1);
}

static void a_clock_that_goes_back(void **state)
{
	limit(0, 0, 10, 2);
	assert_int_equal(goes(0, 5), 2);
	fake_clock_init(&f.time, 0, 0);
	assert_int_equal(rate_limit_wait(&f.l), SECOND / 10);
}

static void changes(void **state)
{
	struct rates now;

	limit(100, 50, 0, 0);
	rate_limit_spend(&f.l, 1050);
	pass(SECOND);
	/* The debt of 900 is paid at the new rate. */
	limit(1000, 70, 0, 0);
	assert_int_equal(rate_limit_wait(&f.l), SECOND * 901 / 1000);
	now = rate_limit_get(&f.l);
	assert_int_equal(now.bytes.per_second, 1000);
	assert_int_equal(now.bytes.burst, 70);
	assert_int_equal(now.ops.per_second, 0);
	/* No more than there is room for. */
	pass(10 * SECOND);
	limit(1000, 3, 0, 0);
	assert_int_equal(goes(1, 100), 3);
	/* Setting it again earns nothing. */
	limit(1000, 70, 0, 0);
	assert_false(may_go());
	/* Lifted, debts are forgotten. */
	rate_limit_spend(&f.l, 1ull << 40);
	limit(0, 0, 0, 0);
	assert_true(may_go());
	limit(1000, 70, 5, 5);
	assert_int_equal(goes(0, 100), 5);
}

/* --- threads ------------------------------------------------------------------------------ */

enum { THREADS = 4, EACH = 20000 };

static void *spends(void *arg)
{
	for (unsigned i = 0; i < EACH; i++) {
		(void)rate_limit_wait(&f.l);
		rate_limit_spend(&f.l, 3);
	}
	return NULL;
}

static void what_threads_spend_is_one_sum(void **state)
{
	pthread_t threads[THREADS];

	limit(1, THREADS * EACH * 3, 1, THREADS * EACH);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, spends, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(rate_limit_wait(&f.l), SECOND);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(none_is_none),
		T(a_burst_then_the_rate),
		T(bytes),
		T(both),
		T(what_is_larger_than_the_burst_goes_and_is_paid),
		T(what_goes_without_asking),
		T(default_bursts),
		T(no_drift),
		T(extremes),
		T(a_clock_that_goes_back),
		T(changes),
		T(what_threads_spend_is_one_sum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
