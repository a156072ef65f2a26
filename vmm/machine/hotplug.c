/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks and networks that come and go while the guest runs: in the PCI slots that --hotplug left
 * free, by the guest's ACPI code (devices/pci/hotplug.h).
 *
 *	add     -> device made, in its slot -> guest told
 *	remove  -> guest asked
 *	_EJ0    -> off the bus, on the vCPU's thread -> machine_collect_ejected() on ours: its
 *	           thread joined, its file closed
 *
 * Whoever asks opened the file: nothing is opened here. What was added is not in the config, but a
 * snapshot has it, by the path that /proc knows of it, with its slot. When that is restored, they
 * are made again behind all others, lowest slot first.
 */
#include "devices/backend/net_tap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/machine/live.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AGAIN_MS = 1000 };

static struct virtio_pci *place_of(struct added *a)
{
	return a->is_net ? &a->nic.slot.pci : &a->disk.slot.pci;
}

static struct virtio *device_of(struct added *a)
{
	return a->is_net ? &a->nic.net.v : &a->disk.blk.v;
}

/* --- names ------------------------------------------------------------------------------- */

/* A text that stays where it is until the machine is gone; NULL for want of memory. */
static const char *keep_name(struct machine *m, const char *text)
{
	struct device_name *n = m->names;

	while (n && strcmp(n->text, text) != 0)
		n = n->next;
	if (!n) {
		n = malloc(sizeof(*n) + strlen(text) + 1);
		if (!n)
			return NULL;
		strcpy(n->text, text);
		n->next = m->names;
		m->names = n;
	}
	return n->text;
}

static bool is_taken(const struct machine *m, const char *name)
{
	for (unsigned i = 0; i < m->devices.n; i++)
		if (!strcmp(m->devices.items[i].name, name))
			return true;
	return false;
}

/* `wish`, or the first of disk0, disk1, ... that nobody is called; NULL with *e filled. */
static const char *choose_name(struct machine *m, const char *wish, bool net, struct err *e)
{
	char made_up[16];

	if (!wish) {
		unsigned i = 0;

		do
			snprintf(made_up, sizeof(made_up), "%s%u", net ? "net" : "disk", i++);
		while (is_taken(m, made_up));
		wish = made_up;
	}
	if (!config_is_id(wish)) {
		err_usage(e, -EINVAL,
			  "id: not a name; give 1 to %d of letters, digits, '_' and '-'",
			  CONFIG_ID_MAX);
		return NULL;
	}
	if (is_taken(m, wish)) {
		err_usage(e, -EEXIST, "%s: there is a device of that name", wish);
		return NULL;
	}
	const char *name = keep_name(m, wish);

	if (!name)
		err_host(e, -ENOMEM, "out of memory");
	return name;
}

struct disk *machine_find_disk(struct machine *m, const char *id, struct disk_config **config,
			       struct err *e)
{
	for (unsigned i = 0; i < m->config->n_disks; i++)
		if (!strcmp(m->config->disks[i].id, id)) {
			*config = &m->config->disks[i];
			return &m->disks[i];
		}
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++)
		if (m->added[s] && !m->added[s]->is_net && !strcmp(m->added[s]->id, id)) {
			*config = &m->added[s]->disk_config;
			return &m->added[s]->disk;
		}
	err_usage(e, -ENOENT, "%.80s: there is no such disk", id);
	return NULL;
}

struct nic *machine_find_net(struct machine *m, const char *id, struct net_config **config,
			     struct err *e)
{
	for (unsigned i = 0; i < m->config->n_nets; i++)
		if (!strcmp(m->config->nets[i].id, id)) {
			*config = &m->config->nets[i];
			return &m->nics[i];
		}
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++)
		if (m->added[s] && m->added[s]->is_net && !strcmp(m->added[s]->id, id)) {
			*config = &m->added[s]->net_config;
			return &m->added[s]->nic;
		}
	err_usage(e, -ENOENT, "%.80s: there is no such network", id);
	return NULL;
}

/* --- the end of one ------------------------------------------------------------------------ */

/* Behind no transport any more. */
static void destroy(struct added *a)
{
	machine_end_net(&a->nic);
	machine_end_disk(&a->disk);
	for (unsigned i = 0; i < VIRTIO_NET_PAIRS_MAX; i++)
		net_destroy(a->nic.backends[i]);
	for (unsigned i = VIRTIO_BLK_LANES_MAX; i-- > 0;)
		block_destroy(a->disk.backends[i]);
	free(a);
}

static void forget(struct machine *m, struct added *a)
{
	const struct virtio *v = device_of(a);
	unsigned i = 0;

	device_list_remove(&m->devices, place_of(a));
	while (m->plugged[i] != v)
		i++;
	m->n_plugged--;
	memmove(&m->plugged[i], &m->plugged[i + 1], (m->n_plugged - i) * sizeof(m->plugged[0]));
	m->added[a->slot] = NULL;
}

/* It is off the bus. False: it has I/O that does not come to an end. */
static bool take_apart(struct machine *m, struct added *a)
{
	/* A vCPU that was in its registers' code has left it by then. */
	vcpus_park(&m->vcpus);
	vcpus_resume(&m->vcpus);
	if (virtio_pci_device_ops.pause(place_of(a))) {
		log_warn("%s: it was ejected and does not finish its I/O", a->id);
		return false;
	}
	forget(m, a);
	virtio_pci_fini(place_of(a));
	log_info("%s: removed", a->id);
	const char *id = a->id;
	bool is_net = a->is_net;

	destroy(a);
	events_device(m->events, EVENT_DEVICE_REMOVED, id, is_net);
	return true;
}

void machine_collect_ejected(struct machine *m)
{
	if (!m->board.n_hotplug || m->paused)
		return;
	uint32_t slots = pci_hotplug_take_ejected(&m->hotplug);

	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++)
		if (slots & 1u << s && m->added[s])
			m->added[s]->ejected = true;
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++)
		if (m->added[s] && m->added[s]->ejected && !take_apart(m, m->added[s]))
			loop_timer_start(m->hotplug_again, AGAIN_MS);
}

void machine_forget_asked(struct machine *m)
{
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++)
		if (m->added[s])
			m->added[s]->asked = false;
}

static void collect(void *ctx)
{
	machine_collect_ejected(ctx);
}

void machine_end_added(struct machine *m)
{
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++)
		if (m->added[s])
			destroy(m->added[s]);
	while (m->names) {
		struct device_name *next = m->names->next;

		free(m->names);
		m->names = next;
	}
	loop_timer_del(m->hotplug_again);
}

/* --- the chip -------------------------------------------------------------------------------- */

static void on_event(void *ctx)
{
	power_hotplug_event(&((struct machine *)ctx)->power);
}

/* For want of memory it stays until something else is ejected, or the machine stood. */
static void on_ejected(void *ctx)
{
	struct machine *m = ctx;

	loop_post(m->loop, collect, m);
}

int machine_make_hotplug(struct machine *m, struct err *e)
{
	const struct pci_hotplug_wires wires = {on_event, on_ejected, m};
	unsigned n = m->board.n_hotplug;
	int ret;

	if (!n)
		return 0;
	m->hotplug_again = loop_timer_add(m->loop, collect, m);
	if (!m->hotplug_again)
		return err_host(e, -ENOMEM, "out of memory");
	pci_hotplug_init(&m->hotplug,
			 (uint32_t)(((1ull << n) - 1) << board_hotplug_slot(&m->board)), &wires);
	ret = device_list_add(&m->devices, "hotplug", &pci_hotplug_device_ops, &m->hotplug);
	if (!ret)
		ret = bus_add(&m->pio, LAYOUT_HOTPLUG, LAYOUT_HOTPLUG_LEN, &pci_hotplug_io_ops,
			      &m->hotplug, "hotplug");
	return ret ? err_host(e, ret, "the hot-plug registers: %s", strerror(-ret)) : 0;
}

/* --- adding ---------------------------------------------------------------------------------- */

/* Is there a slot for it? 0, or a negative errno with *e filled. */
static int find_slot(const struct machine *m, unsigned *slot, struct err *e)
{
	unsigned first = board_hotplug_slot(&m->board), n = m->board.n_hotplug;

	if (m->board.virtio_mmio)
		return err_usage(e, -ENOTSUP,
				 "this machine's devices are on MMIO, where none can come or go; "
				 "start it without --transport mmio");
	if (!n)
		return err_usage(e, -ENOSPC,
				 "this machine has no slots for what comes later; start it with "
				 "--hotplug N");
	if (m->paused)
		return err_usage(e, -EBUSY, "the machine is paused; resume it first");
	for (*slot = first; *slot < first + n; ++*slot)
		if (!m->added[*slot])
			return 0;
	return err_usage(e, -ENOSPC, "all %u slots are in use; remove something first", n);
}

/* Those that were added stand at the end of the list. However they came, they stand in the order of
 * their slots: in that their states are saved, and read again. */
static void put_in_order(struct machine *m)
{
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++) {
		struct added *a = m->added[s];

		if (!a)
			continue;
		device_list_remove(&m->devices, place_of(a));
		device_list_add(&m->devices, a->id, &virtio_pci_device_ops, place_of(a));
	}
}

/* Into its slot, which is free; a failure leaves it to its owner. */
static int insert(struct machine *m, struct added *a, struct err *e)
{
	int ret = m->n_plugged < ARRAY_LEN(m->plugged) ? 0 : -ENOSPC;

	if (!ret)
		ret = machine_plug_pci(m, place_of(a), device_of(a), a->slot);
	if (ret)
		return err_host(e, ret, "%s: %s", a->id, strerror(-ret));
	m->plugged[m->n_plugged++] = device_of(a);
	m->added[a->slot] = a;
	ret = pci_hotplug_plug(&m->hotplug, &place_of(a)->pci);
	if (ret) {
		forget(m, a);
		virtio_pci_fini(place_of(a));
		return err_host(e, ret, "%s: %s", a->id, strerror(-ret));
	}
	return 0;
}

static void announce(struct machine *m, const struct added *a)
{
	put_in_order(m);
	log_info("%s: added, in PCI slot %u", a->id, a->slot);
	events_device(m->events, EVENT_DEVICE_ADDED, a->id, a->is_net);
}

/* The start of one, with a slot and a name; NULL with *e filled. */
static struct added *begin(struct machine *m, const char *id, bool net, struct err *e)
{
	struct added *a = NULL;
	unsigned slot = 0;

	if (find_slot(m, &slot, e))
		return NULL;
	id = choose_name(m, id, net, e);
	if (!id)
		return NULL;
	a = calloc(1, sizeof(*a));
	if (!a) {
		err_host(e, -ENOMEM, "out of memory");
		return NULL;
	}
	a->id = id;
	a->slot = slot;
	a->is_net = net;
	return a;
}

/* Is `path` the file that is open there? */
static bool is_file(const char *path, int fd)
{
	struct stat named, open;

	return *path == '/' && !stat(path, &named) && !fstat(fd, &open) &&
	       named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

/* The lock is the open file's. Who sends the same one twice has it already. */
static int check_twice(const struct machine *m, struct added *a, int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_usage(e, -errno, "%s: %s", a->id, strerror(errno));
	a->host_dev = st.st_dev;
	a->host_ino = st.st_ino;
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++) {
		const struct added *other = m->added[s];

		if (other && !other->is_net && other->host_dev == st.st_dev &&
		    other->host_ino == st.st_ino &&
		    !(other->disk_config.readonly && a->disk_config.readonly))
			return err_usage(e, -EBUSY, "%s: its file is %s already", a->id, other->id);
	}
	return 0;
}

/* Where an open file is, if it has a name; NULL if it has none. */
static const char *path_of(struct machine *m, int fd)
{
	char link[32], path[PATH_MAX];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, path, sizeof(path) - 1);

	if (len <= 0)
		return NULL;
	path[len] = '\0';
	return is_file(path, fd) ? keep_name(m, path) : NULL;
}

static int open_disk(struct machine *m, struct added *a, int *fd, struct err *e)
{
	int ret = check_twice(m, a, *fd, e);

	if (!ret)
		ret = block_raw_adopt(&a->disk.backends[0], fd_take(fd), a->id,
				      a->disk_config.readonly, e);
	a->disk.n_threads = 1;
	if (!ret && m->config->sandbox != CONFIG_SANDBOX_OFF)
		block_raw_confine(a->disk.backends[0]);
	if (!ret)
		ret = machine_make_disk(m, &a->disk, &a->disk_config, e);
	return ret;
}

const char *machine_add_disk(struct machine *m, int fd, const char *id, const char *serial,
			     bool readonly, struct err *e)
{
	_cleanup_fd_ int own = fd;

	if (serial && !config_is_serial(serial)) {
		err_usage(e, -EINVAL,
			  "serial: give 1 to %d printable ASCII characters without blanks",
			  CONFIG_ID_MAX);
		return NULL;
	}
	struct added *a = begin(m, id, false, e);

	if (!a)
		return NULL;
	char *name = (char *)a->id;

	a->file = path_of(m, own);
	a->disk_config = (struct disk_config){
		.path = name,
		.id = name,
		.serial = (char *)(serial ? keep_name(m, serial) : name),
		.readonly = readonly,
	};
	int ret = a->disk_config.serial ? open_disk(m, a, &own, e)
					: err_host(e, -ENOMEM, "out of memory");

	if (!ret)
		ret = insert(m, a, e);
	if (ret) {
		destroy(a);
		return NULL;
	}
	announce(m, a);
	return name;
}

const char *machine_add_net(struct machine *m, int fd, const char *id, struct err *e)
{
	_cleanup_fd_ int own = fd;
	struct added *a = begin(m, id, true, e);

	if (!a)
		return NULL;
	a->net_config = (struct net_config){.kind = NET_FD, .fd = own, .id = (char *)a->id};
	int ret = machine_open_net(m, &a->nic, &a->net_config, a->slot, e);

	a->net_config.fd = -1; /* duplicated */
	if (!ret)
		ret = machine_make_net(m, &a->nic, &a->net_config, e);
	if (!ret)
		ret = insert(m, a, e);
	if (ret) {
		destroy(a);
		return NULL;
	}
	announce(m, a);
	return a->id;
}

/* --- removing -------------------------------------------------------------------------------- */

static int ask_for(struct machine *m, const char *id, bool net, struct err *e)
{
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++) {
		struct added *a = m->added[s];

		if (!a || a->is_net != net || strcmp(a->id, id) != 0)
			continue;
		/* -ENOENT: it is ejected, and about to go. */
		pci_hotplug_ask(&m->hotplug, &place_of(a)->pci);
		a->asked = true;
		log_info("%s: the guest is asked to give it up", id);
		return 0;
	}
	return err_usage(e, -EPERM, "%.80s: was there from the start, and stays", id);
}

int machine_remove_disk(struct machine *m, const char *id, struct err *e)
{
	struct disk_config *c;

	return machine_find_disk(m, id, &c, e) ? ask_for(m, id, false, e) : e->code;
}

int machine_remove_net(struct machine *m, const char *id, struct err *e)
{
	struct net_config *c;

	return machine_find_net(m, id, &c, e) ? ask_for(m, id, true, e) : e->code;
}

/* --- from a snapshot ------------------------------------------------------------------------- */

/* One that is to be again; the machine's. NULL for want of memory, with *e filled. */
static struct added *begin_again(struct machine *m, const char *id, unsigned slot, bool net,
				 struct err *e)
{
	struct added *a = calloc(1, sizeof(*a));

	if (!a) {
		err_host(e, -ENOMEM, "out of memory");
		return NULL;
	}
	a->id = id;
	a->slot = slot;
	a->is_net = net;
	m->added[slot] = a;
	return a;
}

static int open_disk_again(struct machine *m, const struct disk_config *d, struct err *e)
{
	struct added *a = begin_again(m, d->id, d->slot, false, e);
	struct stat st;

	if (!a)
		return e->code;
	a->disk_config = *d;
	a->file = d->path;
	if (!stat(d->path, &st)) {
		a->host_dev = st.st_dev;
		a->host_ino = st.st_ino;
	}
	return machine_open_disk(&a->disk, d, e);
}

static int open_net_again(struct machine *m, const struct net_config *n, struct err *e)
{
	struct added *a = begin_again(m, n->id, n->slot, true, e);

	if (!a)
		return e->code;
	a->net_config = *n;
	return machine_open_net(m, &a->nic, n, n->slot, e);
}

int machine_open_added(struct machine *m, struct err *e)
{
	const struct vm_config *c = m->config;
	int ret = 0;

	for (unsigned i = 0; i < c->n_late_disks && !ret; i++)
		ret = open_disk_again(m, &c->disks[c->n_disks + i], e);
	for (unsigned i = 0; i < c->n_late_nets && !ret; i++)
		ret = open_net_again(m, &c->nets[c->n_nets + i], e);
	return ret;
}

int machine_make_added(struct machine *m, struct err *e)
{
	int ret = 0;

	for (unsigned s = 0; s < BOARD_PCI_SLOTS && !ret; s++) {
		struct added *a = m->added[s];

		if (!a)
			continue;
		if (!m->board.n_hotplug)
			return err_usage(e, -EINVAL, "%s: slot goes with --hotplug", a->id);
		ret = a->is_net ? machine_make_net(m, &a->nic, &a->net_config, e)
				: machine_make_disk(m, &a->disk, &a->disk_config, e);
		if (!ret)
			ret = insert(m, a, e);
		if (ret) {
			m->added[s] = NULL;
			destroy(a);
		}
	}
	return ret;
}
