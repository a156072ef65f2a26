/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config from an INI file: every setting, every trap of iniparser, and who wins
 * between file, environment and command line. The parser is driven through
 * config_parse(), as a user would.
 */
#include "vmm/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct vm_config c;
static struct err e;
static char dir[64];

static int make_dir(void **state)
{
	clearenv(); /* what the caller's shell has set is not part of the test */
	snprintf(dir, sizeof(dir), "/tmp/test_config_ini.XXXXXX");
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
	unlink("vm.ini");
	return chdir("/") == 0 && rmdir(dir) == 0 ? 0 : -1;
}

static int fini(void **state)
{
	vm_config_fini(&c);
	return 0;
}

static void write_file(const char *name, const void *data, size_t len)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

static int parse_argv(char **argv)
{
	int argc = 0, action;

	while (argv[argc])
		argc++;
	e = (struct err){0};
	action = config_parse(&c, argc, argv, &e);
	if (action < 0) {
		assert_int_equal(action, e.code);
		assert_true(strlen(e.text) > 0);
		assert_null(strpbrk(e.text, "\n\r\x1b"));
	} else {
		assert_int_equal(e.kind, ERR_NONE);
	}
	return action;
}

static int parse(const char *text)
{
	char *argv[] = {"minivmm", "--config", "vm.ini", NULL};

	write_file("vm.ini", text, strlen(text));
	return parse_argv(argv);
}

/* Refused as a usage error whose line begins with `start`. */
static void refused(const char *start, const char *text)
{
	if (parse(text) >= 0)
		fail_msg("accepted; expected: %s", start);
	if (strncmp(e.text, start, strlen(start)) != 0)
		fail_msg("said: %s; expected: %s", e.text, start);
	assert_int_equal(e.kind, ERR_USAGE);
	vm_config_fini(&c);
}

static void every_setting(void **state)
{
	assert_int_equal(parse("; a comment\n"
			       "# another\n"
			       "[boot]\n"
			       "kernel = /k   ; behind a value\n"
			       "initrd=/i,/j,,k\n"
			       "\tmodules\t=\t/m\t\n"
			       "append = \"a;b #c\" # quoted\n"
			       "cmdline = 'dyndbg=\"file x +p; y\"'\n"
			       "boot = linux32\n"
			       "[machine]\r\n"
			       "cpus = 2,max=8\r\n"
			       "memory = 512M,max=4G,hugepages=thp,shared=on,prefault=on\r\n"
			       "transport = mmio\n"
			       "[disk.root]\n"
			       "path = /r\n"
			       "readonly = on\n"
			       "serial = S1\n"
			       "queues = 3\n"
			       "[disk.data_2-b]\n"
			       "path = /d,a=b,,\n"
			       "[devices]\n"
			       "rng = off\n"
			       "balloon = on\n"
			       "vsock = /v,cid=42\n"
			       "[console]\n"
			       "serial = file=/s\n"
			       "serial2 = pty\n"
			       "[run]\n"
			       "timeout = 60\n"
			       "stop-timeout = 0\n"
			       "on-reboot = restart\n"
			       "[log]\n"
			       "log-file = /l\n"
			       "events = /e\n"
			       "verbose = 1"),
			 CONFIG_RUN);
	assert_string_equal(c.kernel, "/k");
	assert_int_equal(c.n_initrds, 2);
	assert_string_equal(c.initrds[0], "/i");
	assert_string_equal(c.initrds[1], "/j,k");
	assert_string_equal(c.modules, "/m");
	assert_string_equal(c.append, "a;b #c");
	assert_string_equal(c.cmdline, "dyndbg=\"file x +p; y\"");
	assert_int_equal(c.boot, BOOT_CHOICE_LINUX32);
	assert_int_equal(c.cpus, 2);
	assert_int_equal(c.cpus_max, 8);
	assert_true(c.memory == 512ull << 20);
	assert_true(c.memory_max == 4ull << 30);
	assert_int_equal(c.transport, TRANSPORT_MMIO);
	assert_int_equal(c.memory_pages, MEMORY_PAGES_THP);
	assert_true(c.memory_shared && c.memory_prefault);
	assert_int_equal(c.n_disks, 2);
	assert_string_equal(c.disks[0].path, "/r");
	assert_string_equal(c.disks[0].id, "root");
	assert_string_equal(c.disks[0].serial, "S1");
	assert_true(c.disks[0].readonly);
	assert_int_equal(c.disks[0].queues, 3);
	/* A path alone on its line needs no doubled commas. */
	assert_string_equal(c.disks[1].path, "/d,a=b,,");
	assert_string_equal(c.disks[1].id, "data_2-b");
	assert_string_equal(c.disks[1].serial, "data_2-b");
	assert_false(c.rng);
	assert_true(c.balloon);
	assert_string_equal(c.vsock.path, "/v");
	assert_int_equal(c.vsock.cid, 42);
	assert_int_equal(c.serial.kind, CHAR_FILE);
	assert_string_equal(c.serial.path, "/s");
	assert_int_equal(c.serial2.kind, CHAR_PTY);
	assert_string_equal(c.events.path, "/e");
	assert_int_equal(c.timeout_s, 60);
	assert_int_equal(c.stop_timeout_s, 0);
	assert_int_equal(c.on_reboot, ON_REBOOT_RESTART);
	assert_string_equal(c.log_file, "/l");
	assert_int_equal(c.log_level, LOG_INFO);
}

static void shares(void **state)
{
	assert_int_equal(parse("[boot]\nkernel=/k\n[share.src]\npath = a:/b\nmountpoint = /mnt\n"
			       "rw = on\n[share.data]\npath=/data\ncache=none\n"),
			 CONFIG_RUN);
	assert_int_equal(c.n_shares, 2);
	assert_string_equal(c.shares[0].tag, "src");
	/* A path alone, not to be cut at a colon. */
	assert_string_equal(c.shares[0].path, "a:/b");
	assert_string_equal(c.shares[0].mountpoint, "/mnt");
	assert_true(c.shares[0].rw);
	assert_string_equal(c.shares[1].tag, "data");
	assert_string_equal(c.shares[1].path, "/data");
	assert_int_equal(c.shares[1].cache, CONFIG_CACHE_NONE);
}

static void networks(void **state)
{
	assert_int_equal(
		parse("[boot]\nkernel=/k\n[net.wan]\nuser = on\nforward = 8080:80 udp:53\n"
		      "bps = 2M\npps-burst = 9\npps = 3\n"
		      "[net.lan]\ntap=tap0\nmac=02:00:00:00:00:01\n"
		      "[disk.root]\npath=/r\niops = 5\niops-burst = 6\nburst = 1K\nbps = 4K\n"),
		CONFIG_RUN);
	assert_int_equal(c.n_nets, 2);
	assert_int_equal(c.nets[0].kind, NET_USER);
	assert_string_equal(c.nets[0].id, "wan");
	assert_int_equal(c.nets[0].n_forwards, 2);
	assert_true(c.nets[0].forwards[1].udp);
	assert_int_equal(c.nets[0].limit.bps, 2 << 20);
	assert_int_equal(c.nets[0].limit.ops, 3);
	assert_int_equal(c.nets[0].limit.ops_burst, 9);
	assert_string_equal(c.nets[1].tap, "tap0");
	assert_true(c.nets[1].has_mac);
	assert_int_equal(c.nets[1].limit.bps, 0);
	assert_int_equal(c.disks[0].limit.ops, 5);
	assert_int_equal(c.disks[0].limit.ops_burst, 6);
	assert_int_equal(c.disks[0].limit.bps, 4096);
	assert_int_equal(c.disks[0].limit.burst, 1024);
}

static void disks_keep_the_files_order(void **state)
{
	assert_int_equal(parse("[disk.z]\npath=/1\n[boot]\nkernel=/k\n[disk.a]\npath=/2\n"
			       "[disk.m]\npath=/3\n"),
			 CONFIG_RUN);
	assert_int_equal(c.n_disks, 3);
	assert_string_equal(c.disks[0].id, "z");
	assert_string_equal(c.disks[1].id, "a");
	assert_string_equal(c.disks[2].id, "m");
}

static void empty_values(void **state)
{
	assert_int_equal(parse("[boot]\nkernel=k\ncmdline=\nappend=\"\" ; none\n"), CONFIG_RUN);
	assert_string_equal(c.cmdline, "");
	assert_string_equal(c.append, "");
	vm_config_fini(&c);
	assert_int_equal(parse("[boot]\nkernel=k\ncmdline=''\nappend=;none\n"), CONFIG_RUN);
	assert_string_equal(c.cmdline, "");
	assert_string_equal(c.append, "");
	vm_config_fini(&c);
	refused("vm.ini [boot] kernel: \"\": an empty path", "[boot]\nkernel =\n");
	refused("vm.ini [machine] cpus: \"\": not a CPU count", "[machine]\ncpus = # two\n");
}

static void bad_values_name_file_section_and_key(void **state)
{
	refused("vm.ini [machine] cpus: 12x: not a CPU count; give 1 to 64",
		"[machine]\ncpus=12x\n");
	refused("vm.ini [machine] cpus: 0x2: not", "[machine]\ncpus=0x2\n");
	refused("vm.ini [machine] cpus: 4294967298: too", "[machine]\ncpus=4294967298\n");
	refused("vm.ini [machine] cpus: 18446744073709551618: too",
		"[machine]\ncpus=18446744073709551618\n");
	refused("vm.ini [machine] memory: 1Q: not a size", "[machine]\nmemory=1Q\n");
	refused("vm.ini [machine] memory: 33M,hugepages=2M: not a multiple of 2M",
		"[machine]\nmemory=33M,hugepages=2M\n");
	refused("vm.ini [machine] memory hugepages: huge: give off",
		"[machine]\nmemory=32M,hugepages=huge\n");
	refused("vm.ini [machine] transport: PCI: give pci or mmio", "[machine]\ntransport=PCI\n");
	refused("vm.ini [devices] rng: yes: give on or off", "[devices]\nrng=yes\n");
	refused("vm.ini [run] timeout: 1.5: not a number", "[run]\ntimeout=1.5\n");
	refused("vm.ini [run] on-reboot: no: give exit", "[run]\non-reboot=no\n");
	refused("vm.ini [console] serial: x: give tty", "[console]\nserial=x\n");
	refused("vm.ini [log] verbose: 3: give 0, 1 or 2", "[log]\nverbose=3\n");
	refused("vm.ini [log] quiet: not together with verbose", "[log]\nverbose=1\nquiet=on\n");
	refused("vm.ini [boot] cmdline-file: not together with cmdline",
		"[boot]\ncmdline=x\ncmdline-file=y\n");
	refused("vm.ini [disk.a] queues: 17: not a number", "[disk.a]\npath=x\nqueues=17\n");
	refused("vm.ini [disk.a] bps: 1Q: not a number", "[disk.a]\npath=x\nbps=1Q\n");
	refused("vm.ini [disk.a]: burst goes with bps",
		"[boot]\nkernel=k\n[disk.a]\npath=x\nburst=1\n");
	refused("vm.ini [net.a]: the kernel's driver",
		"[boot]\nkernel=k\n[net.a]\ntap=x\nvhost=on\npps=1\n");
	refused("vm.ini [disk.a] readonly: yes: give on", "[disk.a]\npath=x\nreadonly=yes\n");
	refused("vm.ini [disk.a] path: \"\": an empty path", "[disk.a]\npath=\n");
}

static void unknown_names(void **state)
{
	refused("vm.ini [mashine]: unknown section; did you mean [machine]?", "[mashine]\n");
	refused("vm.ini [network]: unknown section; there are boot", "[network]\nx=1\n");
	refused("vm.ini [disk]: a disk needs a name", "[disk]\npath=x\n");
	refused("vm.ini [machine] cpu: unknown key; did you mean cpus?", "[machine]\ncpu=2\n");
	refused("vm.ini [machine] kernel: belongs into [boot]", "[machine]\nkernel=x\n");
	refused("vm.ini [machine] config: only for the command line", "[machine]\nconfig=x\n");
	refused("vm.ini [devices] disk: a disk has a section", "[devices]\ndisk=x\n");
	refused("vm.ini [machine] nonsense: unknown key; see", "[machine]\nnonsense=2\n");
	refused("vm.ini [disk.a] format: unknown key; a disk has path", "[disk.a]\nformat=raw\n");
	refused("vm.ini [disk.a] reedonly: unknown key; did you mean readonly?",
		"[disk.a]\nreedonly=on\n");
	refused("vm.ini [disk.a] id: the name of the section is the id", "[disk.a]\nid=b\n");
	refused("vm.ini [disk.a]: has no path", "[boot]\nkernel=k\n[disk.a]\n");
	refused("vm.ini [disk.b]: has no path", "[disk.a]\npath=x\n[disk.b]\nreadonly=on\n");
	refused("vm.ini [share]: a share needs a name", "[share]\npath=/x\n");
	refused("vm.ini [devices] share: a share has a section", "[devices]\nshare=/x\n");
	refused("vm.ini [share.a] tag: the name of the section is the tag", "[share.a]\ntag=b\n");
	refused("vm.ini [share.a]: has no path", "[share.a]\nrw=on\n");
	refused("vm.ini [share.a] mountpoint: x: not a place", "[share.a]\nmountpoint=x\n");
	refused("vm.ini [net]: a network needs a name", "[net]\nuser=on\n");
	refused("vm.ini [devices] net: a network has a section", "[devices]\nnet=user\n");
	refused("vm.ini [net.a] id: the name of the section is the id", "[net.a]\nid=b\n");
	refused("vm.ini [net.b]: what to connect it to",
		"[net.a]\nuser=on\n[net.b]\nmac=02:00:00:00:00:01\n");
	refused("vm.ini [net.a]: forward goes with user", "[net.a]\ntap=x\nforward=80\n");
	refused("vm.ini [net.a] forward: 80: that port", "[net.a]\nuser=on\nforward=80 80\n");
	refused("vm.ini [net.a] mac: x: not a MAC", "[net.a]\nuser=on\nmac=x\n");
	refused("vm.ini [disk.a.b]: a.b: not a name", "[disk.a.b]\npath=x\n");
	refused("vm.ini [disk.]: \"\": not a name", "[disk.]\npath=x\n");
	refused("vm.ini [disk.123456789012345678901]: 1234", "[disk.123456789012345678901]\n");
}

/* iniparser folds both to lower case and lets the last one win. */
static void duplicates(void **state)
{
	refused("vm.ini [machine] cpus: is there twice, again in line 3",
		"[machine]\ncpus=1\ncpus=2\n");
	refused("vm.ini [machine]: is there twice, again in line 4",
		"[machine]\ncpus=1\n\n[machine]\nmemory=64\n");
	refused("vm.ini [disk.a]: is there twice", "[disk.a]\npath=x\n[disk.a]\npath=y\n");
	refused("vm.ini [disk.a] path: is there twice", "[disk.a]\npath=x\npath=x\n");
	refused("vm.ini line 2: CPUS: write names in lower case", "[machine]\nCPUS=1\n");
	refused("vm.ini line 1: Machine: write names in lower case", "[Machine]\ncpus=1\n");
	/* The same key in two sections is two settings. */
	assert_int_equal(parse("[boot]\nkernel=k\n[console]\nserial=off\n[disk.a]\npath=p\n"
			       "serial=off\n"),
			 CONFIG_RUN);
	assert_int_equal(c.serial.kind, CHAR_OFF);
	assert_string_equal(c.disks[0].serial, "off");
}

static void lines_that_a_person_and_iniparser_read_differently(void **state)
{
	static const struct {
		const char *line, *why;
	} cases[] = {
		{"append = console=ttyS0;quiet", "';' and '#' begin a comment"},
		{"append = a#b", "';' and '#' begin a comment"},
		{"append = \"a", "the quote is not closed"},
		{"append = 'a", "the quote is not closed"},
		{"append = \"a\" b", "text behind the closing quote"},
		{"append = \"a\\\"b\"", "text behind the closing quote"},
		{"append = 'a''b'", "text behind the closing quote"},
		{"append = a\\", "ends in a backslash"},
		{"append = a\\  ", "ends in a backslash"},
		{"; a comment \\", "ends in a backslash"},
		{"append", "neither [section] nor key = value"},
		{"= x", "not a name"},
		{"a b = x", "not a name"},
		{"a:b = x", "not a name"},
		{"[a:b]", "not a name"},
		{"[]", "not a name"},
		{"[ boot ]", "not a name"},
		{"[boot", "a section is [name] on a line of its own"},
		{"[log] ; x", "a section is [name] on a line of its own"},
		{"[log] ; x]", "not a name"},
		{"append = a\x01", "contains a control character"},
		{"append = a\rb", "contains a control character"},
		{"append = \x1b[31m", "contains a control character"},
		{"\xef\xbb\xbf[log]", "neither [section]"},
	};
	char text[256], start[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "[boot]\nkernel = k\n%s\n", cases[i].line);
		snprintf(start, sizeof(start), "vm.ini line 3: %s", cases[i].why);
		refused(start, text);
		/* The same without a newline at the end. */
		text[strlen(text) - 1] = '\0';
		refused(start, text);
	}
	refused("vm.ini line 1: a key before the first [section]", "kernel = k\n");
}

/* What the check lets through means to iniparser what it says. */
static void quoting(void **state)
{
	static const struct {
		const char *written, *read;
	} cases[] = {
		{"a", "a"},
		{"  a  b  ", "a  b"},
		{"a ;b", "a"},
		{"a\t#b", "a"},
		{"\"a\"", "a"},
		{"' a '", " a "},
		{"\"it's\"", "it's"},
		{"'\"'", "\""},
		{"\";\";x", ";"},
		{"a\"b", "a\"b"},
		{"x=\"y z\"", "x=\"y z\""},
		{"it's", "it's"},
		{"=", "="},
		{"=a=b", "=a=b"},
		{"[x]", "[x]"},
		{"a\\b", "a\\b"},
		{"\xc3\xa4", "\xc3\xa4"},
		{"%s%n", "%s%n"},
	};
	char text[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "[boot]\nkernel=k\nappend=%s\n", cases[i].written);
		if (parse(text) != CONFIG_RUN)
			fail_msg("%s: %s", cases[i].written, e.text);
		assert_string_equal(c.append, cases[i].read);
		vm_config_fini(&c);
	}
}

static void lines_up_to_their_limit(void **state)
{
	char text[4096] = "[boot]\nkernel=k\nappend=";
	size_t head = strlen(text), room = 1020 - strlen("append=");

	memset(text + head, 'a', room);
	strcpy(text + head + room, "\n");
	assert_int_equal(parse(text), CONFIG_RUN);
	assert_int_equal(strlen(c.append), room);
	vm_config_fini(&c);
	strcpy(text + head + room, "a\n");
	refused("vm.ini line 3: longer than 1020 bytes; for a long command line give cmdline-file",
		text);
	memset(text + head, ' ', 3000);
	strcpy(text + head + 3000, "\n");
	refused("vm.ini line 3: longer than 1020 bytes", text);
}

static void too_much_of_everything(void **state)
{
	size_t len = 0;
	char *text = calloc(1, 128 << 10);

	for (int i = 0; i < 1000; i++)
		len += (size_t)sprintf(text + len, "[disk.d%d]\npath=x\n", i);
	refused("vm.ini line 513: too many settings", text);
	len = 0;
	for (int i = 0; i < 25; i++)
		len += (size_t)sprintf(text + len, "[disk.d%d]\npath=x\n", i);
	refused("vm.ini [disk.d24]: d24: one disk too many", text);
	memset(text, '\n', (64 << 10) + 1);
	text[(64 << 10) + 1] = '\0';
	refused("--config vm.ini: larger than 64 KiB", text);
	text[64 << 10] = '\0';
	refused("--kernel: missing", text);
	free(text);
}

static void what_is_no_file(void **state)
{
	char *argv[] = {"minivmm", "--config", "vm.ini", NULL};

	unlink("vm.ini");
	assert_int_equal(parse_argv(argv), -ENOENT);
	assert_string_equal(e.text, "--config vm.ini: No such file or directory");
	assert_int_equal(e.kind, ERR_USAGE);

	/* iniparser takes a directory for an empty file. */
	argv[2] = "/";
	assert_int_equal(parse_argv(argv), -EISDIR);
	assert_string_equal(e.text, "--config /: a directory; give a text file");

	assert_int_equal(mkfifo("vm.ini", 0600), 0);
	argv[2] = "vm.ini";
	assert_int_equal(parse_argv(argv), -EINVAL);
	assert_string_equal(e.text, "--config vm.ini: not a regular file; give a text file");
	unlink("vm.ini");

	write_file("vm.ini", "[boot]\0\nkernel=k\n", 17);
	assert_int_equal(parse_argv(argv), -EINVAL);
	assert_string_equal(e.text, "--config vm.ini: contains a NUL byte; give a text file");
}

static void an_empty_file_sets_nothing(void **state)
{
	char *argv[] = {"minivmm", "--config", "vm.ini", "-kx", NULL};

	write_file("vm.ini", "", 0);
	assert_int_equal(parse_argv(argv), CONFIG_RUN);
	assert_int_equal(c.memory, 256 << 20);
	vm_config_fini(&c);
	write_file("vm.ini", "\n\n[boot]\n[log]\n \t", 17);
	assert_int_equal(parse_argv(argv), CONFIG_RUN);
}

static void relative_paths_start_from_the_file(void **state)
{
	char name[128];
	char *argv[] = {"minivmm", "--config", name, "--modules", "mods", NULL};
	static const char text[] = "[boot]\nkernel = k\ninitrd = ../i\n[console]\n"
				   "serial = file=s\n[disk.a]\npath = sub/a,b\n[disk.b]\n"
				   "path = /abs\n[log]\nlog-file = l\n";

	snprintf(name, sizeof(name), "%s/vm.ini", dir);
	write_file("vm.ini", text, strlen(text));
	assert_int_equal(parse_argv(argv), CONFIG_RUN);
	snprintf(name, sizeof(name), "%s/k", dir);
	assert_string_equal(c.kernel, name);
	snprintf(name, sizeof(name), "%s/../i", dir);
	assert_string_equal(c.initrds[0], name);
	snprintf(name, sizeof(name), "%s/s", dir);
	assert_string_equal(c.serial.path, name);
	snprintf(name, sizeof(name), "%s/sub/a,b", dir);
	assert_string_equal(c.disks[0].path, name);
	assert_string_equal(c.disks[1].path, "/abs");
	snprintf(name, sizeof(name), "%s/l", dir);
	assert_string_equal(c.log_file, name);
	/* What the command line says starts from where it was typed. */
	assert_string_equal(c.modules, "mods");
	vm_config_fini(&c);

	/* A file without a directory in its name lies here. */
	assert_int_equal(parse(text), CONFIG_RUN);
	assert_string_equal(c.kernel, "k");
	vm_config_fini(&c);

	/* Not every word is a path. */
	snprintf(name, sizeof(name), "%s/vm.ini", dir);
	write_file("vm.ini", "[boot]\nkernel=k\nmodules=none\n", 29);
	argv[3] = NULL;
	assert_int_equal(parse_argv(argv), CONFIG_RUN);
	assert_string_equal(c.modules, "none");
	vm_config_fini(&c);

	/* A cmdline-file is read at once, so its path must be right already. */
	snprintf(name, sizeof(name), "%s/vm.ini", dir);
	write_file("line", "from file\n", 10);
	write_file("vm.ini", "[boot]\nkernel=k\ncmdline-file=line\n", 34);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(parse_argv(argv), CONFIG_RUN);
	assert_int_equal(chdir(dir), 0);
	unlink("line");
	assert_string_equal(c.cmdline, "from file");
}

static void stronger_levels_win(void **state)
{
	char *argv[] = {"minivmm", "--config", "vm.ini", "--append", "cli",       "-d", "cli1",
			"-d",      "cli2",     "--cpus", "4",        "--cmdline", "c",  NULL};
	static const char text[] = "[boot]\nkernel=k\nappend=file\ncmdline-file=/nonexistent\n"
				   "[machine]\ncpus=2\nmemory=64\n[run]\ntimeout=5\n"
				   "stop-timeout=5\n[disk.a]\npath=file\n";
	char shorter[sizeof(text)];

	/* A wrong setting is refused even where it would be replaced. */
	write_file("vm.ini", text, strlen(text));
	assert_int_equal(parse_argv(argv), -ENOENT);
	assert_string_equal(e.text, "vm.ini [boot] cmdline-file: /nonexistent: "
				    "No such file or directory");

	snprintf(shorter, sizeof(shorter), "[boot]\nkernel=k\nappend=file\ncmdline=f\n%s",
		 strstr(text, "[machine]"));
	write_file("vm.ini", shorter, strlen(shorter));
	setenv("MINIVMM_APPEND", "env", 1);
	setenv("MINIVMM_CPUS", "3", 1);
	setenv("MINIVMM_MEMORY", "128", 1);
	setenv("MINIVMM_TIMEOUT", "6", 1);
	assert_int_equal(parse_argv(argv), CONFIG_RUN);
	assert_string_equal(c.kernel, "k");
	assert_string_equal(c.append, "cli");
	assert_string_equal(c.cmdline, "c");
	assert_int_equal(c.cpus, 4);
	assert_int_equal(c.memory, 128 << 20);
	assert_int_equal(c.timeout_s, 6);
	assert_int_equal(c.stop_timeout_s, 5);
	assert_int_equal(c.n_disks, 2);
	assert_string_equal(c.disks[0].path, "cli1");
	assert_string_equal(c.disks[0].id, "disk0");
	vm_config_fini(&c);

	argv[3] = NULL;
	assert_int_equal(parse_argv(argv), CONFIG_RUN);
	assert_string_equal(c.append, "env");
	assert_int_equal(c.cpus, 3);
	assert_int_equal(c.n_disks, 1);
	assert_string_equal(c.disks[0].path, "file");
}

static void the_file_from_the_environment(void **state)
{
	char *argv[] = {"minivmm", NULL, NULL, NULL};

	write_file("vm.ini", "[boot]\nkernel=k\n", 16);
	setenv("MINIVMM_CONFIG", "vm.ini", 1);
	assert_int_equal(parse_argv(argv), CONFIG_RUN);
	assert_string_equal(c.kernel, "k");
	vm_config_fini(&c);
	argv[1] = "--config";
	argv[2] = "/nonexistent";
	assert_int_equal(parse_argv(argv), -ENOENT);
}

static int fini_and_clearenv(void **state)
{
	clearenv();
	return fini(state);
}

/* Bytes at random within a good file: read or refused in one line, nothing leaks,
 * nothing crashes. The seed is fixed, so a failure comes again. */
static void random_bytes(void **state)
{
	static const char good[] =
		"[boot]\nkernel = k ; c\nappend = \"a;b\"\ncmdline = 'x'\n"
		"[machine]\ncpus = 2,max=3\nmemory = 64M\n[disk.a]\npath = p\n"
		"readonly = on\nserial = s\n[run]\ntimeout = 5\n[log]\nverbose=1\n";
	static const char spice[] = "[]=;#\"'\\\n\r\t .,:-09azAZ\x01\x7f\xff\xc3";
	char *argv[] = {"minivmm", "--config", "vm.ini", NULL};
	char text[sizeof(good) + 64];
	unsigned seed = 1, accepted = 0;

	for (int round = 0; round < 5000; round++) {
		size_t len = sizeof(good) - 1;

		memcpy(text, good, len);
		for (int edits = 1 + round % 4; edits && len; edits--) {
			size_t at;
			char ch;

			seed = seed * 1103515245 + 12345;
			at = (seed >> 8) % len;
			seed = seed * 1103515245 + 12345;
			ch = spice[(seed >> 16) % (sizeof(spice) - (round % 64 != 0))];
			switch ((seed >> 8) % 4) {
			case 0: /* another byte */
				text[at] = ch;
				break;
			case 1: /* one more */
				memmove(text + at + 1, text + at, len - at);
				text[at] = ch;
				len++;
				break;
			case 2: /* one less */
				memmove(text + at, text + at + 1, len - at - 1);
				len--;
				break;
			case 3: /* cut short, now and then */
				len = round % 16 ? len : at;
				break;
			}
		}
		write_file("vm.ini", text, len);
		accepted += parse_argv(argv) == CONFIG_RUN;
		vm_config_fini(&c);
	}
	assert_in_range(accepted, 500, 4500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_setting, fini),
		cmocka_unit_test_teardown(disks_keep_the_files_order, fini),
		cmocka_unit_test_teardown(networks, fini),
		cmocka_unit_test_teardown(shares, fini),
		cmocka_unit_test_teardown(empty_values, fini),
		cmocka_unit_test_teardown(bad_values_name_file_section_and_key, fini),
		cmocka_unit_test_teardown(unknown_names, fini),
		cmocka_unit_test_teardown(duplicates, fini),
		cmocka_unit_test_teardown(lines_that_a_person_and_iniparser_read_differently, fini),
		cmocka_unit_test_teardown(quoting, fini),
		cmocka_unit_test_teardown(lines_up_to_their_limit, fini),
		cmocka_unit_test_teardown(too_much_of_everything, fini),
		cmocka_unit_test_teardown(what_is_no_file, fini),
		cmocka_unit_test_teardown(an_empty_file_sets_nothing, fini),
		cmocka_unit_test_teardown(relative_paths_start_from_the_file, fini),
		cmocka_unit_test_teardown(stronger_levels_win, fini_and_clearenv),
		cmocka_unit_test_teardown(the_file_from_the_environment, fini_and_clearenv),
		cmocka_unit_test_teardown(random_bytes, fini),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
