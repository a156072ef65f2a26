/* SPDX-License-Identifier: Apache-2.0 */
/* test_init_users: whom the guest's init finds in /etc/passwd and /etc/group. */
#include "firmware/init/users.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static FILE *reader(const char *text)
{
	FILE *f = fmemopen((void *)text, strlen(text), "r");

	assert_non_null(f);
	return f;
}

static int find(struct user *u, const char *passwd, const char *who)
{
	FILE *f = reader(passwd);
	int ret = users_find(u, f, who);

	fclose(f);
	return ret;
}

static const char passwd[] = "root:x:0:0:root:/r:/bin/bash\n"
			     "# a remark\n"
			     "\n"
			     "short:x:5:5\n"
			     "bad:x:5x:5:::\n"
			     "minus:x:-1:5:::\n"
			     "none:x:4294967295:5:::\n"
			     "more:x:7:7:::x:y\n"
			     "+::::::\n"
			     ":x:77:77:no name::\n"
			     "me:x:1000:100:Me,,,:/place/me:/bin/zsh\n"
			     "too:x:1000:101:the same number:/too:\n"
			     "me:x:9:9:again::\n"
			     "last:x:4294967294:3::/last:";

static void users_by_name_and_number(void **state)
{
	struct user u;

	assert_int_equal(find(&u, passwd, "me"), 0);
	assert_int_equal(u.uid, 1000);
	assert_int_equal(u.gid, 100);
	assert_string_equal(u.name, "me");
	assert_string_equal(u.home, "/place/me");
	assert_string_equal(u.shell, "/bin/zsh");
	assert_int_equal(find(&u, passwd, "too"), 0);
	assert_int_equal(u.gid, 101);
	assert_string_equal(u.shell, "");
	/* The first of a number; and the last line has no newline. */
	assert_int_equal(find(&u, passwd, "1000"), 0);
	assert_string_equal(u.name, "me");
	assert_int_equal(find(&u, passwd, "4294967294"), 0);
	assert_string_equal(u.name, "last");
	assert_string_equal(u.home, "/last");
	assert_int_equal(find(&u, passwd, "00"), 0);
	assert_string_equal(u.name, "root");
}

static void lines_that_are_none(void **state)
{
	static const char *const not_there[] = {
		"short", "bad", "minus", "none", "more", "+", "",   "m",   "mee",  "ME",
		"5",     "7",   "77",    "1001", "#",    "x", "-1", " me", "me:x", "# a remark"};
	struct user u;

	for (size_t i = 0; i < ARRAY_LEN(not_there); i++)
		if (find(&u, passwd, not_there[i]) != -ENOENT)
			fail_msg("found: %s", not_there[i]);
	assert_int_equal(find(&u, "\n", "root"), -ENOENT);
}

/* What does not fit is passed over, never cut: a cut name is somebody else's. */
static void fields_of_any_length(void **state)
{
	static const struct {
		unsigned name, home, shell;
		bool found;
	} cases[] = {{255, 1, 1, true},   {256, 1, 1, false},  {1, 1023, 1023, true},
		     {1, 1024, 1, false}, {1, 1, 1024, false}, {1, 1, 100000, false}};
	char *long_field = malloc(100001), *text;
	struct user u;

	assert_non_null(long_field);
	memset(long_field, 'a', 100000);
	long_field[100000] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_true(asprintf(&text, "%.*s:x:3:4::/%.*s:/%.*s\n", cases[i].name, long_field,
				     cases[i].home - 1, long_field, cases[i].shell - 1,
				     long_field) > 0);
		assert_int_equal(find(&u, text, "3"), cases[i].found ? 0 : -ENOENT);
		if (cases[i].found) {
			assert_int_equal(strlen(u.name), cases[i].name);
			assert_int_equal(strlen(u.home), cases[i].home);
			assert_int_equal(strlen(u.shell), cases[i].shell);
		}
		free(text);
	}
	free(long_field);
}

static const char groups_text[] = "users:x:100:\n"
				  "audio:x:29:you,me\n"
				  "own:x:100:me\n"
				  "meme:x:30:meme,me2,\n"
				  "bad:x:nine:me\n"
				  "short:x:31\n"
				  "kvm:x:107:me,you\n"
				  "root:x:0:me\n"
				  "much:x:5:me:me";

static void groups_of_a_user(void **state)
{
	FILE *f = reader(groups_text);
	gid_t *groups = NULL;

	assert_int_equal(users_groups(&groups, f, "me", 100), 4);
	assert_int_equal(groups[0], 100);
	assert_int_equal(groups[1], 29);
	assert_int_equal(groups[2], 107);
	assert_int_equal(groups[3], 0);
	free(groups);
	rewind(f);
	assert_int_equal(users_groups(&groups, f, "nobody", 7), 1);
	assert_int_equal(groups[0], 7);
	free(groups);
	fclose(f);
}

static void groups_by_name(void **state)
{
	FILE *f = reader(groups_text);
	gid_t gid = 0;

	assert_int_equal(users_find_group(&gid, f, "kvm"), 0);
	assert_int_equal(gid, 107);
	rewind(f);
	assert_int_equal(users_find_group(&gid, f, "bad"), -ENOENT);
	rewind(f);
	assert_int_equal(users_find_group(&gid, f, "short"), -ENOENT);
	rewind(f);
	assert_int_equal(users_find_group(&gid, f, "kv"), -ENOENT);
	fclose(f);
}

static void numbers(void **state)
{
	static const char *const none[] = {
		"", "-1", "+1", " 1", "1 ", "0x1", "1a", "4294967295", "18446744073709551617"};
	uint32_t n = 3;

	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		assert_int_equal(users_number(none[i], &n), -EINVAL);
	assert_int_equal(n, 3);
	assert_int_equal(users_number("4294967294", &n), 0);
	assert_int_equal(n, 4294967294);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_by_name_and_number), cmocka_unit_test(lines_that_are_none),
		cmocka_unit_test(fields_of_any_length),     cmocka_unit_test(groups_of_a_user),
		cmocka_unit_test(groups_by_name),           cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
