/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_open() and kernel_load() on ELF files: a vmlinux, what is none, and what
 * only claims to be one. */
#include "firmware/kernel.h"
#include "tests/lib/kernel_image.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct board board = {.ram_low = 64 * MiB, .cpus = 1, .cpus_max = 1};

static void assert_refused(const void *bytes, size_t len, const char *part)
{
	struct image_file f;
	struct kernel k;
	struct err e = {0};

	image_file_init(&f, bytes, len);
	assert_true(kernel_open(&k, f.path, &e) < 0);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_int_equal(k.fd, -1);
	assert_int_equal(strncmp(e.text, "--kernel ", 9), 0);
	assert_null(strchr(e.text, '\n'));
	if (!strstr(e.text, part))
		fail_msg("\"%s\" does not say \"%s\"", e.text, part);
	image_file_fini(&f);
}

static Elf64_Phdr *phdr(uint8_t *image, unsigned i)
{
	return (Elf64_Phdr *)(void *)(image + VMLINUX_PHDRS + i * sizeof(Elf64_Phdr));
}

static Elf64_Ehdr *ehdr(uint8_t *image)
{
	return (Elf64_Ehdr *)(void *)image;
}

struct image {
	_Alignas(8) uint8_t b[VMLINUX_SIZE];
};

static void test_good(void **state)
{
	struct image im;
	struct image_file f;
	struct guest_mem gm;
	struct kernel k;
	struct err e = {0};

	vmlinux_make(im.b);
	image_file_init(&f, im.b, sizeof(im.b));
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	assert_int_equal(k.kind, KERNEL_ELF);
	assert_int_equal(k.n_segments, 2);
	assert_int_equal(k.start, 0x1000000);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	assert_int_equal(k.entries[BOOT_LINUX64].gpa, 0x1000040);
	assert_false(k.entries[BOOT_PVH].there || k.entries[BOOT_LINUX32].there || k.only_32bit);
	assert_int_equal(k.end, 0x1403000);
	assert_int_equal(k.cmdline_max, 2047);
	assert_null(kernel_version(&k));

	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_int_equal(board_map_ram(&board, &gm, &e), 0);
	assert_int_equal(kernel_load(&k, &board, &gm, &e), 0);
	assert_memory_equal(guest_mem_hva(&gm, 0x1000000, 0x1000), im.b + 0x1000, 0x1000);
	assert_memory_equal(guest_mem_hva(&gm, 0x1400000, 0x800), im.b + 0x2000, 0x800);
	assert_int_equal(*(uint8_t *)guest_mem_hva(&gm, 0x1400800, 1), 0);
	assert_int_equal(*(uint8_t *)guest_mem_hva(&gm, 0x1001000, 1), 0);
	guest_mem_fini(&gm);

	assert_int_equal(kernel_load(&k, &(struct board){.ram_low = 20 * MiB}, &gm, &e), -ENOSPC);
	assert_non_null(strstr(e.text, "--memory 20M is too small for this kernel: it needs at "
				       "least 22 MiB"));
	kernel_close(&k);
	image_file_fini(&f);
}

/* Freestanding kernels are linked with a virtual entry point. */
static void test_virtual_entry(void **state)
{
	struct image im;
	struct image_file f;
	struct kernel k;
	struct err e = {0};

	vmlinux_make(im.b);
	ehdr(im.b)->e_entry = 0xffffffff81000123;
	image_file_init(&f, im.b, sizeof(im.b));
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	assert_int_equal(k.entries[BOOT_LINUX64].gpa, 0x1000123);
	kernel_close(&k);
	image_file_fini(&f);
}

/* The banner at every place around the ends of what is read at once. */
static void test_version_in_rodata(void **state)
{
	static const char text[] = "Linux version %s; Linux version 6.9.1-test (a@b) #1";
	enum { SIZE = 0x1000 + (200 << 10) };
	uint8_t *image = calloc(1, SIZE);
	struct image_file f;
	struct kernel k;
	struct err e = {0};

	assert_non_null(image);
	vmlinux_make(image);
	phdr(image, 0)->p_filesz = phdr(image, 0)->p_memsz = SIZE - 0x1000;
	phdr(image, 1)->p_type = PT_NULL;
	image_file_init(&f, image, SIZE);
	for (size_t off = 0x1000 + (63 << 10); off < 0x1000 + (65 << 10); off += 7) {
		image_file_put(&f, 0, image, SIZE);
		image_file_put(&f, off, text, sizeof(text));
		assert_int_equal(kernel_open(&k, f.path, &e), 0);
		assert_string_equal(kernel_version(&k), "6.9.1-test");
		kernel_close(&k);
	}
	/* Cut off by the end of the segment: better none than a part. */
	image_file_put(&f, 0, image, SIZE);
	image_file_put(&f, SIZE - 40, text, 40);
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	assert_null(kernel_version(&k));
	kernel_close(&k);
	image_file_fini(&f);
	free(image);
}

static void test_not_for_us(void **state)
{
	struct image im;

	vmlinux_make(im.b);
	ehdr(im.b)->e_machine = EM_AARCH64;
	assert_refused(im.b, sizeof(im.b), "an ELF for ARM64");
	vmlinux_make(im.b);
	ehdr(im.b)->e_machine = 0x1234;
	assert_refused(im.b, sizeof(im.b), "another kind of machine");
	vmlinux_make(im.b);
	im.b[EI_DATA] = ELFDATA2MSB;
	assert_refused(im.b, sizeof(im.b), "big-endian");
	vmlinux_make(im.b);
	ehdr(im.b)->e_type = ET_DYN;
	assert_refused(im.b, sizeof(im.b), "program or library");
	ehdr(im.b)->e_type = ET_REL;
	assert_refused(im.b, sizeof(im.b), "kernel module");
	vmlinux_make(im.b);
	phdr(im.b, 2)->p_type = PT_INTERP;
	assert_refused(im.b, sizeof(im.b), "an ELF program");
}

/* Opens the image and gives what was found in *k; closed again. */
static void open_good(struct kernel *k, const void *bytes)
{
	struct image_file f;
	struct err e = {0};

	image_file_init(&f, bytes, VMLINUX_SIZE);
	if (kernel_open(k, f.path, &e))
		fail_msg("%s", e.text);
	kernel_close(k);
	image_file_fini(&f);
}

/* A Linux kernel has both entries; the better one for it is taken. */
static void test_linux_with_pvh(void **state)
{
	struct image im;
	struct kernel k;
	struct err e = {0};

	vmlinux_make(im.b);
	vmlinux_add_linux_notes(im.b);
	open_good(&k, im.b);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	assert_true(k.entries[BOOT_LINUX64].there && k.entries[BOOT_PVH].there);
	assert_int_equal(k.entries[BOOT_PVH].gpa, VMLINUX_PVH_ENTRY);
	assert_int_equal(kernel_choose_protocol(&k, BOOT_PVH, &e), 0);
	assert_int_equal(k.protocol, BOOT_PVH);
	assert_int_equal(kernel_choose_protocol(&k, BOOT_LINUX32, &e), -EINVAL);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "--boot linux32: --kernel "));
	assert_non_null(strstr(e.text, "has no such entry; give linux64 or pvh"));
	assert_int_equal(k.protocol, BOOT_PVH);
}

/* Any other kernel with the note means it: its e_entry may want anything. */
static void test_pvh_kernel(void **state)
{
	uint8_t entry[4];
	struct image im;
	struct kernel k;
	size_t n;

	le32_put(entry, VMLINUX_PVH_ENTRY);
	vmlinux_make(im.b);
	n = note_put(im.b + VMLINUX_NOTES, "Xen", NOTE_PHYS32_ENTRY, entry, 4, 4);
	vmlinux_set_notes(im.b, VMLINUX_NOTES, (uint32_t)n, 4);
	open_good(&k, im.b);
	assert_int_equal(k.protocol, BOOT_PVH);
	assert_true(k.entries[BOOT_LINUX64].there);
	/* ... or be nowhere at all. */
	ehdr(im.b)->e_entry = 0;
	open_good(&k, im.b);
	assert_int_equal(k.protocol, BOOT_PVH);
	assert_false(k.entries[BOOT_LINUX64].there);
	/* FreeBSD's kernel names an interpreter that nobody runs. */
	phdr(im.b, 1)->p_type = PT_INTERP;
	open_good(&k, im.b);
	assert_int_equal(k.protocol, BOOT_PVH);
}

static void test_elf32(void **state)
{
	struct image im;
	struct kernel k;

	vmlinux32_make(im.b);
	open_good(&k, im.b);
	assert_int_equal(k.kind, KERNEL_ELF);
	assert_int_equal(k.protocol, BOOT_PVH);
	assert_false(k.entries[BOOT_LINUX64].there || k.entries[BOOT_LINUX32].there);
	assert_true(k.only_32bit);
	assert_int_equal(k.entries[BOOT_PVH].gpa, VMLINUX_PVH_ENTRY);
	assert_int_equal(k.n_segments, 2);
	assert_int_equal(k.segments[1].gpa, VMLINUX_DATA);
	assert_int_equal(k.segments[1].off, 0x2000);
	assert_int_equal(k.segments[1].filesz, VMLINUX_DATA_FILESZ);
	assert_int_equal(k.segments[1].memsz, VMLINUX_DATA_MEMSZ);
	assert_int_equal(k.end, VMLINUX_DATA + VMLINUX_DATA_MEMSZ);

	vmlinux_set_notes(im.b, VMLINUX_NOTES, 0, 4);
	assert_refused(im.b, sizeof(im.b),
		       ": a 32-bit ELF without a PVH note; give a bzImage or a 64-bit vmlinux");
	vmlinux32_make(im.b);
	im.b[EI_CLASS] = ELFCLASS64;
	assert_refused(im.b, sizeof(im.b), "its class does not go with its machine");
	vmlinux_make(im.b);
	im.b[EI_CLASS] = ELFCLASS32;
	assert_refused(im.b, sizeof(im.b), "its class does not go with its machine");
	vmlinux32_make(im.b);
	((Elf32_Ehdr *)(void *)im.b)->e_phentsize = sizeof(Elf64_Phdr);
	assert_refused(im.b, sizeof(im.b), "e_phentsize");
	vmlinux32_make(im.b);
	((Elf32_Ehdr *)(void *)im.b)->e_type = ET_REL;
	assert_refused(im.b, sizeof(im.b), "kernel module");
	vmlinux32_make(im.b);
	((Elf32_Phdr *)(void *)(im.b + VMLINUX_PHDRS))->p_paddr = 0xfffff000;
	((Elf32_Phdr *)(void *)(im.b + VMLINUX_PHDRS))->p_memsz = 0x2000;
	assert_refused(im.b, sizeof(im.b), "outside RAM");
}

static void test_hostile_notes(void **state)
{
	static const struct {
		uint32_t entry;
		const char *where;
	} outside[] = {
		{0, "page zero"},
		{0x7000, "low memory"},
		{VMLINUX_TEXT - 1, "before the image"},
		{VMLINUX_TEXT + VMLINUX_TEXT_SIZE, "between its segments"},
		{VMLINUX_DATA + VMLINUX_DATA_FILESZ, "in what is zero"},
		{VMLINUX_DATA + VMLINUX_DATA_MEMSZ, "behind it"},
		{0xfffffff0, "the BIOS"},
	};
	static const uint8_t far[8] = {0x00, 0x02, 0x00, 0x01, 0x01};
	uint8_t entry[4];
	struct image im;
	size_t n;

	for (size_t i = 0; i < ARRAY_LEN(outside); i++) {
		vmlinux32_make(im.b);
		le32_put(im.b + VMLINUX_NOTES + 16, outside[i].entry);
		assert_refused(im.b, sizeof(im.b),
			       "its PVH entry point is in none of its segments");
	}
	/* 4 GiB too far: nothing may be cut off. */
	vmlinux_make(im.b);
	n = note_put(im.b + VMLINUX_NOTES, "Xen", NOTE_PHYS32_ENTRY, far, 8, 4);
	vmlinux_set_notes(im.b, VMLINUX_NOTES, (uint32_t)n, 4);
	assert_refused(im.b, sizeof(im.b), "its PVH entry point is in none of its segments");

	vmlinux32_make(im.b);
	vmlinux_set_notes(im.b, VMLINUX_NOTES, 19, 4);
	assert_refused(im.b, sizeof(im.b), "a note is cut short");
	vmlinux_set_notes(im.b, VMLINUX_SIZE - 10, 20, 4);
	assert_refused(im.b, sizeof(im.b), "cut short");
	vmlinux_set_notes(im.b, 0xffffffff, 20, 4);
	assert_refused(im.b, sizeof(im.b), "cut short");
	vmlinux_set_notes(im.b, VMLINUX_NOTES, 0xffffffff, 4);
	assert_refused(im.b, sizeof(im.b), "cut short");

	le32_put(entry, VMLINUX_PVH_ENTRY + 4);
	vmlinux32_make(im.b);
	n = note_put(im.b + VMLINUX_NOTES + 20, "Xen", NOTE_PHYS32_ENTRY, entry, 4, 4);
	vmlinux_set_notes(im.b, VMLINUX_NOTES, 20 + (uint32_t)n, 4);
	assert_refused(im.b, sizeof(im.b), "it has two PVH notes that disagree");
}

static void test_too_many_notes(void **state)
{
	enum { SIZE = 128 << 10 };
	uint8_t *image = calloc(1, SIZE);

	assert_non_null(image);
	vmlinux32_make(image);
	vmlinux_set_notes(image, VMLINUX_SIZE, 64 << 10, 4);
	assert_refused(image, SIZE, "without a PVH note");
	vmlinux_set_notes(image, VMLINUX_SIZE, (64 << 10) + 1, 4);
	assert_refused(image, SIZE, "more than 64 KiB of notes");
	free(image);
}

static void test_hostile_headers(void **state)
{
	struct image im;

#define HOSTILE(what, part)                               \
	do {                                              \
		vmlinux_make(im.b);                       \
		what;                                     \
		assert_refused(im.b, sizeof(im.b), part); \
	} while (0)
	HOSTILE(ehdr(im.b)->e_phoff = UINT64_MAX - 8, "cut short");
	HOSTILE(ehdr(im.b)->e_phoff = VMLINUX_SIZE, "cut short");
	HOSTILE(ehdr(im.b)->e_phnum = 0, "e_phnum");
	HOSTILE(ehdr(im.b)->e_phnum = 0xffff, "e_phnum");
	HOSTILE(ehdr(im.b)->e_phentsize = 32, "e_phentsize");
	HOSTILE(ehdr(im.b)->e_shoff = UINT64_MAX, "cut short");
	HOSTILE(ehdr(im.b)->e_entry = 0, "entry point");
	HOSTILE(ehdr(im.b)->e_entry = UINT64_MAX, "entry point");
	HOSTILE(ehdr(im.b)->e_entry = VMLINUX_DATA + VMLINUX_DATA_FILESZ, "entry point");
	HOSTILE(phdr(im.b, 0)->p_filesz = UINT64_MAX, "larger in the file");
	HOSTILE(phdr(im.b, 0)->p_offset = UINT64_MAX, "cut short");
	HOSTILE(phdr(im.b, 0)->p_offset = UINT64_MAX - 0xfff, "cut short");
	HOSTILE(phdr(im.b, 1)->p_memsz = UINT64_MAX, "outside RAM");
	HOSTILE(phdr(im.b, 1)->p_paddr = UINT64_MAX, "outside RAM");
	/* Good, but for the upper half. */
	HOSTILE(ehdr(im.b)->e_phoff += 1ull << 32, "cut short");
	HOSTILE(ehdr(im.b)->e_shoff += 1ull << 32, "cut short");
	HOSTILE(ehdr(im.b)->e_entry += 1ull << 32, "entry point");
	HOSTILE(phdr(im.b, 0)->p_filesz += 1ull << 32, "larger in the file");
	HOSTILE(phdr(im.b, 0)->p_offset += 1ull << 32, "cut short");
	HOSTILE(phdr(im.b, 1)->p_memsz += 1ull << 50, "outside RAM");
	HOSTILE(phdr(im.b, 1)->p_paddr += 1ull << 50, "outside RAM");
	HOSTILE(phdr(im.b, 1)->p_paddr = 0xc0000000, "outside RAM");
	HOSTILE(phdr(im.b, 1)->p_paddr = 0x7000, "below 1 MiB");
	HOSTILE(phdr(im.b, 1)->p_paddr = 0xfffff, "below 1 MiB");
	HOSTILE(phdr(im.b, 1)->p_paddr = VMLINUX_TEXT, "overlap");
	HOSTILE(phdr(im.b, 1)->p_paddr = VMLINUX_TEXT + 0xfff, "overlap");
	HOSTILE(phdr(im.b, 1)->p_paddr = VMLINUX_TEXT - VMLINUX_DATA_MEMSZ + 1, "overlap");
	HOSTILE((phdr(im.b, 0)->p_type = PT_NULL, phdr(im.b, 1)->p_type = PT_NULL),
		"nothing to load");
#undef HOSTILE
}

static void test_too_many_segments(void **state)
{
	static uint8_t image[0x4000];

	vmlinux_make(image);
	ehdr(image)->e_phnum = 200;
	ehdr(image)->e_phoff = 0x800;
	for (unsigned i = 0; i < 200; i++) {
		Elf64_Phdr ph = {
			.p_type = PT_LOAD,
			.p_offset = 0x1000,
			.p_paddr = 0x1000000 + i * 0x1000,
			.p_filesz = 0x100,
			.p_memsz = 0x100,
		};

		memcpy(image + 0x800 + i * sizeof(ph), &ph, sizeof(ph));
	}
	assert_refused(image, sizeof(image), "too many segments");
}

static void test_every_truncation(void **state)
{
	static void (*const make[])(uint8_t *) = {vmlinux_make, vmlinux32_make};
	struct image im;

	for (size_t i = 0; i < ARRAY_LEN(make); i++) {
		make[i](im.b);
		for (size_t len = VMLINUX_SIZE - 1; len > 4; len--)
			assert_refused(im.b, len, len >= EI_NIDENT ? "cut short" : "neither");
	}
}

/* Every bit of [off, off+len), one at a time: refused in words, or good to load. */
static void flip_bits(struct image_file *f, const uint8_t *image, size_t off, size_t len,
		      unsigned *accepted, unsigned *refused)
{
	for (size_t end = off + len; off < end; off++) {
		for (unsigned bit = 0; bit < 9; bit++) {
			uint8_t flipped = image[off] ^ (uint8_t)(bit < 8 ? 1u << bit : 0xff);
			struct guest_mem gm;
			struct kernel k;
			struct err e = {0};

			image_file_put(f, off, &flipped, 1);
			if (kernel_open(&k, f->path, &e)) {
				assert_int_equal(e.kind, ERR_USAGE);
				++*refused;
			} else {
				assert_true(k.start >= 0x100000 && k.start < k.end);
				assert_true(k.entries[k.protocol].there);
				assert_true(k.entries[k.protocol].gpa >= k.start);
				assert_true(k.entries[k.protocol].gpa < k.end);
				guest_mem_init(&gm, GUEST_MEM_ANON);
				assert_int_equal(board_map_ram(&board, &gm, &e), 0);
				if (kernel_load(&k, &board, &gm, &e))
					assert_int_equal(e.kind, ERR_USAGE);
				kernel_version(&k);
				guest_mem_fini(&gm);
				++*accepted;
			}
			kernel_close(&k);
		}
		image_file_put(f, off, &image[off], 1);
	}
}

static void test_every_header_bit_flipped(void **state)
{
	unsigned accepted = 0, refused = 0;
	struct image im;
	struct image_file f;

	for (unsigned elf32 = 0; elf32 < 2; elf32++) {
		vmlinux_make(im.b);
		vmlinux_add_linux_notes(im.b);
		if (elf32)
			vmlinux32_make(im.b);
		image_file_init(&f, im.b, sizeof(im.b));
		flip_bits(&f, im.b, 0, VMLINUX_PHDRS + 3 * sizeof(Elf64_Phdr), &accepted, &refused);
		flip_bits(&f, im.b, VMLINUX_NOTES, 64, &accepted, &refused);
		image_file_fini(&f);
	}
	assert_true(accepted > 200);
	assert_true(refused > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_virtual_entry),
		cmocka_unit_test(test_version_in_rodata),
		cmocka_unit_test(test_not_for_us),
		cmocka_unit_test(test_linux_with_pvh),
		cmocka_unit_test(test_pvh_kernel),
		cmocka_unit_test(test_elf32),
		cmocka_unit_test(test_hostile_notes),
		cmocka_unit_test(test_too_many_notes),
		cmocka_unit_test(test_hostile_headers),
		cmocka_unit_test(test_too_many_segments),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_every_header_bit_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
