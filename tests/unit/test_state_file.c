/* SPDX-License-Identifier: Apache-2.0 */
/* state_file: the layout byte by byte, and no bit of it can be another unnoticed. */
#include "tests/lib/scratch.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { HEADER = 32, SECTION = 32 + 3, ALL = HEADER + SECTION };

static struct scratch s;
static uint64_t sum;

static int write_one(void)
{
	struct state_writer w;
	int fd = open(scratch_path(&s, "state"), O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	state_writer_init(&w);
	state_section_begin(&w, "chip", 1);
	state_put_bytes(&w, "abc", 3);
	state_section_end(&w);
	assert_int_equal(state_file_write(fd, &w, &sum), 0);
	state_writer_fini(&w);
	return fd;
}

static int read_it(int fd, struct err *e)
{
	uint8_t *data = NULL;
	size_t len = 0;
	int ret = state_file_read(fd, "snap", &data, &len, e);

	if (!ret)
		assert_int_equal(len, SECTION);
	free(data);
	return ret;
}

static void layout_is_as_documented(void **state)
{
	_cleanup_fd_ int fd = write_one();
	uint8_t file[ALL];

	assert_int_equal(pread(fd, file, ALL, 0), ALL);
	assert_memory_equal(file, "MINIVMM\n\x01\0\0\0\0\0\0\0", 16);
	assert_int_equal(le64_get(file + 16), SECTION);
	assert_int_equal(le64_get(file + 24),
			 checksum_of(file + HEADER, SECTION, checksum_of(file + 8, 16, 0)));
	assert_int_equal(le64_get(file + 24), sum);
	sum = 0;
	assert_int_equal(state_file_sum(fd, &sum), 0);
	assert_int_equal(le64_get(file + 24), sum);
	assert_memory_equal(file + HEADER, "chip", 5);
	assert_int_equal(lseek(fd, 0, SEEK_END), ALL);
	assert_int_equal(read_it(fd, NULL), 0);
}

/* XXH3 is what it says: a value that others have published. */
static void the_sum_is_xxh3(void **state)
{
	assert_int_equal(checksum_of("", 0, 0), 0x2d06800538d394c2);
}

static void every_bit_counts(void **state)
{
	_cleanup_fd_ int fd = write_one();
	uint8_t file[ALL];

	assert_int_equal(pread(fd, file, ALL, 0), ALL);
	for (unsigned bit = 0; bit < ALL * 8; bit++) {
		uint8_t flipped = file[bit / 8] ^ (uint8_t)(1 << bit % 8);
		struct err e = {0};

		assert_int_equal(pwrite(fd, &flipped, 1, bit / 8), 1);
		assert_int_equal(read_it(fd, &e), -EBADMSG);
		assert_string_equal(e.text, "snap: is damaged, or not a snapshot of minivmm's");
		assert_int_equal(pwrite(fd, &file[bit / 8], 1, bit / 8), 1);
	}
	assert_int_equal(read_it(fd, NULL), 0);
}

static void every_length_but_one_is_wrong(void **state)
{
	for (off_t len = 0; len < ALL + 8; len++) {
		_cleanup_fd_ int fd = write_one();

		assert_int_equal(ftruncate(fd, len), 0);
		assert_int_equal(read_it(fd, NULL), len == ALL ? 0 : -EBADMSG);
	}
}

/* One that a later minivmm wrote, in good order. */
static void a_newer_one_is_named(void **state)
{
	_cleanup_fd_ int fd = write_one();
	uint8_t file[ALL];
	struct err e = {0};

	assert_int_equal(pread(fd, file, ALL, 0), ALL);
	le32_put(file + 8, STATE_FORMAT + 1);
	le64_put(file + 24, checksum_of(file + HEADER, SECTION, checksum_of(file + 8, 16, 0)));
	assert_int_equal(pwrite(fd, file, ALL, 0), ALL);
	assert_int_equal(read_it(fd, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "newer minivmm, in format 2; this one reads 1 to 1"));
}

static void what_could_not_be_written_is_not(void **state)
{
	struct state_writer w;

	state_writer_init(&w);
	w.error = -ENOMEM;
	assert_int_equal(state_file_write(-1, &w, &sum), -ENOMEM);
	w.error = 0;
	assert_int_equal(state_file_write(-1, &w, &sum), -EBADF);
	state_writer_fini(&w);
	assert_int_equal(read_it(-1, NULL), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_is_as_documented),
		cmocka_unit_test(the_sum_is_xxh3),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(every_length_but_one_is_wrong),
		cmocka_unit_test(a_newer_one_is_named),
		cmocka_unit_test(what_could_not_be_written_is_not),
	};
	int ret;

	scratch_init(&s);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	scratch_fini(&s);
	return ret;
}
