/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net: the virtio network device [virtio 1.3 5.1]: pairs of queues, and a control queue
 * by which a driver says how many it uses, if there are several.
 *
 * Frames go from the guest's buffers to the host and back without a copy. All of it
 * runs on the device's loop; vCPUs only read the configuration space. Where the backend
 * can, the host's kernel serves the rings in our stead (net_rings.c).
 *
 * A network may have a limit, the same for each direction. What may not be sent yet stays in the
 * ring; and what the guest may not receive yet, in the backend, which drops or holds back. The
 * kernel knows of no limit, so while there is one, no ring is lent; nor while
 * it is noted where guest RAM was written to.
 */
#ifndef DEVICES_VIRTIO_NET_H
#define DEVICES_VIRTIO_NET_H

#include "devices/backend/net.h"
#include "devices/virtio/virtio.h"
#include "vmm/core/rate_limit.h"

/* Feature bits [virtio 1.3 5.1.3]. */
#define VIRTIO_NET_F_CSUM       (1ull << 0)
#define VIRTIO_NET_F_GUEST_CSUM (1ull << 1)
#define VIRTIO_NET_F_MTU        (1ull << 3)
#define VIRTIO_NET_F_MAC        (1ull << 5)
#define VIRTIO_NET_F_GUEST_TSO4 (1ull << 7)
#define VIRTIO_NET_F_GUEST_TSO6 (1ull << 8)
#define VIRTIO_NET_F_GUEST_ECN  (1ull << 9)
#define VIRTIO_NET_F_GUEST_UFO  (1ull << 10)
#define VIRTIO_NET_F_HOST_TSO4  (1ull << 11)
#define VIRTIO_NET_F_HOST_TSO6  (1ull << 12)
#define VIRTIO_NET_F_HOST_ECN   (1ull << 13)
#define VIRTIO_NET_F_HOST_UFO   (1ull << 14)
#define VIRTIO_NET_F_MRG_RXBUF  (1ull << 15)
#define VIRTIO_NET_F_STATUS     (1ull << 16)
#define VIRTIO_NET_F_CTRL_VQ    (1ull << 17)
#define VIRTIO_NET_F_MQ         (1ull << 22)
#define VIRTIO_NET_F_GUEST_USO4 (1ull << 54)
#define VIRTIO_NET_F_GUEST_USO6 (1ull << 55)
#define VIRTIO_NET_F_HOST_USO   (1ull << 56)

/* Configuration space: offsets of struct virtio_net_config [virtio 1.3 5.1.4]. */
enum {
	VIRTIO_NET_CFG_MAC = 0,
	VIRTIO_NET_CFG_STATUS = 6,
	VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS = 8,
	VIRTIO_NET_CFG_MTU = 10,
	VIRTIO_NET_CFG_LEN = 12,
};

enum { VIRTIO_NET_S_LINK_UP = 1 };

/* Pair i has the queues 2i and 2i + 1; the control queue comes behind all of them, or for
 * a driver that knows of one pair only, behind that [virtio 1.3 5.1.2]. */
enum { VIRTIO_NET_RX = 0, VIRTIO_NET_TX = 1, VIRTIO_NET_QUEUES = 2, VIRTIO_NET_PAIRS_MAX = 8 };

/* The control queue [virtio 1.3 5.1.6.5, 5.1.6.5.6]. */
enum {
	VIRTIO_NET_OK = 0,
	VIRTIO_NET_ERR = 1,
	VIRTIO_NET_CTRL_MQ = 4,
	VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0,
};

/* struct virtio_net_hdr on the wire [virtio 1.3 5.1.6]: always with num_buffers. */
enum { VIRTIO_NET_HDR_LEN = 12 };

/* A receive buffer that the driver gave and that waits for a frame. */
struct virtio_net_buf {
	uint16_t head;
	uint16_t n_segs;
	uint64_t len; /* bytes */
};

struct virtio_net_rx {
	/* Buffers in the order in which the driver gave them; their pieces lie one
	 * after the other in `segs`. Both are used up from `first`, `first_seg` on. */
	struct virtio_net_buf bufs[VIRTQ_SIZE_MAX];
	struct virtq_seg segs[NET_IOV_MAX];
	unsigned first, end, first_seg, end_seg;
	uint64_t room; /* bytes in all of them */
	unsigned most; /* buffers that were ever there at a time */

	/* Where the next frame goes: the backend's entry, the buffers, the spare. */
	struct iovec iov[NET_IOV_MAX];
	int n_iov;
	uint64_t iov_room; /* bytes of a frame before the spare begins */
	/* What did not fit into the buffers there were, until there are more. */
	uint8_t *spare;
	struct net_hdr hdr;
	size_t pending; /* length of the frame that waits for more buffers, or 0 */
};

/* A receive and a transmit queue, and what they are connected to: the loop's. */
struct virtio_net_pair {
	struct virtio_net *n;
	unsigned queue; /* index of the first of the two */
	struct net *backend;
	bool attached;
	bool wants;    /* the backend was asked for frames */
	bool tx_waits; /* tx_chain was not taken by the backend yet */
	bool lent;     /* the backend has the rings */
	struct vhost_ring rings[NET_RINGS];
	struct virtio_net_rx rx;
	struct virtq_chain chain, tx_chain;
	struct iovec tx_iov[VIRTQ_SEGS_MAX + 1];
};

struct virtio_net {
	struct virtio v; /* for the transport */
	uint8_t mac[6];
	bool mac_fixed;
	bool link_up; /* atomic: any thread */
	bool lost;    /* atomic: its network is gone, for good */
	int relink;   /* eventfd, owned: look at link_up and the limits again */
	struct rate_limit limits[NET_RINGS]; /* of what the guest receives, and of what it sends */
	uint16_t mtu;                        /* as struct net has it */
	unsigned n_pairs;
	struct virtio_net_pair *pairs; /* n_pairs of them, owned */

	/* The loop's. */
	unsigned active; /* pairs that the driver wants, the first ones */
	bool link_told;  /* what the driver of a restored device has seen last */
	bool mac_told;   /* it has seen the MAC, or was told that there is another */
	struct loop_fd *relink_watch;
	struct loop_timer *timer; /* rings when the first of those that wait may go on */
	uint64_t rings_at;        /* ns of the limits' clock, while the timer runs; else 0 */
	unsigned first_pair;      /* counts: it begins when the timer rings */
	struct virtq_chain command;
	struct log_budget complaints;
};

struct virtio_net_options {
	const char *name; /* for log lines, borrowed: "net0" */
	uint8_t mac[6];   /* a unicast address */
	bool mac_fixed; /* load: it is this one, whatever the saved device had; else the saved one's
			 */
	struct rates limit; /* of each direction; zeroes: none */
	const struct clock
		*clock; /* for the limit; borrowed, outlives the device; NULL: the host's */
};

/* A backend for each pair, 1 to VIRTIO_NET_PAIRS_MAX: they lead to the same network, and
 * what the first one says of itself holds for all. They are taken over, also on failure.
 * `gm` and `loop` outlive the device. 0, -ENOMEM or -EMFILE. */
int virtio_net_init(struct virtio_net *n, struct net *const *backends, unsigned n_pairs,
		    const struct virtio_net_options *options, struct guest_mem *gm,
		    struct loop *loop);
/* As virtio_fini(); then the backends are destroyed. */
void virtio_net_fini(struct virtio_net *n);

/* Plug the cable in or pull it: the driver gets a configuration interrupt; while it
 * is out, frames are dropped in both directions. Any thread, without the virtio lock. */
void virtio_net_set_link(struct virtio_net *n, bool up);
bool virtio_net_link(const struct virtio_net *n);
/* Is there nothing at the cable's other end any more? Any thread. */
bool virtio_net_lost(const struct virtio_net *n);

/* From now on no more than this into the guest, and as much out of it; zeroes: no limit. Each frame
 * is an operation, its bytes are those of the Ethernet frame, which before it is segmented may be
 * 64 KiB long. Any thread, without the virtio lock. */
void virtio_net_set_limit(struct virtio_net *n, const struct rates *limit);
/* As it was set last. Any thread. */
struct rates virtio_net_limit(struct virtio_net *n);

#endif
