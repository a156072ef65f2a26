/* SPDX-License-Identifier: Apache-2.0 */
/* config of a command: its words, environment and user, and what tells programs of it. */
#include "tests/unit/config_words.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void commands(void **state)
{
	assert_int_equal(parse("version"), CONFIG_VERSION);
	assert_int_equal(parse("--version"), CONFIG_VERSION);
	assert_int_equal(parse("-V"), CONFIG_VERSION);
	/* Asked for help amid mistakes, help is the answer. */
	assert_int_equal(parse("--version", "--nonsense"), CONFIG_VERSION);
	refused("versoin: unknown command; did you mean version?", "versoin");
	refused("bzImage: unknown command; a kernel is given with --kernel", "bzImage");
	refused("again: one word too much", "run", "-kx", "again");
	refused("-: unknown command", "-");
	refused("--kernel: missing", "run");
	refused("--kernel: missing", "--");
}

/* What is behind "--" goes as it is: words that look like options, empty ones, blanks. */
static void a_command_is_taken_word_by_word(void **state)
{
	assert_int_equal(parse("-kx", "-c", "2", "--", "ls", "-l", "--", "", "a b", "--kernel=y"),
			 CONFIG_RUN);
	assert_true(c.command.wanted);
	assert_string_equal(c.kernel, "x");
	assert_int_equal(c.cpus, 2);
	assert_int_equal(c.command.words.n, 6);
	assert_string_equal(c.command.words.strings[1], "-l");
	assert_string_equal(c.command.words.strings[2], "--");
	assert_string_equal(c.command.words.strings[3], "");
	assert_string_equal(c.command.words.strings[4], "a b");
	assert_string_equal(c.command.words.strings[5], "--kernel=y");
	assert_null(c.command.words.strings[6]);
	assert_int_equal(c.serial.kind, CHAR_KEPT);
	/* The root is a share like others. */
	assert_int_equal(c.n_shares, 1);
	assert_string_equal(c.shares[0].path, "/");
	assert_string_equal(c.shares[0].mountpoint, "/");
	assert_false(c.shares[0].rw);
	vm_config_fini(&c);

	/* A shell: nothing behind it, or nothing that could boot by itself. */
	assert_int_equal(parse("-kx", "--"), CONFIG_RUN);
	assert_true(c.command.wanted);
	assert_int_equal(c.command.words.n, 0);
	vm_config_fini(&c);

	/* No command: as ever. */
	assert_int_equal(parse("run", "-kx"), CONFIG_RUN);
	assert_false(c.command.wanted);
	assert_int_equal(c.n_shares, 0);
	vm_config_fini(&c);

	/* A disk is the root then, and the caller's directory is not in it. */
	assert_int_equal(parse("-kx", "-d", "d", "--", "ls"), CONFIG_RUN);
	assert_int_equal(c.n_shares, 0);
	assert_null(c.command.root);
	assert_string_equal(c.command.dir, "/");
	vm_config_fini(&c);

	/* Unless another is named: then it is a disk like others. */
	assert_int_equal(parse("-kx", "-d", "d", "--root", "/", "--", "ls"), CONFIG_RUN);
	assert_int_equal(c.n_disks, 1);
	assert_int_equal(c.n_shares, 1);
	assert_string_equal(c.shares[0].mountpoint, "/");
	vm_config_fini(&c);

	assert_int_equal(parse("-kx", "-d", "d", "--init", "--", "ls"), CONFIG_RUN);
	assert_true(c.command.init);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "-d", "d", "--", "ls"), CONFIG_RUN);
	assert_false(c.command.init);
	vm_config_fini(&c);

	refused("--init: wants the --disk", "-kx", "--init", "--", "ls");
	refused("--init: is for a command", "-kx", "-dd", "--init");
	refused("--initrd: not with a command", "-kx", "-ii", "--", "ls");
	refused("--init: not together with --root", "-kx", "-dd", "--root", "/r", "--init", "--",
		"ls");
	refused("--share /:/: the root of a command is given by --root", "-kx", "--share", "/:/",
		"--", "ls");
	refused("--root: is for a command", "-kx", "--root", "r");
	refused("--workdir x: not an absolute path", "-kx", "--workdir", "x", "--", "ls");
}

static const char *env_of(const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < c.command.env.n; i++)
		if (!strncmp(c.command.env.strings[i], name, len) &&
		    c.command.env.strings[i][len] == '=')
			return c.command.env.strings[i] + len + 1;
	return NULL;
}

static void a_command_has_a_chosen_environment(void **state)
{
	setenv("HOME", "/h", 1);
	setenv("LC_ALL", "C", 1);
	setenv("SECRET", "s", 1);
	setenv("MINE", "m", 1);
	unsetenv("TZ");
	assert_int_equal(parse("-kx", "--env", "MINE", "--env", "A=1=2", "--env", "A=3", "--env",
			       "EMPTY=", "--env", "NOT_SET", "--env", "LC_ALL=de", "--", "ls"),
			 CONFIG_RUN);
	assert_string_equal(env_of("HOME"), "/h");
	assert_string_equal(env_of("MINE"), "m");
	assert_string_equal(env_of("A"), "3");
	assert_string_equal(env_of("EMPTY"), "");
	assert_string_equal(env_of("LC_ALL"), "de");
	assert_null(env_of("SECRET"));
	assert_null(env_of("NOT_SET"));
	assert_null(env_of("TZ"));
	vm_config_fini(&c);
	refused("--env =x: has no name", "-kx", "--env", "=x", "--", "ls");
}

static void outputs_for_programs(void **state)
{
	assert_int_equal(parse("-kx", "--events", "ev"), CONFIG_RUN);
	assert_string_equal(c.events.path, "ev");
	assert_int_equal(c.events.fd, 0);
	vm_config_fini(&c);
	/* The last one wins, of either kind. */
	assert_int_equal(parse("-kx", "--events", "ev", "--events", "fd=7"), CONFIG_RUN);
	assert_null(c.events.path);
	assert_int_equal(c.events.fd, 7);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--events", "fd=7", "--events", "ev"), CONFIG_RUN);
	assert_string_equal(c.events.path, "ev");
	assert_int_equal(c.events.fd, 0);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--control", "sock"), CONFIG_RUN);
	assert_string_equal(c.control.path, "sock");
	assert_true(config_has_control(&c));
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--control", "sock", "--control", "fd=3"), CONFIG_RUN);
	assert_null(c.control.path);
	assert_int_equal(c.control.fd, 3);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--control", "sock", "--control", "fd=systemd"), CONFIG_RUN);
	assert_null(c.control.path);
	assert_int_equal(c.control.fd, MEETING_FD_SYSTEMD);
	assert_true(config_has_control(&c));
	vm_config_fini(&c);
	refused("--events fd=systemd: not an open descriptor", "-kx", "--events", "fd=systemd");
	refused("--control fd=-1: not an open descriptor", "-kx", "--control", "fd=-1");
	refused("--control fd=x: not an open descriptor", "-kx", "--control", "fd=x");
	refused("--events fd=2: not an open descriptor", "-kx", "--events", "fd=2");
	refused("--events fd=: not an open descriptor", "-kx", "--events", "fd=");
	refused("--events fd=4x: not an open descriptor", "-kx", "--events", "fd=4x");
	refused("--events fd=4294967299: not an open descriptor", "-kx", "--events",
		"fd=4294967299");
	refused("--events \"\": an empty path", "-kx", "--events", "");

	assert_int_equal(parse("-kx", "--junit", "j.xml", "--", "ls"), CONFIG_RUN);
	assert_string_equal(c.command.junit, "j.xml");
	vm_config_fini(&c);
	refused("--junit: is for a command", "-kx", "--junit", "j.xml");
	refused("--junit \"\": an empty path", "-kx", "--junit=", "--", "ls");
}

static void a_command_has_a_user(void **state)
{
	setenv("HOME", "/h", 1);
	setenv("SHELL", "/s", 1);
	setenv("PATH", "/p", 1);
	assert_int_equal(parse("-kx", "--", "ls"), CONFIG_RUN);
	assert_null(c.command.user);
	assert_false(c.command.user_self);
	vm_config_fini(&c);
	/* Another's home is not the caller's. */
	assert_int_equal(parse("-kx", "--user", "nobody", "--", "ls"), CONFIG_RUN);
	assert_string_equal(c.command.user, "nobody");
	assert_null(env_of("HOME"));
	assert_null(env_of("SHELL"));
	assert_non_null(env_of("PATH"));
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--user", "7:kvm", "--env", "HOME=/x", "--", "ls"),
			 CONFIG_RUN);
	assert_string_equal(c.command.user, "7:kvm");
	assert_string_equal(env_of("HOME"), "/x");
	vm_config_fini(&c);
	/* The last one counts. */
	assert_int_equal(parse("-kx", "--user", "a", "--user", "self", "--", "ls"), CONFIG_RUN);
	assert_null(c.command.user);
	assert_true(c.command.user_self);
	assert_string_equal(env_of("HOME"), "/h");
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--user", "self", "--user", "4294967294", "--", "ls"),
			 CONFIG_RUN);
	assert_string_equal(c.command.user, "4294967294");
	assert_false(c.command.user_self);
	vm_config_fini(&c);
	static const char *const bad[] = {
		"", ":", "a:", ":a", "a:b:c", "a b", "a\n", "4294967295", "1:99999999999999999999"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse("-kx", "--user", bad[i], "--", "ls"), -EINVAL);
		assert_non_null(strstr(e.text, ": not a user; give USER or USER:GROUP"));
		vm_config_fini(&c);
	}
	refused("--user: is for a command", "-kx", "--user", "a");
	refused("--user: is for a command", "-kx", "--user", "self");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(commands, fini),
		cmocka_unit_test_teardown(a_command_is_taken_word_by_word, fini),
		cmocka_unit_test_teardown(a_command_has_a_chosen_environment, fini),
		cmocka_unit_test_teardown(outputs_for_programs, fini),
		cmocka_unit_test_teardown(a_command_has_a_user, fini),
	};

	/* What the caller's shell has set is not part of the test. */
	clearenv();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
