/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run: the command, from its start to the guest's end.
 *
 * We are process 1, but for --init: orphans come to us and are reaped, and when the command has
 * ended whatever it left running ends too.
 */
#include "firmware/init/command.h"

#include "firmware/init/report.h"
#include "vmm/base/le.h"
#include "vmm/core/command_wire.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* As a shell has them. */
enum { NOT_BEGUN = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127, BY_SIGNAL = 128 };

static void tell(int control, uint32_t what, uint32_t value)
{
	uint8_t m[COMMAND_MESSAGE_LEN];

	le32_put(m, what);
	le32_put(m + 4, value);
	(void)!write(control, m, sizeof(m));
}

static _Noreturn void exec_words(char *const *words)
{
	static char *const shells[][2] = {{"/bin/bash", NULL}, {"/bin/sh", NULL}};

	if (words[0]) {
		execvp(words[0], words);
	} else {
		execv(shells[0][0], shells[0]);
		execv(shells[1][0], shells[1]);
	}
	int error = errno;

	fprintf(stderr, "minivmm: %s: %s\n", words[0] ? words[0] : shells[1][0], strerror(error));
	_exit(error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
}

static _Noreturn void become(const struct command *c, const int fds[3])
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid(); /* and a process group, which signals are for */
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	if (c->tty)
		ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	environ = c->env;
	/* As us, like su(1): a directory that is closed to the user can still be where it starts.
	 */
	if (chdir(c->dir)) {
		fprintf(stderr, "minivmm: %s: %s\n", c->dir, strerror(errno));
		_exit(NOT_EXECUTABLE);
	}
	if (take_identity(c))
		_exit(NOT_BEGUN);
	exec_words(c->words);
}

/* Reap all that have ended. Gives whether the command is among them. */
static bool reap(pid_t command, int *status)
{
	bool ended = false;
	int s;

	for (pid_t pid; (pid = waitpid(-1, &s, WNOHANG)) > 0;) {
		if (pid != command)
			continue;
		ended = true;
		*status = WIFSIGNALED(s) ? BY_SIGNAL + WTERMSIG(s) : WEXITSTATUS(s);
	}
	return ended;
}

/* What the host wants. Gives false when it is gone: then there is nobody to tell anything,
 * and no reason to go on. */
static bool obey(struct streams *s, pid_t command)
{
	uint8_t m[COMMAND_MESSAGE_LEN];
	ssize_t n = recv(s->control, m, sizeof(m), MSG_DONTWAIT | MSG_PEEK);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	if (n < (ssize_t)sizeof(m))
		return true; /* the rest is on its way */
	(void)!read(s->control, m, sizeof(m));
	if (le32_get(m) == COMMAND_SIGNAL)
		kill(-command, (int)le32_get(m + 4));
	else if (le32_get(m) == COMMAND_SIZE)
		streams_resize(s, le32_get(m + 4) & 0xffff, le32_get(m + 4) >> 16);
	return true;
}

static _Noreturn void power_off(void)
{
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	/* So that a disk's file system is a clean one; an overlay has no need. */
	sync();
	mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	reboot(RB_POWER_OFF);
	give_up("it does not power off: %s", strerror(errno));
}

/* Above all others: what the command writes is on its way to the host before it runs on,
 * also if its next step brings the kernel down. (musl has no sched_setscheduler.) */
static void go_first(void)
{
	const int priority = 1;

	syscall(SYS_sched_setscheduler, 0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority);
}

/* One descriptor that is readable if either is; the first alone without the other. */
static int either(int one, int other)
{
	struct epoll_event e = {.events = EPOLLIN};
	int both = other < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);

	if (both < 0 || epoll_ctl(both, EPOLL_CTL_ADD, one, &e) ||
	    epoll_ctl(both, EPOLL_CTL_ADD, other, &e))
		return one;
	return both;
}

void run_command(const struct command *c)
{
	static struct streams s; /* large */
	int fds[3], ends, cpus, wake, status = 0;
	bool ended = false, host = true;
	sigset_t children;
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	ends = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
	cpus = cpus_watch();
	wake = either(ends, cpus);
	streams_open(&s, c, fds);
	raise_networks(c->nets, fds[STDERR_FILENO]);
	go_first();
	tell(s.control, COMMAND_STARTED, 0);
	pid = fork();
	if (!pid)
		become(c, fds);
	if (pid < 0 || ends < 0)
		give_up("the command cannot be started: %s", strerror(errno));
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	while (host && streams_run(&s, wake, ended)) {
		struct signalfd_siginfo info;

		(void)!read(ends, &info, sizeof(info));
		cpus_bring_up(cpus);
		ended |= reap(pid, &status);
		host = obey(&s, pid);
	}
	if (host) {
		streams_close(&s);
		/* Should its system take too long to power off, what it wrote is there. */
		if (c->init)
			sync();
		tell(s.control, COMMAND_EXITED, (uint32_t)status);
		while (obey(&s, pid))
			poll(&(struct pollfd){s.control, POLLIN, 0}, 1, -1);
	}
	if (c->init && system_power_off())
		_exit(0);
	power_off();
}
