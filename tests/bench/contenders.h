/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contenders: the programs that a benchmark compares, each with a name and a command.
 * What they say on their stdout tells when their guest runs:
 *
 *	!    it does; the first thing it does
 *	.    one of BENCH_DOTS (bench.h), BENCH_TICKS apart; it ends that long after the last
 *
 * What is measured goes to stdout as samples, a line each, which scripts/bench collects.
 */
#ifndef TESTS_BENCH_CONTENDERS_H
#define TESTS_BENCH_CONTENDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { CONTENDERS_MAX = 8 };

struct contender {
	const char *name;
	char **argv; /* a word "@" in it becomes a number that no other process has */
	bool failed; /* the last time, */
	bool out;    /* and the one before as well: it takes no further part */
};

/* NAME COMMAND... [::: NAME COMMAND...]... into `field`; how many. Ends the program if
 * that cannot be. */
unsigned contenders_parse(struct contender field[CONTENDERS_MAX], char **words, int n);

/* Who is the i-th of `n` in this round: A B C, then C B A. Who comes after a big process
 * pays for what the host still has to clear up, and that is not always the same one. */
unsigned contenders_turn(unsigned round, unsigned i, unsigned n);

/* In a process group of its own, with `out` as stdout and nothing as stdin; it does not
 * outlive us. */
/* Its stderr is kept, from the last contenders_mark() on, for contenders_fail() to tell. */
pid_t contenders_spawn(const struct contender *c, int out);

void contenders_mark(void);

/* One that is asked for (asked.h) has no process of ours: what contenders_spawn() gave is then for
 * these two, as any other is. The latter waits for the end and gives the exit status; -1: a
 * signal's. */
void contenders_kill(pid_t who, int signum);
int contenders_wait(pid_t who);

void contenders_sample(const char *row, const char *measure, const char *unit, bool more,
		       const struct contender *c, double value);
/* It did not do what it was to do. Why, as it said itself, is told on stderr; when it happens twice
 * in a row it is out. */
void contenders_fail(const char *row, struct contender *c, const char *why);

double contenders_now_ms(void);
_Noreturn void contenders_die(const char *what, const char *why);

#endif
