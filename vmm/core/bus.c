/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/core/bus.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <string.h>

void bus_init(struct bus *b, const char *name)
{
	b->name = name;
	b->n = 0;
	pthread_rwlock_init(&b->lock, NULL);
}

void bus_fini(struct bus *b)
{
	if (b->name)
		pthread_rwlock_destroy(&b->lock);
	b->name = NULL;
	b->n = 0;
}

/* Index of the first region whose end lies beyond `addr`: the one that holds it,
 * or the place where a region at `addr` belongs. */
static unsigned locate(const struct bus *b, uint64_t addr)
{
	unsigned lo = 0, hi = b->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct bus_region *r = &b->regions[mid];

		if (addr >= r->base && addr - r->base >= r->len)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *b, uint64_t base, uint64_t len, const struct io_ops *ops, void *dev,
	    const char *name)
{
	int ret = 0;
	unsigned at;

	if (!len || base + (len - 1) < base)
		return -EINVAL;
	pthread_rwlock_wrlock(&b->lock);
	at = locate(b, base);
	if (at < b->n && ranges_overlap(base, len, b->regions[at].base, b->regions[at].len)) {
		ret = -EEXIST;
	} else if (b->n == BUS_REGIONS_MAX) {
		ret = -ENOSPC;
	} else {
		memmove(&b->regions[at + 1], &b->regions[at], (b->n - at) * sizeof(b->regions[0]));
		b->regions[at] = (struct bus_region){base, len, ops, dev, name};
		b->n++;
	}
	pthread_rwlock_unlock(&b->lock);
	return ret;
}

int bus_remove(struct bus *b, uint64_t base, const void *dev)
{
	int ret = -ENOENT;
	unsigned at;

	pthread_rwlock_wrlock(&b->lock);
	at = locate(b, base);
	if (at < b->n && b->regions[at].base == base && b->regions[at].dev == dev) {
		b->n--;
		memmove(&b->regions[at], &b->regions[at + 1], (b->n - at) * sizeof(b->regions[0]));
		ret = 0;
	}
	pthread_rwlock_unlock(&b->lock);
	return ret;
}

static bool find(struct bus *b, uint64_t addr, unsigned size, struct bus_region *out)
{
	bool found = false;
	unsigned at;

	pthread_rwlock_rdlock(&b->lock);
	at = locate(b, addr);
	if (at < b->n && addr >= b->regions[at].base &&
	    range_within(addr - b->regions[at].base, size, b->regions[at].len)) {
		*out = b->regions[at];
		found = true;
	}
	pthread_rwlock_unlock(&b->lock);
	return found;
}

bool bus_read(struct bus *b, uint64_t addr, unsigned size, uint64_t *val)
{
	struct bus_region r;

	*val = size_mask(size);
	if (!find(b, addr, size, &r))
		return false;
	*val = r.ops->read(r.dev, addr - r.base, size) & size_mask(size);
	return true;
}

bool bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t val)
{
	struct bus_region r;

	if (!find(b, addr, size, &r))
		return false;
	r.ops->write(r.dev, addr - r.base, size, val & size_mask(size));
	return true;
}

const char *bus_name_at(struct bus *b, uint64_t addr, unsigned size)
{
	struct bus_region r;

	return find(b, addr, size, &r) ? r.name : NULL;
}
