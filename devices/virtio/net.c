/* SPDX-License-Identifier: Apache-2.0 */
/* net: configuration, features, the link and the device's life; frames are the
 * business of net_rx.c and net_tx.c, or of the backend: net_rings.c. */
#include "devices/virtio/net.h"

#include "devices/virtio/net_priv.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- the link ------------------------------------------------------------------------ */

bool virtio_net_link(const struct virtio_net *n)
{
	return __atomic_load_n(&n->link_up, __ATOMIC_RELAXED);
}

void virtio_net_set_link(struct virtio_net *n, bool up)
{
	const uint64_t one = 1;

	if (__atomic_exchange_n(&n->link_up, up, __ATOMIC_RELAXED) == up)
		return;
	/* Whoever serves the rings has to change. A counter that is full rings as well. */
	if (write(n->relink, &one, sizeof(one)) < 0)
		log_debug("%s: %s", n->v.name, strerror(errno));
	virtio_notify_config(&n->v);
}

/* --- configuration space ---------------------------------------------------------------- */

static uint64_t config_read(void *dev, uint32_t off, unsigned size)
{
	const struct virtio_net *n = dev;
	uint8_t cfg[VIRTIO_NET_CFG_LEN] = {0};
	uint64_t val = 0;

	memcpy(cfg + VIRTIO_NET_CFG_MAC, n->mac, sizeof(n->mac));
	le16_put(cfg + VIRTIO_NET_CFG_STATUS, virtio_net_link(n) ? VIRTIO_NET_S_LINK_UP : 0);
	le16_put(cfg + VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS, 1);
	le16_put(cfg + VIRTIO_NET_CFG_MTU, n->backend->mtu);
	memcpy(&val, cfg + off, size);
	return le64toh(val);
}

/* --- features ---------------------------------------------------------------------------- */

static uint64_t features_of(const struct net *backend)
{
	static const struct {
		unsigned offload;
		uint64_t features;
	} map[] = {
		{NET_OFFLOAD_CSUM, VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM},
		{NET_OFFLOAD_TSO4, VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_GUEST_TSO4},
		{NET_OFFLOAD_TSO6, VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_GUEST_TSO6},
		{NET_OFFLOAD_ECN, VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_GUEST_ECN},
	};
	uint64_t f = VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MRG_RXBUF;

	for (unsigned i = 0; i < ARRAY_LEN(map); i++)
		if (backend->offloads & map[i].offload)
			f |= map[i].features;
	if (backend->checked)
		f |= VIRTIO_NET_F_GUEST_CSUM;
	if (backend->mtu)
		f |= VIRTIO_NET_F_MTU;
	return f;
}

/* What the guest lets the host leave to it. */
static unsigned guest_offloads(uint64_t features)
{
	return (features & VIRTIO_NET_F_GUEST_CSUM ? NET_OFFLOAD_CSUM : 0) |
	       (features & VIRTIO_NET_F_GUEST_TSO4 ? NET_OFFLOAD_TSO4 : 0) |
	       (features & VIRTIO_NET_F_GUEST_TSO6 ? NET_OFFLOAD_TSO6 : 0) |
	       (features & VIRTIO_NET_F_GUEST_ECN ? NET_OFFLOAD_ECN : 0);
}

/* None without those it needs [virtio 1.3 5.1.3.1]. */
static bool features_ok(void *dev, uint64_t f)
{
	const uint64_t guest_tso = VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6;
	const uint64_t host_tso = VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6;

	return (!(f & guest_tso) || f & VIRTIO_NET_F_GUEST_CSUM) &&
	       (!(f & VIRTIO_NET_F_GUEST_ECN) || f & guest_tso) &&
	       (!(f & host_tso) || f & VIRTIO_NET_F_CSUM) &&
	       (!(f & VIRTIO_NET_F_HOST_ECN) || f & host_tso);
}

/* --- the loop's calls ---------------------------------------------------------------------- */

static void on_readable(void *ctx)
{
	struct virtio_net *n = ctx;

	if (!virtio_failed(&n->v))
		net_rx_run(n);
}

static void on_writable(void *ctx)
{
	net_tx_resume(ctx);
}

static void on_lost(void *ctx, const char *why)
{
	struct virtio_net *n = ctx;

	log_warn("%s: %s; the guest's link is down", n->v.name, why);
	virtio_net_set_link(n, false);
}

static void on_broken(void *ctx)
{
	struct virtio_net *n = ctx;

	net_rings_reclaim(n);
	virtio_fail(&n->v, "a descriptor chain or ring index breaks the rules");
}

static void on_relink(void *ctx, int events)
{
	struct virtio_net *n = ctx;
	uint64_t count;

	if (read(n->relink, &count, sizeof(count)) < 0 || virtio_failed(&n->v))
		return;
	if (virtio_net_link(n))
		net_rings_lend(n);
	else
		net_rings_reclaim(n);
}

static void started(void *dev)
{
	struct virtio_net *n = dev;
	unsigned offloads = guest_offloads(n->v.features);

	n->wants = false;
	n->attached = !n->backend->ops->attach(n->backend, n->v.loop, offloads);
	n->relink_watch = loop_fd_add(n->v.loop, n->relink, LOOP_READ, on_relink, n);
	if (!n->attached || !n->relink_watch)
		virtio_fail(&n->v, "the host has no resources for its network");
	else
		net_rings_lend(n);
	if (n->link_told != virtio_net_link(n)) {
		n->link_told = virtio_net_link(n);
		virtio_notify_config(&n->v);
	}
}

static void queue_ready(void *dev, unsigned index)
{
	struct virtio_net *n = dev;

	if (index == VIRTIO_NET_RX)
		net_rx_run(n);
	else
		net_tx_run(n);
}

/* Nothing of ours is in the kernel's hands between two calls but the rings, and those it
 * gives back with the frame that it is at: so this is at once. */
static void quiesce(void *dev)
{
	struct virtio_net *n = dev;

	loop_fd_del(n->relink_watch);
	n->relink_watch = NULL;
	if (n->attached) {
		net_rings_reclaim(n);
		net_rx_stop(n);
		net_tx_stop(n);
		n->backend->ops->detach(n->backend);
		n->attached = false;
	}
	virtio_quiesced(&n->v);
}

/* --- saved state ----------------------------------------------------------------------------- */

static void save(void *dev, struct state_writer *w)
{
	const struct virtio_net *n = dev;

	state_put_bytes(w, n->mac, sizeof(n->mac));
	state_put_bool(w, virtio_net_link(n));
}

static int load(void *dev, struct state_reader *r, struct err *e)
{
	struct virtio_net *n = dev;
	uint8_t mac[6];

	state_get_bytes(r, mac, sizeof(mac));
	bool link = state_get_bool(r);

	if (r->error)
		return err_host(e, -EBADMSG, "saved state: %s: not of a network", n->v.name);
	if (memcmp(mac, n->mac, sizeof(mac)) != 0)
		return err_host(e, -EINVAL,
				"saved state: %s: the guest knows it as "
				"%02x:%02x:%02x:%02x:%02x:%02x; give that with mac=",
				n->v.name, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	/* The link is as it is here and now; a driver that believes otherwise is told. */
	n->link_told = link;
	return 0;
}

static const struct virtio_ops ops = {
	.device_id = VIRTIO_ID_NET,
	.config_read = config_read,
	.features_ok = features_ok,
	.started = started,
	.queue_ready = queue_ready,
	.quiesce = quiesce,
	.save = save,
	.load = load,
};

/* --- life -------------------------------------------------------------------------------- */

int virtio_net_init(struct virtio_net *n, struct net *backend,
		    const struct virtio_net_options *options, struct guest_mem *gm,
		    struct loop *loop)
{
	const uint16_t sizes[VIRTIO_NET_QUEUES] = {VIRTQ_SIZE_MAX, VIRTQ_SIZE_MAX};
	int ret = -ENOMEM;

	assert(!(options->mac[0] & 1));
	memset(n, 0, sizeof(*n));
	n->backend = backend;
	n->link_up = n->link_told = true;
	memcpy(n->mac, options->mac, sizeof(n->mac));
	backend->readable = on_readable;
	backend->writable = on_writable;
	backend->lost = on_lost;
	backend->broken = on_broken;
	backend->ctx = n;
	/* Its pages come as they are first used. */
	n->rx.spare = malloc(NET_FRAME_MAX + 1);
	n->relink = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->relink < 0)
		ret = -errno;
	else if (n->rx.spare)
		ret = virtio_init(&n->v, &ops, n, options->name, gm, loop, features_of(backend),
				  VIRTIO_NET_CFG_LEN, VIRTIO_NET_QUEUES, sizes);
	if (ret)
		virtio_net_fini(n);
	return ret;
}

void virtio_net_fini(struct virtio_net *n)
{
	virtio_fini(&n->v);
	net_destroy(n->backend);
	n->backend = NULL;
	/* Zero-filled, there is none. */
	if (n->relink > 0)
		fd_close(&n->relink);
	free(n->rx.spare);
	n->rx.spare = NULL;
}
