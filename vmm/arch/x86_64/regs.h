/* SPDX-License-Identifier: Apache-2.0 */
/* regs: a processor's registers and MSRs at the guest's first instruction. */
#ifndef VMM_ARCH_X86_64_REGS_H
#define VMM_ARCH_X86_64_REGS_H

#include "vmm/arch/x86_64/boot_entry.h"
#include "vmm/kvm/vm.h"

#include <stdint.h>

/* On Intel hosts, give KVM the four pages that real mode may need there
 * [KVM api 4.40 KVM_SET_TSS_ADDR]; before vCPUs are made. 0 or a negative errno. */
int regs_reserve_real_mode(const struct kvm_vm *vm, const char *cpu_vendor);

/* What each vCPU's MSRs hold at power-on beyond KVM's own defaults. After CPUID
 * (newer kernels check one against the other). 0 or a negative errno. */
int regs_set_msrs(int vcpu_fd);

/* Make every vCPU's local APIC known to the others: after the last vCPU was made, for one of
 * them (any). Without it the last one hears no INIT until some APIC changes, see regs.c.
 * 0 or a negative errno. */
int regs_announce_apics(int vcpu_fd);

/* Put a processor that has run, and does not now, where its next INIT and SIPI find it: halted
 * until then, its local APIC as after a reset, and nothing pending. `id`: of the APIC. 0 or a
 * negative errno. */
int regs_set_waiting(int vcpu_fd, uint32_t id);

/* Put the boot processor at the entry. The others wait for INIT and SIPI. */
int regs_set_entry(int vcpu_fd, const struct boot_entry *entry);

#endif
