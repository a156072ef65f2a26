/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/matrix/cell.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	/* How much longer than its --timeout a cell may take, its start and end included. */
	OVERDUE_S = 60,
	PIECE = 16 * 1024,
	PIECES = 16, /* at a time: more than a pipe holds, and others have their turn */
};

/* --- what it says ---------------------------------------------------------------------- */

static void tail_append(struct tail *t, const char *bytes, size_t len)
{
	if (!t->bytes)
		t->bytes = malloc(2 * CELL_OUTPUT);
	if (!t->bytes || len > CELL_OUTPUT) {
		t->dropped += len;
		return;
	}
	if (t->len + len > 2 * CELL_OUTPUT) {
		size_t gone = t->len - CELL_OUTPUT;

		memmove(t->bytes, t->bytes + gone, CELL_OUTPUT);
		t->len = CELL_OUTPUT;
		t->dropped += gone;
	}
	memcpy(t->bytes + t->len, bytes, len);
	t->len += len;
}

/* A console's carriage returns are for terminals; a log has none. */
static size_t drop_returns(char *bytes, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		if (bytes[i] != '\r')
			bytes[n++] = bytes[i];
	return n;
}

/* Read what is there, or much of it; false: no more will come. */
static bool fill(struct tail *t, int fd, bool console)
{
	char piece[PIECE];
	ssize_t n = 1;

	for (unsigned i = 0; i < PIECES && n > 0; i++) {
		n = read(fd, piece, sizeof(piece));
		if (n > 0)
			tail_append(t, piece, console ? drop_returns(piece, (size_t)n) : (size_t)n);
	}
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void close_output(struct cell *c)
{
	loop_fd_del(c->output_watch);
	c->output_watch = NULL;
	fd_close(&c->output_fd);
}

static void close_events(struct cell *c)
{
	loop_fd_del(c->events_watch);
	c->events_watch = NULL;
	fd_close(&c->events_fd);
}

static void on_output(void *ctx, int events)
{
	struct cell *c = ctx;

	if (!fill(&c->output, c->output_fd, !c->command))
		close_output(c);
}

static void on_events(void *ctx, int events)
{
	struct cell *c = ctx;

	if (!fill(&c->events, c->events_fd, false))
		close_events(c);
}

/* The last whole line, which is `stopped` if all went well. */
static json_t *last_event(const struct tail *t)
{
	size_t end = t->len, begin;
	json_t *event = NULL;
	const char *name;

	if (!end || t->bytes[end - 1] != '\n')
		return NULL;
	for (begin = end - 1; begin && t->bytes[begin - 1] != '\n'; begin--)
		;
	event = json_loadb(t->bytes + begin, end - begin, 0, NULL);
	name = json_string_value(json_object_get(event, "event"));
	if (name && !strcmp(name, "stopped"))
		return event;
	json_decref(event);
	return NULL;
}

/* --- its verdict ----------------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static void judge(struct cell *c, enum test_verdict verdict,
							const char *type, const char *fmt, ...)
{
	va_list ap;

	c->verdict = verdict;
	c->type = type;
	va_start(ap, fmt);
	vsnprintf(c->message, sizeof(c->message), fmt, ap);
	va_end(ap);
}

/* Why there was no status of a command's own, or no good end of a guest. */
static void judge_reason(struct cell *c)
{
	const char *reason = json_string_value(json_object_get(c->stopped, "reason"));
	const char *detail = json_string_value(json_object_get(c->stopped, "detail"));
	bool timeout = reason && strstr(reason, "timeout");

	if (!reason)
		judge(c, TEST_ERROR, "minivmm", "minivmm ended with status %d and did not say why",
		      c->status);
	else if (!strcmp(reason, "not-started") && detail)
		judge(c, TEST_ERROR, "minivmm", "%s", detail);
	else
		judge(c, TEST_ERROR, timeout ? "timeout" : "guest", "%s%s%s", reason,
		      detail ? ": " : "", detail ? detail : "");
}

static void judge_end(struct cell *c, int wait_status)
{
	const json_t *command = json_object_get(c->stopped, "command_status");
	int signum = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;

	c->status = signum ? 128 + signum : WEXITSTATUS(wait_status);
	if (c->stopped && !c->status && (!c->command || json_is_integer(command)))
		judge(c, TEST_PASSED, "", "%s", "");
	else if (c->interrupted)
		judge(c, TEST_ERROR, "interrupted", "interrupted");
	else if (c->overdue)
		judge(c, TEST_ERROR, "timeout", "minivmm did not end after its --timeout");
	else if (signum)
		judge(c, TEST_ERROR, "minivmm", "minivmm was killed: %s", strsignal(signum));
	else if (c->command && json_is_integer(command))
		judge(c, TEST_FAILED, "status", "status %d", c->status);
	else
		judge_reason(c);
}

/* --- its process ----------------------------------------------------------------------- */

/* What the exec will do to them, before a signal can meet our handlers here: what they would
 * note is not this process's any more. */
static void forget_handlers(void)
{
	struct sigaction sa;

	for (int signum = 1; signum < NSIG; signum++)
		if (!sigaction(signum, NULL, &sa) && sa.sa_handler != SIG_IGN)
			signal(signum, SIG_DFL);
}

/* In the child, with all signals blocked; `mask` was before. */
static _Noreturn void become(struct cell *c, pid_t parent, const sigset_t *mask, int output,
			     int events)
{
	struct rlimit core;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char **words = (char **)c->plan->words, *argv[MATRIX_WORDS_MAX + 2], option[32];
	unsigned n = 0;

	/* Ctrl-C is ours to hear. */
	setpgid(0, 0);
	/* Our end is its own, also if we were gone before it has asked for that. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* An early SIGQUIT, as cell_interrupt() sends, shall leave no core. */
	if (!getrlimit(RLIMIT_CORE, &core)) {
		core.rlim_cur = 0;
		setrlimit(RLIMIT_CORE, &core);
	}
	forget_handlers();
	sigprocmask(SIG_SETMASK, mask, NULL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
	    dup2(output, STDERR_FILENO) < 0 || fcntl(events, F_SETFD, 0))
		_exit(1);
	snprintf(option, sizeof(option), "--events=fd=%d", events);
	argv[n++] = words[0];
	argv[n++] = words[1];
	argv[n++] = option;
	for (unsigned i = 2; i < c->plan->n_words; i++)
		argv[n++] = words[i];
	argv[n] = NULL;
	execv("/proc/self/exe", argv);
	dprintf(STDERR_FILENO, "minivmm: /proc/self/exe: %s\n", strerror(errno));
	_exit(1);
}

static int open_pipe(int fds[2])
{
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	/* Of our end alone: the child's is another open file. */
	return fcntl(fds[0], F_SETFL, O_NONBLOCK) ? -errno : 0;
}

static void on_overdue(void *ctx)
{
	struct cell *c = ctx;

	c->overdue = true;
	cell_kill(c);
}

static int listen_to(struct cell *c, struct loop *loop)
{
	c->output_watch = loop_fd_add(loop, c->output_fd, LOOP_READ, on_output, c);
	c->events_watch = loop_fd_add(loop, c->events_fd, LOOP_READ, on_events, c);
	c->overdue_timer = loop_timer_add(loop, on_overdue, c);
	return c->output_watch && c->events_watch && c->overdue_timer ? 0 : -ENOMEM;
}

/* 0 or a negative errno. */
static int start(struct cell *c, struct loop *loop)
{
	int output[2] = {-1, -1}, events[2] = {-1, -1};
	pid_t parent = getpid();
	sigset_t all, before;
	int ret = open_pipe(output);

	if (!ret)
		ret = open_pipe(events);
	c->output_fd = output[0];
	c->events_fd = events[0];
	if (!ret)
		ret = listen_to(c, loop);
	if (!ret) {
		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, &before);
		c->pid = fork();
		if (!c->pid)
			become(c, parent, &before, output[1], events[1]);
		ret = c->pid < 0 ? -errno : 0;
		sigprocmask(SIG_SETMASK, &before, NULL);
	}
	fd_close(&output[1]);
	fd_close(&events[1]);
	if (ret)
		return ret;
	setpgid(c->pid, c->pid);
	if (c->plan->timeout_s)
		loop_timer_start(c->overdue_timer, (c->plan->timeout_s + OVERDUE_S) * 1000ull);
	return 0;
}

static void end(struct cell *c)
{
	close_output(c);
	close_events(c);
	loop_timer_del(c->overdue_timer);
	c->overdue_timer = NULL;
	c->took_ns = clock_monotonic_ns(&clock_host) - c->began_ns;
	c->state = CELL_ENDED;
}

void cell_init(struct cell *c, const struct cell_plan *plan, bool command)
{
	*c = (struct cell){.plan = plan, .command = command, .status = -1};
	c->output_fd = c->events_fd = -1;
}

void cell_fini(struct cell *c)
{
	json_decref(c->stopped);
	free(c->output.bytes);
	free(c->events.bytes);
}

void cell_start(struct cell *c, struct loop *loop)
{
	int ret;

	c->began_ns = clock_monotonic_ns(&clock_host);
	c->state = CELL_RUNS;
	ret = start(c, loop);
	if (!ret)
		return;
	judge(c, TEST_ERROR, "minivmm", "cannot be started: %s", strerror(-ret));
	end(c);
}

bool cell_reap(struct cell *c)
{
	int wait_status;

	if (c->state != CELL_RUNS || waitpid(c->pid, &wait_status, WNOHANG) != c->pid)
		return false;
	if (c->output_watch)
		fill(&c->output, c->output_fd, !c->command);
	if (c->events_watch)
		fill(&c->events, c->events_fd, false);
	c->stopped = last_event(&c->events);
	judge_end(c, wait_status);
	end(c);
	return true;
}

void cell_interrupt(struct cell *c)
{
	if (c->state != CELL_RUNS)
		return;
	c->interrupted = true;
	kill(c->pid, SIGQUIT);
}

void cell_kill(struct cell *c)
{
	if (c->state == CELL_RUNS)
		kill(c->pid, SIGKILL);
}

void cell_skip(struct cell *c)
{
	judge(c, TEST_SKIPPED, "interrupted", "not begun");
	c->state = CELL_ENDED;
}
