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

bool virtio_net_lost(const struct virtio_net *n)
{
	return __atomic_load_n(&n->lost, __ATOMIC_RELAXED);
}

/* Whoever serves the rings may have to change. */
static void ring_relink(struct virtio_net *n)
{
	const uint64_t one = 1;

	/* A counter that is full rings as well. */
	if (write(n->relink, &one, sizeof(one)) < 0)
		log_debug("%s: %s", n->v.name, strerror(errno));
}

void virtio_net_set_link(struct virtio_net *n, bool up)
{
	if (__atomic_exchange_n(&n->link_up, up, __ATOMIC_RELAXED) == up)
		return;
	ring_relink(n);
	virtio_notify_config(&n->v);
}

/* --- the limit ------------------------------------------------------------------------- */

void virtio_net_set_limit(struct virtio_net *n, const struct rates *limit)
{
	for (unsigned i = 0; i < NET_RINGS; i++)
		rate_limit_set(&n->limits[i], limit);
	ring_relink(n);
}

struct rates virtio_net_limit(struct virtio_net *n)
{
	return rate_limit_get(&n->limits[NET_RING_RX]);
}

bool net_must_wait(struct virtio_net *n, unsigned direction)
{
	enum { NS_PER_MS = 1000000 };
	uint64_t ns = rate_limit_wait(&n->limits[direction]);

	if (!ns)
		return false;
	uint64_t now = clock_monotonic_ns(n->limits[direction].clock);
	uint64_t at = ns < UINT64_MAX - now ? now + ns : UINT64_MAX;

	/* One timer for all: the first of them counts, and the others ask again. */
	if (n->rings_at && n->rings_at <= at)
		return true;
	n->rings_at = at;
	loop_timer_start(n->timer, ns / NS_PER_MS + 1);
	return true;
}

static void stop_waiting(struct virtio_net *n)
{
	n->rings_at = 0;
	if (n->timer)
		loop_timer_stop(n->timer);
}

/* Pairs begin in turn, or the first would have all. */
static void on_timer(void *ctx)
{
	struct virtio_net *n = ctx;
	unsigned first = n->first_pair++;

	stop_waiting(n);
	for (unsigned i = 0; i < n->active && !virtio_failed(&n->v); i++) {
		struct virtio_net_pair *p = &n->pairs[(first + i) % n->active];

		if (!p->attached || p->lent)
			continue;
		net_tx_run(p);
		net_rx_run(p);
	}
}

/* --- configuration space ---------------------------------------------------------------- */

static uint64_t config_read(void *dev, uint32_t off, unsigned size)
{
	const struct virtio_net *n = dev;
	uint8_t cfg[VIRTIO_NET_CFG_LEN] = {0};
	uint64_t val = 0;

	memcpy(cfg + VIRTIO_NET_CFG_MAC, n->mac, sizeof(n->mac));
	le16_put(cfg + VIRTIO_NET_CFG_STATUS, virtio_net_link(n) ? VIRTIO_NET_S_LINK_UP : 0);
	le16_put(cfg + VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS, (uint16_t)n->n_pairs);
	le16_put(cfg + VIRTIO_NET_CFG_MTU, n->mtu);
	memcpy(&val, cfg + off, size);
	return le64toh(val);
}

/* --- packets longer than the MTU ----------------------------------------------------------- */

const struct net_gso net_gso_kinds[NET_GSO_KINDS] = {
	{VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_GUEST_TSO4, NET_OFFLOAD_TSO4, NET_HDR_GSO_TCPV4},
	{VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_GUEST_TSO6, NET_OFFLOAD_TSO6, NET_HDR_GSO_TCPV6},
	{VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_F_GUEST_UFO, NET_OFFLOAD_UFO, NET_HDR_GSO_UDP},
	{VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_GUEST_USO4 | VIRTIO_NET_F_GUEST_USO6, NET_OFFLOAD_USO,
	 NET_HDR_GSO_UDP_L4},
};

const struct net_gso *net_gso_of(uint8_t gso_type)
{
	for (unsigned i = 0; i < NET_GSO_KINDS; i++) {
		const struct net_gso *k = &net_gso_kinds[i];
		bool tcp = k->offload & (NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6);

		if (gso_type == k->type || (tcp && gso_type == (k->type | NET_HDR_GSO_ECN)))
			return k;
	}
	return NULL;
}

/* --- features ---------------------------------------------------------------------------- */

static uint64_t features_of(const struct net *backend, unsigned n_pairs)
{
	static const struct {
		unsigned offload;
		uint64_t features;
	} map[] = {
		{NET_OFFLOAD_CSUM, VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM},
		{NET_OFFLOAD_ECN, VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_GUEST_ECN},
	};
	uint64_t f = VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MRG_RXBUF;

	for (unsigned i = 0; i < ARRAY_LEN(map); i++)
		if (backend->offloads & map[i].offload)
			f |= map[i].features;
	for (unsigned i = 0; i < NET_GSO_KINDS; i++)
		if (backend->offloads & net_gso_kinds[i].offload)
			f |= net_gso_kinds[i].host | net_gso_kinds[i].guest;
	if (backend->checked)
		f |= VIRTIO_NET_F_GUEST_CSUM;
	if (backend->mtu)
		f |= VIRTIO_NET_F_MTU;
	if (n_pairs > 1)
		f |= VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_MQ;
	return f;
}

/* What the guest lets the host leave to it. */
static unsigned guest_offloads(uint64_t features)
{
	unsigned offloads = (features & VIRTIO_NET_F_GUEST_CSUM ? NET_OFFLOAD_CSUM : 0) |
			    (features & VIRTIO_NET_F_GUEST_ECN ? NET_OFFLOAD_ECN : 0);

	for (unsigned i = 0; i < NET_GSO_KINDS; i++)
		if (!(net_gso_kinds[i].guest & ~features))
			offloads |= net_gso_kinds[i].offload;
	return offloads;
}

/* None without those it needs [virtio 1.3 5.1.3.1]. */
static bool features_ok(void *dev, uint64_t f)
{
	const uint64_t guest_tso = VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6;
	const uint64_t host_tso = VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6;
	uint64_t guest_gso = 0, host_gso = 0;

	for (unsigned i = 0; i < NET_GSO_KINDS; i++) {
		guest_gso |= net_gso_kinds[i].guest;
		host_gso |= net_gso_kinds[i].host;
	}
	return (!(f & guest_gso) || f & VIRTIO_NET_F_GUEST_CSUM) &&
	       (!(f & VIRTIO_NET_F_GUEST_ECN) || f & guest_tso) &&
	       (!(f & host_gso) || f & VIRTIO_NET_F_CSUM) &&
	       (!(f & VIRTIO_NET_F_HOST_ECN) || f & host_tso) &&
	       (!(f & VIRTIO_NET_F_MQ) || f & VIRTIO_NET_F_CTRL_VQ);
}

/* --- the loop's calls ---------------------------------------------------------------------- */

static void on_readable(void *ctx)
{
	struct virtio_net_pair *p = ctx;

	if (!virtio_failed(&p->n->v))
		net_rx_run(p);
}

static void on_writable(void *ctx)
{
	net_tx_resume(ctx);
}

static void on_lost(void *ctx, const char *why)
{
	struct virtio_net *n = ((struct virtio_net_pair *)ctx)->n;

	log_warn("%s: %s; the guest's link is down", n->v.name, why);
	__atomic_store_n(&n->lost, true, __ATOMIC_RELAXED);
	virtio_net_set_link(n, false);
}

static void on_broken(void *ctx)
{
	struct virtio_net *n = ((struct virtio_net_pair *)ctx)->n;

	for (unsigned i = 0; i < n->active; i++)
		net_rings_reclaim(&n->pairs[i]);
	virtio_fail(&n->v, "a descriptor chain or ring index breaks the rules");
}

static void on_relink(void *ctx, int events)
{
	struct virtio_net *n = ctx;
	uint64_t count;

	if (read(n->relink, &count, sizeof(count)) < 0 || virtio_failed(&n->v))
		return;
	for (unsigned i = 0; i < n->active; i++) {
		if (net_may_lend(n))
			net_rings_lend(&n->pairs[i]);
		else
			net_rings_reclaim(&n->pairs[i]);
	}
	/* With other limits it may be another time. */
	if (n->rings_at)
		on_timer(n);
}

/* --- pairs --------------------------------------------------------------------------------- */

static bool start_pair(struct virtio_net_pair *p)
{
	struct net *b = p->backend;

	p->wants = false;
	p->attached =
		!b->ops->attach(b, virtio_loop(&p->n->v, 0), guest_offloads(p->n->v.features));
	if (p->attached)
		net_rings_lend(p);
	return p->attached;
}

static void stop_pair(struct virtio_net_pair *p)
{
	if (!p->attached)
		return;
	net_rings_reclaim(p);
	net_rx_stop(p);
	net_tx_stop(p);
	p->backend->ops->detach(p->backend);
	p->attached = false;
}

bool net_use_pairs(struct virtio_net *n, unsigned pairs)
{
	unsigned i = n->active;

	while (i < pairs && start_pair(&n->pairs[i]))
		i++;
	bool all = i >= pairs;

	/* Those that are too many, or that were started for nothing. */
	for (unsigned keep = all ? pairs : n->active; i > keep;)
		stop_pair(&n->pairs[--i]);
	n->active = i;
	return all;
}

static void started(void *dev, unsigned lane)
{
	struct virtio_net *n = dev;
	unsigned wanted = n->active;

	n->active = 0;
	n->timer = loop_timer_add(virtio_loop(&n->v, 0), on_timer, n);
	n->relink_watch = loop_fd_add(virtio_loop(&n->v, 0), n->relink, LOOP_READ, on_relink, n);
	if (!net_use_pairs(n, wanted) || !n->relink_watch || !n->timer) {
		n->active = wanted;
		virtio_fail(&n->v, "the host has no resources for its network");
	}
	if (n->link_told != virtio_net_link(n) || !n->mac_told) {
		n->link_told = virtio_net_link(n);
		n->mac_told = true;
		virtio_notify_config(&n->v);
	}
}

static void queue_ready(void *dev, unsigned index)
{
	struct virtio_net *n = dev;
	struct virtio_net_pair *p = &n->pairs[index / VIRTIO_NET_QUEUES];

	if (n->v.features & VIRTIO_NET_F_CTRL_VQ && index == net_control_queue(n))
		net_ctrl_run(n);
	else if (index / VIRTIO_NET_QUEUES >= n->active || !p->attached || p->lent)
		return;
	else if (index == rx_queue(p))
		net_rx_run(p);
	else
		net_tx_run(p);
}

/* Nothing of ours is in the kernel's hands between two calls but the rings, and those it
 * gives back with the frame that it is at: so this is at once. */
static void quiesce(void *dev, unsigned lane)
{
	struct virtio_net *n = dev;

	loop_fd_del(n->relink_watch);
	n->relink_watch = NULL;
	loop_timer_del(n->timer);
	n->timer = NULL;
	n->rings_at = 0;
	for (unsigned i = 0; i < n->n_pairs; i++)
		stop_pair(&n->pairs[i]);
	virtio_quiesced(&n->v, lane);
}

static void reset(void *dev)
{
	/* Until the driver asks for more. */
	((struct virtio_net *)dev)->active = 1;
}

/* --- saved state ----------------------------------------------------------------------------- */

static void save(void *dev, struct state_writer *w)
{
	const struct virtio_net *n = dev;

	state_put_bytes(w, n->mac, sizeof(n->mac));
	state_put_bool(w, virtio_net_link(n));
	state_put_u8(w, (uint8_t)n->active);
}

static int load(void *dev, struct state_reader *r, struct err *e)
{
	struct virtio_net *n = dev;
	uint8_t mac[6];

	state_get_bytes(r, mac, sizeof(mac));
	bool link = state_get_bool(r);
	unsigned active = state_get_u8(r);

	if (r->error || !active || active > n->n_pairs ||
	    (active > 1 && !(n->v.features & VIRTIO_NET_F_MQ)))
		return err_host(e, -EBADMSG, "saved state: %s: not of a network", n->v.name);
	if (mac[0] & 1)
		return err_host(e, -EBADMSG, "saved state: %s: a group's MAC", n->v.name);
	/* The link is as it is here and now; a driver that believes otherwise is told. So it is of
	 * another MAC, which Linux's takes when it is bound anew and not before. */
	n->link_told = link;
	if (!n->mac_fixed)
		memcpy(n->mac, mac, sizeof(n->mac));
	n->mac_told = !memcmp(mac, n->mac, sizeof(mac));
	n->active = active;
	return 0;
}

static const struct virtio_ops ops = {
	.device_id = VIRTIO_ID_NET,
	.config_read = config_read,
	.features_ok = features_ok,
	.started = started,
	.queue_ready = queue_ready,
	.quiesce = quiesce,
	.reset = reset,
	.save = save,
	.load = load,
};

/* --- life -------------------------------------------------------------------------------- */

static int init_pairs(struct virtio_net *n, struct net *const *backends)
{
	for (unsigned i = 0; i < n->n_pairs; i++) {
		struct virtio_net_pair *p = &n->pairs[i];
		struct net *b = backends[i];

		p->n = n;
		p->queue = VIRTIO_NET_QUEUES * i;
		p->backend = b;
		b->readable = on_readable;
		b->writable = on_writable;
		b->lost = on_lost;
		b->broken = on_broken;
		b->ctx = p;
	}
	/* Their pages come as they are first used. */
	for (unsigned i = 0; i < n->n_pairs; i++) {
		n->pairs[i].rx.spare = malloc(NET_FRAME_MAX + 1);
		if (!n->pairs[i].rx.spare)
			return -ENOMEM;
	}
	return 0;
}

int virtio_net_init(struct virtio_net *n, struct net *const *backends, unsigned n_pairs,
		    const struct virtio_net_options *options, struct guest_mem *gm,
		    struct loop *loop)
{
	uint16_t sizes[VIRTIO_NET_QUEUES * VIRTIO_NET_PAIRS_MAX + 1];
	unsigned n_queues = VIRTIO_NET_QUEUES * n_pairs + (n_pairs > 1);
	int ret = -ENOMEM;

	assert(!(options->mac[0] & 1));
	assert(n_pairs && n_pairs <= VIRTIO_NET_PAIRS_MAX);
	for (unsigned i = 0; i < n_queues; i++)
		sizes[i] = VIRTQ_SIZE_MAX;
	memset(n, 0, sizeof(*n));
	n->link_up = n->link_told = n->mac_told = true;
	n->mac_fixed = options->mac_fixed;
	n->active = 1;
	n->mtu = backends[0]->mtu;
	for (unsigned i = 0; i < NET_RINGS; i++) {
		rate_limit_init(&n->limits[i], options->clock);
		rate_limit_set(&n->limits[i], &options->limit);
	}
	memcpy(n->mac, options->mac, sizeof(n->mac));
	n->relink = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	n->pairs = calloc(n_pairs, sizeof(*n->pairs));
	if (n->pairs) {
		n->n_pairs = n_pairs;
		ret = init_pairs(n, backends);
	} else {
		for (unsigned i = 0; i < n_pairs; i++)
			net_destroy(backends[i]);
	}
	if (n->relink < 0)
		ret = -EMFILE;
	if (!ret)
		ret = virtio_init(&n->v, &ops, n, options->name, gm, loop,
				  features_of(backends[0], n_pairs), VIRTIO_NET_CFG_LEN, n_queues,
				  sizes);
	if (ret)
		virtio_net_fini(n);
	return ret;
}

void virtio_net_fini(struct virtio_net *n)
{
	virtio_fini(&n->v);
	for (unsigned i = 0; i < n->n_pairs; i++) {
		net_destroy(n->pairs[i].backend);
		free(n->pairs[i].rx.spare);
	}
	free(n->pairs);
	n->pairs = NULL;
	n->n_pairs = 0;
	for (unsigned i = 0; i < NET_RINGS; i++)
		rate_limit_fini(&n->limits[i]);
	/* Zero-filled, there is none. */
	if (n->relink > 0)
		fd_close(&n->relink);
}
