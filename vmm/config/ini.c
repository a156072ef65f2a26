/* SPDX-License-Identifier: Apache-2.0 */
/* ini: look the text through, then let iniparser read it. See ini.h. */
#include "vmm/config/ini.h"

#include "vmm/config/text.h"

#include <errno.h>
#include <iniparser/iniparser.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* iniparser reads lines into 1 KiB; NAMES_MAX bounds the search for duplicates. */
enum { LINE_BYTES_MAX = 1020, NAMES_MAX = 512 };

static const char name_chars[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

struct lint {
	const char *path;
	unsigned line;
	const char *section; /* points into the text, as do the names */
	struct {
		const char *section, *key; /* key NULL: the section itself */
	} names[NAMES_MAX];
	unsigned n_names;
};

static int bad_line(const struct lint *l, struct err *e, const char *why)
{
	return err_usage(e, -EINVAL, "%.300s line %u: %s", l->path, l->line, why);
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Is `name` well-formed and new? `key` is NULL for a section. */
static int lint_name(struct lint *l, const char *section, const char *key, struct err *e)
{
	const char *name = key ? key : section;
	size_t len = strlen(name);

	if (!len || len > 60 || strspn(name, name_chars) != len)
		return bad_line(l, e, "not a name; names have letters, digits, '.', '_' and '-'");
	if (strpbrk(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
		return err_usage(e, -EINVAL, "%.300s line %u: %s: write names in lower case",
				 l->path, l->line, name);
	for (unsigned i = 0; i < l->n_names; i++) {
		if (same(l->names[i].section, section) && same(l->names[i].key, key))
			return err_usage(
				e, -EEXIST,
				"%.300s [%s]%s%s: is there twice, again in line %u; keep one",
				l->path, section, key ? " " : "", key ? key : "", l->line);
	}
	if (l->n_names == NAMES_MAX)
		return bad_line(l, e, "too many settings; is it the right file?");
	l->names[l->n_names].section = section;
	l->names[l->n_names++].key = key;
	return 0;
}

/* Would iniparser take all of this value, and nothing but it? */
static int lint_value(const struct lint *l, const char *value, struct err *e)
{
	if (*value == '"' || *value == '\'') {
		const char *end = strchr(value + 1, *value);

		if (!end)
			return bad_line(l, e, "the quote is not closed");
		end += 1 + strspn(end + 1, " \t");
		if (*end && *end != ';' && *end != '#')
			return bad_line(l, e,
					"text behind the closing quote; to have quotes within a "
					"value, put the other kind around it");
		return 0;
	}

	size_t cut = strcspn(value, ";#");

	if (value[cut] && cut && value[cut - 1] != ' ' && value[cut - 1] != '\t')
		return bad_line(l, e, "';' and '#' begin a comment; put the value in quotes");
	return 0;
}

/* `line` has neither its newline nor blanks around it. Cuts it up in place. */
static int lint_line(struct lint *l, char *line, struct err *e)
{
	size_t len = strlen(line);
	char *eq;
	int err;

	if (!len)
		return 0;
	for (const char *p = line; *p; p++) {
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return bad_line(l, e, "contains a control character");
	}
	if (line[len - 1] == '\\')
		return bad_line(l, e,
				"ends in a backslash; lines are not joined: for a long command "
				"line give cmdline-file");
	if (*line == ';' || *line == '#')
		return 0;
	if (*line == '[') {
		if (line[len - 1] != ']')
			return bad_line(l, e, "a section is [name] on a line of its own");
		line[len - 1] = '\0';
		l->section = line + 1;
		return lint_name(l, l->section, NULL, e);
	}
	eq = strchr(line, '=');
	if (!eq)
		return bad_line(l, e, "neither [section] nor key = value nor a comment");
	if (!l->section)
		return bad_line(l, e, "a key before the first [section]");
	err = lint_value(l, eq + 1 + strspn(eq + 1, " \t"), e);
	while (eq > line && (eq[-1] == ' ' || eq[-1] == '\t'))
		eq--;
	*eq = '\0';
	return err ? err : lint_name(l, l->section, line, e);
}

static int lint_text(const char *path, char *text, struct err *e)
{
	struct lint *l = calloc(1, sizeof(*l));
	int err = 0;

	if (!l)
		return err_host(e, -ENOMEM, "%.300s: out of memory", path);
	l->path = path;
	while (text && !err) {
		char *line = strsep(&text, "\n");
		size_t len = strlen(line);

		l->line++;
		if (len > LINE_BYTES_MAX) {
			err = bad_line(l, e,
				       "longer than 1020 bytes; for a long command line give "
				       "cmdline-file");
			break;
		}
		while (len && strchr(" \t\r", line[len - 1]))
			line[--len] = '\0';
		err = lint_line(l, line + strspn(line, " \t"), e);
	}
	free(l);
	return err;
}

/* After the look-through only lack of memory is left for iniparser to complain
 * about, which its NULL tells as well. */
static int hush(const char *fmt, ...)
{
	return 0;
}

static int walk_section(const dictionary *d, const char *section, ini_visit *visit, void *arg,
			struct err *e)
{
	int n = iniparser_getsecnkeys(d, section), err = visit(arg, section, NULL, NULL, e);
	const char **keys;

	if (err || n <= 0)
		return err;
	keys = calloc((size_t)n, sizeof(*keys));
	if (!keys || !iniparser_getseckeys(d, section, keys)) {
		free(keys);
		return err_host(e, -ENOMEM, "[%s]: out of memory", section);
	}
	for (int i = 0; i < n && !err; i++)
		err = visit(arg, section, keys[i] + strlen(section) + 1,
			    iniparser_getstring(d, keys[i], ""), e);
	free(keys);
	return err;
}

int ini_walk(const char *path, ini_visit *visit, void *arg, struct err *e)
{
	struct err why = {0};
	char *text = NULL;
	dictionary *d;
	int err = text_read(path, &text, &why);

	if (err)
		return err_usage(e, err, "--config %.300s: %s", path, why.text);
	err = lint_text(path, text, e);
	free(text);
	if (err)
		return err;

	iniparser_set_error_callback(hush);
	d = iniparser_load(path);
	iniparser_set_error_callback(NULL);
	if (!d)
		return err_host(e, -EIO, "%.300s: cannot be loaded", path);
	for (int i = 0; i < iniparser_getnsec(d) && !err; i++)
		err = walk_section(d, iniparser_getsecname(d, i), visit, arg, e);
	iniparser_freedict(d);
	return err;
}
