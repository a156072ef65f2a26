/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-table: what was measured, as a table, as JSON and as a picture. Used by scripts/bench.
 *
 *	bench-table [--about NAME=TEXT]... [--json FILE] [--plot FILE] <SAMPLES
 *
 * Lines of SAMPLES, their fields set apart by tabs:
 *
 *	sample  ROW MEASURE UNIT less|more CONTENDER VALUE	less or more is better
 *	missing ROW CONTENDER REASON
 *
 * The contender "minivmm" of a measure is compared with each of the others: the ratio is the
 * median of its own value over theirs, round by round, and the range beside it is what the samples
 * allow (samples.h). Where that range is too wide, no ratio is printed, and what is printed instead
 * says why.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tests/bench/samples.h"

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "bench-table: %s: %s\n", what, why);
	exit(1);
}

/* --- the table ----------------------------------------------------------------------- */

/* Four digits say all that such figures have to say. */
static void print_value(double v)
{
	printf(" %10.*f", v >= 1000 ? 0 : v >= 100 ? 1 : v >= 10 ? 2 : 3, v);
}

static void print_ratio(const struct ratio *r)
{
	if (r->why)
		printf("   no ratio: %s", r->why);
	else
		printf("   %.2fx", r->value);
	if (r->high > 0)
		printf(" (%.2f to %.2f)", r->low, r->high);
}

static void print_table(const struct bench *b)
{
	const char *row = "";

	for (unsigned i = 0; i < b->n_measures; i++) {
		const struct measure *m = &b->measures[i];

		if (strcmp(row, m->row) != 0)
			printf("%s== %s\n%-44s %4s %10s %10s %10s   %s\n", i ? "\n" : "", m->row,
			       "", "n", "median", "min", "max", "ratio");
		row = m->row;
		printf("%s, %s (%s is better)\n", m->name, m->unit, m->more ? "more" : "less");
		for (unsigned k = 0; k < m->n; k++) {
			const struct result *c = &m->results[k];
			struct ratio r = ratio_of(&m->results[0], c);

			printf("  %-42s %4u", c->name, c->n);
			print_value(c->median);
			print_value(c->values[0]);
			print_value(c->values[c->n - 1]);
			if (k)
				print_ratio(&r);
			printf("\n");
		}
	}
	if (b->n_missing)
		printf("\n");
	for (unsigned i = 0; i < b->n_missing; i++)
		printf("not in %s: %s: %s\n", b->missing[i].row, b->missing[i].contender,
		       b->missing[i].reason);
}

/* --- JSON ------------------------------------------------------------------------------ */

static json_t *or_die(json_t *j)
{
	if (!j)
		die("JSON", "no memory, or text that is not UTF-8");
	return j;
}

static json_t *result_json(const struct measure *m, unsigned k)
{
	const struct result *c = &m->results[k];
	struct ratio r = ratio_of(&m->results[0], c);
	json_t *samples = or_die(json_array());
	json_t *j =
		or_die(json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:o}", "name", c->name, "median",
				 c->median, "min", c->values[0], "max", c->values[c->n - 1],
				 "median_low", c->low, "median_high", c->high, "samples", samples));

	for (unsigned i = 0; i < c->n; i++)
		json_array_append_new(samples, or_die(json_real(c->in_order[i])));
	if (!k)
		return j;
	json_object_set_new(j, "ratio", r.why ? json_null() : json_real(r.value));
	json_object_set_new(j, "ratio_low", json_real(r.low));
	json_object_set_new(j, "ratio_high", json_real(r.high));
	if (r.why)
		json_object_set_new(j, "no_ratio", or_die(json_string(r.why)));
	return j;
}

static json_t *machine_json(void)
{
	struct utsname u;
	char line[256], *at;
	json_t *j = or_die(json_object());
	FILE *f = fopen("/proc/cpuinfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "model name", 10) && (at = strchr(line, ':'))) {
			at[strcspn(at, "\n")] = 0;
			json_object_set_new(j, "processor", or_die(json_string(at + 2)));
			break;
		}
	if (f)
		fclose(f);
	json_object_set_new(j, "processors", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_set_new(
		j, "memory_mib",
		json_integer(sysconf(_SC_PHYS_PAGES) / 1024 * sysconf(_SC_PAGESIZE) / 1024));
	if (!uname(&u))
		json_object_set_new(j, "kernel", or_die(json_string(u.release)));
	return j;
}

static void write_json(const struct bench *b, json_t *about, const char *path)
{
	json_t *measures = or_die(json_array()), *missing = or_die(json_array());
	json_t *all = or_die(json_pack("{s:i, s:o, s:O, s:o, s:o}", "format", 1, "machine",
				       machine_json(), "about", about, "measures", measures,
				       "missing", missing));

	for (unsigned i = 0; i < b->n_measures; i++) {
		const struct measure *m = &b->measures[i];
		json_t *contenders = or_die(json_array());

		json_array_append_new(
			measures,
			or_die(json_pack("{s:s, s:s, s:s, s:s, s:o}", "row", m->row, "measure",
					 m->name, "unit", m->unit, "better",
					 m->more ? "more" : "less", "contenders", contenders)));
		for (unsigned k = 0; k < m->n; k++)
			json_array_append_new(contenders, result_json(m, k));
	}
	for (unsigned i = 0; i < b->n_missing; i++)
		json_array_append_new(
			missing,
			or_die(json_pack("{s:s, s:s, s:s}", "row", b->missing[i].row, "contender",
					 b->missing[i].contender, "reason", b->missing[i].reason)));
	if (json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(9)))
		die(path, strerror(errno));
	json_decref(all);
}

/* --- the picture ------------------------------------------------------------------------- */

static void svg_text(FILE *f, int x, int y, const char *class, const char *text)
{
	fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
	for (; *text; text++)
		switch (*text) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		default:
			fputc(*text, f);
		}
	fprintf(f, "</text>\n");
}

/* A group of bars for each measure, to a scale of its own; a line from min to max on each. */
static void write_svg(const struct bench *b, const char *path)
{
	enum { LEFT = 210, WIDE = 480, BAR = 16, HEAD = 34, WIDTH = 860 };
	FILE *f = fopen(path, "we");
	int height = 20, y = 10;

	if (!f)
		die(path, strerror(errno));
	for (unsigned i = 0; i < b->n_measures; i++)
		height += HEAD + (int)b->measures[i].n * BAR;
	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\">\n"
		"<style>text{font:12px sans-serif} .name{text-anchor:end} .head{font-weight:bold}"
		" .first{fill:#2a6f97} .other{fill:#a9b4bd} line{stroke:#333}</style>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
		WIDTH, height);
	for (unsigned i = 0; i < b->n_measures; i++) {
		const struct measure *m = &b->measures[i];
		double most = 0;
		char text[256];

		for (unsigned k = 0; k < m->n; k++)
			if (m->results[k].values[m->results[k].n - 1] > most)
				most = m->results[k].values[m->results[k].n - 1];
		snprintf(text, sizeof(text), "%s: %s, %s (%s is better)", m->row, m->name, m->unit,
			 m->more ? "more" : "less");
		svg_text(f, 10, y + HEAD - 10, "head", text);
		y += HEAD;
		for (unsigned k = 0; k < m->n; k++, y += BAR) {
			const struct result *c = &m->results[k];
			double scale = most > 0 ? WIDE / most : 0;

			svg_text(f, LEFT - 8, y + BAR - 4, "name", c->name);
			fprintf(f,
				"<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" "
				"class=\"%s\"/>\n"
				"<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n",
				LEFT, y + 2, c->median > 0 ? c->median * scale : 0, BAR - 4,
				k ? "other" : "first", LEFT + c->values[0] * scale,
				LEFT + c->values[c->n - 1] * scale, y + BAR / 2, y + BAR / 2);
			snprintf(text, sizeof(text), "%.4g", c->median);
			svg_text(f, LEFT + WIDE + 10, y + BAR - 4, "value", text);
		}
	}
	fprintf(f, "</svg>\n");
	if (fclose(f))
		die(path, strerror(errno));
}

int main(int argc, char **argv)
{
	const char *json = NULL, *plot = NULL;
	json_t *about = or_die(json_object());
	struct bench *b;
	unsigned line;

	for (int i = 1; i < argc; i += 2) {
		char *text = i + 1 < argc ? argv[i + 1] : NULL;

		if (text && !strcmp(argv[i], "--json")) {
			json = text;
		} else if (text && !strcmp(argv[i], "--plot")) {
			plot = text;
		} else if (text && !strcmp(argv[i], "--about") && strchr(text, '=')) {
			char *value = strchr(text, '=');

			*value = 0;
			json_object_set_new(about, text, or_die(json_string(value + 1)));
		} else {
			die(argv[i], "not an option, or without its value");
		}
	}
	b = bench_read(stdin, &line);
	if (!b) {
		char text[40];

		snprintf(text, sizeof(text), "line %u", line);
		die(text, "not what is expected (or no memory)");
	}
	print_table(b);
	if (json)
		write_json(b, about, json);
	if (plot)
		write_svg(b, plot);
	bench_free(b);
	json_decref(about);
	return 0;
}
