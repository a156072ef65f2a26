/* SPDX-License-Identifier: Apache-2.0 */
/* err and log: the lines that a person reads, and how many a guest can cause. */
#include "vmm/base/err.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void an_error_says_who_and_why(void **state)
{
	struct err e = {0};

	assert_int_equal(err_usage(&e, -EINVAL, "--cpus %d: too many", 99), -EINVAL);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_int_equal(e.code, -EINVAL);
	assert_string_equal(e.text, "--cpus 99: too many");

	e = (struct err){0};
	assert_int_equal(err_host(&e, -EIO, "%s", "disk"), -EIO);
	assert_int_equal(e.kind, ERR_HOST);
	assert_string_equal(e.text, "disk");
}

static void the_first_error_wins(void **state)
{
	struct err e = {0};

	err_usage(&e, -EINVAL, "cause");
	/* What follows on the way out must not hide it, yet gives its own code. */
	assert_int_equal(err_host(&e, -EIO, "effect"), -EIO);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_int_equal(e.code, -EINVAL);
	assert_string_equal(e.text, "cause");
}

static void nobody_needs_to_listen(void **state)
{
	assert_int_equal(err_usage(NULL, -EPERM, "x"), -EPERM);
	assert_int_equal(err_host(NULL, -EPERM, "x"), -EPERM);
}

static void long_errors_are_cut_within_their_buffer(void **state)
{
	char giant[4096];
	struct err e = {0};

	memset(giant, 'a', sizeof(giant) - 1);
	giant[sizeof(giant) - 1] = '\0';
	err_usage(&e, -EINVAL, "%s", giant);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

/* --- log, into a pipe -------------------------------------------------------- */

static int pipe_fds[2];

static int log_to_pipe(void **state)
{
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	log_set_fd(pipe_fds[1]);
	log_set_level(LOG_WARN);
	log_set_raw_tty(false);
	return 0;
}

static int log_to_stderr(void **state)
{
	log_set_fd(STDERR_FILENO);
	log_set_level(LOG_WARN);
	log_set_raw_tty(false);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

static const char *logged(void)
{
	static char buf[65536];
	ssize_t n = read(pipe_fds[0], buf, sizeof(buf) - 1);

	buf[n < 0 ? 0 : n] = '\0';
	return buf;
}

static unsigned lines_in(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void levels_let_through_what_they_name(void **state)
{
	log_info("not yet");
	log_debug("not yet");
	assert_string_equal(logged(), "");
	log_warn("w%d", 1);
	log_error("e");
	assert_string_equal(logged(), "minivmm: w1\nminivmm: e\n");

	log_set_level(LOG_DEBUG);
	assert_true(log_enabled(LOG_DEBUG));
	log_info("i");
	log_debug("d");
	assert_string_equal(logged(), "minivmm: i\nminivmm: d\n");

	log_set_level(LOG_QUIET);
	assert_false(log_enabled(LOG_ERROR));
	log_error("e");
	assert_string_equal(logged(), "");
}

static void a_raw_terminal_gets_carriage_returns(void **state)
{
	log_set_raw_tty(true);
	log_warn("x");
	assert_string_equal(logged(), "minivmm: x\r\n");
}

static void a_long_line_is_cut_but_ends(void **state)
{
	char giant[4096];
	const char *out;

	memset(giant, 'a', sizeof(giant) - 1);
	giant[sizeof(giant) - 1] = '\0';
	log_warn("%s", giant);
	out = logged();
	assert_int_equal(lines_in(out), 1);
	assert_int_equal(out[strlen(out) - 1], '\n');
	assert_true(strlen(out) > 500 && strlen(out) < 1100);
}

static uint64_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

/* hostile-cases: "log rate bounded". */
static void a_guest_gets_five_lines_a_second(void **state)
{
	struct log_budget a = {0}, b = {0};
	uint64_t first = seconds(), last;
	unsigned lines;

	for (int i = 0; i < 20000; i++)
		log_guest(&a, "bad request %d", i);
	last = seconds();
	lines = lines_in(logged());
	assert_true(lines >= 5 && lines <= 5 * (last - first + 1));

	/* Another device's complaints are not drowned by the first one's. */
	log_guest(&b, "other");
	assert_string_equal(logged(), "minivmm: other\n");
}

static void what_was_dropped_is_told(void **state)
{
	struct log_budget b = {.window = seconds() - 10, .dropped = 41};

	log_guest(&b, "again");
	assert_string_equal(logged(), "minivmm: again (41 similar lines dropped)\n");
	assert_int_equal(b.dropped, 0);
}

static void a_long_guest_line_keeps_its_count(void **state)
{
	struct log_budget b = {.dropped = 4294967295u};
	char giant[4096];

	memset(giant, 'a', sizeof(giant) - 1);
	giant[sizeof(giant) - 1] = '\0';
	log_guest(&b, "%s", giant);
	assert_non_null(strstr(logged(), "(4294967295 similar lines dropped)\n"));
}

static void quiet_silences_guests_too(void **state)
{
	struct log_budget b = {0};

	log_set_level(LOG_ERROR);
	log_guest(&b, "x");
	assert_string_equal(logged(), "");
}

/* A vCPU complains while nobody reads stderr: it goes on, and the count is kept. */
static void a_full_pipe_does_not_hold_a_guest_up(void **state)
{
	struct log_budget b = {0};
	char rest[65536];
	int fds[2];

	assert_int_equal(pipe(fds), 0); /* a write here would block: alarm() ends that */
	log_set_fd(fds[1]);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	while (write(fds[1], "x", 1) == 1)
		;
	fcntl(fds[1], F_SETFL, 0);
	alarm(10);
	log_guest(&b, "unheard");
	alarm(0);
	assert_int_equal(b.dropped, 1);
	assert_true(read(fds[0], rest, sizeof(rest)) > 4096);
	log_guest(&b, "heard");
	assert_int_equal(b.dropped, 0);
	log_set_fd(pipe_fds[1]);
	close(fds[0]);
	close(fds[1]);
}

struct crowd {
	int fds[2];
	_Atomic unsigned long complaints;
	_Atomic bool stop;
};

/* The console's writer, or another program: whatever room there is, it fills. */
static void *fill(void *arg)
{
	struct crowd *c = arg;
	static char chunk[16384];

	while (write(c->fds[1], chunk, sizeof(chunk)) > 0)
		;
	return NULL;
}

static void *complain(void *arg)
{
	struct crowd *c = arg;

	while (!atomic_load(&c->stop)) {
		struct log_budget b = {0};

		log_guest(&b, "%0900d", 1);
		atomic_fetch_add(&c->complaints, 1);
	}
	return NULL;
}

/* That there was room a moment ago does not help: each page that is read here, two
 * want, and then nobody reads until the vCPU has complained again. */
static void room_that_another_takes(void **state, const int fds[2])
{
	struct crowd c = {.fds = {fds[0], fds[1]}};
	pthread_t filler, vcpu;
	char page[4096];

	log_set_fd(fds[1]);
	pthread_create(&filler, NULL, fill, &c);
	pthread_create(&vcpu, NULL, complain, &c);
	alarm(60);
	for (int i = 0; i < 500; i++) {
		unsigned long before;

		assert_true(read(fds[0], page, sizeof(page)) > 0);
		before = atomic_load(&c.complaints);
		while (atomic_load(&c.complaints) < before + 3)
			usleep(50);
	}
	atomic_store(&c.stop, true);
	pthread_join(vcpu, NULL);
	alarm(0);
	log_set_fd(pipe_fds[1]);
	close(fds[0]); /* EPIPE for the filler */
	pthread_join(filler, NULL);
	close(fds[1]);
}

static void room_in_a_pipe_that_another_takes(void **state)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	room_that_another_takes(state, fds);
}

static void room_in_a_socket_that_another_takes(void **state)
{
	int fds[2], small = 1;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	room_that_another_takes(state, fds);
}

/* What is told to a reader that does not read is lost after a while, but not its number. */
static void a_full_pipe_is_waited_for_once(void **state)
{
	char rest[65536] = {0};
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	while (write(fds[1], rest, 1) == 1)
		;
	fcntl(fds[1], F_SETFL, 0);
	log_set_fd(fds[1]);
	alarm(30);
	for (int i = 0; i < 100; i++)
		log_error("unheard");
	alarm(0);
	assert_true(read(fds[0], rest, sizeof(rest)) > 4096);
	log_error("heard");
	log_error("once");
	log_set_fd(pipe_fds[1]);
	close(fds[1]);
	ssize_t n = read(fds[0], rest, sizeof(rest) - 1);

	close(fds[0]);
	assert_true(n > 0);
	rest[n] = '\0';
	assert_non_null(strstr(rest, "minivmm: heard (100 lines dropped)\nminivmm: once\n"));
}

static void a_log_that_cannot_be_written_stops_nobody(void **state)
{
	log_set_fd(-1);
	log_error("into the void");
	/* Full: the write gives EAGAIN and the line is lost, not the caller. */
	log_set_fd(pipe_fds[1]);
	for (int i = 0; i < 100000; i++)
		log_error("flood");
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_says_who_and_why),
		cmocka_unit_test(the_first_error_wins),
		cmocka_unit_test(nobody_needs_to_listen),
		cmocka_unit_test(long_errors_are_cut_within_their_buffer),
		cmocka_unit_test_setup_teardown(levels_let_through_what_they_name, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(a_raw_terminal_gets_carriage_returns, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(a_long_line_is_cut_but_ends, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(a_guest_gets_five_lines_a_second, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(what_was_dropped_is_told, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(a_long_guest_line_keeps_its_count, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(quiet_silences_guests_too, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(a_full_pipe_does_not_hold_a_guest_up, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(room_in_a_pipe_that_another_takes, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(room_in_a_socket_that_another_takes, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(a_full_pipe_is_waited_for_once, log_to_pipe,
						log_to_stderr),
		cmocka_unit_test_setup_teardown(a_log_that_cannot_be_written_stops_nobody,
						log_to_pipe, log_to_stderr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
