/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply: asks a guest something over vsock (--vsock SOCKET), whose init is reply_init.c.
 *
 *	bench-reply start SOCKET COMMAND...   from the fork of COMMAND to a reply, in ms, on stdout;
 *	                                      then COMMAND is killed;
 *	                                      it may be a template's (asked.h)
 *	bench-reply SOCKET WORD MIB           waits for the reply (reply.h)
 *
 * It asks anew each 2 ms until somebody replies: the processor may be one for all.
 */
#include "tests/bench/reply.h"
#include "tests/bench/contenders.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PAUSE_US = 2000, LIMIT_MS = 300000 };

/* Whether the bytes that come end in a reply. */
static bool replied(int fd)
{
	char text[64] = "";
	size_t len = 0;

	while (len < sizeof(text) - 1) {
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);

		if (n <= 0)
			return false;
		len += (size_t)n;
		text[len] = '\0';
		if (strstr(text, "!\n"))
			return true;
	}
	return false;
}

static bool ask(const char *path, const char *line)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char text[128];
	bool ok = false;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	int n = snprintf(text, sizeof(text), "CONNECT %d\n%s\n", REPLY_PORT, line);

	if (fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		ok = send(fd, text, (size_t)n, MSG_NOSIGNAL) == n && replied(fd);
	close(fd);
	return ok;
}

static void ask_until(const char *path, const char *line)
{
	double until = contenders_now_ms() + LIMIT_MS;

	while (!ask(path, line)) {
		if (contenders_now_ms() > until)
			contenders_die(path, "no reply");
		usleep(PAUSE_US);
	}
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc > 3 && !strcmp(argv[1], "start")) {
		struct contender c = {.name = "it", .argv = argv + 3};
		int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
		double from = contenders_now_ms();
		pid_t pid = contenders_spawn(&c, nothing);

		ask_until(argv[2], REPLY_PING " 0");
		printf("%.3f\n", contenders_now_ms() - from);
		contenders_kill(pid, SIGKILL);
		contenders_wait(pid);
		return 0;
	}
	if (argc != 4)
		contenders_die("usage", "bench-reply start SOCKET COMMAND... | SOCKET WORD MIB");
	snprintf(line, sizeof(line), "%.16s %.16s", argv[2], argv[3]);
	ask_until(argv[1], line);
	return 0;
}
