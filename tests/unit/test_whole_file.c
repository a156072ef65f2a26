/* SPDX-License-Identifier: Apache-2.0 */
/* whole_file: whole or not at all, and nothing of it beside. */
#include "vmm/base/whole_file.h"

#include <dirent.h>
#include <errno.h>
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

static char dir[64];
static struct err e;

static int make_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/test_whole_file.XXXXXX");
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = {"a", "link", "fifo"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlink(names[i]);
	rmdir("sub");
	/* Fails if something else was left. */
	return chdir("/") == 0 && rmdir(dir) == 0 ? 0 : -1;
}

static int fill_text(FILE *out, void *ctx)
{
	fputs(ctx, out);
	return 0;
}

static int fill_half(FILE *out, void *ctx)
{
	fputs("half", out);
	return -EIO;
}

static int store(const char *path, const char *text)
{
	e = (struct err){0};
	return whole_file_check("--x", path, &e)
		       ?: whole_file_write("--x", path, fill_text, (void *)text, &e);
}

static void holds(const char *path, const char *want)
{
	char text[64] = "";
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
	fclose(f);
	assert_string_equal(text, want);
}

static void refused(const char *path, const char *want)
{
	e = (struct err){0};
	assert_true(whole_file_check("--x", path, &e) < 0);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_string_equal(e.text, want);
}

static void made_and_replaced(void **state)
{
	struct stat st;
	mode_t mask = umask(027);

	assert_int_equal(store("a", "one"), 0);
	umask(mask);
	holds("a", "one");
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(store("a", "two"), 0);
	holds("a", "two");
}

static void a_check_makes_nothing(void **state)
{
	assert_int_equal(whole_file_check("--x", "a", &e), 0);
	assert_int_equal(access("a", F_OK), -1);
}

static void a_failure_leaves_what_was(void **state)
{
	assert_int_equal(store("a", "one"), 0);
	e = (struct err){0};
	assert_int_equal(whole_file_write("--x", "a", fill_half, NULL, &e), -EIO);
	assert_int_equal(e.kind, ERR_HOST);
	assert_string_equal(e.text, "--x a: Input/output error");
	holds("a", "one");
}

static void a_link_stays_one(void **state)
{
	struct stat st;

	assert_int_equal(store("a", "one"), 0);
	assert_int_equal(symlink("a", "link"), 0);
	assert_int_equal(store("link", "two"), 0);
	holds("a", "two");
	assert_int_equal(lstat("link", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
}

static void what_is_no_file_is_refused(void **state)
{
	assert_int_equal(mkdir("sub", 0700), 0);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(symlink("nowhere", "link"), 0);
	refused("sub", "--x sub: Is a directory");
	refused("fifo", "--x fifo: is not a regular file");
	refused("/dev/null", "--x /dev/null: is not a regular file");
	refused("link", "--x link: No such file or directory");
	refused("none/a", "--x none/a: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(made_and_replaced, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_check_makes_nothing, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_failure_leaves_what_was, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_link_stays_one, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(what_is_no_file_is_refused, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
