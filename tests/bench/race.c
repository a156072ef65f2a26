/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race: run VMMs in turn, in one run, and time the two halves that people wait
 * for: from exec to the guest's init, and from the guest's end to the end of the
 * process. Used by scripts/bench.
 *
 *	race RUNS MARKER NAME COMMAND... [::: NAME COMMAND...]...
 *
 * The guest's init writes MARKER to its console (the command's stdout), then
 * powers off, so the second half begins at the marker as well. Rounds are
 * interleaved: A B C A B C. One row a command: minimum, median and maximum in
 * milliseconds, and the median over that of the first command.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS_MAX = 8, RUNS_MAX = 100, LIMIT_MS = 60000 };

struct contender {
	const char *name;
	char **argv;
	double up[RUNS_MAX], down[RUNS_MAX];
};

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "race: %s: %s\n", what, why);
	exit(1);
}

static pid_t start(char **argv, int *out)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		die("pipe", strerror(errno));
	pid_t pid = fork();

	if (pid < 0)
		die("fork", strerror(errno));
	if (!pid) {
		int nothing = open("/dev/null", O_RDWR);

		dup2(nothing, STDIN_FILENO);
		dup2(ends[1], STDOUT_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(ends[1]);
	*out = ends[0];
	return pid;
}

/* One run: exec to marker, marker to exit. */
static void run(struct contender *c, const char *marker, int round)
{
	static char seen[1 << 20];
	size_t len = 0;
	double begin = now_ms(), mark = 0;
	int out, status;
	pid_t pid = start(c->argv, &out);

	for (;;) {
		struct pollfd p = {.fd = out, .events = POLLIN};
		int left = (int)(begin + LIMIT_MS - now_ms());
		ssize_t n;

		if (left <= 0 || poll(&p, 1, left) <= 0) {
			kill(pid, SIGKILL);
			die(c->name, "took more than a minute");
		}
		n = read(out, seen + len, sizeof(seen) - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
		seen[len] = 0;
		if (!mark && strstr(seen, marker))
			mark = now_ms();
	}
	waitpid(pid, &status, 0);
	close(out);
	if (!mark) {
		fwrite(seen, 1, len, stderr);
		die(c->name, "ended without the marker");
	}
	c->up[round] = mark - begin;
	c->down[round] = now_ms() - mark;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void row(const char *name, const char *half, double *t, int n, double *first)
{
	qsort(t, (size_t)n, sizeof(*t), ascending);
	if (*first == 0)
		*first = t[n / 2];
	printf("%-22s %-16s %9.1f %9.1f %9.1f   %5.2fx\n", name, half, t[0], t[n / 2], t[n - 1],
	       t[n / 2] / *first);
}

int main(int argc, char **argv)
{
	struct contender field[COMMANDS_MAX] = {0};
	int runs = argc > 1 ? atoi(argv[1]) : 0, n = 0;
	double first_up = 0, first_down = 0;

	if (argc < 5 || runs < 1 || runs > RUNS_MAX)
		die("usage", "race RUNS MARKER NAME COMMAND... [::: NAME COMMAND...]...");
	for (int i = 3; i < argc; n++) {
		if (n == COMMANDS_MAX || i + 1 >= argc)
			die("usage", "a name without a command, or too many commands");
		field[n].name = argv[i];
		field[n].argv = &argv[i + 1];
		while (i < argc && strcmp(argv[i], ":::") != 0)
			i++;
		if (i < argc)
			argv[i++] = NULL;
	}
	for (int r = 0; r < runs; r++)
		for (int i = 0; i < n; i++)
			run(&field[i], argv[2], r);
	printf("%-22s %-16s %9s %9s %9s   %s\n", "", "", "min ms", "median", "max", "ratio");
	for (int i = 0; i < n; i++)
		row(field[i].name, "exec to init", field[i].up, runs, &first_up);
	for (int i = 0; i < n; i++)
		row(field[i].name, "init to exit", field[i].down, runs, &first_down);
	return 0;
}
