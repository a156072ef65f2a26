/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/vhost.h"

#include "vmm/base/fd.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>
#include <unistd.h>

int vhost_set(const struct vhost *h, unsigned long request, const void *arg)
{
	return ioctl(h->fd, request, arg) ? -errno : 0;
}

int vhost_open(struct vhost *h, const char *path)
{
	int ret = 0;

	h->fd = open(path, O_RDWR | O_CLOEXEC);
	if (h->fd < 0)
		return -errno;
	if (ioctl(h->fd, VHOST_SET_OWNER) || ioctl(h->fd, VHOST_GET_FEATURES, &h->features))
		ret = -errno;
	if (ret)
		vhost_close(h);
	return ret;
}

void vhost_close(struct vhost *h)
{
	fd_close(&h->fd);
}

static int set_memory(const struct vhost *h, const struct guest_mem *gm)
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
	return vhost_set(h, VHOST_SET_MEM_TABLE, &table);
}

int vhost_set_file(const struct vhost *h, unsigned long request, unsigned ring, int fd)
{
	const struct vhost_vring_file file = {.index = ring, .fd = fd};

	return vhost_set(h, request, &file);
}

static int set_ring(const struct vhost *h, unsigned index, const struct vhost_ring *ring,
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
	int ret = vhost_set(h, VHOST_SET_VRING_NUM, &size);

	if (!ret)
		ret = vhost_set(h, VHOST_SET_VRING_BASE, &next);
	if (!ret)
		ret = vhost_set(h, VHOST_SET_VRING_ADDR, &addr);
	if (!ret)
		ret = vhost_set_file(h, VHOST_SET_VRING_ERR, index, broken);
	if (!ret)
		ret = vhost_set_file(h, VHOST_SET_VRING_CALL, index, ring->call);
	if (!ret)
		ret = vhost_set_file(h, VHOST_SET_VRING_KICK, index, ring->kick);
	return ret;
}

int vhost_prepare(const struct vhost *h, const struct guest_mem *gm, uint64_t wanted,
		  const struct vhost_ring rings[], unsigned n, int broken)
{
	int ret;

	if (wanted & ~h->features)
		return -ENOTSUP;
	ret = vhost_set(h, VHOST_SET_FEATURES, &wanted);
	if (!ret)
		ret = set_memory(h, gm);
	for (unsigned i = 0; i < n && !ret; i++)
		ret = set_ring(h, i, &rings[i], broken);
	return ret;
}

bool vhost_forget_ring(const struct vhost *h, unsigned index)
{
	return !vhost_set_file(h, VHOST_SET_VRING_KICK, index, VHOST_FILE_UNBIND) &&
	       !vhost_set_file(h, VHOST_SET_VRING_CALL, index, VHOST_FILE_UNBIND) &&
	       !vhost_set_file(h, VHOST_SET_VRING_ERR, index, VHOST_FILE_UNBIND);
}

uint16_t vhost_next(const struct vhost *h, unsigned index, const struct vhost_ring *ring)
{
	struct vhost_vring_state next = {.index = index};
	const uint16_t *used = ring->used; /* flags, idx */

	if (ioctl(h->fd, VHOST_GET_VRING_BASE, &next))
		return le16toh(__atomic_load_n(&used[1], __ATOMIC_RELAXED));
	return (uint16_t)next.num;
}
