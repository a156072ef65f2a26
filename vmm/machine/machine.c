/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a machine comes to be, and goes. Reading order: machine_create() top to
 * bottom, then vmm/machine/run.c, then vmm/kvm/vcpu.c, then vmm/kvm/exit.c.
 */
#include "vmm/machine/machine.h"

#include "vmm/base/log.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* A guest that reboots would be there again, and whoever wants an end would have to say so anew:
 * what ends it for good counts more, all of which the main thread says. One that reboots all the
 * time says so first each time. */
static bool counts_more(const struct machine *m, enum stop_reason reason)
{
	const struct machine_end *end = &m->end;

	if (end->reason == STOP_NONE)
		return true;
	if (reason != STOP_USER && reason != STOP_SIGNAL && reason != STOP_TIMEOUT)
		return false;
	return (end->reason == STOP_RESET || end->reason == STOP_TRIPLE_FAULT) &&
	       machine_may_begin_anew(m->config) &&
	       (end->reset_asked || m->config->on_reboot == ON_REBOOT_RESTART);
}

/* Any thread. The first to say why is believed; the main loop does the rest. */
static void on_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	struct machine *m = ctx;
	bool first;

	pthread_mutex_lock(&m->end_lock);
	first = m->end.reason == STOP_NONE;
	if (counts_more(m, reason)) {
		m->end.reason = reason;
		m->end.detail[0] = '\0';
		if (detail)
			strncpy(m->end.detail, detail, sizeof(m->end.detail) - 1);
	}
	pthread_mutex_unlock(&m->end_lock);
	/* Else the guest polls its power button until the main thread comes to it. */
	if (first)
		vcpus_dismiss(&m->vcpus);
	events_mark(m->events, EVENT_ENDED);
	loop_stop(m->loop);
}

bool machine_has_ended(struct machine *m)
{
	pthread_mutex_lock(&m->end_lock);
	bool yes = m->end.reason != STOP_NONE;

	pthread_mutex_unlock(&m->end_lock);
	return yes;
}

void machine_ends_not(struct machine *m)
{
	pthread_mutex_lock(&m->end_lock);
	m->end = (struct machine_end){.began_ns = m->end.began_ns};
	pthread_mutex_unlock(&m->end_lock);
}

/* What lies where, before anything is there. */
static int plan_board(struct machine *m, unsigned address_bits, struct err *e)
{
	const struct vm_config *c = m->config;
	int ret = board_init(&m->board, c->memory, c->memory_max, c->cpus, c->cpus_max,
			     address_bits, e);

	if (ret)
		return ret;
	m->board.serial = c->serial.kind != CHAR_OFF;
	m->board.serial2 = c->serial2.kind != CHAR_OFF;
	return machine_list_virtio(c, &m->board, e);
}

/* The virtual machine, empty. The order is the cheap one: memory slots and the
 * split irqchip before anything makes KVM wait for a grace period. */
static int make_vm(struct machine *m, struct err *e)
{
	const struct vm_config *c = m->config;
	int ret = kvm_vm_open(&m->vm, e);

	if (!ret && !m->cpuid.list)
		ret = cpuid_model_init(&m->cpuid, &m->vm, c->cpus_max, e);
	if (!ret && m->saved.bytes)
		ret = saved_load_cpuid(m, e);
	if (!ret)
		ret = plan_board(m, m->cpuid.address_bits, e);
	if (!ret)
		ret = machine_map_ram(m, e);
	if (ret)
		return ret;
	events_mark(m->events, EVENT_RAM_MAPPED);
	ret = kvm_vm_attach_ram(&m->vm, &m->ram, e);
	if (!ret)
		ret = irqchip_init(&m->irqchip, &m->vm, e);
	if (!ret)
		ret = regs_reserve_real_mode(&m->vm, m->cpuid.vendor);
	if (!ret)
		ret = vcpus_create(&m->vcpus, &m->vm, m->saved.bytes ? m->saved.cpus : c->cpus,
				   c->cpus_max, &m->exits, e);
	if (ret)
		return ret;
	coalesced_init(&m->coalesced, &m->vm, m->vcpus.vcpus[0].run);
	m->exits.coalesced = &m->coalesced;
	return 0;
}

/* What is restored is mapped from the snapshot, unless pages of another kind are wanted. */
static enum guest_mem_kind ram_kind(const struct vm_config *c, bool dry)
{
	if (dry)
		return GUEST_MEM_ANON;
	if (c->memory_shared)
		return GUEST_MEM_SHARED;
	bool pool = c->memory_pages == MEMORY_PAGES_2M || c->memory_pages == MEMORY_PAGES_1G;

	return c->restore.dir && c->restore.memory == RESTORE_MAP && !pool ? GUEST_MEM_FILE
									   : GUEST_MEM_ANON;
}

/* A machine of nothing: machine_destroy() is fine from here on. */
static struct machine *begin(struct vm_config *config, bool dry, struct err *e)
{
	struct machine *m = calloc(1, sizeof(*m));

	if (!m) {
		err_host(e, -ENOMEM, "out of memory");
		return NULL;
	}
	m->config = config;
	m->dry = dry;
	m->vm.kvm_fd = m->vm.vm_fd = -1;
	m->files.kernel.fd = m->saved.memory = m->saved.dir = -1;
	m->stop = (struct stop_sink){on_stop, m};
	m->exits = (struct exit_env){
		.pio = &m->pio, .mmio = &m->mmio, .ram = &m->ram, .stop = m->stop};
	pthread_mutex_init(&m->end_lock, NULL);
	bus_init(&m->pio, "pio");
	bus_init(&m->mmio, "mmio");
	guest_mem_init(&m->ram, ram_kind(config, dry));
	return m;
}

/* Open everything: whatever a user got wrong shows here. */
static int open_host(struct machine *m, struct err *e)
{
	int ret = machine_open_files(m, e);

	if (ret)
		return ret;
	m->loop = loop_create();
	return m->loop ? 0
		       : err_host(e, -errno, "cannot create an event loop: %s", strerror(errno));
}

static int make_devices(struct machine *m, struct err *e)
{
	int ret = machine_make_platform(m, e);

	if (!ret)
		ret = machine_make_cpus(m, e);
	if (!ret)
		ret = machine_make_pci(m, e);
	if (!ret)
		ret = machine_make_hotplug(m, e);
	if (!ret)
		ret = machine_make_virtio(m, e);
	return ret ? ret : machine_make_added(m, e);
}

int machine_create(struct machine **out, struct vm_config *config, struct events *events,
		   struct err *e)
{
	struct machine *m = begin(config, false, e);

	if (!m)
		return e->code;
	m->events = events;
	int ret = open_host(m, e);

	if (ret)
		goto fail;
	events_mark(events, EVENT_FILES_OPENED);
	ret = machine_enter_sandbox(m, e);
	if (ret)
		goto fail;

	/* Make the virtual machine and put the guest into its RAM: whatever does not
	 * fit shows here. */
	ret = make_vm(m, e);
	if (ret)
		goto fail;
	events_mark(events, EVENT_VM_MADE);
	ret = m->saved.bytes ? saved_load_cpus(m, e) : machine_power_on(m, e);
	if (!ret && !m->saved.bytes)
		ret = machine_load_guest(m, e);
	if (!ret)
		ret = machine_await_nets(m, e);
	if (ret)
		goto fail;
	/* What all that took for a moment (the packed initramfs, tables for firmware and KVM) goes
	 * back to the host, or it would stay with what comes now for as long as the guest runs. */
	malloc_trim(0);
	events_mark(events, EVENT_KERNEL_LOADED);

	/* Now what leaves traces: the consoles' files and sockets, the terminal's guardian
	 * (a fork, so before threads), and the devices with their threads. */
	ret = machine_open_consoles(m, e);
	if (!ret)
		ret = make_devices(m, e);
	if (!ret && m->saved.bytes)
		ret = saved_load_devices(m, e);
	if (!ret)
		ret = machine_place_cpus(m, e);
	saved_close(m);
	lazy_watch(m->lazy, &m->stop);
	if (!ret && (config->stats || log_enabled(LOG_DEBUG)) && stats_begin(m))
		ret = err_host(e, -ENOMEM, "--stats: out of memory");
	if (ret)
		goto fail;
	events_mark(events, EVENT_DEVICES_MADE);

	/* Threads have confined themselves as they began; the main one does when all have begun
	 * (run.c). */
	*out = m;
	return 0;
fail:
	machine_destroy(m);
	return ret;
}

int machine_describe(struct vm_config *config, FILE *out, struct err *e)
{
	struct machine *m = begin(config, true, e);
	struct boot_entry entry;

	if (!m)
		return e->code;
	int ret = open_host(m, e);

	if (!ret)
		ret = plan_board(m, cpuid_host_address_bits(), e);
	if (!ret)
		ret = machine_map_ram(m, e);
	if (!ret)
		ret = machine_fill_ram(m, &entry, e);
	/* No console is opened: what the serial port would say goes nowhere. */
	if (!ret)
		ret = make_devices(m, e);
	if (!ret) {
		ret = machine_print(m, &entry, config->json, out);
		if (ret)
			err_host(e, ret, "--dry-run: stdout: %s", strerror(-ret));
	}
	machine_destroy(m);
	return ret;
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	vcpus_quit(&m->vcpus);
	stats_end(m->stats);
	if (m->stuck) {
		/* A thread of ours is inside a system call that may never return, with
		 * the guest's RAM as its buffer. It ends with the process. */
		machine_close_consoles(m);
		return;
	}
	kvm_vm_ends(&m->vm);
	device_list_fini(&m->devices);
	machine_end_virtio(m);
	coalesced_fini(&m->coalesced);
	vcpus_destroy(&m->vcpus);
	tracking_stop(m);
	irqchip_fini(&m->irqchip);
	cpuid_model_fini(&m->cpuid);
	state_writer_fini(&m->power_on);
	kvm_vm_close(&m->vm);
	/* Not before: KVM may wait for pages of its own accord. */
	lazy_stop(m->lazy);
	guest_mem_fini(&m->ram);
	machine_close_vsock(m);
	command_destroy(m->command);
	machine_close_consoles(m);
	loop_destroy(m->loop);
	saved_close(m);
	machine_close_files(m);
	bus_fini(&m->mmio);
	bus_fini(&m->pio);
	pthread_mutex_destroy(&m->end_lock);
	free(m);
}
