/* SPDX-License-Identifier: Apache-2.0 */
/* test_cpio: an archive written by us, read as the kernel reads it. */
#include "firmware/initramfs/cpio.h"
#include "tests/lib/cpio_reader.h"
#include "tests/lib/scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void test_entries_read_back(void **state)
{
	struct cpio c = {0};
	struct cpio_entry e[8];

	cpio_dir(&c, "dev");
	cpio_chardev(&c, "dev/console", 0600, 5, 1);
	cpio_file(&c, "init", 0755, "abcde", 5);
	cpio_file(&c, "empty", 0644, NULL, 0);
	assert_int_equal(cpio_finish(&c), 0);
	assert_int_equal(cpio_read(e, 8, c.bytes, c.len), 4);

	assert_string_equal(e[0].name, "dev");
	assert_int_equal(e[0].mode, S_IFDIR | 0755);
	assert_int_equal(e[0].nlink, 2);
	assert_string_equal(e[1].name, "dev/console");
	assert_int_equal(e[1].mode, S_IFCHR | 0600);
	assert_int_equal(e[1].rdev_major, 5);
	assert_int_equal(e[1].rdev_minor, 1);
	assert_int_equal(e[2].mode, S_IFREG | 0755);
	assert_int_equal(e[2].nlink, 1);
	assert_int_equal(e[2].len, 5);
	assert_memory_equal(e[2].data, "abcde", 5);
	assert_int_equal(e[3].len, 0);
	/* Equal inode numbers with nlink > 1 would be hard links to the unpacker. */
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(e[i].ino, e[k].ino);
	cpio_fini(&c);
}

/* The first header by its bytes, from the format's description. */
static void test_header_bytes(void **state)
{
	static const char expected[] = "070701"
				       "00000000" /* ino */
				       "000081ED" /* mode: regular, 0755 */
				       "00000000"
				       "00000000" /* uid, gid */
				       "00000001" /* nlink */
				       "00000000" /* mtime */
				       "00000003" /* filesize */
				       "00000000"
				       "00000000" /* device */
				       "00000000"
				       "00000000" /* rdev */
				       "00000005" /* namesize */
				       "00000000" /* check */
				       "init\0\0xyz\0";
	struct cpio c = {0};

	/* 110 + 5 bytes are padded to 116, the data to 4. */
	cpio_file(&c, "init", 0755, "xyz", 3);
	assert_int_equal(c.len, 120);
	assert_memory_equal(c.bytes, expected, 115);
	assert_memory_equal(c.bytes + 115, "\0xyz\0", 5);
	cpio_fini(&c);
}

/* Every length of name and data modulo 4, and a file beyond the first buffer. */
static void test_padding(void **state)
{
	static const char name[] = "abcdefgh";
	static uint8_t data[200000];
	struct cpio c = {0};
	struct cpio_entry e[80];
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + 1);
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < 8; k++)
			cpio_file(&c, name + i, 0644, data + k, k);
	cpio_file(&c, "large", 0644, data, sizeof(data));
	assert_int_equal(cpio_finish(&c), 0);
	assert_int_equal(cpio_read(e, 80, c.bytes, c.len), 65);
	for (unsigned i = 0; i < 8; i++) {
		for (unsigned k = 0; k < 8; k++, n++) {
			assert_string_equal(e[n].name, name + i);
			assert_int_equal(e[n].len, k);
			assert_memory_equal(e[n].data, data + k, k);
		}
	}
	assert_int_equal(e[64].len, sizeof(data));
	assert_memory_equal(e[64].data, data, sizeof(data));
	cpio_fini(&c);
}

static void test_too_large_sticks(void **state)
{
	struct cpio c = {0};

	cpio_file(&c, "huge", 0644, "", (size_t)UINT32_MAX + 1);
	cpio_file(&c, "small", 0644, "x", 1);
	assert_int_equal(cpio_finish(&c), -EFBIG);
	cpio_fini(&c);
}

/* The other judge: cpio(1), where it is installed. */
static void test_cpio_program_agrees(void **state)
{
	struct scratch s;
	struct cpio c = {0};
	char cmd[512], line[256] = "";
	FILE *p;

	if (system("command -v cpio >/dev/null 2>&1"))
		skip();
	scratch_init(&s);
	cpio_dir(&c, "m");
	cpio_file(&c, "m/file", 0644, "hello\n", 6);
	assert_int_equal(cpio_finish(&c), 0);
	scratch_write(&s, "a.cpio", c.bytes, c.len);
	snprintf(cmd, sizeof(cmd), "cpio -i --quiet --to-stdout m/file <%s 2>&1",
		 scratch_path(&s, "a.cpio"));
	p = popen(cmd, "r");
	assert_non_null(p);
	assert_non_null(fgets(line, sizeof(line), p));
	assert_int_equal(pclose(p), 0);
	assert_string_equal(line, "hello\n");
	cpio_fini(&c);
	scratch_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries_read_back),
		cmocka_unit_test(test_header_bytes),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_too_large_sticks),
		cmocka_unit_test(test_cpio_program_agrees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
