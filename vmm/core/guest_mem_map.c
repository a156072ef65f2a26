/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the host holds guest RAM.
 *
 * Plain memory and memfds are mapped without a reservation: a page is taken from the
 * host when the guest first touches it, and a guest may be larger than what is free.
 * Pages from the pool of huge pages are reserved at once, all of them: an mmap() that
 * succeeds is the pool's word that none will be missing later.
 *
 * Mappings begin at a multiple of their large page. Below KVM a guest gets a large page
 * only where guest-physical and host address agree modulo its size, and all regions
 * begin at a multiple of 1 GiB.
 */
#include "vmm/core/guest_mem_map.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/core/host_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Linux 5.14; older headers lack it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { PAGE = 4096 };

/* The size of one page of the host's pool, or 0 where RAM does not come from it. */
static uint64_t pool_page(const struct guest_mem *gm)
{
	switch (gm->pages) {
	case GUEST_MEM_PAGES_2M:
		return 2 * MiB;
	case GUEST_MEM_PAGES_1G:
		return GiB;
	default:
		return 0;
	}
}

/* One that nobody who has its descriptor can cut short: the guest's RAM would be gone
 * under our hands. */
static int make_memfd(const struct guest_mem *gm, uint64_t len)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	/* MFD_HUGE_x and MAP_HUGE_x are one encoding [memfd_create(2)]. */
	if (gm->pages == GUEST_MEM_PAGES_2M)
		flags |= MFD_HUGETLB | MAP_HUGE_2MB;
	else if (gm->pages == GUEST_MEM_PAGES_1G)
		flags |= MFD_HUGETLB | MAP_HUGE_1GB;
	_cleanup_fd_ int fd = memfd_create("minivmm-ram", flags);

	if (fd < 0 || ftruncate(fd, (off_t)len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	return fd_take(&fd);
}

static int map_flags(const struct guest_mem *gm, bool anonymous)
{
	int flags = gm->kind == GUEST_MEM_SHARED ? MAP_SHARED : MAP_PRIVATE;

	if (!pool_page(gm))
		flags |= MAP_NORESERVE;
	if (!anonymous)
		return flags;
	flags |= MAP_ANONYMOUS;
	if (gm->pages == GUEST_MEM_PAGES_2M)
		flags |= MAP_HUGETLB | MAP_HUGE_2MB;
	else if (gm->pages == GUEST_MEM_PAGES_1G)
		flags |= MAP_HUGETLB | MAP_HUGE_1GB;
	return flags;
}

/* As mmap(2) somewhere, at a multiple of `align`: find a place with room to spare, then
 * take what is wanted of it. Creation has one thread, so the place is still free; on a
 * kernel before 4.17 the address is a hint. (Mapping over the first one would go around
 * RLIMIT_DATA, and whoever allocates next would meet it.) */
static int map_aligned(struct guest_mem_region *r, uint64_t align, int flags)
{
	uint64_t room = r->len + align - PAGE;
	char *base =
		mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	munmap(base, room);
	char *at = (char *)align_up((uintptr_t)base, align);

	r->hva = mmap(at, r->len, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, r->fd,
		      (off_t)r->fd_offset);
	return r->hva == MAP_FAILED ? -errno : 0;
}

/* ENOMEM has many reasons, and only one of them is too little memory. */
static int explain_nomem(uint64_t len, struct err *e)
{
	static const struct {
		int resource;
		const char *name, *shell;
	} limits[] = {
		{RLIMIT_AS, "RLIMIT_AS", "ulimit -v"},
		{RLIMIT_DATA, "RLIMIT_DATA", "ulimit -d"},
	};
	struct host_memory host;

	for (unsigned i = 0; i < ARRAY_LEN(limits); i++) {
		struct rlimit l;

		if (getrlimit(limits[i].resource, &l) || l.rlim_cur == RLIM_INFINITY)
			continue;
		return err_host(e, -ENOMEM,
				"--memory: the host does not map %lu MiB: %s allows this process "
				"%lu MiB in all; raise it (%s) or give less",
				len / MiB, limits[i].name, l.rlim_cur / MiB, limits[i].shell);
	}
	host_memory_read(&host, "");
	if (host.strict_commit)
		return err_host(e, -ENOMEM,
				"--memory: the host does not map %lu MiB: its vm.overcommit_memory "
				"is 2 and %lu MiB are left below its limit; give less",
				len / MiB, host.commit_left / MiB);
	return err_host(e, -ENOMEM, "--memory: the host cannot map %lu MiB: %s", len / MiB,
			strerror(ENOMEM));
}

static int explain(const struct guest_mem *gm, uint64_t len, int ret, struct err *e)
{
	if (pool_page(gm) && (ret == -ENOMEM || ret == -ENODEV || ret == -EINVAL))
		return err_host(e, ret,
				"--memory: the host has not enough huge pages of %lu MiB left for "
				"%lu MiB: %s; see /sys/kernel/mm/hugepages",
				pool_page(gm) / MiB, len / MiB, strerror(-ret));
	if (ret == -ENOMEM)
		return explain_nomem(len, e);
	return err_host(e, ret, "--memory: the host cannot map %lu MiB: %s", len / MiB,
			strerror(-ret));
}

static void advise(const struct guest_mem *gm, const struct guest_mem_region *r)
{
	/* A helper that we fork must neither see the guest's RAM nor make each of its
	 * pages copy-on-write; and what a guest keeps secret is in no core dump of ours. */
	madvise(r->hva, r->len, MADV_DONTFORK);
	madvise(r->hva, r->len, MADV_DONTDUMP);
	/* Wishes, and not to be had from every kernel. */
	if (gm->pages == GUEST_MEM_PAGES_THP)
		madvise(r->hva, r->len, MADV_HUGEPAGE);
	else if (gm->pages == GUEST_MEM_PAGES_SMALL)
		madvise(r->hva, r->len, MADV_NOHUGEPAGE);
}

int guest_mem_map(const struct guest_mem *gm, struct guest_mem_region *r, struct err *e)
{
	uint64_t align = pool_page(gm) ? pool_page(gm) : r->len >= 2 * MiB ? 2 * MiB : PAGE;
	int ret;

	if (gm->kind == GUEST_MEM_SHARED) {
		r->fd = make_memfd(gm, r->len);
		if (r->fd < 0)
			return explain(gm, r->len, r->fd, e);
	}
	ret = map_aligned(r, align, map_flags(gm, r->fd < 0));
	if (ret)
		return explain(gm, r->len, ret, e);
	advise(gm, r);
	return 0;
}

/* Zeroes by the host's own hand, where it takes the pages back: or by ours. */
static int renew_region(const struct guest_mem *gm, struct guest_mem_region *r)
{
	if (pool_page(gm)) {
		memset(r->hva, 0, r->len);
		return 0;
	}
	if (gm->kind == GUEST_MEM_SHARED)
		return madvise(r->hva, r->len, MADV_REMOVE) ? -errno : 0;
	if (gm->kind == GUEST_MEM_ANON)
		return madvise(r->hva, r->len, MADV_DONTNEED) ? -errno : 0;
	/* Given back, it would read as the file again. */
	if (mmap(r->hva, r->len, PROT_READ | PROT_WRITE, map_flags(gm, true) | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		return -errno;
	advise(gm, r);
	fd_close(&r->fd);
	return 0;
}

int guest_mem_renew(struct guest_mem *gm)
{
	int ret = 0;

	for (unsigned i = 0; i < gm->n_regions && !ret; i++)
		ret = renew_region(gm, &gm->regions[i]);
	if (!ret && gm->kind == GUEST_MEM_FILE)
		gm->kind = GUEST_MEM_ANON;
	return ret;
}

/* Before Linux 5.14: a store to each page that changes nothing. Where the host has
 * no page left, that is SIGBUS (see vmm/base/sigbus.h). */
static void touch(char *p, uint64_t len, uint64_t step)
{
	for (uint64_t off = 0; off < len; off += step)
		__atomic_fetch_or(p + off, 0, __ATOMIC_RELAXED);
}

static int populate(const struct guest_mem *gm, char *p, uint64_t len)
{
	int ret;

	do
		ret = madvise(p, len, MADV_POPULATE_WRITE) ? -errno : 0;
	while (ret == -EAGAIN || ret == -EINTR);
	if (ret == -EINVAL) {
		touch(p, len, pool_page(gm) ? pool_page(gm) : PAGE);
		ret = 0;
	}
	return ret;
}

int guest_mem_prefault(struct guest_mem *gm, uint64_t end,
		       void (*progress)(void *ctx, uint64_t done), void *ctx, struct err *e)
{
	/* Some milliseconds each; any size of page divides it or is one piece. */
	uint64_t piece = pool_page(gm) > 64 * MiB ? pool_page(gm) : 64 * MiB;
	uint64_t done = 0, all = 0;

	for (unsigned i = 0; i < gm->n_regions; i++)
		all += gm->regions[i].gpa < end ? gm->regions[i].len : 0;
	for (unsigned i = 0; i < gm->n_regions; i++) {
		const struct guest_mem_region *r = &gm->regions[i];

		for (uint64_t off = 0; r->gpa < end && off < r->len; off += piece) {
			uint64_t len = r->len - off < piece ? r->len - off : piece;
			int ret = populate(gm, (char *)r->hva + off, len);

			if (ret)
				return err_host(e, ret,
						"--memory: prefault: the host gave %lu of %lu MiB "
						"and then: %s",
						done / MiB, all / MiB, strerror(-ret));
			done += len;
			if (progress)
				progress(ctx, done);
		}
	}
	return 0;
}
