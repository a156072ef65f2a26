/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel finds at its PVH entry, read from EBX on with the structures of Xen's
 * header, as a guest has them. */
#include "firmware/boot.h"
#include "tests/lib/kernel_image.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* [Xen public/arch-x86/hvm/start_info.h] */
struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries, reserved;
};

struct module {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

struct fixture {
	struct board board;
	struct guest_mem gm;
	struct image_file file;
	struct kernel kernel;
	struct boot_entry entry;
	struct start_info info;
	struct memmap_entry map[128];
};

static void boot(struct fixture *f, uint64_t memory, bool elf32, struct boot_config *c)
{
	static uint8_t image[VMLINUX_SIZE];
	struct err e = {0};

	memset(f, 0, sizeof(*f));
	assert_int_equal(board_init(&f->board, memory, memory, 1, 1, 40, &e), 0);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(board_map_ram(&f->board, &f->gm, &e), 0);
	/* Whatever was there before must not show through. */
	memset(guest_mem_hva(&f->gm, 0, 0x9fc00), 0xa5, 0x9fc00);
	if (elf32) {
		vmlinux32_make(image);
	} else {
		vmlinux_make(image);
		vmlinux_add_linux_notes(image);
	}
	image_file_init(&f->file, image, VMLINUX_SIZE);
	assert_int_equal(kernel_open(&f->kernel, f->file.path, &e), 0);
	assert_int_equal(kernel_choose_protocol(&f->kernel, BOOT_PVH, &e), 0);
	assert_int_equal(kernel_load(&f->kernel, &f->board, &f->gm, &e), 0);
	c->board = &f->board;
	c->kernel = &f->kernel;
	if (boot_setup(c, &f->gm, &f->entry, &e))
		fail_msg("%s", e.text);
	assert_int_equal(guest_mem_read(&f->gm, f->entry.rbx, &f->info, sizeof(f->info)), 0);
	assert_true(f->info.memmap_entries > 0);
	assert_true(f->info.memmap_entries <= ARRAY_LEN(f->map));
	assert_int_equal(guest_mem_read(&f->gm, f->info.memmap_paddr, f->map,
					f->info.memmap_entries * sizeof(f->map[0])),
			 0);
}

static void finish(struct fixture *f)
{
	kernel_close(&f->kernel);
	image_file_fini(&f->file);
	guest_mem_fini(&f->gm);
}

static void test_start_info(void **state)
{
	for (unsigned elf32 = 0; elf32 < 2; elf32++) {
		struct boot_config c = {.cmdline = "console=ttyS0", .rsdp = 0xe0000};
		struct fixture f;
		char line[14];

		boot(&f, 256 * MiB, elf32, &c);
		assert_int_equal(f.info.magic, 0x336ec578);
		assert_int_equal(f.info.version, 1);
		assert_int_equal(f.info.flags, 0);
		assert_int_equal(f.info.nr_modules, 0);
		assert_int_equal(f.info.modlist_paddr, 0);
		assert_int_equal(f.info.rsdp_paddr, 0xe0000);
		assert_int_equal(f.info.reserved, 0);
		assert_int_equal(guest_mem_read(&f.gm, f.info.cmdline_paddr, line, sizeof(line)),
				 0);
		assert_string_equal(line, "console=ttyS0");
		finish(&f);
	}
}

/* [Xen docs/misc/pvh.pandoc]: 32-bit, no paging, EBX. */
static void test_entry(void **state)
{
	struct boot_config c = {.cmdline = ""};
	struct fixture f;
	uint64_t gdt[4];

	boot(&f, 256 * MiB, false, &c);
	assert_int_equal(f.entry.mode, ENTRY_PROTECTED);
	assert_int_equal(f.entry.rip, VMLINUX_PVH_ENTRY);
	assert_int_equal(f.entry.rsi, 0);
	assert_int_equal(f.entry.cr3, 0);
	assert_int_equal(f.entry.gdt_limit, sizeof(gdt) - 1);
	assert_int_equal(guest_mem_read(&f.gm, f.entry.gdt, gdt, sizeof(gdt)), 0);
	/* Base 0, limit 4 GiB - 1, present, 32-bit, and not 64-bit [SDM 3A 3.4.5]. */
	assert_int_equal(gdt[0], 0);
	assert_true(gdt[f.entry.cs / 8] == 0x00cf9b000000ffff);
	assert_true(gdt[f.entry.ds / 8] == 0x00cf93000000ffff);
	finish(&f);
}

static void test_module(void **state)
{
	struct boot_config c = {.cmdline = "", .initrd = 0xf000000, .initrd_len = 12345};
	struct fixture f;
	struct module m;

	boot(&f, 256 * MiB, false, &c);
	assert_int_equal(f.info.nr_modules, 1);
	assert_int_equal(guest_mem_read(&f.gm, f.info.modlist_paddr, &m, sizeof(m)), 0);
	assert_int_equal(m.paddr, 0xf000000);
	assert_int_equal(m.size, 12345);
	assert_int_equal(m.cmdline_paddr, 0);
	assert_int_equal(m.reserved, 0);
	finish(&f);
}

/* The same as the zero page tells, in entries of another size. */
static void test_memory_map(void **state)
{
	static const uint64_t sizes[] = {32 * MiB, 3 * GiB, 3 * GiB + 2 * MiB, 5 * GiB};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct boot_config c = {.cmdline = ""};
		struct fixture f;
		uint64_t ram = 0, last = 0;

		boot(&f, sizes[i], false, &c);
		for (unsigned j = 0; j < f.info.memmap_entries; j++) {
			assert_true(f.map[j].size > 0);
			assert_true(f.map[j].addr >= last);
			assert_int_equal(f.map[j].reserved, 0);
			last = f.map[j].addr + f.map[j].size;
			if (f.map[j].type == 1)
				ram += f.map[j].size;
			else
				assert_int_equal(f.map[j].type, 2);
		}
		assert_int_equal(ram, sizes[i] - 0x60400);
		finish(&f);
	}
}

/* No two of the things in the first MiB share a byte. */
static void test_nothing_overlaps(void **state)
{
	struct boot_config c = {.cmdline = "x", .initrd = 0xf000000, .initrd_len = 1};
	struct fixture f;
	struct {
		uint64_t gpa, len;
	} r[8];

	boot(&f, 256 * MiB, false, &c);
	r[0].gpa = f.entry.gdt, r[0].len = f.entry.gdt_limit + 1u;
	r[1].gpa = f.entry.idt, r[1].len = f.entry.idt_limit + 1u;
	r[2].gpa = f.entry.rbx, r[2].len = sizeof(struct start_info);
	r[3].gpa = f.info.modlist_paddr, r[3].len = sizeof(struct module);
	r[4].gpa = f.info.memmap_paddr, r[4].len = sizeof(f.map); /* at its largest */
	r[5].gpa = f.entry.rsp - 0xff0, r[5].len = 0xff0;
	r[6].gpa = f.info.cmdline_paddr, r[6].len = LAYOUT_CMDLINE_MAX;
	r[7].gpa = 0x9fc00, r[7].len = 0x60400;
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		for (unsigned j = 0; j < i; j++)
			assert_false(ranges_overlap(r[i].gpa, r[i].len, r[j].gpa, r[j].len));
	finish(&f);
}

static void test_no_ram(void **state)
{
	struct boot_config c = {.cmdline = "", .initrd = 0xf000000, .initrd_len = 1};
	struct fixture f;
	struct err e = {0};
	struct guest_mem none;

	boot(&f, 256 * MiB, false, &c);
	guest_mem_init(&none, GUEST_MEM_ANON);
	assert_true(boot_setup(&c, &none, &f.entry, &e) < 0);
	assert_int_equal(e.kind, ERR_HOST);
	finish(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_info),       cmocka_unit_test(test_entry),
		cmocka_unit_test(test_module),           cmocka_unit_test(test_memory_map),
		cmocka_unit_test(test_nothing_overlaps), cmocka_unit_test(test_no_ram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
