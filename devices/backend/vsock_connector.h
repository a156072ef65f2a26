/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_connector: who connects to the host's unix sockets for a thread that may not.
 *
 * connect(2) takes a path behind a pointer, which no filter follows, and Landlock leaves it alone:
 * a thread with that call reaches every unix socket of its user's. So a child process has it
 * instead, begun before anything of the guest's is read. All that it hears is a port, and all that
 * it gives is a connection to PATH_port.
 */
#ifndef DEVICES_BACKEND_VSOCK_CONNECTOR_H
#define DEVICES_BACKEND_VSOCK_CONNECTOR_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

struct vsock_connector {
	int wire; /* our end; -1: there is none */
	pid_t child;
	int child_fd; /* child_open()'s */
};

#define VSOCK_CONNECTOR_NONE ((struct vsock_connector){.wire = -1, .child_fd = -1})

/* Begin one. `path` is as the process's directory is now. 0 or a negative errno. A process without
 * threads. */
int vsock_connector_start(struct vsock_connector *c, const char *path);

/* A connection to who listens at PATH_port, that does not block: a descriptor, or a negative
 * errno as of unix_path_connect(); -EPIPE if the child has gone. One thread at a time. */
int vsock_connector_connect(const struct vsock_connector *c, uint32_t port);

/* The child is gone afterwards. One that was not begun is fine. */
void vsock_connector_stop(struct vsock_connector *c);

/* Without a child: the same here and now. */
int vsock_connect_here(const char *path, uint32_t port);

/* How long a path may be, for a port to be put behind it. */
enum { VSOCK_PORT_DIGITS = 10 };
#define VSOCK_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1 - 1 - VSOCK_PORT_DIGITS)

#endif
