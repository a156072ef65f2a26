/* SPDX-License-Identifier: Apache-2.0 */
/* fake_clock: a struct clock whose hands the test moves. */
#ifndef TESTS_LIB_FAKE_CLOCK_H
#define TESTS_LIB_FAKE_CLOCK_H

#include "vmm/core/clock.h"

#include <stdint.h>

struct fake_clock {
	_Atomic uint64_t monotonic_ns;
	_Atomic int64_t wall_ns;
};

/* Both hands where they are told to be. */
void fake_clock_init(struct fake_clock *f, uint64_t monotonic_ns, int64_t wall_ns);
/* Time passes on both. */
void fake_clock_advance(struct fake_clock *f, uint64_t ns);
/* Somebody sets the host's wall clock. */
void fake_clock_set_wall(struct fake_clock *f, int64_t wall_ns);
/* The clock for the device; valid as long as *f is. */
struct clock fake_clock_wire(struct fake_clock *f);

#endif
