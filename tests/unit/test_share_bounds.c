/* SPDX-License-Identifier: Apache-2.0 */
/* test_share_bounds: what a guest can make grow on the host, and how far (share.h): files that it
 * knows, descriptors, directories that are read ahead; and what it makes wait. */
#include "tests/lib/share_rig.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
	return share_rig_setup(state, true, SHARE_CACHE_AUTO, 0);
}

static int setup_scarce(void **state)
{
	return share_rig_setup(state, true, SHARE_CACHE_AUTO, SHARE_FDS_MIN);
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

/* Many more files than descriptors, and a path deeper than they go: all are there when they
 * are asked for, unless the host has put others in their places. */
static void test_more_files_than_descriptors(void **state)
{
	enum { FILES = 300, DEEP = 100 };
	struct share_rig *r = *state;
	const struct fuse_getattr_in in = {0};
	uint64_t nodes[FILES], deep[DEEP], at = 1;
	char name[32];
	struct fuse_entry_out entry;

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		share_rig_put(r, name, name);
		nodes[i] = share_rig_node(r, name);
		assert_true(share_count(r->share).fds <= SHARE_FDS_MIN);
	}
	for (unsigned i = 0; i < DEEP; i++) {
		const struct fuse_mkdir_in dir = {.mode = 0755};

		assert_int_equal(share_rig_call(r, FUSE_MKDIR, at, &dir, sizeof(dir), "d", 2), 0);
		memcpy(&entry, r->data, sizeof(entry));
		at = deep[i] = entry.nodeid;
	}
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(
			share_rig_call(r, FUSE_GETATTR, nodes[i], &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, deep[DEEP - 1], &in, sizeof(in), NULL, 0),
			 0);
	assert_true(share_count(r->share).fds <= SHARE_FDS_MIN);
	/* Another of that name is another file. */
	assert_int_equal(unlink(share_rig_path(r, "file-0")), 0);
	share_rig_put(r, "file-0", "another");
	share_rig_node(r, "file-1");
	for (unsigned i = 2; i < FILES; i++)
		share_rig_call(r, FUSE_GETATTR, nodes[i], &in, sizeof(in), NULL, 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, nodes[0], &in, sizeof(in), NULL, 0),
			 -ESTALE);
	assert_int_not_equal(share_rig_node(r, "file-0"), nodes[0]);
}

/* A guest that opens and never closes meets a bound. */
static void test_open_files_are_bounded(void **state)
{
	struct share_rig *r = *state;
	struct fuse_open_out out;
	uint64_t node;
	int ret = 0;

	share_rig_put(r, "f", "");
	node = share_rig_node(r, "f");
	for (unsigned i = 0; i < 1000 && !ret; i++)
		ret = share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out);
	assert_int_equal(ret, -ENFILE);
	assert_true(share_count(r->share).handles < SHARE_FDS_MIN);
	assert_int_equal(share_rig_mount(r, 0), 0);
	assert_int_equal(share_count(r->share).handles, 0);
	assert_int_equal(share_count(r->share).nodes, 1);
}

/* The host turns the tree around: the child becomes the parent. */
static void test_tree_turned_around(void **state)
{
	struct share_rig *r = *state;
	uint64_t a, b;

	share_rig_put(r, "a/b/f", "");
	a = share_rig_node(r, "a");
	b = share_rig_node(r, "a/b");
	assert_int_equal(rename(share_rig_path(r, "a/b"), share_rig_path(r, "b")), 0);
	assert_int_equal(rename(share_rig_path(r, "a"), share_rig_path(r, "b/a")), 0);
	assert_int_equal(share_rig_node(r, "b"), b);
	assert_int_equal(share_rig_node(r, "b/a"), a);
	share_rig_forget(r, b, 100);
	share_rig_forget(r, a, 100);
	assert_int_equal(share_count(r->share).nodes, 1);
	/* And with the new child seen first. */
	share_rig_put(r, "p/q/f", "");
	a = share_rig_node(r, "p");
	b = share_rig_node(r, "p/q");
	assert_int_equal(rename(share_rig_path(r, "p/q"), share_rig_path(r, "q")), 0);
	assert_int_equal(rename(share_rig_path(r, "p"), share_rig_path(r, "q/p")), 0);
	struct fuse_entry_out entry;

	assert_int_equal(share_rig_lookup(r, b, "p", &entry), 0);
	assert_int_equal(entry.nodeid, a);
	share_rig_forget(r, a, 100);
	share_rig_forget(r, b, 100);
	assert_int_equal(share_count(r->share).nodes, 1);
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

/* What was put away is there when it is wanted, whatever wants it. */
static void test_put_away(void **state)
{
	enum { OTHERS = 100 };
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	char name[32];

	share_rig_put(r, "f", "text");
	for (unsigned round = 0; round < 2; round++) {
		uint64_t node = share_rig_node(r, "f");

		for (unsigned i = 0; i < OTHERS; i++) {
			snprintf(name, sizeof(name), "g%u", i);
			share_rig_put(r, name, "");
			share_rig_node(r, name);
		}
		assert_int_equal(share_rig_create(r, FUSE_ROOT_ID, "f", O_RDWR | O_CREAT,
						  S_IFREG | 0644, &entry, &out),
				 0);
		assert_int_equal(entry.nodeid, node);
		assert_int_equal(share_rig_read(r, FUSE_READ, node, out.fh, 0, 100), 0);
		assert_memory_equal(r->data, "text", 4);
		assert_int_equal(share_rig_release(r, FUSE_RELEASE, node, out.fh), 0);
	}
}

/* Who cannot have one more open file has not changed anything for it. */
static void test_no_open_file_left(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	struct stat st;
	uint64_t node;

	share_rig_put(r, "f", "text");
	node = share_rig_node(r, "f");
	while (!share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out))
		;
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDWR | O_TRUNC, &out), -ENFILE);
	assert_int_equal(share_rig_create(r, FUSE_ROOT_ID, "f", O_RDWR | O_CREAT | O_TRUNC,
					  S_IFREG | 0644, &entry, &out),
			 -ENFILE);
	assert_int_equal(share_rig_open(r, FUSE_OPENDIR, FUSE_ROOT_ID, 0, &out), -ENFILE);
	assert_int_equal(stat(share_rig_path(r, "f"), &st), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(share_rig_create(r, FUSE_ROOT_ID, "new", O_RDWR | O_CREAT, S_IFREG | 0644,
					  &entry, &out),
			 -ENFILE);
	assert_int_equal(access(share_rig_path(r, "new"), F_OK), -1);
	assert_int_equal(share_count(r->share).nodes, 2);
}

/* --- a host that has no more ----------------------------------------------------------------- */

/* One of each kind that needs a descriptor; gives whether all went well. Who does not get one is
 * told so, and nothing else. */
static bool use_descriptors(struct share_rig *r)
{
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	int rets[5] = {share_rig_mount(r, FUSE_DO_READDIRPLUS)};

	if (rets[0]) {
		assert_true(rets[0] == -EMFILE || rets[0] == -ENOMEM);
		return false;
	}
	rets[1] = share_rig_lookup(r, FUSE_ROOT_ID, "d", &entry);
	if (!rets[1])
		rets[2] = share_rig_lookup(r, entry.nodeid, "f", &entry);
	if (!rets[1] && !rets[2])
		rets[3] = share_rig_open(r, FUSE_OPEN, entry.nodeid, O_RDWR, &out);
	rets[4] = share_rig_open(r, FUSE_OPENDIR, FUSE_ROOT_ID, 0, &out);
	if (!rets[4])
		rets[4] = share_rig_read(r, FUSE_READDIRPLUS, FUSE_ROOT_ID, out.fh, 0, 4096);
	for (unsigned i = 1; i < ARRAY_LEN(rets); i++)
		assert_true(!rets[i] || rets[i] == -EMFILE);
	return !rets[1] && !rets[2] && !rets[3] && !rets[4];
}

/* How many the process must be allowed for all to go well. */
static rlim_t descriptors_needed(struct share_rig *r)
{
	struct rlimit before, limit;
	bool good = false;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	for (limit.rlim_cur = 1; !good && limit.rlim_cur < 64; limit.rlim_cur++) {
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		good = use_descriptors(r);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		assert_true(use_descriptors(r));
	}
	assert_true(good);
	return limit.rlim_cur;
}

static void test_host_without_descriptors(void **state)
{
	struct share_rig *r = *state;
	rlim_t needed;

	share_rig_put(r, "d/f", "text");
	needed = descriptors_needed(r);
	assert_true(needed > 8);
	/* None was lost where there were too few. */
	assert_int_equal(descriptors_needed(r), needed);
}

/* A file that may not grow: what fits is written, and then it is too big. main() sees to it that
 * this is no signal's business. */
static void test_host_without_room(void **state)
{
	static const char bytes[3000];
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	struct rlimit before, limit;
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	int first, second;

	assert_int_equal(share_rig_create(r, FUSE_ROOT_ID, "f", O_RDWR | O_CREAT, S_IFREG | 0644,
					  &entry, &out),
			 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	first = share_rig_write(r, entry.nodeid, out.fh, 3000, bytes, sizeof(bytes));
	second = share_rig_write(r, entry.nodeid, out.fh, 4096, bytes, sizeof(bytes));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, handler);
	assert_int_equal(first, 1096);
	assert_int_equal(second, -EFBIG);
	assert_int_equal(share_rig_write(r, entry.nodeid, out.fh, 4096, bytes, sizeof(bytes)),
			 sizeof(bytes));
}

/* --- memory ----------------------------------------------------------------------------- */

/* The guest knows as many files as it may, and no more until it has forgotten some. */
static void test_files_known(void **state)
{
	enum { MAX = 100 };
	const struct share_options options = {
		.name = "share0", .writable = true, .fds_max = 1024, .nodes_max = MAX};
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	uint64_t nodes[MAX];
	char name[32];

	share_destroy(r->share);
	assert_int_equal(share_open(&r->share, r->dir, &options, NULL), 0);
	assert_int_equal(share_rig_mount(r, 0), 0);
	for (unsigned i = 1; i < MAX; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		nodes[i] = make_dir(r, FUSE_ROOT_ID, name);
	}
	assert_int_equal(share_count(r->share).nodes, MAX);
	share_rig_put(r, "more", "");
	assert_int_equal(share_rig_lookup(r, FUSE_ROOT_ID, "more", &entry), -ENFILE);
	/* What it knows already is no more, however often it is looked up. */
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(share_rig_node(r, "d1"), nodes[1]);
	assert_int_equal(share_count(r->share).nodes, MAX);
	share_rig_forget(r, nodes[2], 1);
	share_rig_forget(r, nodes[2], 1000); /* that is nobody now */
	assert_int_equal(share_rig_lookup(r, FUSE_ROOT_ID, "more", &entry), 0);
	assert_int_equal(share_rig_lookup(r, FUSE_ROOT_ID, "d2", &entry), -ENFILE);
	share_rig_forget(r, nodes[1], 1001);
	assert_int_equal(share_count(r->share).nodes, MAX - 1);
}

/* One name of an open directory, and where the next is; "" at the end. */
static uint64_t next_name(struct share_rig *r, uint64_t fh, uint64_t off, char name[32])
{
	const struct fuse_dirent *e = r->data;

	assert_int_equal(share_rig_read(r, FUSE_READDIR, FUSE_ROOT_ID, fh, off, 48), 0);
	name[0] = '\0';
	if (!r->len)
		return off;
	assert_true(e->namelen < 32 && r->len == FUSE_DIRENT_SIZE(e));
	memcpy(name, e->name, e->namelen);
	name[e->namelen] = '\0';
	return e->off;
}

/* Many directories are read by turns, a name at a time: all have all names, and few of them are
 * read ahead. */
static void test_directories_read_ahead(void **state)
{
	enum { DIRS = 4 * SHARE_AHEAD_MAX, FILES = 20 };
	struct share_rig *r = *state;
	struct fuse_open_out out;
	static uint64_t fhs[DIRS], offs[DIRS];
	static uint32_t seen[DIRS];
	char name[32];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		share_rig_put(r, name, "");
	}
	for (unsigned i = 0; i < DIRS; i++) {
		assert_int_equal(share_rig_open(r, FUSE_OPENDIR, FUSE_ROOT_ID, 0, &out), 0);
		fhs[i] = out.fh;
	}
	for (unsigned n = 0; n < FILES + 2; n++)
		for (unsigned i = 0; i < DIRS; i++) {
			offs[i] = next_name(r, fhs[i], offs[i], name);
			if (name[0] == 'f') {
				uint32_t bit = 1u << atoi(name + 5);

				assert_false(seen[i] & bit);
				seen[i] |= bit;
			}
			assert_true(share_count(r->share).ahead <= SHARE_AHEAD_MAX);
		}
	assert_int_equal(share_count(r->share).ahead, SHARE_AHEAD_MAX);
	for (unsigned i = 0; i < DIRS; i++) {
		assert_int_equal(seen[i], (1u << FILES) - 1);
		next_name(r, fhs[i], offs[i], name);
		assert_string_equal(name, "");
		assert_int_equal(share_rig_release(r, FUSE_RELEASEDIR, FUSE_ROOT_ID, fhs[i]), 0);
	}
	assert_int_equal(share_count(r->share).ahead, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(test, setup) cmocka_unit_test_setup_teardown(test, setup, share_rig_teardown)
		T(test_more_files_than_descriptors, setup_scarce),
		T(test_open_files_are_bounded, setup_scarce),
		T(test_tree_turned_around, setup),
		T(test_deep_paths, setup_scarce),
		T(test_trees_turned_around, setup_scarce),
		T(test_put_away, setup_scarce),
		T(test_no_open_file_left, setup_scarce),
		T(test_host_without_descriptors, setup),
		T(test_host_without_room, setup),
		T(test_files_known, setup),
		T(test_directories_read_ahead, setup),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
