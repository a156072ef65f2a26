/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command: what is to be run in the guest, and what it finds there if nobody says
 * otherwise: the caller's own root, directory and environment, and the host's kernel.
 */
#include "vmm/base/bytes.h"
#include "vmm/config/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

/* --- lists -------------------------------------------------------------------------- */

/* Takes `s` over, which may be NULL for want of memory. */
static int list_add(struct string_list *l, char *s)
{
	char **more = s ? realloc(l->strings, (l->n + 2) * sizeof(*more)) : NULL;

	if (!more) {
		free(s);
		return -ENOMEM;
	}
	l->strings = more;
	l->strings[l->n++] = s;
	l->strings[l->n] = NULL;
	return 0;
}

static void list_clear(struct string_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		free(l->strings[i]);
	free(l->strings);
	*l = (struct string_list){0};
}

/* --- options ------------------------------------------------------------------------ */

int command_set_root(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	return option_path(&c->command.root, value, o, e);
}

int command_set_rw(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	c->command.root_rw = true;
	return value ? option_on_off(&c->command.root_rw, value, o, e) : 0;
}

int command_set_init(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	c->command.init = true;
	return value ? option_on_off(&c->command.init, value, o, e) : 0;
}

int command_set_dir(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	char *copy;

	if (*value != '/')
		return option_refuse(o, value, -EINVAL, e,
				     "not an absolute path; it is one of the guest's");
	copy = strdup(value);
	if (!copy)
		return option_nomem(o, e);
	free(c->command.dir);
	c->command.dir = copy;
	return 0;
}

/* A name, or a number that can be one (2^32 - 1 is none). */
static bool is_user(const char *s, size_t len)
{
	uint64_t n = 0;
	bool number = true;

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f || s[i] == ':')
			return false;
		number &= s[i] >= '0' && s[i] <= '9';
		if (number && n < UINT32_MAX)
			n = n * 10 + (uint64_t)(s[i] - '0');
	}
	return len && !(number && n >= UINT32_MAX);
}

int command_set_user(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	bool self = !strcmp(value, "self");
	size_t len = strcspn(value, ":");
	char *copy;

	if (!is_user(value, len) ||
	    (value[len] && !is_user(value + len + 1, strlen(value + len + 1))))
		return option_refuse(o, value, -EINVAL, e,
				     "not a user; give USER or USER:GROUP, names or numbers of the "
				     "guest's, or self");
	copy = self ? NULL : strdup(value);
	if (!self && !copy)
		return option_nomem(o, e);
	free(c->command.user);
	c->command.user = copy;
	c->command.user_self = self;
	return 0;
}

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return n == strcspn(b, "=") && !strncmp(a, b, n);
}

/* The last one of a name counts. */
static int set_env(struct vm_config *c, const char *assignment)
{
	struct string_list *env = &c->command.env;

	for (unsigned i = 0; i < env->n; i++) {
		if (!same_name(env->strings[i], assignment))
			continue;
		char *copy = strdup(assignment);

		if (!copy)
			return -ENOMEM;
		free(env->strings[i]);
		env->strings[i] = copy;
		return 0;
	}
	return list_add(env, strdup(assignment));
}

int command_add_env(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	int err = 0;

	if (!*value || *value == '=')
		return option_refuse(o, value, -EINVAL, e, "has no name; give NAME or NAME=VALUE");
	if (strchr(value, '='))
		return set_env(c, value) ? option_nomem(o, e) : 0;
	/* What is not set here is not set there. */
	for (char **v = environ; v && *v && !err; v++)
		if (same_name(*v, value))
			err = set_env(c, *v);
	return err ? option_nomem(o, e) : 0;
}

void command_clear_env(struct vm_config *c)
{
	list_clear(&c->command.env);
}

int command_add_word(struct vm_config *c, const char *word, struct err *e)
{
	if (list_add(&c->command.words, strdup(word)))
		return err_host(e, -ENOMEM, "the command: out of memory");
	return 0;
}

/* --- what nobody said --------------------------------------------------------------- */

static int no_memory(struct err *e)
{
	return err_host(e, -ENOMEM, "the command: out of memory");
}

/* What a program needs to know of its user, and what makes it speak. */
static int complete_env(struct vm_config *c, struct err *e)
{
	/* The first are the user's; another has its own. */
	static const char *const handed_on[] = {"HOME", "USER", "LOGNAME",  "SHELL", "PATH",
						"TERM", "LANG", "NO_COLOR", "TZ"};
	enum { USERS = 4 };
	const struct string_list *env = &c->command.env;

	for (char **v = environ; v && *v; v++) {
		bool wanted = !strncmp(*v, "LC_", 3);

		for (size_t i = c->command.user ? USERS : 0; i < ARRAY_LEN(handed_on) && !wanted;
		     i++)
			wanted = same_name(*v, handed_on[i]);
		for (unsigned i = 0; i < env->n && wanted; i++)
			wanted = !same_name(env->strings[i], *v);
		if (wanted && list_add(&c->command.env, strdup(*v)))
			return no_memory(e);
	}
	return 0;
}

/* The caller's own directory, where that is the guest's as well. */
static int complete_dir(struct vm_config *c, struct err *e)
{
	struct command_config *cmd = &c->command;

	if (!cmd->dir)
		cmd->dir = cmd->root && !strcmp(cmd->root, "/") ? getcwd(NULL, 0) : strdup("/");
	return cmd->dir ? 0
			: err_host(e, -errno, "where you are: %s; give --workdir", strerror(errno));
}

static int complete_kernel(struct vm_config *c, struct err *e)
{
	struct utsname host;
	char *path[2] = {0};

	if (c->kernel)
		return 0;
	if (uname(&host) || asprintf(&path[0], "/boot/vmlinuz-%s", host.release) < 0 ||
	    asprintf(&path[1], "/lib/modules/%s/vmlinuz", host.release) < 0)
		return no_memory(e);
	for (unsigned i = 0; i < ARRAY_LEN(path); i++) {
		if (!c->kernel && !access(path[i], F_OK))
			c->kernel = path[i];
		else
			free(path[i]);
	}
	if (!c->kernel)
		return err_usage(e, -ENOENT,
				 "--kernel: missing, and this host's own is not at "
				 "/boot/vmlinuz-%s; give one",
				 host.release);
	c->kernel_is_hosts = true;
	return 0;
}

/* The root is a share like others, the first; or, unless --root says otherwise, a disk. */
static int complete_root(struct vm_config *c, struct err *e)
{
	struct command_config *cmd = &c->command;
	struct share_config root = {.rw = cmd->root_rw};

	if (c->n_disks && !cmd->root)
		return 0;
	for (unsigned i = 0; i < c->n_shares; i++)
		if (c->shares[i].mountpoint && !strcmp(c->shares[i].mountpoint, "/"))
			return err_usage(
				e, -EINVAL,
				"--share %s:/: the root of a command is given by --root %s",
				c->shares[i].path, c->shares[i].path);
	if (c->n_shares == CONFIG_SHARES_MAX)
		return err_usage(e, -E2BIG, "--share: one too many; the root is one as well");
	if (!cmd->root)
		cmd->root = strdup("/");
	root.path = cmd->root ? strdup(cmd->root) : NULL;
	root.mountpoint = strdup("/");
	root.tag = strdup("root");
	memmove(c->shares + 1, c->shares, c->n_shares * sizeof(*c->shares));
	c->shares[0] = root;
	c->n_shares++;
	return root.path && root.mountpoint && root.tag ? 0 : no_memory(e);
}

/* Options that mean nothing without a command were a slip. */
static int refuse_without(const struct vm_config *c, struct err *e)
{
	const struct command_config *cmd = &c->command;
	const char *name = cmd->root                     ? "root"
			   : cmd->root_rw                ? "rw"
			   : cmd->init                   ? "init"
			   : cmd->dir                    ? "workdir"
			   : cmd->user || cmd->user_self ? "user"
			   : cmd->env.n                  ? "env"
			   : cmd->junit                  ? "junit"
							 : NULL;

	if (!name)
		return 0;
	return err_usage(e, -EINVAL, "--%s: is for a command; give one: minivmm run ... -- COMMAND",
			 name);
}

int command_complete(struct vm_config *c, struct err *e)
{
	int err;

	if (!c->command.wanted)
		return refuse_without(c, e);
	if (c->n_initrds)
		return err_usage(e, -EINVAL,
				 "--initrd: not with a command, which minivmm's own init runs");
	if (c->vsock.vhost)
		return err_usage(e, -EINVAL,
				 "--vsock vhost: not with a command, whose streams go the same "
				 "way; give a path instead");
	if (c->command.init && c->command.root)
		return err_usage(
			e, -EINVAL,
			"--init: not together with --root; give the --disk whose system is "
			"to boot, alone");
	if (c->command.init && !c->n_disks)
		return err_usage(e, -EINVAL,
				 "--init: wants the --disk whose system is to boot; without it, "
				 "minivmm's own init runs the command");
	err = complete_kernel(c, e);
	if (!err)
		err = complete_root(c, e);
	if (!err)
		err = complete_dir(c, e);
	return err ? err : complete_env(c, e);
}

bool config_has_command(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--"))
			return true;
	return false;
}

void command_fini(struct vm_config *c)
{
	list_clear(&c->command.words);
	list_clear(&c->command.env);
	free(c->command.dir);
	free(c->command.user);
	free(c->command.root);
	free(c->command.junit);
	c->command = (struct command_config){0};
}
