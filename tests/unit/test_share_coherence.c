/* SPDX-License-Identifier: Apache-2.0 */
/* test_share_coherence: what the host has changed is seen at the guest's next open
 * (devices/backend/adr/001-close-to-open.md), or as the cache option says. */
#include "tests/lib/share_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
	return share_rig_setup(state, true, SHARE_CACHE_AUTO, 0);
}

static int setup_none(void **state)
{
	return share_rig_setup(state, true, SHARE_CACHE_NONE, 0);
}

static int setup_always(void **state)
{
	return share_rig_setup(state, true, SHARE_CACHE_ALWAYS, 0);
}

/* --- coherence -------------------------------------------------------------------------- */

/* As Linux does on ESTALE: the path is looked up once more, and opened again. */
static int open_again(struct share_rig *r, const char *path, uint64_t *node, uint64_t *fh)
{
	struct fuse_open_out out;
	int ret = share_rig_open(r, FUSE_OPEN, *node, O_RDONLY, &out);

	if (ret == -ESTALE) {
		*node = share_rig_node(r, path);
		ret = share_rig_open(r, FUSE_OPEN, *node, O_RDONLY, &out);
	}
	*fh = out.fh;
	return ret;
}

static void opens_as(struct share_rig *r, const char *path, uint64_t node, const char *text)
{
	uint64_t fh;

	assert_int_equal(open_again(r, path, &node, &fh), 0);
	assert_int_equal(share_rig_read(r, FUSE_READ, node, fh, 0, 100), 0);
	assert_int_equal(r->len, strlen(text));
	assert_memory_equal(r->data, text, r->len);
	assert_int_equal(share_rig_release(r, FUSE_RELEASE, node, fh), 0);
}

static void test_open_of_changed_file_is_stale(void **state)
{
	struct share_rig *r = *state;
	uint64_t node;
	struct fuse_open_out out;

	share_rig_put(r, "d/f", "short");
	node = share_rig_node(r, "d/f");
	share_rig_put(r, "d/f", "much longer than it was");
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out), -ESTALE);
	r->pid++; /* another thread, whose turn it is as well */
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out), -ESTALE);
	r->pid--;
	opens_as(r, "d/f", node, "much longer than it was");
}

static void test_open_of_replaced_file(void **state)
{
	struct share_rig *r = *state;
	uint64_t node;

	share_rig_put(r, "d/f", "old");
	node = share_rig_node(r, "d/f");
	share_rig_put(r, "d/g", "new");
	assert_int_equal(rename(share_rig_path(r, "d/g"), share_rig_path(r, "d/f")), 0);
	opens_as(r, "d/f", node, "new");
}

static void test_open_below_replaced_directory(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	uint64_t node, dir;

	share_rig_put(r, "a/d/f", "old");
	node = share_rig_node(r, "a/d/f");
	dir = share_rig_node(r, "a/d");
	assert_int_equal(rename(share_rig_path(r, "a"), share_rig_path(r, "b")), 0);
	share_rig_put(r, "a/d/f", "new");
	share_rig_put(r, "a/d/g", "more");
	/* What is not in the old one may be in the new one. */
	assert_int_equal(share_rig_lookup(r, dir, "g", &entry), -ESTALE);
	r->pid++;
	opens_as(r, "a/d/f", node, "new");
}

/* A file that never comes to rest is opened all the same; also by a thread that has no number where
 * the share was mounted. */
static void test_open_of_growing_file(void **state)
{
	struct share_rig *r = *state;
	uint64_t node;
	struct fuse_open_out out;

	for (r->pid = 0; r->pid < 2; r->pid++) {
		share_rig_put(r, "f", "1");
		node = share_rig_node(r, "f");
		share_rig_put(r, "f", "12");
		assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out), -ESTALE);
		share_rig_node(r, "f");
		share_rig_put(r, "f", "123");
		assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out), 0);
	}
}

/* Pages are kept from one open to the next only while nothing has changed since. */
static void test_pages_kept_while_unchanged(void **state)
{
	struct share_rig *r = *state;
	struct timespec past[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct fuse_open_out out;
	uint64_t node;

	share_rig_put(r, "f", "text");
	node = share_rig_node(r, "f");
	sleep(5); /* for a change of just now might be followed by one of the same time */
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, 0);
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, FOPEN_KEEP_CACHE);
	/* The same size, the same mtime in the end: another ctime. */
	share_rig_put(r, "f", "TEXT");
	assert_int_equal(utimensat(AT_FDCWD, share_rig_path(r, "f"), past, 0), 0);
	node = share_rig_node(r, "f");
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, 0);
}

/* Opens the directory and reads the names in it, all that is known of them with `op`
 * FUSE_READDIRPLUS: gives the flags that the guest is told. */
static uint32_t list(struct share_rig *r, uint64_t dir, uint32_t op)
{
	struct fuse_open_out out;

	assert_int_equal(share_rig_open(r, FUSE_OPENDIR, dir, 0, &out), 0);
	assert_int_equal(share_rig_read(r, op, dir, out.fh, 0, 4096), 0);
	assert_true(r->len);
	assert_int_equal(share_rig_release(r, FUSE_RELEASEDIR, dir, out.fh), 0);
	return out.open_flags & (FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE);
}

/* The guest reads its own copy of a directory while that has not changed and what it
 * was told with it is still believed. */
static void test_listing_kept_while_believed(void **state)
{
	const uint32_t read = FOPEN_CACHE_DIR, kept = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
	struct share_rig *r = *state;
	uint64_t dir;

	share_rig_put(r, "d/f", "text");
	dir = share_rig_node(r, "d");
	assert_int_equal(list(r, dir, FUSE_READDIRPLUS), read);
	/* It was made just now. */
	assert_int_equal(list(r, dir, FUSE_READDIRPLUS), read);
	sleep(5);
	assert_int_equal(list(r, dir, FUSE_READDIR), read);
	/* Of what is in it the guest was told too long ago. */
	assert_int_equal(list(r, dir, FUSE_READDIRPLUS), read);
	assert_int_equal(list(r, dir, FUSE_READDIRPLUS), kept);
	share_rig_put(r, "d/g", "text");
	dir = share_rig_node(r, "d");
	assert_int_equal(list(r, dir, FUSE_READDIRPLUS), read);
}

static void test_cache_none(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;

	share_rig_put(r, "f", "text");
	assert_int_equal(share_rig_lookup(r, 1, "f", &entry), 0);
	assert_int_equal(entry.entry_valid + entry.entry_valid_nsec, 0);
	assert_int_equal(entry.attr_valid + entry.attr_valid_nsec, 0);
	share_rig_put(r, "f", "other");
	assert_int_equal(share_rig_open(r, FUSE_OPEN, entry.nodeid, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & (FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE), FOPEN_DIRECT_IO);
	assert_int_equal(list(r, FUSE_ROOT_ID, FUSE_READDIRPLUS), 0);
	assert_int_equal(list(r, FUSE_ROOT_ID, FUSE_READDIRPLUS), 0);
}

static void test_cache_always(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;

	share_rig_put(r, "f", "text");
	assert_int_equal(share_rig_lookup(r, 1, "f", &entry), 0);
	assert_true(entry.entry_valid > 3600 && entry.attr_valid > 3600);
	assert_int_equal(share_rig_open(r, FUSE_OPEN, entry.nodeid, O_RDONLY, &out), 0);
	assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, FOPEN_KEEP_CACHE);
	assert_int_equal(list(r, FUSE_ROOT_ID, FUSE_READDIR), FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE);
	/* That a name is not there is worth remembering, too. */
	assert_int_equal(share_rig_lookup(r, 1, "nobody", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
}

int main(void)
{
#define T(test, setup) cmocka_unit_test_setup_teardown(test, setup, share_rig_teardown)
	const struct CMUnitTest tests[] = {
		T(test_open_of_changed_file_is_stale, setup),
		T(test_open_of_replaced_file, setup),
		T(test_open_below_replaced_directory, setup),
		T(test_open_of_growing_file, setup),
		T(test_pages_kept_while_unchanged, setup),
		T(test_listing_kept_while_believed, setup),
		T(test_cache_none, setup_none),
		T(test_cache_always, setup_always),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
