/* SPDX-License-Identifier: Apache-2.0 */
/* elf_notes_scan() on rows of notes as linkers make them, and on what only looks
 * like one. */
#include "firmware/elf_notes.h"
#include "tests/lib/kernel_image.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
	uint8_t bytes[512];
	size_t len;
};

static void add(struct row *r, const char *owner, uint32_t type, const void *desc, uint32_t descsz,
		unsigned align)
{
	r->len += note_put(r->bytes + r->len, owner, type, desc, descsz, align);
	assert_true(r->len <= sizeof(r->bytes));
}

/* A copy of exactly that length, so that a sanitizer sees a read behind it. */
static const char *scan(struct elf_notes *n, const struct row *r, size_t len, uint64_t align)
{
	uint8_t *copy = malloc(len ? len : 1);
	const char *wrong;

	assert_non_null(copy);
	memcpy(copy, r->bytes, len);
	*n = (struct elf_notes){0};
	wrong = elf_notes_scan(n, copy, len, align);
	free(copy);
	return wrong;
}

static const uint8_t entry4[4] = {0x40, 0x00, 0x00, 0x01};
static const uint8_t entry8[8] = {0x40, 0x00, 0x00, 0x01};

static void test_none(void **state)
{
	struct row r = {.len = 24}; /* zeroes: two empty notes */
	struct elf_notes n;

	assert_null(scan(&n, &r, 0, 4));
	assert_false(n.pvh || n.linux_kernel);
	assert_null(scan(&n, &r, r.len, 4));
	assert_false(n.pvh || n.linux_kernel);
}

/* Linux's notes, in its order: others of Xen's, a build id, its own salt, and the
 * entry as a pointer. */
static void test_linux(void **state)
{
	struct row r = {0};
	struct elf_notes n;

	add(&r, "Xen", 6, "linux", 6, 4);
	add(&r, "Xen", 3, "\0\0\0\x80\xff\xff\xff\xff", 8, 4);
	add(&r, "GNU", 3, "0123456789abcdefghij", 20, 4);
	add(&r, "Linux", 0x101, "6.1.0-56-cloud-amd64", 21, 4);
	add(&r, "Xen", NOTE_PHYS32_ENTRY, entry8, 8, 4);
	assert_null(scan(&n, &r, r.len, 4));
	assert_true(n.linux_kernel);
	assert_true(n.pvh);
	assert_int_equal(n.pvh_entry, 0x1000040);
}

/* Odd sizes, so that each padding counts; 8 only where the segment says 8. */
static void test_alignment(void **state)
{
	static const uint64_t as4[] = {0, 1, 2, 4, 16, 4096, 3, UINT64_MAX};
	struct row r4 = {0}, r8 = {0};
	struct elf_notes n;

	add(&r4, "GNU", 1, "12345", 5, 4);
	add(&r4, "Stapsdt", 1, "123456789", 9, 4);
	add(&r4, "Xen", NOTE_PHYS32_ENTRY, entry4, 4, 4);
	add(&r8, "GNU", 1, "12345", 5, 8);
	add(&r8, "Stapsdt", 1, "123456789", 9, 8);
	add(&r8, "Xen", NOTE_PHYS32_ENTRY, entry4, 4, 8);
	assert_int_not_equal(r4.len, r8.len);
	for (size_t i = 0; i < ARRAY_LEN(as4); i++) {
		assert_null(scan(&n, &r4, r4.len, as4[i]));
		assert_true(n.pvh);
		assert_int_equal(n.pvh_entry, 0x1000040);
	}
	assert_null(scan(&n, &r8, r8.len, 8));
	assert_true(n.pvh);
	assert_int_equal(n.pvh_entry, 0x1000040);
	/* The last one's padding may be missing. */
	assert_null(scan(&n, &r8, r8.len - 4, 8));
	assert_true(n.pvh);
}

static void test_not_the_note(void **state)
{
	struct row r = {0};
	struct elf_notes n;

	add(&r, "Xen", NOTE_PHYS32_ENTRY + 1, entry4, 4, 4);
	add(&r, "Xem", NOTE_PHYS32_ENTRY, entry4, 4, 4);
	add(&r, "Xenon", NOTE_PHYS32_ENTRY, entry4, 4, 4);
	add(&r, "", NOTE_PHYS32_ENTRY, entry4, 4, 4);
	add(&r, "linux", 0x100, entry4, 4, 4);
	add(&r, "Linux2", 0x100, entry4, 4, 4);
	assert_null(scan(&n, &r, r.len, 4));
	assert_false(n.pvh || n.linux_kernel);
	/* A name without its NUL is another name. */
	r.len = 0;
	add(&r, "Xen", NOTE_PHYS32_ENTRY, entry4, 4, 4);
	r.bytes[0] = 3;
	assert_null(scan(&n, &r, r.len, 4));
	assert_false(n.pvh);
}

static void test_several(void **state)
{
	static const uint8_t other[4] = {0x44, 0x00, 0x00, 0x01};
	struct row r = {0};
	struct elf_notes n;

	add(&r, "Xen", NOTE_PHYS32_ENTRY, entry4, 4, 4);
	add(&r, "Xen", NOTE_PHYS32_ENTRY, entry8, 8, 4);
	assert_null(scan(&n, &r, r.len, 4));
	assert_int_equal(n.pvh_entry, 0x1000040);
	add(&r, "Xen", NOTE_PHYS32_ENTRY, other, 4, 4);
	assert_string_equal(scan(&n, &r, r.len, 4), "it has two PVH notes that disagree");
}

static void test_sizes_of_the_entry(void **state)
{
	for (uint32_t size = 0; size <= 16; size++) {
		uint8_t desc[16] = {0x40, 0x00, 0x00, 0x01};
		struct row r = {0};
		struct elf_notes n;
		const char *wrong;

		add(&r, "Xen", NOTE_PHYS32_ENTRY, desc, size, 4);
		wrong = scan(&n, &r, r.len, 4);
		if (size == 4 || size == 8)
			assert_null(wrong);
		else
			assert_string_equal(wrong, "its PVH note has neither 4 nor 8 bytes");
	}
}

/* Every length of a row of two: whole up to the first, up to the second, or said to be
 * cut. */
static void test_every_truncation(void **state)
{
	struct row r = {0};
	struct elf_notes n;
	size_t first;

	add(&r, "GNU", 3, "0123456789abcdefghij", 20, 4);
	first = r.len;
	add(&r, "Xen", NOTE_PHYS32_ENTRY, entry4, 4, 4);
	for (size_t len = 1; len <= r.len; len++) {
		const char *wrong = scan(&n, &r, len, 4);

		if (len == first || len == r.len)
			assert_null(wrong);
		else
			assert_string_equal(wrong, "a note is cut short");
		if (!wrong)
			assert_int_equal(n.pvh, len == r.len);
	}
}

static void test_hostile_sizes(void **state)
{
	static const uint32_t sizes[] = {0xffffffff, 0xfffffffd, 0xfffffff0, 0x80000000, 0x1000};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		for (unsigned field = 0; field < 8; field += 4) {
			for (unsigned align = 4; align <= 8; align += 4) {
				struct row r = {0};
				struct elf_notes n;

				add(&r, "Xen", NOTE_PHYS32_ENTRY, entry4, 4, align);
				le32_put(r.bytes + field, sizes[i]);
				assert_string_equal(scan(&n, &r, r.len, align),
						    "a note is cut short");
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_linux),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_not_the_note),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_sizes_of_the_entry),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_hostile_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
