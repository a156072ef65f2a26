/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets and pseudo-terminals as a console's other end: clients that come late, leave,
 * come back, read slowly or not at all, and paths that are not ours to take. */
#include "devices/backend/char_backend.h"

#include "devices/backend/char_ring.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 10000 };

struct rig {
	struct loop *loop;
	struct char_backend *b;
	struct char_out out;
	struct char_room room;
	size_t appetite, n;
	uint8_t got[200000];
	char dir[64], path[96];
	struct loop_timer *timer;
};

static size_t receive(void *dev, const uint8_t *bytes, size_t len)
{
	struct rig *r = dev;
	size_t n = len < r->appetite ? len : r->appetite;

	assert_true(r->n + n <= sizeof(r->got));
	memcpy(r->got + r->n, bytes, n);
	r->n += n;
	return n;
}

static void stop(void *ctx)
{
	struct rig *r = ctx;

	loop_stop(r->loop);
}

static void run(struct rig *r, unsigned ms)
{
	loop_timer_start(r->timer, ms);
	loop_run(r->loop);
}

/* Until it has `n` bytes of input. */
static void run_until_got(struct rig *r, size_t n)
{
	for (unsigned ms = 0; r->n < n; ms += 5) {
		assert_true(ms < PATIENCE_MS);
		run(r, 5);
	}
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_QUIET);
	strcpy(r->dir, "char-test-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/sock", r->dir);
	r->appetite = sizeof(r->got);
	r->loop = loop_create();
	r->timer = loop_timer_add(r->loop, stop, r);
	*state = r;
	return 0;
}

static void finish(struct rig *r)
{
	if (r->b)
		r->b->ops->close(r->b);
	r->b = NULL;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	finish(r);
	loop_destroy(r->loop);
	unlink(r->path);
	assert_int_equal(rmdir(r->dir), 0); /* nothing else was left there */
	free(r);
	return 0;
}

static void begin(struct rig *r, struct char_backend *b)
{
	const struct char_in in = {receive, NULL, r};

	assert_non_null(b);
	r->b = b;
	r->out = b->ops->out(b);
	r->room = b->ops->room(b);
	assert_int_equal(b->ops->start(b, &in, NULL), 0);
}

static void say(struct rig *r, const char *text)
{
	r->out.send(r->out.ctx, (const uint8_t *)text, strlen(text));
}

/* Read from a client until `text` has come, while the loop runs. */
static void hear(struct rig *r, int fd, const char *text)
{
	char buf[4096] = "";
	size_t n = 0, want = strlen(text);

	for (unsigned ms = 0; n < want; ms += 5) {
		ssize_t got = read(fd, buf + n, want - n);

		assert_true(got > 0 || errno == EAGAIN);
		n += got > 0 ? (size_t)got : 0;
		assert_true(ms < PATIENCE_MS);
		run(r, 5);
	}
	assert_memory_equal(buf, text, want);
}

static void tell(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* Processor time that the loop uses while nothing happens. */
static void assert_idle(struct rig *r)
{
	struct timespec t;

	run(r, 20); /* what was going on may end */
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	double from = (double)t.tv_sec + (double)t.tv_nsec / 1e9;

	run(r, 400);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	assert_true((double)t.tv_sec + (double)t.tv_nsec / 1e9 - from < 0.1);
}

/* --- the socket -------------------------------------------------------------- */

static void listen_on(struct rig *r)
{
	begin(r, char_socket_create("--serial", r->path, r->loop, NULL));
}

static int dial(struct rig *r)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", r->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void test_socket_both_ways(void **state)
{
	struct rig *r = *state;
	struct stat st;

	umask(0);
	listen_on(r);
	umask(022);
	assert_int_equal(lstat(r->path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	int fd = dial(r);

	say(r, "login: ");
	hear(r, fd, "login: ");
	tell(fd, "root\n");
	run_until_got(r, 5);
	assert_memory_equal(r->got, "root\n", 5);
	assert_idle(r);
	close(fd);
	finish(r);
	assert_int_equal(lstat(r->path, &st), -1);
}

static void test_socket_client_comes_late_and_comes_back(void **state)
{
	struct rig *r = *state;

	listen_on(r);
	say(r, "before anybody came, ");
	run(r, 20);
	int fd = dial(r);

	hear(r, fd, "before anybody came, ");
	close(fd);
	run(r, 20);
	say(r, "in between, ");
	assert_idle(r);
	fd = dial(r);
	say(r, "and now");
	hear(r, fd, "in between, and now");
	close(fd);
	/* The new one is there before the loop has heard that the old one left. */
	fd = dial(r);
	say(r, "!");
	hear(r, fd, "!");
	close(fd);
}

static void test_socket_second_client_is_turned_away(void **state)
{
	struct rig *r = *state;
	char byte;

	listen_on(r);
	int first = dial(r);

	run(r, 20);
	int second = dial(r);

	run(r, 50);
	assert_int_equal(read(second, &byte, 1), 0);
	say(r, "still yours");
	hear(r, first, "still yours");
	close(second);
	close(first);
}

/* `echo text | socat - UNIX:PATH` has done with talking and waits for the answer. */
static void test_socket_client_that_only_listens(void **state)
{
	struct rig *r = *state;

	listen_on(r);
	int fd = dial(r);

	tell(fd, "uname\n");
	shutdown(fd, SHUT_WR);
	run_until_got(r, 6);
	assert_idle(r);
	say(r, "Linux\n");
	hear(r, fd, "Linux\n");
	close(fd);
	/* Nobody said that it left: the next one is served all the same. */
	fd = dial(r);
	say(r, "hello");
	hear(r, fd, "hello");
	close(fd);
}

enum { FLOOD_LINE = 16 };

static void say_line(struct rig *r, unsigned i)
{
	char line[FLOOD_LINE + 1];

	snprintf(line, sizeof(line), "line %010u\n", i);
	say(r, line);
}

/* Bytes that have come to a client, which has not read them. */
static size_t unread(int fd)
{
	int n = 0;

	assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
	return (size_t)n;
}

/* Say lines until the socket takes no more of them; gives how many. Each run of the loop moves what
 * waits, if there is room. */
static unsigned fill_socket(struct rig *r, int fd)
{
	unsigned i = 0;

	say_line(r, i++);
	for (unsigned ms = 0; !unread(fd); ms += 5) {
		assert_true(ms < PATIENCE_MS);
		run(r, 5);
	}
	do {
		for (unsigned end = i + 500; i < end; i++)
			say_line(r, i);
		run(r, 5);
	} while (unread(fd) == (size_t)i * FLOOD_LINE);
	return i;
}

/* A reader that does not read: the guest goes on, the newest is kept, the gap marked. It is one
 * gap, as the socket is full before: otherwise a loop that is late makes one of its own, and there
 * is room for what follows. */
static void test_hostile_flood_while_nobody_reads(void **state)
{
	enum { LINES = 100000, LINE = FLOOD_LINE };
	struct rig *r = *state;
	char *all = malloc(4 << 20), *p;
	unsigned long long gap = 0;
	size_t n = 0, left;

	listen_on(r);
	int fd = dial(r);

	for (unsigned i = fill_socket(r, fd); i < LINES; i++) {
		say_line(r, i);
		if (i % 1000 == 0)
			loop_poll(r->loop);
	}
	run(r, 50);
	for (unsigned ms = 0; ms < PATIENCE_MS; ms += 5) {
		ssize_t got = read(fd, all + n, (4 << 20) - n - 1);

		if (got > 0)
			n += (size_t)got;
		all[n] = '\0';
		if (n > LINE && !memcmp(all + n - LINE, "line 0000099999\n", LINE))
			break;
		run(r, 5);
	}
	p = strstr(all, "[minivmm: ");
	assert_non_null(p);
	assert_int_equal(sscanf(p, "[minivmm: %llu bytes of console output dropped]", &gap), 1);
	assert_true(gap > 0);
	/* All that is not in the gap is there, to the byte. */
	left = n - strlen("\r\n[minivmm:  bytes of console output dropped]\r\n") -
	       (size_t)snprintf(NULL, 0, "%llu", gap);
	assert_int_equal(left + gap, (size_t)LINES * LINE);
	assert_null(strstr(p + 1, "[minivmm: "));
	free(all);
	close(fd);
}

static void test_hostile_reader_that_never_reads_does_not_hold_the_end(void **state)
{
	struct rig *r = *state;
	static char much[100000];

	listen_on(r);
	int fd = dial(r);

	memset(much, 'x', sizeof(much) - 1);
	for (unsigned i = 0; i < 10; i++)
		say(r, much);
	run(r, 50);
	close(fd); /* with all that unread: an error, not an end, at the other side */
	run(r, 50);
	assert_idle(r);
	fd = dial(r);
	run(r, 50);
	finish(r); /* gives up after two seconds */
	close(fd);
}

/* What the guest said last is there for a reader that comes to it after the end. */
static void test_socket_last_words(void **state)
{
	struct rig *r = *state;
	char buf[64] = "";

	listen_on(r);
	int fd = dial(r);

	run(r, 20);
	say(r, "Kernel panic");
	finish(r);
	assert_int_equal(read(fd, buf, sizeof(buf)), 12);
	assert_string_equal(buf, "Kernel panic");
	assert_int_equal(read(fd, buf, sizeof(buf)), 0);
	close(fd);
}

static void test_input_waits_for_the_guest(void **state)
{
	struct rig *r = *state;
	static char much[50000];

	listen_on(r);
	int fd = dial(r);

	for (unsigned i = 0; i < sizeof(much); i++)
		much[i] = (char)(i * 7 + i / 256);
	r->appetite = 0;
	assert_int_equal(write(fd, much, sizeof(much)), sizeof(much));
	run(r, 50);
	assert_int_equal(r->n, 0);
	assert_idle(r);
	r->appetite = 10;
	while (r->n < sizeof(much)) {
		size_t before = r->n;

		r->room.room(r->room.ctx);
		loop_poll(r->loop);
		loop_poll(r->loop);
		if (r->n == before)
			run(r, 1);
	}
	assert_memory_equal(r->got, much, sizeof(much));
	close(fd);
}

/* Leaving does not take back what was typed. */
static void test_input_of_one_who_left(void **state)
{
	struct rig *r = *state;

	listen_on(r);
	int fd = dial(r);

	r->appetite = 0;
	tell(fd, "reboot\n");
	run(r, 50);
	close(fd);
	run(r, 50);
	r->appetite = 100;
	r->room.room(r->room.ctx);
	run_until_got(r, 7);
	assert_memory_equal(r->got, "reboot\n", 7);
}

static void assert_refused(struct rig *r, const char *path, const char *why)
{
	struct err e = {0};

	assert_null(char_socket_create("--serial", path, r->loop, &e));
	assert_int_equal(e.kind, ERR_USAGE);
	if (!strstr(e.text, why))
		fail_msg("%s: does not say: %s", e.text, why);
}

static void test_hostile_paths(void **state)
{
	struct rig *r = *state;
	char target[128], long_path[200];
	struct stat st;

	/* A file, which stays what it was. */
	int fd = open(r->path, O_CREAT | O_WRONLY, 0600);

	tell(fd, "mine");
	close(fd);
	assert_refused(r, r->path, "is there already");
	assert_int_equal(stat(r->path, &st), 0);
	assert_int_equal(st.st_size, 4);
	unlink(r->path);

	/* Symlinks: to something, and to what could be created through it. */
	snprintf(target, sizeof(target), "%s/elsewhere", r->dir);
	assert_int_equal(symlink("elsewhere", r->path), 0);
	assert_refused(r, r->path, "is there already");
	assert_int_equal(lstat(target, &st), -1);
	unlink(r->path);

	assert_int_equal(mkdir(r->path, 0700), 0);
	assert_refused(r, r->path, "is there already");
	rmdir(r->path);

	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_refused(r, long_path, "longer than the 107 bytes");
	assert_refused(r, "no-such-dir/sock", "No such file or directory");
}

/* What somebody put in the place of our socket is not ours to remove. */
static void test_hostile_replaced_path(void **state)
{
	struct rig *r = *state;
	struct stat st;

	listen_on(r);
	unlink(r->path);
	close(open(r->path, O_CREAT | O_WRONLY, 0600));
	finish(r);
	assert_int_equal(lstat(r->path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

/* --- the pseudo-terminal ----------------------------------------------------- */

/* Its path is told in the log. */
static void make_pty(struct rig *r, char *path, size_t size)
{
	char text[256] = "", *at;
	int p[2];

	assert_int_equal(pipe(p), 0);
	log_set_level(LOG_WARN);
	log_set_fd(p[1]);
	struct char_backend *b = char_pty_create("--serial", r->loop, NULL);

	log_set_fd(STDERR_FILENO);
	log_set_level(LOG_QUIET);
	assert_true(read(p[0], text, sizeof(text) - 1) > 0);
	close(p[0]);
	close(p[1]);
	at = strstr(text, "--serial pty: /dev/pts/");
	assert_non_null(at);
	assert_true(strcspn(at + 14, "\n") < size);
	snprintf(path, size, "%.*s", (int)strcspn(at + 14, "\n"), at + 14);
	begin(r, b);
}

static int open_slave(const char *path)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void test_pty_both_ways(void **state)
{
	struct rig *r = *state;
	char path[64];

	make_pty(r, path, sizeof(path));
	int fd = open_slave(path);

	say(r, "login: ");
	hear(r, fd, "login: ");
	tell(fd, "root\r\x03\x04\x1a\x7f");
	run_until_got(r, 9);
	assert_memory_equal(r->got, "root\r\x03\x04\x1a\x7f", 9);
	assert_idle(r);
	close(fd);
}

/* Nothing that the guest says comes back to it, whoever opens the terminal and when. */
static void test_pty_does_not_echo(void **state)
{
	struct rig *r = *state;
	struct termios t;
	char path[64];

	make_pty(r, path, sizeof(path));
	for (unsigned i = 0; i < 3; i++) {
		say(r, "a line\n");
		run(r, 30);
		int fd = open_slave(path);

		assert_int_equal(tcgetattr(fd, &t), 0);
		assert_false(t.c_lflag & (ECHO | ICANON | ISIG));
		assert_false(t.c_oflag & OPOST);
		hear(r, fd, "a line\n");
		close(fd);
		run(r, 30);
	}
	assert_int_equal(r->n, 0);
}

static void test_pty_client_leaves_and_comes_back(void **state)
{
	struct rig *r = *state;
	char path[64];

	make_pty(r, path, sizeof(path));
	assert_idle(r); /* nobody has opened it yet */
	int fd = open_slave(path);

	say(r, "one");
	hear(r, fd, "one");
	close(fd);
	assert_idle(r); /* no reader: neither errors nor wake-ups */
	say(r, "two");
	run(r, 20);
	fd = open_slave(path);
	hear(r, fd, "two");
	tell(fd, "x");
	run_until_got(r, 1);
	close(fd);
}

static void test_pty_flood_without_a_reader(void **state)
{
	struct rig *r = *state;
	static char much[CHAR_RING];
	char path[64];

	make_pty(r, path, sizeof(path));
	memset(much, 'x', sizeof(much) - 1);
	for (unsigned i = 0; i < 8; i++) {
		say(r, much);
		loop_poll(r->loop);
	}
	assert_idle(r);
	finish(r); /* at once: there is nobody to wait for */
}

/* The master's end takes what was not read; so the end waits for a reader. */
static void test_pty_last_words(void **state)
{
	struct rig *r = *state;
	char path[64], buf[64] = "";
	int p[2];

	make_pty(r, path, sizeof(path));
	assert_int_equal(pipe(p), 0);
	pid_t reader = fork();

	if (!reader) {
		int fd = open(path, O_RDWR | O_NOCTTY);
		size_t n = 0;

		assert_int_equal(write(p[1], "+", 1), 1);
		usleep(100000); /* slow */
		while (n < 12) {
			ssize_t got = read(fd, buf + n, sizeof(buf) - n);

			if (got <= 0)
				break;
			n += (size_t)got;
		}
		_exit(n == 12 && !memcmp(buf, "Kernel panic", 12) ? 0 : 1);
	}
	assert_int_equal(read(p[0], buf, 1), 1);
	say(r, "Kernel panic");
	finish(r);
	int status = -1;

	waitpid(reader, &status, 0);
	assert_int_equal(status, 0);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_socket_both_ways),
		T(test_socket_client_comes_late_and_comes_back),
		T(test_socket_second_client_is_turned_away),
		T(test_socket_client_that_only_listens),
		T(test_hostile_flood_while_nobody_reads),
		T(test_hostile_reader_that_never_reads_does_not_hold_the_end),
		T(test_socket_last_words),
		T(test_input_waits_for_the_guest),
		T(test_input_of_one_who_left),
		T(test_hostile_paths),
		T(test_hostile_replaced_path),
		T(test_pty_both_ways),
		T(test_pty_does_not_echo),
		T(test_pty_client_leaves_and_comes_back),
		T(test_pty_flood_without_a_reader),
		T(test_pty_last_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
