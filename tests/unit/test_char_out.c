/* SPDX-License-Identifier: Apache-2.0 */
/* char_out with readers that are fast, slow, stuck and gone. */
#include "devices/backend/char_out.h"

#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void send(struct char_out_fd *o, const char *s)
{
	struct char_out out = char_out_port(o);

	out.send(out.ctx, (const uint8_t *)s, strlen(s));
}

/* All that comes out of a pipe until its other end closes. */
struct reader {
	int fd;
	pthread_t thread;
	char *data;
	size_t len;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	ssize_t n;

	r->data = malloc(64 << 20);
	while ((n = read(r->fd, r->data + r->len, (64 << 20) - r->len)) > 0)
		r->len += (size_t)n;
	return NULL;
}

static void test_everything_arrives_in_order(void **state)
{
	int p[2];
	struct reader r = {0};
	char line[32];

	assert_int_equal(pipe(p), 0);
	r.fd = p[0];
	pthread_create(&r.thread, NULL, read_all, &r);
	struct char_out_fd *o = char_out_create(p[1], NULL);
	struct char_out out = char_out_port(o);

	for (int i = 0; i < 20000; i++) {
		snprintf(line, sizeof(line), "line %06d\n", i);
		for (char *c = line; *c; c++)
			out.send(out.ctx, (const uint8_t *)c, 1);
		if (i % 1000 == 0)
			assert_true(char_out_drain(o, 10000));
	}
	assert_true(char_out_drain(o, 10000));
	assert_int_equal(char_out_lost(o), 0);
	char_out_destroy(o);
	close(p[1]);
	pthread_join(r.thread, NULL);
	assert_int_equal(r.len, 20000 * 12);
	for (int i = 0; i < 20000; i++) {
		snprintf(line, sizeof(line), "line %06d\n", i);
		assert_memory_equal(r.data + i * 12, line, 12);
	}
	free(r.data);
	close(p[0]);
}

/* Does the output hold what was sent, but for gaps whose marks tell their true
 * length? Give the bytes in the gaps. */
static uint64_t follow_marks(struct reader *r, const char *sent, size_t sent_len)
{
	static const char mark[] = "\n[minivmm: ";
	unsigned long long gap;
	uint64_t gaps = 0;
	size_t at = 0;

	r->data[r->len] = '\0';
	for (char *p = r->data; *p;) {
		if (strncmp(p, mark, sizeof(mark) - 1)) {
			assert_true(at < sent_len);
			assert_int_equal(*p++, sent[at++]);
			continue;
		}
		assert_int_equal(
			sscanf(p, "\n[minivmm: %llu bytes of console output dropped]", &gap), 1);
		gaps += gap;
		at += gap;
		p = strchr(p + 1, '\n') + 1;
	}
	assert_int_equal(at, sent_len);
	return gaps;
}

/* The serial port floods while nobody reads stdout: nobody waits, memory is flat,
 * what is dropped is counted and marked, and the newest is kept. */
static void test_hostile_flood_while_nobody_reads(void **state)
{
	enum { FLOOD = 8 << 20 };
	int p[2];
	struct reader r = {0};
	struct rusage before, after;
	char *flood = malloc(FLOOD + 16);

	for (size_t i = 0; i < FLOOD; i++)
		flood[i] = (char)('a' + i % 26);
	strcpy(flood + FLOOD, "the last words\n");
	assert_int_equal(pipe(p), 0);
	struct char_out_fd *o = char_out_create(p[1], NULL);
	struct char_out out = char_out_port(o);

	getrusage(RUSAGE_SELF, &before);
	uint64_t start = now_ns();

	for (size_t i = 0; i < FLOOD; i += 1000)
		out.send(out.ctx, (const uint8_t *)flood + i, FLOOD - i < 1000 ? FLOOD - i : 1000);
	send(o, "the last words\n");
	assert_true(now_ns() - start < 5000000000);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 2048); /* KiB */
	uint64_t lost = char_out_lost(o);

	assert_true(lost > FLOOD - 2 * CHAR_RING && lost < FLOOD);
	assert_false(char_out_drain(o, 50)); /* gives up: nothing moves */

	r.fd = p[0];
	pthread_create(&r.thread, NULL, read_all, &r);
	assert_true(char_out_drain(o, 10000));
	char_out_destroy(o);
	close(p[1]);
	pthread_join(r.thread, NULL);
	assert_int_equal(follow_marks(&r, flood, FLOOD + 15), lost);
	assert_string_equal(r.data + r.len - 15, "the last words\n");
	/* A whole ring of the newest is there, after the last mark. */
	for (size_t i = r.len - CHAR_RING; i < r.len; i++)
		assert_int_not_equal(r.data[i], '[');
	free(r.data);
	free(flood);
	close(p[0]);
}

static void test_one_send_larger_than_the_ring(void **state)
{
	int p[2];
	struct reader r = {0};
	size_t size = CHAR_RING * 3 + 17;
	uint8_t *big = malloc(size);

	memset(big, 'y', size);
	assert_int_equal(pipe(p), 0);
	struct char_out_fd *o = char_out_create(p[1], NULL);
	struct char_out out = char_out_port(o);

	out.send(out.ctx, big, size);
	r.fd = p[0];
	pthread_create(&r.thread, NULL, read_all, &r);
	assert_true(char_out_drain(o, 10000));
	assert_int_equal(char_out_lost(o), size - CHAR_RING);
	char_out_destroy(o);
	close(p[1]);
	pthread_join(r.thread, NULL);
	assert_memory_equal(r.data, "\n[minivmm: 524305 bytes", 23);
	free(r.data);
	free(big);
	close(p[0]);
}

static void test_reader_that_closed(void **state)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	struct char_out_fd *o = char_out_create(p[1], NULL);

	close(p[0]);
	send(o, "into the void"); /* SIGPIPE would end this test */
	assert_true(char_out_drain(o, 5000));
	for (int i = 0; i < 100000; i++)
		send(o, "more of the same");
	assert_true(char_out_drain(o, 0));
	assert_int_equal(char_out_lost(o), 13 + 16 * 100000);
	char_out_destroy(o);
	close(p[1]);
}

static void test_full_disk(void **state)
{
	int fd = open("/dev/full", O_WRONLY);

	if (fd < 0)
		skip();
	log_set_level(LOG_QUIET);
	struct char_out_fd *o = char_out_create(fd, NULL);

	send(o, "does not fit");
	assert_true(char_out_drain(o, 5000));
	send(o, "nor this");
	assert_true(char_out_drain(o, 5000));
	assert_int_equal(char_out_lost(o), 20);
	char_out_destroy(o);
	close(fd);
	log_set_level(LOG_WARN);
}

static void test_non_blocking_open_file(void **state)
{
	int p[2];
	struct reader r = {0};

	assert_int_equal(pipe(p), 0);
	fcntl(p[1], F_SETFL, O_NONBLOCK); /* some other program did */
	struct char_out_fd *o = char_out_create(p[1], NULL);

	for (int i = 0; i < 20000; i++)
		send(o, "0123456789");
	usleep(20000);
	r.fd = p[0];
	pthread_create(&r.thread, NULL, read_all, &r);
	assert_true(char_out_drain(o, 10000));
	assert_int_equal(char_out_lost(o), 0);
	char_out_destroy(o);
	close(p[1]);
	pthread_join(r.thread, NULL);
	assert_int_equal(r.len, 200000);
	free(r.data);
	close(p[0]);
}

static void test_blocking_mode_is_left_alone(void **state)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	struct char_out_fd *o = char_out_create(p[1], NULL);

	send(o, "x");
	assert_true(char_out_drain(o, 5000));
	assert_int_equal(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0);
	char_out_destroy(o);
	close(p[0]);
	close(p[1]);
}

static void test_stuck_writer_is_left_behind(void **state)
{
	int p[2];
	static char junk[200000];

	assert_int_equal(pipe(p), 0);
	struct char_out_fd *o = char_out_create(p[1], NULL);
	struct char_out out = char_out_port(o);

	out.send(out.ctx, (const uint8_t *)junk, sizeof(junk));
	assert_false(char_out_drain(o, 20));
	int in_pipe = 0;

	assert_int_equal(ioctl(p[0], FIONREAD, &in_pipe), 0);
	assert_true(in_pipe > 0 && in_pipe < (int)sizeof(junk));
	assert_int_equal(char_out_waiting(o), sizeof(junk) - (size_t)in_pipe);
	assert_int_equal(char_out_lost(o), 0);
	uint64_t start = now_ns();

	char_out_destroy(o);
	assert_true(now_ns() - start < 2000000000);
	close(p[0]); /* now it comes out of write(2) and frees itself */
	usleep(50000);
	/* p[1] stays open: it is the writer's as long as it may live. */
}

static long context_switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_nvcsw + u.ru_nivcsw;
}

static void test_idle_causes_no_wake_ups(void **state)
{
	int fd = open("/dev/null", O_WRONLY);
	struct char_out_fd *o = char_out_create(fd, NULL);

	send(o, "boot");
	assert_true(char_out_drain(o, 5000));
	usleep(20000);
	long before = context_switches();

	usleep(300000);
	/* This thread's own sleep, and a little for the host. */
	assert_true(context_switches() - before < 20);
	char_out_destroy(o);
	close(fd);
}

struct sender {
	struct char_out out;
	pthread_t thread;
};

static void *send_many(void *arg)
{
	struct sender *s = arg;

	for (int i = 0; i < 20000; i++)
		s->out.send(s->out.ctx, (const uint8_t *)"abcdefgh", 8);
	return NULL;
}

static void test_many_senders(void **state)
{
	int p[2];
	struct reader r = {0};
	struct sender s[4];

	assert_int_equal(pipe(p), 0);
	r.fd = p[0];
	pthread_create(&r.thread, NULL, read_all, &r);
	struct char_out_fd *o = char_out_create(p[1], NULL);

	for (int i = 0; i < 4; i++) {
		s[i].out = char_out_port(o);
		pthread_create(&s[i].thread, NULL, send_many, &s[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(s[i].thread, NULL);
	assert_true(char_out_drain(o, 10000));
	uint64_t lost = char_out_lost(o);

	char_out_destroy(o);
	close(p[1]);
	pthread_join(r.thread, NULL);
	if (!lost)
		assert_int_equal(r.len, 4 * 20000 * 8);
	for (size_t i = 0; !lost && i < r.len; i++)
		assert_int_equal(r.data[i], 'a' + i % 8);
	free(r.data);
	close(p[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_arrives_in_order),
		cmocka_unit_test(test_hostile_flood_while_nobody_reads),
		cmocka_unit_test(test_one_send_larger_than_the_ring),
		cmocka_unit_test(test_reader_that_closed),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_non_blocking_open_file),
		cmocka_unit_test(test_blocking_mode_is_left_alone),
		cmocka_unit_test(test_stuck_writer_is_left_behind),
		cmocka_unit_test(test_idle_causes_no_wake_ups),
		cmocka_unit_test(test_many_senders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
