/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest_mem_map: how the host holds guest RAM. What was asked for is read back from
 * the kernel: VmFlags in /proc/self/smaps, mincore(2), the memfd's seals.
 */
#include "vmm/base/bytes.h"
#include "vmm/core/guest_mem.h"
#include "vmm/core/host_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 4096 };

/* Does the mapping at `p` have this two-letter flag? [proc(5), smaps] */
static bool has_flag(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	bool here = false, has = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			has = strstr(line + 8, flag);
	}
	fclose(f);
	return has;
}

static size_t resident(void *p, size_t len)
{
	unsigned char *pages = calloc(1, len / PAGE);
	size_t n = 0;

	assert_non_null(pages);
	assert_int_equal(mincore(p, len, pages), 0);
	for (size_t i = 0; i < len / PAGE; i++)
		n += pages[i] & 1;
	free(pages);
	return n;
}

static void make(struct guest_mem *gm, enum guest_mem_kind kind, enum guest_mem_pages pages)
{
	struct err e = {0};

	guest_mem_init(gm, kind);
	guest_mem_use_pages(gm, pages);
	if (guest_mem_add(gm, 0, 8 * MiB, -1, 0, &e) ||
	    guest_mem_add(gm, 4 * GiB, 4 * MiB, -1, 0, &e))
		fail_msg("%s", e.text);
}

static const enum guest_mem_kind kinds[] = {GUEST_MEM_ANON, GUEST_MEM_SHARED};

static void ram_is_in_no_core_dump_and_no_child(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct guest_mem gm;

		make(&gm, kinds[i], GUEST_MEM_PAGES_HOST);
		for (unsigned r = 0; r < gm.n_regions; r++) {
			assert_true(has_flag(gm.regions[r].hva, " dd"));
			assert_true(has_flag(gm.regions[r].hva, " dc"));
		}
		guest_mem_fini(&gm);
	}
	/* The oracle does not say yes to everything. */
	assert_false(has_flag(&(int){0}, " dd"));
}

static void nothing_is_taken_before_it_is_touched(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct guest_mem gm;

		make(&gm, kinds[i], GUEST_MEM_PAGES_SMALL);
		assert_int_equal(resident(gm.regions[0].hva, gm.regions[0].len), 0);
		assert_int_equal(guest_mem_write(&gm, 5 * PAGE, "x", 1), 0);
		assert_int_equal(resident(gm.regions[0].hva, gm.regions[0].len), 1);
		guest_mem_fini(&gm);
	}
}

/* A file whose bytes are all 'f'. */
static int file_of(uint64_t len)
{
	FILE *f = tmpfile();

	assert_non_null(f);
	for (uint64_t i = 0; i < len; i++)
		putc('f', f);
	assert_int_equal(fflush(f), 0);
	int fd = dup(fileno(f));

	fclose(f);
	return fd;
}

static uint8_t byte_at(const struct guest_mem *gm, uint64_t gpa)
{
	uint8_t byte = 0xff;

	assert_int_equal(guest_mem_read(gm, gpa, &byte, 1), 0);
	return byte;
}

/* Of any kind: zeroes, which take nothing, at the same address and no less private. */
static void renewed_ram_is_as_new(void **state)
{
	static const enum guest_mem_kind all[] = {GUEST_MEM_ANON, GUEST_MEM_SHARED, GUEST_MEM_FILE};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		bool file = all[i] == GUEST_MEM_FILE;
		struct guest_mem gm;

		guest_mem_init(&gm, all[i]);
		guest_mem_use_pages(&gm, GUEST_MEM_PAGES_SMALL);
		assert_int_equal(
			guest_mem_add(&gm, 0, 2 * MiB, file ? file_of(2 * MiB) : -1, 0, NULL), 0);
		void *at = gm.regions[0].hva;

		assert_int_equal(byte_at(&gm, 9 * PAGE), file ? 'f' : 0);
		for (unsigned life = 0; life < 2; life++) {
			assert_int_equal(guest_mem_write(&gm, 5 * PAGE, "x", 1), 0);
			assert_int_equal(guest_mem_renew(&gm), 0);
			assert_ptr_equal(gm.regions[0].hva, at);
			assert_int_equal(resident(at, 2 * MiB), 0);
			assert_int_equal(byte_at(&gm, 5 * PAGE), 0);
			assert_int_equal(byte_at(&gm, 9 * PAGE), 0);
			assert_true(has_flag(at, " dd") && has_flag(at, " dc"));
		}
		/* What is given back then reads as zeroes, too. */
		assert_int_equal(guest_mem_write(&gm, 5 * PAGE, "x", 1), 0);
		assert_int_equal(guest_mem_discard(&gm, 5 * PAGE, PAGE), 0);
		assert_int_equal(byte_at(&gm, 5 * PAGE), 0);
		guest_mem_fini(&gm);
	}
}

static void large_pages_of_host_and_guest_coincide(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct guest_mem gm;

		make(&gm, kinds[i], GUEST_MEM_PAGES_HOST);
		for (unsigned r = 0; r < gm.n_regions; r++)
			assert_int_equal((uintptr_t)gm.regions[r].hva % (2 * MiB), 0);
		/* An odd last page does not disturb the beginning. */
		assert_int_equal(guest_mem_add(&gm, 16 * GiB, 2 * MiB + PAGE, -1, 0, NULL), 0);
		assert_int_equal((uintptr_t)gm.regions[2].hva % (2 * MiB), 0);
		guest_mem_fini(&gm);
	}
}

static void transparent_huge_pages_are_a_wish(void **state)
{
	struct guest_mem gm;

	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		skip(); /* a kernel without them */
	make(&gm, GUEST_MEM_ANON, GUEST_MEM_PAGES_THP);
	assert_true(has_flag(gm.regions[0].hva, " hg"));
	guest_mem_fini(&gm);
	make(&gm, GUEST_MEM_ANON, GUEST_MEM_PAGES_SMALL);
	assert_true(has_flag(gm.regions[1].hva, " nh"));
	guest_mem_fini(&gm);
	make(&gm, GUEST_MEM_ANON, GUEST_MEM_PAGES_HOST);
	assert_false(has_flag(gm.regions[0].hva, " hg") || has_flag(gm.regions[0].hva, " nh"));
	guest_mem_fini(&gm);
}

/* hostile-cases: "guest RAM backed by a file that is cut short": ours cannot be. */
static void a_memfd_keeps_its_size(void **state)
{
	struct guest_mem gm;

	make(&gm, GUEST_MEM_SHARED, GUEST_MEM_PAGES_HOST);
	for (unsigned r = 0; r < gm.n_regions; r++) {
		int fd = gm.regions[r].fd;

		assert_int_equal(ftruncate(fd, PAGE), -1);
		assert_int_equal(errno, EPERM);
		assert_int_equal(ftruncate(fd, (off_t)gm.regions[r].len + PAGE), -1);
		assert_true(fcntl(fd, F_GET_SEALS) & F_SEAL_SEAL);
		/* The others, whom the descriptor is for, may still write. */
		assert_int_equal(pwrite(fd, "x", 1, 0), 1);
		assert_int_equal(*(char *)gm.regions[r].hva, 'x');
	}
	guest_mem_fini(&gm);
}

struct heard {
	unsigned calls;
	uint64_t last;
};

static void on_progress(void *ctx, uint64_t done)
{
	struct heard *h = ctx;

	assert_true(done > h->last);
	h->calls++;
	h->last = done;
}

/* What lies behind is left alone, and not counted. */
static void prefault_ends_where_it_is_told(void **state)
{
	struct heard h = {0};
	struct guest_mem gm;

	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&gm, 0, 4 * MiB, -1, 0, NULL), 0);
	assert_int_equal(guest_mem_add(&gm, GiB, 8 * MiB, -1, 0, NULL), 0);
	assert_int_equal(guest_mem_prefault(&gm, GiB, on_progress, &h, NULL), 0);
	assert_int_equal(resident(gm.regions[0].hva, 4 * MiB), 4 * MiB / PAGE);
	assert_int_equal(resident(gm.regions[1].hva, 8 * MiB), 0);
	assert_int_equal(h.last, 4 * MiB);
	guest_mem_fini(&gm);
}

static void prefault_takes_all_of_it(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct heard h = {0};
		struct guest_mem gm;
		struct err e = {0};

		make(&gm, kinds[i], GUEST_MEM_PAGES_HOST);
		assert_int_equal(guest_mem_add(&gm, GiB, 100 * MiB + PAGE, -1, 0, &e), 0);
		assert_int_equal(guest_mem_write(&gm, 3 * PAGE, "kept", 4), 0);
		assert_int_equal(guest_mem_prefault(&gm, UINT64_MAX, on_progress, &h, &e), 0);
		for (unsigned r = 0; r < gm.n_regions; r++)
			assert_int_equal(resident(gm.regions[r].hva, gm.regions[r].len),
					 gm.regions[r].len / PAGE);
		assert_memory_equal(guest_mem_hva(&gm, 3 * PAGE, 4), "kept", 4);
		assert_int_equal(*(char *)guest_mem_hva(&gm, GiB + 50 * MiB, 1), 0);
		assert_int_equal(h.last, guest_mem_size(&gm));
		assert_true(h.calls > gm.n_regions); /* not just once each */
		guest_mem_fini(&gm);
	}
}

/* In a child of its own: limits do not come back. */
static void in_a_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void map_under_a_limit(int resource, const char *name)
{
	struct rlimit limit = {.rlim_cur = 1ull << 30, .rlim_max = 1ull << 30};
	struct guest_mem gm;
	struct err e = {0};

	if (setrlimit(resource, &limit))
		_exit(10);
	guest_mem_init(&gm, GUEST_MEM_ANON);
	if (guest_mem_add(&gm, 0, 2 * GiB, -1, 0, &e) != -ENOMEM)
		_exit(11);
	if (!strstr(e.text, name) || !strstr(e.text, "1024 MiB") || e.kind != ERR_HOST)
		_exit(12);
	/* Nothing of the attempt is left: what fits still fits, each time anew. */
	for (unsigned i = 0; i < 100; i++) {
		if (guest_mem_add(&gm, 0, 512 * MiB, -1, 0, NULL))
			_exit(13);
		guest_mem_fini(&gm);
	}
}

static void under_rlimit_as(void)
{
	map_under_a_limit(RLIMIT_AS, "RLIMIT_AS");
}

static void under_rlimit_data(void)
{
	map_under_a_limit(RLIMIT_DATA, "RLIMIT_DATA");
}

static void a_limit_is_named(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* their shadow is larger than any limit */
#endif
	in_a_child(under_rlimit_as);
	in_a_child(under_rlimit_data);
}

/* An error that leaves nothing, or memory that is there: never memory that is not. */
static void the_pool_gives_all_or_an_error(void **state)
{
	static const struct {
		enum guest_mem_pages pages;
		uint64_t bytes;
	} sizes[] = {{GUEST_MEM_PAGES_2M, 2 * MiB}, {GUEST_MEM_PAGES_1G, GiB}};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
			struct host_huge_pages pool;
			struct guest_mem gm;
			struct err e = {0};

			host_huge_pages_read(&pool, sizes[i].bytes, "");
			guest_mem_init(&gm, kinds[k]);
			guest_mem_use_pages(&gm, sizes[i].pages);
			/* One more than there is. */
			assert_true(guest_mem_add(&gm, 0, (pool.to_have + 1) * sizes[i].bytes, -1,
						  0, &e) < 0);
			assert_int_equal(e.kind, ERR_HOST);
			assert_non_null(strstr(e.text, "huge pages"));
			assert_int_equal(gm.n_regions, 0);
			if (pool.to_have) {
				assert_int_equal(guest_mem_add(&gm, 0, sizes[i].bytes, -1, 0, NULL),
						 0);
				assert_true(has_flag(gm.regions[0].hva, " ht"));
				assert_int_equal((uintptr_t)gm.regions[0].hva % sizes[i].bytes, 0);
				assert_int_equal(
					guest_mem_prefault(&gm, UINT64_MAX, NULL, NULL, NULL), 0);
			}
			guest_mem_fini(&gm);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ram_is_in_no_core_dump_and_no_child),
		cmocka_unit_test(nothing_is_taken_before_it_is_touched),
		cmocka_unit_test(renewed_ram_is_as_new),
		cmocka_unit_test(large_pages_of_host_and_guest_coincide),
		cmocka_unit_test(transparent_huge_pages_are_a_wish),
		cmocka_unit_test(a_memfd_keeps_its_size),
		cmocka_unit_test(prefault_takes_all_of_it),
		cmocka_unit_test(prefault_ends_where_it_is_told),
		cmocka_unit_test(a_limit_is_named),
		cmocka_unit_test(the_pool_gives_all_or_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
