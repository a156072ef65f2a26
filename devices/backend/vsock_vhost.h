/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_vhost: the host's kernel has the guest's sockets (vhost-vsock), and the host's programs
 * reach it by AF_VSOCK as it reaches them.
 *
 * Addresses are the host's, whatever the user and the network namespace: any program of the host
 * may connect to the guest's ports, and the guest to whatever listens on AF_VSOCK. An address is
 * taken as long as the descriptor is open.
 *
 * A driver that goes, by a reset, tells nobody: what the host's programs have of it are sockets
 * that are reset when they say something to the next one. When the descriptor is closed, all are.
 */
#ifndef DEVICES_BACKEND_VSOCK_VHOST_H
#define DEVICES_BACKEND_VSOCK_VHOST_H

#include "devices/backend/vsock.h"
#include "vmm/base/err.h"

/* Open /dev/vhost-vsock for this process and take the address `cid` (3 to 2^32 - 2). Messages
 * begin with `name`: "--vsock vhost". 0, or a negative errno with *e filled: ERR_USAGE for what
 * the user can mend. Any thread. */
int vsock_vhost_open(struct vsock_backend **out, const char *name, uint32_t cid, struct err *e);

#endif
