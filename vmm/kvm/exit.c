/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM runs the guest until something happens that only we can do; then KVM_RUN
 * returns and says what in struct kvm_run [KVM api 5]. Each reason has one row
 * in the table below. Two of them, port I/O and MMIO, are nearly all of a VM's
 * life: they ask a bus, and a device answers.
 *
 * A reason without a handler is nothing we asked KVM for. The VM ends, and the
 * reason is reported by name, with the registers.
 */
#include "vmm/kvm/exit.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/kvm/coalesced.h"
#include "vmm/kvm/vcpu.h"

#include <inttypes.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

static enum exit_verdict leave(struct vcpu *v, enum stop_reason reason, const char *detail)
{
	stop_request(&v->env->stop, reason, detail);
	return EXIT_LEAVE;
}

void exit_lost_ram(struct vcpu *v)
{
	char detail[160];

	snprintf(detail, sizeof(detail),
		 "it has no memory for the guest's RAM: huge pages ran out, or a file behind it "
		 "was cut short (KVM_RUN on CPU %u)",
		 v->index);
	stop_request(&v->env->stop, STOP_HOST_ERROR, detail);
}

/* One IN or OUT of `size` bytes; a string instruction brings `count` of them,
 * all for the same port. */
static enum exit_verdict exit_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;

	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		uint64_t val = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&val, data, size);
			bus_write(v->env->pio, run->io.port, size, val);
		} else {
			bus_read(v->env->pio, run->io.port, size, &val);
			memcpy(data, &val, size);
		}
	}
	if (v->env->coalesced && run->io.direction == KVM_EXIT_IO_OUT)
		coalesced_saw(v->env->coalesced, true, run->io.port);
	return EXIT_RESUME;
}

static enum exit_verdict exit_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	bool answered = false;
	uint64_t val = 0;

	/* KVM splits what the instruction did into naturally sized parts, but an
	 * access across a page may leave 3, 5, 6 or 7 bytes: no device has such
	 * a register, so they are nobody's. */
	if (!is_power_of_2(run->mmio.len) || run->mmio.len > sizeof(run->mmio.data)) {
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
	} else if (run->mmio.is_write) {
		memcpy(&val, run->mmio.data, run->mmio.len);
		answered = bus_write(v->env->mmio, run->mmio.phys_addr, run->mmio.len, val);
		if (v->env->coalesced)
			coalesced_saw(v->env->coalesced, false, run->mmio.phys_addr);
	} else {
		answered = bus_read(v->env->mmio, run->mmio.phys_addr, run->mmio.len, &val);
		memcpy(run->mmio.data, &val, run->mmio.len);
	}
	/* An instruction that KVM carries out itself and whose RAM the host has lost looks
	 * like this to it; where the processor carries it out, KVM_RUN gives EFAULT. */
	if (!answered && v->env->ram && guest_mem_hva(v->env->ram, run->mmio.phys_addr, 1)) {
		exit_lost_ram(v);
		return EXIT_LEAVE;
	}
	return EXIT_RESUME;
}

static enum exit_verdict exit_ioapic_eoi(struct vcpu *v)
{
	if (v->env->ioapic_eoi)
		v->env->ioapic_eoi(v->env->ioapic, v->run->eoi.vector);
	return EXIT_RESUME;
}

/* A signal, or immediate_exit: the trap loop looks at what is wanted of it. */
static enum exit_verdict exit_intr(struct vcpu *v)
{
	return EXIT_RESUME;
}

/* The guest made a fault while it handled a double fault [SDM 3A 6.15]. */
static enum exit_verdict exit_shutdown(struct vcpu *v)
{
	char detail[96];

	snprintf(detail, sizeof(detail), "triple fault on CPU %u", v->index);
	v->crashed = log_enabled(LOG_INFO);
	return leave(v, STOP_TRIPLE_FAULT, detail);
}

static enum exit_verdict exit_system_event(struct vcpu *v)
{
	switch (v->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		return leave(v, STOP_POWEROFF, NULL);
	case KVM_SYSTEM_EVENT_RESET:
		return leave(v, STOP_RESET, "KVM_SYSTEM_EVENT_RESET");
	case KVM_SYSTEM_EVENT_CRASH:
		return leave(v, STOP_PANIC, "the guest reported a crash");
	default:
		return leave(v, STOP_KVM_ERROR, "KVM reported a system event of unknown type");
	}
}

static enum exit_verdict exit_fail_entry(struct vcpu *v)
{
	char detail[160];

	snprintf(detail, sizeof(detail),
		 "KVM_EXIT_FAIL_ENTRY on CPU %u: the processor refuses the guest's state "
		 "(hardware reason %#" PRIx64 ")",
		 v->index, (uint64_t)v->run->fail_entry.hardware_entry_failure_reason);
	v->crashed = true;
	return leave(v, STOP_KVM_ERROR, detail);
}

static const char *suberror_name(uint32_t suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		return "KVM cannot emulate an instruction";
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		return "two exceptions at once";
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		return "an exit while an event was delivered";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		return "an exit of the hardware that KVM does not know";
	default:
		return "unknown suberror";
	}
}

/* The bytes at the instruction pointer, where KVM has them. */
static void append_instruction(const struct kvm_run *run, char *text, size_t size)
{
	size_t used = strlen(text);
	unsigned n = run->emulation_failure.insn_size;

	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION ||
	    run->emulation_failure.ndata < 3 ||
	    !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		return;
	if (n > sizeof(run->emulation_failure.insn_bytes))
		n = sizeof(run->emulation_failure.insn_bytes);
	for (unsigned i = 0; i < n && used + 4 < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%02x", i ? " " : ", bytes ",
					 run->emulation_failure.insn_bytes[i]);
}

static enum exit_verdict exit_internal_error(struct vcpu *v)
{
	char detail[256];

	snprintf(detail, sizeof(detail), "KVM_EXIT_INTERNAL_ERROR on CPU %u: %s (suberror %u)",
		 v->index, suberror_name(v->run->internal.suberror), v->run->internal.suberror);
	append_instruction(v->run, detail, sizeof(detail));
	v->crashed = true;
	return leave(v, STOP_KVM_ERROR, detail);
}

static enum exit_verdict exit_unexpected(struct vcpu *v)
{
	char detail[160];

	snprintf(detail, sizeof(detail), "%s (%u) on CPU %u: minivmm never asked KVM for it",
		 exit_name(v->run->exit_reason), v->run->exit_reason, v->index);
	v->crashed = true;
	return leave(v, STOP_KVM_ERROR, detail);
}

struct exit_row {
	const char *name;
	enum exit_verdict (*handle)(struct vcpu *v);
};

#define ROW(reason, handler) [reason] = {#reason, handler}

static const struct exit_row exits[] = {
	/* the everyday ones */
	ROW(KVM_EXIT_IO, exit_io),
	ROW(KVM_EXIT_MMIO, exit_mmio),
	ROW(KVM_EXIT_IOAPIC_EOI, exit_ioapic_eoi),
	ROW(KVM_EXIT_INTR, exit_intr),
	/* the ends */
	ROW(KVM_EXIT_SHUTDOWN, exit_shutdown),
	ROW(KVM_EXIT_SYSTEM_EVENT, exit_system_event),
	ROW(KVM_EXIT_FAIL_ENTRY, exit_fail_entry),
	ROW(KVM_EXIT_INTERNAL_ERROR, exit_internal_error),
	/* what other set-ups, or other architectures, would see */
	ROW(KVM_EXIT_UNKNOWN, exit_unexpected),
	ROW(KVM_EXIT_EXCEPTION, exit_unexpected),
	ROW(KVM_EXIT_HYPERCALL, exit_unexpected),
	ROW(KVM_EXIT_DEBUG, exit_unexpected),
	ROW(KVM_EXIT_HLT, exit_unexpected), /* the local APIC is KVM's: it waits there */
	ROW(KVM_EXIT_IRQ_WINDOW_OPEN, exit_unexpected),
	ROW(KVM_EXIT_SET_TPR, exit_unexpected),
	ROW(KVM_EXIT_TPR_ACCESS, exit_unexpected),
	ROW(KVM_EXIT_S390_SIEIC, exit_unexpected),
	ROW(KVM_EXIT_S390_RESET, exit_unexpected),
	ROW(KVM_EXIT_DCR, exit_unexpected),
	ROW(KVM_EXIT_NMI, exit_unexpected),
	ROW(KVM_EXIT_OSI, exit_unexpected),
	ROW(KVM_EXIT_PAPR_HCALL, exit_unexpected),
	ROW(KVM_EXIT_S390_UCONTROL, exit_unexpected),
	ROW(KVM_EXIT_WATCHDOG, exit_unexpected),
	ROW(KVM_EXIT_S390_TSCH, exit_unexpected),
	ROW(KVM_EXIT_EPR, exit_unexpected),
	ROW(KVM_EXIT_S390_STSI, exit_unexpected),
	ROW(KVM_EXIT_HYPERV, exit_unexpected),
	ROW(KVM_EXIT_ARM_NISV, exit_unexpected),
	ROW(KVM_EXIT_X86_RDMSR, exit_unexpected),
	ROW(KVM_EXIT_X86_WRMSR, exit_unexpected),
	ROW(KVM_EXIT_DIRTY_RING_FULL, exit_unexpected),
	ROW(KVM_EXIT_AP_RESET_HOLD, exit_unexpected),
	ROW(KVM_EXIT_X86_BUS_LOCK, exit_unexpected),
	ROW(KVM_EXIT_XEN, exit_unexpected),
	ROW(KVM_EXIT_RISCV_SBI, exit_unexpected),
	ROW(KVM_EXIT_NOTIFY, exit_unexpected),
};

const char *exit_name(uint32_t reason)
{
	if (reason < ARRAY_LEN(exits) && exits[reason].name)
		return exits[reason].name;
	return "an exit reason newer than minivmm";
}

static void show_hook(const struct vcpu *v, uint32_t reason)
{
	const struct kvm_run *run = v->run;
	struct exit_access access;

	switch (reason) {
	case KVM_EXIT_IO:
		access = (struct exit_access){v->env->pio, run->io.port, run->io.size,
					      run->io.direction == KVM_EXIT_IO_OUT};
		break;
	case KVM_EXIT_MMIO:
		access = (struct exit_access){v->env->mmio, run->mmio.phys_addr, run->mmio.len,
					      run->mmio.is_write};
		break;
	default:
		v->env->hook(v->env->hook_ctx, v->index, reason, NULL);
		return;
	}
	v->env->hook(v->env->hook_ctx, v->index, reason, &access);
}

void exit_settle(const struct exit_env *env)
{
	if (env->coalesced)
		coalesced_drain(env->coalesced, env->pio, env->mmio);
}

enum exit_verdict exit_dispatch(struct vcpu *v)
{
	uint32_t reason = v->run->exit_reason;

	exit_settle(v->env);
	if (v->env->hook)
		show_hook(v, reason);
	if (reason < ARRAY_LEN(exits) && exits[reason].handle)
		return exits[reason].handle(v);
	return exit_unexpected(v);
}
