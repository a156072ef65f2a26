/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/vsock_connector.h"

#include "devices/backend/unix_path.h"
#include "vmm/base/child.h"
#include "vmm/base/fd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

int vsock_connect_here(const char *path, uint32_t port)
{
	char whole[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int len = snprintf(whole, sizeof(whole), "%s_%u", path, port);

	return len < (int)sizeof(whole) ? unix_path_connect(whole) : -ENAMETOOLONG;
}

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

/* --- the child ------------------------------------------------------------------------------- */

static int answer(int wire, int32_t result)
{
	int32_t said = result < 0 ? result : 0;
	struct iovec iov = {&said, sizeof(said)};
	union control control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (result >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
		control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
						  .cmsg_type = SCM_RIGHTS,
						  .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(&control.header), &result, sizeof(int));
	}
	return sendmsg(wire, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* With every signal blocked: it ends when the other end of the wire closes. */
static _Noreturn void serve(const char *path, int wire)
{
	uint32_t port;

	setsid();
	prctl(PR_SET_NAME, "minivmm-vsock");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (dup2(wire, 0) < 0)
		_exit(1);
	fd_close_from(1);
	while (recv(0, &port, sizeof(port), 0) == sizeof(port)) {
		_cleanup_fd_ int fd = vsock_connect_here(path, port);

		if (answer(0, fd))
			break;
	}
	_exit(0);
}

/* --- our side -------------------------------------------------------------------------------- */

int vsock_connector_start(struct vsock_connector *c, const char *path)
{
	int wires[2];
	sigset_t all, before;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wires))
		return -errno;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t child = fork();
	int ret = child < 0 ? -errno : 0;

	if (!child)
		serve(path, wires[1]);
	sigprocmask(SIG_SETMASK, &before, NULL);
	fd_close(&wires[1]);
	if (ret)
		fd_close(&wires[0]);
	else
		*c = (struct vsock_connector){wires[0], child, child_open(child)};
	return ret;
}

int vsock_connector_connect(const struct vsock_connector *c, uint32_t port)
{
	int32_t said = 0;
	struct iovec iov = {&said, sizeof(said)};
	union control control = {0};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control.room)};
	ssize_t n;
	int fd;

	if (send(c->wire, &port, sizeof(port), MSG_NOSIGNAL) < 0)
		return -errno;
	do
		n = recvmsg(c->wire, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(said))
		return n < 0 ? -errno : -EPIPE;
	const struct cmsghdr *header = CMSG_FIRSTHDR(&msg);

	if (said < 0)
		return said;
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return -EMFILE; /* it was sent, and there was no room for it here */
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

void vsock_connector_stop(struct vsock_connector *c)
{
	if (c->wire < 0)
		return;
	fd_close(&c->wire);
	child_kill(c->child, c->child_fd); /* somebody may have stopped it */
	while (waitpid(c->child, NULL, 0) < 0 && errno == EINTR)
		;
	fd_close(&c->child_fd);
}
