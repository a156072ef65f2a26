/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine needs of the host's files, opened and judged before anything
 * is created: a wrong path costs a user milliseconds and leaves no trace. */
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXTRAS_MAX = 9, DRIVERS_MAX = 5 };

static int open_initrd(struct initrd_file *f, const char *path, struct err *e)
{
	struct stat st;

	/* O_NONBLOCK: a FIFO must not hold us up before we can refuse it. */
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0 || fstat(f->fd, &st))
		return err_usage(e, -errno, "--initrd %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_usage(e, -EINVAL, "--initrd %s: is not a regular file", path);
	if (!st.st_size)
		return err_usage(e, -EINVAL, "--initrd %s: is empty; give a cpio archive", path);
	f->len = (uint64_t)st.st_size;
	return 0;
}

static int open_initrds(struct boot_files *f, const struct vm_config *c, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < c->n_initrds && !ret; i++)
		ret = open_initrd(&f->initrds[f->n_initrds++], c->initrds[i], e);
	return ret;
}

/* What the command line will say of the root: what the user says, or the share that is to
 * be it. The kernel believes the last word, so the user's comes last. */
static char *root_cmdline(const struct vm_config *c)
{
	char root[MACHINE_ROOT_MAX], *line = NULL;

	if (asprintf(&line, "%s%s %s", !c->cmdline && *machine_share_root(c, root) ? "root=" : "",
		     c->cmdline ? c->cmdline : root, c->append ? c->append : "") < 0)
		return NULL;
	return line;
}

/* Drivers of what else there is; gives how many. The kernel's own pvpanic tells of a
 * panic at once and for certain, where the console's line may come late or never. */
static unsigned list_extras(const struct vm_config *c, const char *extras[EXTRAS_MAX])
{
	unsigned n = 0;

	extras[n++] = "pvpanic_mmio";
	if (c->n_nets || c->hotplug)
		extras[n++] = "virtio_net";
	if (c->hotplug && !c->n_disks)
		extras[n++] = "virtio_blk";
	if (c->n_nets && c->command.wanted) /* what our init gets addresses through */
		extras[n++] = "af_packet";
	if (c->n_shares)
		extras[n++] = "virtiofs";
	if (config_has_vsock(&c->vsock))
		extras[n++] = "vmw_vsock_virtio_transport";
	if (c->rng)
		extras[n++] = "virtio_rng";
	if (c->hvc.kind != CHAR_OFF)
		extras[n++] = "virtio_console";
	if (c->balloon)
		extras[n++] = "virtio_balloon";
	if (machine_can_grow(c))
		extras[n++] = "virtio_mem";
	return n;
}

/* A stock kernel's drivers are modules: pack those that lead to the root. */
static int pack_initramfs(struct machine *m, struct err *e)
{
	const char *extras[EXTRAS_MAX];
	const struct vm_config *c = m->config;
	struct initramfs_mount mounts[CONFIG_SHARES_MAX];
	const char *drivers[DRIVERS_MAX], *disks[CONFIG_DISKS_MAX];
	unsigned n_drivers = 0, n_mounts = 0;
	size_t command_len = 0;
	char *command = c->command.wanted ? machine_pack_command(m, &command_len) : NULL;
	char *cmdline = root_cmdline(c);

	if (!cmdline || (c->command.wanted && !command)) {
		free(cmdline);
		free(command);
		return err_host(e, -ENOMEM, "out of memory");
	}
	for (unsigned i = 0; i < c->n_disks; i++)
		disks[i] = c->disks[i].path;
	for (unsigned i = 0; i < c->n_shares; i++)
		if (c->shares[i].mountpoint && strcmp(c->shares[i].mountpoint, "/") != 0)
			mounts[n_mounts++] = (struct initramfs_mount){
				c->shares[i].tag, c->shares[i].mountpoint, !c->shares[i].rw};
	drivers[n_drivers++] = c->transport == TRANSPORT_MMIO ? "virtio_mmio" : "virtio_pci";
	if (c->n_disks)
		drivers[n_drivers++] = "virtio_blk";
	if (n_mounts)
		drivers[n_drivers++] = "virtiofs";
	if (command)
		drivers[n_drivers++] = "vmw_vsock_virtio_transport";
	if (command && c->command.root && !c->command.root_rw)
		drivers[n_drivers++] = "overlay";

	const struct initramfs_request request = {
		.kernel = c->kernel,
		.version = kernel_version(&m->files.kernel),
		.only_32bit = m->files.kernel.only_32bit,
		.modules = c->modules,
		.cmdline = cmdline,
		.drivers = drivers,
		.n_drivers = n_drivers,
		.extras = extras,
		.n_extras = list_extras(c, extras),
		.disks = disks,
		.n_disks = c->n_disks,
		.mounts = mounts,
		.n_mounts = n_mounts,
		.command = command,
		.command_len = command_len,
	};
	int ret = initramfs_pack(&m->files.packed, &request, e);

	free(cmdline);
	free(command);
	if (!ret && n_mounts && !m->files.packed.len)
		return err_usage(e, -EINVAL,
				 "--share: there is no root on which %s could be; give a --disk, "
				 "or a share as the root: --share DIR:/",
				 mounts[0].on);
	return ret;
}

/* The kernel, and the entry that the user may have chosen. */
static int open_kernel(struct kernel *k, const struct vm_config *c, struct err *e)
{
	static const enum boot_protocol choices[] = {
		[BOOT_CHOICE_LINUX64] = BOOT_LINUX64,
		[BOOT_CHOICE_LINUX32] = BOOT_LINUX32,
		[BOOT_CHOICE_PVH] = BOOT_PVH,
	};
	if (!c->kernel)
		return err_usage(e, -ENOENT, "--kernel: missing; the guest cannot boot anew");
	if (c->kernel_is_hosts)
		log_warn("--kernel %s: this host's own", c->kernel);
	int ret = kernel_open(k, c->kernel, e);

	return ret || c->boot == BOOT_CHOICE_AUTO ? ret
						  : kernel_choose_protocol(k, choices[c->boot], e);
}

/* Each thread that is to serve the disk has a way of its own to it. */
int machine_open_disk(struct disk *d, const struct disk_config *c, struct err *e)
{
	int ret = block_raw_open(&d->backends[0], c->path, c->readonly, c->direct, e);

	d->n_threads = c->threads ? c->threads : 1;
	for (unsigned i = 1; i < d->n_threads && !ret; i++)
		ret = block_raw_again(&d->backends[i], d->backends[0], c->path, e);
	return ret;
}

static int open_initramfs(struct machine *m, struct err *e)
{
	const struct vm_config *c = m->config;

	for (unsigned i = 0; i < c->n_shares && c->n_initrds; i++)
		if (c->shares[i].mountpoint && strcmp(c->shares[i].mountpoint, "/") != 0)
			return err_usage(e, -EINVAL,
					 "--share %s:%s: it is minivmm's own init that mounts it, "
					 "and with --initrd there is none; leave %s away and mount "
					 "the tag %s in the guest",
					 c->shares[i].path, c->shares[i].mountpoint,
					 c->shares[i].mountpoint, c->shares[i].tag);
	return c->n_initrds ? open_initrds(&m->files, c, e) : pack_initramfs(m, e);
}

int machine_open_boot(struct machine *m, struct err *e)
{
	int ret = open_kernel(&m->files.kernel, m->config, e);

	return ret ? ret : open_initramfs(m, e);
}

void machine_close_boot(struct machine *m)
{
	initramfs_fini(&m->files.packed);
	for (unsigned i = 0; i < m->files.n_initrds; i++)
		fd_close(&m->files.initrds[i].fd);
	m->files.n_initrds = 0;
	kernel_close(&m->files.kernel);
}

int machine_open_files(struct machine *m, struct err *e)
{
	const struct vm_config *c = m->config;

	/* passt gets ready while we look at the rest. */
	int ret = machine_open_nets(m, e);

	if (!ret)
		ret = c->restore.dir ? saved_open(m, e) : open_kernel(&m->files.kernel, c, e);
	if (ret)
		return ret;
	m->disks = calloc(c->n_disks, sizeof(*m->disks));
	if (!m->disks && c->n_disks)
		return err_host(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < c->n_disks && !ret; i++)
		ret = machine_open_disk(&m->disks[i], &c->disks[i], e);
	if (!ret && m->saved.bytes)
		ret = machine_open_added(m, e);
	if (!ret && m->saved.bytes)
		ret = saved_check_disks(m, e);
	if (!ret)
		ret = machine_open_shares(m, e);
	if (!ret)
		ret = machine_open_vsock(m, e);
	if (!ret)
		ret = machine_check_consoles(c, e);
	if (ret)
		return ret;
	if (!c->restore.dir)
		return open_initramfs(m, e);
	/* A restored guest may never need it, and it may be gone: who begins anew is told. */
	struct err unheard = {0};

	if (machine_keeps_boot(c) && machine_open_boot(m, &unheard))
		machine_close_boot(m);
	return 0;
}

void machine_close_files(struct machine *m)
{
	for (unsigned i = 0; m->disks && i < m->config->n_disks; i++)
		for (unsigned j = m->disks[i].n_threads; j-- > 0;)
			block_destroy(m->disks[i].backends[j]);
	free(m->disks);
	machine_close_shares(m);
	machine_close_nets(m);
	machine_close_boot(m);
}
