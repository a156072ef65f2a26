/* SPDX-License-Identifier: Apache-2.0 */
/* phrase_watch against every way to cut the output into pieces. */
#include "devices/backend/phrase_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char console[] =
	"[    1.0] Run /init as init process\r\n"
	"[    1.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100 \r\n"
	"[    1.2] Kernel panic - not syncing: the echo\r\n";

static void feed(struct phrase_watch *w, const char *s, size_t n)
{
	phrase_watch_feed(w, (const uint8_t *)s, n);
}

static void assert_line(const struct phrase_watch *w, const char *want)
{
	char line[PHRASE_WATCH_LINE + 1];

	phrase_watch_line(w, line, sizeof(line));
	assert_string_equal(line, want);
}

static void test_found_across_every_boundary(void **state)
{
	for (size_t piece = 1; piece <= sizeof(console); piece++) {
		struct phrase_watch w;

		phrase_watch_init(&w, "Kernel panic - not syncing");
		for (size_t at = 0; at < strlen(console); at += piece) {
			size_t n = strlen(console) - at;

			feed(&w, console + at, n < piece ? n : piece);
		}
		assert_true(phrase_watch_seen(&w));
		assert_line(&w, "Attempted to kill init! exitcode=0x00000100");
	}
}

static void on_line(void *ctx, const char *line)
{
	char *all = ctx;

	strcat(strcat(all, line), ";");
}

/* Told once, with the whole of the line, however it comes. */
static void test_told_at_the_end_of_the_line(void **state)
{
	for (size_t piece = 1; piece <= sizeof(console); piece++) {
		char all[400] = "";
		struct phrase_watch w;

		phrase_watch_init(&w, "Kernel panic - not syncing");
		phrase_watch_notify(&w, on_line, all);
		for (size_t at = 0; at < strlen(console); at += piece) {
			size_t n = strlen(console) - at;

			feed(&w, console + at, n < piece ? n : piece);
		}
		assert_string_equal(all, "Attempted to kill init! exitcode=0x00000100;");
	}

	char all[400] = "";
	struct phrase_watch w;

	phrase_watch_init(&w, "as init process");
	phrase_watch_notify(&w, on_line, all);
	feed(&w, "Run /init as init process", 25);
	assert_string_equal(all, "");
	feed(&w, "\r\n", 2);
	assert_string_equal(all, ";");
}

static void test_seen_before_the_line_ends(void **state)
{
	struct phrase_watch w;

	phrase_watch_init(&w, "Kernel panic - not syncing");
	assert_false(phrase_watch_seen(&w));
	assert_line(&w, "");
	feed(&w, "Kernel panic - not syncin", 25);
	assert_false(phrase_watch_seen(&w));
	feed(&w, "g", 1);
	assert_true(phrase_watch_seen(&w));
	assert_line(&w, "");
	feed(&w, ": VFS: Un", 9);
	assert_line(&w, "VFS: Un");
}

/* A second guest is told of as the first was, and what the first began is nothing. */
static void test_renewed(void **state)
{
	char all[400] = "";
	struct phrase_watch w;

	phrase_watch_init(&w, "Kernel panic - not syncing");
	phrase_watch_notify(&w, on_line, all);
	feed(&w, "Kernel panic - not syncing: one\nKernel panic - not", 50);
	phrase_watch_renew(&w);
	assert_false(phrase_watch_seen(&w));
	assert_line(&w, "");
	feed(&w, " syncing: none\n", 15);
	assert_false(phrase_watch_seen(&w));
	feed(&w, "Kernel panic - not syncing: two\n", 32);
	assert_string_equal(all, "one;two;");
	assert_line(&w, "two");
}

static void test_false_starts(void **state)
{
	struct phrase_watch w;

	phrase_watch_init(&w, "Kernel panic - not syncing");
	static const char misses[] = "Kernel panic - not\nsyncing Kernel panicKernel Panic - "
				     "not syncing Kernel panic - not sync";

	feed(&w, misses, strlen(misses));
	assert_false(phrase_watch_seen(&w));
	feed(&w, "KKernel KKernel panic - not syncing: yes\n", 41);
	assert_true(phrase_watch_seen(&w));
	assert_line(&w, "yes");
}

static void test_line_is_bounded_and_printable(void **state)
{
	struct phrase_watch w;
	char small[8];

	phrase_watch_init(&w, "Kernel panic - not syncing");
	feed(&w, "Kernel panic - not syncing: \x1b[2J\x80", 33);
	for (int i = 0; i < 100000; i++)
		feed(&w, "x", 1);
	char line[PHRASE_WATCH_LINE + 1];

	phrase_watch_line(&w, line, sizeof(line));
	assert_int_equal(strlen(line), PHRASE_WATCH_LINE);
	assert_memory_equal(line, "?[2J?xxx", 8);
	phrase_watch_line(&w, small, sizeof(small));
	assert_string_equal(small, "?[2J?xx");
	phrase_watch_line(&w, small, 0);
}

static void collect(void *ctx, const uint8_t *bytes, size_t len)
{
	strncat(ctx, (const char *)bytes, len);
}

static void test_tap_passes_everything_on(void **state)
{
	struct phrase_watch w;
	char got[sizeof(console)] = "";
	struct char_out out;

	phrase_watch_init(&w, "Kernel panic - not syncing");
	out = phrase_watch_tap(&w, &(struct char_out){collect, got});
	for (const char *p = console; *p; p++)
		out.send(out.ctx, (const uint8_t *)p, 1);
	assert_string_equal(got, console);
	assert_true(phrase_watch_seen(&w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_across_every_boundary),
		cmocka_unit_test(test_told_at_the_end_of_the_line),
		cmocka_unit_test(test_seen_before_the_line_ends),
		cmocka_unit_test(test_renewed),
		cmocka_unit_test(test_false_starts),
		cmocka_unit_test(test_line_is_bounded_and_printable),
		cmocka_unit_test(test_tap_passes_everything_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
