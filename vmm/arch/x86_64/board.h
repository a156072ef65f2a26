/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board: the machine as firmware describes it to a guest: how much RAM lies
 * where, how many processors with which ids, which windows and chips. Plain
 * data and no KVM, so that ACPI tables and e820 are made and tested anywhere.
 */
#ifndef VMM_ARCH_X86_64_BOARD_H
#define VMM_ARCH_X86_64_BOARD_H

#include "vmm/arch/x86_64/layout.h"
#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"

#include <stdbool.h>
#include <stdint.h>

struct board {
	uint64_t ram_low;  /* bytes from 0, at most LAYOUT_HOLE */
	uint64_t ram_high; /* bytes from 4 GiB */
	uint64_t mmio64, mmio64_len;
	unsigned cpus, cpus_max; /* APIC ids are 0 to cpus_max - 1 */
	bool serial;             /* COM1 is there */
};

/* `memory` bytes of RAM around the hole; `memory_max` (>= memory) only moves the
 * MMIO64 window up. `address_bits`: the guest's physical address width. -EINVAL
 * and *e when the map does not fit into it. */
int board_init(struct board *b, uint64_t memory, uint64_t memory_max, unsigned cpus,
	       unsigned cpus_max, unsigned address_bits, struct err *e);

/* Map the board's RAM. */
int board_map_ram(const struct board *b, struct guest_mem *gm, struct err *e);

/* APIC ids are packed: the id is the processor's number, as the topology leaves
 * of CPUID say too (one package, one thread a core). */
static inline uint32_t board_apic_id(unsigned cpu)
{
	return cpu;
}

#endif
