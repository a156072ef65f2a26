/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_tap: a tap interface of the host [Linux Documentation/networking/tuntap.rst].
 *
 * With IFF_VNET_HDR each frame has a virtio_net header before it, so checksums and
 * segments can be left to whoever is better at them: often nobody, when the frame
 * goes to another guest.
 */
#ifndef DEVICES_BACKEND_NET_TAP_H
#define DEVICES_BACKEND_NET_TAP_H

#include "devices/backend/net.h"

/* Does the host's kernel serve the guest's rings (net_vhost.h)? */
enum net_tap_vhost {
	NET_TAP_VHOST_AUTO, /* where it can */
	NET_TAP_VHOST_OFF,
	NET_TAP_VHOST_ON, /* it is an error if it cannot */
};

/* Attach to the interface `name`, which must be there: a typing error makes no new
 * one. Gives `n` queues of it, in `out`; with more than one it must have been made for that
 * (multi_queue), and all but the first get no frames unless attached. Errors begin
 * "--net tap=NAME: ". On success they are owned by the caller, each for itself; on a
 * failure there are none. */
int net_tap_open(struct net *out[], unsigned n, const char *name, enum net_tap_vhost vhost,
		 struct err *e);

/* The same with a descriptor that whoever started us has opened; it is duplicated and
 * stays open. Without IFF_VNET_HDR there are no offloads and no
 * vhost. Errors begin "--net fd=N: ". */
int net_tap_inherit(struct net **out, int fd, enum net_tap_vhost vhost, struct err *e);

#endif
