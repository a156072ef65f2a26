/* SPDX-License-Identifier: Apache-2.0 */
/* config: puts the levels on top of each other, then looks at the whole. */
#include "vmm/config/config.h"

#include "vmm/base/bytes.h"
#include "vmm/config/cli.h"
#include "vmm/config/ini.h"
#include "vmm/config/options.h"
#include "vmm/config/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char disk_prefix[] = "disk.";

void vm_config_init(struct vm_config *c)
{
	*c = (struct vm_config){
		.cpus = 1,
		.cpus_max = 1,
		.memory = 256 * MiB,
		.memory_max = 256 * MiB,
		.rng = true,
		.serial2.kind = CHAR_OFF,
		.stop_timeout_s = 10,
		.on_reboot = ON_REBOOT_EXIT,
		.log_level = LOG_WARN,
	};
}

void vm_config_fini(struct vm_config *c)
{
	disk_clear_all(c);
	free(c->kernel);
	for (unsigned i = 0; i < c->n_initrds; i++)
		free(c->initrds[i]);
	free(c->modules);
	free(c->cmdline);
	free(c->append);
	free(c->serial.path);
	free(c->serial2.path);
	free(c->log_file);
	memset(c, 0, sizeof(*c));
}

struct file_walk {
	struct vm_config *c;
	struct level level;
};

static int unknown_section(const struct origin *o, struct err *e)
{
	struct suggestion near = {0};

	for (const struct option_def *def = options; def->name; def++) {
		if (def->section)
			suggest_offer(&near, o->section, def->section);
	}
	if (strcmp(o->section, "disk") == 0)
		return option_refuse(o, NULL, -EINVAL, e,
				     "a disk needs a name; write [disk.root], for instance");
	if (near.name)
		return option_refuse(o, NULL, -EINVAL, e, "unknown section; did you mean [%s]?",
				     near.name);
	return option_refuse(o, NULL, -EINVAL, e,
			     "unknown section; there are boot, machine, disk.NAME, devices, "
			     "console, run and log");
}

static int unknown_key(struct origin *o, const char *key, struct err *e)
{
	const struct option_def *elsewhere = option_by_name(key);
	struct suggestion near = {0};

	o->part = key;
	if (strcmp(key, "disk") == 0)
		return option_refuse(
			o, NULL, -EINVAL, e,
			"a disk has a section of its own: [disk.NAME] with path = FILE");
	if (elsewhere && elsewhere->section)
		return option_refuse(o, NULL, -EINVAL, e, "belongs into [%s]", elsewhere->section);
	if (elsewhere)
		return option_refuse(o, NULL, -EINVAL, e, "only for the command line");
	for (const struct option_def *def = options; def->name; def++) {
		if (def->section && strcmp(def->section, o->section) == 0)
			suggest_offer(&near, key, def->name);
	}
	if (near.name)
		return option_refuse(o, NULL, -EINVAL, e, "unknown key; did you mean %s?",
				     near.name);
	return option_refuse(o, NULL, -EINVAL, e, "unknown key; see minivmm --help");
}

static int visit_disk(struct file_walk *w, struct origin *o, const char *key, const char *value,
		      struct err *e)
{
	if (!key)
		return disk_begin(w->c, o->section + strlen(disk_prefix), o, e);
	if (strcmp(key, "id") == 0) {
		o->part = key;
		return option_refuse(o, NULL, -EINVAL, e,
				     "the name of the section is the id; rename it to [disk.NAME]");
	}
	return disk_set_key(&w->c->disks[w->c->n_disks - 1], key, value, o, e);
}

static int visit(void *arg, const char *section, const char *key, const char *value, struct err *e)
{
	struct file_walk *w = arg;
	struct origin o = {.level = &w->level, .section = section};

	if (strncmp(section, disk_prefix, strlen(disk_prefix)) == 0)
		return visit_disk(w, &o, key, value, e);
	for (const struct option_def *def = options; def->name; def++) {
		if (!def->section || strcmp(section, def->section) != 0)
			continue;
		/* --disk is a section here, not a key. */
		if (!key)
			return 0;
		if (strcmp(key, def->name) == 0 && !def->no_env)
			return option_apply(w->c, &w->level, def, value, e);
	}
	return key ? unknown_key(&o, key, e) : unknown_section(&o, e);
}

static int apply_file(struct vm_config *c, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char *dir = strndup(path, slash ? (size_t)(slash + 1 - path) : 0);
	struct file_walk w = {.c = c, .level = {LEVEL_FILE, .file = path, .dir = dir}};
	int err;

	if (!dir)
		return err_host(e, -ENOMEM, "--config: out of memory");
	err = ini_walk(path, visit, &w, e);
	for (unsigned i = 0; i < c->n_disks && !err; i++) {
		if (!c->disks[i].path)
			err = err_usage(e, -EINVAL,
					"%.200s [disk.%s]: has no path; add path = FILE", path,
					c->disks[i].id);
	}
	free(dir);
	return err;
}

static int apply_environment(struct vm_config *c, struct err *e)
{
	struct level level = {.kind = LEVEL_ENV};
	char name[ENV_NAME_MAX];
	int err = 0;

	for (const struct option_def *def = options; def->name && !err; def++) {
		const char *value;

		if (!def->section || def->no_env)
			continue;
		option_env_name(def, name);
		value = getenv(name);
		/* Scripts unset by setting to nothing. */
		if (value && *value)
			err = option_apply(c, &level, def, value, e);
	}
	return err;
}

/* There is one terminal: who asks for it has it, and ttyS0 if nobody does. */
static int give_terminal(struct vm_config *c, struct err *e)
{
	struct {
		const char *name;
		struct char_config *config;
	} consoles[] = {{"serial", &c->serial}, {"serial2", &c->serial2}};
	const char *owner = NULL;

	for (unsigned i = 0; i < ARRAY_LEN(consoles); i++) {
		if (consoles[i].config->kind != CHAR_TTY)
			continue;
		if (owner)
			return err_usage(e, -EEXIST,
					 "--%s tty: --%s has the terminal already; give it "
					 "file=PATH, pty, socket=PATH or off",
					 consoles[i].name, owner);
		owner = consoles[i].name;
	}
	if (c->serial.kind == CHAR_DEFAULT)
		c->serial.kind = owner ? CHAR_OFF : CHAR_TTY;
	return 0;
}

/* What can be said only of the whole. */
static int complete(struct vm_config *c, struct err *e)
{
	char id[16];

	if (c->json)
		return err_usage(e, -EINVAL, "--json: is for queries; give it with minivmm doctor");

	if (!c->kernel)
		return err_usage(e, -EINVAL,
				 "--kernel: missing; give the guest's bzImage or vmlinux, or see "
				 "minivmm --help");
	int err = give_terminal(c, e);

	if (err)
		return err;
	for (unsigned i = 0; i < c->n_disks; i++) {
		struct disk_config *d = &c->disks[i];

		snprintf(id, sizeof(id), "disk%u", i);
		if (!d->id && !(d->id = strdup(id)))
			return err_host(e, -ENOMEM, "--disk: out of memory");
		if (!d->serial && !(d->serial = strdup(d->id)))
			return err_host(e, -ENOMEM, "--disk: out of memory");
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(d->id, c->disks[j].id) == 0)
				return err_usage(
					e, -EEXIST,
					"--disk %.200s: the id %s is taken by %.200s; give "
					"another id=NAME",
					d->path, d->id, c->disks[j].path);
		}
	}
	return 0;
}

/* One line stays one line, and no terminal obeys what it shows. */
static void cleanse(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
	}
}

static int merge(struct vm_config *c, int argc, char **argv, struct err *e)
{
	struct cli_scan found = {.config_file = getenv("MINIVMM_CONFIG")};
	int action = cli_scan(argc, argv, &found, e);
	const char *file = found.config_file;
	int err = 0;

	c->json = found.json;
	if (action == CONFIG_DONE)
		err = cli_help(found.doctor, e);
	if (err || action != CONFIG_RUN)
		return err ? err : action;

	if (file && *file)
		err = apply_file(c, file, e);
	if (!err)
		err = apply_environment(c, e);
	if (!err)
		err = cli_apply(c, argc, argv, e);
	if (!err)
		err = complete(c, e);
	return err ? err : CONFIG_RUN;
}

int config_parse(struct vm_config *c, int argc, char **argv, struct err *e)
{
	struct err own = {0};
	int action;

	vm_config_init(c);
	/* The setters read what they said, so there is always an err. */
	action = merge(c, argc, argv, e ? e : &own);
	if (action < 0) {
		cleanse((e ? e : &own)->text);
		vm_config_fini(c);
	}
	return action;
}
