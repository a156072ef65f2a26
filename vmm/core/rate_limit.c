/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/core/rate_limit.h"

#include <assert.h>

enum { NS_PER_S = 1000000000 };

/* A rate of 2^40 a second over 2^64 ns: more than 64 bits have. */
typedef unsigned __int128 wide;

/* --- one bucket --------------------------------------------------------------------- */

static void fill(struct rate_bucket *b, uint64_t now)
{
	int64_t full = (int64_t)rate_burst(&b->rate);

	if (now <= b->at)
		return;
	wide gain = (wide)(now - b->at) * b->rate.per_second + b->remainder;

	b->at = now;
	b->remainder = (uint64_t)(gain % NS_PER_S);
	gain /= NS_PER_S;
	if (gain < (wide)(full - b->level)) {
		b->level += (int64_t)gain;
		return;
	}
	b->level = full;
	b->remainder = 0;
}

static void set(struct rate_bucket *b, struct rate rate, uint64_t now)
{
	bool was = b->rate.per_second;

	assert(rate.per_second <= RATE_MAX && rate.burst <= RATE_MAX);
	if (was)
		fill(b, now);
	b->rate = rate;
	b->at = now;
	if (was && b->level <= (int64_t)rate_burst(&rate))
		return;
	b->level = (int64_t)rate_burst(&rate);
	b->remainder = 0;
}

static uint64_t wait_for(struct rate_bucket *b, uint64_t now)
{
	if (!b->rate.per_second)
		return 0;
	fill(b, now);
	if (b->level > 0)
		return 0;
	wide missing = (wide)(1 - b->level) * NS_PER_S - b->remainder;
	wide ns = (missing + b->rate.per_second - 1) / b->rate.per_second;

	return ns < UINT64_MAX ? (uint64_t)ns : UINT64_MAX;
}

static void spend(struct rate_bucket *b, uint64_t tokens, uint64_t now)
{
	if (!b->rate.per_second)
		return;
	fill(b, now);
	/* So deep in debt is only who never asks. */
	if (b->level > INT64_MIN / 2)
		b->level -= (int64_t)tokens;
}

/* --- both ---------------------------------------------------------------------------- */

void rate_limit_init(struct rate_limit *l, const struct clock *clock)
{
	*l = (struct rate_limit){.clock = clock ? clock : &clock_host};
	pthread_mutex_init(&l->lock, NULL);
}

void rate_limit_fini(struct rate_limit *l)
{
	if (l->clock)
		pthread_mutex_destroy(&l->lock);
	l->clock = NULL;
}

void rate_limit_set(struct rate_limit *l, const struct rates *rates)
{
	pthread_mutex_lock(&l->lock);
	uint64_t now = clock_monotonic_ns(l->clock);

	set(&l->bytes, rates->bytes, now);
	set(&l->ops, rates->ops, now);
	__atomic_store_n(&l->on, rates->bytes.per_second || rates->ops.per_second,
			 __ATOMIC_RELAXED);
	pthread_mutex_unlock(&l->lock);
}

struct rates rate_limit_get(struct rate_limit *l)
{
	pthread_mutex_lock(&l->lock);
	const struct rates rates = {l->bytes.rate, l->ops.rate};

	pthread_mutex_unlock(&l->lock);
	return rates;
}

uint64_t rate_limit_wait(struct rate_limit *l)
{
	pthread_mutex_lock(&l->lock);
	uint64_t now = clock_monotonic_ns(l->clock);
	uint64_t bytes = wait_for(&l->bytes, now), ops = wait_for(&l->ops, now);

	pthread_mutex_unlock(&l->lock);
	return bytes > ops ? bytes : ops;
}

void rate_limit_spend(struct rate_limit *l, uint64_t bytes)
{
	assert(bytes <= 1ull << 40);
	pthread_mutex_lock(&l->lock);
	uint64_t now = clock_monotonic_ns(l->clock);

	spend(&l->bytes, bytes, now);
	spend(&l->ops, 1, now);
	pthread_mutex_unlock(&l->lock);
}
