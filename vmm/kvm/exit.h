/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exit: what happens when a vCPU leaves the guest. The reading tour of minivmm
 * starts in exit.c, at the table of handlers.
 */
#ifndef VMM_KVM_EXIT_H
#define VMM_KVM_EXIT_H

#include "vmm/core/bus.h"
#include "vmm/core/guest_mem.h"
#include "vmm/core/stop.h"

#include <stdint.h>

struct coalesced;
struct vcpu;

/* What an exit for a device is about: one instruction, that may move several values. */
struct exit_access {
	struct bus *bus;
	uint64_t addr;
	unsigned size;
	bool write;
};

/* Where exits lead; one for all vCPUs, immutable while they run. */
struct exit_env {
	struct bus *pio, *mmio;
	/* Writes that wait for the next exit; may be NULL. */
	struct coalesced *coalesced;
	/* Where an access that nobody answers may be the host's fault; may be NULL. */
	const struct guest_mem *ram;
	struct stop_sink stop;
	/* End of interrupt for a level-triggered I/O APIC pin. */
	void (*ioapic_eoi)(void *ctx, uint8_t vector);
	void *ioapic;
	/* Sees every exit before it is handled (statistics, traces); may be NULL.
	 * `access` is NULL where the exit is none. Called on the vCPU's thread. */
	void (*hook)(void *ctx, unsigned cpu, uint32_t reason, const struct exit_access *access);
	void *hook_ctx;
};

enum exit_verdict {
	EXIT_RESUME, /* enter the guest again */
	EXIT_LEAVE,  /* a stop was requested: this vCPU has run its last */
};

/* Carry out the writes that wait for an exit, so that devices are up to date. Any thread. */
void exit_settle(const struct exit_env *env);

/* Handle v->run after KVM_RUN came back with 0. On the vCPU's thread. */
enum exit_verdict exit_dispatch(struct vcpu *v);

/* The guest touched its RAM and the host has nothing behind it: the machine stops by the
 * host's fault, not by the guest's (see vmm/base/sigbus.h). */
void exit_lost_ram(struct vcpu *v);

/* "KVM_EXIT_MMIO" and so on; never NULL. */
const char *exit_name(uint32_t reason);

#endif
