/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux's boot protocols from the loader's side. They differ in the processor's mode
 * alone; both are handed the zero page:
 *
 *	0x7000   zero page (struct boot_params): the kernel's setup_header, with
 *	         our answers, and the memory map
 *	0x9000   64-bit only: page tables, the first 4 GiB where they are, in 2 MiB
 *	         pages, so that also chips below 4 GiB can be reached
 *	0xf000   setup_data: a seed for the random number generator
 *
 * [Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol", "32-bit Boot
 * Protocol"; zero-page.rst]
 */
#include "firmware/bootparams.h"

#include "firmware/e820.h"
#include "firmware/setup_header.h"
#include "vmm/base/le.h"

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

/* Where a real-mode stack and heap would end, less 0x200; nobody uses it without
 * real-mode code, but the field is obligatory. */
enum { HEAP_END = 0xfe00 };

/* Page table entries [SDM 3A 4.5]. */
enum { PTE_P = 1 << 0, PTE_RW = 1 << 1, PTE_PS = 1 << 7, PTES = 512 };

int bootparams_write_page_tables(struct guest_mem *gm)
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

int bootparams_write(const struct boot_config *c, struct guest_mem *gm)
{
	int ret = write_zero_page(gm, c);

	return ret || !c->seed ? ret : write_seed(gm, c->seed);
}
