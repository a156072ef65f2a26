/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_entry: the boot processor at the guest's first instruction, in 64-bit mode
 * [Linux boot.rst, "64-bit Boot Protocol"]. Firmware fills it in, regs turns it
 * into KVM's registers. Plain data, no KVM.
 *
 * Segments are the ones of the GDT at `gdt`: flat, base 0, limit 4 GiB - 1.
 *
 *	CR0 = PE|PG, CR4 = PAE, EFER = LME|LMA, RFLAGS = 2, all else zero
 *
 * The task register has no descriptor in the GDT: a busy 64-bit TSS of base 0
 * satisfies the processor, and the kernel loads its own.
 */
#ifndef VMM_ARCH_X86_64_BOOT_ENTRY_H
#define VMM_ARCH_X86_64_BOOT_ENTRY_H

#include <stdint.h>

struct boot_entry {
	uint64_t rip, rsi, rsp;
	uint64_t cr3;
	uint64_t gdt, idt; /* linear = physical addresses */
	uint16_t gdt_limit, idt_limit;
	uint16_t cs, ds; /* selectors: CS; and DS, ES, FS, GS, SS */
};

#endif
