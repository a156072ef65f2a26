/* SPDX-License-Identifier: Apache-2.0 */
/* What of the sandbox (vmm/sandbox) is this machine's own: which files it opens once the guest
 * runs, how many descriptors it takes, and when all of its threads are there. */
#include "vmm/sandbox/sandbox.h"

#include "devices/backend/vsock_unix.h"
#include "vmm/machine/parts.h"

#include <stdio.h>

enum {
	NO_COMMAND = 125,   /* the status of a run whose command has none */
	FDS_OF_DEVICE = 64, /* doorbells: one a queue */
	FDS_OF_CPU = 2,
	FDS_MORE = 256, /* clients of the control socket, a snapshot's files, what is asked for */
};

static void add_console(struct sandbox_plan *p, const struct char_config *c)
{
	if (c->kind == CHAR_SOCKET)
		sandbox_place(p, c->path, true, SANDBOX_REMOVE);
}

/* What is opened by its path, or removed, while the guest runs and after it. */
static void add_places(struct sandbox_plan *p, const struct vm_config *c)
{
	add_console(p, &c->serial);
	add_console(p, &c->serial2);
	add_console(p, &c->hvc);
	sandbox_place(p, c->vsock.path, true, SANDBOX_REMOVE);
	sandbox_place(p, c->control.path, true, SANDBOX_REMOVE);
	sandbox_place(p, c->command.junit, true, SANDBOX_WRITE | SANDBOX_REMOVE);
	sandbox_place(p, c->restore.dir, false, SANDBOX_READ | SANDBOX_WRITE | SANDBOX_REMOVE);
	/* Snapshots go where an order says. */
	if (config_has_control(c))
		sandbox_place(p, "/", false, SANDBOX_READ | SANDBOX_WRITE | SANDBOX_REMOVE);
	for (unsigned i = 0; i < c->n_shares; i++) {
		unsigned access = SANDBOX_READ;

		if (c->shares[i].rw)
			access |= SANDBOX_WRITE | SANDBOX_REMOVE | SANDBOX_NODES;
		p->shares[p->n_shares++] = (struct sandbox_place){c->shares[i].path, false, access};
	}
}

_Static_assert((int)CONFIG_SHARES_MAX <= (int)SANDBOX_PLACES_MAX, "a place for each share");

/* What their threads make themselves without a sandbox. */
static void confine_disks(struct machine *m)
{
	struct disk *all[MACHINE_DISKS_MAX];
	unsigned n = machine_all_disks(m, all);

	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < all[i]->n_threads; j++)
			block_raw_confine(all[i]->backends[j]);
}

int machine_enter_sandbox(struct machine *m, struct err *e)
{
	const struct vm_config *c = m->config;
	struct sandbox_plan p = {
		.mode = c->sandbox == CONFIG_SANDBOX_ON ? SANDBOX_ON : SANDBOX_LOG,
		/* A command has threads for its streams, once it begins. */
		.makes_threads = config_has_control(c) || c->command.wanted,
		.status = c->command.wanted ? NO_COMMAND : SANDBOX_STATUS,
	};

	if (c->sandbox == CONFIG_SANDBOX_OFF)
		return 0;
	/* What shares and a vsock open for a guest is bounded by the limit as it is. */
	if (!machine_fd_parts(c))
		p.more_fds = FDS_MORE + FDS_OF_CPU * c->cpus_max +
			     FDS_OF_DEVICE * (m->board.n_virtio + CONFIG_DISKS_MAX +
					      CONFIG_NETS_MAX + c->hotplug);
	add_places(&p, c);
	confine_disks(m);
	int ret = m->vsock.sockets ? vsock_unix_confine(m->vsock.sockets, e) : 0;

	return ret ? ret : sandbox_begin(&p, e);
}

int machine_start_vcpus(struct machine *m, struct err *e)
{
	if (m->config->sandbox == CONFIG_SANDBOX_OFF)
		return vcpus_start(&m->vcpus, e);
	/* Begun before the main thread is confined, they run by their own filter alone, and not by
	 * both; and no instruction of the guest's before all are. */
	vcpus_park(&m->vcpus);
	int ret = vcpus_start(&m->vcpus, e);

	if (!ret)
		ret = sandbox_close(e);
	if (!ret)
		vcpus_resume(&m->vcpus);
	return ret;
}
