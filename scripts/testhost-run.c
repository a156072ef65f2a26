/*
 * testhost-run: the login shell of the test host (see scripts/testhost).
 *
 * dropbear runs it as `testhost-run -c STRING` for every command that comes in.
 * STRING is
 *
 *     run DIRECTORY NAME=VALUE... -- COMMAND ARGUMENT...
 *
 * with every word percent-encoded, so that no shell and no quoting is between
 * the caller's argv and the command's. "@FILE" instead stands for a file that
 * holds such a string (dropbear refuses command lines of more than 9000 bytes).
 *
 * The command runs in a control group of its own. When the connection goes
 * (the caller was interrupted or killed), dropbear's process ends, the kernel
 * tells us, and the command gets SIGTERM, then, after a grace period, SIGKILL
 * together with everything that it started. What a command that ended by itself
 * left running is killed too: nothing outlives its exec.
 *
 * The status is the command's own; 128 + N when signal N ended it; 127 when
 * there is no such command, 126 when it cannot be run, 125 for a failure here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GRACE_SECONDS 3

static void fail(const char *what, int err)
{
	fprintf(stderr, "testhost: %s: %s\n", what, strerror(err));
	exit(125);
}

static int hex(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Decodes one word in place. */
static void decode(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
			*out++ = (char)(hex(s[1]) << 4 | hex(s[2]));
			s += 2;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

static char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t got = 0;
	char *buf;

	if (fd < 0 || fstat(fd, &st) < 0)
		fail(path, errno);
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		fail(path, ENOMEM);
	while (got < (size_t)st.st_size) {
		ssize_t n = read(fd, buf + got, (size_t)st.st_size - got);
		if (n <= 0)
			fail(path, n < 0 ? errno : EIO);
		got += (size_t)n;
	}
	buf[got] = '\0';
	close(fd);
	return buf;
}

static int write_file(const char *dir, const char *name, const char *text)
{
	char path[128];
	int fd, rc;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	rc = write(fd, text, strlen(text)) < 0 ? -1 : 0;
	close(fd);
	return rc;
}

int main(int argc, char **argv)
{
	char *text, *save = NULL, *word, **words, *dir;
	char cgroup[64];
	size_t n = 0, i, room;
	struct timespec tick = {0, 2000000};
	int status, gone = 0;
	sigset_t set, old;
	pid_t child;

	if (argc < 3 || strcmp(argv[1], "-c") != 0)
		execl("/bin/bash", "-bash", (char *)NULL);
	text = argv[2];
	if (text[0] == '@')
		text = read_file(text + 1);
	if (strncmp(text, "run ", 4) != 0) {
		execl("/bin/sh", "sh", "-c", text, (char *)NULL);
		fail("/bin/sh", errno);
	}

	room = strlen(text) / 2 + 3;
	words = calloc(room, sizeof(*words));
	if (!words)
		fail("arguments", ENOMEM);
	for (word = strtok_r(text + 4, " ", &save); word; word = strtok_r(NULL, " ", &save))
		words[n++] = word;
	if (n < 1)
		fail("arguments", EINVAL);
	dir = words[0];
	decode(dir);
	clearenv();
	for (i = 1; i < n && strcmp(words[i], "--") != 0; i++) {
		decode(words[i]);
		putenv(words[i]);
	}
	words += i + 1;
	if (i + 1 >= n)
		fail("arguments", EINVAL);
	/* An empty word is sent as a lone "%". */
	for (i = 0; words[i]; i++) {
		if (strcmp(words[i], "%") == 0)
			words[i][0] = '\0';
		decode(words[i]);
	}

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &old);
	/* Ctrl-C on a terminal is the command's business. */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGTERM);

	/*
	 * The root is cached without asking whether it has changed on the machine
	 * outside. Forget what is not in use, so that this command sees what is
	 * there now: that costs it some 20 ms.
	 */
	write_file("/proc/sys/vm", "drop_caches", "6"); /* 2, and 4: no word about it in the log */

	snprintf(cgroup, sizeof(cgroup), "/sys/fs/cgroup/exec-%d", (int)getpid());
	if (mkdir(cgroup, 0755) < 0)
		fail(cgroup, errno);

	child = fork();
	if (child < 0)
		fail("fork", errno);
	if (child == 0) {
		if (write_file(cgroup, "cgroup.procs", "0") < 0)
			fail(cgroup, errno);
		sigprocmask(SIG_SETMASK, &old, NULL);
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		signal(SIGPIPE, SIG_DFL);
		if (chdir(dir) < 0)
			fail(dir, errno);
		execvp(words[0], words);
		fprintf(stderr, "testhost: %s: %s\n", words[0], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}

	/* The streams are the command's alone, so that their ends are seen. */
	for (i = 0; i < 3; i++) {
		int fd = open("/dev/null", O_RDWR);

		dup2(fd, (int)i);
		close(fd);
	}
	if (getppid() == 1)
		raise(SIGTERM);
	for (;;) {
		struct timespec grace = {GRACE_SECONDS, 0};
		int sig;
		pid_t pid = waitpid(child, &status, WNOHANG);

		if (pid == child)
			break;
		sig = gone ? sigtimedwait(&set, NULL, &grace) : sigwaitinfo(&set, NULL);
		if (sig == SIGTERM || sig == SIGHUP) {
			if (!gone)
				kill(child, SIGTERM);
			gone = 1;
		} else if (sig < 0 && errno == EAGAIN) {
			write_file(cgroup, "cgroup.kill", "1");
		}
	}
	write_file(cgroup, "cgroup.kill", "1");
	for (i = 0; i < 1000 && rmdir(cgroup) < 0 && errno == EBUSY; i++)
		nanosleep(&tick, NULL);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
