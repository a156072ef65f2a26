/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal when its process ends in all kinds of ways, or is a job among others: what a
 * user's shell would find is read from the pty's other end. */
#include "tests/lib/terminal_rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- ends of all kinds --------------------------------------------------------- */

/* A child that has the terminal raw and runs its loop for ever. */
static pid_t spawn_raw_child(int slave)
{
	int ready[2];
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_DUMPABLE, 1);
		struct rlimit no_core = {0};

		setrlimit(RLIMIT_CORE, &no_core);
		/* cmocka's handlers would go on with the tests in the child. */
		for (int i = SIGHUP; i <= SIGTERM; i++)
			signal(i, SIG_DFL);
		setpgid(0, 0);
		struct terminal_rig *g = terminal_rig_start(slave);

		g->faults = true;
		if (write(ready[1], "r", 1) != 1)
			_exit(9);
		loop_run(g->loop);
		terminal_rig_end(g);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	assert_true(terminal_rig_is_raw(slave));
	return pid;
}

static void reap(pid_t pid, int signum)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), signum);
}

static void test_kill_9_restores(void **state)
{
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	pid_t pid = spawn_raw_child(slave);

	kill(pid, SIGKILL);
	reap(pid, SIGKILL);
	terminal_rig_await_raw(slave, false);
	close(master);
	close(slave);
}

static void test_kill_9_of_the_process_group_restores(void **state)
{
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	pid_t pid = spawn_raw_child(slave);

	kill(-pid, SIGINT); /* neither this takes the guardian along... */
	kill(-pid, SIGKILL);
	int status;

	waitpid(pid, &status, 0);
	terminal_rig_await_raw(slave, false);
	close(master);
	close(slave);
}

static pid_t guardian_of(pid_t pid)
{
	char path[64];
	int guardian = -1;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	FILE *f = fopen(path, "r");

	if (!f)
		return -1;
	if (fscanf(f, "%d", &guardian) != 1)
		guardian = -1;
	fclose(f);
	return guardian;
}

static void test_crashes_restore_even_without_the_guardian(void **state)
{
	static const int crashes[] = {SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGSEGV};

	for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++) {
		int master, slave;

		terminal_rig_open_pty(&master, &slave);
		pid_t pid = spawn_raw_child(slave), guardian = guardian_of(pid);

		if (guardian > 0)
			kill(guardian, SIGKILL);
		kill(pid, crashes[i]);
		int status;

		assert_int_equal(waitpid(pid, &status, 0), pid);
		/* A sanitizer turns some of these into an exit of its own. */
		assert_true(!WIFEXITED(status) || WEXITSTATUS(status));
		assert_false(terminal_rig_is_raw(slave));
		close(master);
		close(slave);
	}
}

static void test_a_faulting_instruction_restores_and_dies(void **state)
{
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	pid_t pid = spawn_raw_child(slave), guardian = guardian_of(pid);

	if (guardian > 0)
		kill(guardian, SIGKILL);
	terminal_rig_type(master,
			  "\x01"
			  "b",
			  2);
	reap(pid, SIGILL);
	assert_false(terminal_rig_is_raw(slave));
	close(master);
	close(slave);
}

static void test_guardian_holds_nothing_but_the_terminal(void **state)
{
	int master, slave, spare[2], n = 0;
	char path[64];

	assert_int_equal(pipe(spare), 0);
	terminal_rig_open_pty(&master, &slave);
	pid_t pid = spawn_raw_child(slave), guardian = guardian_of(pid);

	if (guardian > 0) {
		for (int tries = 0; tries < 1000 && n != 2; tries++) {
			n = 0;
			for (int fd = 0; fd < 1024; fd++) {
				snprintf(path, sizeof(path), "/proc/%d/fd/%d", guardian, fd);
				n += !faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW);
			}
			usleep(1000);
		}
		assert_int_equal(n, 2);
	}
	kill(pid, SIGKILL);
	reap(pid, SIGKILL);
	terminal_rig_await_raw(slave, false);
	close(spare[0]);
	close(spare[1]);
	close(master);
	close(slave);
}

/* --- job control ---------------------------------------------------------------- */

/* A process without a terminal becomes the session leader of the pty, as a shell
 * is, with the VM as its job; what goes wrong is its exit status. */
static void wait_raw_or_exit(int tty, bool want, int code)
{
	for (int i = 0; i < TERMINAL_RIG_PATIENCE_MS && terminal_rig_is_raw(tty) != want; i++)
		usleep(1000);
	if (terminal_rig_is_raw(tty) != want)
		_exit(code);
}

static _Noreturn void shell(int slave)
{
	int status;

	signal(SIGTTOU, SIG_IGN);
	setsid();
	ioctl(slave, TIOCSCTTY, 0);
	pid_t job = fork();

	if (!job) {
		signal(SIGTTOU, SIG_DFL);
		setpgid(0, 0);
		struct terminal_rig *g = terminal_rig_start(slave);

		loop_run(g->loop); /* until Ctrl-a x */
		terminal_rig_end(g);
		_exit(7);
	}
	setpgid(job, job);
	/* Started in the background: it lives, and leaves the terminal alone. */
	usleep(200000);
	if (waitpid(job, &status, WNOHANG | WUNTRACED))
		_exit(10);
	if (terminal_rig_is_raw(slave))
		_exit(11);
	/* `fg` of a running job comes without a signal. */
	tcsetpgrp(slave, job);
	wait_raw_or_exit(slave, true, 12);
	/* Stopped from outside: the shell gets its settings back. */
	kill(job, SIGTSTP);
	if (waitpid(job, &status, WUNTRACED) != job || !WIFSTOPPED(status))
		_exit(13);
	tcsetpgrp(slave, getpgrp());
	if (terminal_rig_is_raw(slave))
		_exit(14);
	/* `bg`, and then `fg` of a stopped job. */
	kill(job, SIGCONT);
	usleep(100000);
	if (terminal_rig_is_raw(slave) || waitpid(job, &status, WNOHANG | WUNTRACED))
		_exit(15);
	kill(job, SIGSTOP);
	if (waitpid(job, &status, WUNTRACED) != job || !WIFSTOPPED(status))
		_exit(16);
	tcsetpgrp(slave, job);
	kill(job, SIGCONT);
	wait_raw_or_exit(slave, true, 17);
	_exit(waitpid(job, &status, 0) == job && WIFEXITED(status) && WEXITSTATUS(status) == 7 &&
			      !terminal_rig_is_raw(slave)
		      ? 0
		      : 18);
}

static void test_job_control(void **state)
{
	int master, slave, status;

	terminal_rig_open_pty(&master, &slave);
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		shell(slave);
	}
	/* Ctrl-a x, again and again until somebody reads it raw. */
	for (int i = 0; i < TERMINAL_RIG_PATIENCE_MS; i++) {
		pid_t done = waitpid(pid, &status, WNOHANG);

		if (done == pid)
			break;
		if (terminal_rig_is_raw(slave) && i > 2500)
			terminal_rig_type(master, "\x01x", 2);
		usleep(1000);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(master);
	close(slave);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill_9_restores),
		cmocka_unit_test(test_kill_9_of_the_process_group_restores),
		cmocka_unit_test(test_crashes_restore_even_without_the_guardian),
		cmocka_unit_test(test_a_faulting_instruction_restores_and_dies),
		cmocka_unit_test(test_guardian_holds_nothing_but_the_terminal),
		cmocka_unit_test(test_job_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
