/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_net: a network whose other end is the test: frames that wait to be received, as
 * whole or in pieces, and a record of those that were sent.
 */
#ifndef TESTS_LIB_FAKE_NET_H
#define TESTS_LIB_FAKE_NET_H

#include "devices/backend/net.h"

enum { FAKE_NET_FRAMES = 600 };

struct fake_frame {
	struct net_hdr hdr;
	uint8_t *data; /* owned */
	size_t len;
};

struct fake_net {
	struct net net;
	/* Coming in: from `next` on they wait. */
	struct fake_frame in[FAKE_NET_FRAMES];
	unsigned n_in, next;
	size_t piece; /* not 0: only so many bytes of a frame come at each call */
	size_t got;   /* of the frame that is on its way in */
	bool receiving;
	unsigned receives, abandoned;
	bool wants;

	/* Gone out. */
	struct fake_frame out[FAKE_NET_FRAMES];
	unsigned n_out;
	bool busy; /* takes nothing */
	int refused;

	/* It can serve the guest's rings (fake_net_serves_rings), and does: the test plays
	 * the kernel. What it did comes back in `rings`. */
	bool has_rings;
	struct vhost_ring rings[NET_RINGS];
	uint64_t ring_features;
	unsigned takes;
	int take_error;

	unsigned attached; /* attach minus detach */
	unsigned offloads; /* of the last attach */
	int attach_error;
	bool *destroyed; /* told, if not NULL */
};

/* With these of NET_OFFLOAD_*, and no MTU. */
struct fake_net *fake_net_create(unsigned offloads);
/* From here on it can serve rings. */
void fake_net_serves_rings(struct fake_net *f);
/* As the kernel does: use the next chain of a ring, `len` bytes of it, and signal that.
 * Gives its head. */
uint16_t fake_net_use(struct fake_net *f, unsigned ring, uint32_t len);
/* A frame of `len` bytes, the first of them `seed` and each one more than the one
 * before, arrives; the device is told if it wants to be. */
void fake_net_arrive(struct fake_net *f, struct net_hdr hdr, size_t len, uint8_t seed);
/* What waits, is there: tell the device if it wants to know. */
void fake_net_tell(struct fake_net *f);
/* It takes frames again. */
void fake_net_unblock(struct fake_net *f);

#endif
