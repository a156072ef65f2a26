/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race: run VMMs in turn, in one run, and time what people wait for: from exec to
 * the guest's init, and from the guest's end to the end of the process. Used by
 * scripts/bench.
 *
 *	race ROW ROUNDS MARKER NAME COMMAND... [::: NAME COMMAND...]...
 *
 * The guest's init writes MARKER to its console (the command's stdout), then
 * powers off, so the last part begins at the marker as well. Rounds are
 * interleaved: A B C, C B A; the first one is a warm-up, of which nothing is told.
 * All others are, in milliseconds, as bench-table reads it.
 *
 * The way to init is told in two halves as well where the host's tracefs lets
 * itself be used (as root): the border is the first time that KVM enters the
 * guest, by its own tracepoint kvm_entry, so it means the same for every VMM. What
 * runs other guests meanwhile spoils it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS_MAX = 8, ROUNDS_MAX = 100, LIMIT_MS = 60000 };
enum { WARM_UP, FIRST };

enum part { TO_ENTRY, TO_INIT, UP, DOWN, PARTS };

static const char *const part_names[PARTS] = {
	[TO_ENTRY] = "exec to the first instruction",
	[TO_INIT] = "the first instruction to init",
	[UP] = "exec to init",
	[DOWN] = "init to exit",
};

struct contender {
	const char *name;
	char **argv;
	double took[PARTS];
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

/* --- the first entry into the guest ------------------------------------------- */

#define TRACING "/sys/kernel/tracing/"

static int put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* Records one kvm_entry, then stops by itself: what follows costs next to nothing. */
static bool trace_arm(void)
{
	put(TRACING "events/kvm/kvm_entry/trigger", "!traceoff:1");
	return !put(TRACING "tracing_on", "0") && !put(TRACING "trace", "") &&
	       !put(TRACING "trace_clock", "mono") &&
	       !put(TRACING "events/kvm/kvm_entry/enable", "1") &&
	       !put(TRACING "events/kvm/kvm_entry/trigger", "traceoff:1") &&
	       !put(TRACING "tracing_on", "1");
}

static void trace_end(void)
{
	put(TRACING "events/kvm/kvm_entry/trigger", "!traceoff:1");
	put(TRACING "events/kvm/kvm_entry/enable", "0");
	put(TRACING "trace_clock", "local");
	put(TRACING "trace", "");
	put(TRACING "tracing_on", "1");
}

/* When that was, on now_ms()'s clock, or 0: the line reads
 * "NAME-PID [CPU] FLAGS SECONDS: kvm_entry: ...". */
static double trace_entry_ms(void)
{
	FILE *f = fopen(TRACING "trace", "re");
	char line[512];
	double ms = 0;

	while (f && !ms && fgets(line, sizeof(line), f)) {
		char *at = line[0] == '#' ? NULL : strstr(line, ": kvm_entry:");

		if (!at)
			continue;
		*at = 0;
		at = strrchr(line, ' ');
		if (at)
			ms = strtod(at, NULL) * 1e3;
	}
	if (f)
		fclose(f);
	return ms;
}

/* --- one run ------------------------------------------------------------------- */

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

static void run(struct contender *c, const char *marker, bool traced)
{
	static char seen[1 << 20];
	size_t len = 0;
	double begin = now_ms(), mark = 0, entry;
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
	c->took[UP] = mark - begin;
	c->took[DOWN] = now_ms() - mark;
	if (!traced)
		return;
	entry = trace_entry_ms();
	if (entry < begin || entry > mark)
		die(c->name, "the trace has no first entry into its guest");
	c->took[TO_ENTRY] = entry - begin;
	c->took[TO_INIT] = mark - entry;
}

static void tell(const char *row, const struct contender *c, bool traced)
{
	for (enum part p = traced ? TO_ENTRY : UP; p < PARTS; p++)
		printf("sample\t%s\t%s\tms\tless\t%s\t%.3f\n", row, part_names[p], c->name,
		       c->took[p]);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct contender field[COMMANDS_MAX] = {0};
	int rounds = argc > 2 ? atoi(argv[2]) : 0, n = 0;
	bool traced;

	if (argc < 6 || rounds < 1 || rounds > ROUNDS_MAX)
		die("usage", "race ROW ROUNDS MARKER NAME COMMAND... [::: NAME COMMAND...]...");
	for (int i = 4; i < argc; n++) {
		if (n == COMMANDS_MAX || i + 1 >= argc)
			die("usage", "a name without a command, or too many commands");
		field[n].name = argv[i];
		field[n].argv = &argv[i + 1];
		while (i < argc && strcmp(argv[i], ":::") != 0)
			i++;
		if (i < argc)
			argv[i++] = NULL;
	}
	traced = trace_arm();
	if (!traced)
		fprintf(stderr, "race: no tracefs with KVM's events here: no halves\n");
	/* There and back: who comes after a big process pays for what the host still has to
	 * clear up, and that is not always the same one. */
	for (int round = WARM_UP; round < FIRST + rounds; round++)
		for (int i = 0; i < n; i++) {
			struct contender *c = &field[round % 2 ? n - 1 - i : i];

			if (traced && !trace_arm())
				die("tracing", "does not start again");
			run(c, argv[3], traced);
			if (round >= FIRST)
				tell(argv[1], c, traced);
		}
	if (traced)
		trace_end();
	return 0;
}
