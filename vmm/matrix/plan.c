/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/matrix/plan.h"

#include "vmm/base/bytes.h"
#include "vmm/config/config.h"
#include "vmm/config/ini.h"
#include "vmm/config/suggest.h"
#include "vmm/matrix/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KERNEL, CPUS, MEMORY, AXES };

static const struct axis {
	const char *key, *option, *section; /* where it would be otherwise */
} axes[AXES] = {
	[KERNEL] = {"kernel", "--kernel", "boot"},
	[CPUS] = {"cpus", "--cpus", "machine"},
	[MEMORY] = {"memory", "--memory", "machine"},
};

struct reading {
	struct plan *p;
	struct list lists[AXES];
	bool found;           /* there is a [matrix] */
	bool elsewhere[AXES]; /* the key is in its own section */
};

/* --- the file -------------------------------------------------------------------------- */

static int refuse_key(const struct reading *r, const char *key, struct err *e)
{
	const char *section = config_section_of(key);
	struct suggestion near = {0};

	if (section)
		return err_usage(e, -EINVAL, "%.200s [matrix] %s: belongs into [%s]", r->p->file,
				 key, section);
	suggest_offer(&near, key, "command");
	for (unsigned i = 0; i < AXES; i++)
		suggest_offer(&near, key, axes[i].key);
	if (near.name)
		return err_usage(e, -EINVAL, "%.200s [matrix] %s: unknown key; did you mean %s?",
				 r->p->file, key, near.name);
	return err_usage(
		e, -EINVAL,
		"%.200s [matrix] %s: unknown key; there are kernel, cpus, memory and command",
		r->p->file, key);
}

static int take_key(struct reading *r, const char *key, const char *value, struct err *e)
{
	char where[320];

	snprintf(where, sizeof(where), "%.200s [matrix] %s", r->p->file, key);
	for (unsigned i = 0; i < AXES; i++)
		if (!strcmp(key, axes[i].key))
			return list_split(&r->lists[i], value, where, e);
	if (strcmp(key, "command"))
		return refuse_key(r, key, e);
	if (!*value)
		return err_usage(e, -EINVAL, "%s: is empty; leave it out if there is none", where);
	r->p->command = strdup(value);
	return r->p->command ? 0 : err_host(e, -ENOMEM, "%s: out of memory", where);
}

static int visit(void *arg, const char *section, const char *key, const char *value, struct err *e)
{
	struct reading *r = arg;

	if (!strcmp(section, "matrix")) {
		r->found = true;
		return key ? take_key(r, key, value, e) : 0;
	}
	for (unsigned i = 0; i < AXES && key; i++)
		if (!strcmp(section, axes[i].section) && !strcmp(key, axes[i].key))
			r->elsewhere[i] = true;
	return 0;
}

static int check_lists(const struct reading *r, struct err *e)
{
	unsigned lists = 0, cells = 1;

	if (!r->found)
		return err_usage(
			e, -EINVAL,
			"%.200s: has no [matrix]; write one with lists, such as cpus = 1, 2",
			r->p->file);
	for (unsigned i = 0; i < AXES; i++) {
		if (r->lists[i].n && r->elsewhere[i])
			return err_usage(e, -EEXIST,
					 "%.200s [matrix] %s: is in [%s] as well; keep one",
					 r->p->file, axes[i].key, axes[i].section);
		lists += r->lists[i].n != 0;
		cells *= r->lists[i].n ? r->lists[i].n : 1;
	}
	if (!lists)
		return err_usage(e, -EINVAL,
				 "%.200s [matrix]: has no cells; give a list of kernel, cpus or "
				 "memory",
				 r->p->file);
	if (cells > MATRIX_CELLS_MAX)
		return err_usage(e, -E2BIG, "%.200s [matrix]: %u cells; %d are the most",
				 r->p->file, cells, MATRIX_CELLS_MAX);
	return 0;
}

/* --- cells ----------------------------------------------------------------------------- */

static int no_memory(struct err *e)
{
	return err_host(e, -ENOMEM, "matrix: out of memory");
}

/* As all paths in a file, a kernel's starts from the file's directory. */
static char *path_beside(const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');
	char *whole = NULL;

	if (*path == '/' || !slash)
		return strdup(path);
	return asprintf(&whole, "%.*s%s", (int)(slash + 1 - file), file, path) < 0 ? NULL : whole;
}

/* Takes `word` over. */
static void add_word(struct cell_plan *c, char *word, bool *lost)
{
	if (!word)
		*lost = true;
	else
		c->words[c->n_words++] = word;
}

static int make_words(struct cell_plan *c, const struct reading *r, const unsigned at[AXES],
		      struct err *e)
{
	bool lost = false;

	add_word(c, strdup("minivmm"), &lost);
	add_word(c, strdup("run"), &lost);
	add_word(c, strdup("--config"), &lost);
	add_word(c, strdup(r->p->file), &lost);
	for (unsigned i = 0; i < AXES; i++) {
		const char *value = r->lists[i].n ? r->lists[i].items[at[i]] : NULL;

		if (!value)
			continue;
		add_word(c, strdup(axes[i].option), &lost);
		add_word(c, i == KERNEL ? path_beside(r->p->file, value) : strdup(value), &lost);
	}
	if (r->p->command) {
		add_word(c, strdup("--"), &lost);
		add_word(c, strdup("/bin/sh"), &lost);
		add_word(c, strdup("-c"), &lost);
		add_word(c, strdup(r->p->command), &lost);
	}
	return lost ? no_memory(e) : 0;
}

/* Cells run beside each other: what all of them would write to is none's. */
static int check_outputs(const struct plan *p, const struct vm_config *config, struct err *e)
{
	const char *name = config->events.path || config->events.fd ? "events"
			   : config->command.junit                  ? "junit"
								    : NULL;

	return name ? err_usage(e, -EINVAL, "%.200s: %s: all cells would write there; leave it out",
				p->file, name)
		    : 0;
}

/* What does the configuration say to it? */
static int try_cell(struct cell_plan *c, const struct reading *r, struct err *e)
{
	struct vm_config config;
	struct err why = {0};
	int ret = config_parse(&config, (int)c->n_words, c->words, &why);

	if (ret < 0)
		return why.kind == ERR_HOST ? err_host(e, ret, "%s", why.text)
					    : err_usage(e, ret, "%s", why.text);
	ret = check_outputs(r->p, &config, e);
	if (!ret && access(config.kernel, R_OK))
		ret = err_usage(e, -errno, "%.200s: --kernel %.200s: %s", r->p->file, config.kernel,
				strerror(errno));
	c->kernel = strdup(config.kernel);
	c->cpus = config.cpus;
	c->memory = config.memory;
	c->timeout_s = config.timeout_s;
	vm_config_fini(&config);
	return ret ? ret : c->kernel ? 0 : no_memory(e);
}

static int make_cells(struct reading *r, struct err *e)
{
	unsigned n[AXES], cells = 1;
	int ret = 0;

	for (unsigned i = 0; i < AXES; i++) {
		n[i] = r->lists[i].n ? r->lists[i].n : 1;
		cells *= n[i];
	}
	r->p->cells = calloc(cells, sizeof(*r->p->cells));
	if (!r->p->cells)
		return no_memory(e);
	for (unsigned i = 0; i < cells && !ret; i++) {
		const unsigned at[AXES] = {i / n[MEMORY] / n[CPUS], i / n[MEMORY] % n[CPUS],
					   i % n[MEMORY]};
		struct cell_plan *c = &r->p->cells[r->p->n++];

		ret = make_words(c, r, at, e);
		if (!ret)
			ret = try_cell(c, r, e);
	}
	return ret;
}

int plan_read(struct plan *p, const char *file, struct err *e)
{
	struct reading r = {.p = p};
	int ret;

	*p = (struct plan){.file = strdup(file)};
	if (!p->file)
		return no_memory(e);
	if (access(file, R_OK))
		return err_usage(e, -errno, "matrix %.300s: %s", file, strerror(errno));
	ret = ini_walk(file, visit, &r, e);
	if (!ret)
		ret = check_lists(&r, e);
	if (!ret)
		ret = make_cells(&r, e);
	for (unsigned i = 0; i < AXES; i++)
		list_fini(&r.lists[i]);
	return ret;
}

void plan_fini(struct plan *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		for (unsigned j = 0; j < p->cells[i].n_words; j++)
			free(p->cells[i].words[j]);
		free(p->cells[i].kernel);
	}
	free(p->cells);
	free(p->command);
	free(p->file);
	*p = (struct plan){0};
}
