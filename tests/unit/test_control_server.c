/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's manners towards one client: what it does not read, what it sends in pieces,
 * and what it is told by other threads. The methods and the events are played here. */
#include "vmm/base/bytes.h"
#include "vmm/control/methods.h"
#include "vmm/control/server.h"
#include "vmm/core/loop.h"
#include "vmm/machine/events.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* --- what is above ------------------------------------------------------------------------ */

static char machines[2];
static unsigned calls;

static json_t *on_which(void *ctx, const json_t *params, struct err *e)
{
	const struct control_call *call = ctx;

	calls++;
	return json_integer(call->machine == (void *)&machines[1]);
}

static json_t *on_large(void *ctx, const json_t *params, struct err *e)
{
	static char text[50000];

	calls++;
	memset(text, 'x', sizeof(text) - 1);
	return json_string(text);
}

static json_t *on_events(void *ctx, const json_t *params, struct err *e)
{
	((struct control_call *)ctx)->listens = true;
	return json_true();
}

/* Which file came, by its inode, or 0. */
static json_t *on_file(void *ctx, const json_t *params, struct err *e)
{
	struct control_call *call = ctx;
	int fd = rpc_take_fd(&call->fds, params, "file");
	struct stat st = {0};

	calls++;
	if (fd >= 0)
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	fstat(fd, &st);
	close(fd);
	return json_integer((json_int_t)st.st_ino);
}

/* Takes nothing of what its parameter names. */
static json_t *on_leave(void *ctx, const json_t *params, struct err *e)
{
	calls++;
	return json_true();
}

static const struct control_late *late;

static json_t *on_wait(void *ctx, const json_t *params, struct err *e)
{
	late = ((struct control_call *)ctx)->late;
	e->code = RPC_LATER;
	return NULL;
}

static const struct rpc_method methods[] = {
	{"file", {{"file", RPC_FD, false}}, on_file},
	{"leave", {{"file", RPC_FD, true}}, on_leave},
	{"which", {{0}}, on_which},
	{"large", {{0}}, on_large},
	{"events", {{0}}, on_events},
	{"wait", {{0}}, on_wait},
};
const struct rpc_table control_methods = {ARRAY_LEN(methods), methods};

static void (*told)(void *ctx, const char *line);
static void *told_ctx;

void events_listen(struct events *ev, void (*fn)(void *ctx, const char *line), void *ctx)
{
	told = fn;
	told_ctx = ctx;
}

/* --- the client --------------------------------------------------------------------------- */

static struct control *control;
static struct loop *loop;
static int client;

static void begin_machine(unsigned i)
{
	const struct machine_watcher *w = control_watcher(control);
	struct err e = {0};

	loop = loop_create();
	assert_int_equal(w->begins(w->ctx, (struct machine *)&machines[i], loop, &e), 0);
}

static void end_machine(void)
{
	const struct machine_watcher *w = control_watcher(control);

	w->ends(w->ctx);
	loop_destroy(loop);
	loop = NULL;
}

static int set_up(void **state)
{
	struct vm_config c = {0};
	struct err e = {0};
	int ends[2];

	calls = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	client = ends[0];
	fcntl(client, F_SETFL, O_NONBLOCK);
	c.control.fd = ends[1];
	assert_int_equal(control_open(&control, &c, NULL, &e), 0);
	begin_machine(0);
	return 0;
}

static int tear_down(void **state)
{
	if (loop)
		end_machine();
	control_close(control);
	close(client);
	return 0;
}

static void turn(void)
{
	for (unsigned i = 0; i < 20; i++)
		loop_poll(loop);
}

static void send_text(const char *text)
{
	assert_int_equal(write(client, text, strlen(text)), strlen(text));
	turn();
}

static void ask(const char *method)
{
	char line[200];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\"}\n", method);
	send_text(line);
}

/* All that has come, and comes as it is taken; the caller's. */
static char *take(void)
{
	size_t len = 0, room = 16 << 20;
	char *all = malloc(room);

	assert_non_null(all);
	for (unsigned idle = 0; idle < 3;) {
		ssize_t n = read(client, all + len, room - len - 1);

		len += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		turn();
	}
	all[len] = '\0';
	return all;
}

static unsigned times(const char *all, const char *what)
{
	unsigned n = 0;

	for (const char *at = all; (at = strstr(at, what)); at++)
		n++;
	return n;
}

static void says(const char *want)
{
	char *got = take();

	assert_string_equal(got, want);
	free(got);
}

/* --- descriptors ---------------------------------------------------------------------------- */

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* A file of its own, and its inode. */
static int some_file(json_int_t *inode)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	*inode = (json_int_t)st.st_ino;
	return fd;
}

/* `text` with `n` times `fd` beside it. Gives what sendmsg() does. */
static ssize_t send_beside(const char *text, int fd, unsigned n)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(250 * sizeof(int))];
	} beside = {.header = {.cmsg_len = CMSG_LEN(n * sizeof(int)),
			       .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {(char *)text, strlen(text)};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &beside,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};

	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(&beside.header) + i * sizeof(int), &fd, sizeof(fd));
	return sendmsg(client, &m, MSG_DONTWAIT);
}

static void sends(const char *text, int fd, unsigned n)
{
	assert_int_equal(send_beside(text, fd, n), strlen(text));
}

#define LINE(method, params) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":{" params "}}\n"

static void says_inode(json_int_t inode)
{
	char want[100];

	snprintf(want, sizeof(want), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":%lld}\n",
		 (long long)inode);
	says(want);
}

/* --- tests ---------------------------------------------------------------------------------- */

static void a_line_in_pieces(void **state)
{
	send_text("{\"jsonrpc\":\"2.0\",");
	says("");
	send_text("\"id\":1,\"method\":\"which\"}");
	says("");
	send_text("\n{\"json");
	says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":0}\n");
	send_text("rpc\":\"2.0\",\"id\":2,\"method\":\"which\"}\n");
	says("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":0}\n");
}

/* What it sends while it reads nothing is not carried out. */
static void one_that_does_not_read(void **state)
{
	for (unsigned i = 0; i < 200; i++)
		ask("large");
	assert_true(calls < 50);
	char *all = take();

	assert_int_equal(times(all, "\"result\""), 200);
	assert_int_equal(calls, 200);
	free(all);
}

static void another_machine(void **state)
{
	ask("which");
	says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":0}\n");
	end_machine();
	static const char meanwhile[] = "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"which\"}\n";

	assert_true(write(client, meanwhile, sizeof(meanwhile) - 1) > 0);
	begin_machine(1);
	turn();
	says("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":1}\n");
}

/* Its answer comes before that of the next line, and events meanwhile. */
static void an_answer_that_comes_late(void **state)
{
	struct err e = {0};

	ask("events");
	says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true}\n");
	send_text("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"wait\"}\n"
		  "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"which\"}\n");
	told(told_ctx, "{\"event\":\"a\"}");
	turn();
	says("{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"event\":\"a\"}}\n");
	ask("which");
	assert_int_equal(calls, 0);
	late->tell(late->ctx, json_true(), &e);
	turn();
	says("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":true}\n"
	     "{\"jsonrpc\":\"2.0\",\"id\":8,\"result\":0}\n"
	     "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":0}\n");
	ask("wait");
	err_host(&e, -ENOSPC, "no room");
	late->tell(late->ctx, NULL, &e);
	turn();
	says("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"no "
	     "room\"}}\n");
}

/* One that has sent all is told, also when the machine has ended; one that is gone is not, and
 * nobody else in its place. */
static void whom_a_late_answer_finds(void **state)
{
	struct err e = {0};

	send_text("{\"jsonrpc\":\"2.0\",\"method\":\"wait\"}\n");
	late->tell(late->ctx, json_true(), &e);
	turn();
	says("");
	ask("wait");
	shutdown(client, SHUT_WR);
	turn();
	end_machine();
	late->tell(late->ctx, json_true(), &e);
	char answer[100] = {0};

	assert_true(read(client, answer, sizeof(answer) - 1) > 0);
	assert_string_equal(answer, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true}\n");
	late->tell(late->ctx, json_true(), &e);
	assert_true(read(client, answer, sizeof(answer)) < 0);
	begin_machine(1);
	turn();
	assert_int_equal(read(client, answer, sizeof(answer)), 0);
}

static void one_that_waits_and_goes(void **state)
{
	struct err e = {0};
	unsigned before = open_files();

	ask("wait");
	close(client);
	client = -1;
	turn();
	late->tell(late->ctx, json_true(), &e);
	turn();
	assert_int_equal(open_files(), before - 2);
}

static void an_event(void **state)
{
	told(told_ctx, "{\"event\":\"early\"}");
	ask("events");
	told(told_ctx, "{\"event\":\"a\"}");
	turn();
	says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true}\n"
	     "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"event\":\"a\"}}\n");
	/* Its own half of the connection is closed; it listens all the same. */
	shutdown(client, SHUT_WR);
	turn();
	end_machine();
	told(told_ctx, "{\"event\":\"between\"}");
	begin_machine(1);
	turn();
	says("{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"event\":\"between\"}}\n");
	end_machine();
	told(told_ctx, "{\"event\":\"last\"}");
	control_close(control);
	control = NULL;
	char last[200] = {0};

	assert_true(read(client, last, sizeof(last) - 1) > 0);
	assert_string_equal(
		last,
		"{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"event\":\"last\"}}\n");
	assert_int_equal(read(client, last, sizeof(last)), 0);
}

/* As many are told as were dropped and came, together. */
static unsigned counted(const char *all, unsigned *came)
{
	unsigned lost = 0;

	for (const char *at = all; (at = strstr(at, "\"dropped\":")); at++)
		lost += (unsigned)strtoul(at + strlen("\"dropped\":"), NULL, 10);
	*came = times(all, "\"event\":\"n\"");
	return lost + *came;
}

static void events_that_nobody_reads(void **state)
{
	enum { ALL = 20000 };
	unsigned came;
	char *first, *rest;

	ask("events");
	for (unsigned i = 0; i < ALL; i++) {
		told(told_ctx,
		     "{\"event\":\"n\",\"text\":\"0123456789012345678901234567890123456789\"}");
		if (i % 50 == 0)
			turn();
	}
	turn();
	first = take();
	/* The gap is told with the next that fits. */
	told(told_ctx, "{\"event\":\"n\"}");
	turn();
	rest = take();
	unsigned n = counted(first, &came), more = counted(rest, &came);

	assert_int_equal(n + more, ALL + 1);
	assert_int_equal(came, 1);
	assert_true(more > 1000);
	free(first);
	free(rest);
}

static void *shout(void *arg)
{
	for (unsigned i = 0; i < 500; i++)
		told(told_ctx, "{\"event\":\"n\"}");
	return NULL;
}

static void events_of_other_threads(void **state)
{
	pthread_t threads[3];
	unsigned came, n = 0;

	ask("events");
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, shout, NULL), 0);
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
		turn();
		pthread_join(threads[i], NULL);
	}
	turn();
	told(told_ctx, "{\"event\":\"n\"}");
	turn();
	char *all = take();

	n = counted(all, &came);
	assert_int_equal(n, 1501);
	free(all);
}

/* However the bytes come, each line has its own. */
static void a_descriptor_and_its_line(void **state)
{
	static const char line[] = LINE("file", "\"file\":0");
	json_int_t first, second;
	int a = some_file(&first), b = some_file(&second);
	unsigned before = open_files();
	char want[300], *got;

	sends(line, a, 1);
	turn();
	says_inode(first);
	sends(line, b, 1);
	turn();
	says_inode(second);
	/* In pieces, and with the last of them. */
	sends("{\"jsonrpc\":\"2.0\",", a, 1);
	turn();
	send_text("\"id\":1,\"method\":\"file\",\"params\":{\"file\":0}}\n");
	says_inode(first);
	send_text("{\"jsonrpc\":\"2.0\",");
	sends("\"id\":1,\"method\":\"file\",\"params\":{\"file\":0}}\n", b, 1);
	turn();
	says_inode(second);
	/* Several before the server looks; one of them has none. */
	sends(line, b, 1);
	assert_true(write(client, LINE("which", ""), strlen(LINE("which", ""))) > 0);
	sends(line, a, 1);
	sends(line, b, 1);
	turn();
	got = take();
	snprintf(want, sizeof(want),
		 "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":%lld}\n"
		 "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":0}\n"
		 "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":%lld}\n"
		 "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":%lld}\n",
		 (long long)second, (long long)first, (long long)second);
	assert_string_equal(got, want);
	free(got);
	/* It stays with its line while an answer waits to be read. */
	for (unsigned i = 0; i < 20; i++)
		ask("large");
	sends(line, a, 1);
	turn();
	got = take();
	snprintf(want, sizeof(want), "\"result\":%lld}\n", (long long)first);
	assert_non_null(strstr(got, want));
	free(got);
	assert_int_equal(open_files(), before);
	close(a);
	close(b);
}

static void refuses(const char *why)
{
	char *got = take();

	assert_int_equal(times(got, "\"error\""), 1);
	if (!strstr(got, why))
		fail_msg("%s does not say %s", got, why);
	free(got);
}

/* Whatever is not taken is closed. */
static void descriptors_that_nobody_wants(void **state)
{
	json_int_t inode;
	int a = some_file(&inode);
	unsigned before = open_files();

	sends(LINE("leave", "\"file\":0"), a, 1);
	turn();
	says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true}\n");
	assert_int_equal(open_files(), before);
	sends(LINE("which", ""), a, 1);
	turn();
	refuses("1 descriptors came with the line, it names 0");
	sends(LINE("none", ""), a, 1);
	turn();
	refuses("there is no method");
	sends("what is this\n", a, 4);
	turn();
	refuses("not JSON");
	sends(LINE("file", "\"file\":0"), a, 2);
	turn();
	refuses("2 descriptors came with the line, it names 1");
	send_text(LINE("file", "\"file\":0"));
	refuses("descriptor 0 of 0");
	assert_int_equal(calls, 1);
	assert_int_equal(open_files(), before);
	close(a);
}

static void too_many_descriptors(void **state)
{
	json_int_t inode;
	int a = some_file(&inode);
	unsigned before = open_files();

	sends(LINE("file", "\"file\":0"), a, RPC_FDS_MAX + 1);
	turn();
	refuses("more descriptors came");
	sends(LINE("file", "\"file\":0"), a, 250);
	turn();
	refuses("more descriptors came");
	assert_int_equal(open_files(), before);
	/* Without ever ending a line. */
	for (unsigned i = 0; i < 200; i++) {
		sends(" ", a, 3);
		turn();
	}
	assert_int_equal(open_files(), before + RPC_FDS_MAX);
	send_text("\n");
	refuses("more descriptors came");
	assert_int_equal(open_files(), before);
	/* The next line is judged by itself. */
	sends(LINE("file", "\"file\":0"), a, 1);
	turn();
	says_inode(inode);
	assert_int_equal(calls, 1);
	close(a);
}

/* The process has no number left for it. */
static void no_room_for_a_descriptor(void **state)
{
	struct rlimit old, none;
	json_int_t inode;
	int a = some_file(&inode);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	sends(LINE("file", "\"file\":0"), a, 1);
	turn();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	refuses("more descriptors came");
	sends(LINE("file", "\"file\":0"), a, 1);
	turn();
	says_inode(inode);
	close(a);
}

/* In a line that is too long, in half a line, and when the client goes. */
static void descriptors_without_a_line(void **state)
{
	json_int_t inode;
	int a = some_file(&inode);
	unsigned before = open_files();
	char *long_one = malloc(CONTROL_LINE_MAX + 1);

	memset(long_one, 'x', CONTROL_LINE_MAX);
	long_one[CONTROL_LINE_MAX] = '\0';
	sends("y", a, 2);
	turn();
	assert_int_equal(open_files(), before + 2);
	send_text(long_one);
	refuses("the line is too long");
	assert_int_equal(open_files(), before);
	sends("z", a, 3);
	turn();
	assert_int_equal(open_files(), before);
	sends("\n" LINE("file", "\"file\":0"), a, 1);
	turn();
	says_inode(inode);
	sends("{", a, 3);
	turn();
	assert_int_equal(open_files(), before + 3);
	/* The client's end, the server's, and what half a line had with it. */
	close(client);
	turn();
	assert_int_equal(open_files(), before - 2);
	client = -1;
	assert_int_equal(calls, 1);
	free(long_one);
	close(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_in_pieces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_does_not_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(another_machine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_answer_that_comes_late, set_up, tear_down),
		cmocka_unit_test_setup_teardown(whom_a_late_answer_finds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_waits_and_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_event, set_up, tear_down),
		cmocka_unit_test_setup_teardown(events_that_nobody_reads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(events_of_other_threads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_descriptor_and_its_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(descriptors_that_nobody_wants, set_up, tear_down),
		cmocka_unit_test_setup_teardown(too_many_descriptors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_room_for_a_descriptor, set_up, tear_down),
		cmocka_unit_test_setup_teardown(descriptors_without_a_line, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
