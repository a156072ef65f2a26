/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost: the host's kernel serves rings of a guest by itself; what all of its devices have in
 * common [Linux include/uapi/linux/vhost.h].
 *
 * It works on the guest's RAM where we have mapped it, in a thread of its own, and checks
 * each address against the map that it was given. What it stores is not in the log of
 * guest_mem_log_start(). It goes with the descriptor, whatever it has of rings then.
 */
#ifndef DEVICES_BACKEND_VHOST_H
#define DEVICES_BACKEND_VHOST_H

#include "vmm/core/guest_mem.h"

#include <stdbool.h>
#include <stdint.h>

/* A ring in the guest's RAM, checked to lie there [virtio 1.3 2.7]. */
struct vhost_ring {
	uint16_t size;
	uint16_t next; /* index of the first avail entry that was not taken yet */
	void *desc, *avail, *used;
	int kick, call; /* eventfds, borrowed: the guest has offered; interrupt it */
};

struct vhost {
	int fd;            /* owned; -1: there is none */
	uint64_t features; /* what it can, virtio's bits */
};

/* Open `path`, "/dev/vhost-net" for one, for this process: 0, or a negative errno and there
 * is none. Any thread. */
int vhost_open(struct vhost *h, const char *path);
/* It stops, if it runs. Fine if there is none. */
void vhost_close(struct vhost *h);

/* One of its requests: 0 or a negative errno. Loop thread, as is all that follows. */
int vhost_set(const struct vhost *h, unsigned long request, const void *arg);
/* Those that name a ring and a descriptor; -1: none. Likewise. */
int vhost_set_file(const struct vhost *h, unsigned long request, unsigned ring, int fd);

/* Tell it all but to begin: the features of the ring that were negotiated, of which `wanted`
 * are its own; the guest's RAM; and its rings 0 to n - 1. It signals `broken` (an eventfd,
 * borrowed) when it cannot make sense of one. 0; -ENOTSUP, and nothing has changed, if it
 * does not know one of `wanted`; or another errno. */
int vhost_prepare(const struct vhost *h, const struct guest_mem *gm, uint64_t wanted,
		  const struct vhost_ring rings[], unsigned n, int broken);
/* Ring `index`, which its device has stopped: its eventfds are its no more, so nothing wakes
 * it for nothing. Gives whether that is so. */
bool vhost_forget_ring(const struct vhost *h, unsigned index);
/* Where it is in a ring that is stopped; if it does not say, all that it took is what it used. */
uint16_t vhost_next(const struct vhost *h, unsigned index, const struct vhost_ring *ring);

#endif
