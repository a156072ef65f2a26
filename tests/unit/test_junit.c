/* SPDX-License-Identifier: Apache-2.0 */
/* JUnit XML: its counts, and text of any bytes. */
#include "vmm/results/results.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *xml;

static int drop(void **state)
{
	free(xml);
	xml = NULL;
	return 0;
}

static void write_all(const char *suite, const struct test_result *r, unsigned n)
{
	size_t len;

	free(xml);
	FILE *f = open_memstream(&xml, &len);

	assert_non_null(f);
	assert_int_equal(junit_write(f, suite, r, n), 0);
	fclose(f);
	assert_int_equal(strlen(xml), len);
}

static void says(const char *want)
{
	if (!strstr(xml, want))
		fail_msg("no %s in:\n%s", want, xml);
}

static void one_of_each(void **state)
{
	const struct test_result all[] = {
		{.group = "g",
		 .name = "good",
		 .ns = 1234567890,
		 .output = "fine\n",
		 .output_len = 5},
		{.group = "g",
		 .name = "bad",
		 .verdict = TEST_FAILED,
		 .type = "status",
		 .message = "status 7",
		 .output = "why\n",
		 .output_len = 4},
		{.group = "g",
		 .name = "gone",
		 .verdict = TEST_ERROR,
		 .type = "timeout",
		 .message = "time ran out",
		 .ns = 600000},
		{.group = "g", .name = "none", .verdict = TEST_SKIPPED, .message = "not begun"},
	};

	write_all("s", all, 4);
	assert_string_equal(xml,
			    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
			    "<testsuites tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\" "
			    "time=\"1.235\">\n"
			    "  <testsuite name=\"s\" tests=\"4\" failures=\"1\" errors=\"1\" "
			    "skipped=\"1\" time=\"1.235\">\n"
			    "    <testcase classname=\"g\" name=\"good\" time=\"1.235\">\n"
			    "      <system-out>fine\n</system-out>\n"
			    "    </testcase>\n"
			    "    <testcase classname=\"g\" name=\"bad\" time=\"0.000\">\n"
			    "      <failure type=\"status\" message=\"status 7\">why\n</failure>\n"
			    "    </testcase>\n"
			    "    <testcase classname=\"g\" name=\"gone\" time=\"0.001\">\n"
			    "      <error type=\"timeout\" message=\"time ran out\"></error>\n"
			    "    </testcase>\n"
			    "    <testcase classname=\"g\" name=\"none\" time=\"0.000\">\n"
			    "      <skipped message=\"not begun\"/>\n"
			    "    </testcase>\n"
			    "  </testsuite>\n"
			    "</testsuites>\n");
}

static void text_of_any_bytes(void **state)
{
	static const char output[] =
		"]]> <a> & \x1b[31m \0 \xff \xc3\xa4 \xed\xa0\x80 \xef\xbf\xbf "
		"\xf0\x9f\x98\x80 \x7f \r\n\t\xe2\x82";
	const struct test_result r = {.group = "g\x01",
				      .name = "a \"b\" 'c' <d>\n\te\xfe",
				      .verdict = TEST_FAILED,
				      .message = "&\r",
				      .output = output,
				      .output_len = sizeof(output) - 1};

	write_all("\x02<", &r, 1);
	says("<testsuite name=\"\xe2\x90\x82&lt;\"");
	says("classname=\"g\xe2\x90\x81\"");
	says("name=\"a &quot;b&quot; 'c' &lt;d&gt;&#10;&#9;e\xef\xbf\xbd\"");
	says("type=\"failure\" message=\"&amp;&#13;\"");
	says(">]]&gt; &lt;a&gt; &amp; \xe2\x90\x9b[31m \xe2\x90\x80 \xef\xbf\xbd \xc3\xa4 "
	     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd \xf0\x9f\x98\x80 \xe2\x90\xa1 "
	     "&#13;\n\t\xef\xbf\xbd\xef\xbf\xbd</failure>");
}

/* Every byte and every pair of bytes: what comes out has nothing that XML 1.0 has not. */
static void nothing_that_xml_has_not(void **state)
{
	for (unsigned pair = 0; pair < 0x10000; pair++) {
		const char bytes[2] = {(char)(pair >> 8), (char)pair};
		const struct test_result r = {
			.group = "g", .name = "n", .output = bytes, .output_len = 2};

		write_all("s", &r, 1);
		for (const char *p = xml; *p; p++)
			assert_true((unsigned char)*p >= ' ' || *p == '\n' || *p == '\t');
	}
}

static void a_full_disk_is_told(void **state)
{
	const struct test_result r = {.group = "g", .name = "n"};
	FILE *full = fopen("/dev/full", "w");

	assert_non_null(full);
	setvbuf(full, NULL, _IONBF, 0);
	assert_true(junit_write(full, "s", &r, 1) < 0);
	fclose(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(one_of_each, drop),
		cmocka_unit_test_teardown(text_of_any_bytes, drop),
		cmocka_unit_test_teardown(nothing_that_xml_has_not, drop),
		cmocka_unit_test(a_full_disk_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
