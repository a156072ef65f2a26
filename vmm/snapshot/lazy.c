/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is not there yet is missing from the page tables; a bit for each page says that the file
 * has nothing more to say of it: it was put in, or the guest gave it back. Such a page that
 * is missing all the same is one of zeroes.
 *
 * The lock is for those bits, together with the pages: what is given back while its old content
 * is on its way must not come in behind. The thread touches no guest RAM, nor does it wait
 * for anybody who might.
 */
#include "vmm/snapshot/lazy.h"

#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/base/thread.h"
#include "vmm/core/clock.h"
#include "vmm/snapshot/ram.h"
#include "vmm/snapshot/uffd.h"
#include "vmm/snapshot/working_set.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	BLOCK = WORKING_SET_BLOCK,
	STACK_BYTES = 64 << 10,
	/* A guest that never rests has the rest read as well, between what it asks for. */
	MOST_QUIETS = 20,
	STATUS_HOST = 1,
};

struct lazy {
	struct guest_mem *gm;
	struct lazy_source from; /* its descriptors owned */
	struct guest_mem_filler filler;
	int uffd, event; /* owned: faults, wishes of the main thread */
	pthread_t thread;
	char *block; /* BLOCK bytes, the thread's */

	/* the thread's alone */
	struct working_set first; /* what was touched until the rest was read, now or before */
	uint32_t n_loaded;        /* of these, known from before */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t *settled; /* a bit for each page of the file */
	bool hurry, quit;  /* wishes */
	bool over;         /* the thread serves nobody any more */
	int error;
	char why[128];         /* for a person */
	struct stop_sink stop; /* zeroes: nobody to be told yet */
};

/* --- pages -------------------------------------------------------------------------------------
 */

/* Some of the file's pages, all of one region. */
struct span {
	char *hva;
	uint64_t at, len; /* in the file */
};

/* What of the block around the file's byte `at` lies in the same region. */
static struct span span_at(const struct lazy *l, uint64_t at)
{
	uint64_t begin = 0;

	for (unsigned i = 0; i < l->gm->n_regions; i++) {
		const struct guest_mem_region *r = &l->gm->regions[i];
		uint64_t end = begin + r->len;

		if (at < end) {
			uint64_t low = at / BLOCK * BLOCK, high = low + BLOCK;

			low = low < begin ? begin : low;
			high = high > end ? end : high;
			return (struct span){(char *)r->hva + (low - begin), low, high - low};
		}
		begin = end;
	}
	return (struct span){0};
}

/* Where in the file the page around an address is; it is RAM, or nobody would have asked. */
static bool find(const struct lazy *l, uintptr_t p, uint64_t *at)
{
	uint64_t begin = 0;

	for (unsigned i = 0; i < l->gm->n_regions; i++) {
		const struct guest_mem_region *r = &l->gm->regions[i];
		uintptr_t hva = (uintptr_t)r->hva;

		if (p >= hva && p - hva < r->len) {
			*at = begin + (p - hva) / PAGE * PAGE;
			return true;
		}
		begin += r->len;
	}
	return false;
}

static bool is_settled(const struct lazy *l, uint64_t page)
{
	return l->settled[page / 64] >> page % 64 & 1;
}

static void settle(struct lazy *l, uint64_t page)
{
	l->settled[page / 64] |= 1ull << page % 64;
}

static bool is_zero(const char *p)
{
	return !*p && !memcmp(p, p + 1, PAGE - 1);
}

/* Put in what of the span is not settled, from l->block. If `asked`, somebody waits for some of it,
 * and pages of zeroes go in as well; else they may stay away. The lock is held. */
static int put_in(struct lazy *l, const struct span *s, bool asked)
{
	uint64_t off = 0;
	int ret = 0;

	while (off < s->len && !ret) {
		uint64_t end = off;
		bool zero = is_zero(l->block + off);

		for (; end < s->len && !is_settled(l, (s->at + end) / PAGE) &&
		       is_zero(l->block + end) == zero;
		     end += PAGE)
			;
		if (end == off) {
			off += PAGE;
			continue;
		}
		if (!zero)
			ret = uffd_copy(l->uffd, s->hva + off, l->block + off, end - off);
		else if (asked)
			ret = uffd_zero(l->uffd, s->hva + off, end - off);
		for (uint64_t p = off; p < end && !ret && (asked || !zero); p += PAGE)
			settle(l, (s->at + p) / PAGE);
		off = end;
	}
	return ret;
}

/* --- how it fails ------------------------------------------------------------------------------
 */

static void set_error(struct lazy *l, int ret, const char *why)
{
	pthread_mutex_lock(&l->lock);
	bool first = !l->error;
	struct stop_sink stop = l->stop;

	if (first) {
		l->error = ret;
		snprintf(l->why, sizeof(l->why), "%s", why);
	}
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	if (first)
		stop_request(&stop, STOP_HOST_ERROR, why);
}

/* Nobody can have that memory, and nobody is to wait for it or see something else there: it becomes
 * that of a file that ends before it. */
static void lose(struct lazy *l, const struct span *s, int ret)
{
	_cleanup_fd_ int empty = memfd_create("minivmm-lost", MFD_CLOEXEC);
	int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
	char why[sizeof(l->why)];

	snprintf(why, sizeof(why), "the snapshot's memory cannot be had, at byte %lu: %s", s->at,
		 ret == -ENODATA ? "the file was cut short" : strerror(-ret));
	if (empty < 0 ||
	    mmap(s->hva, s->len, PROT_READ | PROT_WRITE, flags, empty, 0) == MAP_FAILED) {
		log_last_words(why);
		_exit(STATUS_HOST);
	}
	set_error(l, ret, why);
	uffd_wake(l->uffd, s->hva, s->len);
}

/* --- the thread --------------------------------------------------------------------------------
 */

/* The block around the file's byte `at`. */
static void serve(struct lazy *l, uint64_t at, bool asked)
{
	struct span s = span_at(l, at);
	int ret = fd_pread_full(l->from.memory, l->block, s.len, s.at);

	if (!ret) {
		pthread_mutex_lock(&l->lock);
		ret = put_in(l, &s, asked);
		pthread_mutex_unlock(&l->lock);
	}
	if (ret)
		lose(l, &s, ret);
}

/* Somebody waits for that page. */
static void answer(struct lazy *l, uint64_t at, char *page, bool note)
{
	struct span s = {page, at, PAGE};
	int ret = 0;

	pthread_mutex_lock(&l->lock);
	bool known = is_settled(l, at / PAGE);

	if (known)
		ret = uffd_zero(l->uffd, page, PAGE);
	pthread_mutex_unlock(&l->lock);
	if (ret)
		lose(l, &s, ret);
	if (known)
		return;
	if (note)
		working_set_add(&l->first, (uint32_t)(at / BLOCK));
	serve(l, at, true);
	/* Given back since: then nothing was put in, and it is to be asked for once more. */
	uffd_wake(l->uffd, page, PAGE);
}

/* All who wait now. Were there any? */
static bool answer_all(struct lazy *l, bool note)
{
	uintptr_t p = 0;
	uint64_t at = 0;
	bool any = false;
	int ret;

	while ((ret = uffd_next(l->uffd, &p)) > 0) {
		any = true;
		if (find(l, p, &at))
			answer(l, at, (char *)(p / PAGE * PAGE), note);
	}
	if (ret) {
		log_last_words("userfaultfd does not tell what the guest waits for");
		_exit(STATUS_HOST);
	}
	return any;
}

enum wish { WISH_NONE, WISH_HURRY, WISH_QUIT };

static enum wish wish_of(struct lazy *l)
{
	pthread_mutex_lock(&l->lock);
	enum wish w = l->quit ? WISH_QUIT : l->hurry ? WISH_HURRY : WISH_NONE;

	pthread_mutex_unlock(&l->lock);
	return w;
}

static bool has_failed(struct lazy *l)
{
	pthread_mutex_lock(&l->lock);
	bool failed = l->error;

	pthread_mutex_unlock(&l->lock);
	return failed;
}

/* What was touched the last time. */
static void put_first(struct lazy *l)
{
	for (uint32_t i = 0; i < l->n_loaded && wish_of(l) != WISH_QUIT && !has_failed(l); i++) {
		answer_all(l, true);
		serve(l, (uint64_t)l->first.blocks[i] * BLOCK, false);
	}
}

/* What is touched now, until that rests; or for good, if the rest is not to be had. */
static void serve_asked(struct lazy *l)
{
	uint64_t began = clock_monotonic_ns(&clock_host);
	uint64_t most = (uint64_t)l->from.quiet_ms * MOST_QUIETS * 1000000;
	struct pollfd fds[] = {{.fd = l->uffd, .events = POLLIN},
			       {.fd = l->event, .events = POLLIN}};

	for (;;) {
		bool failed = has_failed(l);
		enum wish w = wish_of(l);
		uint64_t count;

		if (w == WISH_QUIT || (w == WISH_HURRY && !failed))
			return;
		int n = poll(fds, 2, failed ? -1 : (int)l->from.quiet_ms);

		if (n > 0 && fds[1].revents && read(l->event, &count, sizeof(count)) < 0)
			continue;
		answer_all(l, true);
		if (!failed && (!n || clock_monotonic_ns(&clock_host) - began > most))
			return;
	}
}

static void remember(struct lazy *l)
{
	if (l->from.dir < 0 || l->first.n == l->n_loaded)
		return;
	int ret = working_set_save(&l->first, l->from.dir, l->from.state_sum);

	if (ret)
		log_info("--restore: what the guest touched first is not remembered: %s",
			 strerror(-ret));
}

/* All that the file has. False: some of it cannot be had, or nobody wants it. */
static bool put_rest(struct lazy *l)
{
	uint64_t all = guest_mem_size(l->gm), at = 0;

	while (at < all && wish_of(l) != WISH_QUIT && !has_failed(l)) {
		off_t data = lseek(l->from.memory, (off_t)at, SEEK_DATA);

		if (data < 0 && errno == ENXIO) {
			off_t end = lseek(l->from.memory, 0, SEEK_END);
			struct span s = span_at(l, at);

			if (end >= 0 && (uint64_t)end >= all)
				return true;
			lose(l, &s, end < 0 ? -errno : -ENODATA);
			return false;
		}
		/* Who cannot tell reads it. */
		if (data >= 0)
			at = (uint64_t)data;
		answer_all(l, false);
		if (at < all)
			serve(l, at, false);
		at = span_at(l, at).at + span_at(l, at).len;
	}
	return at >= all && !has_failed(l);
}

/* What is still missing is zeroes, as the kernel's own; who waits for it is let go on by that. */
static void let_go(struct lazy *l)
{
	for (unsigned i = 0; i < l->gm->n_regions; i++)
		uffd_unregister(l->uffd, l->gm->regions[i].hva, l->gm->regions[i].len);
	fd_close(&l->uffd);
	fd_close(&l->from.memory);
	pthread_mutex_lock(&l->lock);
	l->over = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static void *run(void *arg)
{
	struct lazy *l = arg;

	put_first(l);
	serve_asked(l);
	remember(l);
	fd_close(&l->from.dir);
	if (put_rest(l)) {
		let_go(l);
		return NULL;
	}
	serve_asked(l);
	return NULL;
}

/* --- the main thread ---------------------------------------------------------------------------
 */

static void begin_discard(void *ctx, void *hva, uint64_t len)
{
	struct lazy *l = ctx;
	uint64_t at = 0;

	pthread_mutex_lock(&l->lock);
	if (!l->over && find(l, (uintptr_t)hva, &at))
		for (uint64_t off = 0; off < len; off += PAGE)
			settle(l, (at + off) / PAGE);
}

static void end_discard(void *ctx)
{
	struct lazy *l = ctx;

	pthread_mutex_unlock(&l->lock);
}

static void destroy(struct lazy *l)
{
	fd_close(&l->uffd);
	fd_close(&l->event);
	fd_close(&l->from.memory);
	fd_close(&l->from.dir);
	working_set_fini(&l->first);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l->settled);
	free(l->block);
	free(l);
}

/* All but the thread. */
static int make(struct lazy *l, struct err *e)
{
	uint64_t len = guest_mem_size(l->gm);
	int ret = working_set_init(&l->first, len);

	l->block = malloc(BLOCK);
	l->settled = calloc((len / PAGE + 63) / 64, sizeof(*l->settled));
	l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ret || !l->block || !l->settled || l->event < 0)
		return err_host(e, ret ? ret : -ENOMEM,
				"--restore: memory=lazy: no room to keep account of %lu MiB",
				len >> 20);
	if (l->from.dir >= 0) {
		ret = working_set_load(&l->first, l->from.dir, l->from.state_sum);
		if (ret && ret != -ENOENT)
			log_info("--restore: what was touched the last time is not known: %s",
				 strerror(-ret));
		l->n_loaded = l->first.n;
	}
	l->uffd = uffd_open(e);
	if (l->uffd < 0)
		return l->uffd;
	for (unsigned i = 0; i < l->gm->n_regions; i++) {
		const struct guest_mem_region *r = &l->gm->regions[i];

		ret = uffd_register(l->uffd, r->hva, r->len);
		if (ret)
			return err_host(e, ret, "--restore: memory=lazy: userfaultfd: %s",
					strerror(-ret));
	}
	return 0;
}

int lazy_start(struct lazy **out, struct guest_mem *gm, const struct lazy_source *s, struct err *e)
{
	struct lazy *l = calloc(1, sizeof(*l));
	struct lazy_source from = *s;

	if (!l) {
		fd_close(&from.memory);
		fd_close(&from.dir);
		return err_host(e, -ENOMEM, "--restore: out of memory");
	}
	*l = (struct lazy){.gm = gm, .from = from, .uffd = -1, .event = -1};
	l->filler = (struct guest_mem_filler){begin_discard, end_discard, l};
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	int ret = make(l, e);

	if (!ret) {
		ret = thread_start(&l->thread, THREAD_MEMORY, "lazy-memory", STACK_BYTES, run, l);
		if (ret)
			err_host(e, ret, "--restore: cannot start a thread: %s", strerror(-ret));
	}
	if (ret) {
		destroy(l);
		return ret;
	}
	gm->filler = &l->filler;
	*out = l;
	return 0;
}

void lazy_watch(struct lazy *l, const struct stop_sink *stop)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	bool failed = l->error;

	l->stop = *stop;
	pthread_mutex_unlock(&l->lock);
	if (failed)
		stop_request(stop, STOP_HOST_ERROR, l->why);
}

static void tell(struct lazy *l, bool *wish)
{
	uint64_t one = 1;

	pthread_mutex_lock(&l->lock);
	*wish = true;
	pthread_mutex_unlock(&l->lock);
	/* It is a counter, which is full only if nobody has looked. */
	while (write(l->event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

int lazy_complete(struct lazy *l)
{
	if (!l)
		return 0;
	tell(l, &l->hurry);
	pthread_mutex_lock(&l->lock);
	while (!l->over && !l->error)
		pthread_cond_wait(&l->changed, &l->lock);
	int ret = l->error;

	pthread_mutex_unlock(&l->lock);
	return ret;
}

void lazy_stop(struct lazy *l)
{
	if (!l)
		return;
	tell(l, &l->quit);
	pthread_join(l->thread, NULL);
	l->gm->filler = NULL;
	destroy(l);
}
