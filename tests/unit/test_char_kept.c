/* SPDX-License-Identifier: Apache-2.0 */
/* A console that nobody looks at: silent if all is well, its last lines on stderr if not. */
#include "devices/backend/char_backend.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char told[1 << 20];

/* Run `fn` with stderr in a file, whose text is in told[] then. */
static void with_stderr(void (*fn)(struct char_backend *b, const struct char_out *out), bool show)
{
	struct err e = {0};
	int saved = dup(STDERR_FILENO);
	FILE *file = tmpfile();
	ssize_t n;

	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	struct char_backend *b = char_kept_create("--serial", show, &e);

	if (b) {
		const struct char_out out = b->ops->out(b);

		fn(b, &out);
		b->ops->close(b);
	}
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(fileno(file), told, sizeof(told) - 1, 0);
	fclose(file);
	assert_non_null(b);
	assert_true(n >= 0);
	told[n] = '\0';
}

static void send(const struct char_out *out, const char *text)
{
	out->send(out->ctx, (const uint8_t *)text, strlen(text));
}

static void say_two_lines(struct char_backend *b, const struct char_out *out)
{
	send(out, "one\r\ntw");
	send(out, "o");
}

static void two_lines_and_a_failure(struct char_backend *b, const struct char_out *out)
{
	say_two_lines(b, out);
	char_kept_tell(b);
}

static void many_lines_and_a_failure(struct char_backend *b, const struct char_out *out)
{
	char line[80];

	for (unsigned i = 1; i <= 20000; i++) {
		snprintf(line, sizeof(line), "line %u of many\r\n", i);
		send(out, line);
	}
	char_kept_tell(b);
}

static void nothing_and_a_failure(struct char_backend *b, const struct char_out *out)
{
	char_kept_tell(b);
}

static void all_is_well(void **state)
{
	with_stderr(say_two_lines, false);
	assert_string_equal(told, "");
}

static void a_failure_is_told(void **state)
{
	with_stderr(two_lines_and_a_failure, false);
	assert_string_equal(told, "one\ntwo\n");
	with_stderr(nothing_and_a_failure, false);
	assert_string_equal(told, "");
}

static void of_much_the_end_is_told(void **state)
{
	unsigned lines = 0;

	with_stderr(many_lines_and_a_failure, false);
	for (const char *p = told; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 60);
	assert_int_equal(strncmp(told, "line 19941 of many\n", 19), 0);
	assert_non_null(strstr(told, "\nline 20000 of many\n"));
}

static char *kept;

static void two_lines_and_a_look(struct char_backend *b, const struct char_out *out)
{
	say_two_lines(b, out);
	out->send(out->ctx, (const uint8_t *)"\0x", 2);
	kept = char_kept_last(b);
	char_kept_tell(b);
}

/* They can be had as well, and are told all the same. */
static void the_last_lines_can_be_had(void **state)
{
	with_stderr(two_lines_and_a_look, false);
	assert_string_equal(kept, "one\ntwo?x\n");
	assert_string_equal(told, "one\ntwo?x\n");
	free(kept);
	with_stderr(two_lines_and_a_look, true);
	assert_string_equal(kept, "one\ntwo?x\n");
	free(kept);
}

/* As it comes, with nothing said twice. */
static void shown(void **state)
{
	with_stderr(two_lines_and_a_failure, true);
	assert_string_equal(told, "one\r\ntwo");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_well),
		cmocka_unit_test(a_failure_is_told),
		cmocka_unit_test(of_much_the_end_is_told),
		cmocka_unit_test(the_last_lines_can_be_had),
		cmocka_unit_test(shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
