/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_entry: the processor's state at the guest's first instruction, as the
 * boot protocol wants it. Firmware fills it in, vmm/arch turns it into KVM's
 * registers. Plain data, no KVM.
 */
#ifndef VMM_ARCH_X86_64_BOOT_ENTRY_H
#define VMM_ARCH_X86_64_BOOT_ENTRY_H

#include <stdint.h>

enum boot_mode {
	BOOT_MODE_LONG,      /* 64-bit, paging on, flat [Linux boot.rst, 64-bit boot protocol] */
	BOOT_MODE_PROTECTED, /* 32-bit, paging off, flat [Linux boot.rst, 32-bit; PVH] */
};

struct boot_entry {
	enum boot_mode mode;
	uint64_t rip, rsp;
	uint64_t rsi; /* Linux: the zero page */
	uint64_t rbx; /* PVH: the start info */
	uint64_t cr3; /* BOOT_MODE_LONG: the PML4 that lies in guest RAM */
	uint64_t gdt; /* null, null, flat code (selector 0x10), flat data (0x18) */
	uint16_t gdt_limit;
};

#endif
