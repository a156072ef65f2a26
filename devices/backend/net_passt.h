/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_passt: the outside world without privileges, by passt(1) as a child.
 *
 * passt speaks for the guest with the host's own sockets: it answers its DHCP, NDP and
 * DNS, and opens a connection for each of the guest's. It confines itself (namespaces,
 * seccomp, no capabilities, user nobody where it is started by root), and it sees
 * nothing of us but its end of a socket.
 *
 * It does not outlive us, whatever our end is: it ends when our end of the socket
 * closes, which the kernel does for us in the worst case; and where it has not changed
 * its user, the kernel kills it when the thread that started it ends.
 */
#ifndef DEVICES_BACKEND_NET_PASST_H
#define DEVICES_BACKEND_NET_PASST_H

#include "devices/backend/net.h"

/* A port of the host that leads to one of the guest. */
struct net_forward {
	bool udp;
	const char *address; /* of the host's, to listen at; NULL: all. Borrowed */
	uint16_t host, guest;
};

/* Start passt, without waiting until it is ready. All errors begin "--net user". On
 * success *out is owned by the caller. Before there are threads. */
int net_passt_open(struct net **out, const struct net_forward *forwards, unsigned n, struct err *e);

/* Wait until a backend of net_passt_open() is ready, some seconds at most: 0, or why
 * not. Before it is attached. */
int net_passt_wait(struct net *n, struct err *e);

#endif
