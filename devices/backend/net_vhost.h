/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_vhost: the host's kernel moves frames between a tap and the rings of a guest by itself
 * (vhost-net) [Linux include/uapi/linux/vhost.h].
 *
 * It works on the guest's RAM where we have mapped it, in a thread of its own, and checks
 * each address against the map that it was given. What it stores is not in the log of
 * guest_mem_log_start().
 */
#ifndef DEVICES_BACKEND_NET_VHOST_H
#define DEVICES_BACKEND_NET_VHOST_H

#include "devices/backend/net.h"

struct net_vhost {
	int fd;            /* owned; -1: there is none */
	uint64_t features; /* what it can */
};

/* Open /dev/vhost-net for this process: 0, or a negative errno and there is none. */
int net_vhost_open(struct net_vhost *h);
/* It stops, if it runs. Fine if there is none. */
void net_vhost_close(struct net_vhost *h);

/* From here on it serves the receive ring `rings`[0] and the transmit ring `rings`[1] with
 * `tap`, whose frames have a header of 12 bytes. It signals `broken` when it cannot make
 * sense of a ring or the tap is gone. `features` are those that were negotiated. 0;
 * -ENOTSUP without MRG_RXBUF, or if it does not know a feature of the ring's; or another
 * errno, after which there is none any more. Then nothing is running. Loop thread, as is
 * stop. */
int net_vhost_start(struct net_vhost *h, const struct guest_mem *gm, uint64_t features,
		    const struct net_ring rings[NET_RINGS], int broken, int tap);
/* Once it is back, nothing is read or stored any more; `next` of each ring is set. */
void net_vhost_stop(struct net_vhost *h, struct net_ring rings[NET_RINGS]);

#endif
