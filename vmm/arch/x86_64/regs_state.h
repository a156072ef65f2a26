/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regs_state: all that a processor of the guest knows, as a part of saved state.
 *
 * What KVM keeps of a processor comes in a dozen pieces, and the order in which they go
 * back matters; regs_load() has it, with the reasons.
 */
#ifndef VMM_ARCH_X86_64_REGS_STATE_H
#define VMM_ARCH_X86_64_REGS_STATE_H

#include "vmm/base/err.h"
#include "vmm/core/state.h"
#include "vmm/kvm/vm.h"

#include <stdint.h>

struct msr_list;

/* The MSRs that this host's KVM keeps of a guest; NULL for want of memory or of an answer. */
struct msr_list *msr_list_read(const struct kvm_vm *vm);
void msr_list_free(struct msr_list *l);

/* Write the section `name` of a processor that is parked. 0; -ENOTSUP, with *e filled, if the
 * guest runs virtual machines itself; or a negative errno of KVM's. Main thread. */
int regs_save(const struct kvm_vm *vm, int vcpu_fd, const struct msr_list *msrs, const char *name,
	      struct state_writer *w, struct err *e);

/* Give a processor that stands, and has its CPUID, what the section `name` holds. Its TSC
 * goes on by `tsc_gone` ticks, to *tsc. 0, or -EBADMSG or an errno of KVM's with *e filled: then
 * the processor is neither as before nor as saved. Main thread. */
int regs_load(const struct kvm_vm *vm, int vcpu_fd, const char *name, uint64_t tsc_gone,
	      uint64_t *tsc, struct state_reader *r, struct err *e);

/* A processor that stands runs no virtual machine of the guest's own any more, and has not set out
 * to: before regs_load() on one that has run. 0 or a negative errno. */
int regs_leave_nested(const struct kvm_vm *vm, int vcpu_fd);

/* What the TSC of a processor says now. 0 or a negative errno. */
int regs_read_tsc(int vcpu_fd, uint64_t *tsc);
/* Move it by so many ticks from where it is. 0, or a negative errno: -ENXIO if KVM cannot. */
int regs_shift_tsc(int vcpu_fd, int64_t by);
/* Have it say what that of another processor of the machine says, at the same rate. Likewise. */
int regs_copy_tsc(int vcpu_fd, int other_fd);

#endif
