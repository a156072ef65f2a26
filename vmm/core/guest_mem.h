/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest_mem: the guest's RAM, and the only way to read or write it.
 *
 * RAM is a few regions of guest-physical address space (below and above the
 * PCI hole), each one mapping of the host. It is never memset: the host's
 * zero pages are what a fresh machine has.
 *
 * Everybody who stores into guest RAM, device completions included, does so
 * through an accessor that ends in guest_mem_mark_dirty(): KVM's dirty log
 * sees the guest's own stores and not ours.
 *
 * The map is fixed while vCPUs run; accessors may be called from any thread.
 * The guest may change any byte at any time: read a value once, then judge it.
 */
#ifndef VMM_CORE_GUEST_MEM_H
#define VMM_CORE_GUEST_MEM_H

#include "vmm/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum guest_mem_kind {
	GUEST_MEM_ANON,   /* private anonymous memory */
	GUEST_MEM_SHARED, /* a memfd, for those who map it too (vhost-user, a child) */
	GUEST_MEM_FILE,   /* a file mapped privately: a clone of a saved machine */
};

/* Which pages of the host's it is made of. */
enum guest_mem_pages {
	GUEST_MEM_PAGES_HOST,  /* as the host's policy for transparent huge pages has it */
	GUEST_MEM_PAGES_SMALL, /* small ones, whatever the policy */
	GUEST_MEM_PAGES_THP,   /* huge ones where it finds them */
	GUEST_MEM_PAGES_2M,    /* from its pool of huge pages; regions are multiples */
	GUEST_MEM_PAGES_1G,
};

struct guest_mem_region {
	uint64_t gpa; /* page-aligned */
	uint64_t len; /* bytes, a multiple of the page size */
	void *hva;
	int fd;             /* memfd or file, owned; -1 for anonymous memory */
	uint64_t fd_offset; /* where the region begins in fd */
};

enum { GUEST_MEM_REGIONS_MAX = 8 };

/* One who must know the map: KVM's slots, vhost, virtio-mem. `added` is called
 * for each region there is when the listener joins, then for each new one.
 * Gives 0 or a negative errno, which makes the addition fail. */
struct guest_mem_listener {
	int (*added)(void *ctx, unsigned slot, const struct guest_mem_region *r);
	void *ctx;
	struct guest_mem_listener *next;
};

/* One who still fills RAM while it is used, and must know what is given back: `begin`, then it
 * goes, then `end`; in between nothing is filled. [hva, hva+len) is whole pages of one region. Any
 * thread. */
struct guest_mem_filler {
	void (*begin_discard)(void *ctx, void *hva, uint64_t len);
	void (*end_discard)(void *ctx);
	void *ctx;
};

struct guest_mem {
	enum guest_mem_kind kind;
	enum guest_mem_pages pages;
	unsigned n_regions;
	struct guest_mem_region regions[GUEST_MEM_REGIONS_MAX];
	struct guest_mem_listener *listeners;
	struct guest_mem_filler *filler; /* NULL: all of it is there */
	/* One bit a page for each region, or NULL while nobody logs. */
	uint64_t *dirty[GUEST_MEM_REGIONS_MAX];
};

void guest_mem_init(struct guest_mem *gm, enum guest_mem_kind kind);

/* Before the first region; otherwise GUEST_MEM_PAGES_HOST. */
void guest_mem_use_pages(struct guest_mem *gm, enum guest_mem_pages pages);

/* Map `len` bytes of RAM at `gpa`: nothing of it is taken from the host yet, but for
 * pages of its pool, which are reserved. It is left out of core dumps and of children
 * that are forked; nobody can make a memfd shorter or longer. For GUEST_MEM_FILE `fd` (taken
 * over) and `fd_offset` say what; otherwise they are -1 and 0. Errors: -EINVAL
 * for an overlap or misalignment, -ENOMEM and others of mmap(2). */
int guest_mem_add(struct guest_mem *gm, uint64_t gpa, uint64_t len, int fd, uint64_t fd_offset,
		  struct err *e);

/* Take the regions that begin below `end` from the host now, all of them. `progress` (may be NULL)
 * hears of the bytes that are there, every few ms. 0, or a negative errno with *e filled, when the
 * host had less; a kernel before 5.14 cannot tell and kills instead. */
int guest_mem_prefault(struct guest_mem *gm, uint64_t end,
		       void (*progress)(void *ctx, uint64_t done), void *ctx, struct err *e);

/* All of it reads as zeroes again, and is the host's until it is touched, as after guest_mem_add();
 * but pages of the host's pool stay ours, and a private mapping of a file becomes plain memory.
 * While nobody uses it, nor logs, nor fills it. 0, or a negative errno: then some of it may be as
 * it was. */
int guest_mem_renew(struct guest_mem *gm);

/* Unmap all; fine on a zero-filled or half-built object. */
void guest_mem_fini(struct guest_mem *gm);

int guest_mem_listen(struct guest_mem *gm, struct guest_mem_listener *l);

uint64_t guest_mem_size(const struct guest_mem *gm);

/* Host address of [gpa, gpa+len), which must lie within one region; NULL if it
 * does not or len is 0. For reading: whoever writes through it must call
 * guest_mem_mark_dirty() afterwards. */
void *guest_mem_hva(const struct guest_mem *gm, uint64_t gpa, uint64_t len);

/* Say that [gpa, gpa+len), a range that guest_mem_hva() accepted, was written. */
void guest_mem_mark_dirty(struct guest_mem *gm, uint64_t gpa, uint64_t len);

/* Copy in and out: 0, or -EFAULT with nothing copied. */
int guest_mem_read(const struct guest_mem *gm, uint64_t gpa, void *buf, uint64_t len);
int guest_mem_write(struct guest_mem *gm, uint64_t gpa, const void *buf, uint64_t len);

/* Read `len` bytes of the file at `off` straight into RAM (no copy on the way):
 * 0, -EFAULT, -ENODATA at the end of the file, or read errors. */
int guest_mem_pread(struct guest_mem *gm, uint64_t gpa, int fd, uint64_t off, uint64_t len);

/* Give what holds [gpa, gpa+len) back to the host: whole pages, within one region, that the guest
 * has said are free. Until they are written again they read as zeroes, or, of a file mapped
 * privately, as the file has them: what the guest itself had there once. They are logged as
 * written. 0; -EINVAL for parts of pages; -EFAULT for what is not RAM; errors of madvise(2), after
 * which each page is as it was or given back; -EOPNOTSUPP, and nothing has changed, for the host's
 * pool of huge pages: it keeps for us what is reserved, but not with every kernel what was used and
 * given back. The guest would be killed for want of it. */
int guest_mem_discard(struct guest_mem *gm, uint64_t gpa, uint64_t len);
/* Does it ever do anything else than -EOPNOTSUPP? */
bool guest_mem_discards(const struct guest_mem *gm);

/* How many words the log of region `slot` has. */
size_t guest_mem_log_words(const struct guest_mem *gm, unsigned slot);
/* Is there a log? Then nobody may write who does not mark what he writes. */
static inline bool guest_mem_is_logged(const struct guest_mem *gm)
{
	return gm->dirty[0];
}
/* Start or stop the log of our own writes, while nobody writes; `fetch` moves region `slot`'s
 * bitmap (one bit for each 4 KiB page) to `out`, clearing it. */
int guest_mem_log_start(struct guest_mem *gm);
void guest_mem_log_stop(struct guest_mem *gm);
int guest_mem_log_fetch(struct guest_mem *gm, unsigned slot, uint64_t *out, size_t words);

#endif
