/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_vhost: the host's kernel moves frames between a tap and the rings of a guest by itself
 * (vhost-net); what it shares with others of its kind is vhost.h's.
 */
#ifndef DEVICES_BACKEND_NET_VHOST_H
#define DEVICES_BACKEND_NET_VHOST_H

#include "devices/backend/net.h"

/* Open /dev/vhost-net for this process: 0, or a negative errno and there is none. */
int net_vhost_open(struct vhost *h);

/* From here on it serves the receive ring `rings`[0] and the transmit ring `rings`[1] with
 * `tap`, whose frames have a header of 12 bytes. It signals `broken` when it cannot make
 * sense of a ring or the tap is gone. `features` are those that were negotiated. 0;
 * -ENOTSUP without MRG_RXBUF, or if it does not know a feature of the ring's; or another
 * errno, after which there is none any more. Then nothing is running. Loop thread, as is
 * stop. */
int net_vhost_start(struct vhost *h, const struct guest_mem *gm, uint64_t features,
		    const struct vhost_ring rings[NET_RINGS], int broken, int tap);
/* Once it is back, nothing is read or stored any more; `next` of each ring is set. */
void net_vhost_stop(struct vhost *h, struct vhost_ring rings[NET_RINGS]);

#endif
