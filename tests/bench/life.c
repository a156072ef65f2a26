/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life: one process after the other, each with its guest, as one sees it from outside.
 *
 *	bench-life start ROUNDS NAME COMMAND... [::: NAME COMMAND...]...
 *
 *	start   from fork to the guest's first output; guests that are paced or instant
 *	end     from the guest's end to the process gone; guests that are paced
 *	churn   how many lives a second, one behind the other, on one of the processors
 *	restore, clone   as start and churn, of guests that were saved
 *
 * When a guest ends nobody outside can see, as whatever it says comes a little later. So
 * a paced one (guest.S) says several times when it will end, at an agreed pace, and the one
 * of these that took least on its way is believed.
 *
 * One round more than ROUNDS, whose samples are not told: caches and slabs.
 */
#include "tests/bench/bench.h"
#include "tests/bench/contenders.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

enum { ROUNDS_MAX = 10000, LIMIT_MS = 30000, CHURN_MS = 500, CHURN_LEAST = 4 };

/* When what happened; 0: it did not. */
struct life {
	double begun, runs, ends, gone;
	unsigned dots;
};

/* How long the guest waits after each byte. */
static double wait_ms;

static void measure_wait(void)
{
	double from = contenders_now_ms();
	uint64_t ticks = __rdtsc();

	usleep(50000);
	ticks = __rdtsc() - ticks;
	wait_ms = BENCH_TICKS * (contenders_now_ms() - from) / (double)ticks;
}

static void note_bytes(struct life *l, const char *bytes, size_t len)
{
	double now = contenders_now_ms();

	if (!l->runs && memchr(bytes, '!', len))
		l->runs = now;
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != '.' || l->dots == BENCH_DOTS)
			continue;
		double ends = now + (BENCH_DOTS - l->dots++) * wait_ms;

		if (!l->ends || ends < l->ends)
			l->ends = ends;
	}
}

/* NULL, or what was wrong. */
static const char *live(const struct contender *c, struct life *l)
{
	const char *why = NULL;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		contenders_die("pipe", strerror(errno));
	contenders_mark();
	*l = (struct life){.begun = contenders_now_ms()};
	pid_t pid = contenders_spawn(c, ends[1]);

	close(ends[1]);
	for (;;) {
		struct pollfd p = {.fd = ends[0], .events = POLLIN};
		int left = (int)(l->begun + LIMIT_MS - contenders_now_ms());
		char bytes[256];

		if (left <= 0 || poll(&p, 1, left) <= 0) {
			contenders_kill(pid, SIGKILL);
			why = "it did not end in time";
			break;
		}
		ssize_t n = read(ends[0], bytes, sizeof(bytes));

		if (n <= 0)
			break;
		note_bytes(l, bytes, (size_t)n);
	}
	int status = contenders_wait(pid);

	l->gone = contenders_now_ms();
	close(ends[0]);
	if (why)
		return why;
	if (!l->runs)
		return "its guest said nothing";
	return status ? "it failed" : NULL;
}

static const char *start(const struct contender *c, double *value)
{
	struct life l;
	const char *why = live(c, &l);

	*value = l.runs - l.begun;
	return why;
}

static const char *end(const struct contender *c, double *value)
{
	struct life l;
	const char *why = live(c, &l);

	*value = l.gone - l.ends;
	return !why && l.dots != BENCH_DOTS ? "its guest did not say when it ends" : why;
}

static const char *churn(const struct contender *c, double *value)
{
	double from = contenders_now_ms(), took = 0;
	const char *why = NULL;
	unsigned n = 0;

	for (; !why && (n < CHURN_LEAST || took < CHURN_MS); n++) {
		struct life l;

		why = live(c, &l);
		took = contenders_now_ms() - from;
	}
	*value = n * 1e3 / took;
	return why;
}

/* On a busy machine we would look at the clock too late; what we start is not preferred.
 * Where that is not allowed the figures are as good as the machine is idle. */
static void look_at_once(void)
{
	const struct sched_param first = {.sched_priority = 1};

	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first))
		fprintf(stderr, "bench-life: no real-time priority: %s\n", strerror(errno));
}

/* What we start stays there, too. */
static void stay_on_one_processor(void)
{
	cpu_set_t set, one;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(set), &set))
		contenders_die("affinity", strerror(errno));
	for (int i = CPU_SETSIZE - 1; i >= 0 && !CPU_COUNT(&one); i--)
		if (CPU_ISSET(i, &set))
			CPU_SET(i, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		contenders_die("affinity", strerror(errno));
}

static const struct row {
	const char *name, *measure, *unit;
	bool more;
	const char *(*measured)(const struct contender *c, double *value);
} rows[] = {
	{"start", "exec to the guest's first output", "ms", false, start},
	{"end", "the guest's end to the process gone", "ms", false, end},
	{"churn", "lives a second, on one core", "1/s", true, churn},
	{"restore", "exec to what the guest does next", "ms", false, start},
	{"clone", "clones a second, on one core", "1/s", true, churn},
	{0},
};

int main(int argc, char **argv)
{
	struct contender field[CONTENDERS_MAX];
	unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	const struct row *row = rows;

	while (row->name && (argc < 2 || strcmp(row->name, argv[1]) != 0))
		row++;
	if (!row->name || argc < 5 || !rounds || rounds > ROUNDS_MAX)
		contenders_die("usage",
			       "bench-life start|end|churn|restore|clone ROUNDS NAME COMMAND... "
			       "[::: NAME COMMAND...]...");
	unsigned n = contenders_parse(field, argv + 3, argc - 3);

	measure_wait();
	if (row->measured == churn)
		stay_on_one_processor();
	else
		look_at_once();
	for (unsigned round = 0; round <= rounds; round++)
		for (unsigned i = 0; i < n; i++) {
			struct contender *c = &field[contenders_turn(round, i, n)];
			double value = 0;

			if (c->out)
				continue;
			const char *why = row->measured(c, &value);

			if (why)
				contenders_fail(row->name, c, why);
			else
				c->failed = false;
			if (!why && round)
				contenders_sample(row->name, row->measure, row->unit, row->more, c,
						  value);
		}
	return 0;
}
