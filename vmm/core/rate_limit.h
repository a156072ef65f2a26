/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate_limit: how much may go in a second: bytes, operations, or both.
 *
 * Each of the two is a bucket of tokens. It holds `burst` of them, is full at the start, and gains
 * `rate` a second until it is full again. What goes takes its tokens. As long as there is one,
 * the next may go, however large it is: what it takes more than there is, is a debt, and those
 * behind it wait until that is paid. So nothing waits for ever, nothing small gets in before
 * something large again and again, and nobody has to know how large the next one will be.
 *
 * In any t seconds no more goes than burst + rate * t and one request, or one of each thread where
 * several ask at the same moment. Counted in whole tokens and a remainder, it never drifts.
 *
 * Threads that share a device share its limit: rate_limit_wait() and rate_limit_spend() take
 * a lock. Where there is no limit nobody gets so far: rate_limit_on() is one load.
 */
#ifndef VMM_CORE_RATE_LIMIT_H
#define VMM_CORE_RATE_LIMIT_H

#include "vmm/core/clock.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* The most that a rate or a burst may be. */
#define RATE_MAX (1ull << 40)

/* One bucket as it is wanted. */
struct rate {
	uint64_t per_second; /* 0 to RATE_MAX; 0: no limit */
	uint64_t burst;      /* 0 to RATE_MAX; 0: a tenth of a second's worth, at least 1 */
};

/* What a burst of 0 means. */
static inline uint64_t rate_burst(const struct rate *r)
{
	return r->burst ? r->burst : (r->per_second + 9) / 10;
}

struct rates {
	struct rate bytes, ops;
};

struct rate_bucket {
	struct rate rate;
	int64_t level;      /* tokens; below 1 it is empty or in debt */
	uint64_t remainder; /* billionths of a token, less than one */
	uint64_t at;        /* ns: the clock's, when these two were right */
};

struct rate_limit {
	bool on; /* atomic: there is a limit */
	const struct clock *clock;
	pthread_mutex_t lock; /* of what follows */
	struct rate_bucket bytes, ops;
};

/* No limit. `clock` is borrowed and outlives *l; NULL: the host's. */
void rate_limit_init(struct rate_limit *l, const struct clock *clock);
/* Fine on a zero-filled one. Nobody uses it any more. */
void rate_limit_fini(struct rate_limit *l);

/* From now on these. A bucket that had no limit is full; any other keeps what it has, as far as
 * it has room, and its debt. Who waits has to be told to ask again. Any thread. */
void rate_limit_set(struct rate_limit *l, const struct rates *rates);
/* As they were set last. Any thread. */
struct rates rate_limit_get(struct rate_limit *l);

/* Is there any? Any thread. */
static inline bool rate_limit_on(const struct rate_limit *l)
{
	return __atomic_load_n(&l->on, __ATOMIC_RELAXED);
}

/* May the next one go? 0: now; else in how many ns, if nobody is quicker: ask again then.
 * UINT64_MAX: in more than there are. Takes nothing. Any thread. */
uint64_t rate_limit_wait(struct rate_limit *l);
/* One operation of `bytes` (up to 2^40) goes, allowed or not. Any thread. */
void rate_limit_spend(struct rate_limit *l, uint64_t bytes);

#endif
