/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/core/guest_mem.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/core/guest_mem_map.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

void guest_mem_init(struct guest_mem *gm, enum guest_mem_kind kind)
{
	*gm = (struct guest_mem){.kind = kind};
}

void guest_mem_use_pages(struct guest_mem *gm, enum guest_mem_pages pages)
{
	assert(!gm->n_regions);
	gm->pages = pages;
}

int guest_mem_add(struct guest_mem *gm, uint64_t gpa, uint64_t len, int fd, uint64_t fd_offset,
		  struct err *e)
{
	_cleanup_fd_ int owned = fd;
	struct guest_mem_region r = {.gpa = gpa, .len = len, .fd = -1, .fd_offset = fd_offset};

	if (gm->n_regions == GUEST_MEM_REGIONS_MAX)
		return err_host(e, -ENOSPC, "guest memory: more than %d regions",
				GUEST_MEM_REGIONS_MAX);
	if (!len || (gpa | len | fd_offset) % PAGE || gpa + len < gpa)
		return err_host(e, -EINVAL, "guest memory: region %#lx+%#lx is not page-aligned",
				gpa, len);
	for (unsigned i = 0; i < gm->n_regions; i++)
		if (ranges_overlap(gpa, len, gm->regions[i].gpa, gm->regions[i].len))
			return err_host(e, -EINVAL, "guest memory: regions overlap at %#lx", gpa);

	r.fd = owned;
	int ret = guest_mem_map(gm, &r, e);

	if (r.fd >= 0)
		owned = r.fd;
	if (ret)
		return ret;
	gm->regions[gm->n_regions] = r;
	for (struct guest_mem_listener *l = gm->listeners; l; l = l->next) {
		ret = l->added(l->ctx, gm->n_regions, &gm->regions[gm->n_regions]);
		if (ret) {
			munmap(r.hva, len);
			return err_host(e, ret, "guest memory: %s", strerror(-ret));
		}
	}
	fd_take(&owned);
	gm->n_regions++;
	return 0;
}

void guest_mem_fini(struct guest_mem *gm)
{
	guest_mem_log_stop(gm);
	while (gm->n_regions) {
		struct guest_mem_region *r = &gm->regions[--gm->n_regions];

		munmap(r->hva, r->len);
		fd_close(&r->fd);
	}
	gm->listeners = NULL;
}

int guest_mem_listen(struct guest_mem *gm, struct guest_mem_listener *l)
{
	for (unsigned i = 0; i < gm->n_regions; i++) {
		int ret = l->added(l->ctx, i, &gm->regions[i]);

		if (ret)
			return ret;
	}
	l->next = gm->listeners;
	gm->listeners = l;
	return 0;
}

uint64_t guest_mem_size(const struct guest_mem *gm)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < gm->n_regions; i++)
		sum += gm->regions[i].len;
	return sum;
}

/* The region that holds all of [gpa, gpa+len), or -1. */
static int find(const struct guest_mem *gm, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < gm->n_regions; i++) {
		const struct guest_mem_region *r = &gm->regions[i];

		if (gpa >= r->gpa && range_within(gpa - r->gpa, len, r->len))
			return len ? (int)i : -1;
	}
	return -1;
}

void *guest_mem_hva(const struct guest_mem *gm, uint64_t gpa, uint64_t len)
{
	int i = find(gm, gpa, len);

	return i < 0 ? NULL : (char *)gm->regions[i].hva + (gpa - gm->regions[i].gpa);
}

void guest_mem_mark_dirty(struct guest_mem *gm, uint64_t gpa, uint64_t len)
{
	int i = find(gm, gpa, len);

	if (i < 0 || !gm->dirty[i])
		return;
	uint64_t first = (gpa - gm->regions[i].gpa) / PAGE;
	uint64_t last = (gpa - gm->regions[i].gpa + len - 1) / PAGE;

	for (uint64_t page = first; page <= last; page++)
		__atomic_fetch_or(&gm->dirty[i][page / 64], 1ull << (page % 64), __ATOMIC_RELAXED);
}

int guest_mem_read(const struct guest_mem *gm, uint64_t gpa, void *buf, uint64_t len)
{
	const void *p = guest_mem_hva(gm, gpa, len);

	if (!p && len)
		return -EFAULT;
	if (len)
		memcpy(buf, p, len);
	return 0;
}

int guest_mem_write(struct guest_mem *gm, uint64_t gpa, const void *buf, uint64_t len)
{
	void *p = guest_mem_hva(gm, gpa, len);

	if (!p && len)
		return -EFAULT;
	if (len) {
		memcpy(p, buf, len);
		guest_mem_mark_dirty(gm, gpa, len);
	}
	return 0;
}

int guest_mem_pread(struct guest_mem *gm, uint64_t gpa, int fd, uint64_t off, uint64_t len)
{
	void *p = guest_mem_hva(gm, gpa, len);
	int ret;

	if (!len)
		return 0;
	if (!p)
		return -EFAULT;
	ret = fd_pread_full(fd, p, len, off);
	guest_mem_mark_dirty(gm, gpa, len);
	return ret;
}

bool guest_mem_discards(const struct guest_mem *gm)
{
	bool pool = gm->pages == GUEST_MEM_PAGES_2M || gm->pages == GUEST_MEM_PAGES_1G;

	return !pool;
}

int guest_mem_discard(struct guest_mem *gm, uint64_t gpa, uint64_t len)
{
	void *p = guest_mem_hva(gm, gpa, len);
	int ret;

	if ((gpa | len) % PAGE)
		return -EINVAL;
	if (!p && len)
		return -EFAULT;
	if (!guest_mem_discards(gm))
		return -EOPNOTSUPP;
	if (!len)
		return 0;
	if (gm->filler)
		gm->filler->begin_discard(gm->filler->ctx, p, len);
	/* A page that others map as well stays in the memfd unless it is cut out of that. */
	ret = madvise(p, len, gm->kind == GUEST_MEM_SHARED ? MADV_REMOVE : MADV_DONTNEED) ? -errno
											  : 0;
	if (gm->filler)
		gm->filler->end_discard(gm->filler->ctx);
	guest_mem_mark_dirty(gm, gpa, len);
	return ret;
}

static size_t bitmap_words(const struct guest_mem_region *r)
{
	return (r->len / PAGE + 63) / 64;
}

size_t guest_mem_log_words(const struct guest_mem *gm, unsigned slot)
{
	return bitmap_words(&gm->regions[slot]);
}

int guest_mem_log_start(struct guest_mem *gm)
{
	for (unsigned i = 0; i < gm->n_regions; i++) {
		gm->dirty[i] = calloc(bitmap_words(&gm->regions[i]), sizeof(uint64_t));
		if (!gm->dirty[i]) {
			guest_mem_log_stop(gm);
			return -ENOMEM;
		}
	}
	return 0;
}

void guest_mem_log_stop(struct guest_mem *gm)
{
	for (unsigned i = 0; i < GUEST_MEM_REGIONS_MAX; i++) {
		free(gm->dirty[i]);
		gm->dirty[i] = NULL;
	}
}

int guest_mem_log_fetch(struct guest_mem *gm, unsigned slot, uint64_t *out, size_t words)
{
	if (slot >= gm->n_regions || !gm->dirty[slot])
		return -ENOENT;
	if (words != bitmap_words(&gm->regions[slot]))
		return -EINVAL;
	for (size_t i = 0; i < words; i++)
		out[i] = __atomic_exchange_n(&gm->dirty[slot][i], 0, __ATOMIC_RELAXED);
	return 0;
}
