/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid_state: what the guest's processors say of themselves, as a part of saved state.
 *
 * A guest looks at CPUID when it boots and believes it from then on. So a restored guest has the
 * leaves that it had, and this host must be able to do what they promise.
 */
#ifndef VMM_ARCH_X86_64_CPUID_STATE_H
#define VMM_ARCH_X86_64_CPUID_STATE_H

#include "vmm/arch/x86_64/cpuid.h"
#include "vmm/core/state.h"

/* The section "cpuid", as every processor has it. */
void cpuid_model_save(const struct cpuid_model *m, struct state_writer *w);

/* Take the saved leaves in place of this host's, which *m has. What they promise and this host does
 * not do is an error that names it, or with `any_cpu` a warning. 0, or -EBADMSG, -ENOTSUP or
 * -ENOMEM with *e filled and *m as it was. */
int cpuid_model_load(struct cpuid_model *m, bool any_cpu, struct state_reader *r, struct err *e);

#endif
