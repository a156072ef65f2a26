/* SPDX-License-Identifier: Apache-2.0 */
/* The streams of a command, with this test for the guest, and pipes for stdin, stdout and
 * stderr. */
#include "devices/backend/vsock_command.h"
#include "vmm/base/le.h"
#include "vmm/core/command_wire.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { BIG = 3000000 };

struct fixture {
	struct loop *loop;
	struct command *c;
	struct vsock_backend *backend;
	int in, out, err;      /* our ends of the pipes */
	int theirs[3];         /* the command's */
	int control, guest[3]; /* the guest's ends of the streams */
	unsigned started, ended, rooms;
};

static void on_change(void *ctx, bool running)
{
	struct fixture *f = ctx;

	if (running)
		f->started++;
	else
		f->ended++;
}

static int connect_to(struct fixture *f, uint32_t port)
{
	return f->backend->ops->connect(f->backend, port);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};
	int pipes[3][2];

	*state = f;
	signal(SIGPIPE, SIG_IGN);
	f->loop = loop_create();
	f->c = command_create(&e);
	if (!f->loop || !f->c || pipe(pipes[0]) || pipe(pipes[1]) || pipe(pipes[2]))
		return -1;
	f->backend = command_backend(f->c, NULL);
	f->in = pipes[0][1];
	f->out = pipes[1][0];
	f->err = pipes[2][0];
	f->theirs[0] = pipes[0][0];
	f->theirs[1] = pipes[1][1];
	f->theirs[2] = pipes[2][1];
	return command_start(f->c, f->loop, f->theirs, on_change, f, &e);
}

/* As the guest's init begins. */
static void connect_all(struct fixture *f)
{
	f->control = connect_to(f, COMMAND_PORT_CONTROL);
	for (unsigned i = 0; i < 3; i++) {
		f->guest[i] = connect_to(f, COMMAND_PORT_STDIN + i);
		assert_true(f->guest[i] >= 0);
	}
	assert_true(f->control >= 0);
}

static void end_guest(struct fixture *f)
{
	for (unsigned i = 0; i < 3; i++)
		if (f->guest[i])
			close(f->guest[i]);
	if (f->control)
		close(f->control);
	vsock_backend_destroy(f->backend);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	command_destroy(f->c);
	loop_destroy(f->loop);
	close(f->in);
	close(f->out);
	close(f->err);
	for (unsigned i = 0; i < 3; i++)
		if (f->theirs[i] >= 0)
			close(f->theirs[i]);
	free(f);
	return 0;
}

static void say(struct fixture *f, uint32_t what, uint32_t value)
{
	uint8_t m[COMMAND_MESSAGE_LEN];

	le32_put(m, what);
	le32_put(m + 4, value);
	assert_int_equal(write(f->control, m, sizeof(m)), sizeof(m));
	loop_poll(f->loop);
}

struct copy {
	int fd;
	uint8_t seed;
	size_t n;
	bool good;
};

static void *write_big(void *arg)
{
	struct copy *c = arg;
	uint8_t bytes[5000];

	for (size_t at = 0; at < BIG; at += sizeof(bytes)) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)((at + i) * 7 + (at + i) / 251 + c->seed);
		for (size_t done = 0; done < sizeof(bytes);) {
			ssize_t n = write(c->fd, bytes + done, sizeof(bytes) - done);

			if (n <= 0)
				return NULL;
			done += (size_t)n;
		}
	}
	shutdown(c->fd, SHUT_WR);
	close(c->fd);
	return NULL;
}

static void *read_big(void *arg)
{
	struct copy *c = arg;
	uint8_t bytes[7001];
	ssize_t n;

	c->good = true;
	while ((n = read(c->fd, bytes, sizeof(bytes))) > 0)
		for (ssize_t i = 0; i < n; i++, c->n++)
			if (bytes[i] != (uint8_t)(c->n * 7 + c->n / 251 + c->seed))
				c->good = false;
	return NULL;
}

/* All three at once, each more than any buffer on the way, to the end of each. */
static void streams_are_exact(void **state)
{
	struct fixture *f = *state;

	connect_all(f);
	struct copy writers[] = {{.fd = f->in, .seed = 1},
				 {.fd = f->guest[1], .seed = 2},
				 {.fd = f->guest[2], .seed = 3}};
	struct copy readers[] = {{.fd = f->guest[0], .seed = 1},
				 {.fd = f->out, .seed = 2},
				 {.fd = f->err, .seed = 3}};
	pthread_t w[3], r[3];

	for (unsigned i = 0; i < 3; i++) {
		pthread_create(&r[i], NULL, read_big, &readers[i]);
		pthread_create(&w[i], NULL, write_big, &writers[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(w[i], NULL);
	/* The input's end is heard; of the output it is ours to close. */
	pthread_join(r[0], NULL);
	f->guest[1] = f->guest[2] = 0;
	f->in = dup(f->err); /* teardown closes it */
	end_guest(f);
	command_destroy(f->c);
	f->c = NULL;
	for (unsigned i = 1; i < 3; i++) {
		close(f->theirs[i]);
		f->theirs[i] = -1;
		pthread_join(r[i], NULL);
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(readers[i].n, BIG);
		assert_true(readers[i].good);
	}
}

static void each_port_answers_once(void **state)
{
	struct fixture *f = *state;

	connect_all(f);
	assert_int_equal(connect_to(f, COMMAND_PORT_CONTROL), -ECONNREFUSED);
	assert_int_equal(connect_to(f, COMMAND_PORT_STDERR), -ECONNREFUSED);
	assert_int_equal(connect_to(f, COMMAND_PORT_STDERR + 1), -ECONNREFUSED);
	assert_int_equal(connect_to(f, COMMAND_PORT_CONTROL - 1), -ECONNREFUSED);
	assert_int_equal(connect_to(f, 0), -ECONNREFUSED);
	assert_int_equal(connect_to(f, UINT32_MAX), -ECONNREFUSED);
	end_guest(f);
}

static void a_status_is_heard_and_answered(void **state)
{
	struct fixture *f = *state;
	uint8_t byte;

	connect_all(f);
	assert_int_equal(command_status(f->c), -1);
	say(f, COMMAND_STARTED, 0);
	say(f, COMMAND_STARTED, 0);
	assert_int_equal(f->started, 1);
	say(f, 77, 1); /* of another version, maybe */
	assert_int_equal(command_status(f->c), -1);
	say(f, COMMAND_EXITED, 7);
	assert_int_equal(command_status(f->c), 7);
	assert_int_equal(f->ended, 1);
	assert_int_equal(read(f->control, &byte, 1), 0);
	assert_false(command_signal(f->c, SIGTERM));
	end_guest(f);
	assert_int_equal(command_status(f->c), 7);
}

/* A message may come in pieces, and a hostile one says what it likes. */
static void pieces_and_nonsense(void **state)
{
	struct fixture *f = *state;
	uint8_t m[COMMAND_MESSAGE_LEN];

	connect_all(f);
	say(f, COMMAND_STARTED, 0);
	le32_put(m, COMMAND_EXITED);
	le32_put(m + 4, 0xffffff03);
	for (unsigned i = 0; i < sizeof(m); i++) {
		assert_int_equal(command_status(f->c), -1);
		assert_int_equal(write(f->control, m + i, 1), 1);
		loop_poll(f->loop);
	}
	assert_int_equal(command_status(f->c), 3);
	end_guest(f);
}

static void signals_are_handed_on_while_it_runs(void **state)
{
	struct fixture *f = *state;
	uint8_t m[COMMAND_MESSAGE_LEN];

	connect_all(f);
	assert_false(command_signal(f->c, SIGTERM));
	say(f, COMMAND_STARTED, 0);
	assert_true(command_signal(f->c, SIGTERM));
	assert_int_equal(read(f->control, m, sizeof(m)), sizeof(m));
	assert_int_equal(le32_get(m), COMMAND_SIGNAL);
	assert_int_equal(le32_get(m + 4), SIGTERM);
	/* A guest that does not listen must not hold us up. */
	for (unsigned i = 0; i < 100000 && command_signal(f->c, SIGTERM); i++)
		;
	assert_false(command_signal(f->c, SIGTERM));
	end_guest(f);
	loop_poll(f->loop);
	assert_int_equal(command_status(f->c), -1);
}

/* Who reads stdout goes away: the guest's writes fail, as into a closed pipe. */
static void a_reader_that_leaves_is_told_to_the_guest(void **state)
{
	struct fixture *f = *state;
	ssize_t n;

	connect_all(f);
	close(f->out);
	f->out = dup(f->err);
	do
		n = write(f->guest[1], "xxxxxxxx", 8);
	while (n > 0);
	assert_true(errno == EPIPE || errno == ECONNRESET);
	/* The others go on. */
	assert_int_equal(write(f->guest[2], "e", 1), 1);
	char byte = 0;

	assert_int_equal(read(f->err, &byte, 1), 1);
	assert_int_equal(byte, 'e');
	end_guest(f);
}

/* A guest that crashed before it connected, and input that never comes: nothing waits. */
static void a_guest_that_never_came(void **state)
{
	struct fixture *f = *state;

	vsock_backend_destroy(f->backend);
	loop_poll(f->loop);
	assert_int_equal(command_status(f->c), -1);
}

/* What is typed: taken as far as there is room, and then there is room again. */
static void on_room(void *ctx)
{
	struct fixture *f = ctx;

	f->rooms++;
	loop_stop(f->loop);
}

static void a_terminal(void **state)
{
	struct fixture *f = *state;
	const struct char_room room = {on_room, f};
	uint8_t bytes[4096], m[COMMAND_MESSAGE_LEN];
	struct err e = {0};
	size_t all = 0, got = 0, n;

	/* Another one, without a pump for stdin. */
	vsock_backend_destroy(f->backend);
	command_destroy(f->c);
	f->c = command_create(&e);
	f->backend = command_backend(f->c, NULL);
	const int fds[] = {-1, f->theirs[1], f->theirs[2]};

	assert_int_equal(command_start(f->c, f->loop, fds, on_change, f, &e), 0);
	connect_all(f);
	const struct char_in in = command_input(f->c, &room);

	memset(bytes, 'x', sizeof(bytes));
	do {
		n = in.receive(in.dev, bytes, sizeof(bytes));
		all += n;
		assert_true(all < 100000000);
	} while (n == sizeof(bytes));
	assert_int_equal(f->rooms, 0);
	while (got < all)
		got += (size_t)read(f->guest[0], bytes, sizeof(bytes));
	loop_run(f->loop);
	assert_int_equal(f->rooms, 1);
	assert_int_equal(in.receive(in.dev, bytes, 3), 3);

	command_resize(f->c, 90, 30);
	assert_int_equal(read(f->control, m, sizeof(m)), sizeof(m));
	assert_int_equal(le32_get(m), COMMAND_SIZE);
	assert_int_equal(le32_get(m + 4), 30 | 90 << 16);
	/* The guest has closed its stdin: typing goes nowhere, and is no error. */
	close(f->guest[0]);
	f->guest[0] = 0;
	assert_int_equal(in.receive(in.dev, bytes, 5), 5);
	end_guest(f);
}

/* Another backend for the other ports: it sees all of the device's calls but for the command's. */
struct rest {
	struct vsock_backend backend;
	unsigned attached, detached, answered, destroyed;
	uint32_t port;
};

static int rest_attach(struct vsock_backend *b, struct loop *loop)
{
	((struct rest *)b)->attached++;
	return 0;
}
static void rest_detach(struct vsock_backend *b)
{
	((struct rest *)b)->detached++;
}
static int rest_connect(struct vsock_backend *b, uint32_t port)
{
	((struct rest *)b)->port = port;
	return 77;
}
static void rest_answered(struct vsock_backend *b, void *who, int fd, uint32_t host_port)
{
	assert_ptr_equal(who, b);
	((struct rest *)b)->answered++;
}
static void rest_destroy(struct vsock_backend *b)
{
	((struct rest *)b)->destroyed++;
}

static int open_socket(void *ctx, uint32_t port, int fd, void *who)
{
	return (int)port + fd;
}

static void other_ports_are_the_rests(void **state)
{
	static const struct vsock_backend_ops ops = {.attach = rest_attach,
						     .detach = rest_detach,
						     .connect = rest_connect,
						     .answered = rest_answered,
						     .destroy = rest_destroy};
	struct fixture *f = *state;
	struct rest r = {.backend.ops = &ops};

	/* Without one they are refused. */
	assert_int_equal(connect_to(f, COMMAND_PORT_STDERR + 1), -ECONNREFUSED);
	f->backend = command_backend(f->c, &r.backend);
	f->backend->open = open_socket;
	f->backend->ctx = f;
	assert_int_equal(f->backend->ops->attach(f->backend, f->loop), 0);
	assert_int_equal(r.attached, 1);
	assert_int_equal(r.backend.open(r.backend.ctx, 40, 2, NULL), 42);
	assert_ptr_equal(r.backend.ctx, f);
	connect_all(f);
	assert_int_equal(r.port, 0);
	assert_int_equal(connect_to(f, COMMAND_PORT_STDIN), -ECONNREFUSED);
	assert_int_equal(r.port, 0);
	assert_int_equal(connect_to(f, COMMAND_PORT_STDERR + 1), 77);
	assert_int_equal(r.port, COMMAND_PORT_STDERR + 1);
	assert_int_equal(connect_to(f, COMMAND_PORT_CONTROL - 1), 77);
	f->backend->ops->answered(f->backend, &r, 3, 9);
	assert_int_equal(r.answered, 1);
	f->backend->ops->detach(f->backend);
	assert_int_equal(r.detached, 1);
	end_guest(f);
	vsock_backend_destroy(f->backend);
	assert_int_equal(r.destroyed, 1);
	f->backend = command_backend(f->c, NULL);
}

/* What was sent before a crash is written out; a reader that takes nothing costs two
 * seconds. */
static void a_crash_loses_nothing_that_was_sent(void **state)
{
	struct fixture *f = *state;
	char text[32] = "";

	connect_all(f);
	assert_int_equal(write(f->guest[1], "last words", 10), 10);
	end_guest(f);
	command_destroy(f->c);
	f->c = NULL;
	assert_int_equal(read(f->out, text, sizeof(text)), 10);
	assert_string_equal(text, "last words");
}

int main(void)
{
#define COMMAND_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		COMMAND_TEST(streams_are_exact),
		COMMAND_TEST(each_port_answers_once),
		COMMAND_TEST(a_status_is_heard_and_answered),
		COMMAND_TEST(pieces_and_nonsense),
		COMMAND_TEST(signals_are_handed_on_while_it_runs),
		COMMAND_TEST(a_reader_that_leaves_is_told_to_the_guest),
		COMMAND_TEST(a_guest_that_never_came),
		COMMAND_TEST(a_terminal),
		COMMAND_TEST(other_ports_are_the_rests),
		COMMAND_TEST(a_crash_loses_nothing_that_was_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
