/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus: which device answers at an address.
 *
 * A machine has two: port I/O and memory-mapped I/O. The exit handler asks the
 * bus, the bus checks size and range and calls the device with an offset and
 * a value. Nobody there: reads give all ones, writes go nowhere, as on a PC.
 *
 * The table is built before vCPUs run. What may change it afterwards (a BAR
 * that the guest moves) is taken out with bus_remove() and put back elsewhere.
 */
#ifndef VMM_CORE_BUS_H
#define VMM_CORE_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* `off` is relative to the region, `size` is 1, 2, 4 or 8 and off+size lies
 * within it. Values are in host byte order; bits beyond `size` are zero on
 * write and ignored on read. Called on vCPU threads, several at a time: a
 * device brings its own lock. */
struct io_ops {
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, unsigned size, uint64_t val);
};

struct bus_region {
	uint64_t base, len;
	const struct io_ops *ops;
	void *dev;
	const char *name; /* borrowed, for traces and --dry-run */
};

enum { BUS_REGIONS_MAX = 512 };

struct bus {
	const char *name;
	pthread_rwlock_t lock; /* held for the look-up only, never over a device's code */
	unsigned n;
	struct bus_region regions[BUS_REGIONS_MAX]; /* sorted by base */
};

void bus_init(struct bus *b, const char *name);
void bus_fini(struct bus *b);

/* Claim [base, base+len). Errors: -EINVAL (empty or wrapping), -EEXIST (overlaps
 * another), -ENOSPC. `name`, `ops` and `dev` outlive the bus. */
int bus_add(struct bus *b, uint64_t base, uint64_t len, const struct io_ops *ops, void *dev,
	    const char *name);

/* Give the region at `base` that belongs to `dev` back: 0 or -ENOENT. A call
 * into the device that another vCPU has begun may still be running. */
int bus_remove(struct bus *b, uint64_t base, const void *dev);

/* Dispatch one access of `size` 1, 2, 4 or 8. Give whether somebody answered;
 * *val is all ones (of that size) if not. An access that starts in a region and
 * ends beyond it is unanswered. */
bool bus_read(struct bus *b, uint64_t addr, unsigned size, uint64_t *val);
bool bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t val);

/* The name of who would answer an access of `size` at `addr`, or NULL: nobody. */
const char *bus_name_at(struct bus *b, uint64_t addr, unsigned size);

#endif
