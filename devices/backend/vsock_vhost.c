/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/vsock_vhost.h"

#include "vmm/base/fd.h"

#include <errno.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Bits of virtio that are the ring's [virtio 1.3 6]. That there are streams it takes for granted.
 */
#define F_INDIRECT_DESC (1ull << 28)
#define F_EVENT_IDX     (1ull << 29)
#define F_VERSION_1     (1ull << 32)
#define F_RING          (F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1)

static const char device[] = "/dev/vhost-vsock";

struct vsock_vhost {
	struct vsock_backend backend;
	struct vhost vhost;
	int broken; /* eventfd, owned: what vhost signals */
	struct loop_fd *broken_watch;
};

static struct vsock_vhost *of(struct vsock_backend *b)
{
	return (struct vsock_vhost *)b;
}

static void on_broken(void *ctx, int events)
{
	struct vsock_vhost *h = ctx;
	uint64_t count;

	if (read(h->broken, &count, sizeof(count)) == sizeof(count))
		h->backend.broken(h->backend.ctx);
}

static int vhost_attach(struct vsock_backend *b, struct loop *loop)
{
	struct vsock_vhost *h = of(b);

	h->broken_watch = loop_fd_add(loop, h->broken, LOOP_READ, on_broken, h);
	return h->broken_watch ? 0 : -ENOMEM;
}

static void vhost_detach(struct vsock_backend *b)
{
	struct vsock_vhost *h = of(b);

	loop_fd_del(h->broken_watch);
	h->broken_watch = NULL;
}

static int set_running(const struct vsock_vhost *h, int on)
{
	return vhost_set(&h->vhost, VHOST_VSOCK_SET_RUNNING, &on);
}

static int vhost_take_rings(struct vsock_backend *b, const struct guest_mem *gm, uint64_t features,
			    const struct vhost_ring rings[VSOCK_RINGS])
{
	struct vsock_vhost *h = of(b);
	int ret;

	if (h->vhost.fd < 0)
		return -ENODEV;
	ret = vhost_prepare(&h->vhost, gm, features & F_RING, rings, VSOCK_RINGS, h->broken);
	if (!ret)
		ret = set_running(h, 1);
	/* Whatever it has of them it lets go of with the descriptor. */
	if (ret)
		vhost_close(&h->vhost);
	return ret;
}

static void vhost_give_rings(struct vsock_backend *b, struct vhost_ring rings[VSOCK_RINGS])
{
	struct vsock_vhost *h = of(b);
	/* It waits for packets that are under way. */
	bool stopped = !set_running(h, 0);
	uint64_t count;

	for (unsigned i = 0; i < VSOCK_RINGS; i++)
		stopped = vhost_forget_ring(&h->vhost, i) && stopped;
	for (unsigned i = 0; i < VSOCK_RINGS; i++)
		rings[i].next = vhost_next(&h->vhost, i, &rings[i]);
	/* This stops it whatever it thinks. */
	if (!stopped)
		vhost_close(&h->vhost);
	/* What was wrong with these is no fault of the next ones. */
	if (read(h->broken, &count, sizeof(count)) < 0)
		return;
}

static void vhost_destroy(struct vsock_backend *b)
{
	struct vsock_vhost *h = of(b);

	vhost_close(&h->vhost);
	fd_close(&h->broken);
	free(h);
}

static const struct vsock_backend_ops ops = {
	.attach = vhost_attach,
	.detach = vhost_detach,
	.take_rings = vhost_take_rings,
	.give_rings = vhost_give_rings,
	.destroy = vhost_destroy,
};

static int refuse_open(const char *name, int ret, struct err *e)
{
	return err_usage(e, ret, "%s: %s: %s%s", name, device, strerror(-ret),
			 ret == -ENOENT || ret == -ENODEV || ret == -ENXIO
				 ? "; modprobe vhost_vsock, or give a path instead"
			 : ret == -EACCES || ret == -EPERM
				 ? "; have the device given to this user, or give a path instead"
				 : "");
}

static int take_address(struct vsock_vhost *h, const char *name, uint32_t cid, struct err *e)
{
	const uint64_t guest_cid = cid;
	int ret = vhost_set(&h->vhost, VHOST_VSOCK_SET_GUEST_CID, &guest_cid);

	if (ret == -EADDRINUSE)
		return err_usage(e, ret,
				 "%s: cid=%u: another machine of this host has it, or the host "
				 "itself; give another",
				 name, cid);
	return ret ? err_usage(e, ret, "%s: cid=%u: %s", name, cid, strerror(-ret)) : 0;
}

int vsock_vhost_open(struct vsock_backend **out, const char *name, uint32_t cid, struct err *e)
{
	struct vsock_vhost *h = calloc(1, sizeof(*h));
	int ret;

	if (!h)
		return err_host(e, -ENOMEM, "%s: out of memory", name);
	h->backend.ops = &ops;
	h->vhost.fd = h->broken = -1;
	ret = vhost_open(&h->vhost, device);
	if (ret)
		ret = refuse_open(name, ret, e);
	else
		ret = take_address(h, name, cid, e);
	if (!ret) {
		h->broken = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (h->broken < 0)
			ret = err_host(e, -errno, "%s: %s", name, strerror(errno));
	}
	if (ret) {
		vhost_destroy(&h->backend);
		return ret;
	}
	*out = &h->backend;
	return 0;
}
