/* SPDX-License-Identifier: Apache-2.0 */
/* Power-on: the kernel, its initrd, its command line and the tables that describe
 * the board go into RAM, and the boot processor is put at the entry. */
#include "firmware/acpi.h"
#include "firmware/boot.h"
#include "firmware/cmdline.h"
#include "firmware/mptable.h"
#include "vmm/base/log.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* The user's files, or what was packed for want of them. */
static int load_initrd(struct machine *m, uint64_t *gpa, uint64_t *len, struct err *e)
{
	const struct boot_files *f = &m->files;
	struct boot_initrd place[CONFIG_INITRDS_MAX];
	int ret;

	for (unsigned i = 0; i < f->n_initrds; i++)
		place[i].len = f->initrds[i].len;
	if (!f->n_initrds)
		place[0].len = f->packed.len;
	ret = boot_place_initrds(&f->kernel, &m->board, place, f->n_initrds ? f->n_initrds : 1, gpa,
				 len, e);
	if (!ret && !f->n_initrds && *len)
		return guest_mem_write(&m->ram, *gpa, f->packed.bytes, f->packed.len);
	for (unsigned i = 0; i < f->n_initrds && !ret; i++) {
		ret = guest_mem_pread(&m->ram, place[i].gpa, f->initrds[i].fd, 0, place[i].len);
		if (ret)
			err_host(e, ret, "--initrd %s: %s", m->config->initrds[i],
				 ret == -ENODATA ? "became shorter while it was read"
						 : strerror(-ret));
	}
	return ret;
}

static bool share_root_readonly(const struct vm_config *c)
{
	for (unsigned i = 0; i < c->n_shares; i++)
		if (c->shares[i].mountpoint && !strcmp(c->shares[i].mountpoint, "/"))
			return !c->shares[i].rw;
	return false;
}

/* The root is what the packer saw on the disks. Where it could not tell, the init
 * that it packed looks for one; without that, it is the first disk. */
static int build_cmdline(struct machine *m, char *buf, size_t size, struct err *e)
{
	const struct vm_config *c = m->config;
	const struct initramfs *packed = &m->files.packed;
	const char *root = packed->len || packed->root[0] ? packed->root : "/dev/vda";
	char share[MACHINE_ROOT_MAX];
	bool share_root = *machine_share_root(c, share);
	struct cmdline_device devices[BOARD_VIRTIO_MAX];
	const struct cmdline_config wishes = {
		.cmdline = c->cmdline,
		.cmdline_option = c->cmdline_option,
		.append = c->append,
		.serial = m->board.serial,
		.serial2 = c->serial2.kind == CHAR_TTY,
		/* Or if nothing else could be the console. */
		.hvc = c->hvc.kind == CHAR_TTY ||
		       (c->hvc.kind != CHAR_OFF && !m->board.serial && !m->board.serial2),
		.quiet = c->serial.kind == CHAR_KEPT && !log_enabled(LOG_INFO),
		.root = share_root   ? share
			: c->n_disks ? root
				     : NULL,
		.root_readonly =
			share_root ? share_root_readonly(c) : c->n_disks && c->disks[0].readonly,
		/* There is none to be looked for; or none whose bugs want an early look. */
		.pci = m->board.virtio_mmio ? "off" : "noearly",
		.n_devices = m->board.virtio_mmio ? m->board.n_virtio : 0,
		.devices = devices,
		.grows = machine_can_grow(c),
		.gives_back = c->balloon,
	};

	for (unsigned i = 0; i < wishes.n_devices; i++)
		devices[i] = (struct cmdline_device){
			m->board.virtio[i].base, LAYOUT_VIRTIO_MMIO_LEN, m->board.virtio[i].gsi};

	return cmdline_build(buf, size, &wishes, m->files.kernel.cmdline_max, e);
}

static int set_cpus(struct machine *m, const struct boot_entry *entry)
{
	int ret = 0;

	for (unsigned i = 0; i < m->vcpus.n && !ret; i++)
		ret = regs_set_msrs(m->vcpus.vcpus[i].fd);
	if (!ret)
		ret = regs_announce_apics(m->vcpus.vcpus[0].fd);
	/* The others wait for the guest's INIT and SIPI. */
	return ret ? ret : regs_set_entry(m->vcpus.vcpus[0].fd, entry);
}

int machine_fill_ram(struct machine *m, struct boot_entry *entry, struct err *e)
{
	char cmdline[LAYOUT_CMDLINE_MAX];
	uint8_t seed[BOOT_SEED_LEN];
	struct boot_config boot = {
		.board = &m->board,
		.kernel = &m->files.kernel,
		.cmdline = cmdline,
	};
	int ret = build_cmdline(m, cmdline, sizeof(cmdline), e);

	if (ret < 0)
		return ret;
	log_info("command line: %s", cmdline);
	log_info("entry: %s", boot_protocol_name(m->files.kernel.protocol));
	ret = kernel_load(&m->files.kernel, &m->board, &m->ram, e);
	if (!ret)
		ret = load_initrd(m, &boot.initrd, &boot.initrd_len, e);
	if (!ret)
		ret = acpi_load(&m->board, &m->ram, &boot.rsdp, e);
	if (!ret)
		ret = mptable_load(&m->board, &m->ram, e);
	if (ret)
		return ret;
	if (getrandom(seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed))
		boot.seed = seed;
	ret = boot_setup(&boot, &m->ram, entry, e);
	if (ret)
		return ret;
	if (!machine_keeps_boot(m->config))
		initramfs_fini(&m->files.packed); /* it is in the guest's RAM now */
	m->initrd = boot.initrd;
	m->initrd_len = boot.initrd_len;
	return 0;
}

int machine_power_on(struct machine *m, struct err *e)
{
	int ret = 0;

	cpuid_model_set_tsc(&m->cpuid, vcpu_tsc_khz(&m->vcpus.vcpus[0]));
	for (unsigned i = 0; i < m->vcpus.n && !ret; i++)
		ret = cpuid_model_apply(&m->cpuid, m->vcpus.vcpus[i].fd, i);
	if (ret)
		return err_host(e, ret, "KVM refuses the processors' CPUID: %s", strerror(-ret));
	return machine_note_power_on(m, e);
}

int machine_load_guest(struct machine *m, struct err *e)
{
	struct boot_entry entry;
	int ret = machine_fill_ram(m, &entry, e);

	if (ret)
		return ret;
	ret = set_cpus(m, &entry);
	if (ret)
		return err_host(e, ret, "KVM refuses the processor's first state: %s",
				strerror(-ret));
	return 0;
}
