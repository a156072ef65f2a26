/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid: what the guest's processors say of themselves.
 *
 * KVM's own list (KVM_GET_SUPPORTED_CPUID) is taken once, and a few leaves are
 * put right: topology, so that it agrees with the MADT's APIC ids, and the
 * hypervisor's leaves, so that a guest finds kvm-clock and its frequencies.
 */
#ifndef VMM_ARCH_X86_64_CPUID_H
#define VMM_ARCH_X86_64_CPUID_H

#include "vmm/base/err.h"
#include "vmm/kvm/vm.h"

#include <stdbool.h>
#include <stdint.h>

struct kvm_cpuid2;

enum { CPUID_ENTRIES_MAX = 256 };

struct cpuid_model {
	struct kvm_cpuid2 *list; /* owned, with room for CPUID_ENTRIES_MAX: as every CPU
				  * has it, but for its APIC id */
	unsigned cpus_max;
	unsigned address_bits; /* physical address width, leaf 0x80000008 */
	char vendor[13];
};

/* Ask KVM and adapt it to `cpus_max` processors in one package, one thread a
 * core. Main thread. */
int cpuid_model_init(struct cpuid_model *m, const struct kvm_vm *vm, unsigned cpus_max,
		     struct err *e);
/* The second half of it: adapt m->list, which is as KVM gave it, to m->cpus_max. */
void cpuid_model_adapt(struct cpuid_model *m, bool tsc_deadline);
/* The physical address width that this host's guests have: as KVM says, or where there is
 * none, the processor. */
unsigned cpuid_host_address_bits(void);
void cpuid_model_fini(struct cpuid_model *m);

/* Tell the frequency leaf (0x40000010), once a vCPU exists to ask for it; 0: unknown. */
void cpuid_model_set_tsc(struct cpuid_model *m, uint32_t tsc_khz);

/* Give vCPU `cpu` its leaves (its APIC id is the number), before its MSRs. */
int cpuid_model_apply(const struct cpuid_model *m, int vcpu_fd, unsigned cpu);

#endif
