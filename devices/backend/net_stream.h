/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_stream: frames over a connected stream socket, as QEMU's stream netdev and passt
 * speak: the length of a frame in 4 bytes, big-endian, and the frame.
 */
#ifndef DEVICES_BACKEND_NET_STREAM_H
#define DEVICES_BACKEND_NET_STREAM_H

#include "devices/backend/net.h"

enum { NET_STREAM_LEN = 4 };

/* Others embed it as their first member, with ops of their own made from these. */
struct net_stream {
	struct net net;
	int fd; /* owned */
	/* Why the other end hung up, for a person. Into `text`, or a constant. NULL function:
	 * nobody knows. It gives NULL while that is about to become known: the device is not
	 * told yet, and net_stream_hang_up() is called again. */
	const char *(*why)(struct net_stream *s);
	char text[200];

	struct loop_fd *watch;
	bool wants;   /* frames are wanted */
	bool blocked; /* a send was put off */
	bool hung_up; /* for good */
	bool told;    /* and the device knows */

	/* Reception: the length of the next frame, as much as there is of it; then the
	 * frame, into the caller's iovec. */
	uint8_t len[NET_STREAM_LEN];
	size_t len_got;
	bool receiving;
	int at, n_iov;     /* where in the caller's iovec */
	size_t frame, got; /* its length, and what there is of it */
	uint64_t skip;     /* bytes of frames that nobody wants */

	/* Transmission: the end of a frame of which the socket took only the front. */
	uint8_t *rest; /* owned */
	size_t rest_at, rest_len;
};

/* `fd` is taken over, also on failure. 0 or -ENOMEM. */
int net_stream_init(struct net_stream *s, int fd);
void net_stream_fini(struct net_stream *s);

/* The parts of a struct net_ops. */
int net_stream_attach(struct net *n, struct loop *loop, unsigned offloads);
void net_stream_detach(struct net *n);
void net_stream_want(struct net *n, bool frames);
ssize_t net_stream_receive(struct net *n, struct net_hdr *hdr, struct iovec *iov, int n_iov);
bool net_stream_receiving(const struct net *n);
void net_stream_abandon(struct net *n);
int net_stream_send(struct net *n, const struct net_hdr *hdr, struct iovec *iov, int n_iov,
		    size_t len);

/* The other end is gone: tell the device, once, as soon as it is known why. Loop thread. */
void net_stream_hang_up(struct net_stream *s);

#endif
