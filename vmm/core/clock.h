/* SPDX-License-Identifier: Apache-2.0 */
/* clock: what time it is, from somebody who can be told by a test. */
#ifndef VMM_CORE_CLOCK_H
#define VMM_CORE_CLOCK_H

#include <stdint.h>

struct clock {
	uint64_t (*monotonic_ns)(void *ctx);
	int64_t (*wall_ns)(void *ctx); /* since 1970-01-01 UTC */
	void *ctx;
};

static inline uint64_t clock_monotonic_ns(const struct clock *c)
{
	return c->monotonic_ns(c->ctx);
}

static inline int64_t clock_wall_ns(const struct clock *c)
{
	return c->wall_ns(c->ctx);
}

/* The host's clock; any thread. */
extern const struct clock clock_host;

/* How much processor time this process has had since it was made, in nanoseconds: its
 * fork and exec are part of it. Any thread. */
uint64_t clock_process_ns(void);

#endif
