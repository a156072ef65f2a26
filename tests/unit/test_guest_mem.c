/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest_mem: which ranges are RAM, and who is told of a store. The oracle for
 * ranges is arithmetic in 128 bits, where nothing wraps, over a map that is
 * written down here a second time.
 */
#include "vmm/core/guest_mem.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 4096 };

/* RAM, a seam without a gap, the hole, RAM again. */
static const struct {
	uint64_t gpa, len;
} map[] = {
	{0, 16 * PAGE},
	{16 * PAGE, 4 * PAGE},
	{4 * GiB, 70 * PAGE},
};

static void make(struct guest_mem *gm, enum guest_mem_kind kind)
{
	struct err e = {0};

	guest_mem_init(gm, kind);
	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		assert_int_equal(guest_mem_add(gm, map[i].gpa, map[i].len, -1, 0, &e), 0);
}

static bool oracle_within_one_region(uint64_t gpa, uint64_t len)
{
	unsigned __int128 end = (unsigned __int128)gpa + len;

	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if (len && gpa >= map[i].gpa && end <= (unsigned __int128)map[i].gpa + map[i].len)
			return true;
	return false;
}

static void ranges_at_every_edge(void **state)
{
	uint64_t starts[2 + ARRAY_LEN(map) * 6], lens[4 + ARRAY_LEN(map) * 3];
	size_t n_starts = 0, n_lens = 0;
	unsigned accepted = 0;
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON);
	starts[n_starts++] = UINT64_MAX;
	starts[n_starts++] = UINT64_MAX - PAGE;
	lens[n_lens++] = 0;
	lens[n_lens++] = 1;
	lens[n_lens++] = 2;
	lens[n_lens++] = UINT64_MAX;
	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		for (int by = -1; by <= 1; by++) {
			starts[n_starts++] = map[i].gpa + (uint64_t)(int64_t)by;
			starts[n_starts++] = map[i].gpa + map[i].len + (uint64_t)(int64_t)by;
			lens[n_lens++] = map[i].len + (uint64_t)(int64_t)by;
		}
	for (size_t s = 0; s < n_starts; s++)
		for (size_t l = 0; l < n_lens; l++) {
			bool got = guest_mem_hva(&gm, starts[s], lens[l]);

			if (got != oracle_within_one_region(starts[s], lens[l]))
				fail_msg("%#lx+%#lx: %d", starts[s], lens[l], got);
			accepted += got;
		}
	assert_true(accepted > ARRAY_LEN(map)); /* the oracle does not just refuse */
	guest_mem_fini(&gm);
}

static void addresses_keep_their_distance(void **state)
{
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON);
	for (size_t i = 0; i < ARRAY_LEN(map); i++) {
		char *first = guest_mem_hva(&gm, map[i].gpa, 1);
		char *last = guest_mem_hva(&gm, map[i].gpa + map[i].len - 1, 1);

		assert_int_equal(last - first, map[i].len - 1);
	}
	assert_int_equal(guest_mem_size(&gm), 90 * PAGE);
	guest_mem_fini(&gm);
}

static void fresh_ram_is_zero(void **state)
{
	static const uint8_t zero[16 * PAGE];
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON);
	assert_memory_equal(guest_mem_hva(&gm, 0, sizeof(zero)), zero, sizeof(zero));
	guest_mem_fini(&gm);
}

/* hostile-cases: "DMA across the hole refused", and across a seam likewise; what
 * lies before the edge must not have been touched. */
static void dma_across_the_hole_is_refused(void **state)
{
	const uint64_t edges[] = {16 * PAGE, 20 * PAGE, 4 * GiB + 70 * PAGE};
	char buf[16], before[8];
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON);
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		uint64_t gpa = edges[i] - 8;

		memset(before, 'a' + (int)i, sizeof(before));
		assert_int_equal(guest_mem_write(&gm, gpa, before, sizeof(before)), 0);
		memset(buf, '!', sizeof(buf));
		assert_int_equal(guest_mem_write(&gm, gpa, buf, 9), -EFAULT);
		assert_int_equal(guest_mem_pread(&gm, gpa, fd, 0, 9), -EFAULT);
		assert_memory_equal(guest_mem_hva(&gm, gpa, 8), before, 8);
		assert_int_equal(guest_mem_read(&gm, gpa, buf, 9), -EFAULT);
		assert_int_equal(buf[0], '!');
		assert_null(guest_mem_hva(&gm, gpa, 9));
		/* From one end of the hole to the other. */
		assert_null(guest_mem_hva(&gm, gpa, 4 * GiB));
	}
	close(fd);
	guest_mem_fini(&gm);
}

static void nothing_is_a_range_that_touches_nothing(void **state)
{
	char c = 'x';
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON);
	assert_null(guest_mem_hva(&gm, 0, 0));
	assert_int_equal(guest_mem_read(&gm, 0, &c, 0), 0);
	assert_int_equal(c, 'x');
	assert_int_equal(guest_mem_write(&gm, 0, &c, 0), 0);
	assert_int_equal(*(char *)guest_mem_hva(&gm, 0, 1), 0);
	guest_mem_mark_dirty(&gm, 0, 0);
	guest_mem_fini(&gm);
}

static void bad_regions_are_refused(void **state)
{
	const struct {
		uint64_t gpa, len;
		uint64_t fd_offset;
	} bad[] = {
		{64 * PAGE, 0, 0},
		{64 * PAGE + 1, PAGE, 0},
		{64 * PAGE, PAGE + 1, 0},
		{64 * PAGE, PAGE, 1},
		{-(uint64_t)PAGE, 2 * PAGE, 0}, /* wraps */
		{15 * PAGE, PAGE, 0},           /* the last page of one */
		{19 * PAGE, 2 * PAGE, 0},       /* over an end */
		{4 * GiB - PAGE, 2 * PAGE, 0},  /* over a beginning */
		{0, 8 * GiB, 0},                /* around everything */
		{4 * GiB, 70 * PAGE, 0},        /* the same again */
	};
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = {0};

		assert_int_equal(
			guest_mem_add(&gm, bad[i].gpa, bad[i].len, -1, bad[i].fd_offset, &e),
			-EINVAL);
		assert_int_equal(e.code, -EINVAL);
		assert_true(e.text[0]);
		assert_int_equal(gm.n_regions, ARRAY_LEN(map));
	}
	/* One page to either side of what overlapped is fine. */
	assert_int_equal(guest_mem_add(&gm, 20 * PAGE, PAGE, -1, 0, NULL), 0);
	assert_int_equal(guest_mem_add(&gm, 4 * GiB - PAGE, PAGE, -1, 0, NULL), 0);
	while (gm.n_regions < GUEST_MEM_REGIONS_MAX)
		assert_int_equal(guest_mem_add(&gm, (100 + gm.n_regions) * PAGE, PAGE, -1, 0, NULL),
				 0);
	assert_int_equal(guest_mem_add(&gm, 200 * PAGE, PAGE, -1, 0, NULL), -ENOSPC);
	guest_mem_fini(&gm);
	guest_mem_fini(&gm); /* twice is harmless */
}

static void more_than_the_host_can_map_is_an_error(void **state)
{
	struct err e = {0};
	struct guest_mem gm;

	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_true(guest_mem_add(&gm, 0, 1ull << 60, -1, 0, &e) < 0);
	assert_int_equal(e.kind, ERR_HOST);
	assert_int_equal(gm.n_regions, 0);
	guest_mem_fini(&gm);
}

/* --- the log of our own stores ------------------------------------------------ */

static void every_accessor_is_logged(void **state)
{
	uint64_t high[2], low[1];
	struct guest_mem gm;
	char two[2] = {1, 2};
	FILE *f = tmpfile();

	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), 3 * PAGE), 0);
	make(&gm, GUEST_MEM_ANON);
	/* Nobody logs yet: writing is fine, fetching is not. */
	assert_int_equal(guest_mem_write(&gm, 0, two, 1), 0);
	assert_int_equal(guest_mem_log_fetch(&gm, 0, low, 1), -ENOENT);

	assert_int_equal(guest_mem_log_start(&gm), 0);
	assert_int_equal(guest_mem_log_fetch(&gm, 0, low, 1), 0);
	assert_int_equal(low[0], 0);

	assert_int_equal(guest_mem_write(&gm, 3 * PAGE - 1, two, 2), 0); /* pages 2 and 3 */
	assert_int_equal(guest_mem_write(&gm, 16 * PAGE - 1, two, 1), 0);
	guest_mem_mark_dirty(&gm, 7 * PAGE, 1);
	assert_int_equal(guest_mem_pread(&gm, 9 * PAGE, fileno(f), 0, 2 * PAGE), 0);
	/* Looking does not make dirty, and neither does what was refused. */
	assert_non_null(guest_mem_hva(&gm, 0, PAGE));
	assert_int_equal(guest_mem_read(&gm, PAGE, two, 2), 0);
	assert_int_equal(guest_mem_write(&gm, 16 * PAGE - 1, two, 2), -EFAULT);
	guest_mem_mark_dirty(&gm, 4 * PAGE, 13 * PAGE); /* not one region's range */

	assert_int_equal(guest_mem_log_fetch(&gm, 0, low, 1), 0);
	assert_int_equal(low[0], 1 << 2 | 1 << 3 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 15);
	assert_int_equal(guest_mem_log_fetch(&gm, 0, low, 1), 0);
	assert_int_equal(low[0], 0); /* fetching clears */

	/* Bits count from the region's own start, over more than one word. */
	assert_int_equal(guest_mem_write(&gm, 4 * GiB, two, 1), 0);
	guest_mem_mark_dirty(&gm, 4 * GiB + 63 * PAGE, 2 * PAGE);
	assert_int_equal(guest_mem_write(&gm, 4 * GiB + 70 * PAGE - 1, two, 1), 0);
	assert_int_equal(guest_mem_log_fetch(&gm, 2, high, 2), 0);
	assert_int_equal(high[0], 1ull << 63 | 1);
	assert_int_equal(high[1], 1 | 1 << 5);

	assert_int_equal(guest_mem_log_fetch(&gm, 2, high, 1), -EINVAL);
	assert_int_equal(guest_mem_log_fetch(&gm, 3, high, 2), -ENOENT);
	guest_mem_log_stop(&gm);
	assert_int_equal(guest_mem_log_fetch(&gm, 0, low, 1), -ENOENT);
	guest_mem_fini(&gm);
	fclose(f);
}

struct marker {
	struct guest_mem *gm;
	unsigned parity;
	_Atomic unsigned *running;
};

static void *mark_every_other_page(void *arg)
{
	struct marker *m = arg;

	for (int round = 0; round < 200; round++)
		for (unsigned page = m->parity; page < 70; page += 2)
			guest_mem_mark_dirty(m->gm, 4 * GiB + page * PAGE, 1);
	atomic_fetch_sub(m->running, 1);
	return NULL;
}

/* Two threads set neighbouring bits while a third fetches: no bit is lost. */
static void no_mark_is_lost_between_threads(void **state)
{
	_Atomic unsigned running = 2;
	uint64_t seen[2] = {0}, got[2];
	pthread_t threads[2];
	struct guest_mem gm;
	bool last;

	make(&gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_log_start(&gm), 0);
	struct marker markers[2] = {{&gm, 0, &running}, {&gm, 1, &running}};

	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, mark_every_other_page, &markers[i]), 0);
	do {
		last = !atomic_load(&running);
		assert_int_equal(guest_mem_log_fetch(&gm, 2, got, 2), 0);
		seen[0] |= got[0];
		seen[1] |= got[1];
	} while (!last);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(seen[0] == UINT64_MAX);
	assert_int_equal(seen[1], 0x3f);
	guest_mem_fini(&gm);
}

/* --- the three kinds ---------------------------------------------------------- */

static void shared_ram_is_seen_through_its_memfd(void **state)
{
	struct guest_mem gm;
	int fd;

	make(&gm, GUEST_MEM_SHARED);
	fd = gm.regions[2].fd;
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(guest_mem_write(&gm, 4 * GiB + 5 * PAGE, "hello", 5), 0);

	char *other = mmap(NULL, map[2].len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   (off_t)gm.regions[2].fd_offset);

	assert_ptr_not_equal(other, MAP_FAILED);
	assert_memory_equal(other + 5 * PAGE, "hello", 5);
	other[0] = 'y';
	assert_int_equal(*(char *)guest_mem_hva(&gm, 4 * GiB, 1), 'y');
	munmap(other, map[2].len);
	guest_mem_fini(&gm);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static int file_with(const char *text, off_t at, off_t size)
{
	FILE *f = tmpfile();
	int fd = dup(fileno(f));

	fclose(f);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
	return fd;
}

static void a_clone_reads_the_file_and_never_writes_it(void **state)
{
	int fd = file_with("saved", 2 * PAGE + 8, 4 * PAGE), mine = dup(fd);
	char buf[5];
	struct guest_mem gm;

	guest_mem_init(&gm, GUEST_MEM_FILE);
	assert_int_equal(guest_mem_add(&gm, 1 * MiB, 2 * PAGE, fd, 2 * PAGE, NULL), 0);
	assert_int_equal(guest_mem_read(&gm, 1 * MiB + 8, buf, 5), 0);
	assert_memory_equal(buf, "saved", 5);
	assert_int_equal(guest_mem_write(&gm, 1 * MiB + 8, "DIRTY", 5), 0);
	assert_int_equal(pread(mine, buf, 5, 2 * PAGE + 8), 5);
	assert_memory_equal(buf, "saved", 5);
	guest_mem_fini(&gm);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was handed over */
	close(mine);
}

static void a_refused_file_is_closed(void **state)
{
	int fd = file_with("x", 0, PAGE);
	struct guest_mem gm;

	guest_mem_init(&gm, GUEST_MEM_FILE);
	assert_int_equal(guest_mem_add(&gm, 1, PAGE, fd, 0, NULL), -EINVAL);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	guest_mem_fini(&gm);
}

static void a_file_cut_short_says_so(void **state)
{
	int fd = file_with("abc", 0, 3);
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_pread(&gm, 0, fd, 0, 3), 0);
	assert_memory_equal(guest_mem_hva(&gm, 0, 4), "abc", 4);
	assert_int_equal(guest_mem_pread(&gm, 0, fd, 0, 4), -ENODATA);
	assert_int_equal(guest_mem_pread(&gm, 0, fd, 1ull << 40, 1), -ENODATA);
	assert_int_equal(guest_mem_pread(&gm, 0, -1, 0, 1), -EBADF);
	assert_int_equal(guest_mem_pread(&gm, 0, -1, 0, 0), 0);
	close(fd);
	guest_mem_fini(&gm);
}

/* --- giving back ------------------------------------------------------------------ */

static unsigned resident(const struct guest_mem *gm, unsigned region)
{
	const struct guest_mem_region *r = &gm->regions[region];
	unsigned char pages[128];
	unsigned n = 0;

	assert_true(r->len / PAGE <= sizeof(pages));
	assert_int_equal(mincore(r->hva, r->len, pages), 0);
	for (unsigned i = 0; i < r->len / PAGE; i++)
		n += pages[i] & 1;
	return n;
}

static void what_is_discarded_is_gone(enum guest_mem_kind kind)
{
	static const uint8_t zero[6 * PAGE];
	uint64_t dirty[2];
	struct guest_mem gm;

	make(&gm, kind);
	uint8_t *p = guest_mem_hva(&gm, 4 * GiB, map[2].len);

	madvise(p, map[2].len, MADV_NOHUGEPAGE); /* where there are such */
	memset(p, 'x', map[2].len);
	assert_int_equal(resident(&gm, 2), 70);
	assert_int_equal(guest_mem_log_start(&gm), 0);
	assert_true(guest_mem_discards(&gm));
	assert_int_equal(guest_mem_discard(&gm, 4 * GiB + 60 * PAGE, 6 * PAGE), 0);
	/* The host has them back at once, and the pages around them are there. */
	assert_int_equal(resident(&gm, 2), 64);
	assert_int_equal(p[60 * PAGE - 1], 'x');
	assert_int_equal(p[66 * PAGE], 'x');
	assert_memory_equal(p + 60 * PAGE, zero, sizeof(zero));
	assert_int_equal(guest_mem_log_fetch(&gm, 2, dirty, 2), 0);
	assert_true(dirty[0] == 0xfull << 60);
	assert_int_equal(dirty[1], 3);
	/* Again, and written again. */
	assert_int_equal(guest_mem_discard(&gm, 4 * GiB + 60 * PAGE, 6 * PAGE), 0);
	assert_int_equal(guest_mem_write(&gm, 4 * GiB + 60 * PAGE, "y", 1), 0);
	assert_int_equal(p[60 * PAGE], 'y');
	/* All that is there. */
	for (size_t i = 0; i < ARRAY_LEN(map); i++) {
		assert_int_equal(guest_mem_discard(&gm, map[i].gpa, map[i].len), 0);
		assert_int_equal(resident(&gm, (unsigned)i), 0);
	}
	guest_mem_fini(&gm);
}

static void discarded_private_ram_goes_to_the_host(void **state)
{
	what_is_discarded_is_gone(GUEST_MEM_ANON);
}

/* From the memfd as well, whoever else may have it mapped. */
static void discarded_shared_ram_goes_to_the_host(void **state)
{
	struct guest_mem gm;
	struct stat before, after;

	what_is_discarded_is_gone(GUEST_MEM_SHARED);
	make(&gm, GUEST_MEM_SHARED);
	uint8_t *p = guest_mem_hva(&gm, 4 * GiB, map[2].len);

	memset(p, 'x', map[2].len);
	uint8_t *other = mmap(NULL, map[2].len, PROT_READ, MAP_SHARED, gm.regions[2].fd, 0);

	assert_ptr_not_equal(other, MAP_FAILED);
	assert_int_equal(other[5 * PAGE], 'x');
	assert_int_equal(fstat(gm.regions[2].fd, &before), 0);
	assert_int_equal(guest_mem_discard(&gm, 4 * GiB, map[2].len), 0);
	assert_int_equal(fstat(gm.regions[2].fd, &after), 0);
	assert_int_equal(before.st_blocks, 70 * PAGE / 512);
	assert_int_equal(after.st_blocks, 0);
	assert_int_equal(other[5 * PAGE], 0);
	munmap(other, map[2].len);
	guest_mem_fini(&gm);
}

static void what_cannot_be_discarded(void **state)
{
	uint64_t low;
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON);
	memset(guest_mem_hva(&gm, 0, map[0].len), 'x', map[0].len);
	assert_int_equal(guest_mem_log_start(&gm), 0);
	assert_int_equal(guest_mem_discard(&gm, 0, PAGE - 1), -EINVAL);
	assert_int_equal(guest_mem_discard(&gm, 1, PAGE), -EINVAL);
	assert_int_equal(guest_mem_discard(&gm, 15 * PAGE, 2 * PAGE), -EFAULT); /* a seam */
	assert_int_equal(guest_mem_discard(&gm, 20 * PAGE, PAGE), -EFAULT);
	assert_int_equal(guest_mem_discard(&gm, 4 * GiB - PAGE, 2 * PAGE), -EFAULT);
	assert_int_equal(guest_mem_discard(&gm, -(uint64_t)PAGE, PAGE), -EFAULT);
	assert_int_equal(guest_mem_discard(&gm, PAGE, -(uint64_t)PAGE), -EFAULT);
	assert_int_equal(guest_mem_discard(&gm, PAGE, 0), 0);
	assert_int_equal(resident(&gm, 0), 16);
	assert_int_equal(guest_mem_log_fetch(&gm, 0, &low, 1), 0);
	assert_int_equal(low, 0);
	guest_mem_fini(&gm);
}

/* What a clone has written goes back; what is read then is the file's. */
static void a_clone_gives_back_what_it_wrote(void **state)
{
	int fd = file_with("saved", 0, 2 * PAGE);
	char buf[5];
	struct guest_mem gm;

	guest_mem_init(&gm, GUEST_MEM_FILE);
	assert_int_equal(guest_mem_add(&gm, 0, 2 * PAGE, fd, 0, NULL), 0);
	assert_int_equal(guest_mem_write(&gm, 0, "DIRTY", 5), 0);
	assert_true(guest_mem_discards(&gm));
	assert_int_equal(guest_mem_discard(&gm, 0, PAGE), 0);
	assert_int_equal(guest_mem_read(&gm, 0, buf, 5), 0);
	assert_memory_equal(buf, "saved", 5);
	guest_mem_fini(&gm);
}

static void the_pool_keeps_what_is_reserved(void **state)
{
	struct guest_mem gm;

	/* Before there is a region: not every host has such pages. */
	guest_mem_init(&gm, GUEST_MEM_ANON);
	guest_mem_use_pages(&gm, GUEST_MEM_PAGES_THP);
	assert_true(guest_mem_discards(&gm));
	guest_mem_use_pages(&gm, GUEST_MEM_PAGES_2M);
	assert_false(guest_mem_discards(&gm));
	assert_int_equal(guest_mem_discard(&gm, 0, 0), -EOPNOTSUPP);
	guest_mem_use_pages(&gm, GUEST_MEM_PAGES_1G);
	assert_false(guest_mem_discards(&gm));
	guest_mem_fini(&gm);
}

/* --- who must know the map ----------------------------------------------------- */

struct witness {
	unsigned calls;
	unsigned slots[8];
	uint64_t gpas[8];
	unsigned fail_at; /* the n-th call, from 1, fails */
};

static int witness_added(void *ctx, unsigned slot, const struct guest_mem_region *r)
{
	struct witness *w = ctx;

	if (++w->calls == w->fail_at)
		return -ENXIO;
	w->slots[w->calls - 1] = slot;
	w->gpas[w->calls - 1] = r->gpa;
	return 0;
}

static void listeners_hear_of_old_and_new_regions(void **state)
{
	struct witness early = {0}, late = {0};
	struct guest_mem_listener a = {witness_added, &early, NULL},
				  b = {witness_added, &late, NULL};
	struct guest_mem gm;

	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_listen(&gm, &a), 0);
	assert_int_equal(early.calls, 0);
	assert_int_equal(guest_mem_add(&gm, 0, PAGE, -1, 0, NULL), 0);
	assert_int_equal(guest_mem_add(&gm, 4 * GiB, PAGE, -1, 0, NULL), 0);
	assert_int_equal(guest_mem_listen(&gm, &b), 0);
	assert_int_equal(guest_mem_add(&gm, 8 * GiB, PAGE, -1, 0, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(early.slots[i], i);
		assert_int_equal(late.slots[i], i);
		assert_true(early.gpas[i] == i * 4 * GiB && late.gpas[i] == i * 4 * GiB);
	}
	assert_int_equal(early.calls, 3);
	assert_int_equal(late.calls, 3);
	guest_mem_fini(&gm);
}

static void a_listener_can_refuse(void **state)
{
	struct witness w = {.fail_at = 2};
	struct guest_mem_listener l = {witness_added, &w, NULL};
	struct err e = {0};
	struct guest_mem gm;

	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_listen(&gm, &l), 0);
	assert_int_equal(guest_mem_add(&gm, 0, PAGE, -1, 0, &e), 0);
	assert_int_equal(guest_mem_add(&gm, 4 * GiB, PAGE, -1, 0, &e), -ENXIO);
	assert_int_equal(e.code, -ENXIO);
	assert_int_equal(gm.n_regions, 1);
	assert_null(guest_mem_hva(&gm, 4 * GiB, 1));
	/* The place is free, and one who refuses on joining has not joined. */
	assert_int_equal(guest_mem_add(&gm, 4 * GiB, PAGE, -1, 0, &e), 0);
	struct witness w2 = {.fail_at = 1};
	struct guest_mem_listener l2 = {witness_added, &w2, NULL};

	assert_int_equal(guest_mem_listen(&gm, &l2), -ENXIO);
	assert_int_equal(guest_mem_add(&gm, 8 * GiB, PAGE, -1, 0, NULL), 0);
	assert_int_equal(w2.calls, 1);
	guest_mem_fini(&gm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_at_every_edge),
		cmocka_unit_test(addresses_keep_their_distance),
		cmocka_unit_test(fresh_ram_is_zero),
		cmocka_unit_test(dma_across_the_hole_is_refused),
		cmocka_unit_test(nothing_is_a_range_that_touches_nothing),
		cmocka_unit_test(bad_regions_are_refused),
		cmocka_unit_test(more_than_the_host_can_map_is_an_error),
		cmocka_unit_test(every_accessor_is_logged),
		cmocka_unit_test(no_mark_is_lost_between_threads),
		cmocka_unit_test(shared_ram_is_seen_through_its_memfd),
		cmocka_unit_test(a_clone_reads_the_file_and_never_writes_it),
		cmocka_unit_test(a_refused_file_is_closed),
		cmocka_unit_test(a_file_cut_short_says_so),
		cmocka_unit_test(discarded_private_ram_goes_to_the_host),
		cmocka_unit_test(discarded_shared_ram_goes_to_the_host),
		cmocka_unit_test(what_cannot_be_discarded),
		cmocka_unit_test(a_clone_gives_back_what_it_wrote),
		cmocka_unit_test(the_pool_keeps_what_is_reserved),
		cmocka_unit_test(listeners_hear_of_old_and_new_regions),
		cmocka_unit_test(a_listener_can_refuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
