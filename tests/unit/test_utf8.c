/* SPDX-License-Identifier: Apache-2.0 */
/* utf8 against its own encoder, and against what is none. */
#include "vmm/base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t encode(uint32_t c, char out[4])
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t heads[] = {0, 0x00, 0xc0, 0xe0, 0xf0};

	for (size_t i = n; i-- > 1; c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(heads[n] | c);
	return n;
}

static void every_code_point(void **state)
{
	for (uint32_t c = 0; c < 0x120000; c++) {
		char bytes[4];
		size_t n = encode(c, bytes);
		uint32_t point = 0x777777;
		bool good = c <= 0x10ffff && !(c >= 0xd800 && c < 0xe000);

		assert_int_equal(utf8_decode(bytes, n, &point), good ? n : 0);
		assert_int_equal(point, good ? c : 0x777777);
		/* Cut short it is none. */
		if (n > 1)
			assert_int_equal(utf8_decode(bytes, n - 1, &point), 0);
	}
}

static void what_is_none(void **state)
{
	static const char *const bad[] = {"\x80",
					  "\xbf",
					  "\xc0\x80",
					  "\xc1\xbf",
					  "\xff",
					  "\xe0\x9f\xbf",
					  "\xc3(",
					  "\xe2\x82(",
					  "\xfe",
					  "\xf0\x8f\xbf\xbf",
					  "\xf4\x90\x80\x80"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint32_t point;

		assert_int_equal(utf8_decode(bad[i], strlen(bad[i]), &point), 0);
	}
}

static void clean_is(const char *bytes, size_t len, const char *want)
{
	char *clean = utf8_clean(bytes, len);

	assert_non_null(clean);
	assert_string_equal(clean, want);
	free(clean);
}

static void cleaned(void **state)
{
	clean_is("", 0, "");
	clean_is("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z", 11,
		 "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z");
	clean_is("a\0b", 3,
		 "a\xef\xbf\xbd"
		 "b");
	clean_is("\xff\xe2\x82", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	clean_is("\xe2\x82x", 3, "\xef\xbf\xbd\xef\xbf\xbdx");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_point),
		cmocka_unit_test(what_is_none),
		cmocka_unit_test(cleaned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
