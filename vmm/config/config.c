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
#include <unistd.h>

void vm_config_init(struct vm_config *c)
{
	*c = (struct vm_config){
		.cpus = 1,
		.cpus_max = 1,
		.memory = 256 * MiB,
		.memory_max = 256 * MiB,
		.rng = true,
		.serial2.kind = CHAR_OFF,
		.hvc.kind = CHAR_OFF,
		.command.boot_timeout_s = 120,
		.stop_timeout_s = 10,
		.on_reboot = ON_REBOOT_EXIT,
		.sandbox = CONFIG_SANDBOX_ON,
		.log_level = LOG_WARN,
	};
}

void vm_config_fini(struct vm_config *c)
{
	disk_clear_all(c);
	net_clear_all(c);
	share_clear_all(c);
	command_fini(c);
	free(c->vsock.path);
	free(c->restore.dir);
	free(c->kernel);
	for (unsigned i = 0; i < c->n_initrds; i++)
		free(c->initrds[i]);
	free(c->modules);
	free(c->cmdline);
	free(c->append);
	free(c->serial.path);
	free(c->serial2.path);
	free(c->hvc.path);
	free(c->control.path);
	free(c->events.path);
	free(c->log_file);
	memset(c, 0, sizeof(*c));
}

struct file_walk {
	struct vm_config *c;
	struct level level;
};

static int set_disk_key(struct vm_config *c, const char *key, const char *value,
			const struct origin *o, struct err *e)
{
	return disk_set_key(&c->disks[c->n_disks - 1], key, value, o, e);
}

static int set_net_key(struct vm_config *c, const char *key, const char *value,
		       const struct origin *o, struct err *e)
{
	return net_set_key(&c->nets[c->n_nets - 1], key, value, o, e);
}

static int set_share_key(struct vm_config *c, const char *key, const char *value,
			 const struct origin *o, struct err *e)
{
	return share_set_key(&c->shares[c->n_shares - 1], key, value, o, e);
}

/* What has a section for each: [disk.NAME], with NAME for its id. */
static const struct thing {
	const char *name, *id_key, *nameless, *misplaced;
	int (*begin)(struct vm_config *c, const char *id, const struct origin *o, struct err *e);
	int (*set_key)(struct vm_config *c, const char *key, const char *value,
		       const struct origin *o, struct err *e);
} things[] = {
	{"disk", "id", "a disk needs a name; write [disk.root], for instance",
	 "a disk has a section of its own: [disk.NAME] with path = FILE", disk_begin, set_disk_key},
	{"net", "id", "a network needs a name; write [net.lan], for instance",
	 "a network has a section of its own: [net.NAME] with user = on, tap = NAME or fd = N",
	 net_begin, set_net_key},
	{"share", "tag", "a share needs a name; write [share.src], for instance",
	 "a share has a section of its own: [share.NAME] with path = DIR", share_begin,
	 set_share_key},
};

/* Gives the thing that `name` is, or NULL. */
static const struct thing *thing_called(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(things); i++)
		if (strcmp(name, things[i].name) == 0)
			return &things[i];
	return NULL;
}

/* The same for a section of one, whose id begins at *id. */
static const struct thing *thing_in(const char *section, const char **id)
{
	for (size_t i = 0; i < ARRAY_LEN(things); i++) {
		size_t len = strlen(things[i].name);

		*id = section + len + 1;
		if (strncmp(section, things[i].name, len) == 0 && section[len] == '.')
			return &things[i];
	}
	return NULL;
}

static int unknown_section(const struct origin *o, struct err *e)
{
	struct suggestion near = {0};

	for (const struct option_def *def = options; def->name; def++) {
		if (def->section)
			suggest_offer(&near, o->section, def->section);
	}
	if (thing_called(o->section))
		return option_refuse(o, NULL, -EINVAL, e, "%s", thing_called(o->section)->nameless);
	if (near.name)
		return option_refuse(o, NULL, -EINVAL, e, "unknown section; did you mean [%s]?",
				     near.name);
	return option_refuse(
		o, NULL, -EINVAL, e,
		"unknown section; there are boot, machine, disk.NAME, net.NAME, share.NAME, "
		"devices, console, command, run and log");
}

static int unknown_key(struct origin *o, const char *key, struct err *e)
{
	const struct option_def *elsewhere = option_by_name(key);
	struct suggestion near = {0};

	o->part = key;
	if (thing_called(key))
		return option_refuse(o, NULL, -EINVAL, e, "%s", thing_called(key)->misplaced);
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

static int visit_thing(struct file_walk *w, const struct thing *t, const char *id, struct origin *o,
		       const char *key, const char *value, struct err *e)
{
	if (!key)
		return t->begin(w->c, id, o, e);
	if (strcmp(key, t->id_key) == 0) {
		o->part = key;
		return option_refuse(o, NULL, -EINVAL, e,
				     "the name of the section is the %s; rename it to [%s.NAME]",
				     t->id_key, t->name);
	}
	return t->set_key(w->c, key, value, o, e);
}

static int visit(void *arg, const char *section, const char *key, const char *value, struct err *e)
{
	struct file_walk *w = arg;
	struct origin o = {.level = &w->level, .section = section};

	const char *id;
	const struct thing *thing = thing_in(section, &id);

	/* It is looked at by `minivmm matrix`; one of its cells has the rest. */
	if (!strcmp(section, "matrix"))
		return 0;
	if (thing)
		return visit_thing(w, thing, id, &o, key, value, e);
	for (const struct option_def *def = options; def->name; def++) {
		if (!def->section || strcmp(section, def->section) != 0)
			continue;
		/* --disk, --net and --share are sections here, not keys. */
		if (!key)
			return 0;
		if (strcmp(key, def->name) == 0 && !def->no_env)
			return option_apply(w->c, &w->level, def, value, e);
	}
	return key ? unknown_key(&o, key, e) : unknown_section(&o, e);
}

const char *config_section_of(const char *key)
{
	const struct option_def *def = option_by_name(key);

	return def && !def->no_env ? def->section : NULL;
}

/* Are the things that the file has begun whole ones? */
static int check_file(const struct vm_config *c, const struct level *level, struct err *e)
{
	char section[40];
	int err = 0;

	for (unsigned i = 0; i < c->n_disks && !err; i++) {
		const struct origin o = {.level = level, .section = section};

		if (!c->disks[i].path)
			return err_usage(e, -EINVAL,
					 "%.200s [disk.%s]: has no path; add path = FILE",
					 level->file, c->disks[i].id);
		snprintf(section, sizeof(section), "disk.%s", c->disks[i].id);
		err = disk_check(&c->disks[i], &o, NULL, e);
	}
	if (err)
		return err;
	for (unsigned i = 0; i < c->n_shares; i++)
		if (!c->shares[i].path)
			return err_usage(e, -EINVAL,
					 "%.200s [share.%s]: has no path; add path = DIR",
					 level->file, c->shares[i].tag);
	for (unsigned i = 0; i < c->n_nets && !err; i++) {
		const struct origin o = {.level = level, .section = section};

		snprintf(section, sizeof(section), "net.%s", c->nets[i].id);
		err = net_check(&c->nets[i], &o, NULL, e);
	}
	return err;
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
	if (!err)
		err = check_file(c, &w.level, e);
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
	} consoles[] = {{"serial", &c->serial}, {"serial2", &c->serial2}, {"hvc", &c->hvc}};
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
	/* A command has the terminal for itself. */
	if (c->serial.kind == CHAR_DEFAULT && c->command.wanted)
		c->serial.kind = CHAR_KEPT;
	else if (c->serial.kind == CHAR_DEFAULT)
		c->serial.kind = owner ? CHAR_OFF : CHAR_TTY;
	return 0;
}

/* Who has this id among the first `n_disks`, `n_nets` and `n_shares`, as a person would
 * say it. */
static const char *id_taken(const struct vm_config *c, const char *id, unsigned n_disks,
			    unsigned n_nets, unsigned n_shares)
{
	for (unsigned i = 0; i < n_disks; i++)
		if (strcmp(id, c->disks[i].id) == 0)
			return c->disks[i].path;
	for (unsigned i = 0; i < n_nets; i++)
		if (strcmp(id, c->nets[i].id) == 0)
			return "a network";
	for (unsigned i = 0; i < n_shares; i++)
		if (strcmp(id, c->shares[i].tag) == 0)
			return c->shares[i].path;
	return NULL;
}

static int default_id(char **id, const char *kind, unsigned i)
{
	return *id || asprintf(id, "%s%u", kind, i) >= 0 ? 0 : -ENOMEM;
}

static int complete_disks(struct vm_config *c, struct err *e)
{
	for (unsigned i = 0; i < c->n_disks; i++) {
		struct disk_config *d = &c->disks[i];
		const char *other;

		if (default_id(&d->id, "disk", i) || (!d->serial && !(d->serial = strdup(d->id))))
			return err_host(e, -ENOMEM, "--disk: out of memory");
		other = id_taken(c, d->id, i, 0, 0);
		if (other)
			return err_usage(e, -EEXIST,
					 "--disk %.200s: the id %s is taken by %.200s; give "
					 "another id=NAME",
					 d->path, d->id, other);
		if (d->queues && d->threads > d->queues)
			return err_usage(e, -EINVAL,
					 "--disk %.200s: %u threads for %u queues; a thread serves "
					 "one queue at least",
					 d->path, d->threads, d->queues);
	}
	return 0;
}

/* What two networks cannot share. */
static int check_apart(const struct net_config *a, const struct net_config *b, struct err *e)
{
	if (a->kind == NET_TAP && b->kind == NET_TAP && !strcmp(a->tap, b->tap))
		return err_usage(e, -EEXIST, "--net tap=%s: is there twice", a->tap);
	if (a->kind == NET_FD && b->kind == NET_FD && a->fd == b->fd)
		return err_usage(e, -EEXIST, "--net fd=%d: is there twice", a->fd);
	if (a->has_mac && b->has_mac && !memcmp(a->mac, b->mac, sizeof(a->mac)))
		return err_usage(e, -EEXIST,
				 "--net: %s and %s have the same mac; give each its own", a->id,
				 b->id);
	return 0;
}

static int complete_nets(struct vm_config *c, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < c->n_nets && !ret; i++) {
		struct net_config *n = &c->nets[i];
		const char *other;

		if (default_id(&n->id, "net", i))
			return err_host(e, -ENOMEM, "--net: out of memory");
		other = id_taken(c, n->id, c->n_disks, i, 0);
		if (other)
			return err_usage(e, -EEXIST,
					 "--net: the id %s is taken by %.200s; give another "
					 "id=NAME",
					 n->id, other);
		for (unsigned j = 0; j < i && !ret; j++)
			ret = check_apart(&c->nets[j], n, e);
	}
	return ret;
}

static int complete_shares(struct vm_config *c, struct err *e)
{
	for (unsigned i = 0; i < c->n_shares; i++) {
		struct share_config *s = &c->shares[i];
		const char *other;

		if (default_id(&s->tag, "share", i))
			return err_host(e, -ENOMEM, "--share: out of memory");
		other = id_taken(c, s->tag, c->n_disks, c->n_nets, i);
		if (other)
			return err_usage(e, -EEXIST,
					 "--share %.200s: the name %s is taken by %.200s; give "
					 "another tag=NAME",
					 s->path, s->tag, other);
		for (unsigned j = 0; j < i; j++)
			if (s->mountpoint && c->shares[j].mountpoint &&
			    strcmp(s->mountpoint, c->shares[j].mountpoint) == 0)
				return err_usage(e, -EEXIST,
						 "--share %.200s: %.200s is to be mounted on %s as "
						 "well; give another place",
						 s->path, c->shares[j].path, s->mountpoint);
	}
	return 0;
}

/* Lowest slot first, and those without one, which are as they were said, before all. A list is
 * short. */
static void sort_disks(struct vm_config *c)
{
	for (unsigned i = 1; i < c->n_disks; i++)
		for (unsigned j = i; j && c->disks[j].slot < c->disks[j - 1].slot; j--) {
			struct disk_config d = c->disks[j];

			c->disks[j] = c->disks[j - 1];
			c->disks[j - 1] = d;
		}
}

static void sort_nets(struct vm_config *c)
{
	for (unsigned i = 1; i < c->n_nets; i++)
		for (unsigned j = i; j && c->nets[j].slot < c->nets[j - 1].slot; j--) {
			struct net_config n = c->nets[j];

			c->nets[j] = c->nets[j - 1];
			c->nets[j - 1] = n;
		}
}

static int take_slot(uint32_t *taken, unsigned slot, const char *id, struct err *e)
{
	if (*taken & 1u << slot)
		return err_usage(e, -EEXIST, "%s: slot=%u is taken by another device", id, slot);
	*taken |= 1u << slot;
	return 0;
}

/* What was added to a saved machine is none of those that it started with. */
static int set_late_apart(struct vm_config *c, struct err *e)
{
	uint32_t taken = 0;
	int err = 0;

	sort_disks(c);
	sort_nets(c);
	for (; c->n_disks && c->disks[c->n_disks - 1].slot && !err; c->n_late_disks++) {
		const struct disk_config *d = &c->disks[--c->n_disks];

		err = take_slot(&taken, d->slot, d->id, e);
	}
	for (; c->n_nets && c->nets[c->n_nets - 1].slot && !err; c->n_late_nets++) {
		const struct net_config *n = &c->nets[--c->n_nets];

		err = take_slot(&taken, n->slot, n->id, e);
		if (!err && n->kind == NET_USER)
			err = err_usage(e, -EINVAL, "%s: slot goes with tap and fd", n->id);
	}
	if (!err && taken && !c->restore.dir)
		err = err_usage(e, -EINVAL,
				"slot: goes with --restore; a machine that boots finds its devices "
				"where it looks");
	return err;
}

/* What can be said only of the whole. */
static int complete(struct vm_config *c, struct err *e)
{
	int err = command_complete(c, e);

	if (err)
		return err;

	if (c->json && !c->dry_run)
		return err_usage(
			e, -EINVAL,
			"--json: is for queries; give it with --dry-run or minivmm doctor");

	if (c->restore.dir && c->dry_run)
		return err_usage(e, -EINVAL,
				 "--dry-run: not together with --restore; the snapshot's "
				 "machine.ini tells what that machine is");
	if (c->restore.dir && c->command.wanted)
		return err_usage(e, -EINVAL,
				 "--restore: the saved guest is in the midst of what it "
				 "does; it takes no command");
	if (!c->kernel && !c->restore.dir)
		return err_usage(e, -EINVAL,
				 "--kernel: missing; give the guest's bzImage or vmlinux, or see "
				 "minivmm --help");
	if (c->restore.dir && c->restore.memory == RESTORE_LAZY &&
	    (c->memory_shared || c->memory_prefault || c->memory_pages == MEMORY_PAGES_2M ||
	     c->memory_pages == MEMORY_PAGES_1G))
		return err_usage(e, -EINVAL,
				 "--restore: memory=lazy is for memory of plain pages that is not "
				 "shared; with --memory's shared, prefault or hugepages give "
				 "memory=read");
	err = give_terminal(c, e);
	if (!err)
		err = complete_disks(c, e);
	if (!err)
		err = complete_nets(c, e);
	if (!err)
		err = complete_shares(c, e);
	return err ? err : set_late_apart(c, e);
}

/* One line stays one line, and no terminal obeys what it shows. */
static void cleanse(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
	}
}

/* Its networks' addresses are not the saved ones'. */
static void set_clone(struct vm_config *c, uint32_t number)
{
	c->restore.is_clone = true;
	c->restore.clone = number;
	for (unsigned i = 0; i < c->n_nets; i++)
		c->nets[i].has_mac = false;
}

/* What the saved machine was, below all that is said now. */
static int apply_saved(struct vm_config *c, const char *word, struct err *e)
{
	struct level level = {.kind = LEVEL_CLI};
	char *file = NULL;
	int err = option_apply(c, &level, option_by_key(KEY_RESTORE), word, e);

	if (!err && asprintf(&file, "%s/machine.ini", c->restore.dir) < 0)
		err = err_host(e, -ENOMEM, "--restore: out of memory");
	if (!err && access(file, R_OK))
		err = err_usage(e, -errno, "--restore %.200s: machine.ini: %s", c->restore.dir,
				strerror(errno));
	if (!err)
		err = apply_file(c, file, e);
	if (c->restore.is_clone)
		set_clone(c, c->restore.clone);
	free(file);
	return err;
}

static int merge(struct vm_config *c, int argc, char **argv, struct err *e)
{
	struct cli_scan found = {.config_file = getenv("MINIVMM_CONFIG")};
	int action = cli_scan(argc, argv, &found, e);
	const char *file = found.config_file;
	int err = 0;

	c->json = found.json;
	if (action == CONFIG_DOCTOR && !found.sandbox)
		c->sandbox = CONFIG_SANDBOX_OFF;
	if (action == CONFIG_DONE)
		err = cli_help(found.doctor, e);
	if (err || action != CONFIG_RUN)
		return err ? err : action;

	if (found.restore)
		err = apply_saved(c, found.restore, e);
	else if (file && *file)
		err = apply_file(c, file, e);
	if (!err)
		err = apply_environment(c, e);
	if (!err)
		err = cli_apply(c, argc, argv, e);
	c->command.wanted = found.command || (found.run && !c->kernel && !c->n_disks);
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

int config_parse_saved(struct vm_config *c, const char *word, struct err *e)
{
	int err;

	vm_config_init(c);
	err = apply_saved(c, word, e);
	if (!err)
		err = apply_environment(c, e);
	if (err) {
		cleanse(e->text);
		vm_config_fini(c);
	}
	return err;
}

int config_parse_clone(struct vm_config *c, unsigned number, int argc, char **argv, struct err *e)
{
	struct cli_scan found = {0};
	int err = cli_scan(argc, argv, &found, e);

	/* Whatever makes no machine, or another one. */
	if (err >= 0 && (err != CONFIG_RUN || found.restore || found.config_file || found.run))
		err = err_usage(e, -EINVAL,
				"clone: give settings of a machine; not --help, --config, "
				"--restore or a command");
	set_clone(c, number);
	if (err == CONFIG_RUN)
		err = cli_apply(c, argc, argv, e);
	c->command.wanted = found.command;
	if (!err)
		err = complete(c, e);
	if (err)
		cleanse(e->text);
	return err;
}
