/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_dir: whole or not at all, one at a time, and in nobody's place but an older one's. */
#include "tests/lib/scratch.h"
#include "vmm/base/fd.h"
#include "vmm/snapshot/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct scratch s;

static bool is_there(const char *name)
{
	struct stat st;

	return !lstat(scratch_path(&s, name), &st);
}

static void begin(struct snapshot_dir *d)
{
	struct err e = {0};

	if (snapshot_dir_begin(d, -1, scratch_path(&s, "snap"), &e))
		fail_msg("%s", e.text);
}

static void put(const struct snapshot_dir *d, const char *name, const char *text)
{
	struct err e = {0};
	_cleanup_fd_ int fd = snapshot_dir_file(d, name, &e);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
	assert_int_equal(snapshot_dir_sync(d, fd, name, &e), 0);
}

/* What the finished one's state says. */
static void expect_state(const char *want)
{
	struct err e = {0};
	_cleanup_fd_ int dir = snapshot_dir_open(scratch_path(&s, "snap"), &e);
	char path[200], text[32] = "";

	assert_true(dir >= 0);
	snprintf(path, sizeof(path), "%s", scratch_path(&s, "snap/state"));
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, want);
}

static void there_when_committed(void **state)
{
	struct snapshot_dir d;
	struct err e = {0};
	struct stat st;

	begin(&d);
	assert_true(is_there(".snap.partial"));
	assert_false(is_there("snap"));
	put(&d, SNAPSHOT_STATE, "one");
	assert_true(snapshot_dir_file(&d, SNAPSHOT_STATE, &e) == -EEXIST);
	assert_int_equal(snapshot_dir_commit(&d, &e), 0);
	assert_false(is_there(".snap.partial"));
	expect_state("one");
	assert_int_equal(stat(scratch_path(&s, "snap"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stat(scratch_path(&s, "snap/state"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void an_older_one_stays_until_then(void **state)
{
	struct snapshot_dir d;

	begin(&d);
	put(&d, SNAPSHOT_STATE, "two");
	put(&d, SNAPSHOT_MEMORY, "x");
	expect_state("one");
	snapshot_dir_abandon(&d);
	expect_state("one");
	assert_false(is_there(".snap.partial"));
	snapshot_dir_abandon(&d);
	begin(&d);
	put(&d, SNAPSHOT_STATE, "three");
	assert_int_equal(snapshot_dir_commit(&d, NULL), 0);
	expect_state("three");
	assert_false(is_there("snap/memory"));
	assert_false(is_there(".snap.partial"));
}

static void one_at_a_time(void **state)
{
	struct snapshot_dir d, second;
	struct err e = {0};

	begin(&d);
	put(&d, SNAPSHOT_STATE, "four");
	assert_int_equal(snapshot_dir_begin(&second, -1, scratch_path(&s, "snap"), &e), -EBUSY);
	assert_non_null(strstr(e.text, "is being written already"));
	put(&d, SNAPSHOT_MEMORY, "x");
	assert_int_equal(snapshot_dir_commit(&d, NULL), 0);
	expect_state("four");
	unlink(scratch_path(&s, "snap/memory"));
}

/* Who died in between leaves this: nobody has its lock. */
static void the_next_takes_over(void **state)
{
	struct snapshot_dir d;

	scratch_text(&s, ".snap.partial/state", "half");
	scratch_text(&s, ".snap.partial/memory", "half");
	begin(&d);
	assert_false(is_there(".snap.partial/memory"));
	put(&d, SNAPSHOT_STATE, "five");
	assert_int_equal(snapshot_dir_commit(&d, NULL), 0);
	expect_state("five");
	assert_false(is_there(".snap.partial"));
}

static void places_that_are_no_snapshots(void **state)
{
	struct snapshot_dir d;
	struct err e = {0};

	scratch_text(&s, "full/file", "x");
	assert_int_equal(snapshot_dir_begin(&d, -1, scratch_path(&s, "full"), &e), -ENOTEMPTY);
	scratch_text(&s, "file", "x");
	assert_int_equal(snapshot_dir_begin(&d, -1, scratch_path(&s, "file"), &e), -ENOTDIR);
	assert_int_equal(symlink("snap", scratch_path(&s, "link")), 0);
	assert_true(snapshot_dir_begin(&d, -1, scratch_path(&s, "link"), &e) < 0);
	assert_int_equal(snapshot_dir_begin(&d, -1, scratch_path(&s, "no/snap"), &e), -ENOENT);
	assert_int_equal(snapshot_dir_begin(&d, -1, "/", &e), -EINVAL);
	assert_int_equal(snapshot_dir_begin(&d, -1, "", &e), -EINVAL);
	assert_int_equal(snapshot_dir_begin(&d, -1, "..", &e), -EINVAL);
	assert_int_equal(mkdir(scratch_path(&s, "empty"), 0755), 0);
	assert_int_equal(snapshot_dir_begin(&d, -1, scratch_path(&s, "empty/"), &e), 0);
	snapshot_dir_abandon(&d);
	assert_false(is_there(".full.partial") || is_there(".file.partial") ||
		     is_there(".link.partial") || is_there(".empty.partial"));
	expect_state("five");
}

/* --- by the descriptor of the directory above ------------------------------------------------ */

static int above(const char *name)
{
	int fd = open(scratch_path(&s, name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void in_a_descriptor(void **state)
{
	struct snapshot_dir d;
	struct err e = {0};
	_cleanup_fd_ int at = above(".");

	assert_int_equal(snapshot_dir_begin(&d, at, "snap", &e), 0);
	put(&d, SNAPSHOT_STATE, "six");
	assert_int_equal(snapshot_dir_commit(&d, &e), 0);
	expect_state("six");
	/* It is the caller's still. */
	_cleanup_fd_ int snap = snapshot_dir_open_at(at, "snap");

	assert_true(snap >= 0);
	assert_int_equal(snapshot_dir_open_at(at, "link"), -ENOTDIR);
	assert_int_equal(snapshot_dir_open_at(at, "no"), -ENOENT);
	assert_int_equal(snapshot_dir_open_at(at, "./snap"), -EINVAL);
	assert_int_equal(snapshot_dir_open_at(at, ".."), -EINVAL);
}

static void names_that_lead_elsewhere(void **state)
{
	static const char *const names[] = {"", ".", "..", "/", "a/b", "../snap", "/snap", "snap/"};
	_cleanup_fd_ int at = above(".");

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct snapshot_dir d;
		struct err e = {0};

		assert_int_equal(snapshot_dir_begin(&d, at, names[i], &e), -EINVAL);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_non_null(strstr(e.text, "not a name for a directory"));
	}
}

static void descriptors_that_are_none(void **state)
{
	_cleanup_fd_ int file = open(scratch_path(&s, "file"), O_RDONLY | O_CLOEXEC);
	_cleanup_fd_ int path = open(scratch_path(&s, "."), O_PATH | O_CLOEXEC);
	struct snapshot_dir d;
	struct err e = {0};

	assert_int_equal(snapshot_dir_begin(&d, file, "x", &e), -ENOTDIR);
	assert_int_equal(snapshot_dir_begin(&d, path, "x", &e), -ENOTDIR);
	assert_non_null(strstr(e.text, "no directory that is open for reading"));
	assert_int_equal(snapshot_dir_begin(&d, 9999, "x", &e), -EBADF);
}

/* Where we are going to write: refused, or not followed. */
static void planted_links(void **state)
{
	_cleanup_fd_ int at = above(".");
	struct snapshot_dir d;
	struct err e = {0};
	struct stat st;

	scratch_text(&s, "victim/state", "mine");
	assert_int_equal(symlink("victim", scratch_path(&s, ".trap.partial")), 0);
	assert_int_equal(snapshot_dir_begin(&d, at, "trap", &e), -ENOTDIR);
	assert_int_equal(unlink(scratch_path(&s, ".trap.partial")), 0);
	assert_int_equal(symlink("victim", scratch_path(&s, "trap")), 0);
	assert_int_equal(snapshot_dir_begin(&d, at, "trap", &e), -ENOTDIR);
	assert_int_equal(unlink(scratch_path(&s, "trap")), 0);

	/* Within what one who died has left. */
	scratch_text(&s, ".trap.partial/unknown", "x");
	assert_int_equal(unlink(scratch_path(&s, ".trap.partial/unknown")), 0);
	assert_int_equal(symlink("../victim/state", scratch_path(&s, ".trap.partial/state")), 0);
	assert_int_equal(
		link(scratch_path(&s, "victim/state"), scratch_path(&s, ".trap.partial/memory")),
		0);
	assert_int_equal(snapshot_dir_begin(&d, at, "trap", &e), 0);
	put(&d, SNAPSHOT_STATE, "ours");
	put(&d, SNAPSHOT_MEMORY, "ours");
	/* And while it is written. */
	assert_int_equal(symlink("../victim/state", scratch_path(&s, ".trap.partial/cmdline")), 0);
	assert_true(snapshot_dir_file(&d, SNAPSHOT_CMDLINE, &e) == -EEXIST);
	assert_int_equal(snapshot_dir_commit(&d, &e), 0);
	assert_int_equal(stat(scratch_path(&s, "victim/state"), &st), 0);
	assert_int_equal(st.st_size, 4);
	FILE *f = fopen(scratch_path(&s, "victim/state"), "r");
	char text[16] = "";

	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "mine");
	assert_int_equal(stat(scratch_path(&s, "trap"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

/* The directory above is removed, or moved: into the one that was meant, or nowhere. */
static void the_one_above_goes(void **state)
{
	struct snapshot_dir d;
	struct err e = {0};

	assert_int_equal(mkdir(scratch_path(&s, "gone"), 0755), 0);
	{
		_cleanup_fd_ int at = above("gone");

		assert_int_equal(rmdir(scratch_path(&s, "gone")), 0);
		assert_int_equal(snapshot_dir_begin(&d, at, "x", &e), -ENOENT);
	}
	assert_int_equal(mkdir(scratch_path(&s, "here"), 0755), 0);
	_cleanup_fd_ int at = above("here");

	assert_int_equal(snapshot_dir_begin(&d, at, "x", &e), 0);
	assert_int_equal(rename(scratch_path(&s, "here"), scratch_path(&s, "there")), 0);
	assert_int_equal(mkdir(scratch_path(&s, "here"), 0755), 0);
	put(&d, SNAPSHOT_STATE, "moved");
	assert_int_equal(snapshot_dir_commit(&d, &e), 0);
	assert_true(is_there("there/x/state"));
	assert_false(is_there("here/x"));

	/* With all that is in it. */
	assert_int_equal(snapshot_dir_begin(&d, at, "y", &e), 0);
	assert_int_equal(rmdir(scratch_path(&s, "there/.y.partial")), 0);
	assert_int_equal(snapshot_dir_file(&d, SNAPSHOT_STATE, NULL), -ENOENT);
	e = (struct err){0};
	assert_int_equal(snapshot_dir_commit(&d, &e), -ESTALE);
	assert_non_null(strstr(e.text, "was taken away meanwhile"));
	assert_false(is_there("there/y"));
}

/* What was written is replaced by something else, which gets neither its place nor a scratch. */
static void the_partial_one_is_replaced(void **state)
{
	struct snapshot_dir d;
	struct err e = {0};

	begin(&d);
	put(&d, SNAPSHOT_STATE, "seven");
	assert_int_equal(rename(scratch_path(&s, ".snap.partial"), scratch_path(&s, "away")), 0);
	assert_int_equal(mkdir(scratch_path(&s, ".snap.partial"), 0700), 0);
	assert_int_equal(snapshot_dir_commit(&d, &e), -ESTALE);
	expect_state("six");
	assert_true(is_there(".snap.partial"));
	assert_false(is_there("away/state"));
	assert_int_equal(rmdir(scratch_path(&s, ".snap.partial")), 0);
	assert_int_equal(rmdir(scratch_path(&s, "away")), 0);
}

/* Something that is no snapshot has come to its place: it stays as it is. */
static void its_place_is_taken(void **state)
{
	struct snapshot_dir d;
	struct err e = {0};
	_cleanup_fd_ int at = above(".");
	char to[32] = "";

	assert_int_equal(snapshot_dir_begin(&d, at, "taken", &e), 0);
	put(&d, SNAPSHOT_STATE, "x");
	scratch_text(&s, "taken/file", "x");
	assert_int_equal(snapshot_dir_commit(&d, &e), -ENOTEMPTY);
	assert_true(is_there("taken/file"));
	assert_false(is_there("taken/state") || is_there(".taken.partial"));

	assert_int_equal(snapshot_dir_begin(&d, at, "linked", &e), 0);
	put(&d, SNAPSHOT_STATE, "x");
	assert_int_equal(symlink("snap", scratch_path(&s, "linked")), 0);
	assert_int_equal(snapshot_dir_commit(&d, &e), -ENOTDIR);
	assert_int_equal(readlink(scratch_path(&s, "linked"), to, sizeof(to) - 1), 4);
	assert_string_equal(to, "snap");
	assert_false(is_there(".linked.partial"));
	expect_state("six");

	/* An empty one is nothing. */
	assert_int_equal(snapshot_dir_begin(&d, at, "void", &e), 0);
	put(&d, SNAPSHOT_STATE, "x");
	assert_int_equal(mkdir(scratch_path(&s, "void"), 0755), 0);
	assert_int_equal(snapshot_dir_commit(&d, &e), 0);
	assert_true(is_there("void/state"));
	assert_false(is_there(".void.partial"));
}

/* The descriptor is no permission of its own. */
static void no_permission(void **state)
{
	struct snapshot_dir d;
	struct err e = {0};
	uid_t us = geteuid();

	assert_int_equal(mkdir(scratch_path(&s, "locked"), 0555), 0);
	assert_int_equal(mkdir(scratch_path(&s, "theirs"), 0777), 0);
	assert_int_equal(chmod(scratch_path(&s, "theirs"), 0777), 0);
	_cleanup_fd_ int locked = above("locked"), theirs = above("theirs");

	scratch_text(&s, "theirs/.x.partial/state", "x");
	assert_int_equal(us ? 0 : seteuid(65534), 0);
	int ret = snapshot_dir_begin(&d, locked, "x", &e);
	e = (struct err){0};
	int left = us ? 0 : snapshot_dir_begin(&d, theirs, "x", &e);

	assert_int_equal(us ? 0 : seteuid(us), 0);
	assert_int_equal(ret, -EACCES);
	if (us)
		return;
	/* scratch_text() makes them for all to read: to write there would be to hand all over. */
	assert_int_equal(left, -EPERM);
	assert_non_null(strstr(e.text, "another user's"));
	assert_true(is_there("theirs/.x.partial/state"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_when_committed),
		cmocka_unit_test(an_older_one_stays_until_then),
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(the_next_takes_over),
		cmocka_unit_test(places_that_are_no_snapshots),
		cmocka_unit_test(in_a_descriptor),
		cmocka_unit_test(names_that_lead_elsewhere),
		cmocka_unit_test(descriptors_that_are_none),
		cmocka_unit_test(planted_links),
		cmocka_unit_test(the_one_above_goes),
		cmocka_unit_test(the_partial_one_is_replaced),
		cmocka_unit_test(its_place_is_taken),
		cmocka_unit_test(no_permission),
	};
	int ret;

	scratch_init(&s);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	scratch_fini(&s);
	return ret;
}
