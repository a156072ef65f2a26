/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/clone/child.h"

#include "vmm/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The first byte of what is told; behind the latter two is why. */
enum { NEWS_RUNS = 'R', NEWS_HOST = 'H', NEWS_USAGE = 'U' };

static void runs(void *ctx)
{
	int *told = ctx;
	char byte = NEWS_RUNS;

	if (*told >= 0)
		(void)!write(*told, &byte, 1);
	fd_close(told);
}

/* In one piece: a pipe takes it as such [pipe(7), PIPE_BUF]. */
static void failed(int *told, const struct err *e)
{
	char text[sizeof(e->text) + 1];
	int n = snprintf(text, sizeof(text), "%c%s", e->kind == ERR_USAGE ? NEWS_USAGE : NEWS_HOST,
			 e->text);

	if (*told >= 0 && e->kind)
		(void)!write(*told, text, (size_t)n);
	fd_close(told);
}

/* Its own words behind the name of the program; NULL for want of memory. */
static char **words_of(const struct clone_order *o, const struct clone_words *w, int *argc)
{
	size_t n = 1 + (size_t)w->n_options + o->n_more;
	char **argv = calloc(n + 1, sizeof(*argv));

	if (!argv)
		return NULL;
	argv[0] = (char *)"minivmm";
	for (size_t i = 1; i < n; i++) {
		size_t own = i - 1;

		argv[i] = own < (size_t)w->n_options
				  ? clone_word(w->options[own], o->number)
				  : clone_word(o->more[own - (size_t)w->n_options], o->number);
		if (!argv[i])
			return NULL; /* the process ends with it */
	}
	*argc = (int)n;
	return argv;
}

static int be(struct clone_order *o, const struct clone_words *w, const struct clone_maker *maker,
	      pid_t parent, int *told)
{
	int nothing, argc = 0;
	char **argv = words_of(o, w, &argc);
	struct err e = {0};

	/* The terminal's signals are the template's, which hands them on. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (!argv || getppid() != parent)
		return CLONE_STATUS_FAILED;
	nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(nothing, STDIN_FILENO);
	dup2(o->output >= 0 ? o->output : nothing, STDOUT_FILENO);
	fd_close(&nothing);
	fd_close(&o->output);
	o->close_all(o->ctx);
	sigprocmask(SIG_SETMASK, &o->signals, NULL);
	int status = maker->become(o->number, argc, argv, runs, told, &e);

	failed(told, &e);
	for (int i = 1; i < argc; i++)
		free(argv[i]);
	free(argv);
	return status;
}

int clone_fork(struct clone_order *o, const struct clone_words *w, const struct clone_maker *maker,
	       pid_t *pid, int *told, int *status)
{
	pid_t self = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK)) {
		fd_close(&o->output);
		return -errno;
	}
	*pid = fork();
	if (!*pid) {
		close(ends[0]);
		*status = be(o, w, maker, self, &ends[1]);
		return 0;
	}
	int ret = *pid < 0 ? -errno : 0;

	fd_close(&o->output);
	close(ends[1]);
	*told = ends[0];
	if (ret)
		fd_close(told);
	return ret;
}

int clone_news(int told, struct err *e)
{
	char text[sizeof(e->text) + 1];
	ssize_t n = read(told, text, sizeof(text) - 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n > 0 && *text == NEWS_RUNS)
		return 1;
	text[n > 0 ? n : 0] = '\0';
	if (n > 0 && *text == NEWS_USAGE)
		err_usage(e, -EINVAL, "%s", text + 1);
	else if (n > 0)
		err_host(e, -EIO, "%s", text + 1);
	else
		err_host(e, -ECHILD, "the clone ended before its guest ran");
	return -1;
}
