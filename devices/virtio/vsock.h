/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock: the virtio socket device [virtio 1.3 5.10]: stream sockets between the guest and
 * its host, without a network.
 *
 * On the host each connection is a stream socket that the backend brought
 * (devices/backend/vsock.h). All of it runs on the device's loop; vCPUs only read the
 * configuration space. Data goes from the guest's buffers into the socket and the other way
 * without a copy; what a slow reader on the host does not take waits in a buffer that the
 * guest's credit bounds.
 *
 * Or the backend has the rings of packets themselves (vsock_rings.c), and with them the
 * connections; events stay here.
 *
 * Saved state: sockets live in this process, so connections are not saved. The driver of a
 * restored device gets TRANSPORT_RESET, and its connections end [virtio 1.3 5.10.6.7]. It is
 * the same state whoever has the rings.
 */
#ifndef DEVICES_VIRTIO_VSOCK_H
#define DEVICES_VIRTIO_VSOCK_H

#include "devices/backend/vsock.h"
#include "devices/virtio/virtio.h"

#include <sys/queue.h>

/* Feature bits [virtio 1.3 5.10.3]. */
#define VIRTIO_VSOCK_F_STREAM (1ull << 0)

/* Configuration space [virtio 1.3 5.10.4]: offsets. */
enum { VIRTIO_VSOCK_CFG_GUEST_CID = 0, VIRTIO_VSOCK_CFG_LEN = 8 };

enum { VIRTIO_VSOCK_RX, VIRTIO_VSOCK_TX, VIRTIO_VSOCK_EVENT, VIRTIO_VSOCK_QUEUES };

/* Addresses: 0, 1 and 2 are not for guests, nor is the highest of 32 bits [virtio 1.3
 * 5.10.4]. */
enum { VIRTIO_VSOCK_CID_HOST = 2, VIRTIO_VSOCK_CID_MIN = 3 };
#define VIRTIO_VSOCK_CID_MAX 0xfffffffeull

enum {
	VIRTIO_VSOCK_CONNS_MAX = 1024,   /* at a time, and a descriptor each */
	VIRTIO_VSOCK_BUFFER = 128 << 10, /* what the guest may send before the host reads */
	VIRTIO_VSOCK_STRAYS_MAX = 256,
	VIRTIO_VSOCK_BUCKETS = 256,
	VIRTIO_VSOCK_DRAIN_MS = 2000, /* what the host's readers have at the end */
};

/* An RST that is owed for a packet of no connection. */
struct virtio_vsock_stray {
	uint64_t host_cid; /* which the guest had sent to */
	uint32_t guest_port, host_port;
	uint16_t type;
};

struct vsock_conn;
LIST_HEAD(vsock_conns, vsock_conn);
TAILQ_HEAD(vsock_queue, vsock_conn);

struct virtio_vsock {
	struct virtio v; /* for the transport */
	struct vsock_backend *backend;
	uint64_t cid;
	unsigned conns_max;

	/* The loop's; nobody's while the device is idle or paused. */
	bool attached;
	bool lent; /* the backend has the rings */
	struct vhost_ring rings[VSOCK_RINGS];
	bool restored;                                    /* TRANSPORT_RESET is owed */
	struct vsock_conns buckets[VIRTIO_VSOCK_BUCKETS]; /* by the ports */
	struct vsock_conns orphans;                       /* that the guest is through with */
	unsigned n_conns;                                 /* in all of these */
	struct vsock_queue ready;                         /* have something for the guest */
	uint32_t last_port; /* of the host's, of a connection of its own */
	struct virtio_vsock_stray strays[VIRTIO_VSOCK_STRAYS_MAX];
	unsigned n_strays;
	bool tx_waits; /* for room among the strays */
	struct virtq_chain rx_chain, tx_chain;
	struct iovec iov[VIRTQ_SEGS_MAX];
	struct log_budget complaints;
};

struct virtio_vsock_options {
	const char *name; /* for log lines, borrowed */
	uint64_t cid;     /* VIRTIO_VSOCK_CID_MIN to VIRTIO_VSOCK_CID_MAX */
	unsigned
		conns_max; /* at a time; beyond, who asks is refused. 1 to VIRTIO_VSOCK_CONNS_MAX */
};

/* `backend` is taken over, also on failure. `gm` and `loop` outlive the device. 0, -ENOMEM or
 * -EMFILE. */
int virtio_vsock_init(struct virtio_vsock *s, struct vsock_backend *backend,
		      const struct virtio_vsock_options *options, struct guest_mem *gm,
		      struct loop *loop);
/* What the guest has sent and the host's readers have yet to take is written out first,
 * VIRTIO_VSOCK_DRAIN_MS at most; a line tells if something was lost. Then as virtio_fini(),
 * and the backend is destroyed. Main thread. */
void virtio_vsock_fini(struct virtio_vsock *s);

#endif
