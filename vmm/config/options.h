/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: the one table of everything that can be configured.
 *
 * A setting has one name, one parser and one place in struct vm_config, whatever
 * way it comes in: `--memory 1G`, MINIVMM_MEMORY=1G and `memory = 1G` below
 * [machine] all end in the same setter, which learns only through the origin who
 * said it, so that an error can name the place to mend.
 *
 * Sources are applied from the weakest to the strongest: file, environment,
 * command line; each is one `level`. A scalar given again replaces what was there.
 * A list (--disk, --initrd, --append) collects what one level says, and the first word of a
 * stronger level drops all that weaker ones had collected.
 *
 * Internal to vmm/config.
 */
#ifndef VMM_CONFIG_OPTIONS_H
#define VMM_CONFIG_OPTIONS_H

#include "vmm/config/config.h"

#include <stddef.h>

enum level_kind { LEVEL_FILE, LEVEL_ENV, LEVEL_CLI };

struct level {
	enum level_kind kind;
	const char *file; /* as the user named it; LEVEL_FILE only */
	const char *dir;  /* what relative paths in the file start from, "" or ending in '/' */
	uint64_t given;   /* bit i: options[i] was set on this level */
};

struct origin;

struct option_def {
	const char *name;     /* long option, INI key, and MINIVMM_NAME */
	int key;              /* the short option, or KEY_LONG + something */
	const char *arg;      /* NULL: a flag; "[=...]": a flag that may have a value */
	const char *section;  /* in a file, and the heading in --help; NULL: command line only */
	const char *doc;      /* one line of --help, 46 columns at most; more after a newline */
	bool no_env;          /* no single string could say it */
	size_t field;         /* offset in struct vm_config, for the plain setters */
	const char *excludes; /* may not be given on the same level */
	void (*clear)(struct vm_config *c); /* a list: forget the weaker level's */
	/* `value` is NULL only for a flag on the command line. */
	int (*set)(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
};

enum {
	KEY_LONG = 256,
	KEY_CONFIG,
	KEY_RESTORE,
	KEY_MODULES,
	KEY_APPEND,
	KEY_CMDLINE,
	KEY_CMDLINE_FILE,
	KEY_TRANSPORT,
	KEY_HOTPLUG,
	KEY_BOOT,
	KEY_SHARE,
	KEY_VSOCK,
	KEY_RNG,
	KEY_BALLOON,
	KEY_SERIAL,
	KEY_SERIAL2,
	KEY_HVC,
	KEY_TIMEOUT,
	KEY_STOP_TIMEOUT,
	KEY_ON_REBOOT,
	KEY_CONTROL,
	KEY_SANDBOX,
	KEY_LOG_FILE,
	KEY_ROOT,
	KEY_RW,
	KEY_INIT,
	KEY_WORKDIR,
	KEY_USER,
	KEY_ENV,
	KEY_BOOT_TIMEOUT,
	KEY_JUNIT,
	KEY_EVENTS,
	KEY_TIMING,
	KEY_STATS,
	KEY_DRY_RUN,
	KEY_JSON,
};

enum { OPTIONS_MAX = 64 };

/* Ends with a NULL name. Sections are contiguous, in the order of --help. */
extern const struct option_def options[];

/* Where one value came from. `part` is the piece of it that is at fault, such as
 * "queues" within a --disk, or NULL. */
struct origin {
	const struct level *level;
	const struct option_def *def; /* NULL: a section as a whole, or `part` names the key */
	const char *section;          /* as the file has it, which may be "disk.root" */
	const char *part;
};

/* Gives the option or NULL. */
const struct option_def *option_by_name(const char *name);
const struct option_def *option_by_key(int key);

/* MINIVMM_STOP_TIMEOUT for stop-timeout, into buf. */
enum { ENV_NAME_MAX = 40 };
void option_env_name(const struct option_def *def, char buf[ENV_NAME_MAX]);

/* Sets one option. 0, or a negative errno with *e filled and *c still whole. */
int option_apply(struct vm_config *c, struct level *level, const struct option_def *def,
		 const char *value, struct err *e);

/* Fills *e with "WHERE: VALUE: cause; remedy" and gives `code`. A long value
 * is cut; NULL leaves it out. */
int option_refuse(const struct origin *o, const char *value, int code, struct err *e,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
int option_nomem(const struct origin *o, struct err *e);

/* A path, relative to where its file lies, as a new string in *out, of which the
 * old one is freed. Refuses the empty one. */
int option_path(char **out, const char *value, const struct origin *o, struct err *e);
int option_on_off(bool *out, const char *value, const struct origin *o, struct err *e);

/* Boot: `value` of initrd is PATH[,PATH]..., where `,,` is a comma within a name; all are added. */
int boot_set_initrd(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
void boot_clear_initrds(struct vm_config *c);
int boot_set_modules(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
/* The command line as a whole, from a word or from a file; and what is added to the default one. */
int boot_set_cmdline(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
int boot_set_cmdline_file(struct vm_config *c, const char *value, const struct origin *o,
			  struct err *e);
int boot_set_append(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
void boot_clear_append(struct vm_config *c);
int boot_set_boot(struct vm_config *c, const char *value, const struct origin *o, struct err *e);

/* Memory: `spec` is SIZE[,key=value]... */
int memory_set_spec(struct vm_config *c, const char *spec, const struct origin *o, struct err *e);

/* Disks: `word` is PATH[,key=value]..., where `,,` is a comma within a value. Adds
 * one disk. */
int disk_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e);
void disk_clear_all(struct vm_config *c);

/* The same piece by piece, for [disk.NAME]: begin adds a disk with that id. */
int disk_begin(struct vm_config *c, const char *id, const struct origin *o, struct err *e);
int disk_set_key(struct disk_config *d, const char *key, const char *value, const struct origin *o,
		 struct err *e);
/* Does all that is said of it go together? `value` is repeated if not; NULL: nothing is. */
int disk_check(const struct disk_config *d, const struct origin *o, const char *value,
	       struct err *e);

/* Networks, likewise: `word` is user|tap=NAME|fd=N[,key=value]... */
int net_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e);
void net_clear_all(struct vm_config *c);
int net_begin(struct vm_config *c, const char *id, const struct origin *o, struct err *e);
int net_set_key(struct net_config *n, const char *key, const char *value, const struct origin *o,
		struct err *e);
/* Is it a whole one? `value` is repeated if it is not; NULL: nothing is. */
int net_check(const struct net_config *n, const struct origin *o, const char *value, struct err *e);

/* Shares, likewise: `word` is DIR[:MOUNTPOINT][,key=value]... */
int share_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e);
void share_clear_all(struct vm_config *c);
int share_begin(struct vm_config *c, const char *tag, const struct origin *o, struct err *e);
int share_set_key(struct share_config *s, const char *key, const char *value,
		  const struct origin *o, struct err *e);

/* The command: what is said of it in options; `word` is one of its own. */
int command_set_root(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
int command_set_rw(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
int command_set_init(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
int command_set_dir(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
int command_set_user(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
int command_add_env(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
void command_clear_env(struct vm_config *c);
int command_add_word(struct vm_config *c, const char *word, struct err *e);
/* With all that the user said: fill in the rest, or refuse it. */
int command_complete(struct vm_config *c, struct err *e);
void command_fini(struct vm_config *c);

/* Events, and the control socket: `value` is PATH or fd=N. */
int control_set(struct vm_config *c, const char *value, const struct origin *o, struct err *e);
int events_set(struct vm_config *c, const char *value, const struct origin *o, struct err *e);

/* A saved machine: `word` is DIR[,key=value]... */
int restore_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e);

/* Sockets: `word` is PATH[,cid=N]. */
int vsock_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e);

#endif
