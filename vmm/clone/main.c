/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/clone/clone.h"

#include "vmm/base/bytes.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/clone/template.h"
#include "vmm/clone/words.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
	"usage: minivmm clone DIR [-n N] [OPTION]...\n"
	"       minivmm clone DIR --template SOCKET [OPTION]...\n"
	"\n"
	"Goes on from the snapshot in DIR with N machines (default 1) at once, and waits for all "
	"of\n"
	"them. They share the snapshot's memory until they write to it.\n"
	"\n"
	"Each OPTION is one of minivmm's, and %i in it is the machine's number, from 0: so each\n"
	"has sockets, files and disks of its own:\n"
	"\n"
	"  minivmm clone snap -n 3 --control vm%i.sock --serial file=vm%i.log --disk "
	"root%i.img,id=root\n"
	"\n"
	"Each one's networks have MAC addresses of their own, made from its number and its tap;\n"
	"-n tap=tap%i,mac=02:00:00:00:00:0%i says which. Its guest finds them when it binds the\n"
	"driver anew.\n"
	"\n"
	"A disk that the snapshot was written to can be had by one machine only, unless it is\n"
	"read-only; give each a copy (cp -p --reflink). Consoles on stdout go nowhere if there "
	"are\n"
	"several machines. SIGTERM and SIGINT press the power button of each.\n"
	"\n"
	"With --template it opens and checks the snapshot once, and then waits to be asked for\n"
	"one machine after the other at the unix socket SOCKET (mode 0600), which is quicker than\n"
	"to start one:\n"
	"\n"
	"  minivmm clone snap --template t.sock --control vm%i.sock &\n"
	"  minivmm ctl t.sock clone options=--serial=file=vm%i.log\n"
	"\n"
	"The answer is the machine's number and process id, once its guest runs, or why it does\n"
	"not; who stays hears when it ends. Another snapshot at DIR changes nothing for it. When\n"
	"the template ends (a signal; ctl SOCKET stop), the power buttons of all are pressed.\n"
	"\n"
	"Exit status: 0 all ended well, else that of the first one that did not; 2 usage.\n";

static int read_count(unsigned *n, const char *text, struct err *e)
{
	char *end;
	unsigned long v = strtoul(text ? text : "", &end, 10);

	if (!text || *end || !*text || *text == '-' || !v || v > CLONES_MAX)
		return err_usage(e, -EINVAL, "clone -n %.40s: give a number from 1 to %d",
				 text ? text : "", CLONES_MAX);
	*n = (unsigned)v;
	return 0;
}

/* Our own words come first; the rest is for the machines. */
static int read_words(struct clone_words *w, int argc, char **argv, struct err *e)
{
	int i = 1, ret = 0;

	*w = (struct clone_words){.n = 1};
	for (; i < argc && !ret; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			w->help = true;
			return 0;
		}
		if (!strcmp(argv[i], "-n")) {
			w->counted = true;
			ret = read_count(&w->n, argv[++i], e);
		} else if (!strcmp(argv[i], "--template")) {
			w->socket = argv[++i];
			if (!w->socket || !*w->socket)
				ret = err_usage(e, -EINVAL,
						"clone --template: give the socket's path");
		} else if (!w->dir && argv[i][0] != '-') {
			w->dir = argv[i];
		} else {
			break;
		}
	}
	if (ret)
		return ret;
	if (!w->dir)
		return err_usage(e, -EINVAL, "clone: no DIR given; see minivmm clone --help");
	if (w->socket && w->counted)
		return err_usage(e, -EINVAL,
				 "clone -n: not together with --template, which is asked for one "
				 "at a time");
	w->options = argv + i;
	w->n_options = argc - i;
	return 0;
}

/* `word` with the number for each %i: the caller's; NULL for want of memory. */
char *clone_word(const char *word, unsigned number)
{
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	if (!f)
		return NULL;
	for (; *word; word++) {
		if (word[0] == '%' && word[1] == 'i') {
			fprintf(f, "%u", number);
			word++;
		} else {
			fputc(*word, f);
		}
	}
	return fclose(f) ? NULL : out;
}

/* What --restore is to have: likewise. */
static char *clone_of(const char *dir, unsigned number)
{
	char *whole = clone_word(dir, number), *word = NULL;

	if (whole && asprintf(&word, "%s,clone=%u", whole, number) < 0)
		word = NULL;
	free(whole);
	return word;
}

/* In the child. */
static _Noreturn void become(const struct clone_words *w, unsigned number, pid_t parent)
{
	char **argv = calloc((size_t)w->n_options + 4, sizeof(*argv));
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (!argv || getppid() != parent)
		_exit(CLONE_STATUS_FAILED);
	if (w->n > 1 && nothing >= 0) {
		dup2(nothing, STDIN_FILENO);
		dup2(nothing, STDOUT_FILENO);
	}
	argv[0] = (char *)"minivmm";
	argv[1] = (char *)"--restore";
	argv[2] = clone_of(w->dir, number);
	for (int i = 0; i < w->n_options; i++)
		argv[3 + i] = clone_word(w->options[i], number);
	for (int i = 2; i < w->n_options + 3; i++)
		if (!argv[i])
			_exit(CLONE_STATUS_FAILED);
	execv("/proc/self/exe", argv);
	log_error("clone: cannot start minivmm: %s", strerror(errno));
	_exit(CLONE_STATUS_FAILED);
}

/* --- all of them -------------------------------------------------------------------------------
 */

static pid_t *children;
static unsigned n_children;
static volatile sig_atomic_t signalled;

/* The terminal signals all of us at once; they take the second of two as impatience, not an echo
 * of the first. */
static void hand_on(int signum)
{
	signalled = signum;
	for (unsigned i = 0; i < n_children; i++)
		if (children[i] > 0)
			kill(children[i], SIGTERM);
}

static int start(const struct clone_words *w, struct err *e)
{
	pid_t self = getpid();

	for (unsigned i = 0; i < w->n && !signalled; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return err_host(e, -errno, "clone: only %u of %u could be started: %s", i,
					w->n, strerror(errno));
		if (!pid)
			become(w, i, self);
		setpgid(pid, pid); /* Ctrl-C is ours, and we hand it on */
		children[i] = pid;
		n_children = i + 1;
	}
	return 0;
}

int clone_status(int wait_status)
{
	return WIFSIGNALED(wait_status) ? CLONE_STATUS_SIGNAL + WTERMSIG(wait_status)
					: WEXITSTATUS(wait_status);
}

static unsigned number_of(pid_t pid)
{
	unsigned i = 0;

	while (i + 1 < n_children && children[i] != pid)
		i++;
	return i;
}

/* Gives the first status that is not 0. */
static int wait_for_all(void)
{
	int first = 0, status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR) {
		if (pid <= 0)
			continue;
		unsigned i = number_of(pid);

		children[i] = 0;
		status = clone_status(status);
		if (status && !signalled)
			log_warn("clone %u ended with status %d", i, status);
		first = first ? first : status;
	}
	return first;
}

static int run(const struct clone_words *w, struct err *e)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
	struct sigaction sa = {.sa_handler = hand_on};

	children = calloc(w->n, sizeof(*children));
	if (!children) {
		err_host(e, -ENOMEM, "clone: out of memory");
		return CLONE_STATUS_FAILED;
	}
	for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &sa, NULL);
	int ret = start(w, e);

	if (ret)
		hand_on(0);
	int status = wait_for_all();

	free(children);
	if (ret)
		return CLONE_STATUS_FAILED;
	return signalled ? CLONE_STATUS_SIGNAL + signalled : status;
}

/* The first one's options are looked at here, so that what is wrong with them is told now. */
static int prepare(const struct clone_words *w, const struct clone_maker *maker, struct err *e)
{
	char **argv = calloc((size_t)w->n_options + 2, sizeof(*argv));
	int ret = argv ? 0 : err_host(e, -ENOMEM, "clone: out of memory");

	for (int i = 0; i < w->n_options && !ret; i++) {
		argv[i + 1] = clone_word(w->options[i], 0);
		if (!argv[i + 1])
			ret = err_host(e, -ENOMEM, "clone: out of memory");
	}
	if (!ret) {
		argv[0] = (char *)"minivmm";
		ret = maker->prepare(w->dir, w->n_options + 1, argv, e);
	}
	for (int i = 0; i < w->n_options && argv; i++)
		free(argv[i + 1]);
	free(argv);
	return ret;
}

static int serve(const struct clone_words *w, const struct clone_maker *maker, struct err *e)
{
	if (!prepare(w, maker, e))
		return template_run(w, maker, e);
	return e->kind == ERR_USAGE ? CLONE_STATUS_USAGE : CLONE_STATUS_FAILED;
}

int clone_main(int argc, char **argv, const struct clone_maker *maker)
{
	struct clone_words w;
	struct err e = {0};
	int status = CLONE_STATUS_USAGE;

	if (!read_words(&w, argc, argv, &e))
		status = w.socket && !w.help                         ? serve(&w, maker, &e)
			 : !w.help                                   ? run(&w, &e)
			 : fputs(help, stdout) < 0 || fflush(stdout) ? CLONE_STATUS_FAILED
								     : 0;
	if (e.kind)
		log_error("%s", e.text);
	return status;
}
