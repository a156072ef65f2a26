/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer: what the guest of the benchmarks does (guest.S), as a program in a container.
 * Built with musl, static, so that a container needs nothing else.
 *
 *	bench-peer instant|paced|idle
 */
#include "tests/bench/bench.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <x86intrin.h>

static void on_term(int signum)
{
	_exit(0);
}

static int say(char byte)
{
	return write(STDOUT_FILENO, &byte, 1) == 1 ? 0 : 1;
}

static void pause_a_while(void)
{
	uint64_t from = __rdtsc();

	while (__rdtsc() - from < BENCH_TICKS)
		;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	/* It goes with the one that made the container, also when nobody can clear up. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* As process 1 it has no default; who waits for our first byte sends one at once. */
	signal(SIGTERM, on_term);
	int failed = say('!');

	if (!strcmp(what, "paced")) {
		pause_a_while();
		for (int i = 0; i < BENCH_DOTS; i++) {
			failed |= say('.');
			pause_a_while();
		}
	} else if (!strcmp(what, "idle")) {
		for (;;)
			pause();
	}
	return failed;
}
