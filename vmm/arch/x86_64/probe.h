/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe: what this host's KVM does with a guest, found out by running one.
 *
 * A VM of one processor and a few pages runs some loops (probe_guest.S), each for some
 * tens of milliseconds, and the host looks at its clock. Flags and capabilities do not
 * tell what a KVM can run: one that emulates ring 0 has all of them.
 */
#ifndef VMM_ARCH_X86_64_PROBE_H
#define VMM_ARCH_X86_64_PROBE_H

#include "vmm/base/err.h"
#include "vmm/kvm/vm.h"

#include <stdint.h>

enum probe_kind {
	PROBE_RING0,  /* instructions of a kernel */
	PROBE_RING3,  /* instructions of a program */
	PROBE_PORT,   /* port I/O: out to us and back in */
	PROBE_MMIO,   /* the same by a store */
	PROBE_KERNEL, /* INT3, IRETQ, XRSTOR in ring 0: done or not */
	PROBE_WAKE,   /* HLT, the timer's interrupt, and an exit */
	PROBE_KINDS,
};

enum probe_state {
	PROBE_NOT_RUN,
	PROBE_OK,
	PROBE_LATE,   /* it did not come to its end; what it did is counted */
	PROBE_FAILED, /* KVM gave up: `why` */
};

struct probe_step {
	enum probe_state state;
	uint64_t count; /* instructions or rounds, */
	uint64_t ns;    /* in that time; of the best of several attempts */
	char why[96];   /* empty unless PROBE_FAILED */
};

/* Runs all of them on *vm, which is fresh and of no use afterwards. Within about half a
 * second where KVM is quick, and never more than `limit_ms` in all: SIGALRM, which this
 * uses for the purpose, gets a guest out. 0, or a negative errno with *e filled when the
 * VM could not be made; steps that did not run are PROBE_NOT_RUN. Main thread, and no
 * other. */
int probe_run(struct probe_step steps[PROBE_KINDS], struct kvm_vm *vm, unsigned limit_ms,
	      struct err *e);

/* Of a step: how many a second, and how long one takes; 0 if it did not run. */
double probe_per_second(const struct probe_step *s);
double probe_ns_each(const struct probe_step *s);

#endif
