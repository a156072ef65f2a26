/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 64-bit boot protocol, from the loader's side. In the first MiB:
 *
 *	0x500    GDT: null, unused, code, data
 *	0x7000   zero page (struct boot_params): the kernel's setup_header, with
 *	         our answers, and the memory map
 *	0x8ff0   a stack, until the kernel has its own
 *	0x9000   page tables: the first 4 GiB where they are, in 2 MiB pages, so
 *	         that also chips below 4 GiB can be reached
 *	0xf000   setup_data: a seed for the random number generator
 *	0x20000  command line
 *	0xffff0  reset vector
 *
 * All but the last of it is in RAM that e820 calls free: the kernel copies what it wants before
 * it frees the rest. [Linux Documentation/arch/x86/boot.rst, "64-bit Boot
 * Protocol"; zero-page.rst]
 */
#include "firmware/bootparams.h"

#include "firmware/e820.h"
#include "firmware/setup_header.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <string.h>

enum { PAGE = 4096 };

/* Fields of the zero page outside of setup_header [zero-page.rst]. */
enum {
	ZP_ACPI_RSDP_ADDR = 0x070, /* 8 */
	ZP_E820_ENTRIES = 0x1e8,   /* 1 */
	ZP_E820_TABLE = 0x2d0,     /* 20 for each entry */
	ZP_E820_ENTRY_SIZE = 20,
};

/* struct setup_data: next u64, type u32, len u32, then the data. */
enum {
	SETUP_DATA_HEADER = 16,
	SETUP_RNG_SEED = 9,
};

/* Between the page tables and the command line. */

/* f000:fff0, where an x86 processor starts [SDM 3A 10.1.4]; in the last 16 bytes of the
 * first MiB, which e820 reserves. */

/* Where a real-mode stack and heap would end, less 0x200; nobody uses it in the
 * 64-bit protocol, but the field is obligatory. */
enum { HEAP_END = 0xfe00 };

/* Selectors that the protocol prescribes: __BOOT_CS and __BOOT_DS. */
enum { BOOT_CS = 0x10, BOOT_DS = 0x18, GDT_ENTRIES = 4 };

/* Flat descriptors [SDM 3A 3.4.5]: base 0, limit 0xfffff pages, DPL 0, present,
 * accessed, so that the processor need not write to the table. */
#define GDT_CODE64 0x00af9b000000ffffull /* L, execute/read */
#define GDT_DATA   0x00cf93000000ffffull /* D/B, read/write */

/* Page table entries [SDM 3A 4.5]. */
enum { PTE_P = 1 << 0, PTE_RW = 1 << 1, PTE_PS = 1 << 7, PTES = 512 };

int boot_place_initrd(const struct kernel *k, const struct board *b, uint64_t len, uint64_t *gpa,
		      struct err *e)
{
	uint64_t top = b->ram_low;

	*gpa = 0;
	if (!len)
		return 0;
	if (top > k->initrd_addr_max + 1)
		top = k->initrd_addr_max + 1;
	if (len <= top)
		*gpa = align_down(top - len, PAGE);
	if (len > top || *gpa < k->end) {
		uint64_t room = top > k->end ? top - k->end : 0;

		*gpa = 0;
		return err_usage(
			e, -ENOSPC,
			"--initrd: of %lu KiB does not fit above the kernel, where %lu KiB "
			"are left; give more --memory",
			(len + KiB - 1) / KiB, align_down(room, PAGE) / KiB);
	}
	return 0;
}

static int write_gdt(struct guest_mem *gm, struct boot_entry *entry)
{
	uint8_t gdt[GDT_ENTRIES * 8] = {0};

	le64_put(gdt + BOOT_CS, GDT_CODE64);
	le64_put(gdt + BOOT_DS, GDT_DATA);
	entry->gdt = LAYOUT_GDT;
	entry->gdt_limit = sizeof(gdt) - 1;
	entry->idt = LAYOUT_IDT;
	entry->idt_limit = 0; /* no handler until the kernel has loaded its own */
	entry->cs = BOOT_CS;
	entry->ds = BOOT_DS;
	return guest_mem_write(gm, LAYOUT_GDT, gdt, sizeof(gdt));
}

static int write_page_tables(struct guest_mem *gm, struct boot_entry *entry)
{
	uint8_t table[PAGE] = {0};
	int ret;

	le64_put(table, LAYOUT_PDPT | PTE_P | PTE_RW);
	ret = guest_mem_write(gm, LAYOUT_PML4, table, 8);
	for (unsigned i = 0; i < 4; i++)
		le64_put(table + i * 8, (LAYOUT_PD + i * PAGE) | PTE_P | PTE_RW);
	if (!ret)
		ret = guest_mem_write(gm, LAYOUT_PDPT, table, 4 * 8);
	for (uint64_t i = 0; !ret && i < 4 * PTES; i++) {
		le64_put(table + i % PTES * 8, i * 2 * MiB | PTE_P | PTE_RW | PTE_PS);
		if (i % PTES == PTES - 1)
			ret = guest_mem_write(gm, LAYOUT_PD + i / PTES * PAGE, table, PAGE);
	}
	entry->cr3 = LAYOUT_PML4;
	return ret;
}

static void put_e820(uint8_t *zero, const struct board *b)
{
	struct e820 map;

	e820_build(&map, b);
	zero[ZP_E820_ENTRIES] = (uint8_t)map.n;
	for (unsigned i = 0; i < map.n; i++) {
		uint8_t *p = zero + ZP_E820_TABLE + (size_t)i * ZP_E820_ENTRY_SIZE;

		le64_put(p, map.entries[i].gpa);
		le64_put(p + 8, map.entries[i].len);
		le32_put(p + 16, map.entries[i].type);
	}
}

static int write_zero_page(struct guest_mem *gm, const struct boot_config *c)
{
	uint8_t zero[PAGE] = {0};

	memcpy(zero + SETUP_HEADER, c->kernel->setup_header, sizeof(c->kernel->setup_header));
	le16_put(zero + HDR_VID_MODE, HDR_VID_MODE_NORMAL);
	zero[HDR_TYPE_OF_LOADER] = HDR_LOADER_UNDEFINED;
	zero[HDR_LOADFLAGS] |= HDR_CAN_USE_HEAP;
	le16_put(zero + HDR_HEAP_END_PTR, HEAP_END);
	le32_put(zero + HDR_CODE32_START, (uint32_t)c->kernel->start);
	le32_put(zero + HDR_RAMDISK_IMAGE, (uint32_t)c->initrd);
	le32_put(zero + HDR_RAMDISK_SIZE, (uint32_t)c->initrd_len);
	le32_put(zero + HDR_CMD_LINE_PTR, (uint32_t)LAYOUT_CMDLINE);
	le64_put(zero + HDR_SETUP_DATA, c->seed ? LAYOUT_SETUP_DATA : 0);
	le64_put(zero + ZP_ACPI_RSDP_ADDR, c->rsdp);
	put_e820(zero, c->board);
	return guest_mem_write(gm, LAYOUT_ZERO_PAGE, zero, sizeof(zero));
}

static int write_seed(struct guest_mem *gm, const uint8_t *seed)
{
	uint8_t data[SETUP_DATA_HEADER + BOOT_SEED_LEN] = {0};

	le32_put(data + 8, SETUP_RNG_SEED);
	le32_put(data + 12, BOOT_SEED_LEN);
	memcpy(data + SETUP_DATA_HEADER, seed, BOOT_SEED_LEN);
	return guest_mem_write(gm, LAYOUT_SETUP_DATA, data, sizeof(data));
}

/*
 * What a guest finds where the BIOS would start, in 16-bit code: a write of RESET_VALUE
 * to the reset port. Linux jumps there when it restarts a machine that is
 * HW-reduced and has no EFI, without trying ACPI first (arch/x86/kernel/reboot.c,
 * efi_reboot_required), unless reboot= says otherwise; in zeroed RAM it would run in
 * circles for ever.
 */
static int write_reset_vector(struct guest_mem *gm)
{
	static const uint8_t code[] = {
		0xba,
		LAYOUT_RESET & 0xff,
		LAYOUT_RESET >> 8, /* mov dx, 0xcf9 */
		0xb0,
		0x06, /* mov al, 6 */
		0xee, /* out dx, al */
		0xf4, /* hlt */
		0xeb,
		0xfd, /* jmp to the hlt */
	};

	return guest_mem_write(gm, LAYOUT_RESET_CODE, code, sizeof(code));
}

int boot_setup(const struct boot_config *c, struct guest_mem *gm, struct boot_entry *entry,
	       struct err *e)
{
	size_t cmdline_len = strlen(c->cmdline) + 1;
	int ret;

	if (cmdline_len > LAYOUT_CMDLINE_MAX)
		return err_usage(e, -E2BIG, "the kernel's command line is %zu bytes; %lu fit",
				 cmdline_len - 1, (uint64_t)LAYOUT_CMDLINE_MAX - 1);
	*entry = (struct boot_entry){
		.rip = c->kernel->entry,
		.rsi = LAYOUT_ZERO_PAGE,
		.rsp = LAYOUT_BOOT_STACK,
	};
	ret = write_gdt(gm, entry);
	if (!ret)
		ret = write_page_tables(gm, entry);
	if (!ret)
		ret = write_zero_page(gm, c);
	if (!ret && c->seed)
		ret = write_seed(gm, c->seed);
	if (!ret)
		ret = write_reset_vector(gm);
	if (!ret)
		ret = guest_mem_write(gm, LAYOUT_CMDLINE, c->cmdline, cmdline_len);
	if (ret)
		return err_host(e, ret, "cannot write boot data to guest RAM: %s", strerror(-ret));
	return 0;
}
