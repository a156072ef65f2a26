/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The direct boot protocol that Xen defined and that needs no Xen: one entry for
 * kernels of either size and of any maker, named by a note in their ELF file.
 *
 *	0x6000   hvm_start_info, version 1: where the rest is
 *	0x6040   module list: the initrd, if there is one. Linux looks at the first
 *	         entry alone, so several initrds are one module
 *	0x7000   memory map, as e820 has it
 *
 * An address of 0 means that a thing is not there. [Xen public/arch-x86/hvm/start_info.h,
 * docs/misc/pvh.pandoc]
 */
#include "firmware/pvh.h"

#include "firmware/e820.h"
#include "vmm/base/le.h"

#define START_INFO_MAGIC 0x336ec578u /* "xEn3", bit 7 of the E set */

enum { START_INFO_VERSION = 1 };

/* struct hvm_start_info. */
enum {
	INFO_MAGIC = 0,           /* 4 */
	INFO_VERSION = 4,         /* 4 */
	INFO_NR_MODULES = 12,     /* 4 */
	INFO_MODLIST_PADDR = 16,  /* 8 */
	INFO_CMDLINE_PADDR = 24,  /* 8 */
	INFO_RSDP_PADDR = 32,     /* 8 */
	INFO_MEMMAP_PADDR = 40,   /* 8 */
	INFO_MEMMAP_ENTRIES = 48, /* 4 */
	INFO_SIZE = 56,
};

/* struct hvm_modlist_entry. */
enum {
	MODULE_PADDR = 0, /* 8 */
	MODULE_SIZE = 8,  /* 8 */
	MODULE_ENTRY_SIZE = 32,
};

/* struct hvm_memmap_table_entry; the types are those of e820. */
enum {
	MEMMAP_ADDR = 0,  /* 8 */
	MEMMAP_SIZE = 8,  /* 8 */
	MEMMAP_TYPE = 16, /* 4 */
	MEMMAP_ENTRY_SIZE = 24,
};

#define MODULE_LIST (LAYOUT_START_INFO + 0x40)
#define MEMORY_MAP  LAYOUT_ZERO_PAGE

static int write_modules(const struct boot_config *c, struct guest_mem *gm)
{
	uint8_t module[MODULE_ENTRY_SIZE] = {0};

	le64_put(module + MODULE_PADDR, c->initrd);
	le64_put(module + MODULE_SIZE, c->initrd_len);
	return guest_mem_write(gm, MODULE_LIST, module, sizeof(module));
}

static int write_memory_map(const struct boot_config *c, struct guest_mem *gm, unsigned *n)
{
	uint8_t table[E820_ENTRIES_MAX * MEMMAP_ENTRY_SIZE] = {0};
	struct e820 map;

	e820_build(&map, c->board);
	for (unsigned i = 0; i < map.n; i++) {
		uint8_t *p = table + (size_t)i * MEMMAP_ENTRY_SIZE;

		le64_put(p + MEMMAP_ADDR, map.entries[i].gpa);
		le64_put(p + MEMMAP_SIZE, map.entries[i].len);
		le32_put(p + MEMMAP_TYPE, map.entries[i].type);
	}
	*n = map.n;
	return guest_mem_write(gm, MEMORY_MAP, table, (uint64_t)map.n * MEMMAP_ENTRY_SIZE);
}

int pvh_write(const struct boot_config *c, struct guest_mem *gm)
{
	uint8_t info[INFO_SIZE] = {0};
	unsigned map_entries;
	int ret = write_memory_map(c, gm, &map_entries);

	if (!ret && c->initrd_len)
		ret = write_modules(c, gm);
	if (ret)
		return ret;
	le32_put(info + INFO_MAGIC, START_INFO_MAGIC);
	le32_put(info + INFO_VERSION, START_INFO_VERSION);
	le32_put(info + INFO_NR_MODULES, c->initrd_len ? 1 : 0);
	le64_put(info + INFO_MODLIST_PADDR, c->initrd_len ? MODULE_LIST : 0);
	le64_put(info + INFO_CMDLINE_PADDR, LAYOUT_CMDLINE);
	le64_put(info + INFO_RSDP_PADDR, c->rsdp);
	le64_put(info + INFO_MEMMAP_PADDR, MEMORY_MAP);
	le32_put(info + INFO_MEMMAP_ENTRIES, map_entries);
	return guest_mem_write(gm, LAYOUT_START_INFO, info, sizeof(info));
}
