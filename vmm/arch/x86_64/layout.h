/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout: the address map of the x86_64 machine, in one place.
 *
 *	0                 RAM; the first MiB as a PC has it
 *	1 MiB             the kernel
 *	3 GiB             the hole: MMIO32 window for BARs
 *	  0xd0000000      virtio-mmio, a page for each device; then there is no PCI
 *	  0xe8000000      ECAM (PCI configuration space), 1 MiB: bus 0
 *	  0xfec00000      I/O APIC
 *	  0xfee00000      local APICs
 *	4 GiB             RAM again
 *	above             what virtio-mem may plug
 *	above             MMIO64 window
 *
 * Linux, kvmtool, QEMU microvm and Firecracker agree on nearly all of these.
 */
#ifndef VMM_ARCH_X86_64_LAYOUT_H
#define VMM_ARCH_X86_64_LAYOUT_H

#include "vmm/base/bytes.h"

/* --- the first MiB ----------------------------------------------------------- */
#define LAYOUT_GDT          0x500ull
#define LAYOUT_IDT          0x520ull
#define LAYOUT_START_INFO   0x6000ull /* PVH: hvm_start_info, its modules behind it */
#define LAYOUT_ZERO_PAGE    0x7000ull /* Linux's boot_params; PVH: the memory map */
#define LAYOUT_BOOT_STACK   0x8ff0ull
#define LAYOUT_PML4         0x9000ull
#define LAYOUT_PDPT         0xa000ull
#define LAYOUT_PD           0xb000ull /* four pages: 4 GiB in 2 MiB pages */
#define LAYOUT_SETUP_DATA   0xf000ull
#define LAYOUT_CMDLINE      0x20000ull
#define LAYOUT_CMDLINE_MAX  0x10000ull
#define LAYOUT_EBDA         0x9fc00ull /* from here to 1 MiB: reserved in e820 */
#define LAYOUT_ACPI         0xe0000ull /* RSDP first, then the tables */
#define LAYOUT_ACPI_LEN     0xf000ull
#define LAYOUT_VMGENID      0xef000ull /* 16 bytes: devices/power/vmgenid.h */
#define LAYOUT_MP_POINTER   LAYOUT_EBDA
#define LAYOUT_MP_TABLE     0xf0000ull
#define LAYOUT_MP_TABLE_LEN 0x1000ull
#define LAYOUT_RESET_CODE   0xffff0ull /* the reset vector, below 1 MiB */
#define LAYOUT_KERNEL       0x100000ull

/* --- the hole ---------------------------------------------------------------- */
#define LAYOUT_HOLE            0xc0000000ull
#define LAYOUT_HOLE_END        (4 * GiB)
#define LAYOUT_MMIO32          LAYOUT_HOLE
#define LAYOUT_MMIO32_LEN      (LAYOUT_ECAM - LAYOUT_MMIO32)
#define LAYOUT_ECAM            0xe8000000ull
#define LAYOUT_ECAM_LEN        0x100000ull
#define LAYOUT_VIRTIO_MMIO     0xd0000000ull
#define LAYOUT_VIRTIO_MMIO_LEN 0x1000ull /* each */
#define LAYOUT_IOAPIC          0xfec00000ull
#define LAYOUT_IOAPIC_LEN      0x1000ull
#define LAYOUT_LAPIC           0xfee00000ull
/* VMX without unrestricted guest needs these four pages [KVM api 4.4x]. */
#define LAYOUT_IDENTITY_MAP    0xfffbc000ull
#define LAYOUT_TSS             0xfffbd000ull

/* --- above RAM --------------------------------------------------------------- */
/* Linux adds memory in blocks of 128 MiB, in guests that start with 64 GiB or more of up to 2 GiB
 * [Linux arch/x86/mm/init_64.c, probe_memory_block_size()]. */
#define LAYOUT_GROWTH_STEP  (128 * MiB)
#define LAYOUT_GROWTH_ALIGN (2 * GiB)

/* --- port I/O ---------------------------------------------------------------- */
#define LAYOUT_COM1          0x3f8
#define LAYOUT_COM1_LEN      8
#define LAYOUT_COM2          0x2f8
#define LAYOUT_COM2_LEN      8
#define LAYOUT_PVPANIC       0x505
#define LAYOUT_PVPANIC_LEN   1
#define LAYOUT_CMOS          0x70
#define LAYOUT_CMOS_LEN      2
#define LAYOUT_I8042_DATA    0x60
#define LAYOUT_I8042_STATUS  0x64
#define LAYOUT_ACPI_SLEEP    0x600 /* +0 SLEEP_CONTROL, +1 SLEEP_STATUS, +2 GED events */
#define LAYOUT_ACPI_PORT_LEN 3
#define LAYOUT_HOTPLUG       0x610 /* devices/pci/hotplug.h */
#define LAYOUT_HOTPLUG_LEN   12
#define LAYOUT_CPUS          0x620 /* devices/cpu/hotplug.h */
#define LAYOUT_CPUS_LEN      28
#define LAYOUT_PCI_CONF1     0xcf8
#define LAYOUT_RESET         0xcf9 /* inside it, byte accesses */
#define LAYOUT_RESET_LEN     1

/* --- interrupts: I/O APIC pins ------------------------------------------------ */
enum {
	LAYOUT_GSI_COM2 = 3,
	LAYOUT_GSI_COM1 = 4,
	LAYOUT_GSI_GED = 5,
	LAYOUT_GSI_VIRTIO = 16, /* and on: one for each virtio-mmio device */
	LAYOUT_IOAPIC_ID = 0,   /* its own number space in x2APIC and MADT */
};

#endif
