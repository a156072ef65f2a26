/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processors that come and go while the guest runs, by its ACPI code (devices/cpu/hotplug.h).
 *
 *	more    -> vCPU made, if it never was; reset -> brought in -> guest told
 *	fewer   -> guest asked
 *	_EJ0    -> the vCPU is taken out, on the vCPU's thread that said so
 *
 * A vCPU is made when it is first wanted: until then a machine with room for 64 costs what one
 * without does. So KVM, a mapping and a thread are asked for while the guest runs. KVM cannot
 *unmake one: its thread sleeps until it is wanted again.
 */
#include "vmm/arch/x86_64/regs_state.h"
#include "vmm/base/log.h"
#include "vmm/machine/live.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <string.h>

/* --- the chip ------------------------------------------------------------------------------ */

static void on_event(void *ctx)
{
	power_cpus_event(&((struct machine *)ctx)->power);
}

static void on_ejected(void *ctx, unsigned cpu)
{
	vcpus_take_out(&((struct machine *)ctx)->vcpus, cpu);
}

/* Here and now: of two that come at once the first is told as the first. */
static void on_changed(void *ctx, struct cpu_hotplug_count now)
{
	events_cpus(((struct machine *)ctx)->events, now.has, now.target);
}

int machine_make_cpus(struct machine *m, struct err *e)
{
	const struct cpu_hotplug_wires wires = {on_event, on_ejected, on_changed, m};
	const struct board *b = &m->board;

	if (!board_cpus_change(b))
		return 0;
	cpu_hotplug_init(&m->cpu_hotplug, b->cpus, b->cpus_max, &wires);
	int ret = device_list_add(&m->devices, "cpus", &cpu_hotplug_device_ops, &m->cpu_hotplug);

	if (!ret)
		ret = bus_add(&m->pio, LAYOUT_CPUS, LAYOUT_CPUS_LEN, &cpu_hotplug_io_ops,
			      &m->cpu_hotplug, "cpus");
	return ret ? err_host(e, ret, "the processors' registers: %s", strerror(-ret)) : 0;
}

int machine_place_cpus(struct machine *m, struct err *e)
{
	unsigned n = m->vcpus.n;

	m->cpus_ready = n;
	if (!board_cpus_change(&m->board))
		return 0;
	uint64_t here = cpu_hotplug_here(&m->cpu_hotplug);

	if (n < 64 && here >> n)
		return err_host(e, -EBADMSG,
				"saved state: 'cpus' has one more than there are registers for");
	for (unsigned i = 0; i < n; i++)
		if (!(here & 1ull << i))
			vcpus_take_out(&m->vcpus, i);
	return 0;
}

/* --- coming and going ------------------------------------------------------------------------ */

/* As the machine's others were before they ran. */
static int set_up(struct machine *m, unsigned cpu)
{
	const struct vcpu *boot = &m->vcpus.vcpus[0], *v = &m->vcpus.vcpus[cpu];
	uint32_t khz = vcpu_tsc_khz(boot);
	int ret = cpuid_model_apply(&m->cpuid, v->fd, cpu);

	if (!ret)
		ret = regs_set_msrs(v->fd);
	if (!ret && vcpu_tsc_khz(v) != khz)
		ret = vcpu_set_tsc_khz(v, khz);
	if (ret)
		return ret;
	/* KVM has tried by itself. */
	ret = regs_copy_tsc(v->fd, boot->fd);
	if (ret)
		log_warn("CPU %u: its TSC may differ from the others': %s", cpu, strerror(-ret));
	return regs_announce_apics(v->fd);
}

/* All stand. Those that were made, and are not the guest's, wait for its INIT. */
static int bring_in(struct machine *m, uint64_t which, struct err *e)
{
	for (unsigned i = 0; i < m->vcpus.n; i++) {
		if (!(which & 1ull << i))
			continue;
		int ret = regs_set_waiting(m->vcpus.vcpus[i].fd, board_apic_id(i));

		if (ret)
			return err_host(e, ret, "CPU %u: KVM refuses its first state: %s", i,
					strerror(-ret));
	}
	for (unsigned i = 0; i < m->vcpus.n; i++)
		if (which & 1ull << i)
			vcpus_bring_in(&m->vcpus, i);
	return 0;
}

/* All stand. What fails half-way is gone on with the next time; until then nobody is brought in. */
static int make_up_to(struct machine *m, unsigned count, struct err *e)
{
	unsigned before = m->vcpus.n;
	int ret = vcpus_make(&m->vcpus, &m->vm, count, e);

	for (unsigned i = before; i < m->vcpus.n; i++)
		vcpus_take_out(&m->vcpus, i);
	while (!ret && m->cpus_ready < m->vcpus.n) {
		ret = set_up(m, m->cpus_ready);
		if (ret)
			return err_host(e, ret, "CPU %u: KVM refuses its first state: %s",
					m->cpus_ready, strerror(-ret));
		m->cpus_ready++;
	}
	return ret ? ret : vcpus_start(&m->vcpus, e);
}

int machine_set_cpus(struct machine *m, int64_t count, struct err *e)
{
	const struct board *b = &m->board;
	unsigned n = (unsigned)count;

	if (!board_cpus_change(b))
		return err_usage(e, -ENOENT,
				 "this machine has no room for more CPUs; start it with --cpus "
				 "N,max=M");
	if (count < 1 || count > b->cpus_max)
		return err_usage(e, -ERANGE, "count has to be 1 to %u: max of --cpus", b->cpus_max);
	/* So that none of them goes in the midst of it. */
	if (!m->paused)
		vcpus_park(&m->vcpus);
	int ret = make_up_to(m, n, e);

	if (!ret)
		ret = bring_in(m, cpu_hotplug_missing(&m->cpu_hotplug, n), e);
	if (!ret)
		cpu_hotplug_want(&m->cpu_hotplug, n);
	if (!m->paused)
		vcpus_resume(&m->vcpus);
	if (!ret)
		log_info("the guest is to have %u CPUs", n);
	return ret;
}

/* The lock is all that changes of it. */
static struct cpu_hotplug_count count_of(const struct machine *m)
{
	return cpu_hotplug_count((struct cpu_hotplug *)&m->cpu_hotplug);
}

unsigned machine_cpus(const struct machine *m)
{
	return board_cpus_change(&m->board) ? count_of(m).has : m->board.cpus;
}

json_t *machine_cpu_json(const struct machine *m)
{
	if (!board_cpus_change(&m->board))
		return json_null();
	struct cpu_hotplug_count c = count_of(m);

	return json_pack("{s:i, s:i, s:i}", "count", (int)c.has, "target", (int)c.target, "max",
			 (int)m->board.cpus_max);
}
