/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/contenders.h"

#include "tests/bench/asked.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double contenders_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

_Noreturn void contenders_die(const char *what, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", what, why);
	exit(1);
}

unsigned contenders_parse(struct contender field[CONTENDERS_MAX], char **words, int n)
{
	unsigned count = 0;

	for (int i = 0; i < n; count++) {
		if (count == CONTENDERS_MAX || i + 1 >= n)
			contenders_die("usage", "a name without a command, or too many commands");
		field[count] = (struct contender){.name = words[i], .argv = &words[i + 1]};
		while (i < n && strcmp(words[i], ":::") != 0)
			i++;
		if (i < n)
			words[i++] = NULL;
	}
	return count;
}

unsigned contenders_turn(unsigned round, unsigned i, unsigned n)
{
	return round % 2 ? n - 1 - i : i;
}

/* What contenders say on stderr, in the order in which they do: a file, as nobody reads it unless
 * one fails. -1: nowhere. */
static int said_to(void)
{
	static int said = -2;

	if (said == -2) {
		said = memfd_create("bench-said", MFD_CLOEXEC);
		fcntl(said, F_SETFL, O_APPEND);
	}
	return said;
}

void contenders_mark(void)
{
	(void)!ftruncate(said_to(), 0);
}

/* The beginning of it: what follows is mostly what came of it. */
static void tell_said(const struct contender *c)
{
	enum { MOST = 800 };
	char text[MOST + 1];
	ssize_t n = pread(said_to(), text, MOST, 0);

	text[n > 0 ? n : 0] = '\0';
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		fprintf(stderr, "bench: %s: %s\n", c->name, line);
}

static _Noreturn void become(const struct contender *c, int out, pid_t parent, unsigned number)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	char text[32];

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	snprintf(text, sizeof(text), "%u", number);
	for (char **word = c->argv; *word; word++)
		if (!strcmp(*word, "@"))
			*word = text;
	dup2(nothing, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	/* Two hundred of them would each say that they were told to end. */
	int told = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	dup2(said_to() >= 0 ? said_to() : nothing, STDERR_FILENO);
	execvp(c->argv[0], c->argv);
	dprintf(told, "bench: %s: %s\n", c->argv[0], strerror(errno));
	_exit(127);
}

pid_t contenders_spawn(const struct contender *c, int out)
{
	static unsigned number;

	if (asked_is(c->argv))
		return asked_for(c->argv, out);
	pid_t self = getpid(), pid = fork();

	if (pid < 0)
		contenders_die("fork", strerror(errno));
	if (!pid)
		become(c, out, self, number);
	number++;
	return pid;
}

void contenders_kill(pid_t who, int signum)
{
	if (who < 0)
		asked_kill(who, signum);
	else
		kill(who, signum);
}

int contenders_wait(pid_t who)
{
	int status;

	if (who < 0)
		return asked_status(who);
	return waitpid(who, &status, 0) == who && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void contenders_sample(const char *row, const char *measure, const char *unit, bool more,
		       const struct contender *c, double value)
{
	printf("sample\t%s\t%s\t%s\t%s\t%s\t%.3f\n", row, measure, unit, more ? "more" : "less",
	       c->name, value);
	fflush(stdout);
}

void contenders_fail(const char *row, struct contender *c, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", c->name, why);
	tell_said(c);
	if (!c->failed) {
		c->failed = true;
		return;
	}
	printf("missing\t%s\t%s\t%s\n", row, c->name, why);
	fflush(stdout);
	c->out = true;
}
