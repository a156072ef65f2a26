/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio devices: the disks in the order given, so that the first is /dev/vda,
 * the networks and the shares likewise, the vsock, then the rest. machine_list_virtio() says which
 * there will be, before any exists: the guest is loaded before its devices are made, and ACPI
 * tables and the command line name the places of those on MMIO.
 *
 * Each disk, network, share and vsock has an I/O thread of its own, a disk several if they are
 * wanted: a disk that stalls takes nobody along.
 */
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/core/clock.h"
#include "vmm/machine/parts.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RNG_NAME     "rng"
#define HVC_NAME     "hvc"
#define BALLOON_NAME "balloon"
#define MEM_NAME     "mem"

struct io_thread *machine_start_thread(enum thread_kind kind, const char *name, struct err *e)
{
	int ret = 0;
	struct io_thread *t = io_thread_create_of(kind, name, &ret);

	if (!t)
		err_host(e, ret, "cannot start the I/O thread %s: %s", name, strerror(-ret));
	return t;
}

int machine_list_virtio(const struct vm_config *c, struct board *b, struct err *e)
{
	int ret = 0;

	b->virtio_mmio = c->transport == TRANSPORT_MMIO;
	for (unsigned i = 0; i < c->n_disks && !ret; i++)
		ret = board_add_virtio(b, c->disks[i].id, e);
	for (unsigned i = 0; i < c->n_nets && !ret; i++)
		ret = board_add_virtio(b, c->nets[i].id, e);
	for (unsigned i = 0; i < c->n_shares && !ret; i++)
		ret = board_add_virtio(b, c->shares[i].tag, e);
	if (!ret && machine_has_vsock(c))
		ret = board_add_virtio(b, MACHINE_VSOCK_NAME, e);
	if (!ret && c->rng)
		ret = board_add_virtio(b, RNG_NAME, e);
	if (!ret && c->hvc.kind != CHAR_OFF)
		ret = board_add_virtio(b, HVC_NAME, e);
	if (!ret && c->balloon)
		ret = board_add_virtio(b, BALLOON_NAME, e);
	if (!ret && machine_can_grow(c))
		ret = board_add_virtio(b, MEM_NAME, e);
	return ret ? ret : board_set_hotplug(b, c->hotplug, e);
}

int machine_plug_pci(struct machine *m, struct virtio_pci *p, struct virtio *v, unsigned slot)
{
	const struct virtio_pci_env env = {
		.msi = irqchip_msi(&m->irqchip),
		.doorbell = kvm_doorbell(&m->vm),
	};
	int ret = virtio_pci_init(p, v, &env);

	if (!ret) {
		ret = pci_host_add(&m->pci, (int)slot, &p->pci);
		ret = ret < 0 ? ret : 0;
	}
	if (!ret)
		ret = device_list_add(&m->devices, v->name, &virtio_pci_device_ops, p);
	if (ret)
		virtio_pci_fini(p);
	return ret;
}

static int plug_mmio(struct machine *m, struct virtio_mmio *d, struct virtio *v,
		     const struct board_virtio *place)
{
	const struct virtio_mmio_env env = {
		.base = place->base,
		.irq = {ioapic_set, &m->ioapic, place->gsi},
		.doorbell = kvm_doorbell(&m->vm),
		.hold = vcpus_hold(&m->vcpus),
	};
	int ret = virtio_mmio_init(d, v, &env);

	if (!ret)
		ret = bus_add(&m->mmio, place->base, VIRTIO_MMIO_LEN, &virtio_mmio_io_ops, d,
			      v->name);
	if (!ret)
		ret = device_list_add(&m->devices, v->name, &virtio_mmio_device_ops, d);
	if (ret) {
		bus_remove(&m->mmio, place->base, d);
		virtio_mmio_fini(d);
	}
	return ret;
}

int machine_plug(struct machine *m, struct virtio_slot *slot, struct virtio *v, struct err *e)
{
	const struct board_virtio *place = &m->board.virtio[m->n_plugged];

	/* As machine_list_virtio() has told the guest. */
	assert(m->n_plugged < m->board.n_virtio && !strcmp(place->name, v->name));
	m->plugged[m->n_plugged++] = v;
	int ret = m->board.virtio_mmio ? plug_mmio(m, &slot->mmio, v, place)
				       : machine_plug_pci(m, &slot->pci, v, place->slot);

	if (ret)
		return err_host(e, ret, "%s: %s", v->name, strerror(-ret));
	return 0;
}

_Static_assert((int)CONFIG_DISK_QUEUES_MAX <= (int)VIRTIO_BLK_LANES_MAX, "threads of a disk");

/* More queues than CPUs serve nobody, and one thread gains little from many. */
static unsigned queue_count(const struct machine *m, const struct disk_config *c)
{
	enum { DEFAULT_MAX = 4 };

	if (c->queues)
		return c->queues;
	unsigned n = m->config->cpus < DEFAULT_MAX ? m->config->cpus : DEFAULT_MAX;

	return n < c->threads ? c->threads : n;
}

/* "disk0", "disk0.1", ... */
static struct io_thread *start_disk_thread(const char *id, unsigned i, struct err *e)
{
	char name[32];

	if (i)
		snprintf(name, sizeof(name), "%.12s.%u", id, i);
	else
		snprintf(name, sizeof(name), "%s", id);
	name[15] = '\0'; /* the most that a thread's has */
	struct io_thread *t = machine_start_thread(THREAD_IO, name, e);

	/* adr/002-disk-in-batches.md */
	if (t)
		io_thread_batch(t);
	return t;
}

int machine_make_disk(struct machine *m, struct disk *d, const struct disk_config *c, struct err *e)
{
	struct virtio_blk_options options = {
		.name = c->id,
		.serial = c->serial,
		.n_queues = queue_count(m, c),
		.limit = machine_rates(&c->limit),
	};
	struct virtio_blk_host hosts[VIRTIO_BLK_LANES_MAX];

	for (unsigned i = 0; i < d->n_threads; i++) {
		d->threads[i] = start_disk_thread(c->id, i, e);
		if (!d->threads[i])
			return e->code;
		hosts[i] = (struct virtio_blk_host){d->backends[i], io_thread_loop(d->threads[i])};
	}
	/* The device's from here on, also if it fails. */
	memset(d->backends, 0, sizeof(d->backends));
	int ret = virtio_blk_init(&d->blk, &options, &m->ram, hosts, d->n_threads);

	if (ret)
		return err_host(e, ret, "--disk %s: %s", c->path, strerror(-ret));
	return 0;
}

void machine_end_disk(struct disk *d)
{
	virtio_blk_fini(&d->blk);
	for (unsigned i = 0; i < d->n_threads; i++)
		io_thread_destroy(d->threads[i]);
}

static int make_disk(struct machine *m, unsigned i, struct err *e)
{
	struct disk *d = &m->disks[i];
	int ret = machine_make_disk(m, d, &m->config->disks[i], e);

	return ret ? ret : machine_plug(m, &d->slot, &d->blk.v, e);
}

/* The thread of the devices that are no burden. They have nothing to wait for until a
 * driver comes, and to many a short-lived guest none does. */
static struct loop *light_io(struct machine *m, struct err *e)
{
	int ret = 0;

	/* In a sandbox no thread is begun by a vCPU's: it may not. */
	if (!m->light_io && m->config->sandbox != CONFIG_SANDBOX_OFF)
		m->light_io = io_thread_create("light-io", &ret);
	if (!m->light_io && !ret)
		m->light_io = io_thread_create_late("light-io", &ret);
	if (m->light_io)
		return io_thread_loop(m->light_io);
	err_host(e, ret, "cannot make the I/O thread light-io: %s", strerror(-ret));
	return NULL;
}

static int make_rng(struct machine *m, struct err *e)
{
	struct loop *loop = light_io(m, e);

	if (!loop)
		return e->code;
	int ret = virtio_rng_init(&m->rng, RNG_NAME, &m->ram, loop);

	if (ret)
		return err_host(e, ret, "--rng: %s", strerror(-ret));
	return machine_plug(m, &m->rng_slot, &m->rng.v, e);
}

static int make_hvc(struct machine *m, struct err *e)
{
	const struct virtio_console_wire wire = {
		.is_console = true,
		.out = console_out(&m->consoles[CONSOLE_HVC]),
		.room = console_room(&m->consoles[CONSOLE_HVC]),
	};
	struct loop *loop = light_io(m, e);

	if (!loop)
		return e->code;
	int ret = virtio_console_init(&m->hvc, HVC_NAME, &wire, 1, &m->ram, loop);

	if (ret)
		return err_host(e, ret, "--hvc: %s", strerror(-ret));
	return machine_plug(m, &m->hvc_slot, &m->hvc.v, e);
}

static int make_balloon(struct machine *m, struct err *e)
{
	struct loop *loop = light_io(m, e);

	if (!loop)
		return e->code;
	if (!guest_mem_discards(&m->ram))
		log_warn("--balloon: pages of the host's pool are this machine's until it ends; "
			 "what the guest frees stays with it");
	int ret = virtio_balloon_init(&m->balloon, BALLOON_NAME, &m->ram, loop, &clock_host);

	if (ret)
		return err_host(e, ret, "--balloon: %s", strerror(-ret));
	return machine_plug(m, &m->balloon_slot, &m->balloon.v, e);
}

static int make_mem(struct machine *m, struct err *e)
{
	struct loop *loop = light_io(m, e);

	if (!loop)
		return e->code;
	if (!guest_mem_discards(&m->ram))
		log_warn("--memory max: pages of the host's pool are this machine's until it ends: "
			 "all that it may grow into is taken");
	int ret = virtio_mem_init(&m->mem, MEM_NAME, &m->ram, loop, m->board.growth,
				  m->board.growth_len);

	if (ret)
		return err_host(e, ret, "--memory max: %s", strerror(-ret));
	return machine_plug(m, &m->mem_slot, &m->mem.v, e);
}

int machine_make_virtio(struct machine *m, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < m->config->n_disks && !ret; i++)
		ret = make_disk(m, i, e);
	if (!ret)
		ret = machine_make_nets(m, e);
	if (!ret)
		ret = machine_make_shares(m, e);
	if (!ret && machine_has_vsock(m->config))
		ret = machine_make_vsock(m, e);
	if (!ret && m->config->rng)
		ret = make_rng(m, e);
	if (!ret && m->config->hvc.kind != CHAR_OFF)
		ret = make_hvc(m, e);
	if (!ret && m->config->balloon)
		ret = make_balloon(m, e);
	if (!ret && machine_can_grow(m->config))
		ret = make_mem(m, e);
	if (ret)
		return ret;
	assert(m->n_plugged == m->board.n_virtio);
	return m->board.virtio_mmio ? 0 : pci_host_assign(&m->pci, e);
}

void machine_end_virtio(struct machine *m)
{
	virtio_mem_fini(&m->mem);
	machine_end_added(m);
	virtio_balloon_fini(&m->balloon);
	virtio_console_fini(&m->hvc);
	virtio_rng_fini(&m->rng);
	io_thread_destroy(m->light_io);
	machine_end_vsock(m);
	machine_end_shares(m);
	machine_end_nets(m);
	for (unsigned i = m->disks ? m->config->n_disks : 0; i-- > 0;)
		machine_end_disk(&m->disks[i]);
}
