/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_unix: the guest's sockets as unix sockets of the host, by the convention that
 * Firecracker and Cloud Hypervisor have.
 *
 * From the guest: a connection to port P of the host (CID 2) becomes one to the unix socket
 * PATH_P, where a program of the host listens. Is nobody there, or has he no room among those
 * that wait for him, the guest is refused.
 *
 * To the guest: a program connects to PATH and says "CONNECT P\n". When somebody in the guest
 * who listens at port P has accepted, it reads "OK N\n", N the port on the host's side, and
 * then what it reads and writes is the guest's. Is it refused, or is the line no such line,
 * longer than that, or not there within 10 s, the connection is closed. While the guest has no
 * driver, who connects waits.
 *
 * Who may connect to PATH may talk to the guest's programs: its mode is 0600. The guest
 * reaches whatever listens at PATH_*, and nothing else.
 */
#ifndef DEVICES_BACKEND_VSOCK_UNIX_H
#define DEVICES_BACKEND_VSOCK_UNIX_H

#include "devices/backend/vsock.h"
#include "vmm/base/err.h"

/* `name` and `path` are copied; messages begin with the former: "--vsock". Nothing is made on
 * the host yet. 0, or -ENOMEM with *e filled. Any thread. */
int vsock_unix_create(struct vsock_backend **out, const char *name, const char *path,
		      struct err *e);
/* Could the path be made? A socket that a process left there when it died may be replaced. 0,
 * or a negative errno with *e filled: ERR_USAGE for what the user can mend. */
int vsock_unix_check(struct vsock_backend *b, struct err *e);
/* Make it; destroy removes it. Errors likewise. */
int vsock_unix_listen(struct vsock_backend *b, struct err *e);
/* Its thread is not to connect: have a process begun that does (vsock_connector.h), until destroy.
 * 0, or a negative errno with *e filled. A process without threads. */
int vsock_unix_confine(struct vsock_backend *b, struct err *e);
/* How long a client has for its line, instead of 10 s; for those that come from here on. Loop
 * thread, or detached. */
void vsock_unix_set_patience(struct vsock_backend *b, unsigned ms);

#endif
