/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock's unix sockets: paths, the line that a client says, connections of the guest. In
 * the device's place is a function that takes what is handed in. */
#include "devices/backend/vsock_connector.h"
#include "devices/backend/vsock_unix.h"
#include "tests/lib/scratch.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TAKEN_MAX = 128, IMPATIENT_MS = 50 };

struct fixture {
	struct scratch s;
	struct loop *loop;
	struct vsock_backend *b;
	char path[108];
	int refuse; /* open() gives this */
	unsigned n;
	uint32_t ports[TAKEN_MAX];
	int fds[TAKEN_MAX]; /* owned */
};

static int take(void *ctx, uint32_t port, int fd, void *who)
{
	struct fixture *f = ctx;

	assert_null(who);
	if (f->refuse)
		return f->refuse;
	assert_true(f->n < TAKEN_MAX);
	f->ports[f->n] = port;
	f->fds[f->n++] = fd;
	return 0;
}

static int create(struct fixture *f, struct vsock_backend **b, struct err *e)
{
	*e = (struct err){0};
	assert_int_equal(vsock_unix_create(b, "--vsock", f->path, e), 0);
	(*b)->open = take;
	(*b)->ctx = f;
	return vsock_unix_listen(*b, e);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	log_set_level(LOG_QUIET);
	scratch_init(&f->s);
	snprintf(f->path, sizeof(f->path), "%s", scratch_path(&f->s, "v"));
	f->loop = loop_create();
	assert_int_equal(create(f, &f->b, &e), 0);
	assert_int_equal(f->b->ops->attach(f->b, f->loop), 0);
	*state = f;
	return 0;
}

/* The same with a child that connects. */
static int setup_confined(void **state)
{
	struct fixture *f;
	struct err e = {0};

	setup(state);
	f = *state;
	return vsock_unix_confine(f->b, &e);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->b) {
		f->b->ops->detach(f->b);
		vsock_backend_destroy(f->b);
	}
	loop_settle(f->loop);
	loop_destroy(f->loop);
	for (unsigned i = 0; i < f->n; i++)
		close(f->fds[i]);
	scratch_fini(&f->s);
	free(f);
	return 0;
}

/* A socket at `path`: connected to who listens there, or listening. -1: no. */
static int at_path(const char *path, bool listens)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ret;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	ret = listens ? bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1)
		      : connect(fd, (struct sockaddr *)&a, sizeof(a));
	if (!ret)
		return fd;
	close(fd);
	return -1;
}

static int dial(struct fixture *f)
{
	int fd = at_path(f->path, false);

	assert_true(fd >= 0);
	return fd;
}

static void say(struct fixture *f, int fd, const void *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
	loop_settle(f->loop);
}

static bool is_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);

	return !n || (n < 0 && errno == ECONNRESET);
}

/* --- the line ------------------------------------------------------------------------ */

static void test_line(void **state)
{
	static const struct {
		const char *line;
		uint32_t port;
	} lines[] = {{"CONNECT 52\n", 52},
		     {"CONNECT 0\n", 0},
		     {"CONNECT 4294967294\n", 4294967294},
		     {"CONNECT 0000000052\n", 52}};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_LEN(lines); i++) {
		int fd = dial(f);
		char answer[64] = "", want[64];

		say(f, fd, lines[i].line, strlen(lines[i].line));
		assert_int_equal(f->n, i + 1);
		assert_int_equal(f->ports[i], lines[i].port);
		assert_int_equal(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), -1);
		f->b->ops->answered(f->b, NULL, f->fds[i], 1073741824 + i);
		snprintf(want, sizeof(want), "OK %u\n", 1073741824 + i);
		assert_int_equal(recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT), strlen(want));
		assert_string_equal(answer, want);
		close(fd);
	}
}

/* Byte by byte, and with what comes behind it, which is not ours. */
static void test_line_in_pieces(void **state)
{
	static const char line[] = "CONNECT 1234\n";
	struct fixture *f = *state;
	char rest[16] = "";
	int fd = dial(f);

	for (size_t i = 0; i + 1 < sizeof(line) - 1; i++) {
		say(f, fd, line + i, 1);
		assert_int_equal(f->n, 0);
	}
	say(f, fd, "\nGET /", 6);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->ports[0], 1234);
	assert_int_equal(recv(f->fds[0], rest, sizeof(rest), MSG_DONTWAIT), 5);
	assert_string_equal(rest, "GET /");
	close(fd);
	fd = dial(f);
	say(f, fd, "CONNECT 5\nCONNECT 6\n", 20);
	assert_int_equal(f->n, 2);
	assert_int_equal(f->ports[1], 5);
	close(fd);
}

static void test_lines_that_are_none(void **state)
{
	static const char *const lines[] = {
		"\n",
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT x\n",
		"CONNECT 5x\n",
		"CONNECT -5\n",
		"CONNECT +5\n",
		"CONNECT  5\n",
		"CONNECT 5 \n",
		"CONNECT 5\r\n",
		"connect 5\n",
		" CONNECT 5\n",
		"CONNECT 4294967295\n",
		"CONNECT 9999999999\n",
		"CONNECT 00000000052\n",
		"GET / HTTP/1.1\r\n",
		"CONNECT 0x5\n",
	};
	struct fixture *f = *state;
	char much[4096];
	int fd;

	for (unsigned i = 0; i < ARRAY_LEN(lines); i++) {
		fd = dial(f);
		say(f, fd, lines[i], strlen(lines[i]));
		if (!is_closed(fd))
			fail_msg("not closed: %s", lines[i]);
		close(fd);
	}
	/* NULs, no end, half a line. */
	fd = dial(f);
	say(f, fd, "CONNECT 5\0\n", 11);
	assert_true(is_closed(fd));
	close(fd);
	memset(much, '5', sizeof(much));
	fd = dial(f);
	say(f, fd, much, sizeof(much));
	assert_true(is_closed(fd));
	close(fd);
	fd = dial(f);
	say(f, fd, "CONNECT 5", 9);
	shutdown(fd, SHUT_WR);
	loop_settle(f->loop);
	assert_true(is_closed(fd));
	close(fd);
	assert_int_equal(f->n, 0);
}

static void test_slow_line(void **state)
{
	struct fixture *f = *state;
	int fd, other;

	vsock_unix_set_patience(f->b, IMPATIENT_MS);
	fd = dial(f);
	say(f, fd, "CONN", 4);
	assert_false(is_closed(fd));
	usleep(IMPATIENT_MS * 1000 + 20000);
	loop_settle(f->loop);
	assert_true(is_closed(fd));
	/* Who has said it has time. */
	other = dial(f);
	say(f, other, "CONNECT 5\n", 10);
	assert_int_equal(f->n, 1);
	usleep(IMPATIENT_MS * 1000 + 20000);
	loop_settle(f->loop);
	assert_false(is_closed(other));
	close(fd);
	close(other);
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	f->refuse = -ENOBUFS;
	say(f, fd, "CONNECT 5\n", 10);
	assert_true(is_closed(fd));
	close(fd);
	/* The client that left before its answer hurts nobody. */
	f->refuse = 0;
	fd = dial(f);
	say(f, fd, "CONNECT 5\n", 10);
	close(fd);
	f->b->ops->answered(f->b, NULL, f->fds[0], 1 << 30);
	f->b->ops->answered(f->b, NULL, f->fds[0], 0);
}

/* Who says nothing takes a place until his time is over; the others wait their turn. */
static void test_clients_without_a_word(void **state)
{
	enum { SILENT = 80 };
	struct fixture *f = *state;
	int fds[SILENT], fd;

	for (unsigned i = 0; i < SILENT; i++) {
		fds[i] = dial(f);
		loop_settle(f->loop);
	}
	fd = dial(f);
	for (unsigned i = 0; i < 20; i++)
		say(f, fd, "CONNECT 5\n" + i, i < 10);
	assert_int_equal(f->n, 0);
	for (unsigned i = 0; i < SILENT; i++) {
		close(fds[i]);
		loop_settle(f->loop);
	}
	for (unsigned i = 0; i < 20; i++)
		loop_settle(f->loop);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->ports[0], 5);
	close(fd);
}

/* --- without a driver ---------------------------------------------------------------- */

static void test_driver_comes_and_goes(void **state)
{
	struct fixture *f = *state;
	int waits = dial(f), begun, later;

	begun = waits;
	say(f, begun, "CONNECT", 7);
	f->b->ops->detach(f->b);
	loop_settle(f->loop);
	assert_true(is_closed(begun));
	close(begun);
	/* Who comes now waits for a driver. */
	later = dial(f);
	say(f, later, "CONNECT 7\n", 10);
	assert_false(is_closed(later));
	assert_int_equal(f->n, 0);
	assert_int_equal(f->b->ops->attach(f->b, f->loop), 0);
	for (unsigned i = 0; i < 3; i++)
		loop_settle(f->loop);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->ports[0], 7);
	close(later);
}

/* --- the guest's connections ------------------------------------------------------------ */

static void test_guest_connects(void **state)
{
	struct fixture *f = *state;
	char path[128];
	int l, fd, peer;

	snprintf(path, sizeof(path), "%s_4294967295", f->path);
	assert_int_equal(f->b->ops->connect(f->b, 0xffffffff), -ENOENT);
	l = at_path(path, true);
	assert_true(l >= 0);
	fd = f->b->ops->connect(f->b, 0xffffffff);
	assert_true(fd >= 0);
	peer = accept(l, NULL, NULL);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(recv(peer, path, 1, 0), 1);
	close(peer);
	close(fd);
	/* Its listener ended, and left its socket there. */
	close(l);
	assert_int_equal(f->b->ops->connect(f->b, 0xffffffff), -ECONNREFUSED);
	/* No socket at all. */
	snprintf(path, sizeof(path), "%s_53", f->path);
	scratch_text(&f->s, "v_53", "a file");
	assert_int_equal(f->b->ops->connect(f->b, 53), -ECONNREFUSED);
}

/* A listener who does not accept: the guest is refused, and nobody waits. */
static void test_guest_connects_to_who_is_busy(void **state)
{
	struct fixture *f = *state;
	char path[128];
	int l, fds[64], n = 0;

	snprintf(path, sizeof(path), "%s_52", f->path);
	l = at_path(path, true);
	while (n < 64 && (fds[n] = f->b->ops->connect(f->b, 52)) >= 0)
		n++;
	assert_in_range(n, 1, 63);
	assert_int_equal(fds[n], -EAGAIN);
	while (n)
		close(fds[--n]);
	close(l);
}

/* What the child gives is as what one makes oneself. */
static void test_what_a_connector_gives(void **state)
{
	struct fixture *f = *state;
	char path[128];
	int l, fd;

	snprintf(path, sizeof(path), "%s_7", f->path);
	l = at_path(path, true);
	fd = f->b->ops->connect(f->b, 7);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	close(l);
}

/* It ends with us, and by itself when we are gone. */
static void test_a_connectors_end(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	struct vsock_connector c;
	int status;

	f->b->ops->detach(f->b);
	vsock_backend_destroy(f->b);
	f->b = NULL;
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);

	assert_int_equal(vsock_connector_start(&c, f->path), 0);
	close(c.wire);
	assert_int_equal(waitpid(c.child, &status, 0), c.child);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	close(c.child_fd);

	assert_int_equal(vsock_connector_start(&c, f->path), 0);
	assert_int_equal(vsock_connector_connect(&c, 1), -ENOENT);
	child_kill(c.child, c.child_fd);
	assert_int_equal(waitpid(c.child, &status, 0), c.child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(vsock_connector_connect(&c, 1), -EPIPE);
	close(c.wire);
	close(c.child_fd);
	assert_int_equal(create(f, &f->b, &e), 0);
	assert_int_equal(f->b->ops->attach(f->b, f->loop), 0);
}

/* It has its end of the wire, and nothing else of ours. */
static void test_what_a_connector_has(void **state)
{
	struct fixture *f = *state;
	struct vsock_connector c;
	char path[64];
	unsigned n = 0;

	assert_int_equal(vsock_connector_start(&c, f->path), 0);
	assert_int_equal(vsock_connector_connect(&c, 1), -ENOENT);
	snprintf(path, sizeof(path), "/proc/%d/fd", c.child);
	DIR *d = opendir(path);

	for (const struct dirent *e; (e = readdir(d));)
		n += *e->d_name != '.';
	closedir(d);
	assert_int_equal(n, 1);
	vsock_connector_stop(&c);
}

/* --- the path ---------------------------------------------------------------------------- */

static void test_path_is_ours(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	f->b->ops->detach(f->b);
	vsock_backend_destroy(f->b);
	f->b = NULL;
	assert_true(lstat(f->path, &st) < 0);
}

static void test_path_is_anothers_by_now(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(unlink(f->path), 0);
	scratch_text(&f->s, "v", "mine");
	f->b->ops->detach(f->b);
	vsock_backend_destroy(f->b);
	f->b = NULL;
	assert_int_equal(lstat(f->path, &st), 0);
	assert_int_equal(st.st_size, 4);
}

static void test_path_in_use(void **state)
{
	struct fixture *f = *state;
	struct vsock_backend *b;
	struct err e;

	assert_int_equal(create(f, &b, &e), -EADDRINUSE);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "--vsock "));
	assert_non_null(strstr(e.text, ": another process uses it; give another path"));
	vsock_backend_destroy(b);
	/* And the first is none the worse. */
	close(dial(f));
}

static void test_path_left_over(void **state)
{
	struct fixture *f = *state;
	struct vsock_backend *b;
	struct err e;
	int fd;

	/* As kill -9 leaves it. */
	snprintf(f->path, sizeof(f->path), "%s", scratch_path(&f->s, "old"));
	fd = at_path(f->path, true);
	close(fd);
	assert_int_equal(create(f, &b, &e), 0);
	close(dial(f));
	vsock_backend_destroy(b);
}

static void test_path_that_is_something_else(void **state)
{
	struct fixture *f = *state;
	struct vsock_backend *b;
	struct stat st;
	struct err e;

	scratch_text(&f->s, "file", "words");
	assert_int_equal(symlink("nowhere", scratch_path(&f->s, "link")), 0);
	assert_int_equal(mkdir(scratch_path(&f->s, "dir"), 0755), 0);
	for (unsigned i = 0; i < 3; i++) {
		const char *name = i == 0 ? "file" : i == 1 ? "link" : "dir";

		snprintf(f->path, sizeof(f->path), "%s", scratch_path(&f->s, name));
		assert_int_equal(create(f, &b, &e), -EEXIST);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_non_null(strstr(e.text, ": is there already"));
		assert_int_equal(lstat(f->path, &st), 0);
		vsock_backend_destroy(b);
		assert_int_equal(lstat(f->path, &st), 0);
	}
	snprintf(f->path, sizeof(f->path), "%s", scratch_path(&f->s, "no/such/place"));
	assert_int_equal(create(f, &b, &e), -ENOENT);
	assert_int_equal(e.kind, ERR_USAGE);
	vsock_backend_destroy(b);
}

static void test_path_too_long(void **state)
{
	struct fixture *f = *state;
	struct vsock_backend *b;
	struct err e = {0};
	char path[128];

	/* With "_4294967295" behind it, the address has 107 bytes, and that is the most. */
	memset(path, '0', sizeof(path));
	memcpy(path, f->path, strlen(f->path));
	path[96] = '\0';
	assert_int_equal(vsock_unix_create(&b, "--vsock", path, &e), 0);
	assert_int_equal(vsock_unix_check(b, &e), 0);
	assert_int_equal(b->ops->connect(b, 0xffffffff), -ENOENT);
	vsock_backend_destroy(b);
	path[96] = '0';
	path[97] = '\0';
	assert_int_equal(vsock_unix_create(&b, "--vsock", path, &e), 0);
	assert_int_equal(vsock_unix_check(b, &e), -ENAMETOOLONG);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "longer than 96 bytes"));
	vsock_backend_destroy(b);
}

int main(void)
{
#define T(f)        cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CONFINED(f) cmocka_unit_test_setup_teardown(f, setup_confined, teardown)
	const struct CMUnitTest tests[] = {
		T(test_line),
		T(test_line_in_pieces),
		T(test_lines_that_are_none),
		T(test_slow_line),
		T(test_refused),
		T(test_clients_without_a_word),
		T(test_driver_comes_and_goes),
		T(test_guest_connects),
		T(test_guest_connects_to_who_is_busy),
		CONFINED(test_guest_connects),
		CONFINED(test_guest_connects_to_who_is_busy),
		CONFINED(test_what_a_connector_gives),
		CONFINED(test_a_connectors_end),
		T(test_what_a_connector_has),
		T(test_path_is_ours),
		T(test_path_is_anothers_by_now),
		T(test_path_in_use),
		T(test_path_left_over),
		T(test_path_that_is_something_else),
		T(test_path_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
