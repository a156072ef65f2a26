/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counters: what KVM itself has counted of a vCPU, most of it exits that never come out to
 * us (KVM_GET_STATS_FD, Linux 5.14) [KVM api 4.133].
 */
#ifndef VMM_KVM_COUNTERS_H
#define VMM_KVM_COUNTERS_H

#include <stdint.h>

/* Call `each` for every counter of the vCPU `fd` that only ever grows and is not 0: its
 * name, KVM's own, valid during the call. 0 or a negative errno: -ENOTTY where KVM has
 * none, -EBADMSG for what cannot be read. Any thread. */
int kvm_counters_read(int fd, void (*each)(void *ctx, const char *name, uint64_t value), void *ctx);

#endif
