/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/peer.h"

#include "vmm/base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int peer_open(struct peer *p, int fd)
{
	*p = (struct peer){.fd = fd, .in = malloc(CONTROL_LINE_MAX)};
	if (p->in)
		return 0;
	peer_close(p);
	return -ENOMEM;
}

void peer_close(struct peer *p)
{
	fd_close(&p->fd);
	for (unsigned i = 0; i < p->n_sent; i++)
		close(p->sent[i].fd);
	free(p->in);
	free(p->out);
	*p = (struct peer){.fd = -1};
}

int peer_send(struct peer *p)
{
	while (p->out) {
		ssize_t n = send(p->fd, p->out + p->out_at, p->out_len - p->out_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		p->out_at += (size_t)n;
		if (p->out_at == p->out_len) {
			free(p->out);
			p->out = NULL;
		}
	}
	return 1;
}

bool peer_put(struct peer *p, char *line)
{
	size_t len = line ? strlen(line) : 0;

	if (!p->out) {
		p->out = line;
		p->out_at = 0;
		p->out_len = len;
		return true;
	}
	/* Of one that reads slowly, what is out by now does not pile up in front. */
	p->out_len -= p->out_at;
	memmove(p->out, p->out + p->out_at, p->out_len);
	p->out_at = 0;
	char *all = len ? realloc(p->out, p->out_len + len) : p->out;

	if (all) {
		p->out = all;
		memcpy(all + p->out_len, line ? line : "", len);
		p->out_len += len;
	}
	free(line);
	return all;
}

/* The descriptors that came with the first `len` bytes are *fds now, which was empty. Gives
 * whether those are all that did. */
static bool collect(struct peer *p, size_t len, struct rpc_fds *fds)
{
	bool all = !p->lost_at || p->lost_at > len;
	unsigned kept = 0;

	for (unsigned i = 0; i < p->n_sent; i++) {
		if (p->sent[i].at <= len)
			fds->fd[fds->n++] = p->sent[i].fd;
		else
			p->sent[kept++] = (struct peer_fd){p->sent[i].fd, p->sent[i].at - len};
	}
	p->n_sent = kept;
	p->lost_at = all && p->lost_at ? p->lost_at - len : 0;
	return all;
}

static void drop(struct peer *p, size_t len)
{
	p->in_len -= len;
	memmove(p->in, p->in + len, p->in_len);
}

void peer_taken(struct peer *p, size_t len)
{
	drop(p, len + 1);
}

/* Of a line that does not fit, drop what is here. Its sender has been told. */
static void skip(struct peer *p)
{
	char *end = memchr(p->in, '\n', p->in_len);
	size_t len = end ? (size_t)(end - p->in) + 1 : p->in_len;
	struct rpc_fds fds = {0};

	p->skips = !end;
	collect(p, len, &fds);
	rpc_close_fds(&fds);
	drop(p, len);
}

enum peer_line peer_line(struct peer *p, size_t *len, struct rpc_fds *fds)
{
	static const char too_many[] = "more descriptors came with the line than can be taken";
	char *end = memchr(p->in, '\n', p->in_len);

	if (!end && p->in_len == CONTROL_LINE_MAX) {
		peer_put(p, rpc_complaint(RPC_INVALID_REQUEST, "the line is too long"));
		skip(p);
		return PEER_REFUSED;
	}
	if (!end)
		return PEER_NONE;
	*len = (size_t)(end - p->in);
	if (collect(p, *len + 1, fds))
		return PEER_LINE;
	rpc_close_fds(fds);
	drop(p, *len + 1);
	peer_put(p, rpc_complaint(RPC_INVALID_REQUEST, too_many));
	return PEER_REFUSED;
}

/* What came beside the last of the bytes. */
static void take_sent(struct peer *p, struct msghdr *m)
{
	struct cmsghdr *h = CMSG_FIRSTHDR(m);

	for (; h; h = CMSG_NXTHDR(m, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			if (p->n_sent < RPC_FDS_MAX) {
				p->sent[p->n_sent++] = (struct peer_fd){fd, p->in_len};
			} else {
				p->lost_at = p->in_len;
				close(fd);
			}
		}
	}
	/* More than there was room for, or the process has no numbers left. */
	if (m->msg_flags & MSG_CTRUNC)
		p->lost_at = p->in_len;
}

/* What has descriptors beside it ends what one recvmsg() gives [unix(7)], so they are those of the
 * last byte. */
void peer_receive(struct peer *p)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * RPC_FDS_MAX)];
	} beside;
	struct iovec iov = {p->in + p->in_len, CONTROL_LINE_MAX - p->in_len};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &beside,
		.msg_controllen = CMSG_LEN(sizeof(int) * RPC_FDS_MAX),
	};
	ssize_t n = recvmsg(p->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n > 0) {
		p->in_len += (size_t)n;
		take_sent(p, &m);
	} else if (!n || (errno != EAGAIN && errno != EINTR)) {
		p->last = true;
	}
	if (p->skips)
		skip(p);
}
