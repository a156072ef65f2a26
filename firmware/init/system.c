/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system: the command in the root's own system, whose init is the guest's.
 *
 * A child of ours stays behind when we become that init. To the system it is one of its
 * processes, with its root and its mounts; what it runs is in memory, so it does not mind
 * that the initramfs is gone. It waits until the system is up, runs the command, and has the
 * system power off.
 */
#include "firmware/init/command.h"

#include "firmware/init/report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { AGAIN_MS = 250, QUIET_MS = 3000 };

/* sd_booted(3). */
static const char systemd_mark[] = "/run/systemd/system";

static void wait_ms(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* Run it to its end, with what it says in `line` up to its first newline. Gives its status, -1
 * if it has none. */
static int ask(char *const *words, char *line, size_t size)
{
	int out[2], status = -1;
	size_t got = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		dup2(out[1], STDOUT_FILENO);
		execvp(words[0], words);
		_exit(1);
	}
	close(out[1]);
	while (got < size - 1 && (n = read(out[0], line + got, size - 1 - got)) > 0)
		got += (size_t)n;
	close(out[0]);
	line[got] = '\0';
	line[strcspn(line, "\n")] = '\0';
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* What has process 1 been run from? Until it is the root's init, that is our own file. */
static bool init_is(const char *name)
{
	char path[512];
	ssize_t n = readlink("/proc/1/exe", path, sizeof(path) - 1);
	const char *base;

	if (n < 0)
		return false;
	path[n] = '\0';
	base = strrchr(path, '/');
	return base && !strcmp(base + 1, name);
}

static bool init_is_ours(void)
{
	char ours[512], its[512];
	ssize_t n = readlink("/proc/self/exe", ours, sizeof(ours));

	return n > 0 && readlink("/proc/1/exe", its, sizeof(its)) == n &&
	       !memcmp(ours, its, (size_t)n);
}

/* systemd says when it has done all that it was to do at the start, well or not. */
static void await_systemd(void)
{
	static char *const wait[] = {"systemctl", "is-system-running", "--wait", NULL};
	static char *const look[] = {"systemctl", "is-system-running", NULL};
	char state[64];

	/* Waiting takes a message bus, which a small system may not have. */
	for (unsigned i = 0;; i++, wait_ms(AGAIN_MS)) {
		ask(i % 2 ? look : wait, state, sizeof(state));
		if (!strcmp(state, "running"))
			return;
		if (!strcmp(state, "degraded")) {
			say("the system is up, but some of its units have failed");
			return;
		}
		if (!strcmp(state, "maintenance") || !strcmp(state, "stopping"))
			give_up("the system does not come up: systemd says '%s'", state);
	}
}

/* The number of the last process that was begun. */
static long last_process(void)
{
	char text[128];
	const char *last;

	if (read_text("/proc/loadavg", text, sizeof(text)))
		return 0;
	last = strrchr(text, ' ');
	return last ? strtol(last, NULL, 10) : 0;
}

/* Does one wait for a disk, as one that is being loaded? */
static bool any_blocked(void)
{
	static const char key[] = "procs_blocked ";
	FILE *f = fopen("/proc/stat", "re");
	char *line = NULL;
	size_t size = 0;
	bool blocked = false;

	while (f && getline(&line, &size, f) >= 0)
		if (!strncmp(line, key, sizeof(key) - 1))
			blocked = strtol(line + sizeof(key) - 1, NULL, 10) > 0;
	free(line);
	if (f)
		fclose(f);
	return blocked;
}

/* Any other init says nothing; but while it brings the system up, it begins processes. */
static void await_quiet(void)
{
	long before = last_process();

	for (int quiet_ms = 0; quiet_ms < QUIET_MS; quiet_ms += AGAIN_MS) {
		wait_ms(AGAIN_MS);
		long last = last_process();

		if (last != before || any_blocked())
			quiet_ms = 0;
		before = last;
	}
}

static void await_system(void)
{
	while (init_is_ours() || (init_is("systemd") && access(systemd_mark, F_OK)))
		wait_ms(AGAIN_MS);
	if (access(systemd_mark, F_OK))
		await_quiet();
	else
		await_systemd();
}

bool system_power_off(void)
{
	static char *const words[] = {"systemctl", "start", "--no-block", "poweroff.target", NULL};
	char line[64];

	return !access(systemd_mark, F_OK) && !ask(words, line, sizeof(line));
}

/* Nobody else would notice that we have given up. */
static void end_guest(void)
{
	sync();
	reboot(RB_POWER_OFF);
}

void leave_command(const struct command *c)
{
	pid_t pid = fork();
	int null;

	if (pid < 0)
		give_up("a process for the command: %s", strerror(errno));
	if (pid)
		return;
	atexit(end_guest);
	prctl(PR_SET_NAME, "minivmm-init");
	setsid();
	/* The console is the system's. */
	null = open("/dev/null", O_RDWR);
	for (int i = 0; i <= STDERR_FILENO; i++)
		dup2(null, i);
	if (null > STDERR_FILENO)
		close(null);
	await_system();
	run_command(c);
}
