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
	assert_int_equal(k.entry, 0x1000040);
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
	assert_int_equal(k.entry, 0x1000123);
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

static void test_elf32(void **state)
{
	static const uint8_t note[] = {4, 0, 0,   0,   4,   0, 0, 0, 18, 0,
				       0, 0, 'X', 'e', 'n', 0, 0, 0, 16, 0};
	uint8_t bytes[512] = {0};
	Elf32_Ehdr eh = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, 1},
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_phoff = 64,
		.e_phnum = 1,
		.e_phentsize = sizeof(Elf32_Phdr),
	};
	Elf32_Phdr ph = {.p_type = PT_NOTE, .p_offset = 256, .p_filesz = sizeof(note)};

	memcpy(bytes, &eh, sizeof(eh));
	assert_refused(bytes, sizeof(bytes),
		       ": a 32-bit ELF without a PVH note; give a bzImage or a 64-bit vmlinux");
	memcpy(bytes + 64, &ph, sizeof(ph));
	memcpy(bytes + 256, note, sizeof(note));
	assert_refused(bytes, sizeof(bytes), "with a PVH note, which is not supported yet");
	/* A note that claims to be longer than its segment. */
	memset(bytes + 256, 0xff, 8);
	assert_refused(bytes, sizeof(bytes), "without a PVH note");
	ph.p_filesz = 0xffffffff;
	memcpy(bytes + 64, &ph, sizeof(ph));
	assert_refused(bytes, sizeof(bytes), "without a PVH note");
	memset(bytes + 28, 0xff, 4); /* e_phoff */
	assert_refused(bytes, sizeof(bytes), "without a PVH note");
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
	struct image im;

	vmlinux_make(im.b);
	for (size_t len = VMLINUX_SIZE - 1; len > 4; len--)
		assert_refused(im.b, len, len >= EI_NIDENT ? "cut short" : "neither");
}

static void test_every_header_byte_flipped(void **state)
{
	struct image im;
	struct image_file f;
	unsigned accepted = 0, refused = 0;

	vmlinux_make(im.b);
	image_file_init(&f, im.b, sizeof(im.b));
	for (size_t off = 0; off < VMLINUX_PHDRS + 3 * sizeof(Elf64_Phdr); off++) {
		for (unsigned bit = 0; bit < 9; bit++) {
			uint8_t flipped = im.b[off] ^ (uint8_t)(bit < 8 ? 1u << bit : 0xff);
			struct guest_mem gm;
			struct kernel k;
			struct err e = {0};

			image_file_put(&f, off, &flipped, 1);
			if (kernel_open(&k, f.path, &e)) {
				assert_int_equal(e.kind, ERR_USAGE);
				refused++;
			} else {
				assert_true(k.start >= 0x100000 && k.start < k.end);
				assert_true(k.entry >= k.start && k.entry < k.end);
				guest_mem_init(&gm, GUEST_MEM_ANON);
				assert_int_equal(board_map_ram(&board, &gm, &e), 0);
				if (kernel_load(&k, &board, &gm, &e))
					assert_int_equal(e.kind, ERR_USAGE);
				kernel_version(&k);
				guest_mem_fini(&gm);
				accepted++;
			}
			kernel_close(&k);
		}
		image_file_put(&f, off, &im.b[off], 1);
	}
	assert_true(accepted > 100);
	assert_true(refused > 100);
	image_file_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_virtual_entry),
		cmocka_unit_test(test_version_in_rodata),
		cmocka_unit_test(test_not_for_us),
		cmocka_unit_test(test_elf32),
		cmocka_unit_test(test_hostile_headers),
		cmocka_unit_test(test_too_many_segments),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_every_header_byte_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
