/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_dir: whole or not at all, one at a time, and in nobody's place but an older one's. */
#include "tests/lib/scratch.h"
#include "vmm/base/fd.h"
#include "vmm/snapshot/dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

	if (snapshot_dir_begin(d, scratch_path(&s, "snap"), &e))
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
	assert_int_equal(snapshot_dir_begin(&second, scratch_path(&s, "snap"), &e), -EBUSY);
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
	assert_int_equal(snapshot_dir_begin(&d, scratch_path(&s, "full"), &e), -ENOTEMPTY);
	scratch_text(&s, "file", "x");
	assert_int_equal(snapshot_dir_begin(&d, scratch_path(&s, "file"), &e), -ENOTDIR);
	assert_int_equal(symlink("snap", scratch_path(&s, "link")), 0);
	assert_true(snapshot_dir_begin(&d, scratch_path(&s, "link"), &e) < 0);
	assert_int_equal(snapshot_dir_begin(&d, scratch_path(&s, "no/snap"), &e), -ENOENT);
	assert_int_equal(snapshot_dir_begin(&d, "/", &e), -EINVAL);
	assert_int_equal(snapshot_dir_begin(&d, "", &e), -EINVAL);
	assert_int_equal(snapshot_dir_begin(&d, "..", &e), -EINVAL);
	assert_int_equal(mkdir(scratch_path(&s, "empty"), 0755), 0);
	assert_int_equal(snapshot_dir_begin(&d, scratch_path(&s, "empty/"), &e), 0);
	snapshot_dir_abandon(&d);
	assert_false(is_there(".full.partial") || is_there(".file.partial") ||
		     is_there(".link.partial") || is_there(".empty.partial"));
	expect_state("five");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_when_committed),
		cmocka_unit_test(an_older_one_stays_until_then),
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(the_next_takes_over),
		cmocka_unit_test(places_that_are_no_snapshots),
	};
	int ret;

	scratch_init(&s);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	scratch_fini(&s);
	return ret;
}
