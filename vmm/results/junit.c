/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/utf8.h"
#include "vmm/results/results.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static void put_point(FILE *out, uint32_t c)
{
	if (c < 0x80) {
		putc((int)c, out);
	} else if (c < 0x800) {
		putc((int)(0xc0 | c >> 6), out);
		putc((int)(0x80 | (c & 0x3f)), out);
	} else {
		putc((int)(0xe0 | c >> 12), out);
		putc((int)(0x80 | (c >> 6 & 0x3f)), out);
		putc((int)(0x80 | (c & 0x3f)), out);
	}
}

/* What stands for a character that XML 1.0 has not [XML 2.2]; or the same one. */
static uint32_t allowed(uint32_t c)
{
	if (c == '\t' || c == '\n' || c == '\r')
		return c;
	if (c < ' ')
		return 0x2400 + c;
	if (c == 0x7f)
		return 0x2421;
	return c == 0xfffe || c == 0xffff ? UTF8_REPLACEMENT : c;
}

/* A blank of another kind would be read as a space in an attribute, a return as a newline. */
static bool is_written_as_number(uint32_t c, bool attribute)
{
	return c == '\r' || (attribute && (c == '\t' || c == '\n'));
}

static void put_text(FILE *out, const char *bytes, size_t len, bool attribute)
{
	for (size_t at = 0; at < len;) {
		uint32_t c = UTF8_REPLACEMENT;
		size_t n = utf8_decode(bytes + at, len - at, &c);
		uint32_t safe = allowed(c);
		const char *name = safe == '&'   ? "&amp;"
				   : safe == '<' ? "&lt;"
				   : safe == '>' ? "&gt;"
				   : safe == '"' ? "&quot;"
						 : NULL;

		if (name)
			fputs(name, out);
		else if (is_written_as_number(safe, attribute))
			fprintf(out, "&#%u;", safe);
		else if (safe != c || !n)
			put_point(out, safe);
		else
			fwrite(bytes + at, n, 1, out);
		at += n ? n : 1;
	}
}

static void put_attribute(FILE *out, const char *name, const char *value)
{
	fprintf(out, " %s=\"", name);
	put_text(out, value, strlen(value), true);
	putc('"', out);
}

static void put_time(FILE *out, uint64_t ns)
{
	uint64_t ms = (ns + 500000) / 1000000;

	fprintf(out, " time=\"%llu.%03u\"", (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
}

static void put_output(FILE *out, const struct test_result *r)
{
	if (r->output)
		put_text(out, r->output, r->output_len, false);
}

static void put_case(FILE *out, const struct test_result *r)
{
	const char *element = r->verdict == TEST_FAILED ? "failure" : "error";

	fputs("    <testcase", out);
	put_attribute(out, "classname", r->group);
	put_attribute(out, "name", r->name);
	put_time(out, r->ns);
	fputs(">\n", out);
	if (r->verdict == TEST_SKIPPED) {
		fputs("      <skipped", out);
		put_attribute(out, "message", r->message ? r->message : "");
		fputs("/>\n", out);
	} else if (r->verdict == TEST_PASSED) {
		fputs("      <system-out>", out);
		put_output(out, r);
		fputs("</system-out>\n", out);
	} else {
		fprintf(out, "      <%s", element);
		put_attribute(out, "type", r->type ? r->type : element);
		put_attribute(out, "message", r->message ? r->message : "");
		putc('>', out);
		put_output(out, r);
		fprintf(out, "</%s>\n", element);
	}
	fputs("    </testcase>\n", out);
}

static void put_counts(FILE *out, const struct test_result *results, unsigned n)
{
	unsigned counts[TEST_SKIPPED + 1] = {0};
	uint64_t ns = 0;

	for (unsigned i = 0; i < n; i++) {
		counts[results[i].verdict]++;
		ns += results[i].ns;
	}
	fprintf(out, " tests=\"%u\" failures=\"%u\" errors=\"%u\" skipped=\"%u\"", n,
		counts[TEST_FAILED], counts[TEST_ERROR], counts[TEST_SKIPPED]);
	put_time(out, ns);
}

int junit_write(FILE *out, const char *suite, const struct test_result *results, unsigned n)
{
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites", out);
	put_counts(out, results, n);
	fputs(">\n  <testsuite", out);
	put_attribute(out, "name", suite);
	put_counts(out, results, n);
	fputs(">\n", out);
	for (unsigned i = 0; i < n; i++)
		put_case(out, &results[i]);
	fputs("  </testsuite>\n</testsuites>\n", out);
	return ferror(out) ? -EIO : 0;
}
