/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold: keeping a processor out of the guest until something is done.
 *
 * A store to a register may promise that its effect is complete when the next
 * instruction runs, and the effect may take another thread's work: a disk that
 * finishes its I/O. The device must not wait for it inside the access, where nobody
 * could get the processor out; so it asks for the processor to be held, and returns.
 * Whoever runs the processor waits before the next instruction, and stands or leaves
 * meanwhile like any other if that is wanted of it.
 */
#ifndef VMM_CORE_HOLD_H
#define VMM_CORE_HOLD_H

#include <stdbool.h>

/* `until`: the processor whose access this is (its thread calls) enters the guest
 * again only after done(dev, timeout_ms) has said true. `done` waits for that
 * itself, at most timeout_ms, and is called on that processor's thread, perhaps many
 * times, or never again if the processor ends. `dev` outlives the processors. */
struct cpu_hold {
	void (*until)(void *ctx, bool (*done)(void *dev, unsigned timeout_ms), void *dev);
	void *ctx;
};

/* Without anybody who runs processors (until == NULL) nobody is held. */
static inline void cpu_hold_until(const struct cpu_hold *h,
				  bool (*done)(void *dev, unsigned timeout_ms), void *dev)
{
	if (h->until)
		h->until(h->ctx, done, dev);
}

#endif
