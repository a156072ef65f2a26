/* SPDX-License-Identifier: Apache-2.0 */
/* test_share_bounds: what a guest can make grow on the host, and how far (share.h): files that it
 * knows, descriptors, directories that are read ahead; and what it makes wait. */
#include "tests/lib/share_rig.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int setup_as(void **state, unsigned fds_max)
{
	struct share_rig *r = malloc(sizeof(*r));

	share_rig_init(r, true, SHARE_CACHE_AUTO, fds_max);
	*state = r;
	return 0;
}

static int setup_scarce(void **state)
{
	return setup_as(state, SHARE_FDS_MIN);
}

static int teardown(void **state)
{
	share_rig_fini(*state);
	free(*state);
	return 0;
}

static uint64_t make_dir(struct share_rig *r, uint64_t parent, const char *name)
{
	const struct fuse_mkdir_in in = {.mode = 0755};
	struct fuse_entry_out entry;

	assert_int_equal(
		share_rig_call(r, FUSE_MKDIR, parent, &in, sizeof(in), name, strlen(name) + 1), 0);
	memcpy(&entry, r->data, sizeof(entry));
	return entry.nodeid;
}

static int get_attr(struct share_rig *r, uint64_t node)
{
	const struct fuse_getattr_in in = {0};

	return share_rig_call(r, FUSE_GETATTR, node, &in, sizeof(in), NULL, 0);
}

/* --- descriptors ------------------------------------------------------------------------ */

static void assert_few_descriptors(struct share_rig *r)
{
	struct share_counts c = share_count(r->share);

	assert_true(c.fds + c.handles <= SHARE_FDS_MIN);
}

/* Each open looks at all directories on the way; they are more than there are descriptors. */
static void test_deep_paths(void **state)
{
	enum { DEEP = 400 };
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	uint64_t at = FUSE_ROOT_ID;

	for (unsigned i = 0; i < DEEP; i++) {
		at = make_dir(r, at, "d");
		assert_few_descriptors(r);
	}
	assert_int_equal(
		share_rig_create(r, at, "f", O_RDWR | O_CREAT, S_IFREG | 0644, &entry, &out), 0);
	assert_few_descriptors(r);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(share_rig_open(r, FUSE_OPEN, entry.nodeid, O_RDONLY, &out), 0);
		assert_few_descriptors(r);
	}
}

/* Another guest, or the host, turns trees around while this one looks on, so that it is not
 * known where they are. They are no exception to what is put away. */
static void test_trees_turned_around(void **state)
{
	enum { TREES = 200 };
	struct share_rig *r = *state;
	char a[32], b[32], c[32], below[32];

	for (unsigned i = 0; i < TREES; i++) {
		struct fuse_entry_out entry;
		uint64_t node;

		snprintf(a, sizeof(a), "a%u", i);
		snprintf(b, sizeof(b), "a%u/b", i);
		snprintf(c, sizeof(c), "c%u", i);
		snprintf(below, sizeof(below), "c%u/a", i);
		make_dir(r, make_dir(r, FUSE_ROOT_ID, a), "b");
		node = share_rig_node(r, b);
		assert_int_equal(rename(share_rig_path(r, b), share_rig_path(r, c)), 0);
		assert_int_equal(rename(share_rig_path(r, a), share_rig_path(r, below)), 0);
		assert_int_equal(share_rig_lookup(r, node, "a", &entry), 0);
		assert_few_descriptors(r);
	}
	/* Whoever looks a path up finds them all. */
	for (unsigned i = 0; i < TREES; i++) {
		snprintf(below, sizeof(below), "c%u/a", i);
		assert_int_equal(get_attr(r, share_rig_node(r, below)), 0);
		assert_few_descriptors(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(test, setup) cmocka_unit_test_setup_teardown(test, setup, teardown)
		T(test_deep_paths, setup_scarce),
		T(test_trees_turned_around, setup_scarce),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
