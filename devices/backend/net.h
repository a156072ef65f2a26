/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net: what a network device talks to on the host: Ethernet frames in and out.
 *
 * Everything but open and destroy runs on the device's loop thread and never waits.
 * Frames move between the guest's buffers and the host without a copy in between:
 * the caller describes them by an iovec whose FIRST entry is left to the backend,
 * which has something of its own before each frame on the wire (a tap its virtio_net
 * header, a stream socket the length), and may change all entries as it goes.
 *
 *	device                                backend
 *	attach            -----------------> watches its descriptor
 *	                  <----------------- readable(), as long as the device wants
 *	receive() ... until -EAGAIN
 *	send() ... until -EAGAIN
 *	                  <----------------- writable(), once
 *	                  <----------------- lost(), once: nothing comes or goes any more
 *
 * A backend may have a shorter way: the host's kernel takes the frames from the guest's
 * rings and puts them there.
 *
 *	take_rings()      -----------------> the kernel serves them
 *	                  <----------------- broken(), if it cannot make sense of them
 *	give_rings()      -----------------> and serves them no more
 */
#ifndef DEVICES_BACKEND_NET_H
#define DEVICES_BACKEND_NET_H

#include "devices/backend/vhost.h"
#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"
#include "vmm/core/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
	NET_FRAME_MIN = 14,    /* an Ethernet header */
	NET_FRAME_MAX = 65549, /* and the longest IP packet behind it: what segmentation
				* offload makes; a tag of 802.1Q makes it no longer */
	/* Entries of an iovec: what one readv(2) takes. */
	NET_IOV_MAX = 1024,
};

/* What the host may leave for the receiver to do, or do for the sender; of the meaning
 * of virtio's features [virtio 1.3 5.1.3], one bit for both directions. */
enum {
	NET_OFFLOAD_CSUM = 1, /* checksums */
	NET_OFFLOAD_TSO4 = 2, /* TCP segmentation; none without CSUM */
	NET_OFFLOAD_TSO6 = 4,
	NET_OFFLOAD_ECN = 8,
	NET_OFFLOAD_UFO = 16, /* fragmentation of UDP; none without CSUM */
	NET_OFFLOAD_USO = 32, /* segmentation of UDP, IPv4 and IPv6; none without CSUM */
};

/* struct virtio_net_hdr's fields, in the host's byte order [virtio 1.3 5.1.6]. */
enum {
	NET_HDR_F_NEEDS_CSUM = 1,
	NET_HDR_F_DATA_VALID = 2,
	NET_HDR_GSO_NONE = 0,
	NET_HDR_GSO_TCPV4 = 1,
	NET_HDR_GSO_UDP = 3,
	NET_HDR_GSO_TCPV6 = 4,
	NET_HDR_GSO_UDP_L4 = 5,
	NET_HDR_GSO_ECN = 0x80,
};
struct net_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

/* The rings of a pair: that of what the guest receives, and that of what it sends. */
enum { NET_RING_RX, NET_RING_TX, NET_RINGS };

struct net;

struct net_ops {
	/* The loop that calls come from from now on. `detach` undoes it: no callback
	 * comes afterwards, and what was received of a frame is forgotten. Then comes
	 * `destroy` or another `attach`. `offloads` is what the guest understands of what
	 * it receives. Attach gives 0 or a negative errno. */
	int (*attach)(struct net *n, struct loop *loop, unsigned offloads);
	void (*detach)(struct net *n);
	/* Is the device interested in frames? Off while it has no room for them; it is
	 * off after attach. */
	void (*want)(struct net *n, bool frames);

	/* Take the next frame: its length, with *hdr and the entries from iov[1] on filled.
	 * -EAGAIN: there is none, or not all of it: the next call has to have the same
	 * iovec, unless abandon() comes before it. -EMSGSIZE: it was longer than the room
	 * and is gone. -EBADMSG: it was no frame and is gone. */
	ssize_t (*receive)(struct net *n, struct net_hdr *hdr, struct iovec *iov, int n_iov);
	/* Is part of a frame in the caller's iovec? */
	bool (*receiving)(const struct net *n);
	/* Its buffers are wanted back: the frame, of which a part is there, will be
	 * dropped when the rest comes. */
	void (*abandon)(struct net *n);
	/* Send one frame of `len` bytes, NET_FRAME_MIN to NET_FRAME_MAX: 0, also when the
	 * host drops it; or -EAGAIN: nothing was taken, writable() will be called. */
	int (*send)(struct net *n, const struct net_hdr *hdr, struct iovec *iov, int n_iov,
		    size_t len);

	/* Move frames between the host and the rings, with nobody else's help, until
	 * give_rings(). While attached, with no frame half received and none wanted.
	 * `features` are the negotiated ones. 0, -ENOTSUP if that cannot be done, or another
	 * errno. NULL: it never can. */
	int (*take_rings)(struct net *n, const struct guest_mem *gm, uint64_t features,
			  const struct vhost_ring rings[NET_RINGS]);
	/* When it is back, nothing more is stored into the guest's RAM, and each `next` is
	 * set. Before detach. */
	void (*give_rings)(struct net *n, struct vhost_ring rings[NET_RINGS]);

	/* Any thread, detached. */
	void (*destroy)(struct net *n);
};

/* An opened backend; a backend embeds it as its first member. */
struct net {
	const struct net_ops *ops;
	unsigned offloads; /* what it can, of NET_OFFLOAD_* */
	bool checked;      /* frames from it are known to be intact */
	uint16_t mtu;      /* what the guest should use; 0: nothing to say */
	char ifname[16];   /* the host's interface, or "" */

	/* Set by the device that uses it. */
	void (*readable)(void *ctx);
	void (*writable)(void *ctx);
	/* `why` is for a person: "the tap tap0 is gone". */
	void (*lost)(void *ctx, const char *why);
	/* The rings that it was given make no sense; they are still its. */
	void (*broken)(void *ctx);
	void *ctx;
};

/* NULL is fine. */
static inline void net_destroy(struct net *n)
{
	if (n)
		n->ops->destroy(n);
}

#endif
