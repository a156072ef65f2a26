/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_open() and kernel_load() on bzImages, good, foreign and hostile. With
 * MINIVMM_TEST_KERNEL=/boot/vmlinuz-... a real one as well. */
#include "firmware/kernel.h"
#include "tests/lib/kernel_image.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const struct board board = {.ram_low = 64 * MiB, .cpus = 1, .cpus_max = 1};

/* One line, that names the option and the file. */
static void assert_usage(const struct err *e, const char *part)
{
	assert_int_equal(e->kind, ERR_USAGE);
	assert_true(e->code < 0);
	assert_null(strchr(e->text, '\n'));
	assert_true(!strncmp(e->text, "--kernel ", 9) || !strncmp(e->text, "--memory ", 9));
	if (!strstr(e->text, part))
		fail_msg("\"%s\" does not say \"%s\"", e->text, part);
}

static void assert_refused(const char *path, const char *part)
{
	struct kernel k;
	struct err e = {0};

	assert_true(kernel_open(&k, path, &e) < 0);
	assert_usage(&e, part);
	assert_int_equal(k.fd, -1);
	kernel_close(&k);
}

static void assert_bytes_refused(const void *bytes, size_t len, const char *part)
{
	struct image_file f;

	image_file_init(&f, bytes, len);
	assert_refused(f.path, part);
	image_file_fini(&f);
}

/* What must hold of every kernel that was accepted, whatever its file says. */
static void assert_sane(const struct kernel *k)
{
	uint64_t entry = k->entries[k->protocol].gpa;
	bool entry_inside = false;

	assert_true(k->n_segments >= 1 && k->n_segments <= KERNEL_SEGMENTS_MAX);
	assert_true(k->start >= 0x100000);
	assert_true(k->start < k->end);
	for (unsigned i = 0; i < k->n_segments; i++) {
		const struct kernel_segment *s = &k->segments[i];

		assert_true(s->filesz <= s->memsz);
		assert_true(s->off <= k->file_size && s->filesz <= k->file_size - s->off);
		assert_true(s->gpa >= k->start && s->gpa + s->memsz <= k->end);
		entry_inside |= entry >= s->gpa && entry - s->gpa < s->filesz;
	}
	assert_true(entry_inside);
	assert_non_null(memchr(k->version, 0, sizeof(k->version)));
}

static void test_good(void **state)
{
	uint8_t image[BZIMAGE_SIZE];
	struct image_file f;
	struct guest_mem gm;
	struct kernel k;
	struct err e = {0};
	const uint8_t *ram;

	bzimage_make(image);
	image_file_init(&f, image, sizeof(image));
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	assert_sane(&k);
	assert_int_equal(k.kind, KERNEL_BZIMAGE);
	assert_int_equal(k.start, 0x1000000);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	assert_int_equal(k.entries[BOOT_LINUX64].gpa, 0x1000200);
	assert_int_equal(k.end, 0x1300000);
	assert_int_equal(k.cmdline_max, 2047);
	assert_int_equal(k.initrd_addr_max, 0x7fffffff);
	assert_string_equal(kernel_version(&k), "6.1.0-56-cloud-amd64");

	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_int_equal(board_map_ram(&board, &gm, &e), 0);
	assert_int_equal(kernel_load(&k, &board, &gm, &e), 0);
	ram = guest_mem_hva(&gm, 0x1000000, BZIMAGE_KERNEL_SIZE + 1);
	assert_memory_equal(ram, image + BZIMAGE_SETUP_SIZE, BZIMAGE_KERNEL_SIZE);
	assert_int_equal(ram[BZIMAGE_KERNEL_SIZE], 0);
	guest_mem_fini(&gm);
	kernel_close(&k);
	kernel_close(&k);
	image_file_fini(&f);
}

/* What sbsign appends is part of the file and not of the kernel. */
static void test_signature_is_not_loaded(void **state)
{
	uint8_t image[BZIMAGE_SIZE + 64];
	struct image_file f;
	struct kernel k;
	struct err e = {0};
	uint8_t *opt = image + 0x40 + 24;

	bzimage_make(image);
	memset(image + BZIMAGE_SIZE, 0x55, 64);
	memcpy(image, "MZ", 2);
	le32_put(image + 0x3c, 0x40);
	memcpy(image + 0x40, "PE\0\0", 4);
	le16_put(opt, 0x20b);
	le32_put(opt + 108, 6);
	le32_put(opt + 112 + 4 * 8, BZIMAGE_SIZE);
	le32_put(opt + 112 + 4 * 8 + 4, 64);
	image_file_init(&f, image, sizeof(image));
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	assert_int_equal(k.segments[0].filesz, BZIMAGE_KERNEL_SIZE);
	kernel_close(&k);
	for (size_t len = BZIMAGE_SIZE + 63; len >= BZIMAGE_SIZE; len--) {
		image_file_cut(&f, len);
		assert_refused(f.path, "cut short");
	}
	image_file_fini(&f);
}

static void test_no_pref_address(void **state)
{
	uint8_t image[BZIMAGE_SIZE];
	struct image_file f;
	struct kernel k;
	struct err e = {0};

	bzimage_make(image);
	le64_put(image + 0x258, 0);
	image_file_init(&f, image, sizeof(image));
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	assert_int_equal(k.start, 0x200000); /* 1 MiB, aligned */
	kernel_close(&k);
	image[0x234] = 0; /* not relocatable: the alignment is not ours to judge */
	image_file_put(&f, 0, image, sizeof(image));
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	assert_int_equal(k.start, 0x100000);
	kernel_close(&k);
	image_file_fini(&f);
}

static void test_no_file(void **state)
{
	char dir[] = "bzimage-test-XXXXXX", fifo[64];

	assert_refused("/nonexistent/vmlinuz", "No such file");
	assert_refused("/", "directory");
	assert_refused("/dev/null", "regular file");
	assert_refused("/dev/zero", "regular file");
	assert_bytes_refused("", 0, "empty");

	assert_non_null(mkdtemp(dir));
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	alarm(5); /* not one second of it is needed */
	assert_refused(fifo, "regular file");
	alarm(0);
	unlink(fifo);
	rmdir(dir);
}

static void test_foreign_files(void **state)
{
	static const struct {
		size_t off, len;
		const char *magic, *says;
	} files[] = {
		{0, 3, "\x1f\x8b\x08", "gzip"},
		{0, 6, "\xfd\x37zXZ\0", "xz"},
		{0, 4, "\x28\xb5\x2f\xfd", "zstd"},
		{0x38, 4, "ARM\x64", "ARM64"},
		{0x38, 4, "RSC\x05", "RISC-V"},
		{0, 6, "070701", "--initrd"},
		{0, 4, "QFI\xfb", "--disk"},
		{0, 9, "#!/bin/sh", "script"},
		{0x1fe, 2, "\x55\xaa", "neither a bzImage nor an ELF"},
	};

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		uint8_t bytes[1024] = {0};

		memcpy(bytes + files[i].off, files[i].magic, files[i].len);
		assert_bytes_refused(bytes, sizeof(bytes), files[i].says);
	}
	assert_bytes_refused("x", 1, "neither");
}

static void test_unsupported(void **state)
{
	uint8_t image[BZIMAGE_SIZE];

	bzimage_make(image);
	le16_put(image + 0x206, 0x0209);
	assert_bytes_refused(image, sizeof(image), "boot protocol 2.09; 2.10 (Linux 2.6.31)");
	bzimage_make(image);
	image[0x211] = 0;
	assert_bytes_refused(image, sizeof(image), "LOADED_HIGH");
}

/* Which entry: the 64-bit one where the header has it, the first byte otherwise. */
static void test_entries(void **state)
{
	static const struct {
		uint16_t version, xloadflags;
		bool has64, only_32bit;
	} cases[] = {
		{0x020f, 0x003f, true, false},  {0x020c, 0x0001, true, false},
		{0x020f, 0x0000, false, true},  {0x020c, 0xfffe, false, true},
		{0x020b, 0xffff, false, false}, /* the field means nothing yet */
		{0x020a, 0x0000, false, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t image[BZIMAGE_SIZE];
		struct image_file f;
		struct kernel k;
		struct err e = {0};

		bzimage_make(image);
		le16_put(image + 0x206, cases[i].version);
		le16_put(image + 0x236, cases[i].xloadflags);
		image_file_init(&f, image, sizeof(image));
		assert_int_equal(kernel_open(&k, f.path, &e), 0);
		assert_int_equal(k.protocol, cases[i].has64 ? BOOT_LINUX64 : BOOT_LINUX32);
		assert_int_equal(k.only_32bit, cases[i].only_32bit);
		assert_int_equal(k.entries[BOOT_LINUX64].there, cases[i].has64);
		assert_true(k.entries[BOOT_LINUX32].there);
		assert_int_equal(k.entries[BOOT_LINUX32].gpa, BZIMAGE_PREF_ADDRESS);
		assert_false(k.entries[BOOT_PVH].there);
		assert_int_equal(kernel_choose_protocol(&k, BOOT_LINUX32, &e), 0);
		assert_int_equal(kernel_choose_protocol(&k, BOOT_PVH, &e), -EINVAL);
		assert_non_null(strstr(e.text, cases[i].has64 ? "; give linux64 or linux32"
							      : "; give linux32"));
		kernel_close(&k);
		image_file_fini(&f);
	}
}

static void test_hostile_fields(void **state)
{
	static const struct {
		unsigned off, size;
		uint64_t val;
		const char *says;
	} fields[] = {
		{0x1f1, 1, 0xff, "cut short"},       /* setup_sects */
		{0x1f4, 4, 0xffffffff, "cut short"}, /* syssize */
		{0x1f4, 4, 0, "syssize"},
		{0x1f4, 4, 0x20, "syssize"},
		{0x201, 1, 0, "impossible length"},
		{0x201, 1, 0x61, "impossible length"},
		{0x201, 1, 0xff, "impossible length"},
		{0x230, 4, 0, "power of two"}, /* kernel_alignment */
		{0x230, 4, 3, "power of two"},
		{0x258, 8, UINT64_MAX, "outside RAM"}, /* pref_address */
		{0x258, 8, UINT64_MAX - 0xfff, "outside RAM"},
		{0x258, 8, 0x1000, "outside RAM"},
		{0x258, 8, 0xc0000000, "outside RAM"},
		{0x258, 8, 0x1000001, "not aligned"},
		{0x260, 4, 0, "init_size"},
		{0x260, 4, BZIMAGE_KERNEL_SIZE - 1, "init_size"},
	};

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		uint8_t image[BZIMAGE_SIZE], v[8];

		bzimage_make(image);
		le64_put(v, fields[i].val);
		memcpy(image + fields[i].off, v, fields[i].size);
		assert_bytes_refused(image, sizeof(image), fields[i].says);
	}
}

static void test_every_truncation(void **state)
{
	uint8_t image[BZIMAGE_SIZE];
	struct image_file f;

	bzimage_make(image);
	image_file_init(&f, image, sizeof(image));
	for (size_t len = BZIMAGE_SIZE - 1; len > 0; len--) {
		image_file_cut(&f, len);
		assert_refused(f.path, len >= 0x206 ? "cut short" : "neither");
	}
	image_file_fini(&f);
}

/* A file that shrinks after it was judged. */
static void test_cut_before_load(void **state)
{
	uint8_t image[BZIMAGE_SIZE];
	struct image_file f;
	struct guest_mem gm;
	struct kernel k;
	struct err e = {0};

	bzimage_make(image);
	image_file_init(&f, image, sizeof(image));
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	image_file_cut(&f, BZIMAGE_SIZE - 1);
	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_int_equal(board_map_ram(&board, &gm, &e), 0);
	assert_int_equal(kernel_load(&k, &board, &gm, &e), -ENODATA);
	assert_usage(&e, "cut short");
	guest_mem_fini(&gm);
	kernel_close(&k);
	image_file_fini(&f);
}

static void test_memory_too_small(void **state)
{
	const struct board small = {.ram_low = 18 * MiB}, enough = {.ram_low = 19 * MiB};
	uint8_t image[BZIMAGE_SIZE];
	struct image_file f;
	struct guest_mem gm;
	struct kernel k;
	struct err e = {0};

	bzimage_make(image);
	image_file_init(&f, image, sizeof(image));
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_int_equal(board_map_ram(&enough, &gm, &e), 0);
	assert_int_equal(kernel_load(&k, &small, &gm, &e), -ENOSPC);
	assert_usage(&e, "--memory 18M is too small for this kernel: it needs at least 20 MiB");
	e = (struct err){0};
	assert_int_equal(kernel_load(&k, &enough, &gm, &e), 0);

	/* The largest init_size there can be: no board is large enough. */
	kernel_close(&k);
	le32_put(image + 0x260, UINT32_MAX);
	image_file_put(&f, 0, image, sizeof(image));
	assert_int_equal(kernel_open(&k, f.path, &e), 0);
	assert_true(kernel_load(&k, &(struct board){.ram_low = LAYOUT_HOLE}, &gm, &e) < 0);
	assert_usage(&e, "damaged");
	guest_mem_fini(&gm);
	kernel_close(&k);
	image_file_fini(&f);
}

/* Every byte before the kernel part, each of its bits and all of them. */
static void test_every_header_byte_flipped(void **state)
{
	uint8_t image[BZIMAGE_SIZE];
	struct image_file f;
	struct guest_mem gm;
	unsigned accepted = 0, refused = 0;

	bzimage_make(image);
	image_file_init(&f, image, sizeof(image));
	for (size_t off = 0; off < BZIMAGE_SETUP_SIZE; off++) {
		for (unsigned bit = 0; bit < 9; bit++) {
			uint8_t flipped = image[off] ^ (uint8_t)(bit < 8 ? 1u << bit : 0xff);
			struct kernel k;
			struct err e = {0};

			image_file_put(&f, off, &flipped, 1);
			if (kernel_open(&k, f.path, &e)) {
				assert_usage(&e, "");
				refused++;
			} else {
				assert_sane(&k);
				guest_mem_init(&gm, GUEST_MEM_ANON);
				assert_int_equal(board_map_ram(&board, &gm, &e), 0);
				if (kernel_load(&k, &board, &gm, &e))
					assert_usage(&e, "");
				guest_mem_fini(&gm);
				accepted++;
			}
			kernel_close(&k);
		}
		image_file_put(&f, off, &image[off], 1);
	}
	assert_true(accepted > 1000); /* most bytes are code */
	assert_true(refused > 50);
	image_file_fini(&f);
}

static void test_version_string(void **state)
{
	uint8_t image[BZIMAGE_SIZE];
	struct image_file f;
	struct kernel k;
	struct err e = {0};

	bzimage_make(image);
	image_file_init(&f, image, sizeof(image));
	/* None; beyond the setup part; a path, twice; longer than any. */
	for (unsigned i = 0; i < 5; i++) {
		bzimage_make(image);
		if (i < 2)
			le16_put(image + 0x20e, i ? 0xfff0 : 0);
		else if (i < 4)
			strcpy((char *)image + 0x300, i == 2 ? "../../etc" : "6/../../etc x");
		else
			memset(image + 0x300, '6', BZIMAGE_SETUP_SIZE - 0x300);
		image_file_put(&f, 0, image, sizeof(image));
		assert_int_equal(kernel_open(&k, f.path, &e), 0);
		assert_null(kernel_version(&k));
		kernel_close(&k);
	}
	image_file_fini(&f);
}

static void test_real_kernel(void **state)
{
	const char *path = getenv("MINIVMM_TEST_KERNEL");
	const struct board big = {.ram_low = 512 * MiB};
	struct image_file f;
	struct guest_mem gm;
	struct kernel k;
	struct err e = {0};
	uint8_t *all;
	size_t size;

	if (!path)
		skip();
	assert_int_equal(kernel_open(&k, path, &e), 0);
	assert_sane(&k);
	assert_int_equal(k.kind, KERNEL_BZIMAGE);
	assert_non_null(kernel_version(&k));
	print_message("%s: %s, %lu MiB needed\n", path, kernel_version(&k), k.end / MiB);
	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_int_equal(board_map_ram(&big, &gm, &e), 0);
	assert_int_equal(kernel_load(&k, &big, &gm, &e), 0);
	guest_mem_fini(&gm);

	size = k.file_size;
	all = malloc(size);
	assert_non_null(all);
	assert_int_equal(pread(k.fd, all, size, 0), size);
	kernel_close(&k);
	image_file_init(&f, all, size);
	free(all);
	/* Every length near either end, and some of those in the middle. */
	for (size_t len = size - 1; len > 0; len -= len > size - 4096 || len < 4096 ? 1 : 1021) {
		image_file_cut(&f, len);
		assert_refused(f.path, "");
	}
	image_file_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_signature_is_not_loaded),
		cmocka_unit_test(test_no_pref_address),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_foreign_files),
		cmocka_unit_test(test_unsupported),
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_hostile_fields),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_cut_before_load),
		cmocka_unit_test(test_memory_too_small),
		cmocka_unit_test(test_every_header_byte_flipped),
		cmocka_unit_test(test_version_string),
		cmocka_unit_test(test_real_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
