/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attack: what the parts of the guest `attack` share. Everything that an attacker does follows
 * from its own random numbers and from what was found at the start, never from what a device
 * answered: so a seed does the same things again.
 */
#ifndef TESTS_GUEST_ATTACK_ATTACK_H
#define TESTS_GUEST_ATTACK_ATTACK_H

#include "guest.h"

enum {
	ATTACKERS_MAX = 4,
	VICTIMS_MAX = 12,
	QUEUES_MAX = 8,
	RING_SIZE = 16,
	RING_BYTES = 0x4000, /* a queue's rings, tables and headers */
	BAR_BYTES = 0x4000,
	PAGE_BYTES = 0x1000, /* of a virtio-mmio device */
};

/* All that devices are told to read and write lies in here, or where there is no RAM: the guest is
 * far below it, and above it nothing is needed. */
#define ARENA       0x90000000ull
#define BUFFERS     (ARENA + 0x200000)
#define BUFFERS_LEN 0x100000ull
#define ARENA_END   (ARENA + 0x400000)

/* A processor that attacks. */
struct attacker {
	bool ring3;              /* no ports, no MSRs */
	uint64_t random;         /* never 0 */
	volatile uint64_t done;  /* operations: accesses that leave the processor */
	volatile uint64_t round; /* the last one that it has finished */
} __attribute__((aligned(64)));

struct victim {
	unsigned type;  /* virtio device ID */
	unsigned index; /* among the victims */
	unsigned slot;  /* on PCI */
	uint64_t regs;  /* where its BAR was at first, or its page of registers */
	uint32_t offered[2];
	unsigned n_queues;
};

/* What there is, as it was found before the attack. */
struct prey {
	bool mmio;
	struct victim victims[VICTIMS_MAX];
	unsigned n_victims;
	unsigned sibling_slot; /* the disk that is left alone */
	uint64_t sibling;      /* and its registers */
	uint64_t ecam;
};
extern struct prey prey;

/* --- numbers (access.c) ------------------------------------------------------ */

uint64_t any(struct attacker *a);
uint64_t below(struct attacker *a, uint64_t n); /* n > 0 */
static inline bool one_in(struct attacker *a, uint64_t n)
{
	return !below(a, n);
}
uint64_t any_value(struct attacker *a);   /* those that devices get wrong more often than others */
uint64_t any_address(struct attacker *a); /* of rings and buffers, good or bad */

/* --- accesses, each an operation --------------------------------------------- */

/* `size` is 1, 2, 4 or 8. */
void poke(struct attacker *a, uint64_t addr, unsigned size, uint64_t val);
void peek(struct attacker *a, uint64_t addr, unsigned size);
/* A register of the configuration space, by ECAM or by ports. */
void poke_config(struct attacker *a, unsigned slot, unsigned reg, unsigned size, uint64_t val);

/* One random access of the kind. */
void attack_ports(struct attacker *a);
void attack_registers(struct attacker *a);
void attack_hole(struct attacker *a);
void attack_config(struct attacker *a);
void attack_ioapic(struct attacker *a);
void attack_msrs(struct attacker *a);
void protection_init(void); /* what becomes of a #GP that these lead to */

/* --- virtio (rings.c) -------------------------------------------------------- */

/* Set up as a driver would, with something wrong now and then. */
void bring_up(struct attacker *a, const struct victim *v);
/* Set up without fault. */
void bring_up_well(struct attacker *a, const struct victim *v);
void reset(struct attacker *a, const struct victim *v);
/* A request, or nearly one, and the doorbell. */
void attack_queue(struct attacker *a, const struct victim *v);
/* Change a ring that may be in use. */
void attack_ring(struct attacker *a, const struct victim *v);
/* A status, a selector, a queue register. */
void attack_set_up(struct attacker *a, const struct victim *v);

#endif
