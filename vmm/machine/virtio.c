/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio devices: the disks in the order given, so that the first is /dev/vda,
 * then the rest.
 *
 * Each disk has an I/O thread of its own: a disk that stalls takes nobody along.
 */
#include "vmm/base/bytes.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct io_thread *start_thread(const char *name, struct err *e)
{
	int ret = 0;
	struct io_thread *t = io_thread_create(name, &ret);

	if (!t)
		err_host(e, ret, "cannot start the I/O thread %s: %s", name, strerror(-ret));
	return t;
}

int machine_plug(struct machine *m, struct virtio_slot *slot, struct virtio *v, struct err *e)
{
	const struct virtio_pci_env env = {
		.msi = irqchip_msi(&m->irqchip),
		.doorbell = kvm_doorbell(&m->vm),
	};
	struct virtio_pci *p = &slot->pci;
	int ret = virtio_pci_init(p, v, &env);

	if (!ret) {
		ret = pci_host_add(&m->pci, -1, &p->pci);
		ret = ret < 0 ? ret : 0;
	}
	if (!ret)
		ret = device_list_add(&m->devices, v->name, &virtio_pci_device_ops, p);
	if (ret)
		virtio_pci_fini(p);
	if (ret == -ENOSPC)
		return err_usage(e, ret, "%s: the PCI bus is full; give fewer devices", v->name);
	if (ret)
		return err_host(e, ret, "%s: %s", v->name, strerror(-ret));
	return 0;
}

/* More queues than CPUs serve nobody, and one thread gains little from many. */
static unsigned queue_count(const struct machine *m, const struct disk_config *c)
{
	enum { DEFAULT_MAX = 4 };

	if (c->queues)
		return c->queues;
	return m->config->cpus < DEFAULT_MAX ? m->config->cpus : DEFAULT_MAX;
}

static int make_disk(struct machine *m, struct disk *d, const struct disk_config *c, struct err *e)
{
	struct virtio_blk_options options = {
		.name = c->id,
		.serial = c->serial,
		.n_queues = queue_count(m, c),
	};
	struct block *backend = d->backend;

	d->thread = start_thread(c->id, e);
	if (!d->thread)
		return e->code;
	d->backend = NULL; /* the device's from here on, also if it fails */
	int ret = virtio_blk_init(&d->blk, backend, &options, &m->ram, io_thread_loop(d->thread));

	if (ret)
		return err_host(e, ret, "--disk %s: %s", c->path, strerror(-ret));
	return machine_plug(m, &d->slot, &d->blk.v, e);
}

static int make_rng(struct machine *m, struct err *e)
{

	m->light_io = start_thread("light-io", e);
	if (!m->light_io)
		return e->code;
	int ret = virtio_rng_init(&m->rng, "rng", &m->ram, io_thread_loop(m->light_io));

	if (ret)
		return err_host(e, ret, "--rng: %s", strerror(-ret));
	return machine_plug(m, &m->rng_slot, &m->rng.v, e);
}

int machine_make_virtio(struct machine *m, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < m->config->n_disks && !ret; i++)
		ret = make_disk(m, &m->disks[i], &m->config->disks[i], e);
	if (!ret && m->config->rng)
		ret = make_rng(m, e);
	return ret ? ret : pci_host_assign(&m->pci, e);
}

void machine_end_virtio(struct machine *m)
{
	virtio_rng_fini(&m->rng);
	io_thread_destroy(m->light_io);
	for (unsigned i = m->disks ? m->config->n_disks : 0; i-- > 0;) {
		virtio_blk_fini(&m->disks[i].blk);
		io_thread_destroy(m->disks[i].thread);
	}
}
