/* SPDX-License-Identifier: Apache-2.0 */
/* host_memory: the figures of hosts that are made up, as the kernel would print them. */
#include "vmm/core/host_memory.h"

#include "tests/lib/scratch.h"
#include "vmm/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct scratch host;

static int setup(void **state)
{
	scratch_init(&host);
	return 0;
}

static int teardown(void **state)
{
	scratch_fini(&host);
	return 0;
}

static void put_meminfo(void)
{
	scratch_text(&host, "proc/meminfo",
		     "MemTotal:        8388608 kB\nMemFree:          100000 kB\n"
		     "MemAvailable:    4194304 kB\nSwapTotal:       1048576 kB\n"
		     "SwapFree:        1048576 kB\nCommitLimit:     5242880 kB\n"
		     "Committed_AS:    3145728 kB\n");
}

static void a_host_without_limits(void **state)
{
	struct host_memory h;

	put_meminfo();
	host_memory_read(&h, host.path);
	assert_int_equal(h.total, 8 * GiB);
	assert_int_equal(h.available, 4 * GiB);
	assert_int_equal(host_memory_most(&h), 9 * GiB);
	assert_int_equal(host_memory_now(&h), 4 * GiB);
	assert_false(h.strict_commit);
	assert_int_equal(h.commit_left, 2 * GiB);
	scratch_text(&host, "proc/sys/vm/overcommit_memory", "2\n");
	host_memory_read(&h, host.path);
	assert_true(h.strict_commit);
}

/* What cannot be read must not make a guest too large. */
static void a_host_that_says_nothing(void **state)
{
	struct host_memory h;
	struct host_huge_pages p;

	host_memory_read(&h, host.path);
	assert_true(host_memory_most(&h) >= 1ull << 53);
	assert_true(host_memory_now(&h) >= 1ull << 53);
	scratch_text(&host, "proc/meminfo", "nonsense\n\nMemTotal\n");
	scratch_text(&host, "proc/self/cgroup", "garbage");
	host_memory_read(&h, host.path);
	assert_true(host_memory_most(&h) >= 1ull << 53);
	host_huge_pages_read(&p, 2 * MiB, host.path);
	assert_false(p.exists || p.total || p.to_have);
	assert_false(host_gives_thp(host.path));
}

static void put_group(const char *group, const char *max, const char *current, const char *stat)
{
	char name[128];

	snprintf(name, sizeof(name), "sys/fs/cgroup%s/memory.max", group);
	scratch_text(&host, name, max);
	snprintf(name, sizeof(name), "sys/fs/cgroup%s/memory.current", group);
	scratch_text(&host, name, current);
	snprintf(name, sizeof(name), "sys/fs/cgroup%s/memory.stat", group);
	scratch_text(&host, name, stat);
}

/* The tightest on the way up counts, for the most and for what is left each. */
static void limits_of_groups(void **state)
{
	struct host_memory h;

	put_meminfo();
	scratch_text(&host, "proc/self/cgroup", "1:name=systemd:/x\n0::/a/b/c\n");
	put_group("/a/b/c", "max\n", "1073741824\n", "");
	put_group("/a/b", "2147483648\n", "1073741824\n", "anon 1\ninactive_file 0\n");
	put_group("/a", "3221225472\n", "3221225472\n",
		  "anon 1\ninactive_file 268435456\nactive_file 268435456\n");
	host_memory_read(&h, host.path);
	assert_int_equal(host_memory_most(&h), 2 * GiB);
	assert_int_equal(host_memory_now(&h), 512 * MiB); /* the cache of /a */

	/* In a container the group is the root of what is seen. */
	scratch_text(&host, "proc/self/cgroup", "0::/\n");
	put_group("", "1073741824\n", "536870912\n", "");
	host_memory_read(&h, host.path);
	assert_int_equal(host_memory_most(&h), GiB);
	assert_int_equal(host_memory_now(&h), 512 * MiB);

	/* More used than the limit, which was lowered. */
	put_group("", "1073741824\n", "2147483648\n", "");
	host_memory_read(&h, host.path);
	assert_int_equal(host_memory_now(&h), 0);
}

static void the_pool(void **state)
{
	static const char *const names[] = {"nr", "free", "resv", "nr_overcommit", "surplus"};
	static const char *const values[] = {"100\n", "60\n", "20\n", "8\n", "3\n"};
	struct host_huge_pages p;
	char name[128];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(name, sizeof(name),
			 "sys/kernel/mm/hugepages/hugepages-2048kB/%s_hugepages", names[i]);
		scratch_text(&host, name, values[i]);
	}
	host_huge_pages_read(&p, 2 * MiB, host.path);
	assert_true(p.exists);
	assert_int_equal(p.total, 100);
	assert_int_equal(p.to_have, 45); /* 60 - 20 reserved, and 8 - 3 beyond the pool */
	host_huge_pages_read(&p, GiB, host.path);
	assert_false(p.exists);
}

static void transparent_ones(void **state)
{
	static const struct {
		const char *text;
		bool gives;
	} cases[] = {
		{"always [madvise] never\n", true},
		{"[always] madvise never\n", true},
		{"always madvise [never]\n", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		scratch_text(&host, "sys/kernel/mm/transparent_hugepage/enabled", cases[i].text);
		assert_int_equal(host_gives_thp(host.path), cases[i].gives);
	}
}

/* This host: the figures agree with each other. */
static void the_real_one(void **state)
{
	struct host_memory h;

	host_memory_read(&h, "");
	assert_true(h.total > 16 * MiB && h.total < 1ull << 53);
	assert_true(h.available <= h.total);
	assert_true(host_memory_now(&h) <= host_memory_most(&h));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_host_without_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(a_host_that_says_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(limits_of_groups, setup, teardown),
		cmocka_unit_test_setup_teardown(the_pool, setup, teardown),
		cmocka_unit_test_setup_teardown(transparent_ones, setup, teardown),
		cmocka_unit_test(the_real_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
