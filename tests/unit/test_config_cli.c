/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config from argv and the environment: what each option sets, what is refused in
 * which words, and who wins.
 */
#include "tests/unit/config_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void defaults(void **state)
{
	assert_int_equal(parse("-k", "bzImage"), CONFIG_RUN);
	assert_string_equal(c.kernel, "bzImage");
	assert_int_equal(c.n_initrds, 0);
	assert_null(c.modules);
	assert_null(c.cmdline);
	assert_null(c.append);
	assert_int_equal(c.boot, BOOT_CHOICE_AUTO);
	assert_int_equal(c.cpus, 1);
	assert_int_equal(c.cpus_max, 1);
	assert_int_equal(c.memory, 256 << 20);
	assert_int_equal(c.memory_max, 256 << 20);
	assert_int_equal(c.transport, TRANSPORT_PCI);
	assert_int_equal(c.n_disks, 0);
	assert_true(c.rng);
	assert_false(c.balloon);
	assert_int_equal(c.hotplug, 0);
	assert_int_equal(c.serial.kind, CHAR_TTY);
	assert_null(c.serial.path);
	assert_int_equal(c.timeout_s, 0);
	assert_int_equal(c.stop_timeout_s, 10);
	assert_int_equal(c.on_reboot, ON_REBOOT_EXIT);
	assert_int_equal(c.log_level, LOG_WARN);
	assert_null(c.log_file);
}

static void every_option_in_its_long_form(void **state)
{
	assert_int_equal(parse("run", "--kernel=k", "--initrd", "i", "--modules", "m", "--append",
			       "a=1", "--append=b c", "--cmdline", "x y", "--boot", "pvh", "--cpus",
			       "2,max=8", "--memory", "512M,max=4G", "--transport", "mmio",
			       "--disk", "d0", "--rng", "off", "--balloon", "--serial",
			       "file=s.log", "--timeout", "60", "--stop-timeout", "0",
			       "--on-reboot", "restart", "--log-file", "l", "--verbose"),
			 CONFIG_RUN);
	assert_string_equal(c.kernel, "k");
	assert_int_equal(c.n_initrds, 1);
	assert_string_equal(c.initrds[0], "i");
	assert_string_equal(c.modules, "m");
	assert_string_equal(c.append, "a=1 b c");
	assert_string_equal(c.cmdline, "x y");
	assert_int_equal(c.boot, BOOT_CHOICE_PVH);
	assert_int_equal(c.cpus, 2);
	assert_int_equal(c.cpus_max, 8);
	assert_true(c.memory == 512ull << 20);
	assert_true(c.memory_max == 4ull << 30);
	assert_int_equal(c.transport, TRANSPORT_MMIO);
	assert_int_equal(c.n_disks, 1);
	assert_false(c.rng);
	assert_true(c.balloon);
	assert_int_equal(c.serial.kind, CHAR_FILE);
	assert_string_equal(c.serial.path, "s.log");
	assert_int_equal(c.timeout_s, 60);
	assert_int_equal(c.stop_timeout_s, 0);
	assert_int_equal(c.on_reboot, ON_REBOOT_RESTART);
	assert_string_equal(c.log_file, "l");
	assert_int_equal(c.log_level, LOG_INFO);
}

static void every_option_in_its_short_form(void **state)
{
	assert_int_equal(parse("-kk", "-i", "i", "-c4", "-m64", "-dd0", "-d", "d1", "-vv"),
			 CONFIG_RUN);
	assert_string_equal(c.kernel, "k");
	assert_int_equal(c.n_initrds, 1);
	assert_string_equal(c.initrds[0], "i");
	assert_int_equal(c.cpus, 4);
	assert_int_equal(c.memory, 64 << 20);
	assert_int_equal(c.n_disks, 2);
	assert_int_equal(c.log_level, LOG_DEBUG);
}

static void the_last_of_a_scalar_wins(void **state)
{
	assert_int_equal(parse("-kx", "-m1G", "-ky", "-m64", "--serial", "file=a", "--serial",
			       "off", "-vvvvv"),
			 CONFIG_RUN);
	assert_string_equal(c.kernel, "y");
	assert_int_equal(c.memory, 64 << 20);
	assert_int_equal(c.serial.kind, CHAR_OFF);
	assert_null(c.serial.path);
	assert_int_equal(c.log_level, LOG_DEBUG);
	vm_config_fini(&c);

	assert_int_equal(parse("-kx", "-q"), CONFIG_RUN);
	assert_int_equal(c.log_level, LOG_ERROR);
}

static void several_initrds(void **state)
{
	char many[3 * CONFIG_INITRDS_MAX + 4] = "";

	assert_int_equal(parse("-kx", "-i", "a", "--initrd=b,c", "-i", "d,,e,f,,", "-i", ",,"),
			 CONFIG_RUN);
	assert_int_equal(c.n_initrds, 6);
	assert_string_equal(c.initrds[0], "a");
	assert_string_equal(c.initrds[1], "b");
	assert_string_equal(c.initrds[2], "c");
	assert_string_equal(c.initrds[3], "d,e");
	assert_string_equal(c.initrds[4], "f,");
	assert_string_equal(c.initrds[5], ",");
	vm_config_fini(&c);

	refused("--initrd \"\": an empty path", "-kx", "-i", "a,");
	refused("--initrd \"\": an empty path", "-kx", "-i", ",a");
	refused("--initrd \"\": an empty path", "-kx", "-i", "");
	for (unsigned i = 0; i < CONFIG_INITRDS_MAX; i++)
		strcat(many, i ? ",i" : "i");
	assert_int_equal(parse("-kx", "-i", many), CONFIG_RUN);
	assert_int_equal(c.n_initrds, CONFIG_INITRDS_MAX);
	vm_config_fini(&c);
	refused("--initrd j: more than 16 of them; join some", "-kx", "-i", many, "-i", "j");
}

static void an_options_value_may_look_like_an_option(void **state)
{
	assert_int_equal(parse("--append", "--kernel", "--kernel", "-v"), CONFIG_RUN);
	assert_string_equal(c.append, "--kernel");
	assert_string_equal(c.kernel, "-v");
	assert_int_equal(c.log_level, LOG_WARN);
}

static void texts_may_be_empty_but_paths_not(void **state)
{
	assert_int_equal(parse("-kx", "--cmdline", "", "--append", ""), CONFIG_RUN);
	assert_string_equal(c.cmdline, "");
	assert_string_equal(c.append, "");
	vm_config_fini(&c);
	refused("--kernel \"\": an empty path", "--kernel", "");
	refused("--log-file \"\": an empty path", "-kx", "--log-file=");
	refused("--disk \"\": an empty path", "-kx", "-d", "");
	refused("--disk \"\": an empty path", "-kx", "-d", ",id=a");
	refused("--serial \"\": an empty path", "-kx", "--serial", "file=");
}

static void no_words_at_all(void **state)
{
	char *none[] = {NULL};

	e = (struct err){0};
	assert_int_equal(config_parse(&c, 0, none, &e), -EINVAL);
	assert_int_equal(config_parse(&c, 0, none, NULL), -EINVAL);
}

static void an_unknown_option_is_told_its_neighbour(void **state)
{
	refused("--kernle: unknown option; did you mean --kernel?", "--kernle", "x");
	refused("--kernle: unknown option; did you mean --kernel?", "--kernle=x");
	refused("--memmory: unknown option; did you mean --memory?", "-kx", "--memmory=1G");
	refused("--disks: unknown option; did you mean --disk?", "-kx", "--disks", "a");
	refused("--network: unknown option; see minivmm --help", "--network");
	refused("-X: unknown option", "-X");
	refused("-X: unknown option", "-vX");
	refused("-X: unknown option", "-v", "-vXv");
	refused("--a?b: unknown option", "--a\nb");
	/* The habits of other VMMs; getopt would take the first one for `-k ernel`. */
	refused("-kernel: did you mean --kernel?", "-kernel", "bzImage");
	refused("-append: did you mean --append?", "-kx", "-append", "quiet");
	refused("-smp: unknown option", "-smp", "2");
}

static void missing_and_unwanted_values(void **state)
{
	refused("-k: needs a value: FILE", "-k");
	refused("-k: needs a value: FILE", "-vk");
	refused("--kernel: needs a value: FILE", "-v", "--kernel");
	refused("--help: takes no value", "--help=x");
	refused("--verbose: takes no value", "-kx", "--verbose=2");
	refused("--c: could be --cmdline, --cmdline-file, --cpus, --control, --config", "--c", "1");
}

static void long_values_are_cut_in_messages_only(void **state)
{
	char giant[100000];

	memset(giant, 'a', sizeof(giant) - 1);
	giant[sizeof(giant) - 1] = '\0';
	refused("--memory aaaaaaaa", "-kx", "-m", giant);
	assert_non_null(strstr(e.text, "...: not a size"));
	refused("--disk a", "-kx", "-d", "a", "-d", giant, "-d", "a,id=disk1");
	refused("aaaaaaaaaaa", giant);
	assert_int_equal(parse("-k", giant, "--append", giant, "-d", giant), CONFIG_RUN);
	assert_string_equal(c.kernel, giant);
	assert_string_equal(c.append, giant);
	assert_string_equal(c.disks[0].path, giant);
}

static void control_characters_reach_no_terminal(void **state)
{
	refused("--memory 1?[31m: not a size", "-kx", "-m", "1\x1b[31m");
	refused("--disk a?b,c: \"c\" is no", "-kx", "-d", "a\nb,c");
	refused("--disk x?: unknown key", "-kx", "-d", "a,x\n=1");
	/* In a value they are nobody's business here. */
	assert_int_equal(parse("-k", "a\nb"), CONFIG_RUN);
	assert_string_equal(c.kernel, "a\nb");
}

static void fini_is_harmless_twice(void **state)
{
	struct vm_config zero = {0};

	vm_config_fini(&zero);
	assert_int_equal(parse("-kx", "-da"), CONFIG_RUN);
	vm_config_fini(&c);
	vm_config_fini(&c);
	assert_null(c.kernel);
	assert_int_equal(c.n_disks, 0);
}

static void the_environment_stands_in(void **state)
{
	setenv("MINIVMM_KERNEL", "envk", 1);
	setenv("MINIVMM_MEMORY", "1G", 1);
	setenv("MINIVMM_STOP_TIMEOUT", "3", 1);
	setenv("MINIVMM_APPEND", "from env", 1);
	setenv("MINIVMM_RNG", "off", 1);
	setenv("MINIVMM_VERBOSE", "2", 1);
	setenv("MINIVMM_TIMEOUT", "", 1);
	setenv("MINIVMM_DISK", "ignored", 1);
	setenv("MINIVMM_HELP", "1", 1);
	assert_int_equal(parse("-c", "2"), CONFIG_RUN);
	assert_string_equal(c.kernel, "envk");
	assert_true(c.memory == 1ull << 30);
	assert_int_equal(c.stop_timeout_s, 3);
	assert_string_equal(c.append, "from env");
	assert_false(c.rng);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(c.timeout_s, 0);
	assert_int_equal(c.n_disks, 0);
	vm_config_fini(&c);

	/* The command line beats it; a list replaces, and -v counts from nought. */
	assert_int_equal(parse("-k", "clik", "-m", "64", "--append", "x", "--append", "y", "-v"),
			 CONFIG_RUN);
	assert_string_equal(c.kernel, "clik");
	assert_int_equal(c.memory, 64 << 20);
	assert_string_equal(c.append, "x y");
	assert_int_equal(c.log_level, LOG_INFO);
	vm_config_fini(&c);
	assert_int_equal(parse("-q"), CONFIG_RUN);
	assert_int_equal(c.log_level, LOG_ERROR);
}

static int clear_environment(void **state)
{
	static const char *const names[] = {"KERNEL",  "MEMORY",  "STOP_TIMEOUT", "APPEND", "RNG",
					    "VERBOSE", "QUIET",   "TIMEOUT",      "DISK",   "HELP",
					    "CPUS",    "CMDLINE", "CMDLINE_FILE", "CONFIG"};
	char name[40];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(name, sizeof(name), "MINIVMM_%s", names[i]);
		unsetenv(name);
	}
	return fini(state);
}

static void the_environment_is_named_when_wrong(void **state)
{
	setenv("MINIVMM_MEMORY", "1Q", 1);
	refused("MINIVMM_MEMORY: 1Q: not a size", "-kx");
	/* Even where the command line would have replaced it: a wrong setting is
	 * to be mended, not to lie in wait. */
	refused("MINIVMM_MEMORY: 1Q: not a size", "-kx", "-m", "1G");
	unsetenv("MINIVMM_MEMORY");
	setenv("MINIVMM_QUIET", "maybe", 1);
	refused("MINIVMM_QUIET: maybe: give on or off", "-kx");
	setenv("MINIVMM_QUIET", "off", 1);
	setenv("MINIVMM_VERBOSE", "3", 1);
	refused("MINIVMM_VERBOSE: 3: give 0, 1 or 2", "-kx");
	setenv("MINIVMM_VERBOSE", "0", 1);
	refused("MINIVMM_QUIET: not together with verbose", "-kx");
	unsetenv("MINIVMM_VERBOSE");
	assert_int_equal(parse("-kx"), CONFIG_RUN);
	assert_int_equal(c.log_level, LOG_WARN);
}

static void a_command_line_from_a_file(void **state)
{
	static const char *const name = "test_config_cli.cmdline";
	FILE *f = fopen(name, "w");

	fputs("console=ttyS0;#\n  root=/dev/vda\tro \"a b\"  \n\n", f);
	fclose(f);
	assert_int_equal(parse("-kx", "--cmdline-file", name), CONFIG_RUN);
	assert_string_equal(c.cmdline, "console=ttyS0;#   root=/dev/vda ro \"a b\"");
	assert_string_equal(c.cmdline_option, "--cmdline-file");
	vm_config_fini(&c);

	assert_int_equal(truncate(name, 64 << 10), 0);
	refused("--cmdline-file test_config_cli.cmdline: contains a NUL", "-kx", "--cmdline-file",
		name);
	assert_int_equal(truncate(name, (64 << 10) + 1), 0);
	refused("--cmdline-file test_config_cli.cmdline: larger than 64 KiB", "-kx",
		"--cmdline-file", name);
	assert_int_equal(truncate(name, 0), 0);
	assert_int_equal(parse("-kx", "--cmdline-file", name), CONFIG_RUN);
	assert_string_equal(c.cmdline, "");
	vm_config_fini(&c);
	unlink(name);
	refused("--cmdline-file test_config_cli.cmdline: No such file", "-kx", "--cmdline-file",
		name);
	refused("--cmdline-file /: a directory", "-kx", "--cmdline-file", "/");
	/* Opening a FIFO would wait for a writer. */
	assert_int_equal(mkfifo(name, 0600), 0);
	refused("--cmdline-file test_config_cli.cmdline: not a regular file", "-kx",
		"--cmdline-file", name);
	unlink(name);
}

/* --help on stdout, which cmocka needs back. */
static void help_lists_every_option(void **state)
{
	static const char *const wanted[] = {
		"-k, --kernel",  "-i, --initrd",
		"--modules",     "--append",
		"--cmdline",     "-c, --cpus",
		"-m, --memory",  "-d, --disk",
		"--rng",         "--serial",
		"--timeout",     "--stop-timeout",
		"--on-reboot",   "--config",
		"--log-file",    "--transport",
		"-v, --verbose", "-q, --quiet",
		"-h, --help",    "-V, --version",
		"Ctrl-a x",      "124",
		"[disk.root]",   "--serial2",
		"--balloon[=on", "--sandbox[=off|log|on]",
	};
	int saved = dup(STDOUT_FILENO), fd = memfd_create("help", MFD_CLOEXEC), action;
	char text[16384];
	ssize_t n;

	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	action = parse("--help", "--nonsense");
	dup2(saved, STDOUT_FILENO);
	close(saved);
	assert_int_equal(action, CONFIG_DONE);
	n = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	assert_true(n > 0);
	text[n] = '\0';
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (!strstr(text, wanted[i]))
			fail_msg("no %s in --help", wanted[i]);
	}
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		assert_true(strlen(line) <= 80);
}

/* Random command lines out of plausible pieces: accepted whole or refused in one
 * line, and nothing leaks. The seed is fixed, so a failure comes again. */
static void random_words(void **state)
{
	static const char *const pieces[] = {
		"run",
		"-k",
		"-kx",
		"--kernel",
		"--kernel=",
		"=",
		"-m",
		"1G",
		"64",
		",max=",
		"2",
		"-d",
		"a,id=",
		"a,,b",
		",",
		"readonly=on",
		"--append",
		"x",
		"--serial",
		"--serial2",
		"file=",
		"socket=",
		"pty",
		"tty",
		"--cpus",
		"--",
		"-",
		"-vq",
		"-v",
		"\n",
		"\x1b",
		"\xff",
		"--cmdline",
		"--co",
		"99999999999999999999",
		"queues=",
		"serial=",
		"--rng",
		"--balloon",
		"--balloon=",
		"on",
		"off",
		"--timeout",
		"--stop-timeout=",
		"--on-reboot=exit",
		"--config",
		"/nonexistent",
		"--log-file",
	};
	unsigned seed = 1, accepted = 0;

	for (int round = 0; round < 20000; round++) {
		char words[8][64];
		const char *argv[8];
		int n = (int)(seed >> 16) % 8;

		for (int i = 0; i < n; i++) {
			int parts;

			words[i][0] = '\0';
			seed = seed * 1103515245 + 12345;
			parts = (seed >> 16) % 4 == 0 ? 2 : 1;
			for (int j = 0; j < parts; j++) {
				seed = seed * 1103515245 + 12345;
				strcat(words[i],
				       pieces[(seed >> 16) % (sizeof(pieces) / sizeof(pieces[0]))]);
			}
			argv[i] = words[i];
		}
		seed = seed * 1103515245 + 12345;
		accepted += parse_words(n, argv) == CONFIG_RUN;
		vm_config_fini(&c);
	}
	/* Otherwise the pieces are not plausible enough to test anything. */
	assert_true(accepted > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(defaults, fini),
		cmocka_unit_test_teardown(every_option_in_its_long_form, fini),
		cmocka_unit_test_teardown(every_option_in_its_short_form, fini),
		cmocka_unit_test_teardown(the_last_of_a_scalar_wins, fini),
		cmocka_unit_test_teardown(several_initrds, fini),
		cmocka_unit_test_teardown(an_options_value_may_look_like_an_option, fini),
		cmocka_unit_test_teardown(texts_may_be_empty_but_paths_not, fini),
		cmocka_unit_test_teardown(no_words_at_all, fini),
		cmocka_unit_test_teardown(an_unknown_option_is_told_its_neighbour, fini),
		cmocka_unit_test_teardown(missing_and_unwanted_values, fini),
		cmocka_unit_test_teardown(long_values_are_cut_in_messages_only, fini),
		cmocka_unit_test_teardown(control_characters_reach_no_terminal, fini),
		cmocka_unit_test_teardown(fini_is_harmless_twice, fini),
		cmocka_unit_test_teardown(the_environment_stands_in, clear_environment),
		cmocka_unit_test_teardown(the_environment_is_named_when_wrong, clear_environment),
		cmocka_unit_test_teardown(a_command_line_from_a_file, fini),
		cmocka_unit_test_teardown(help_lists_every_option, fini),
		cmocka_unit_test_teardown(random_words, fini),
	};

	/* What the caller's shell has set is not part of the test. */
	clearenv();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
