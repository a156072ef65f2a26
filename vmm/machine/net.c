/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The networks: their backends are opened first of all, since a child of ours takes a
 * while to get ready; the devices are made among the other virtio devices.
 */
#include "devices/backend/net_passt.h"
#include "devices/backend/net_tap.h"
#include "vmm/base/thread.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- MAC addresses ------------------------------------------------------------------- */

/* FNV-1a. */
static uint64_t hash(uint64_t h, const char *text)
{
	do
		h = (h ^ (uint8_t)*text) * 0x100000001b3;
	while (*text++);
	return h;
}

/* The same guest gets the same address each time, so that it finds its leases and
 * names again; two at a time on one network get different ones. What tells guests of
 * one host apart is the tap, of which each has its own; hosts, their machine-id; what
 * tells guests apart that take turns at a tap, the disk or else the kernel they boot
 * from; and clones of one, their numbers. Of the hash, 46 bits: locally administered, and no
 * group's. */
static void make_mac(const struct vm_config *c, unsigned i, const char *ifname, uint8_t mac[6])
{
	/* A machine that was restored may have neither. */
	const char *boot = c->n_disks ? c->disks[0].path : c->kernel ? c->kernel : "";
	char *path = realpath(boot, NULL), text[64] = "";
	FILE *f = fopen("/etc/machine-id", "re");
	uint64_t h = 0xcbf29ce484222325;

	if (f) {
		if (!fgets(text, sizeof(text), f))
			*text = '\0';
		fclose(f);
	}
	h = hash(h, text);
	h = hash(h, path ? path : boot);
	h = hash(h, ifname);
	snprintf(text, sizeof(text), "%u", i);
	h = hash(h, text);
	if (c->restore.is_clone) {
		snprintf(text, sizeof(text), "clone %u", c->restore.clone);
		h = hash(h, text);
	}
	free(path);
	for (unsigned b = 0; b < 6; b++)
		mac[b] = (uint8_t)(h >> (8 * b));
	mac[0] = (uint8_t)((mac[0] & ~1) | 2);
}

/* --- backends ---------------------------------------------------------------------------- */

static int open_passt(struct net **out, const struct net_config *c, struct err *e)
{
	struct net_forward forwards[CONFIG_FORWARDS_MAX];

	for (unsigned i = 0; i < c->n_forwards; i++)
		forwards[i] = (struct net_forward){
			.udp = c->forwards[i].udp,
			.address = c->forwards[i].address,
			.host = c->forwards[i].host,
			.guest = c->forwards[i].guest,
		};
	return net_passt_open(out, forwards, c->n_forwards, e);
}

static void destroy_nothing(struct net *n)
{
	free(n);
}

/* A network of a machine that is only described: to open a tap may be to make it, and
 * passt is a process. The device is made and never started, so nobody calls but at its
 * end. */
static int open_nothing(struct nic *nic, const struct net_config *c, struct err *e)
{
	static const struct net_ops ops = {.destroy = destroy_nothing};

	nic->n_backends = c->queues ? c->queues : 1;
	for (unsigned i = 0; i < nic->n_backends; i++) {
		struct net *n = calloc(1, sizeof(*n));

		if (!n)
			return err_host(e, -ENOMEM, "out of memory");
		n->ops = &ops;
		if (c->kind == NET_TAP)
			snprintf(n->ifname, sizeof(n->ifname), "%s", c->tap);
		nic->backends[i] = n;
	}
	return 0;
}

/* By itself, vhost is taken where it gains: adr/003-vhost-by-itself.md. With a limit it waits
 * until that is lifted. */
static enum net_tap_vhost vhost_of(const struct vm_config *c, const struct net_config *n)
{
	switch (n->vhost) {
	case CONFIG_VHOST_ON:
		return NET_TAP_VHOST_ON;
	case CONFIG_VHOST_OFF:
		return NET_TAP_VHOST_OFF;
	default:
		return c->transport == TRANSPORT_PCI && thread_cpus() > 1 ? NET_TAP_VHOST_AUTO
									  : NET_TAP_VHOST_OFF;
	}
}

static int open_net(struct nic *nic, const struct vm_config *c, const struct net_config *n,
		    struct err *e)
{
	nic->n_backends = n->queues ? n->queues : 1;
	switch (n->kind) {
	case NET_TAP:
		return net_tap_open(nic->backends, nic->n_backends, n->tap, vhost_of(c, n), e);
	case NET_FD:
		return net_tap_inherit(&nic->backends[0], n->fd, vhost_of(c, n), e);
	default:
		return open_passt(&nic->backends[0], n, e);
	}
}

int machine_open_net(struct machine *m, struct nic *nic, const struct net_config *n, unsigned i,
		     struct err *e)
{
	int ret = m->dry ? open_nothing(nic, n, e) : open_net(nic, m->config, n, e);

	if (ret)
		return ret;
	if (n->has_mac)
		memcpy(nic->mac, n->mac, sizeof(nic->mac));
	else
		make_mac(m->config, i, nic->backends[0]->ifname, nic->mac);
	return 0;
}

int machine_open_nets(struct machine *m, struct err *e)
{
	const struct vm_config *c = m->config;
	int ret = 0;

	m->nics = calloc(c->n_nets, sizeof(*m->nics));
	if (!m->nics && c->n_nets)
		return err_host(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < c->n_nets && !ret; i++)
		ret = machine_open_net(m, &m->nics[i], &c->nets[i], i, e);
	return ret;
}

int machine_await_nets(struct machine *m, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < m->config->n_nets && !ret; i++)
		if (m->config->nets[i].kind == NET_USER)
			ret = net_passt_wait(m->nics[i].backends[0], e);
	return ret;
}

void machine_close_nets(struct machine *m)
{
	for (unsigned i = 0; m->nics && i < m->config->n_nets; i++)
		for (unsigned k = 0; k < VIRTIO_NET_PAIRS_MAX; k++)
			net_destroy(m->nics[i].backends[k]);
	free(m->nics);
}

_Static_assert((int)CONFIG_NET_QUEUES_MAX <= (int)VIRTIO_NET_PAIRS_MAX, "pairs of queues");

/* --- devices ------------------------------------------------------------------------------- */

int machine_make_net(struct machine *m, struct nic *nic, const struct net_config *c, struct err *e)
{
	struct virtio_net_options options = {.name = c->id, .limit = machine_rates(&c->limit)};
	struct net *backends[VIRTIO_NET_PAIRS_MAX];

	memcpy(options.mac, nic->mac, sizeof(options.mac));
	/* What goes on keeps what it had, if nobody says otherwise. */
	options.mac_fixed = c->has_mac || m->config->restore.is_clone;
	nic->thread = machine_start_thread(THREAD_IO, c->id, e);
	if (!nic->thread)
		return e->code;
	io_thread_batch(nic->thread); /* adr/001-network-in-batches.md */
	/* The device's from here on, also if it fails. */
	memcpy(backends, nic->backends, sizeof(backends));
	memset(nic->backends, 0, sizeof(nic->backends));
	int ret = virtio_net_init(&nic->net, backends, nic->n_backends, &options, &m->ram,
				  io_thread_loop(nic->thread));

	if (ret)
		return err_host(e, ret, "--net: %s: %s", c->id, strerror(-ret));
	return 0;
}

void machine_end_net(struct nic *nic)
{
	virtio_net_fini(&nic->net);
	io_thread_destroy(nic->thread);
}

int machine_make_nets(struct machine *m, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < m->config->n_nets && !ret; i++) {
		struct nic *nic = &m->nics[i];

		ret = machine_make_net(m, nic, &m->config->nets[i], e);
		if (!ret)
			ret = machine_plug(m, &nic->slot, &nic->net.v, e);
	}
	return ret;
}

void machine_end_nets(struct machine *m)
{
	for (unsigned i = m->nics ? m->config->n_nets : 0; i-- > 0;)
		machine_end_net(&m->nics[i]);
}
