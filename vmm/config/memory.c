/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: one --memory: a size, then keys that say how the host is to hold it.
 *
 * It is one setting and not five, so that a stronger place replaces the whole: 1G
 * on the command line over "64G,hugepages=1G" in a file is 1 GiB of plain memory.
 */
#include "vmm/base/bytes.h"
#include "vmm/config/options.h"
#include "vmm/config/size.h"
#include "vmm/config/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { PAGE = 4096 };

/* What --memory says, before the whole of it has been judged. */
struct memory_spec {
	uint64_t size, max;
	enum memory_pages pages;
	bool shared, prefault;
};

static const struct {
	const char *name;
	enum memory_pages pages;
	uint64_t bytes; /* the size of RAM is a multiple of it */
} page_kinds[] = {
	{"off", MEMORY_PAGES_SMALL, PAGE},
	{"thp", MEMORY_PAGES_THP, PAGE},
	{"2M", MEMORY_PAGES_2M, 2 * MiB},
	{"1G", MEMORY_PAGES_1G, GiB},
};

static int parse_size(const char *text, const char *value, const struct origin *o, uint64_t *out,
		      struct err *e)
{
	uint64_t size = 0;
	int err = size_parse(text, &size);

	if (err == -EINVAL)
		return option_refuse(o, value, err, e,
				     "not a size; give a number of MiB, or one with K, M, G or T");
	if (err || size < CONFIG_MEMORY_MIN || size > CONFIG_MEMORY_MAX)
		return option_refuse(o, value, -ERANGE, e, "too %s; give %s to %s",
				     !err && size < CONFIG_MEMORY_MIN ? "small" : "large",
				     size_format(CONFIG_MEMORY_MIN).s,
				     size_format(CONFIG_MEMORY_MAX).s);
	*out = size;
	return 0;
}

static int set_max(struct memory_spec *m, const char *value, const struct origin *o, struct err *e)
{
	int err = parse_size(value, value, o, &m->max, e);

	if (!err && m->max < m->size)
		return option_refuse(o, value, -ERANGE, e,
				     "max is below the size at the start; give max=%s or more",
				     size_format(m->size).s);
	return err;
}

static int set_hugepages(struct memory_spec *m, const char *value, const struct origin *o,
			 struct err *e)
{
	for (unsigned i = 0; i < ARRAY_LEN(page_kinds); i++) {
		if (strcmp(value, page_kinds[i].name) == 0) {
			m->pages = page_kinds[i].pages;
			return 0;
		}
	}
	return option_refuse(o, value, -EINVAL, e, "give off, thp, 2M or 1G");
}

static int set_shared(struct memory_spec *m, const char *value, const struct origin *o,
		      struct err *e)
{
	return option_on_off(&m->shared, value, o, e);
}

static int set_prefault(struct memory_spec *m, const char *value, const struct origin *o,
			struct err *e)
{
	return option_on_off(&m->prefault, value, o, e);
}

static const struct {
	const char *name;
	int (*set)(struct memory_spec *m, const char *value, const struct origin *o, struct err *e);
} keys[] = {
	{"max", set_max},
	{"hugepages", set_hugepages},
	{"shared", set_shared},
	{"prefault", set_prefault},
};

/* One key=value, cut in place. `seen` has a bit for each key that came before. */
static int set_key(struct memory_spec *m, char *piece, unsigned *seen, const struct origin *o,
		   struct err *e)
{
	char *eq = strchr(piece, '=');
	struct suggestion near = {0};
	struct origin at = *o;

	if (eq)
		*eq = '\0';
	at.part = piece;
	for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
		suggest_offer(&near, piece, keys[i].name);
		if (strcmp(piece, keys[i].name) != 0)
			continue;
		if (!eq)
			return option_refuse(&at, NULL, -EINVAL, e, "needs a value: %s=...", piece);
		if (*seen & 1u << i)
			return option_refuse(&at, NULL, -EINVAL, e, "given twice; give it once");
		*seen |= 1u << i;
		return keys[i].set(m, eq + 1, &at, e);
	}
	if (near.name)
		return option_refuse(&at, NULL, -EINVAL, e, "unknown key; did you mean %s?",
				     near.name);
	return option_refuse(&at, NULL, -EINVAL, e,
			     "unknown key; memory has max, hugepages, shared and prefault");
}

/* Its pages divide it. `max` is a multiple as well, so that it could be reached. */
static int check_multiple(const struct memory_spec *m, const char *value, const struct origin *o,
			  struct err *e)
{
	uint64_t step = PAGE;
	const char *whose = "which is a page";

	for (unsigned i = 0; i < ARRAY_LEN(page_kinds); i++) {
		if (page_kinds[i].pages == m->pages && page_kinds[i].bytes > step) {
			step = page_kinds[i].bytes;
			whose = "as its huge pages are";
		}
	}
	uint64_t odd = m->size % step ? m->size : m->max % step ? m->max : 0;

	if (!odd)
		return 0;
	return option_refuse(o, value, -EINVAL, e, "not a multiple of %s, %s; give %s",
			     size_format(step).s, whose, size_format(align_up(odd, step)).s);
}

int memory_set_spec(struct vm_config *c, const char *spec, const struct origin *o, struct err *e)
{
	char copy[128], *rest = copy;
	struct memory_spec m = {.pages = MEMORY_PAGES_HOST};
	unsigned seen = 0;

	if (snprintf(copy, sizeof(copy), "%s", spec) >= (int)sizeof(copy))
		return option_refuse(o, spec, -EINVAL, e,
				     "not a size; give SIZE[,KEY=VALUE]..., such as 512M,max=4G");
	const char *size = strsep(&rest, ",");
	int err = parse_size(size, rest ? size : spec, o, &m.size, e);

	m.max = m.size;
	while (!err && rest)
		err = set_key(&m, strsep(&rest, ","), &seen, o, e);
	if (!err)
		err = check_multiple(&m, spec, o, e);
	if (err)
		return err;
	c->memory = m.size;
	c->memory_max = m.max;
	c->memory_pages = m.pages;
	c->memory_shared = m.shared;
	c->memory_prefault = m.prefault;
	return 0;
}
