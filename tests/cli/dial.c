/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dial PATH: connects stdin and stdout with a unix socket that listens at PATH, or with
 * a terminal there. Ends when the other side does, or on a signal; the end of stdin is
 * passed on to a socket and otherwise ignored. Status: 0, or 1 with a line that says why.
 *
 * dial -l PATH COMMAND...: becomes COMMAND, with a socket that listens at PATH as its descriptor 3,
 * as systemd hands one over. dial -c COMMAND...: runs it with one end of a connection as its 3
 * and without a stdin, and connects stdin and stdout with the other.
 *
 * dial -s NAME[:NAME]... COMMAND...: becomes COMMAND, with a socket that listens at each NAME, and
 * the variables LISTEN_* that tell of them. dial -n NAME: tells of each datagram that comes to
 * NAME, a path or with @ in front no file's name, in a line where a blank and a comma stand for its
 * newlines. dial -m TEXT: has what `minivmm list` finds a machine by, with TEXT in it, until a
 * signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "dial: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return addr;
}

static _Noreturn void become(int fd, char **command)
{
	if (fd < 0 || (fd != 3 && (dup2(fd, 3) < 0 || close(fd))))
		die("a socket");
	fcntl(3, F_SETFD, 0);
	execvp(command[0], command);
	die(command[0]);
}

static int listener(const char *path)
{
	const struct sockaddr_un addr = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 4))
		die(path);
	return fd;
}

enum { HIGH = 200 };

static _Noreturn void activate(char *names, char **command)
{
	char number[16], *rest;
	int n = 0;

	setenv("LISTEN_FDNAMES", names, 1);
	/* Whoever started us may have left some of these numbers open. */
	for (char *name = strtok_r(names, ":", &rest); name; name = strtok_r(NULL, ":", &rest)) {
		if (fcntl(listener(name), F_DUPFD_CLOEXEC, HIGH + n) != HIGH + n)
			die("a high descriptor");
		n++;
	}
	for (int i = 0; i < n; i++)
		if (dup2(HIGH + i, 3 + i) < 0)
			die("dup2");
	snprintf(number, sizeof(number), "%d", n);
	setenv("LISTEN_FDS", number, 1);
	snprintf(number, sizeof(number), "%d", getpid());
	setenv("LISTEN_PID", number, 0); /* unless a test wants it wrong */
	execvp(command[0], command);
	die(command[0]);
}

static _Noreturn void tell_datagrams(const char *name)
{
	struct sockaddr_un addr = address(name);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char text[4096];
	ssize_t n;

	if (*name == '@')
		addr.sun_path[0] = '\0';
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, len))
		die(name);
	while ((n = recv(fd, text, sizeof(text), 0)) >= 0) {
		for (ssize_t i = 0; i < n; i++)
			printf(text[i] == '\n' ? " , " : "%c", text[i]);
		putchar('\n');
		fflush(stdout);
	}
	die(name);
}

static _Noreturn void play_machine(const char *text)
{
	int fd = memfd_create("minivmm-control", 0);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die("memfd_create");
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

/* Gives our end. */
static int begin(char **command)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		die("socketpair");
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		close(0);
		open("/dev/null", O_RDONLY);
		become(ends[1], command);
	}
	close(ends[1]);
	return ends[0];
}

static int dial(const char *path)
{
	const struct sockaddr_un addr = address(path);
	struct stat st;
	int fd;

	if (stat(path, &st))
		die(path);
	if (!S_ISSOCK(st.st_mode)) {
		fd = open(path, O_RDWR | O_NOCTTY);
		if (fd < 0)
			die(path);
		return fd;
	}
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		die(path);
	return fd;
}

/* Gives false at the end. */
static int pass(int from, int to)
{
	char buf[4096];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n <= 0)
		return 0;
	for (ssize_t at = 0, m; at < n; at += m) {
		m = write(to, buf + at, (size_t)(n - at));
		if (m < 0)
			return 0;
	}
	return 1;
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "-l"))
		become(listener(argv[2]), argv + 3);
	if (argc > 3 && !strcmp(argv[1], "-s"))
		activate(argv[2], argv + 3);
	if (argc == 3 && !strcmp(argv[1], "-m"))
		play_machine(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "-n"))
		tell_datagrams(argv[2]);
	if (argc != 2 && (argc < 3 || strcmp(argv[1], "-c") != 0)) {
		fprintf(stderr, "usage: dial PATH | -l PATH COMMAND... | -c COMMAND... | -s NAMES "
				"COMMAND... | -n NAME | -m TEXT\n");
		return 2;
	}
	int fd = argc > 2 ? begin(argv + 2) : dial(argv[1]);
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};

	for (;;) {
		if (poll(p, 2, -1) < 0)
			die("poll");
		if (p[1].revents && !pass(0, fd)) {
			shutdown(fd, SHUT_WR); /* a terminal knows no such thing */
			p[1].fd = -1;
		}
		if (p[0].revents && !pass(fd, 1))
			return 0;
	}
}
