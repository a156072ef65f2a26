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

enum {
	BOARD_PCI_SLOTS = 32,
	/* On PCI, slot 0 is the bridge's; on MMIO the I/O APIC's 64 pins end it. */
	BOARD_VIRTIO_MAX = 48,
	/* Of a board on which they come and go; the registers for that have no more bits. */
	BOARD_CHANGING_CPUS_MAX = 64,
};

/* A virtio device, and where the guest finds it. */
struct board_virtio {
	const char *name; /* borrowed, outlives the board: "disk0" */
	unsigned slot;    /* on PCI */
	uint64_t base;    /* on MMIO: of LAYOUT_VIRTIO_MMIO_LEN bytes of registers */
	unsigned gsi;     /* on MMIO: edge-triggered, active high */
};

struct board {
	uint64_t ram_low;  /* bytes from 0, at most LAYOUT_HOLE */
	uint64_t ram_high; /* bytes from 4 GiB */
	/* Room for virtio-mem behind RAM, which is RAM that e820 does not have; 0 bytes: none. */
	uint64_t growth, growth_len;
	uint64_t mmio64, mmio64_len;
	unsigned cpus, cpus_max; /* APIC ids are 0 to cpus_max - 1 */
	bool serial, serial2;    /* COM1, COM2 are there */
	bool virtio_mmio;        /* virtio devices are on MMIO, and there is no PCI */
	unsigned n_hotplug;      /* on PCI: how many slots behind those of the virtio devices are
				  * for what comes later */
	unsigned n_virtio;
	struct board_virtio virtio[BOARD_VIRTIO_MAX]; /* in the order of discovery */
};

/* The room that virtio-mem has behind RAM, in bytes: what is missing to `memory_max` (>= memory),
 * in whole memory blocks of Linux, which does not use parts of them [Linux
 * drivers/virtio/virtio_mem.c]. */
uint64_t board_growth(uint64_t memory, uint64_t memory_max);

/* `memory` bytes of RAM around the hole, room behind it for what is missing to `memory_max`
 * (>= memory), and the MMIO64 window above. `address_bits`: the guest's physical address
 * width. -EINVAL and *e when the map does not fit into it. */
int board_init(struct board *b, uint64_t memory, uint64_t memory_max, unsigned cpus,
	       unsigned cpus_max, unsigned address_bits, struct err *e);

/* Give the next place to a virtio device: after b->virtio_mmio is final. -ENOSPC and *e
 * when the bus is full. */
int board_add_virtio(struct board *b, const char *name, struct err *e);

/* Leave `n` slots behind the last virtio device for what comes later; there are no more virtio
 * devices after that. -ENOTSUP on MMIO, or -ENOSPC, with *e filled. */
int board_set_hotplug(struct board *b, unsigned n, struct err *e);
/* The first of them. */
static inline unsigned board_hotplug_slot(const struct board *b)
{
	return 1 + b->n_virtio;
}

/* How many pins the I/O APIC has: the ISA's, and those of virtio-mmio devices. No more, as
 * Linux programs each at every boot. */
unsigned board_ioapic_pins(const struct board *b);

/* Map the board's RAM, the room that it has to grow included. */
int board_map_ram(const struct board *b, struct guest_mem *gm, struct err *e);
/* The same of a *gm of GUEST_MEM_FILE, from `fd` (the caller's), one region behind the other. */
int board_map_saved_ram(const struct board *b, struct guest_mem *gm, int fd, struct err *e);

/* Can processors come and go? */
static inline bool board_cpus_change(const struct board *b)
{
	return b->cpus_max > b->cpus && b->cpus_max <= BOARD_CHANGING_CPUS_MAX;
}

/* APIC ids are packed: the id is the processor's number, as the topology leaves
 * of CPUID say too (one package, one thread a core). */
static inline uint32_t board_apic_id(unsigned cpu)
{
	return cpu;
}

#endif
