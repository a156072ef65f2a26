/* SPDX-License-Identifier: Apache-2.0 */
/* packed, ram_index: RAM comes back from its frames, and takes no more of the host than it has;
 * frames that are not what was written, or not of their chunk, are refused. */
#include "tests/lib/scratch.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/packed.h"
#include "vmm/snapshot/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

enum { PAGE = 4096 };

/* Two regions, whose border is within a chunk, as is the end. */
#define LOW  (5 * MiB)
#define HIGH (4 * MiB + PAGE)
#define GAP  (4 * GiB)
#define ALL  (LOW + HIGH)

static struct scratch s;
static const uint64_t places[] = {0,   2 * MiB - 1,   4 * MiB,           LOW - 1,
				  GAP, GAP + MiB + 7, GAP + HIGH - PAGE, GAP + HIGH - 1};

static void make(struct guest_mem *gm)
{
	struct err e = {0};

	guest_mem_init(gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(gm, 0, LOW, -1, 0, &e), 0);
	assert_int_equal(guest_mem_add(gm, GAP, HIGH, -1, 0, &e), 0);
}

static int open_new(const char *name)
{
	int fd = open(scratch_path(&s, name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* A packed file, and what the state says of it. */
static int packed(struct ram_index *x)
{
	_cleanup_fd_ int plain = open_new("plain");
	int fd = open_new("packed");
	struct guest_mem gm;

	make(&gm);
	for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
		uint8_t byte = (uint8_t)(i + 1);

		assert_int_equal(guest_mem_write(&gm, places[i], &byte, 1), 0);
	}
	/* Nothing that packs. */
	for (uint64_t at = MiB; at < 2 * MiB - PAGE; at += 8) {
		uint64_t word = checksum_of(&at, sizeof(at), 1);

		assert_int_equal(guest_mem_write(&gm, at, &word, sizeof(word)), 0);
	}
	assert_int_equal(ram_write(&gm, plain), 0);
	guest_mem_fini(&gm);
	assert_int_equal(ram_index_init(x, ALL, true), 0);
	assert_int_equal(packed_write(plain, ALL, fd, x), 0);
	return fd;
}

static uint64_t size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

static unsigned resident(const struct guest_mem *gm)
{
	unsigned char there[LOW / PAGE];
	unsigned n = 0;

	assert_int_equal(mincore(gm->regions[0].hva, LOW, there), 0);
	for (unsigned i = 0; i < ARRAY_LEN(there); i++)
		n += there[i] & 1;
	return n;
}

static void there_and_back(void **state)
{
	struct guest_mem gm, plain;
	struct ram_index x;
	uint64_t at;
	int fd = packed(&x);
	_cleanup_fd_ int file = open(scratch_path(&s, "plain"), O_RDONLY | O_CLOEXEC);

	assert_int_equal(size_of(fd), ram_index_packed_len(&x));
	assert_true(size_of(fd) < MiB + PAGE);
	assert_int_equal(packed_read(NULL, fd, ALL, &x, &at), 0);
	make(&gm);
	madvise(gm.regions[0].hva, LOW, MADV_NOHUGEPAGE);
	assert_int_equal(packed_read(&gm, fd, ALL, &x, &at), 0);
	/* Pages of zeroes are not taken. */
	assert_in_range(resident(&gm), MiB / PAGE, MiB / PAGE + 8);
	make(&plain);
	assert_int_equal(ram_read(&plain, file), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_memory_equal(gm.regions[i].hva, plain.regions[i].hva, gm.regions[i].len);
	guest_mem_fini(&plain);
	guest_mem_fini(&gm);
	ram_index_fini(&x);
	fd_close(&fd);
}

/* Each bit counts, also those that who opens a frame does not look at. */
static void a_flipped_byte_is_found(void **state)
{
	struct ram_index x;
	uint64_t at;
	int fd = packed(&x);
	uint64_t len = size_of(fd);

	for (uint64_t off = 0; off < len; off += off < 64 || off + 64 > len ? 1 : 49999) {
		uint8_t byte, other;

		assert_int_equal(fd_pread_full(fd, &byte, 1, off), 0);
		other = byte ^ (uint8_t)(1u << off % 8);
		assert_int_equal(fd_pwrite_full(fd, &other, 1, off), 0);
		assert_int_equal(packed_read(NULL, fd, ALL, &x, &at), -EBADMSG);
		assert_int_equal(at, off < x.lengths[0] ? 0 : at);
		assert_int_equal(fd_pwrite_full(fd, &byte, 1, off), 0);
	}
	assert_int_equal(packed_read(NULL, fd, ALL, &x, &at), 0);
	assert_int_equal(ftruncate(fd, (off_t)len - 1), 0);
	assert_int_equal(packed_read(NULL, fd, ALL, &x, &at), -EBADMSG);
	assert_int_equal(at, ALL / RAM_CHUNK * RAM_CHUNK);
	ram_index_fini(&x);
	fd_close(&fd);
}

/* A frame with a sum that is right and a content that is not of a chunk. */
static int try(size_t len, size_t behind, size_t missing)
{
	_cleanup_fd_ int fd = open_new("bomb");
	char *zeroes = calloc(1, len), *frame = calloc(1, PACKED_FRAME_MAX);
	struct ram_index x;
	uint64_t at;

	assert_non_null(zeroes);
	assert_non_null(frame);
	size_t n = ZSTD_compress(frame, PACKED_FRAME_MAX, zeroes, len, 1);

	assert_false(ZSTD_isError(n));
	n += behind - missing;
	assert_int_equal(fd_pwrite_full(fd, frame, n, 0), 0);
	assert_int_equal(ram_index_init(&x, RAM_CHUNK, true), 0);
	x.lengths[0] = (uint32_t)n;
	x.sums[0] =
		checksum_of(frame, n, checksum_of(zeroes, len < RAM_CHUNK ? len : RAM_CHUNK, 0));
	int ret = packed_read(NULL, fd, RAM_CHUNK, &x, &at);

	ram_index_fini(&x);
	free(zeroes);
	free(frame);
	return ret;
}

static void bombs(void **state)
{
	assert_int_equal(try(RAM_CHUNK, 0, 0), 0);
	assert_int_equal(try(RAM_CHUNK + 1, 0, 0), -EBADMSG);
	assert_int_equal(try(RAM_CHUNK - 1, 0, 0), -EBADMSG);
	assert_int_equal(try(1000 * (size_t)RAM_CHUNK, 0, 0), -EBADMSG);
	assert_int_equal(try(RAM_CHUNK, 1, 0), -EBADMSG);
	assert_int_equal(try(RAM_CHUNK, 0, 1), -EBADMSG);
}

/* --- the index --- */

static int load(const struct state_writer *w, uint64_t len, struct ram_index *x)
{
	struct state_reader r;
	struct err e = {0};

	state_reader_init(&r, w->data, w->len);
	int ret = ram_index_load(x, &r, len, &e);

	assert_int_equal(e.text[0] != 0, ret != 0);
	if (ret) {
		assert_null(x->sums);
		assert_null(x->lengths);
	}
	return ret;
}

static void index_of_either_version(void **state)
{
	for (int pack = 0; pack < 2; pack++) {
		struct state_writer w;
		struct ram_index x, y;

		state_writer_init(&w);
		assert_int_equal(ram_index_init(&x, ALL, pack), 0);
		x.sums[1] = 1;
		if (pack)
			x.lengths[1] = PACKED_FRAME_MAX;
		ram_index_save(&x, &w);
		assert_int_equal(load(&w, ALL, &y), 0);
		assert_int_equal(y.n, x.n);
		assert_memory_equal(y.sums, x.sums, x.n * 8);
		assert_int_equal(!y.lengths, !pack);
		assert_int_equal(ram_index_packed_len(&y), pack ? PACKED_FRAME_MAX : 0);
		ram_index_fini(&y);
		assert_int_equal(load(&w, ALL + RAM_CHUNK, &y), -EBADMSG);
		state_writer_fini(&w);
		if (pack) {
			/* Longer than any; one of zeroes; none of something. */
			for (int wrong = 0; wrong < 3; wrong++) {
				state_writer_init(&w);
				x.lengths[1] = wrong == 0 ? PACKED_FRAME_MAX + 1 : wrong == 1;
				x.sums[1] = wrong != 1;
				ram_index_save(&x, &w);
				assert_int_equal(load(&w, ALL, &y), -EBADMSG);
				state_writer_fini(&w);
			}
		}
		ram_index_fini(&x);
	}
}

static void index_of_another_version(void **state)
{
	struct state_writer w;
	struct ram_index x;

	state_writer_init(&w);
	state_section_begin(&w, RAM_INDEX_SECTION, 3);
	state_put_u32(&w, 0);
	state_section_end(&w);
	assert_int_equal(load(&w, 0, &x), -EBADMSG);
	state_writer_fini(&w);
	state_writer_init(&w);
	assert_int_equal(load(&w, ALL, &x), -EBADMSG);
	state_writer_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(a_flipped_byte_is_found),
		cmocka_unit_test(bombs),
		cmocka_unit_test(index_of_either_version),
		cmocka_unit_test(index_of_another_version),
	};
	int ret;

	scratch_init(&s);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	scratch_fini(&s);
	return ret;
}
