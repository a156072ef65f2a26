/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_entry: the boot processor at the guest's first instruction. Firmware fills it
 * in, regs turns it into KVM's registers. Plain data, no KVM.
 *
 *	mode             CR0          CR4   EFER      CS
 *	ENTRY_LONG       PE|ET|PG     PAE   LME|LMA   64-bit
 *	ENTRY_PROTECTED  PE|ET        0     0         32-bit
 *
 * Segments are the ones of the GDT at `gdt`: flat, base 0, limit 4 GiB - 1. RFLAGS = 2,
 * so interrupts are off; all else is zero. [Linux boot.rst, "64-bit Boot Protocol",
 * "32-bit Boot Protocol"; Xen docs/misc/pvh.pandoc]
 *
 * The task register has no descriptor in the GDT: a busy TSS of base 0 and limit 0x67
 * satisfies the processor and is what PVH wants; the kernel loads its own.
 */
#ifndef VMM_ARCH_X86_64_BOOT_ENTRY_H
#define VMM_ARCH_X86_64_BOOT_ENTRY_H

#include <stdint.h>

enum entry_mode {
	ENTRY_LONG,      /* 64-bit, paging on: `cr3` */
	ENTRY_PROTECTED, /* 32-bit, paging off */
};

struct boot_entry {
	enum entry_mode mode;
	uint64_t rip, rbx, rsi, rsp;
	uint64_t cr3;
	uint64_t gdt, idt; /* linear = physical addresses */
	uint16_t gdt_limit, idt_limit;
	uint16_t cs, ds; /* selectors: CS; and DS, ES, FS, GS, SS */
};

#endif
