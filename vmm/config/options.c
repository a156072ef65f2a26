/* SPDX-License-Identifier: Apache-2.0 */
/* options: the table, and the setters of what has no keys of its own. See options.h. */
#include "vmm/config/options.h"

#include "vmm/base/bytes.h"
#include "vmm/config/size.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A year; what is longer was a slip, and milliseconds of it must fit everywhere. */
enum { SECONDS_MAX = 366 * 24 * 3600 };

#define FIELD(c, o, type) ((type *)((char *)(c) + (o)->def->field))

static int set_path(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	return option_path(FIELD(c, o, char *), value, o, e);
}

/* Splits "N[,max=M]" in *copy. Gives false for anything else behind a comma. */
static bool split_max(char *copy, const char **max)
{
	char *comma = strchr(copy, ',');

	*max = NULL;
	if (!comma)
		return true;
	*comma = '\0';
	if (strncmp(comma + 1, "max=", 4) != 0)
		return false;
	*max = comma + 5;
	return true;
}

static int parse_cpus(const char *text, uint64_t *out)
{
	uint64_t n = 0;
	int err = number_parse(text, CONFIG_CPUS_MAX, &n);

	if (err || !n)
		return err ? err : -ERANGE;
	*out = n;
	return 0;
}

static int set_cpus(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	char copy[64];
	const char *max;
	uint64_t n = 0, m = 0;
	int err;

	if (snprintf(copy, sizeof(copy), "%s", value) >= (int)sizeof(copy) ||
	    !split_max(copy, &max))
		return option_refuse(o, value, -EINVAL, e,
				     "not a CPU count; give N or N,max=M with N and M from 1 to %d",
				     CONFIG_CPUS_MAX);
	err = parse_cpus(copy, &n);
	m = n;
	if (!err && max)
		err = parse_cpus(max, &m);
	if (err)
		return option_refuse(o, value, err, e, "%s; give 1 to %d",
				     err == -ERANGE ? "too few or too many CPUs"
						    : "not a CPU count",
				     CONFIG_CPUS_MAX);
	if (m < n)
		return option_refuse(o, value, -ERANGE, e,
				     "max is below the number at the start; give max=%u or more",
				     (unsigned)n);
	c->cpus = (unsigned)n;
	c->cpus_max = (unsigned)m;
	return 0;
}

static int set_transport(struct vm_config *c, const char *value, const struct origin *o,
			 struct err *e)
{
	if (strcmp(value, "pci") == 0)
		c->transport = TRANSPORT_PCI;
	else if (strcmp(value, "mmio") == 0)
		c->transport = TRANSPORT_MMIO;
	else
		return option_refuse(o, value, -EINVAL, e, "give pci or mmio");
	return 0;
}

static int set_hotplug(struct vm_config *c, const char *value, const struct origin *o,
		       struct err *e)
{
	uint64_t n = 0;

	if (number_parse(value, CONFIG_HOTPLUG_MAX, &n))
		return option_refuse(o, value, -EINVAL, e, "not a number of slots; give 0 to %d",
				     CONFIG_HOTPLUG_MAX);
	c->hotplug = (unsigned)n;
	return 0;
}

/* One that is on when it is there. */
static int set_flag(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	bool *flag = FIELD(c, o, bool);

	if (value)
		return option_on_off(flag, value, o, e);
	*flag = true;
	return 0;
}

static int set_rng(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	return option_on_off(&c->rng, value, o, e);
}

/* A console's kind, with a path for some. Paths have no commas to mind: it is the
 * whole of the value. */
static int set_console(struct vm_config *c, const char *value, const struct origin *o,
		       struct err *e)
{
	static const struct {
		const char *word;
		enum char_kind kind;
		bool path;
	} kinds[] = {
		{"tty", CHAR_TTY, false}, {"file=", CHAR_FILE, true},     {"pty", CHAR_PTY, false},
		{"off", CHAR_OFF, false}, {"socket=", CHAR_SOCKET, true},
	};
	struct char_config *console = FIELD(c, o, struct char_config);

	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		size_t len = strlen(kinds[i].word);
		int err;

		if (kinds[i].path ? strncmp(value, kinds[i].word, len)
				  : strcmp(value, kinds[i].word))
			continue;
		err = kinds[i].path ? option_path(&console->path, value + len, o, e) : 0;
		if (err)
			return err;
		if (!kinds[i].path) {
			free(console->path);
			console->path = NULL;
		}
		console->kind = kinds[i].kind;
		return 0;
	}
	return option_refuse(o, value, -EINVAL, e, "give tty, file=PATH, pty, socket=PATH or off");
}

static int set_seconds(struct vm_config *c, const char *value, const struct origin *o,
		       struct err *e)
{
	uint64_t n = 0;
	int err = number_parse(value, SECONDS_MAX, &n);

	if (err)
		return option_refuse(o, value, err, e, "%s; give whole seconds, at most %d",
				     err == -ERANGE ? "too long" : "not a number of seconds",
				     SECONDS_MAX);
	*FIELD(c, o, unsigned) = (unsigned)n;
	return 0;
}

static int set_on_reboot(struct vm_config *c, const char *value, const struct origin *o,
			 struct err *e)
{
	if (strcmp(value, "exit") == 0)
		c->on_reboot = ON_REBOOT_EXIT;
	else if (strcmp(value, "restart") == 0)
		c->on_reboot = ON_REBOOT_RESTART;
	else
		return option_refuse(o, value, -EINVAL, e, "give exit or restart");
	return 0;
}

/* Alone it is on. */
static int set_sandbox(struct vm_config *c, const char *value, const struct origin *o,
		       struct err *e)
{
	if (!value || strcmp(value, "on") == 0)
		c->sandbox = CONFIG_SANDBOX_ON;
	else if (strcmp(value, "log") == 0)
		c->sandbox = CONFIG_SANDBOX_LOG;
	else if (strcmp(value, "off") == 0)
		c->sandbox = CONFIG_SANDBOX_OFF;
	else
		return option_refuse(o, value, -EINVAL, e, "give off, log or on");
	return 0;
}

/* -v counts, one step each; where there is no counting the number is given. */
static int set_verbose(struct vm_config *c, const char *value, const struct origin *o,
		       struct err *e)
{
	uint64_t n = (uint64_t)(c->log_level - LOG_WARN) + 1;

	if (value && number_parse(value, LOG_DEBUG - LOG_WARN, &n))
		return option_refuse(o, value, -EINVAL, e, "give 0, 1 or 2");
	c->log_level = n > LOG_DEBUG - LOG_WARN ? LOG_DEBUG : (enum log_level)(LOG_WARN + n);
	return 0;
}

static int set_quiet(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	bool quiet = true;
	int err = value ? option_on_off(&quiet, value, o, e) : 0;

	if (!err)
		c->log_level = quiet ? LOG_ERROR : LOG_WARN;
	return err;
}

static int set_dry_run(struct vm_config *c, const char *value, const struct origin *o,
		       struct err *e)
{
	c->dry_run = true;
	return 0;
}

static void clear_log_level(struct vm_config *c)
{
	c->log_level = LOG_WARN;
}

#define AT(f) .field = offsetof(struct vm_config, f)

/* clang-format off */
const struct option_def options[] = {
	{ "kernel", 'k', "FILE", "boot",
	  "the guest's kernel: bzImage, 64-bit vmlinux, or\n"
	  "an ELF with a PVH note",
	  .set = set_path, AT(kernel) },
	{ "initrd", 'i', "FILE[,FILE]...", "boot",
	  "its initramfs; repeatable. Without one, a small\n"
	  "one is made if its disks' drivers are modules",
	  .set = boot_set_initrd, .clear = boot_clear_initrds },
	{ "modules", KEY_MODULES, "DIR|none", "boot",
	  "the kernel's modules, if not where they are\n"
	  "usually installed; none: all is built in",
	  .set = boot_set_modules },
	{ "append", KEY_APPEND, "TEXT", "boot",
	  "add to the default command line; repeatable",
	  .set = boot_set_append, .clear = boot_clear_append },
	{ "cmdline", KEY_CMDLINE, "TEXT", "boot",
	  "replace the default command line",
	  .set = boot_set_cmdline, .excludes = "cmdline-file" },
	{ "cmdline-file", KEY_CMDLINE_FILE, "FILE", "boot",
	  "the same, read from a file",
	  .set = boot_set_cmdline_file, .excludes = "cmdline" },
	{ "boot", KEY_BOOT, "ENTRY", "boot",
	  "auto (default), linux64, linux32 or pvh: which\n"
	  "of the kernel's entries to take",
	  .set = boot_set_boot },

	{ "cpus", 'c', "N[,max=M]", "machine",
	  "1 to 64 CPUs (default 1); max: how many it may\n"
	  "have while it runs (minivmm ctl PATH cpus.set)",
	  .set = set_cpus },
	{ "memory", 'm', "SIZE[,KEY=VALUE]...", "machine",
	  "RAM in MiB, or with K, M, G, T (default 256M).\n"
	  "Keys: max=SIZE, what it may grow to while it\n"
	  "runs (minivmm ctl PATH memory.set size=SIZE);\n"
	  "hugepages=off|thp|2M|1G, else as the host does;\n"
	  "shared=on, a memfd; prefault=on, all of it now",
	  .set = memory_set_spec },
	{ "transport", KEY_TRANSPORT, "pci|mmio", "machine",
	  "how virtio devices are attached (default pci);\n"
	  "mmio: for a guest without PCI",
	  .set = set_transport },
	{ "hotplug", KEY_HOTPLUG, "N", "machine",
	  "PCI slots for disks and networks that come and\n"
	  "go while it runs (default 0; minivmm ctl PATH\n"
	  "disk.add, net.add)",
	  .set = set_hotplug },

	{ "disk", 'd', "PATH[,KEY=VALUE]...", "devices",
	  "a raw disk image; repeatable. Keys:\n"
	  "readonly=on|off id=NAME serial=TEXT queues=N\n"
	  "threads=N (that serve the queues; default 1)\n"
	  "cache=writeback|none (none: past the host's\n"
	  "page cache) bps=SIZE iops=N (the most that it\n"
	  "does in a second; 10M: 10 MiB) burst=SIZE\n"
	  "iops-burst=N (and at once after a lull; by\n"
	  "itself a tenth of that). A comma in a value is\n"
	  "doubled",
	  .set = disk_set_spec, .clear = disk_clear_all, .no_env = true },
	{ "net", 'n', "user|tap=NAME|fd=N[,...]", "devices",
	  "a network: the host's, by passt; a tap; a tap\n"
	  "that is open already. Repeatable; keys:\n"
	  "mac=ADDRESS id=NAME; for user forward=8080:80,\n"
	  "in full [tcp:|udp:][ADDRESS/]PORT[:PORT]; for\n"
	  "taps vhost=auto|on|off (the kernel's driver)\n"
	  "and queues=N (pairs of them, with tap=);\n"
	  "bps=SIZE pps=N burst=SIZE pps-burst=N (limits\n"
	  "of each direction, as a disk has, of packets).\n"
	  "A command finds it up, if DHCP answers",
	  .set = net_set_spec, .clear = net_clear_all, .no_env = true },
	{ "share", KEY_SHARE, "DIR[:MOUNTPOINT][,...]", "devices",
	  "a directory of this host, by virtiofs; without\n"
	  "rw read-only. Repeatable; keys: rw tag=NAME\n"
	  "(default share0, ...) cache=auto|none|always.\n"
	  "Our init mounts it on MOUNTPOINT; \"/\" or\n"
	  "root=TAG rootfstype=virtiofs make it the root",
	  .set = share_set_spec, .clear = share_clear_all, .no_env = true },
	{ "vsock", KEY_VSOCK, "PATH|vhost[,cid=N]", "devices",
	  "the guest's AF_VSOCK as unix sockets: port P of\n"
	  "CID 2 is who listens at PATH_P; who connects to\n"
	  "PATH and says \"CONNECT P\" gets the guest's own\n"
	  "port P. With vhost the host's kernel has them,\n"
	  "as AF_VSOCK. N is the guest's CID (default 3);\n"
	  "with vhost no two guests have the same",
	  .set = vsock_set_spec },
	{ "rng", KEY_RNG, "on|off", "devices",
	  "a source of entropy (default on)",
	  .set = set_rng },
	{ "balloon", KEY_BALLOON, "[=on|off]", "devices",
	  "what the guest frees goes back to the host, and\n"
	  "as much as minivmm ctl PATH memory.balloon says\n"
	  "(default off)",
	  .set = set_flag, AT(balloon) },

	{ "serial", KEY_SERIAL, "KIND", "console",
	  "the serial port ttyS0. KIND is tty (stdin and\n"
	  "stdout, the default), file=PATH, pty,\n"
	  "socket=PATH (that it listens on), or off",
	  .set = set_console, AT(serial) },
	{ "serial2", KEY_SERIAL2, "KIND", "console",
	  "a second one, ttyS1 (default off)",
	  .set = set_console, AT(serial2) },
	{ "hvc", KEY_HVC, "KIND", "console",
	  "a virtio console, hvc0 (default off); with tty\n"
	  "it is the guest's console and --serial is off",
	  .set = set_console, AT(hvc) },

	{ "root", KEY_ROOT, "DIR", "command",
	  "the directory that is the guest's root, instead\n"
	  "of /; a --disk is then a disk and not the root",
	  .set = command_set_root },
	{ "rw", KEY_RW, NULL, "command",
	  "the command writes into it; else into a layer\n"
	  "that is thrown away",
	  .set = command_set_rw },
	{ "init", KEY_INIT, NULL, "command",
	  "with --disk: its own init boots first, and the\n"
	  "command runs in that system",
	  .set = command_set_init },
	{ "workdir", KEY_WORKDIR, "DIR", "command",
	  "where it starts (default: where you are)",
	  .set = command_set_dir },
	{ "user", KEY_USER, "USER[:GROUP]|self", "command",
	  "whose it is: names or numbers of the guest's\n"
	  "/etc/passwd and /etc/group, or self, yours\n"
	  "(default: root's)",
	  .set = command_set_user },
	{ "env", KEY_ENV, "NAME[=VALUE]", "command",
	  "set that, or hand your own value on;\n"
	  "repeatable. PATH, HOME, TERM, LANG and others\n"
	  "go by themselves",
	  .set = command_add_env, .clear = command_clear_env, .no_env = true },
	{ "boot-timeout", KEY_BOOT_TIMEOUT, "SECONDS", "command",
	  "how long the guest may take until it starts\n"
	  "(default 120; 0: for ever)",
	  .set = set_seconds, AT(command.boot_timeout_s) },
	{ "junit", KEY_JUNIT, "FILE", "command",
	  "write how it ended there, as JUnit XML",
	  .set = set_path, AT(command.junit) },

	{ "timeout", KEY_TIMEOUT, "SECONDS", "run",
	  "end the VM after that time (default 0: never)",
	  .set = set_seconds, AT(timeout_s) },
	{ "stop-timeout", KEY_STOP_TIMEOUT, "SECONDS", "run",
	  "how long powering off may take after SIGTERM\n"
	  "(default 10)",
	  .set = set_seconds, AT(stop_timeout_s) },
	{ "on-reboot", KEY_ON_REBOOT, "exit|restart", "run",
	  "what a reboot of the guest does (default exit)",
	  .set = set_on_reboot },
	{ "control", KEY_CONTROL, "PATH|fd=N", "run",
	  "take orders there while it runs, on a unix\n"
	  "socket: minivmm ctl PATH METHOD, or JSON-RPC\n"
	  "(vmm/control/README.md). fd=systemd: the socket\n"
	  "that LISTEN_FDS tells of",
	  .set = control_set },
	{ "sandbox", KEY_SANDBOX, "[=off|log|on]", "run",
	  "before the guest runs, give up all that minivmm\n"
	  "does not need, and end if it asks the host for\n"
	  "more (default on; log: the kernel's log tells\n"
	  "and it goes on). See vmm/sandbox/README.md",
	  .set = set_sandbox },

	{ "events", KEY_EVENTS, "PATH|fd=N", "log",
	  "tell what happens, for programs: a JSON object\n"
	  "a line (vmm/machine/EVENTS.md)",
	  .set = events_set },
	{ "timing", KEY_TIMING, NULL, "log",
	  "tell at the end what took how long, from the\n"
	  "exec to the machine torn down",
	  .set = set_flag, AT(timing) },
	{ "stats", KEY_STATS, NULL, "log",
	  "tell at the end what was counted: exits by\n"
	  "reason and device, and what each queue carried",
	  .set = set_flag, AT(stats) },
	{ "log-file", KEY_LOG_FILE, "FILE", "log",
	  "write messages there instead of stderr",
	  .set = set_path, AT(log_file) },
	{ "verbose", 'v', NULL, "log",
	  "say more; -vv still more (in a file: 0, 1 or 2)",
	  .set = set_verbose, .clear = clear_log_level, .excludes = "quiet" },
	{ "quiet", 'q', NULL, "log",
	  "say nothing but why minivmm failed",
	  .set = set_quiet, .excludes = "verbose" },

	/* Where to look and what to do: handled in cli.c, so without a setter. */
	{ "config", KEY_CONFIG, "FILE", NULL, "take settings from an INI file", .set = NULL },
	{ "restore", KEY_RESTORE, "DIR[,verify]", NULL,
	  "go on with the machine whose snapshot that is;\n"
	  "settings given here replace its own. Keys:\n"
	  "verify (all of its memory first), memory=read\n"
	  "(else mapped) or lazy, cpu=any, disks=any,\n"
	  "clone=N (MAC addresses of its own). What was\n"
	  "added as it ran is a disk or net with slot=N",
	  .set = restore_set_spec },
	{ "dry-run", KEY_DRY_RUN, NULL, NULL,
	  "tell what the machine would be, and make none",
	  .set = set_dry_run },
	{ "json", KEY_JSON, NULL, NULL, "answer that, and doctor, for machines", .set = NULL },
	{ "help", 'h', NULL, NULL, "show this", .set = NULL },
	{ "version", 'V', NULL, NULL, "show the version", .set = NULL },
	{ .name = NULL },
};
/* clang-format on */

static_assert(ARRAY_LEN(options) <= OPTIONS_MAX, "struct level has a bit for each option");

const struct option_def *option_by_name(const char *name)
{
	for (const struct option_def *def = options; def->name; def++) {
		if (strcmp(def->name, name) == 0)
			return def;
	}
	return NULL;
}

const struct option_def *option_by_key(int key)
{
	for (const struct option_def *def = options; def->name; def++) {
		if (def->key == key)
			return def;
	}
	return NULL;
}

int option_apply(struct vm_config *c, struct level *level, const struct option_def *def,
		 const char *value, struct err *e)
{
	const struct option_def *rival = def->excludes ? option_by_name(def->excludes) : NULL;
	struct origin o = {.level = level, .def = def, .section = def->section};
	uint64_t bit = 1ull << (def - options);

	if (rival && (level->given & 1ull << (rival - options)))
		return option_refuse(&o, NULL, -EINVAL, e,
				     "not together with %s%s; give one of them",
				     level->kind == LEVEL_CLI ? "--" : "", rival->name);
	if (def->clear && !(level->given & bit))
		def->clear(c);
	level->given |= bit;
	return def->set(c, value, &o, e);
}
