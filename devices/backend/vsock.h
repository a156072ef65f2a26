/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock: who answers on the host when the guest opens a socket of AF_VSOCK, and where the
 * host's own connections to the guest come from.
 *
 * A connection is a connected stream socket of the host's (of AF_UNIX: one end of
 * socketpair(2), or what connect(2) and accept(2) give). The device owns it from the moment it
 * gets it, reads and writes it without ever waiting, and closes it when the connection ends.
 * Half-closes go both ways as shutdown(2) has them.
 *
 *	device                                       backend
 *	attach                 --------------------> the driver is there
 *	connect(port)          --------------------> a socket, or "refused"
 *	                       <-------------------- open(guest's port, socket)
 *	answered(port or 0)    -------------------->
 *	detach                 --------------------> it is not there any more
 *
 * vsock_unix is one, which has a path; another may be made of the ends of socket pairs
 * whose other ends somebody in the process holds.
 *
 * Or it is the host's kernel that has the sockets (vsock_vhost): it takes the packets from the
 * guest's rings and puts them there, and the device has nothing to do with connections.
 *
 *	attach, take_rings()   --------------------> it serves them
 *	                       <-------------------- broken(), if it cannot make sense of them
 *	give_rings(), detach   --------------------> and serves them no more
 */
#ifndef DEVICES_BACKEND_VSOCK_H
#define DEVICES_BACKEND_VSOCK_H

#include "devices/backend/vhost.h"
#include "vmm/core/loop.h"

#include <stdint.h>

/* The rings of packets: those that the guest receives, and those that it sends. */
enum { VSOCK_RING_RX, VSOCK_RING_TX, VSOCK_RINGS };

struct vsock_backend;

struct vsock_backend_ops {
	/* From here on open() may be called, on `loop`, which all calls but destroy come from.
	 * `detach` undoes it; then comes another attach, or destroy. Attach gives 0 or a
	 * negative errno. Either may be NULL. */
	int (*attach)(struct vsock_backend *b, struct loop *loop);
	void (*detach)(struct vsock_backend *b);

	/* The guest wants a connection to the host's `port`: a connected stream socket, whose
	 * owner is the device from here on, or a negative errno: the guest is refused. Never
	 * waits. */
	int (*connect)(struct vsock_backend *b, uint32_t port);

	/* The guest has answered to what was handed in with open(): it is connected, from
	 * `host_port`, and nothing was read from `fd` or written to it yet; or, with 0, it was
	 * refused, and `fd` is closed when this returns. There is no answer when the device is
	 * reset before; then `fd` is closed. May be NULL. */
	void (*answered)(struct vsock_backend *b, void *who, int fd, uint32_t host_port);

	/* Not NULL: connections are its affair, and open(), connect() and answered() are not
	 * called. Serve the rings until give_rings(), for a guest that has negotiated
	 * `features`, while attached: 0, or a negative errno and none is served. */
	int (*take_rings)(struct vsock_backend *b, const struct guest_mem *gm, uint64_t features,
			  const struct vhost_ring rings[VSOCK_RINGS]);
	/* When it is back, nothing more is stored into the guest's RAM, and each `next` is
	 * set. Before detach. */
	void (*give_rings)(struct vsock_backend *b, struct vhost_ring rings[VSOCK_RINGS]);

	/* Any thread, detached. */
	void (*destroy)(struct vsock_backend *b);
};

/* An opened backend; a backend embeds it as its first member. */
struct vsock_backend {
	const struct vsock_backend_ops *ops;

	/* Set by the device. Connect `fd` to the guest's `port`: 0, and the socket is the
	 * device's, which will call answered() with `who`; or -ENOBUFS, -ENOMEM: there are too
	 * many connections, and the caller still has it. Loop thread, attached. */
	int (*open)(void *ctx, uint32_t port, int fd, void *who);
	/* The rings that it was given make no sense; they are still its. Loop thread. */
	void (*broken)(void *ctx);
	void *ctx;
};

/* NULL is fine. */
static inline void vsock_backend_destroy(struct vsock_backend *b)
{
	if (b)
		b->ops->destroy(b);
}

#endif
