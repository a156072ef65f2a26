/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/notify.h"

#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/base/utf8.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static const char variable[] = "NOTIFY_SOCKET";

/* A path, or with @ in front a name that is no file's. */
static int connect_to(const char *name)
{
	const struct timeval patience = {.tv_sec = 1};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	_cleanup_fd_ int fd = -1;

	if (*name != '/' && *name != '@')
		return -EAFNOSUPPORT;
	if (len < 2 || len >= sizeof(addr.sun_path))
		return -EINVAL;
	memcpy(addr.sun_path, name, len);
	if (*name == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    connect(fd, (const struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)))
		return -errno;
	return fd_take(&fd);
}

static void say(struct notify *n, const char *text)
{
	ssize_t sent;

	do
		sent = send(n->fd, text, strlen(text), MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return;
	log_warn("NOTIFY_SOCKET: the service manager cannot be told: %s", strerror(errno));
	fd_close(&n->fd);
}

static int begins(void *ctx, struct machine *m, struct loop *loop, struct err *e)
{
	const struct notify *n = ctx;

	return n->inner ? n->inner->begins(n->inner->ctx, m, loop, e) : 0;
}

static void runs(void *ctx)
{
	struct notify *n = ctx;
	char text[400];

	if (n->inner && n->inner->runs)
		n->inner->runs(n->inner->ctx);
	if (n->fd < 0)
		return;
	snprintf(text, sizeof(text), "READY=1\nSTATUS=The guest runs: %u CPUs, %lu MiB",
		 n->config->cpus, n->config->memory >> 20);
	say(n, text);
}

static void ends(void *ctx)
{
	const struct notify *n = ctx;

	if (n->inner)
		n->inner->ends(n->inner->ctx);
}

void notify_open(struct notify *n, const struct vm_config *config)
{
	const char *name = getenv(variable);

	*n = (struct notify){.fd = -1, .config = config};
	if (!name)
		return;
	if (*name)
		n->fd = connect_to(name);
	if (*name && n->fd < 0)
		log_warn("NOTIFY_SOCKET=%.120s: the service manager cannot be told: %s", name,
			 strerror(-n->fd));
	unsetenv(variable);
}

const struct machine_watcher *notify_watcher(struct notify *n, const struct machine_watcher *inner)
{
	if (n->fd < 0)
		return inner;
	n->inner = inner;
	n->watcher = (struct machine_watcher){begins, runs, ends, n};
	return &n->watcher;
}

void notify_close(struct notify *n, const char *why)
{
	char text[600], *clean;

	if (n->fd < 0)
		return;
	/* A guest may have said it, and a line of its own would be one of ours. */
	clean = utf8_clean(why, strlen(why));
	for (char *c = clean; c && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	snprintf(text, sizeof(text), "STOPPING=1\nSTATUS=%s", clean ? clean : "");
	free(clean);
	say(n, text);
	fd_close(&n->fd);
}
