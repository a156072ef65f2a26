/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigbus: memory that the host cannot give after all.
 *
 * A mapping is a promise: of a file that others may cut short, of huge pages that a
 * limit takes away, of memory that breaks. Where it cannot be kept, the thread that
 * touches it gets SIGBUS, and there is nothing that it could go on with: the process
 * ends with a line and status 1, instead of a core dump or a loop of faults.
 *
 * What system calls touch for us (KVM_RUN, pread) gives EFAULT and no signal.
 */
#ifndef VMM_BASE_SIGBUS_H
#define VMM_BASE_SIGBUS_H

#include <signal.h>

/* Install the handler, for the process and all its life. Main thread. */
void sigbus_catch(void);

/* All signals but SIGBUS, and SIGSYS (vmm/sandbox): the mask of threads that leave signals to the
 * main loop. A fault that is blocked kills the process without a word. */
void sigbus_fill_mask(sigset_t *set);

#endif
