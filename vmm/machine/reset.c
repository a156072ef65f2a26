/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine begins anew, as a board does whose reset line was pulled:
 *
 *	processors, devices -> at power-on; RAM -> empty -> the kernel, as at first -> go
 *
 * Nothing is made anew: KVM's VM, threads, disks and networks stay as they are, so that a sandbox
 * need not let any of that be opened a second time. What came while the guest ran stays where it is
 * the host's affair (disks and networks that were added, limits, links, the balloon's size);
 * processors and memory are as many as there were at first.
 */
#include "vmm/arch/x86_64/regs_state.h"
#include "vmm/base/log.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <string.h>

/* --- processors ---------------------------------------------------------------------------- */

int machine_note_power_on(struct machine *m, struct err *e)
{
	struct state_writer w;
	char name[STATE_NAME_BYTES];

	if (!machine_may_begin_anew(m->config))
		return 0;
	struct msr_list *msrs = msr_list_read(&m->vm);

	if (!msrs)
		return err_host(e, -ENOMEM, "KVM does not list its MSRs");
	state_writer_init(&w);
	saved_cpu_name(name, 0);
	int ret = regs_save(&m->vm, m->vcpus.vcpus[0].fd, msrs, name, &w, e);

	msr_list_free(msrs);
	if (!ret && w.error)
		ret = err_host(e, w.error, "out of memory");
	if (ret) {
		state_writer_fini(&w);
		return ret;
	}
	m->power_on = w;
	return 0;
}

/* What KVM makes of a new processor is the same for all but in its APIC, which those that wait for
 * an INIT are given by themselves. */
static int reset_cpu(struct machine *m, unsigned i, struct err *e)
{
	int fd = m->vcpus.vcpus[i].fd;
	char name[STATE_NAME_BYTES];
	struct state_reader r;
	uint64_t tsc;

	saved_cpu_name(name, 0);
	state_reader_init(&r, m->power_on.data, m->power_on.len);
	int ret = regs_leave_nested(&m->vm, fd);

	if (ret)
		return err_host(e, ret, "CPU %u: KVM keeps the guest's own virtual machine: %s", i,
				strerror(-ret));
	ret = regs_load(&m->vm, fd, name, 0, &tsc, &r, e);
	if (!ret && i)
		ret = regs_set_waiting(fd, board_apic_id(i));
	return ret ? err_host(e, ret, "CPU %u: KVM refuses its first state: %s", i, strerror(-ret))
		   : 0;
}

/* Those that came later are taken out, those that the guest gave up come back. */
static int reset_cpus(struct machine *m, struct err *e)
{
	int ret = 0;

	if (board_cpus_change(&m->board))
		cpu_hotplug_renew(&m->cpu_hotplug, m->board.cpus);
	for (unsigned i = 0; i < m->vcpus.n && !ret; i++) {
		ret = reset_cpu(m, i, e);
		if (i < m->board.cpus)
			vcpus_bring_in(&m->vcpus, i);
		else
			vcpus_take_out(&m->vcpus, i);
	}
	return ret;
}

/* --- all of it ------------------------------------------------------------------------------- */

/* Who still fills it, or notes what is written, has nothing more to do. */
static int empty_ram(struct machine *m, struct err *e)
{
	lazy_stop(m->lazy);
	m->lazy = NULL;
	tracking_stop(m);
	int ret = guest_mem_renew(&m->ram);

	if (ret)
		return err_host(e, ret, "the guest's RAM cannot be emptied: %s", strerror(-ret));
	return m->config->memory_prefault
		       ? guest_mem_prefault(&m->ram, m->board.growth, NULL, NULL, e)
		       : 0;
}

/* The files as they are by now, where they can be opened. */
static int open_boot_again(struct machine *m, struct err *e)
{
	if (machine_keeps_boot(m->config) && m->files.kernel.fd >= 0)
		return 0;
	machine_close_boot(m);
	return machine_open_boot(m, e);
}

/* Firmware finds devices that were added as it finds all others. */
static int reset_devices(struct machine *m, struct err *e)
{
	device_list_reset(&m->devices);
	machine_forget_asked(m);
	if (machine_can_grow(m->config))
		virtio_mem_renew(&m->mem);
	machine_renew_consoles(m);
	return m->board.virtio_mmio ? 0 : pci_host_assign(&m->pci, e);
}

int machine_begin_anew(struct machine *m, struct err *e)
{
	int ret = reset_devices(m, e);

	if (!ret)
		ret = open_boot_again(m, e);
	if (!ret)
		ret = empty_ram(m, e);
	if (ret)
		return ret;
	events_mark(m->events, EVENT_RAM_MAPPED);
	ret = reset_cpus(m, e);
	if (!ret)
		ret = machine_load_guest(m, e);
	if (ret)
		return ret;
	events_mark(m->events, EVENT_KERNEL_LOADED);
	return 0;
}
