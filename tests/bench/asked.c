/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/asked.h"

#include "tests/bench/contenders.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ASKED_MAX = 1 << 17, FIRST = -2 };

/* By the id of the request; -1: not known yet. */
static struct {
	pid_t pid;
	int status;
} asked[ASKED_MAX];
static unsigned n_asked;
static FILE *answers;

bool asked_is(char *const *argv)
{
	return !strcmp(argv[0], "ask:") && argv[1];
}

static int connected(const char *path)
{
	static int fd = -1;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (fd >= 0)
		return fd;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		contenders_die(path, strerror(errno));
	answers = fdopen(fd, "r");
	if (answers)
		setvbuf(answers, NULL, _IONBF, 0); /* what has come shows at the descriptor */
	return fd;
}

pid_t asked_for(char *const *argv, int out)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(out))];
	} beside = {.header = {.cmsg_len = CMSG_LEN(sizeof(out)),
			       .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS}};
	char line[160];
	struct iovec iov = {.iov_base = line};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &beside,
			   .msg_controllen = sizeof(beside.bytes)};

	if (n_asked == ASKED_MAX)
		contenders_die(argv[1], "too many");
	memcpy(CMSG_DATA(&beside.header), &out, sizeof(out));
	iov.iov_len = (size_t)snprintf(line, sizeof(line),
				       "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"clone\","
				       "\"params\":{\"stdout\":0}}\n",
				       n_asked);
	if (sendmsg(connected(argv[1]), &m, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
		contenders_die(argv[1], strerror(errno));
	asked[n_asked].pid = asked[n_asked].status = -1;
	return FIRST - (pid_t)n_asked++;
}

/* Of the process that ended. Numbers of processes come again: the youngest is meant. */
static void note_end(pid_t pid, int status)
{
	for (unsigned i = n_asked; i-- > 0;)
		if (asked[i].pid == pid) {
			asked[i].status = status;
			return;
		}
}

static void hear(void)
{
	static char line[4096];
	json_int_t id = 0, pid = 0, status = -1;
	const char *method = NULL, *why = NULL;

	if (!fgets(line, sizeof(line), answers))
		contenders_die("the template", "it has ended");
	json_t *o = json_loads(line, 0, NULL);

	json_unpack(o, "{s:I}", "id", &id);
	json_unpack(o, "{s:s}", "method", &method);
	json_unpack(o, "{s:{s:s}}", "error", "message", &why);
	json_unpack(o, "{s:{s:I}}", "result", "pid", &pid);
	json_unpack(o, "{s:{s:I, s:I}}", "params", "pid", &pid, "status", &status);
	if (why)
		fprintf(stderr, "bench: the template: %s\n", why);
	if (method)
		note_end((pid_t)pid, (int)status);
	else if (id >= 0 && id < n_asked)
		asked[id].pid = (pid_t)pid;
	json_decref(o);
}

pid_t asked_pid(pid_t who)
{
	unsigned i = (unsigned)(FIRST - who);

	while (asked[i].pid < 0)
		hear();
	return asked[i].pid;
}

void asked_kill(pid_t who, int signum)
{
	unsigned i = (unsigned)(FIRST - who);
	pid_t pid = asked_pid(who);
	struct pollfd p = {.fd = fileno(answers), .events = POLLIN};

	/* Its number may be another's once its parent has buried it. */
	while (poll(&p, 1, 0) > 0)
		hear();
	if (pid > 0 && asked[i].status < 0)
		kill(pid, signum);
}

int asked_status(pid_t who)
{
	unsigned i = (unsigned)(FIRST - who);

	while (asked_pid(who) && asked[i].status < 0)
		hear();
	return asked[i].status;
}
