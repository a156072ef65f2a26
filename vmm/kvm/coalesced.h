/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coalesced: writes that nobody has to see at once. KVM keeps them in a ring and the vCPU
 * goes on; what is in the ring is carried out before whatever comes out of the guest next
 * [KVM api 4.116 KVM_REGISTER_COALESCED_MMIO]. That is for a register that only says which
 * one the next access is about: half of the exits for an indexed pair of registers.
 *
 * Never for a register whose write does something: no other exit may come for hours.
 *
 * KVM is asked for it once a guest has made some of these writes. What it then makes on the
 * bus that it keeps, it gives back after a grace period, and a VM that ends before that waits
 * for it: 15 ms of a life that may have lasted five (Linux 6.18).
 */
#ifndef VMM_KVM_COALESCED_H
#define VMM_KVM_COALESCED_H

#include "vmm/core/bus.h"
#include "vmm/kvm/vm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct kvm_coalesced_mmio_ring;

enum { COALESCED_ZONES_MAX = 4, COALESCED_AFTER = 4 };

struct coalesced_zone {
	uint64_t addr;
	uint32_t len;
	bool pio;
	atomic_uint seen; /* exits for it */
};

struct coalesced {
	const struct kvm_vm *vm;
	pthread_mutex_t lock;                 /* of who empties the ring */
	struct kvm_coalesced_mmio_ring *ring; /* shared with KVM; NULL: it has none */
	unsigned entries;
	bool pio; /* for ports, too (Linux 4.20) */
	struct coalesced_zone zones[COALESCED_ZONES_MAX];
	unsigned n_zones; /* does not change while vCPUs run */
};

/* `run_area`: any vCPU's, vm->run_size bytes; both are borrowed. Main thread, as all but
 * coalesced_drain(). A KVM without is no error. */
void coalesced_init(struct coalesced *c, const struct kvm_vm *vm, void *run_area);
/* Fine on zeroes. */
void coalesced_fini(struct coalesced *c);

/* Writes to [addr, addr+len), whatever their width, may wait; COALESCED_ZONES_MAX such at
 * most. Before vCPUs run. Where KVM does not take that they are exits as ever. */
void coalesced_add(struct coalesced *c, bool pio, uint64_t addr, uint32_t len);

/* A write came out, and has been carried out. Any vCPU's thread. */
void coalesced_saw(struct coalesced *c, bool pio, uint64_t addr);

/* Carry out what waits. When it returns, all that any vCPU wrote before this call has been.
 * Any thread. */
void coalesced_drain(struct coalesced *c, struct bus *pio, struct bus *mmio);

#endif
