/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dial PATH: connects stdin and stdout with a unix socket that listens at PATH, or with
 * a terminal there. Ends when the other side does, or on a signal; the end of stdin is
 * passed on to a socket and otherwise ignored. Status: 0, or 1 with a line that says why.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "dial: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int dial(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
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
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
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
	if (argc != 2) {
		fprintf(stderr, "usage: dial PATH\n");
		return 2;
	}
	int fd = dial(argv[1]);
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
