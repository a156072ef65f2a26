/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_clock.h"

static uint64_t monotonic(void *ctx)
{
	struct fake_clock *f = ctx;

	return f->monotonic_ns;
}

static int64_t wall(void *ctx)
{
	struct fake_clock *f = ctx;

	return f->wall_ns;
}

void fake_clock_init(struct fake_clock *f, uint64_t monotonic_ns, int64_t wall_ns)
{
	f->monotonic_ns = monotonic_ns;
	f->wall_ns = wall_ns;
}

void fake_clock_advance(struct fake_clock *f, uint64_t ns)
{
	f->monotonic_ns += ns;
	f->wall_ns += (int64_t)ns;
}

void fake_clock_set_wall(struct fake_clock *f, int64_t wall_ns)
{
	f->wall_ns = wall_ns;
}

struct clock fake_clock_wire(struct fake_clock *f)
{
	return (struct clock){monotonic, wall, f};
}
