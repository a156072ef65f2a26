/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/net_vhost.h"

#include "vmm/base/fd.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Bits of virtio that concern vhost-net as well [virtio 1.3 5.1.3, 6]. Of the others, a
 * tap's offloads, it need know nothing. */
#define F_MRG_RXBUF     (1ull << 15)
#define F_INDIRECT_DESC (1ull << 28)
#define F_EVENT_IDX     (1ull << 29)
#define F_VERSION_1     (1ull << 32)
#define F_RING          (F_MRG_RXBUF | F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1)

static int set(const struct net_vhost *h, unsigned long request, const void *arg)
{
	return ioctl(h->fd, request, arg) ? -errno : 0;
}

int net_vhost_open(struct net_vhost *h)
{
	int ret = 0;

	h->fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	if (h->fd < 0)
		return -errno;
	if (ioctl(h->fd, VHOST_SET_OWNER) || ioctl(h->fd, VHOST_GET_FEATURES, &h->features))
		ret = -errno;
	if (ret)
		net_vhost_close(h);
	return ret;
}

void net_vhost_close(struct net_vhost *h)
{
	fd_close(&h->fd);
}

static int set_memory(const struct net_vhost *h, const struct guest_mem *gm)
{
	union {
		struct vhost_memory m;
		uint8_t room[sizeof(struct vhost_memory) +
			     GUEST_MEM_REGIONS_MAX * sizeof(struct vhost_memory_region)];
	} table = {.m.nregions = gm->n_regions};

	for (unsigned i = 0; i < gm->n_regions; i++)
		table.m.regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = gm->regions[i].gpa,
			.memory_size = gm->regions[i].len,
			.userspace_addr = (uintptr_t)gm->regions[i].hva,
		};
	return set(h, VHOST_SET_MEM_TABLE, &table);
}

static int set_file(const struct net_vhost *h, unsigned long request, unsigned ring, int fd)
{
	const struct vhost_vring_file file = {.index = ring, .fd = fd};

	return set(h, request, &file);
}

static int set_ring(const struct net_vhost *h, unsigned index, const struct net_ring *ring,
		    int broken)
{
	const struct vhost_vring_state size = {.index = index, .num = ring->size},
				       next = {.index = index, .num = ring->next};
	const struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = (uintptr_t)ring->desc,
		.avail_user_addr = (uintptr_t)ring->avail,
		.used_user_addr = (uintptr_t)ring->used,
	};
	int ret = set(h, VHOST_SET_VRING_NUM, &size);

	if (!ret)
		ret = set(h, VHOST_SET_VRING_BASE, &next);
	if (!ret)
		ret = set(h, VHOST_SET_VRING_ADDR, &addr);
	if (!ret)
		ret = set_file(h, VHOST_SET_VRING_ERR, index, broken);
	if (!ret)
		ret = set_file(h, VHOST_SET_VRING_CALL, index, ring->call);
	if (!ret)
		ret = set_file(h, VHOST_SET_VRING_KICK, index, ring->kick);
	return ret;
}

/* Gives whether ring `index` stands still; then its eventfds are not its any more, and
 * nothing wakes it for nothing. It waits for a frame that is under way. */
static bool stop_ring(const struct net_vhost *h, unsigned index)
{
	return !set_file(h, VHOST_NET_SET_BACKEND, index, -1) &&
	       !set_file(h, VHOST_SET_VRING_KICK, index, VHOST_FILE_UNBIND) &&
	       !set_file(h, VHOST_SET_VRING_CALL, index, VHOST_FILE_UNBIND) &&
	       !set_file(h, VHOST_SET_VRING_ERR, index, VHOST_FILE_UNBIND);
}

/* Where it is in the ring; if it does not say, all that it took is what it used. */
static uint16_t next_of(const struct net_vhost *h, unsigned index, const struct net_ring *ring)
{
	struct vhost_vring_state next = {.index = index};
	const uint16_t *used = ring->used; /* flags, idx */

	if (ioctl(h->fd, VHOST_GET_VRING_BASE, &next))
		return le16toh(__atomic_load_n(&used[1], __ATOMIC_RELAXED));
	return (uint16_t)next.num;
}

int net_vhost_start(struct net_vhost *h, const struct guest_mem *gm, uint64_t features,
		    const struct net_ring rings[NET_RINGS], int broken, int tap)
{
	uint64_t wanted = features & F_RING;
	int ret;

	/* Kernels leave num_buffers as it was where it was not negotiated, though it is to
	 * be 1 then [virtio 1.3 5.1.6.4.1]. */
	if (h->fd < 0 || !(wanted & F_MRG_RXBUF) || wanted & ~h->features)
		return -ENOTSUP;
	ret = set(h, VHOST_SET_FEATURES, &wanted);
	if (!ret)
		ret = set_memory(h, gm);
	for (unsigned i = 0; i < NET_RINGS && !ret; i++)
		ret = set_ring(h, i, &rings[i], broken);
	for (unsigned i = 0; i < NET_RINGS && !ret; i++)
		ret = set_file(h, VHOST_NET_SET_BACKEND, i, tap);
	/* Whatever it has of them it lets go of with the descriptor, and what did not work
	 * now will not the next time. */
	if (ret)
		net_vhost_close(h);
	return ret;
}

void net_vhost_stop(struct net_vhost *h, struct net_ring rings[NET_RINGS])
{
	bool stopped = true;

	for (unsigned i = 0; i < NET_RINGS; i++)
		stopped = stop_ring(h, i) && stopped;
	for (unsigned i = 0; i < NET_RINGS; i++)
		rings[i].next = next_of(h, i, &rings[i]);
	/* This stops it whatever it thinks. */
	if (!stopped)
		net_vhost_close(h);
}
