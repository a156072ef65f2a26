/* SPDX-License-Identifier: Apache-2.0 */
/* ram: what is in guest RAM comes back from the file, of whatever kind it was and becomes; what
 * is zero takes no room; and a byte that is another is found. */
#include "tests/lib/scratch.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/snapshot/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 4096 };

/* Two regions, the second of which is no whole number of chunks. */
#define LOW  (4 * MiB)
#define HIGH (3 * MiB + PAGE)
#define GAP  (4 * GiB)
#define ALL  (LOW + HIGH)

enum { CHUNKS = (ALL + RAM_CHUNK - 1) / RAM_CHUNK };

static struct scratch s;
static uint64_t sums[CHUNKS];

static void make(struct guest_mem *gm, enum guest_mem_kind kind, int fd)
{
	struct err e = {0};

	guest_mem_init(gm, kind);
	assert_int_equal(guest_mem_add(gm, 0, LOW, fd < 0 ? -1 : dup(fd), 0, &e), 0);
	assert_int_equal(guest_mem_add(gm, GAP, HIGH, fd < 0 ? -1 : dup(fd), fd < 0 ? 0 : LOW, &e),
			 0);
}

static void put(struct guest_mem *gm, uint64_t gpa, uint8_t byte)
{
	assert_int_equal(guest_mem_write(gm, gpa, &byte, 1), 0);
}

static uint8_t get(const struct guest_mem *gm, uint64_t gpa)
{
	uint8_t byte = 0;

	assert_int_equal(guest_mem_read(gm, gpa, &byte, 1), 0);
	return byte;
}

/* At both ends of both, around a chunk's edge, and in the midst of a page. */
static const uint64_t places[] = {0,   2 * MiB - 1,          2 * MiB,       3 * MiB + 77, LOW - 1,
				  GAP, GAP + 2 * MiB + PAGE, GAP + HIGH - 1};

static void fill(struct guest_mem *gm)
{
	for (unsigned i = 0; i < ARRAY_LEN(places); i++)
		put(gm, places[i], (uint8_t)(i + 1));
}

static void check(const struct guest_mem *gm)
{
	for (unsigned i = 0; i < ARRAY_LEN(places); i++)
		assert_int_equal(get(gm, places[i]), i + 1);
	assert_int_equal(get(gm, 1), 0);
	assert_int_equal(get(gm, GAP + MiB), 0);
}

static void save(const struct guest_mem *gm, int fd)
{
	assert_int_equal(ram_write(gm, fd), 0);
	assert_int_equal(ram_sum(fd, ALL, sums), 0);
}

static int open_new(const char *name)
{
	int fd = open(scratch_path(&s, name), O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static uint64_t blocks_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, ALL);
	return (uint64_t)st.st_blocks * 512;
}

static void there_and_back(void **state)
{
	static const enum guest_mem_kind kinds[] = {GUEST_MEM_ANON, GUEST_MEM_SHARED};

	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		uint64_t at;
		_cleanup_fd_ int fd = open_new("memory");
		struct guest_mem gm;

		make(&gm, kinds[i], -1);
		fill(&gm);
		save(&gm, fd);
		guest_mem_fini(&gm);
		/* Eight pages, and what the file system needs around them. */
		assert_true(blocks_of(fd) >= 8 * PAGE);
		assert_true(blocks_of(fd) <= 64 * PAGE);
		assert_int_equal(ram_verify(fd, ALL, sums, &at), 0);

		make(&gm, kinds[i], -1);
		assert_int_equal(ram_read(&gm, fd), 0);
		check(&gm);
		guest_mem_fini(&gm);
		make(&gm, GUEST_MEM_FILE, fd);
		check(&gm);
		guest_mem_fini(&gm);
	}
}

/* What a restored machine has written is in its own pages, the rest in the file, and a page that it
 * made zero again must not come back. */
static void of_a_restored_one(void **state)
{
	uint64_t at;
	_cleanup_fd_ int first = open_new("first"), second = open_new("second");
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON, -1);
	fill(&gm);
	put(&gm, 5 * PAGE, 0xee);
	save(&gm, first);
	guest_mem_fini(&gm);

	make(&gm, GUEST_MEM_FILE, first);
	put(&gm, 5 * PAGE, 0);
	put(&gm, MiB, 0x77);
	save(&gm, second);
	guest_mem_fini(&gm);
	assert_int_equal(ram_verify(second, ALL, sums, &at), 0);

	make(&gm, GUEST_MEM_FILE, second);
	assert_int_equal(get(&gm, 5 * PAGE), 0);
	assert_int_equal(get(&gm, MiB), 0x77);
	put(&gm, MiB, 0);
	check(&gm);
	guest_mem_fini(&gm);
	make(&gm, GUEST_MEM_FILE, first);
	assert_int_equal(get(&gm, 5 * PAGE), 0xee);
	guest_mem_fini(&gm);
}

/* What the log has, and no more, over a copy of what was there. */
static void only_what_is_dirty(void **state)
{
	static uint64_t low[LOW / PAGE / 64], high[(HIGH / PAGE + 63) / 64];
	uint64_t *const dirty[] = {low, high}, at;
	_cleanup_fd_ int first = open_new("first"), second = open_new("second");
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON, -1);
	fill(&gm);
	put(&gm, 200 * PAGE, 0x99);
	save(&gm, first);
	assert_int_equal(guest_mem_log_start(&gm), 0);
	put(&gm, 200 * PAGE, 0);
	put(&gm, 63 * PAGE, 0x11);
	put(&gm, 64 * PAGE, 0x22);
	put(&gm, GAP + HIGH - 1, 0x33);
	/* Behind the log's back. */
	*(uint8_t *)guest_mem_hva(&gm, 300 * PAGE, 1) = 0x44;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			guest_mem_log_fetch(&gm, i, dirty[i], i ? ARRAY_LEN(high) : ARRAY_LEN(low)),
			0);
	assert_int_equal(ram_copy(first, second, ALL), 0);
	assert_int_equal(ram_verify(second, ALL, sums, &at), 0);
	assert_true(blocks_of(second) <= 64 * PAGE);
	assert_int_equal(ram_write_dirty(&gm, second, dirty), 0);
	guest_mem_fini(&gm);

	make(&gm, GUEST_MEM_FILE, second);
	assert_int_equal(get(&gm, 200 * PAGE), 0);
	assert_int_equal(get(&gm, 63 * PAGE), 0x11);
	assert_int_equal(get(&gm, 64 * PAGE), 0x22);
	assert_int_equal(get(&gm, GAP + HIGH - 1), 0x33);
	assert_int_equal(get(&gm, 300 * PAGE), 0);
	put(&gm, GAP + HIGH - 1, 8);
	check(&gm);
	guest_mem_fini(&gm);
	assert_int_equal(ram_verify(first, ALL, sums, &at), 0);
	assert_int_equal(ram_verify(second, ALL, sums, &at), -EBADMSG);
}

static void nothing_touched_takes_nothing(void **state)
{
	uint64_t at;
	_cleanup_fd_ int fd = open_new("memory");
	unsigned char there[LOW / PAGE];
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON, -1);
	save(&gm, fd);
	assert_int_equal(blocks_of(fd), 0);
	assert_int_equal(mincore(guest_mem_hva(&gm, 0, LOW), LOW, there), 0);
	for (unsigned i = 0; i < ARRAY_LEN(there); i++)
		assert_int_equal(there[i] & 1, 0);
	guest_mem_fini(&gm);
	assert_int_equal(ram_chunks(ALL), CHUNKS);
	for (unsigned i = 0; i < CHUNKS; i++)
		assert_int_equal(sums[i], 0);
	assert_int_equal(ram_verify(fd, ALL, sums, &at), 0);
}

static void a_flipped_byte_is_found(void **state)
{
	static const uint64_t where[] = {0, 1, 2 * MiB, MiB + 1, LOW, ALL - 1};
	uint64_t at = 1;
	_cleanup_fd_ int fd = open_new("memory");
	struct guest_mem gm;

	make(&gm, GUEST_MEM_ANON, -1);
	fill(&gm);
	put(&gm, 2 * MiB - 1, 0);
	save(&gm, fd);
	guest_mem_fini(&gm);
	for (unsigned i = 0; i < ARRAY_LEN(where); i++) {
		uint8_t good, bad;

		assert_int_equal(pread(fd, &good, 1, (off_t)where[i]), 1);
		bad = good ^ 0x10;
		assert_int_equal(pwrite(fd, &bad, 1, (off_t)where[i]), 1);
		assert_int_equal(ram_verify(fd, ALL, sums, &at), -EBADMSG);
		assert_int_equal(at, where[i] / RAM_CHUNK * RAM_CHUNK);
		assert_int_equal(pwrite(fd, &good, 1, (off_t)where[i]), 1);
		assert_int_equal(ram_verify(fd, ALL, sums, &at), 0);
	}
	assert_int_equal(ftruncate(fd, ALL - PAGE), 0);
	assert_int_equal(ram_verify(fd, ALL, sums, &at), -EBADMSG);
}

static void a_full_disk_is_an_error(void **state)
{
	struct guest_mem gm;
	int fd = open("/dev/full", O_RDWR);

	make(&gm, GUEST_MEM_ANON, -1);
	fill(&gm);
	/* It cannot be made longer, for a start. */
	assert_int_equal(ram_write(&gm, fd), -EINVAL);
	close(fd);
	guest_mem_fini(&gm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(of_a_restored_one),
		cmocka_unit_test(only_what_is_dirty),
		cmocka_unit_test(nothing_touched_takes_nothing),
		cmocka_unit_test(a_flipped_byte_is_found),
		cmocka_unit_test(a_full_disk_is_an_error),
	};
	int ret;

	scratch_init(&s);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	scratch_fini(&s);
	return ret;
}
