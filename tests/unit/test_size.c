/* SPDX-License-Identifier: Apache-2.0 */
/* size and suggest: numbers that people type are taken exactly or not at all. */
#include "vmm/config/size.h"
#include "vmm/config/suggest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void numbers_are_digits_only(void **state)
{
	static const char *const bad[] = {"",   " ",   " 1",  "1 ",  "+1", "-1", "-0",  "0x10",
					  "1.", "1.5", "1e3", "12x", "x",  "\n", "1\n", "١"};
	uint64_t v;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		v = 77;
		assert_int_equal(number_parse(bad[i], UINT64_MAX, &v), -EINVAL);
		assert_int_equal(v, 77);
	}
	assert_int_equal(number_parse("0", 0, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(number_parse("010", 10, &v), 0);
	assert_int_equal(v, 10);
}

static void numbers_end_at_their_maximum(void **state)
{
	uint64_t v = 77;

	assert_int_equal(number_parse("64", 64, &v), 0);
	assert_int_equal(v, 64);
	assert_int_equal(number_parse("65", 64, &v), -ERANGE);
	assert_int_equal(number_parse("18446744073709551615", UINT64_MAX, &v), 0);
	assert_true(v == UINT64_MAX);
	v = 77;
	assert_int_equal(number_parse("18446744073709551616", UINT64_MAX, &v), -ERANGE);
	/* What wraps to 1 after a multiplication, and what wraps in the addition. */
	assert_int_equal(number_parse("184467440737095516170", UINT64_MAX, &v), -ERANGE);
	assert_int_equal(number_parse("99999999999999999999999999999999", UINT64_MAX, &v), -ERANGE);
	assert_int_equal(number_parse("99999999999999999999999999999999x", UINT64_MAX, &v),
			 -EINVAL);
	assert_int_equal(v, 77);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int err;
		uint64_t bytes;
	} cases[] = {
		{"0", 0, 0},
		{"1", 0, 1048576},
		{"512", 0, 536870912},
		{"512M", 0, 536870912},
		{"512m", 0, 536870912},
		{"3K", 0, 3072},
		{"2G", 0, 2147483648},
		{"1T", 0, 1099511627776},
		{"17592186044415", 0, 18446744073708503040u},
		{"17592186044416", -ERANGE, 0},
		{"16777215T", 0, 18446742974197923840u},
		{"16777216T", -ERANGE, 0},
		{"18446744073709551616K", -ERANGE, 0},
		{"99999999999999999999999", -ERANGE, 0},
		{"99999999999999999999999Z", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"M", -EINVAL, 0},
		{"12x", -EINVAL, 0},
		{"1GB", -EINVAL, 0},
		{"1Gi", -EINVAL, 0},
		{"1.5G", -EINVAL, 0},
		{"-1G", -EINVAL, 0},
		{"+1G", -EINVAL, 0},
		{" 1G", -EINVAL, 0},
		{"1 G", -EINVAL, 0},
		{"0x40", -EINVAL, 0},
		{"1G,", -EINVAL, 0},
		{"1\x0b", -EINVAL, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t v = 77;

		if (size_parse(cases[i].text, &v) != cases[i].err)
			fail_msg("\"%s\"", cases[i].text);
		if (v != (cases[i].err ? 77 : cases[i].bytes))
			fail_msg("\"%s\" gave %llu", cases[i].text, (unsigned long long)v);
	}
}

static void bytes(void **state)
{
	uint64_t v = 77;

	assert_int_equal(bytes_parse("512", &v), 0);
	assert_int_equal(v, 512);
	assert_int_equal(bytes_parse("18446744073709551615", &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(bytes_parse("10M", &v), 0);
	assert_int_equal(v, 10485760);
	assert_int_equal(bytes_parse("16777216T", &v), -ERANGE);
	assert_int_equal(bytes_parse("10B", &v), -EINVAL);
	assert_int_equal(v, 10485760);
}

/* A suffix is one of eight characters: try all bytes. */
static void size_suffixes_are_known(void **state)
{
	for (int ch = 1; ch < 256; ch++) {
		char text[3] = {'1', (char)ch};
		uint64_t v;
		int good = (ch >= '0' && ch <= '9') || strchr("kKmMgGtT", ch);

		assert_int_equal(size_parse(text, &v), good ? 0 : -EINVAL);
	}
}

static void sizes_are_shown_as_they_are_read(void **state)
{
	static const char *const texts[] = {"512M", "1G", "2100K", "1T", "1025G", "1K"};
	uint64_t v;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(size_parse(texts[i], &v), 0);
		assert_string_equal(size_format(v).s, texts[i]);
	}
	assert_string_equal(size_format(0).s, "0 bytes");
	assert_string_equal(size_format(1500).s, "1500 bytes");
	assert_string_equal(size_format(1ull << 60).s, "1048576T");
	assert_string_equal(size_format(UINT64_MAX).s, "18446744073709551615 bytes");
}

static const char *suggest(const char *typed)
{
	static const char *const names[] = {"kernel",       "initrd", "cmdline", "cpus", "timeout",
					    "stop-timeout", "rng",    "disk",    "run"};
	struct suggestion s = {0};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		suggest_offer(&s, typed, names[i]);
	return s.name ? s.name : "";
}

static void slips_find_their_name(void **state)
{
	assert_string_equal(suggest("kernle"), "kernel");
	assert_string_equal(suggest("kernal"), "kernel");
	assert_string_equal(suggest("ernel"), "kernel");
	assert_string_equal(suggest("cpu"), "cpus");
	assert_string_equal(suggest("comdline"), "cmdline");
	assert_string_equal(suggest("timout"), "timeout");
	assert_string_equal(suggest("stoptimeout"), "stop-timeout");
	assert_string_equal(suggest("rum"), "run");
}

static void no_guess_is_better_than_a_wild_one(void **state)
{
	char giant[5000];

	memset(giant, 'k', sizeof(giant) - 1);
	giant[sizeof(giant) - 1] = '\0';
	assert_string_equal(suggest("network"), "");
	assert_string_equal(suggest("x"), "");
	assert_string_equal(suggest(""), "");
	assert_string_equal(suggest("abc"), "");
	assert_string_equal(suggest(giant), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_digits_only),
		cmocka_unit_test(numbers_end_at_their_maximum),
		cmocka_unit_test(sizes),
		cmocka_unit_test(bytes),
		cmocka_unit_test(size_suffixes_are_known),
		cmocka_unit_test(sizes_are_shown_as_they_are_read),
		cmocka_unit_test(slips_find_their_name),
		cmocka_unit_test(no_guess_is_better_than_a_wild_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
