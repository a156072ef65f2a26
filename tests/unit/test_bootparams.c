/* SPDX-License-Identifier: Apache-2.0 */
/* What a 64-bit kernel finds at its entry, read as the kernel reads it: the zero
 * page by Linux's own struct boot_params, memory through the page tables. */
#include "firmware/boot.h"
#include "firmware/e820.h"
#include "tests/lib/kernel_image.h"
#include "vmm/base/bytes.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct board board;
	struct guest_mem gm;
	struct image_file file;
	struct kernel kernel;
	struct boot_entry entry;
	struct boot_params bp;
};

static void boot(struct fixture *f, uint64_t memory, bool elf, struct boot_config *c)
{
	static uint8_t image[BZIMAGE_SIZE + VMLINUX_SIZE];
	struct err e = {0};

	memset(f, 0, sizeof(*f));
	assert_int_equal(board_init(&f->board, memory, memory, 1, 1, 40, &e), 0);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(board_map_ram(&f->board, &f->gm, &e), 0);
	if (elf)
		vmlinux_make(image);
	else
		bzimage_make(image);
	image_file_init(&f->file, image, elf ? VMLINUX_SIZE : BZIMAGE_SIZE);
	assert_int_equal(kernel_open(&f->kernel, f->file.path, &e), 0);
	assert_int_equal(kernel_load(&f->kernel, &f->board, &f->gm, &e), 0);
	c->board = &f->board;
	c->kernel = &f->kernel;
	if (boot_setup(c, &f->gm, &f->entry, &e))
		fail_msg("%s", e.text);
	assert_int_equal(guest_mem_read(&f->gm, f->entry.rsi, &f->bp, sizeof(f->bp)), 0);
}

static void finish(struct fixture *f)
{
	kernel_close(&f->kernel);
	image_file_fini(&f->file);
	guest_mem_fini(&f->gm);
}

static uint64_t load64(struct fixture *f, uint64_t gpa)
{
	uint64_t v;

	assert_int_equal(guest_mem_read(&f->gm, gpa, &v, sizeof(v)), 0);
	return v;
}

/* A processor's walk [SDM 3A 4.5.4]; gives the physical address, or fails. */
static uint64_t translate(struct fixture *f, uint64_t va)
{
	uint64_t table = f->entry.cr3;

	for (int shift = 39; shift >= 12; shift -= 9) {
		uint64_t entry = load64(f, table + (va >> shift & 511) * 8);
		uint64_t addr = entry & 0x000ffffffffff000;

		assert_int_equal(entry & 3, 3); /* present, writable */
		assert_int_equal(entry >> 52, 0);
		if (shift == 12 || (shift < 39 && entry & 1 << 7)) {
			uint64_t mask = (1ull << shift) - 1;

			assert_int_equal(addr & mask, 0);
			return addr | (va & mask);
		}
		table = addr;
	}
	return 0;
}

static void test_bzimage(void **state)
{
	struct boot_config c = {.cmdline = "console=ttyS0", .rsdp = 0xe0000};
	struct fixture f;
	char line[14];

	boot(&f, 256 * MiB, false, &c);
	assert_int_equal(f.entry.rip, 0x1000200);
	assert_int_equal(f.bp.hdr.header, 0x53726448);
	assert_int_equal(f.bp.hdr.version, 0x20f);
	assert_int_equal(f.bp.hdr.boot_flag, 0xaa55);
	assert_int_equal(f.bp.hdr.type_of_loader, 0xff);
	assert_int_equal(f.bp.hdr.loadflags & (LOADED_HIGH | CAN_USE_HEAP),
			 LOADED_HIGH | CAN_USE_HEAP);
	assert_int_equal(f.bp.hdr.heap_end_ptr, 0xfe00);
	assert_int_equal(f.bp.hdr.vid_mode, 0xffff);
	assert_int_equal(f.bp.hdr.code32_start, 0x1000000);
	assert_int_equal(f.bp.hdr.init_size, BZIMAGE_INIT_SIZE);
	assert_int_equal(f.bp.hdr.ramdisk_image, 0);
	assert_int_equal(f.bp.hdr.ramdisk_size, 0);
	assert_int_equal(f.bp.hdr.setup_data, 0);
	assert_int_equal(f.bp.acpi_rsdp_addr, 0xe0000);
	assert_int_equal(f.bp.sentinel, 0);
	assert_int_equal(f.bp.hdr.cmd_line_ptr, 0x20000);
	assert_int_equal(guest_mem_read(&f.gm, f.bp.hdr.cmd_line_ptr, line, sizeof(line)), 0);
	assert_string_equal(line, "console=ttyS0");
	finish(&f);
}

/* [boot.rst, "32-bit Boot Protocol"]: the first byte, paging off, ESI. */
static void test_linux32(void **state)
{
	struct boot_config c = {.cmdline = "x", .rsdp = 0xe0000};
	struct fixture f;
	struct err e = {0};
	uint8_t tables[6 * 4096], zeroes[sizeof(tables)] = {0};

	boot(&f, 256 * MiB, false, &c);
	assert_int_equal(kernel_choose_protocol(&f.kernel, BOOT_LINUX32, &e), 0);
	memset(guest_mem_hva(&f.gm, 0, 0x9fc00), 0, 0x9fc00);
	assert_int_equal(boot_setup(&c, &f.gm, &f.entry, &e), 0);
	assert_int_equal(f.entry.mode, ENTRY_PROTECTED);
	assert_int_equal(f.entry.rip, BZIMAGE_PREF_ADDRESS);
	assert_int_equal(f.entry.rsi, 0x7000);
	assert_int_equal(f.entry.rbx, 0); /* EBP and EDI too: there is no field for them */
	assert_int_equal(f.entry.cr3, 0);
	assert_int_equal(f.entry.cs, 0x10); /* __BOOT_CS and __BOOT_DS, 4 GiB flat */
	assert_int_equal(f.entry.ds, 0x18);
	assert_true(load64(&f, f.entry.gdt + 0x10) == 0x00cf9b000000ffff);
	assert_true(load64(&f, f.entry.gdt + 0x18) == 0x00cf93000000ffff);
	assert_int_equal(guest_mem_read(&f.gm, f.entry.rsi, &f.bp, sizeof(f.bp)), 0);
	assert_int_equal(f.bp.hdr.header, 0x53726448);
	assert_int_equal(f.bp.hdr.code32_start, BZIMAGE_PREF_ADDRESS);
	assert_int_equal(f.bp.hdr.cmd_line_ptr, 0x20000);
	assert_int_equal(f.bp.acpi_rsdp_addr, 0xe0000);
	assert_int_equal(f.bp.e820_entries, 5);
	/* No page tables that nobody would use. */
	assert_int_equal(guest_mem_read(&f.gm, 0x9000, tables, sizeof(tables)), 0);
	assert_memory_equal(tables, zeroes, sizeof(tables));
	finish(&f);
}

static void test_elf(void **state)
{
	struct boot_config c = {.cmdline = "", .initrd = 0xf000000, .initrd_len = 12345};
	struct fixture f;

	boot(&f, 256 * MiB, true, &c);
	assert_int_equal(f.entry.rip, 0x1000040);
	assert_int_equal(f.bp.hdr.header, 0x53726448);
	assert_int_equal(f.bp.hdr.boot_flag, 0xaa55);
	assert_true(f.bp.hdr.version >= 0x20c);
	assert_int_equal(f.bp.hdr.type_of_loader, 0xff);
	assert_int_equal(f.bp.hdr.cmd_line_ptr, 0x20000);
	assert_int_equal(f.bp.hdr.cmdline_size, 2047);
	assert_int_equal(f.bp.hdr.ramdisk_image, 0xf000000);
	assert_int_equal(f.bp.hdr.ramdisk_size, 12345);
	finish(&f);
}

/* The kernel's own header may lie; what a loader owns is the loader's. */
static void test_hostile_setup_data(void **state)
{
	struct boot_config c = {.cmdline = ""};
	struct fixture f;
	struct err e = {0};

	boot(&f, 256 * MiB, false, &c);
	memset(f.kernel.setup_header, 0xff, sizeof(f.kernel.setup_header));
	assert_int_equal(boot_setup(&c, &f.gm, &f.entry, &e), 0);
	assert_int_equal(guest_mem_read(&f.gm, f.entry.rsi, &f.bp, sizeof(f.bp)), 0);
	assert_int_equal(f.bp.hdr.setup_data, 0);
	assert_int_equal(f.bp.hdr.ramdisk_size, 0);
	assert_int_equal(f.bp.hdr.cmd_line_ptr, 0x20000);
	assert_int_equal(f.bp.sentinel, 0);
	assert_int_equal(f.bp.e820_entries, 5);
	finish(&f);
}

static void test_seed(void **state)
{
	uint8_t seed[BOOT_SEED_LEN], data[BOOT_SEED_LEN];
	struct boot_config c = {.cmdline = "", .seed = seed};
	struct setup_data head;
	struct fixture f;

	for (unsigned i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)(i + 1);
	boot(&f, 256 * MiB, false, &c);
	assert_int_not_equal(f.bp.hdr.setup_data, 0);
	assert_int_equal(guest_mem_read(&f.gm, f.bp.hdr.setup_data, &head, sizeof(head)), 0);
	assert_int_equal(head.next, 0);
	assert_int_equal(head.type, 9); /* SETUP_RNG_SEED */
	assert_int_equal(head.len, sizeof(seed));
	assert_int_equal(
		guest_mem_read(&f.gm, f.bp.hdr.setup_data + sizeof(head), data, sizeof(data)), 0);
	assert_memory_equal(data, seed, sizeof(seed));
	finish(&f);
}

/* Everything below 4 GiB where it is, chips included. */
static void test_page_tables(void **state)
{
	static const uint64_t addresses[] = {0,          0x7123,     0x1fffff,   0x200000,
					     0x1000200,  0x3fffffff, 0x40000000, 0xbfffffff,
					     0xfee00020, 0xffffffff};
	struct boot_config c = {.cmdline = ""};
	struct fixture f;

	boot(&f, 256 * MiB, false, &c);
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++)
		assert_int_equal(translate(&f, addresses[i]), addresses[i]);
	for (uint64_t va = 0; va < 4 * GiB; va += 2 * MiB)
		assert_int_equal(translate(&f, va), va);
	finish(&f);
}

/* The GDT as the processor takes it apart [SDM 3A 3.4.5]. */
static void test_gdt(void **state)
{
	struct boot_config c = {.cmdline = ""};
	struct fixture f;
	uint16_t selectors[2];

	boot(&f, 256 * MiB, false, &c);
	assert_int_equal(f.entry.cs, 0x10); /* __BOOT_CS and __BOOT_DS */
	assert_int_equal(f.entry.ds, 0x18);
	assert_int_equal(load64(&f, f.entry.gdt), 0);
	selectors[0] = f.entry.cs;
	selectors[1] = f.entry.ds;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t d;
		uint64_t base, limit;

		assert_true(selectors[i] + 7u <= f.entry.gdt_limit);
		d = load64(&f, f.entry.gdt + selectors[i]);
		base = (d >> 16 & 0xffffff) | (d >> 56) << 24;
		limit = (d & 0xffff) | (d >> 32 & 0xf0000);
		assert_int_equal(base, 0);
		assert_int_equal(limit, 0xfffff);
		assert_int_equal(d >> 55 & 1, 1); /* G */
		assert_int_equal(d >> 47 & 1, 1); /* P */
		assert_int_equal(d >> 45 & 3, 0); /* DPL */
		assert_int_equal(d >> 44 & 1, 1); /* S */
		assert_int_equal(d >> 40 & 0xf, i ? 0x3 : 0xb);
		assert_int_equal(d >> 53 & 1, !i); /* L */
		assert_int_equal(d >> 54 & 1, i);  /* D/B */
	}
	finish(&f);
}

/* A jump to f000:fff0 ends in a write of 6 to port 0xcf9, with no memory access. */
static void test_reset_vector(void **state)
{
	struct boot_config c = {.cmdline = ""};
	struct fixture f;
	uint8_t code[16];
	uint16_t dx = 0;
	uint8_t al = 0;
	bool out = false;

	boot(&f, 256 * MiB, false, &c);
	assert_int_equal(guest_mem_read(&f.gm, 0xffff0, code, sizeof(code)), 0);
	for (unsigned ip = 0; ip < sizeof(code) && !out;) {
		switch (code[ip]) {
		case 0xba: /* mov dx, imm16 */
			dx = (uint16_t)(code[ip + 1] | code[ip + 2] << 8);
			ip += 3;
			break;
		case 0xb0: /* mov al, imm8 */
			al = code[ip + 1];
			ip += 2;
			break;
		case 0xee: /* out dx, al */
			out = true;
			break;
		default:
			fail_msg("opcode %#x", code[ip]);
		}
	}
	assert_true(out);
	assert_int_equal(dx, 0xcf9);
	assert_int_equal(al, 6);
	finish(&f);
}

/* No two of the things in the first MiB share a byte, and all are in RAM. */
static void test_nothing_overlaps(void **state)
{
	uint8_t seed[BOOT_SEED_LEN] = {0};
	struct boot_config c = {.cmdline = "x", .seed = seed};
	struct fixture f;
	struct {
		uint64_t gpa, len;
	} r[8];

	boot(&f, 256 * MiB, false, &c);
	r[0].gpa = f.entry.gdt, r[0].len = f.entry.gdt_limit + 1u;
	r[1].gpa = f.entry.idt, r[1].len = f.entry.idt_limit + 1u;
	r[2].gpa = f.entry.rsi, r[2].len = 4096;
	r[3].gpa = f.entry.rsp - 0xff0, r[3].len = 0xff0;
	r[4].gpa = f.entry.cr3, r[4].len = 6 * 4096;
	r[5].gpa = f.bp.hdr.setup_data, r[5].len = sizeof(struct setup_data) + BOOT_SEED_LEN;
	r[6].gpa = f.bp.hdr.cmd_line_ptr, r[6].len = LAYOUT_CMDLINE_MAX;
	r[7].gpa = 0x9fc00, r[7].len = 0x60400;
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		for (unsigned j = 0; j < i; j++)
			assert_false(ranges_overlap(r[i].gpa, r[i].len, r[j].gpa, r[j].len));
	finish(&f);
}

/* Is every byte of [gpa, gpa+len) of this type (0: in no entry)? */
static bool e820_is(const struct boot_params *bp, uint64_t gpa, uint64_t len, uint32_t type)
{
	for (unsigned i = 0; i < bp->e820_entries; i++) {
		const struct boot_e820_entry *r = &bp->e820_table[i];

		if (gpa >= r->addr && gpa + len <= r->addr + r->size)
			return type == r->type;
		if (ranges_overlap(gpa, len, r->addr, r->size))
			return false;
	}
	return type == 0;
}

static void test_e820(void **state)
{
	struct boot_config c = {.cmdline = ""};
	struct fixture f;
	uint64_t ram = 0, last = 0;

	boot(&f, 5 * GiB, false, &c);
	assert_true(e820_is(&f.bp, 0, 0x9fc00, 1));
	assert_true(e820_is(&f.bp, 0x9fc00, 0x60400, 2));
	assert_true(e820_is(&f.bp, 0x100000, 3 * GiB - MiB, 1));
	assert_true(e820_is(&f.bp, 0xc0000000, 0x28000000, 0)); /* for BARs */
	assert_true(e820_is(&f.bp, 0xe8000000, 0x100000, 2));   /* ECAM */
	assert_true(e820_is(&f.bp, 0xfec00000, 0x1000, 0));
	assert_true(e820_is(&f.bp, 4 * GiB, 2 * GiB, 1));
	for (unsigned i = 0; i < f.bp.e820_entries; i++) {
		const struct boot_e820_entry *r = &f.bp.e820_table[i];

		assert_true(r->size > 0);
		assert_true(r->addr >= last);
		last = r->addr + r->size;
		if (r->type == 1)
			ram += r->size;
	}
	assert_int_equal(ram, 5 * GiB - 0x60400);
	finish(&f);
}

/* RAM sizes around the hole, a page to either side: each byte of it is listed but for
 * what lies below 1 MiB, and the last entry ends where RAM ends. */
static void test_e820_around_the_hole(void **state)
{
	enum { PAGE = 4096 };
	static const uint64_t sizes[] = {
		32 * MiB,       32 * MiB + PAGE, 3 * GiB - PAGE, 3 * GiB,
		3 * GiB + PAGE, 4 * GiB - PAGE,  4 * GiB,        4 * GiB + PAGE,
	};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct board b;
		struct e820 map;
		uint64_t ram = 0, end = 0;

		assert_int_equal(board_init(&b, sizes[i], sizes[i], 1, 1, 40, NULL), 0);
		e820_build(&map, &b);
		for (unsigned j = 0; j < map.n; j++) {
			assert_true(map.entries[j].len > 0);
			if (map.entries[j].type != E820_RAM)
				continue;
			ram += map.entries[j].len;
			end = map.entries[j].gpa + map.entries[j].len;
			assert_false(ranges_overlap(map.entries[j].gpa, map.entries[j].len, 3 * GiB,
						    GiB));
		}
		assert_int_equal(ram, sizes[i] - 0x60400);
		assert_int_equal(end, sizes[i] > 3 * GiB ? sizes[i] + GiB : sizes[i]);
	}
}

static int place(const struct kernel *k, const struct board *b, uint64_t len, uint64_t *gpa,
		 struct err *e)
{
	struct boot_initrd file = {.len = len};
	uint64_t total;
	int ret = boot_place_initrds(k, b, &file, 1, gpa, &total, e);

	assert_int_equal(total, ret ? 0 : len);
	if (!ret && len)
		assert_int_equal(file.gpa, *gpa);
	return ret;
}

static void test_initrd_place(void **state)
{
	const struct board b = {.ram_low = 256 * MiB};
	struct kernel k = {.start = 16 * MiB, .end = 64 * MiB, .initrd_addr_max = 0x7fffffff};
	struct err e = {0};
	uint64_t gpa;

	assert_int_equal(place(&k, &b, 0, &gpa, &e), 0);
	assert_int_equal(gpa, 0);
	assert_int_equal(place(&k, &b, 1, &gpa, &e), 0);
	assert_int_equal(gpa, 256 * MiB - 4096);
	assert_int_equal(place(&k, &b, 4097, &gpa, &e), 0);
	assert_int_equal(gpa, 256 * MiB - 8192);
	/* Exactly the room there is, and a byte more. */
	assert_int_equal(place(&k, &b, 192 * MiB, &gpa, &e), 0);
	assert_int_equal(gpa, 64 * MiB);
	assert_int_equal(place(&k, &b, 192 * MiB + 1, &gpa, &e), -ENOSPC);
	assert_int_equal(gpa, 0);
	assert_non_null(strstr(e.text, "--initrd"));
	assert_non_null(strstr(e.text, "--memory"));
	assert_int_equal(place(&k, &b, UINT64_MAX, &gpa, NULL), -ENOSPC);

	/* initrd_addr_max is the last byte that may be used. */
	k.initrd_addr_max = 0x7ffffff;
	assert_int_equal(place(&k, &b, 4096, &gpa, &e), 0);
	assert_int_equal(gpa, 0x7fff000);
	k.initrd_addr_max = 0x7fffffe;
	assert_int_equal(place(&k, &b, 4096, &gpa, &e), 0);
	assert_int_equal(gpa, 0x7ffe000);
	k.initrd_addr_max = 0;
	assert_int_equal(place(&k, &b, 1, &gpa, NULL), -ENOSPC);
}

/* Each from a multiple of 4, nothing between but fewer than 4 bytes, the last to the end;
 * also with files that are empty or odd. */
static void test_initrds(void **state)
{
	static const uint64_t lens[] = {1, 4, 4097, 0, 3, 512, 5};
	const struct board b = {.ram_low = 256 * MiB};
	const struct kernel k = {.start = MiB, .end = 64 * MiB, .initrd_addr_max = 0x7fffffff};
	struct boot_initrd files[ARRAY_LEN(lens)];
	struct err e = {0};
	uint64_t gpa, len, at;

	for (size_t i = 0; i < ARRAY_LEN(lens); i++)
		files[i].len = lens[i];
	assert_int_equal(boot_place_initrds(&k, &b, files, ARRAY_LEN(lens), &gpa, &len, &e), 0);
	assert_int_equal(gpa % 4096, 0);
	at = gpa;
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		assert_int_equal(files[i].gpa % 4, 0);
		assert_true(files[i].gpa >= at && files[i].gpa - at < 4);
		at = files[i].gpa + files[i].len;
	}
	assert_int_equal(at, gpa + len);
	assert_true(256 * MiB - at < 4096);

	/* The padding counts. */
	files[0].len = 96 * MiB - 3;
	files[1].len = 96 * MiB;
	assert_int_equal(boot_place_initrds(&k, &b, files, 2, &gpa, &len, &e), 0);
	assert_int_equal(gpa, 64 * MiB);
	assert_int_equal(len, 192 * MiB);
	files[0].len += 4;
	assert_int_equal(boot_place_initrds(&k, &b, files, 2, &gpa, &len, &e), -ENOSPC);
	assert_int_equal(gpa, 0);
	assert_int_equal(len, 0);
	assert_non_null(strstr(e.text, "--initrd: of 196609 KiB does not fit"));
	assert_non_null(strstr(e.text, "196608 KiB are left"));
}

/* Sums beyond 2^64. */
static void test_initrds_wrap(void **state)
{
	static const uint64_t lens[][3] = {
		{UINT64_MAX, 1, 1},
		{1, UINT64_MAX, 1},
		{1ull << 63, 1ull << 63, 4096},
		{INT64_MAX, INT64_MAX, 2},
		{4096, INT64_MAX, INT64_MAX},
		{UINT64_MAX - 2, UINT64_MAX - 2, UINT64_MAX - 2},
	};
	const struct board b = {.ram_low = 256 * MiB};
	const struct kernel k = {.start = MiB, .end = 64 * MiB, .initrd_addr_max = 0x7fffffff};

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		struct boot_initrd files[3];
		uint64_t gpa, len;

		for (unsigned j = 0; j < 3; j++)
			files[j].len = lens[i][j];
		assert_int_equal(boot_place_initrds(&k, &b, files, 3, &gpa, &len, NULL), -ENOSPC);
	}
}

static void test_no_ram(void **state)
{
	struct boot_config c = {.cmdline = ""};
	struct fixture f;
	struct err e = {0};
	struct guest_mem none;

	boot(&f, 256 * MiB, false, &c);
	guest_mem_init(&none, GUEST_MEM_ANON);
	assert_true(boot_setup(&c, &none, &f.entry, &e) < 0);
	assert_int_not_equal(e.kind, ERR_NONE);
	finish(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage),
		cmocka_unit_test(test_linux32),
		cmocka_unit_test(test_elf),
		cmocka_unit_test(test_hostile_setup_data),
		cmocka_unit_test(test_seed),
		cmocka_unit_test(test_page_tables),
		cmocka_unit_test(test_gdt),
		cmocka_unit_test(test_reset_vector),
		cmocka_unit_test(test_nothing_overlaps),
		cmocka_unit_test(test_e820),
		cmocka_unit_test(test_e820_around_the_hole),
		cmocka_unit_test(test_initrd_place),
		cmocka_unit_test(test_initrds),
		cmocka_unit_test(test_initrds_wrap),
		cmocka_unit_test(test_no_ram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
