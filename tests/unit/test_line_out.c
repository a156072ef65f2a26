/* SPDX-License-Identifier: Apache-2.0 */
/* line_out with readers that read, that are slow, and that are gone. */
#include "vmm/core/line_out.h"

#include "vmm/core/clock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int reader;
static struct line_out *out;

static int make(void **state)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	reader = fds[0];
	out = line_out_create(fds[1]);
	return out ? 0 : -1;
}

static int close_reader(void **state)
{
	if (reader >= 0)
		close(reader);
	return 0;
}

static char *numbered(unsigned i)
{
	char *line = NULL;

	assert_true(asprintf(&line, "line %u\n", i) > 0);
	return line;
}

static uint64_t now_ms(void)
{
	return clock_monotonic_ns(&clock_host) / 1000000;
}

/* All that comes until the end, as a string. */
static char *read_all(void)
{
	static char text[1 << 20];
	size_t len = 0;
	ssize_t n;

	while ((n = read(reader, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return text;
}

static void lines_come_in_order(void **state)
{
	assert_int_equal(line_out_start(out), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(line_out_put(out, numbered(i)));
	line_out_close(out, strdup("the last\n"), 10000);
	assert_string_equal(read_all(), "line 0\nline 1\nline 2\nthe last\n");
}

static void a_line_comes_at_once(void **state)
{
	char text[16] = "";

	assert_int_equal(line_out_start(out), 0);
	assert_true(line_out_put(out, numbered(7)));
	assert_int_equal(read(reader, text, sizeof(text) - 1), 7);
	assert_string_equal(text, "line 7\n");
	line_out_close(out, NULL, 10000);
	assert_string_equal(read_all(), "");
}

/* What came before the thread is written, and what has no room is refused. */
static void a_bound_and_a_place_for_the_last(void **state)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < LINE_OUT_MAX + 10; i++)
		taken += line_out_put(out, numbered(i));
	assert_int_equal(taken, LINE_OUT_MAX);
	line_out_close(out, strdup("the last\n"), 10000);
	char *text = read_all();

	assert_int_equal(strncmp(text, "line 0\nline 1\n", 14), 0);
	assert_non_null(strstr(text, "\nline 63\nthe last\n"));
	assert_null(strstr(text, "line 64"));
}

static char *long_line(void)
{
	enum { LONG = 200000 };
	char *line = malloc(LONG + 2);

	assert_non_null(line);
	memset(line, 'x', LONG);
	strcpy(line + LONG, "\n");
	return line;
}

/* More than the pipe holds, and nobody reads: putting does not wait, and closing does not
 * for long. */
static void a_reader_that_does_not_read(void **state)
{
	uint64_t began = now_ms();

	assert_int_equal(line_out_start(out), 0);
	for (unsigned i = 0; i < 1000; i++)
		line_out_put(out, long_line());
	assert_true(now_ms() - began < 5000);
	began = now_ms();
	line_out_close(out, strdup("the last\n"), 200);
	assert_in_range(now_ms() - began, 200, 10000);
}

static void a_slow_reader_gets_all(void **state)
{
	assert_int_equal(line_out_start(out), 0);
	assert_true(line_out_put(out, long_line()));
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child) {
		size_t n = 0, lines = 0;
		char bytes[20000];
		ssize_t got;

		/* Slower in all than the patience of line_out_close(), not in each step. */
		while ((got = read(reader, bytes, sizeof(bytes))) > 0) {
			n += (size_t)got;
			for (ssize_t i = 0; i < got; i++)
				lines += bytes[i] == '\n';
			if (lines == 2)
				_exit(n == 200001 + 9 ? 0 : 1);
			usleep(100000);
		}
		_exit(2);
	}
	line_out_close(out, strdup("the last\n"), 600);
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void a_reader_that_is_gone(void **state)
{
	uint64_t began = now_ms();

	close(reader);
	reader = -1;
	assert_int_equal(line_out_start(out), 0);
	assert_true(line_out_put(out, numbered(0)));
	while (line_out_put(out, numbered(1)))
		usleep(1000);
	line_out_close(out, strdup("the last\n"), 10000);
	assert_true(now_ms() - began < 9000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lines_come_in_order, make, close_reader),
		cmocka_unit_test_setup_teardown(a_line_comes_at_once, make, close_reader),
		cmocka_unit_test_setup_teardown(a_bound_and_a_place_for_the_last, make,
						close_reader),
		cmocka_unit_test_setup_teardown(a_reader_that_does_not_read, make, close_reader),
		cmocka_unit_test_setup_teardown(a_slow_reader_gets_all, make, close_reader),
		cmocka_unit_test_setup_teardown(a_reader_that_is_gone, make, close_reader),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
