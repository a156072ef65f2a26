/* SPDX-License-Identifier: Apache-2.0 */
/* What was added to a running machine (hotplug.c), as a snapshot of it needs to know. */
#include "vmm/base/bytes.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

unsigned machine_all_disks(const struct machine *m, struct disk *all[MACHINE_DISKS_MAX])
{
	unsigned n = 0;

	while (n < m->config->n_disks) {
		all[n] = &m->disks[n];
		n++;
	}
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++)
		if (m->added[s] && !m->added[s]->is_net)
			all[n++] = &m->added[s]->disk;
	return n;
}

static int put_disk(const struct added *a, struct vm_config *c, struct err *e)
{
	struct stat st;

	if (c->n_disks + c->n_late_disks == ARRAY_LEN(c->disks))
		return err_usage(e, -E2BIG, "snapshot: more than %d disks; remove %s first",
				 CONFIG_DISKS_MAX, a->id);
	if (!a->file || stat(a->file, &st) || st.st_dev != a->host_dev || st.st_ino != a->host_ino)
		return err_usage(e, -ENOENT,
				 "snapshot: %s was added, and its file has no name by which a "
				 "restored machine would find it again; remove it first",
				 a->id);
	struct disk_config *d = &c->disks[c->n_disks + c->n_late_disks++];

	*d = a->disk_config;
	d->path = (char *)a->file;
	d->slot = a->slot;
	return 0;
}

static int put_net(const struct added *a, struct vm_config *c, struct err *e)
{
	const char *ifname = a->nic.net.pairs[0].backend->ifname;

	if (c->n_nets + c->n_late_nets == ARRAY_LEN(c->nets))
		return err_usage(e, -E2BIG, "snapshot: more than %d networks; remove %s first",
				 CONFIG_NETS_MAX, a->id);
	if (!*ifname)
		return err_usage(e, -ENOENT,
				 "snapshot: %s was added, and its tap has no name by which a "
				 "restored machine would find it again; remove it first",
				 a->id);
	struct net_config *n = &c->nets[c->n_nets + c->n_late_nets++];

	*n = a->net_config;
	n->kind = NET_TAP;
	n->tap = (char *)ifname;
	n->slot = a->slot;
	n->has_mac = true;
	memcpy(n->mac, a->nic.net.mac, sizeof(n->mac));
	return 0;
}

int machine_config_with_added(const struct machine *m, struct vm_config *c, struct err *e)
{
	int ret = 0;

	*c = *m->config;
	c->n_late_disks = c->n_late_nets = 0;
	for (unsigned s = 0; s < BOARD_PCI_SLOTS && !ret; s++)
		if (m->added[s])
			ret = m->added[s]->is_net ? put_net(m->added[s], c, e)
						  : put_disk(m->added[s], c, e);
	return ret;
}

int machine_check_added(struct machine *m, struct err *e)
{
	for (unsigned s = 0; s < BOARD_PCI_SLOTS; s++) {
		struct added *a = m->added[s];

		if (a && !pci_hotplug_has(&m->hotplug,
					  a->is_net ? &a->nic.slot.pci.pci : &a->disk.slot.pci.pci))
			return err_usage(e, -EBUSY,
					 "snapshot: the guest has just given up %s; try again",
					 a->id);
	}
	return 0;
}
