/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal on real ptys, pipes and files; what a user's shell would see is
 * read from the pty's other end. */
#include "devices/backend/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 10000 };

/* A guest's console that takes `appetite` bytes at a time. */
struct guest {
	struct loop *loop;
	struct terminal *t;
	struct char_room room;
	size_t appetite, n, want;
	unsigned leaves, breaks, buttons, nmis;
	bool refuses_breaks, faults;
	uint16_t cols, rows;
	unsigned sizes;
	_Atomic bool done; /* for give_room() */
	uint8_t got[300000];
};

static size_t receive(void *dev, const uint8_t *bytes, size_t len)
{
	struct guest *g = dev;
	size_t n = len < g->appetite ? len : g->appetite;

	assert_true(g->n + n <= sizeof(g->got));
	memcpy(g->got + g->n, bytes, n);
	g->n += n;
	if (g->want && g->n >= g->want)
		loop_stop(g->loop);
	return n;
}

static void on_leave(void *ctx)
{
	struct guest *g = ctx;

	g->leaves++;
	loop_stop(g->loop);
}

/* Its place among the bytes shows, too. */
static bool receive_break(void *dev)
{
	struct guest *g = dev;

	if (g->faults)
		__builtin_trap();
	if (g->refuses_breaks)
		return false;
	g->breaks++;
	g->got[g->n++] = '!';
	return true;
}

static void on_button(void *ctx)
{
	struct guest *g = ctx;

	g->buttons++;
}

static void on_nmi(void *ctx)
{
	struct guest *g = ctx;

	g->nmis++;
}

static void on_size(void *ctx, uint16_t cols, uint16_t rows)
{
	struct guest *g = ctx;

	g->cols = cols;
	g->rows = rows;
	g->sizes++;
}

static void give_up(void *ctx)
{
	struct guest *g = ctx;

	loop_stop(g->loop);
}

static struct guest *start_on(int fd, bool line)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct err e = {0};

	g->appetite = sizeof(g->got);
	g->t = terminal_create(fd, &e);
	assert_non_null(g->t);
	g->loop = loop_create();
	g->room = terminal_room(g->t);
	struct terminal_config c = {.loop = g->loop,
				    .in = {receive, line ? receive_break : NULL, g},
				    .leave = on_leave,
				    .press_button = on_button,
				    .inject_nmi = on_nmi,
				    .resized = on_size,
				    .ctx = g};

	assert_int_equal(terminal_start(g->t, &c, &e), 0);
	return g;
}

static struct guest *start(int fd)
{
	return start_on(fd, true);
}

static void run(struct guest *g, unsigned ms)
{
	struct loop_timer *timer = loop_timer_add(g->loop, give_up, g);

	loop_timer_start(timer, ms);
	loop_run(g->loop);
	loop_timer_del(timer);
}

static void end(struct guest *g)
{
	terminal_destroy(g->t);
	loop_destroy(g->loop);
	free(g);
}

static void open_pty(int *master, int *slave)
{
	assert_int_equal(openpty(master, slave, NULL, NULL, NULL), 0);
	fcntl(*master, F_SETFD, FD_CLOEXEC);
}

static bool raw(int tty)
{
	struct termios t;

	assert_int_equal(tcgetattr(tty, &t), 0);
	return !(t.c_lflag & (ICANON | ECHO | ISIG)) && !(t.c_oflag & OPOST);
}

static void wait_for_raw(int tty, bool want)
{
	for (int i = 0; i < PATIENCE_MS && raw(tty) != want; i++)
		usleep(1000);
	assert_int_equal(raw(tty), want);
}

static void type(int fd, const char *keys, size_t n)
{
	assert_int_equal(write(fd, keys, n), n);
}

/* --- terminals ---------------------------------------------------------------- */

static void test_raw_while_running_and_restored(void **state)
{
	struct termios before, after;
	int master, slave;

	open_pty(&master, &slave);
	tcgetattr(slave, &before);
	assert_false(raw(slave));
	struct guest *g = start(slave);

	assert_true(raw(slave));
	assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
	end(g);
	tcgetattr(slave, &after);
	assert_int_equal(before.c_lflag, after.c_lflag);
	assert_int_equal(before.c_iflag, after.c_iflag);
	assert_int_equal(before.c_oflag, after.c_oflag);
	assert_int_equal(before.c_cflag, after.c_cflag);
	/* The guardian is gone and reaped. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	close(master);
	close(slave);
}

static void test_nothing_is_restored_after_an_orderly_end(void **state)
{
	struct termios mine, after;
	int master, slave;

	open_pty(&master, &slave);
	end(start(slave));
	tcgetattr(slave, &mine);
	cfmakeraw(&mine); /* the next program's own raw mode */
	tcsetattr(slave, TCSANOW, &mine);
	usleep(50000);
	tcgetattr(slave, &after);
	assert_int_equal(after.c_lflag, mine.c_lflag);
	close(master);
	close(slave);
}

static void test_escape_keys(void **state)
{
	static const char keys[] = "ab\x01"
				   "a\x01\x01\x01" /* an escape across two reads */
				   "b\x01zc\x03\x01x";
	static const char want[] = "ab\x01\x01!\x01zc\x03";
	int master, slave;

	open_pty(&master, &slave);
	struct guest *g = start(slave);

	type(master, keys, 7);
	run(g, 50);
	type(master, keys + 7, sizeof(keys) - 1 - 7);
	run(g, PATIENCE_MS);
	assert_int_equal(g->leaves, 1);
	assert_int_equal(g->breaks, 1);
	assert_int_equal(g->n, sizeof(want) - 1);
	assert_memory_equal(g->got, want, sizeof(want) - 1);
	end(g);
	close(master);
	close(slave);
}

static void test_buttons(void **state)
{
	int master, slave;

	open_pty(&master, &slave);
	struct guest *g = start(slave);

	type(master, "\x01p\x01n\x01n\x01x", 8);
	run(g, PATIENCE_MS);
	assert_int_equal(g->buttons, 1);
	assert_int_equal(g->nmis, 2);
	assert_int_equal(g->n, 0);
	end(g);
	close(master);
	close(slave);
}

/* Keys and breaks in the order in which they were typed. */
static void test_sysrq_is_a_break_and_a_key(void **state)
{
	int master, slave;

	open_pty(&master, &slave);
	struct guest *g = start(slave);

	type(master, "ab\x01shc\x01", 7);
	run(g, 50);
	type(master, "s", 1); /* an escape across three reads */
	run(g, 50);
	type(master, "\x01", 1); /* the key is whatever comes */
	run(g, 50);
	type(master, "\x01x", 2);
	run(g, PATIENCE_MS);
	assert_int_equal(g->breaks, 2);
	assert_int_equal(g->n, 7);
	assert_memory_equal(g->got, "ab!hc!\x01", 7);
	end(g);
	close(master);
	close(slave);
}

/* A break waits like a byte until the guest takes it, and holds back what follows. */
static void test_a_break_waits_for_the_guest(void **state)
{
	int master, slave;

	open_pty(&master, &slave);
	struct guest *g = start(slave);

	g->refuses_breaks = true;
	type(master,
	     "ab\x01sc\x01"
	     "bde",
	     9); /* the second finds the first waiting */
	run(g, 50);
	assert_int_equal(g->n, 2);
	g->refuses_breaks = false;
	g->want = 6;
	g->room.room(g->room.ctx);
	run(g, PATIENCE_MS);
	assert_int_equal(g->breaks, 1);
	assert_memory_equal(g->got, "ab!cde", 6);
	end(g);
	close(master);
	close(slave);
}

/* What hvc_console takes for one. */
static void test_sysrq_without_a_break_line(void **state)
{
	int master, slave;

	open_pty(&master, &slave);
	struct guest *g = start_on(slave, false);

	type(master,
	     "a\x01sh\x01"
	     "b\x01x",
	     8);
	run(g, PATIENCE_MS);
	assert_int_equal(g->breaks, 0);
	assert_int_equal(g->n, 3);
	assert_memory_equal(g->got, "a\x0fh", 3);
	end(g);
	close(master);
	close(slave);
}

static void test_size_now_and_after_each_change(void **state)
{
	struct winsize ws = {.ws_row = 25, .ws_col = 132};
	int master, slave;

	open_pty(&master, &slave);
	assert_int_equal(ioctl(master, TIOCSWINSZ, &ws), 0);
	struct guest *g = start(slave);

	assert_int_equal(g->cols, 132);
	assert_int_equal(g->rows, 25);
	ws = (struct winsize){.ws_row = 50, .ws_col = 90};
	ioctl(master, TIOCSWINSZ, &ws);
	raise(SIGWINCH); /* it is not our controlling terminal */
	run(g, 100);
	assert_int_equal(g->cols, 90);
	assert_int_equal(g->rows, 50);
	assert_int_equal(g->sizes, 2);
	end(g);
	close(master);
	close(slave);
}

static void test_help_goes_to_stderr(void **state)
{
	int master, slave, p[2], err = dup(2);
	char text[1024] = "";

	open_pty(&master, &slave);
	assert_int_equal(pipe(p), 0);
	dup2(p[1], 2);
	struct guest *g = start(slave);

	type(master, "\x01h\x01x", 4);
	run(g, PATIENCE_MS);
	end(g);
	dup2(err, 2);
	close(err);
	assert_true(read(p[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "x    leave"));
	for (char *nl = strchr(text, '\n'); nl; nl = strchr(nl + 1, '\n'))
		assert_int_equal(nl[-1], '\r');
	close(p[0]);
	close(p[1]);
	close(master);
	close(slave);
}

static void test_escape_works_while_the_guest_hangs(void **state)
{
	int master, slave;
	char paste[20000];

	open_pty(&master, &slave);
	struct guest *g = start(slave);

	memset(paste, 'p', sizeof(paste));
	g->appetite = 0;
	for (size_t at = 0; at < sizeof(paste); at += 1000) {
		type(master, paste + at, 1000);
		run(g, 2);
	}
	type(master, "\x01x", 2);
	run(g, PATIENCE_MS);
	assert_int_equal(g->leaves, 1);
	/* And the paste is still there when the guest comes back. */
	g->appetite = g->want = sizeof(paste);
	g->room.room(g->room.ctx);
	run(g, PATIENCE_MS);
	assert_int_equal(g->n, sizeof(paste));
	end(g);
	close(master);
	close(slave);
}

static void test_terminal_hangs_up(void **state)
{
	int master, slave;

	open_pty(&master, &slave);
	struct guest *g = start(slave);

	close(master);
	struct rusage a, b;

	getrusage(RUSAGE_SELF, &a);
	run(g, 100);
	getrusage(RUSAGE_SELF, &b);
	/* No loop of events that nobody can read. */
	assert_true(b.ru_utime.tv_usec + b.ru_utime.tv_sec * 1000000 - a.ru_utime.tv_usec -
			    a.ru_utime.tv_sec * 1000000 <
		    50000);
	end(g);
	close(slave);
}

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
		struct guest *g = start(slave);

		g->faults = true;
		if (write(ready[1], "r", 1) != 1)
			_exit(9);
		loop_run(g->loop);
		end(g);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	assert_true(raw(slave));
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

	open_pty(&master, &slave);
	pid_t pid = spawn_raw_child(slave);

	kill(pid, SIGKILL);
	reap(pid, SIGKILL);
	wait_for_raw(slave, false);
	close(master);
	close(slave);
}

static void test_kill_9_of_the_process_group_restores(void **state)
{
	int master, slave;

	open_pty(&master, &slave);
	pid_t pid = spawn_raw_child(slave);

	kill(-pid, SIGINT); /* neither this takes the guardian along... */
	kill(-pid, SIGKILL);
	int status;

	waitpid(pid, &status, 0);
	wait_for_raw(slave, false);
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

		open_pty(&master, &slave);
		pid_t pid = spawn_raw_child(slave), guardian = guardian_of(pid);

		if (guardian > 0)
			kill(guardian, SIGKILL);
		kill(pid, crashes[i]);
		int status;

		assert_int_equal(waitpid(pid, &status, 0), pid);
		/* A sanitizer turns some of these into an exit of its own. */
		assert_true(!WIFEXITED(status) || WEXITSTATUS(status));
		assert_false(raw(slave));
		close(master);
		close(slave);
	}
}

static void test_a_faulting_instruction_restores_and_dies(void **state)
{
	int master, slave;

	open_pty(&master, &slave);
	pid_t pid = spawn_raw_child(slave), guardian = guardian_of(pid);

	if (guardian > 0)
		kill(guardian, SIGKILL);
	type(master,
	     "\x01"
	     "b",
	     2);
	reap(pid, SIGILL);
	assert_false(raw(slave));
	close(master);
	close(slave);
}

static void test_guardian_holds_nothing_but_the_terminal(void **state)
{
	int master, slave, spare[2], n = 0;
	char path[64];

	assert_int_equal(pipe(spare), 0);
	open_pty(&master, &slave);
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
	wait_for_raw(slave, false);
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
	for (int i = 0; i < PATIENCE_MS && raw(tty) != want; i++)
		usleep(1000);
	if (raw(tty) != want)
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
		struct guest *g = start(slave);

		loop_run(g->loop); /* until Ctrl-a x */
		end(g);
		_exit(7);
	}
	setpgid(job, job);
	/* Started in the background: it lives, and leaves the terminal alone. */
	usleep(200000);
	if (waitpid(job, &status, WNOHANG | WUNTRACED))
		_exit(10);
	if (raw(slave))
		_exit(11);
	/* `fg` of a running job comes without a signal. */
	tcsetpgrp(slave, job);
	wait_raw_or_exit(slave, true, 12);
	/* Stopped from outside: the shell gets its settings back. */
	kill(job, SIGTSTP);
	if (waitpid(job, &status, WUNTRACED) != job || !WIFSTOPPED(status))
		_exit(13);
	tcsetpgrp(slave, getpgrp());
	if (raw(slave))
		_exit(14);
	/* `bg`, and then `fg` of a stopped job. */
	kill(job, SIGCONT);
	usleep(100000);
	if (raw(slave) || waitpid(job, &status, WNOHANG | WUNTRACED))
		_exit(15);
	kill(job, SIGSTOP);
	if (waitpid(job, &status, WUNTRACED) != job || !WIFSTOPPED(status))
		_exit(16);
	tcsetpgrp(slave, job);
	kill(job, SIGCONT);
	wait_raw_or_exit(slave, true, 17);
	_exit(waitpid(job, &status, 0) == job && WIFEXITED(status) && WEXITSTATUS(status) == 7 &&
			      !raw(slave)
		      ? 0
		      : 18);
}

static void test_job_control(void **state)
{
	int master, slave, status;

	open_pty(&master, &slave);
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		shell(slave);
	}
	/* Ctrl-a x, again and again until somebody reads it raw. */
	for (int i = 0; i < PATIENCE_MS; i++) {
		pid_t done = waitpid(pid, &status, WNOHANG);

		if (done == pid)
			break;
		if (raw(slave) && i > 2500)
			type(master, "\x01x", 2);
		usleep(1000);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(master);
	close(slave);
}

/* --- pipes and files -------------------------------------------------------------- */

static void *give_room(void *arg)
{
	struct guest *g = arg;

	for (int i = 0; i < 100000 && !g->done; i++) {
		g->room.room(g->room.ctx);
		usleep(50);
	}
	return NULL;
}

static void test_pipe_with_back_pressure(void **state)
{
	int p[2];
	uint8_t input[60000];
	pthread_t thread;

	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (uint8_t)(i * 31 + i / 256); /* Ctrl-a x is only bytes here */
	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(p[1], input, sizeof(input)), sizeof(input));
	close(p[1]);
	struct guest *g = start(p[0]);

	assert_int_equal(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
	g->appetite = 1000;
	g->want = sizeof(input);
	pthread_create(&thread, NULL, give_room, g);
	run(g, PATIENCE_MS);
	g->done = true;
	pthread_join(thread, NULL);
	assert_int_equal(g->n, sizeof(input));
	assert_memory_equal(g->got, input, sizeof(input));
	assert_int_equal(g->leaves, 0);
	end(g);
	close(p[0]);
}

static void test_regular_file(void **state)
{
	FILE *f = tmpfile();
	uint8_t input[100000];
	pthread_t thread;

	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (uint8_t)(i * 13 + i / 256);
	assert_int_equal(fwrite(input, 1, sizeof(input), f), sizeof(input));
	fflush(f);
	lseek(fileno(f), 0, SEEK_SET);
	struct guest *g = start(fileno(f));

	g->want = sizeof(input);
	g->appetite = 3000;
	pthread_create(&thread, NULL, give_room, g);
	run(g, PATIENCE_MS);
	g->done = true;
	pthread_join(thread, NULL);
	assert_int_equal(g->n, sizeof(input));
	assert_memory_equal(g->got, input, sizeof(input));
	end(g);
	fclose(f);
}

static void assert_silent(int fd)
{
	struct guest *g = start(fd);
	struct rusage a, b;

	getrusage(RUSAGE_SELF, &a);
	run(g, 100);
	getrusage(RUSAGE_SELF, &b);
	assert_true(b.ru_nvcsw - a.ru_nvcsw < 20);
	assert_int_equal(g->n, 0);
	end(g);
}

static void test_no_input_at_all(void **state)
{
	int null = open("/dev/null", O_RDONLY), p[2], closed;

	assert_silent(null);
	close(null);
	assert_int_equal(pipe(p), 0);
	close(p[1]);
	assert_silent(p[0]);
	close(p[0]);
	closed = dup(2);
	close(closed);
	assert_silent(closed);
	/* A pipe that stays silent costs nothing either. */
	assert_int_equal(pipe(p), 0);
	assert_silent(p[0]);
	close(p[0]);
	close(p[1]);
}

static void test_directory_as_input(void **state)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY);

	assert_silent(fd);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raw_while_running_and_restored),
		cmocka_unit_test(test_nothing_is_restored_after_an_orderly_end),
		cmocka_unit_test(test_escape_keys),
		cmocka_unit_test(test_buttons),
		cmocka_unit_test(test_sysrq_is_a_break_and_a_key),
		cmocka_unit_test(test_a_break_waits_for_the_guest),
		cmocka_unit_test(test_sysrq_without_a_break_line),
		cmocka_unit_test(test_size_now_and_after_each_change),
		cmocka_unit_test(test_help_goes_to_stderr),
		cmocka_unit_test(test_escape_works_while_the_guest_hangs),
		cmocka_unit_test(test_terminal_hangs_up),
		cmocka_unit_test(test_kill_9_restores),
		cmocka_unit_test(test_kill_9_of_the_process_group_restores),
		cmocka_unit_test(test_crashes_restore_even_without_the_guardian),
		cmocka_unit_test(test_a_faulting_instruction_restores_and_dies),
		cmocka_unit_test(test_guardian_holds_nothing_but_the_terminal),
		cmocka_unit_test(test_job_control),
		cmocka_unit_test(test_pipe_with_back_pressure),
		cmocka_unit_test(test_regular_file),
		cmocka_unit_test(test_no_input_at_all),
		cmocka_unit_test(test_directory_as_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
