/* SPDX-License-Identifier: Apache-2.0 */
/* net_rig: a network device between a driver and a fake network, for tests of it. The
 * loop has no thread: what a call sets off is done when it returns. */
#ifndef TESTS_LIB_NET_RIG_H
#define TESTS_LIB_NET_RIG_H

#include "devices/virtio/net.h"
#include "tests/lib/fake_clock.h"
#include "tests/lib/fake_net.h"
#include "tests/lib/virtq_driver.h"

#define NET_RIG_ALL_OFFLOADS                                                        \
	(NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN | \
	 NET_OFFLOAD_UFO | NET_OFFLOAD_USO)
#define NET_RIG_BASIC VIRTIO_F_VERSION_1
#define NET_RIG_ALL                                                                        \
	(NET_RIG_BASIC | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_NET_F_CSUM | \
	 VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 |     \
	 VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 |        \
	 VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_STATUS |            \
	 VIRTIO_NET_F_GUEST_UFO | VIRTIO_NET_F_HOST_UFO | VIRTIO_NET_F_GUEST_USO4 |        \
	 VIRTIO_NET_F_GUEST_USO6 | VIRTIO_NET_F_HOST_USO)

/* The guest's memory: buffer i of the receive queue (up to 128 KiB), and what is sent. */
#define NET_RIG_BUF(i) (0x200000ull + 0x20000ull * (i))
#define NET_RIG_TX     0x100000ull
#define NET_RIG_TABLE  0x80000ull

enum {
	NET_RIG_LIVE = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
		       VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK,
	NET_RIG_QUEUE = 256,
	NET_RIG_RAM = 64 << 20,
	NET_RIG_UNTOUCHED = 0xee, /* what buffers hold before they are filled */
};

struct net_rig {
	struct guest_mem gm;
	struct loop *loop;
	struct virtio_net n;
	struct fake_net *net;
	struct fake_transport t;
	struct virtq_driver d[VIRTIO_NET_QUEUES];
	struct fake_clock time; /* the device's, for its limit; it stands */
	struct clock clock;
	bool destroyed;
	uint32_t used_id, used_len; /* of the last used entry that was taken */
};

/* Its MAC is 52:54:00:00:01:02; `mtu` 0: none. */
struct net_rig *net_rig_create(unsigned offloads, uint16_t mtu);
void net_rig_destroy(struct net_rig *r);
/* For cmocka: *state is a rig with all offloads and no MTU. */
int net_rig_setup(void **state);
int net_rig_teardown(void **state);

void net_rig_go(struct net_rig *r, uint64_t features);
/* Until it is complete; the rings are as new afterwards. */
void net_rig_reset(struct net_rig *r);
/* Until it is paused. */
void net_rig_pause(struct net_rig *r);
/* Take over guest memory and the driver's memory of another rig, which is paused. */
void net_rig_adopt_ram(struct net_rig *r, const struct net_rig *from);

uint8_t *net_rig_at(struct net_rig *r, uint64_t gpa);
void net_rig_kick(struct net_rig *r, unsigned queue);
/* The next used entry of a queue, if there is one. */
bool net_rig_used(struct net_rig *r, unsigned queue);
/* Offer receive buffer i (its memory becomes UNTOUCHED), and ring. */
uint16_t net_rig_give(struct net_rig *r, unsigned i, uint32_t len);
/* Send a header and a frame of `len` bytes (0, 1, 2, ...) that lie in one piece at
 * NET_RIG_TX, in two descriptors. Gives whether it is used at once. */
bool net_rig_send(struct net_rig *r, const uint8_t header[VIRTIO_NET_HDR_LEN], uint32_t len);
bool net_rig_send_plain(struct net_rig *r, uint32_t len);
/* Fill a header [virtio 1.3 5.1.6]; its num_buffers is 0. */
void net_rig_put_header(uint8_t h[VIRTIO_NET_HDR_LEN], uint8_t flags, uint8_t gso, uint16_t hdr_len,
			uint16_t gso_size, uint16_t csum_start, uint16_t csum_offset);
/* Are these `len` bytes seed, seed + 1, seed + 2, ...? */
bool net_rig_holds(const uint8_t *p, size_t len, uint8_t seed);

#endif
