/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal on real ptys, pipes and files; what a user's shell would see is
 * read from the pty's other end. */
#include "tests/lib/terminal_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

/* --- terminals ---------------------------------------------------------------- */

static void test_raw_while_running_and_restored(void **state)
{
	struct termios before, after;
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	tcgetattr(slave, &before);
	assert_false(terminal_rig_is_raw(slave));
	struct terminal_rig *g = terminal_rig_start(slave);

	assert_true(terminal_rig_is_raw(slave));
	assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
	terminal_rig_end(g);
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

	terminal_rig_open_pty(&master, &slave);
	terminal_rig_end(terminal_rig_start(slave));
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

	terminal_rig_open_pty(&master, &slave);
	struct terminal_rig *g = terminal_rig_start(slave);

	terminal_rig_type(master, keys, 7);
	terminal_rig_run(g, 50);
	terminal_rig_type(master, keys + 7, sizeof(keys) - 1 - 7);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	assert_int_equal(g->leaves, 1);
	assert_int_equal(g->breaks, 1);
	assert_int_equal(g->n, sizeof(want) - 1);
	assert_memory_equal(g->got, want, sizeof(want) - 1);
	terminal_rig_end(g);
	close(master);
	close(slave);
}

static void test_buttons(void **state)
{
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	struct terminal_rig *g = terminal_rig_start(slave);

	terminal_rig_type(master, "\x01p\x01n\x01n\x01x", 8);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	assert_int_equal(g->buttons, 1);
	assert_int_equal(g->nmis, 2);
	assert_int_equal(g->n, 0);
	terminal_rig_end(g);
	close(master);
	close(slave);
}

/* Keys and breaks in the order in which they were typed. */
static void test_sysrq_is_a_break_and_a_key(void **state)
{
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	struct terminal_rig *g = terminal_rig_start(slave);

	terminal_rig_type(master, "ab\x01shc\x01", 7);
	terminal_rig_run(g, 50);
	terminal_rig_type(master, "s", 1); /* an escape across three reads */
	terminal_rig_run(g, 50);
	terminal_rig_type(master, "\x01", 1); /* the key is whatever comes */
	terminal_rig_run(g, 50);
	terminal_rig_type(master, "\x01x", 2);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	assert_int_equal(g->breaks, 2);
	assert_int_equal(g->n, 7);
	assert_memory_equal(g->got, "ab!hc!\x01", 7);
	terminal_rig_end(g);
	close(master);
	close(slave);
}

/* A break waits like a byte until the guest takes it, and holds back what follows. */
static void test_a_break_waits_for_the_guest(void **state)
{
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	struct terminal_rig *g = terminal_rig_start(slave);

	g->refuses_breaks = true;
	terminal_rig_type(master,
			  "ab\x01sc\x01"
			  "bde",
			  9); /* the second finds the first waiting */
	terminal_rig_run(g, 50);
	assert_int_equal(g->n, 2);
	g->refuses_breaks = false;
	g->want = 6;
	g->room.room(g->room.ctx);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	assert_int_equal(g->breaks, 1);
	assert_memory_equal(g->got, "ab!cde", 6);
	terminal_rig_end(g);
	close(master);
	close(slave);
}

/* What hvc_console takes for one. */
static void test_sysrq_without_a_break_line(void **state)
{
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	struct terminal_rig *g = terminal_rig_start_on(slave, false);

	terminal_rig_type(master,
			  "a\x01sh\x01"
			  "b\x01x",
			  8);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	assert_int_equal(g->breaks, 0);
	assert_int_equal(g->n, 3);
	assert_memory_equal(g->got, "a\x0fh", 3);
	terminal_rig_end(g);
	close(master);
	close(slave);
}

static void test_size_now_and_after_each_change(void **state)
{
	struct winsize ws = {.ws_row = 25, .ws_col = 132};
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	assert_int_equal(ioctl(master, TIOCSWINSZ, &ws), 0);
	struct terminal_rig *g = terminal_rig_start(slave);

	assert_int_equal(g->cols, 132);
	assert_int_equal(g->rows, 25);
	ws = (struct winsize){.ws_row = 50, .ws_col = 90};
	ioctl(master, TIOCSWINSZ, &ws);
	raise(SIGWINCH); /* it is not our controlling terminal */
	terminal_rig_run(g, 100);
	assert_int_equal(g->cols, 90);
	assert_int_equal(g->rows, 50);
	assert_int_equal(g->sizes, 2);
	terminal_rig_end(g);
	close(master);
	close(slave);
}

static void test_help_goes_to_stderr(void **state)
{
	int master, slave, p[2], err = dup(2);
	char text[1024] = "";

	terminal_rig_open_pty(&master, &slave);
	assert_int_equal(pipe(p), 0);
	dup2(p[1], 2);
	struct terminal_rig *g = terminal_rig_start(slave);

	terminal_rig_type(master, "\x01h\x01x", 4);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	terminal_rig_end(g);
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

	terminal_rig_open_pty(&master, &slave);
	struct terminal_rig *g = terminal_rig_start(slave);

	memset(paste, 'p', sizeof(paste));
	g->appetite = 0;
	for (size_t at = 0; at < sizeof(paste); at += 1000) {
		terminal_rig_type(master, paste + at, 1000);
		terminal_rig_run(g, 2);
	}
	terminal_rig_type(master, "\x01x", 2);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	assert_int_equal(g->leaves, 1);
	/* And the paste is still there when the guest comes back. */
	g->appetite = g->want = sizeof(paste);
	g->room.room(g->room.ctx);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	assert_int_equal(g->n, sizeof(paste));
	terminal_rig_end(g);
	close(master);
	close(slave);
}

static void test_terminal_hangs_up(void **state)
{
	int master, slave;

	terminal_rig_open_pty(&master, &slave);
	struct terminal_rig *g = terminal_rig_start(slave);

	close(master);
	struct rusage a, b;

	getrusage(RUSAGE_SELF, &a);
	terminal_rig_run(g, 100);
	getrusage(RUSAGE_SELF, &b);
	/* No loop of events that nobody can read. */
	assert_true(b.ru_utime.tv_usec + b.ru_utime.tv_sec * 1000000 - a.ru_utime.tv_usec -
			    a.ru_utime.tv_sec * 1000000 <
		    50000);
	terminal_rig_end(g);
	close(slave);
}

/* --- pipes and files -------------------------------------------------------------- */

static void *give_room(void *arg)
{
	struct terminal_rig *g = arg;

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
	struct terminal_rig *g = terminal_rig_start(p[0]);

	assert_int_equal(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
	g->appetite = 1000;
	g->want = sizeof(input);
	pthread_create(&thread, NULL, give_room, g);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	g->done = true;
	pthread_join(thread, NULL);
	assert_int_equal(g->n, sizeof(input));
	assert_memory_equal(g->got, input, sizeof(input));
	assert_int_equal(g->leaves, 0);
	terminal_rig_end(g);
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
	struct terminal_rig *g = terminal_rig_start(fileno(f));

	g->want = sizeof(input);
	g->appetite = 3000;
	pthread_create(&thread, NULL, give_room, g);
	terminal_rig_run(g, TERMINAL_RIG_PATIENCE_MS);
	g->done = true;
	pthread_join(thread, NULL);
	assert_int_equal(g->n, sizeof(input));
	assert_memory_equal(g->got, input, sizeof(input));
	terminal_rig_end(g);
	fclose(f);
}

static void assert_silent(int fd)
{
	struct terminal_rig *g = terminal_rig_start(fd);
	struct rusage a, b;

	getrusage(RUSAGE_SELF, &a);
	terminal_rig_run(g, 100);
	getrusage(RUSAGE_SELF, &b);
	assert_true(b.ru_nvcsw - a.ru_nvcsw < 20);
	assert_int_equal(g->n, 0);
	terminal_rig_end(g);
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
		cmocka_unit_test(test_pipe_with_back_pressure),
		cmocka_unit_test(test_regular_file),
		cmocka_unit_test(test_no_input_at_all),
		cmocka_unit_test(test_directory_as_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
