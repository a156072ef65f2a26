/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/matrix/report.h"

#include "vmm/base/bytes.h"
#include "vmm/base/utf8.h"
#include "vmm/config/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, SHOWN_LINES = 20, MESSAGE_COLUMNS = 70 };

static const char *verdict_word(enum test_verdict verdict)
{
	static const char *const words[] = {
		[TEST_PASSED] = "passed",
		[TEST_FAILED] = "failed",
		[TEST_ERROR] = "error",
		[TEST_SKIPPED] = "skipped",
	};

	return words[verdict];
}

unsigned matrix_count(const struct matrix_report *r, enum test_verdict verdict)
{
	unsigned count = 0;

	for (unsigned i = 0; i < r->plan->n; i++)
		count += r->cells[i].state == CELL_ENDED && r->cells[i].verdict == verdict;
	return count;
}

/* No terminal obeys what a guest or a path has in it. */
static void put_safe(FILE *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		putc((c < ' ' && c != '\t') || c == 0x7f ? '?' : c, out);
	}
}

static void put_seconds(FILE *out, uint64_t ns)
{
	uint64_t hundredths = (ns + 5000000) / 10000000;

	fprintf(out, "%5llu.%02u s", (unsigned long long)(hundredths / 100),
		(unsigned)(hundredths % 100));
}

/* --- as it goes ------------------------------------------------------------------------- */

/* The last SHOWN_LINES of what a cell said. */
static void show_output(FILE *out, const struct tail *t)
{
	size_t at = t->len;
	unsigned lines = 0;

	while (at && lines <= SHOWN_LINES)
		lines += t->bytes[--at] == '\n' && at != t->len - 1;
	if (lines > SHOWN_LINES)
		at++;
	while (at < t->len) {
		const char *line = t->bytes + at, *end = memchr(line, '\n', t->len - at);
		size_t len = end ? (size_t)(end - line) : t->len - at;

		at += len + 1;
		len -= len && line[len - 1] == '\r';
		fputs("    | ", out);
		put_safe(out, line, len);
		putc('\n', out);
	}
}

void matrix_progress(const struct matrix_report *r, const struct cell *c, unsigned nth)
{
	fprintf(stderr, "minivmm: %u/%u %s: ", nth, r->plan->n, verdict_word(c->verdict));
	put_safe(stderr, c->plan->kernel, strlen(c->plan->kernel));
	fprintf(stderr, ", %u CPU%s, %s", c->plan->cpus, c->plan->cpus == 1 ? "" : "s",
		size_format(c->plan->memory).s);
	if (c->message[0]) {
		fputs(": ", stderr);
		put_safe(stderr, c->message, strlen(c->message));
	}
	putc('\n', stderr);
	if (c->verdict == TEST_FAILED || c->verdict == TEST_ERROR)
		show_output(stderr, &c->output);
	fflush(stderr);
}

/* --- the table -------------------------------------------------------------------------- */

/* Of a path the end says more than the beginning. */
static const char *kernel_shown(const struct cell *c)
{
	enum { COLUMNS = 40 };
	size_t len = strlen(c->plan->kernel);

	return c->plan->kernel + (len > COLUMNS ? len - COLUMNS : 0);
}

int matrix_table(const struct matrix_report *r, FILE *out)
{
	size_t width = strlen("kernel");

	for (unsigned i = 0; i < r->plan->n; i++)
		if (strlen(kernel_shown(&r->cells[i])) > width)
			width = strlen(kernel_shown(&r->cells[i]));
	fprintf(out, "%-*s  CPUs  memory      time  result\n", (int)width, "kernel");
	for (unsigned i = 0; i < r->plan->n; i++) {
		const struct cell *c = &r->cells[i];
		const char *kernel = kernel_shown(c);

		put_safe(out, kernel, strlen(kernel));
		fprintf(out, "%*s  %4u  %6s", (int)(width - strlen(kernel)), "", c->plan->cpus,
			size_format(c->plan->memory).s);
		put_seconds(out, c->took_ns);
		fprintf(out, "  %s%s", verdict_word(c->verdict), c->message[0] ? ": " : "");
		put_safe(out, c->message, strnlen(c->message, MESSAGE_COLUMNS));
		putc('\n', out);
	}
	fprintf(out, "of %u: %u passed, %u failed, %u in error, %u skipped\n", r->plan->n,
		matrix_count(r, TEST_PASSED), matrix_count(r, TEST_FAILED),
		matrix_count(r, TEST_ERROR), matrix_count(r, TEST_SKIPPED));
	return fflush(out) || ferror(out) ? -EIO : 0;
}

/* --- for programs ----------------------------------------------------------------------- */

static json_t *text(const char *bytes, size_t len)
{
	char *clean = utf8_clean(bytes, len);
	json_t *s = clean ? json_string(clean) : NULL;

	free(clean);
	return s;
}

/* Fields of the event that says how it ended, where there is one. */
static void add_stopped(json_t *o, const struct cell *c)
{
	static const char *const fields[] = {"reason", "command_status", "timings"};

	for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
		json_t *value = json_object_get(c->stopped, fields[i]);

		if (value)
			json_object_set(o, fields[i], value);
	}
}

static json_t *cell_json(const struct cell *c)
{
	const struct tail *t = &c->output;
	json_t *o = json_pack(
		"{s:o, s:i, s:I, s:s, s:o, s:o, s:I, s:o, s:I}", "kernel",
		text(c->plan->kernel, strlen(c->plan->kernel)), "cpus", (int)c->plan->cpus,
		"memory", (json_int_t)c->plan->memory, "result", verdict_word(c->verdict),
		"message", c->message[0] ? text(c->message, strlen(c->message)) : json_null(),
		"status", c->status < 0 ? json_null() : json_integer(c->status), "took_ns",
		(json_int_t)c->took_ns, "output", text(t->bytes ? t->bytes : "", t->len),
		"output_dropped", (json_int_t)t->dropped);

	if (o)
		add_stopped(o, c);
	return o;
}

int matrix_json(FILE *out, void *ctx)
{
	const struct matrix_report *r = ctx;
	json_t *cells = json_array(), *all;
	int ret = 0;

	for (unsigned i = 0; i < r->plan->n && !ret; i++)
		ret = json_array_append_new(cells, cell_json(&r->cells[i]));
	all = json_pack(
		"{s:i, s:o, s:o, s:i, s:i, s:i, s:i, s:o}", "format", FORMAT, "file",
		text(r->plan->file, strlen(r->plan->file)), "command",
		r->plan->command ? text(r->plan->command, strlen(r->plan->command)) : json_null(),
		"passed", (int)matrix_count(r, TEST_PASSED), "failed",
		(int)matrix_count(r, TEST_FAILED), "errors", (int)matrix_count(r, TEST_ERROR),
		"skipped", (int)matrix_count(r, TEST_SKIPPED), "cells", cells);
	if (ret || !all) {
		json_decref(all);
		return -ENOMEM;
	}
	ret = json_dumpf(all, out, JSON_INDENT(2)) ? -EIO : 0;
	json_decref(all);
	return fputc('\n', out) == EOF || fflush(out) || ferror(out) ? -EIO : ret;
}

/* A cell's name, new. */
static char *cell_name(const struct matrix_report *r, const struct cell *c)
{
	char *name = NULL;

	if (asprintf(&name, "%s%skernel=%s cpus=%u memory=%s",
		     r->plan->command ? r->plan->command : "", r->plan->command ? " " : "",
		     c->plan->kernel, c->plan->cpus, size_format(c->plan->memory).s) < 0)
		return NULL;
	return name;
}

int matrix_junit(FILE *out, void *ctx)
{
	const struct matrix_report *r = ctx;
	unsigned n = r->plan->n;
	struct test_result *results = calloc(n, sizeof(*results));
	char **names = calloc(n, sizeof(*names));
	int ret = results && names ? 0 : -ENOMEM;

	for (unsigned i = 0; i < n && !ret; i++) {
		const struct cell *c = &r->cells[i];

		names[i] = cell_name(r, c);
		ret = names[i] ? 0 : -ENOMEM;
		results[i] = (struct test_result){
			.group = "minivmm.matrix",
			.name = names[i],
			.verdict = c->verdict,
			.type = c->type,
			.message = c->message,
			.ns = c->took_ns,
			.output = c->output.bytes,
			.output_len = c->output.len,
		};
	}
	if (!ret)
		ret = junit_write(out, r->plan->file, results, n);
	for (unsigned i = 0; i < n && names; i++)
		free(names[i]);
	free(names);
	free(results);
	return ret;
}
