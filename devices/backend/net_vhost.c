/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/net_vhost.h"

#include <errno.h>
#include <linux/vhost.h>

/* Bits of virtio that concern vhost-net as well [virtio 1.3 5.1.3, 6]. Of the others, a
 * tap's offloads, it need know nothing. */
#define F_MRG_RXBUF     (1ull << 15)
#define F_INDIRECT_DESC (1ull << 28)
#define F_EVENT_IDX     (1ull << 29)
#define F_VERSION_1     (1ull << 32)
#define F_RING          (F_MRG_RXBUF | F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1)

int net_vhost_open(struct vhost *h)
{
	return vhost_open(h, "/dev/vhost-net");
}

int net_vhost_start(struct vhost *h, const struct guest_mem *gm, uint64_t features,
		    const struct vhost_ring rings[NET_RINGS], int broken, int tap)
{
	uint64_t wanted = features & F_RING;
	int ret;

	/* Kernels leave num_buffers as it was where it was not negotiated, though it is to
	 * be 1 then [virtio 1.3 5.1.6.4.1]. */
	if (h->fd < 0 || !(wanted & F_MRG_RXBUF) || wanted & ~h->features)
		return -ENOTSUP;
	ret = vhost_prepare(h, gm, wanted, rings, NET_RINGS, broken);
	for (unsigned i = 0; i < NET_RINGS && !ret; i++)
		ret = vhost_set_file(h, VHOST_NET_SET_BACKEND, i, tap);
	/* Whatever it has of them it lets go of with the descriptor, and what did not work
	 * now will not the next time. */
	if (ret)
		vhost_close(h);
	return ret;
}

void net_vhost_stop(struct vhost *h, struct vhost_ring rings[NET_RINGS])
{
	bool stopped = true;

	/* It waits for a frame that is under way. */
	for (unsigned i = 0; i < NET_RINGS; i++)
		stopped = !vhost_set_file(h, VHOST_NET_SET_BACKEND, i, -1) &&
			  vhost_forget_ring(h, i) && stopped;
	for (unsigned i = 0; i < NET_RINGS; i++)
		rings[i].next = vhost_next(h, i, &rings[i]);
	/* This stops it whatever it thinks. */
	if (!stopped)
		vhost_close(h);
}
