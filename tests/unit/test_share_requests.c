/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_share_requests: requests that are none, too long, too short, too early or too late. Each has
 * an answer, and beside the shared directory lies a secret that stays one.
 */
#include "tests/lib/share_rig.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int error_of(const struct share_rig *r)
{
	struct fuse_out_header h;

	assert_int_equal(r->served, sizeof(h));
	memcpy(&h, r->out, sizeof(h));
	assert_int_equal(h.len, sizeof(h));
	return h.error;
}

static void test_headers(void **state)
{
	struct share_rig *r = *state;
	struct fuse_in_header h = {
		.len = sizeof(h), .opcode = FUSE_STATFS, .unique = 2, .nodeid = 1};

	for (size_t len = 0; len < sizeof(h); len++)
		assert_int_equal(share_rig_raw(r, &h, len), -EPROTO);
	assert_int_equal(share_rig_raw(r, &h, sizeof(h)), 16 + sizeof(struct fuse_statfs_out));
	/* No room for an answer, or only for half of it. */
	r->room = 15;
	assert_int_equal(share_rig_raw(r, &h, sizeof(h)), -EPROTO);
	r->room = 17;
	share_rig_raw(r, &h, sizeof(h));
	assert_int_equal(error_of(r), -EIO);
	r->room = SHARE_RIG_ROOM;
	for (uint32_t len = 0; len < 100; len++) {
		if (len == sizeof(h))
			continue;
		h.len = len;
		share_rig_raw(r, &h, sizeof(h));
		assert_int_equal(error_of(r), -EINVAL);
	}
	h.len = UINT32_MAX;
	share_rig_raw(r, &h, sizeof(h));
	assert_int_equal(error_of(r), -EINVAL);
}

static void test_unknown_opcodes(void **state)
{
	static const uint32_t more[] = {4096,      1048576,  436207616, UINT32_MAX,
					INT32_MAX, 1u << 31, 256};
	struct share_rig *r = *state;
	struct fuse_in_header h = {.len = sizeof(h), .unique = 2, .nodeid = 1};
	unsigned unknown = 0;

	for (uint32_t op = 0; op < 256 + ARRAY_LEN(more); op++) {
		h.opcode = op < 256 ? op : more[op - 256];
		share_rig_raw(r, &h, sizeof(h));
		if (h.opcode == FUSE_FORGET || h.opcode == FUSE_BATCH_FORGET ||
		    h.opcode == FUSE_INTERRUPT) {
			assert_int_equal(r->served, 0);
			continue;
		}
		unknown += r->served == 16 && error_of(r) == -ENOSYS;
		if (h.opcode == FUSE_DESTROY)
			assert_int_equal(share_rig_mount(r, 0), 0);
	}
	assert_true(unknown >= 256 - 52 + ARRAY_LEN(more));
}

/* Each request one byte short and one too long; and every shorter one. */
static void test_lengths(void **state)
{
	static const struct {
		uint32_t op;
		size_t args;
		const char *tail;
		size_t tail_len;
	} shapes[] = {
		{FUSE_LOOKUP, 0, "file", 5},
		{FUSE_GETATTR, sizeof(struct fuse_getattr_in), "", 0},
		{FUSE_SETATTR, sizeof(struct fuse_setattr_in), "", 0},
		{FUSE_READLINK, 0, "", 0},
		{FUSE_SYMLINK, 0, "l\0target", 9},
		{FUSE_MKNOD, sizeof(struct fuse_mknod_in), "node", 5},
		{FUSE_MKDIR, sizeof(struct fuse_mkdir_in), "dir", 4},
		{FUSE_UNLINK, 0, "nobody", 7},
		{FUSE_RMDIR, 0, "nobody", 7},
		{FUSE_RENAME, sizeof(struct fuse_rename_in), "a\0b", 4},
		{FUSE_RENAME2, sizeof(struct fuse_rename2_in), "a\0b", 4},
		{FUSE_LINK, sizeof(struct fuse_link_in), "a", 2},
		{FUSE_OPEN, sizeof(struct fuse_open_in), "", 0},
		{FUSE_READ, sizeof(struct fuse_read_in), "", 0},
		{FUSE_STATFS, 0, "", 0},
		{FUSE_RELEASE, sizeof(struct fuse_release_in), "", 0},
		{FUSE_FSYNC, sizeof(struct fuse_fsync_in), "", 0},
		{FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), "user.a", 7},
		{FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), "", 0},
		{FUSE_REMOVEXATTR, 0, "user.a", 7},
		{FUSE_FLUSH, sizeof(struct fuse_flush_in), "", 0},
		{FUSE_OPENDIR, sizeof(struct fuse_open_in), "", 0},
		{FUSE_READDIR, sizeof(struct fuse_read_in), "", 0},
		{FUSE_RELEASEDIR, sizeof(struct fuse_release_in), "", 0},
		{FUSE_FSYNCDIR, sizeof(struct fuse_fsync_in), "", 0},
		{FUSE_ACCESS, sizeof(struct fuse_access_in), "", 0},
		{FUSE_CREATE, sizeof(struct fuse_create_in), "new", 4},
		{FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), "", 0},
		{FUSE_READDIRPLUS, sizeof(struct fuse_read_in), "", 0},
		{FUSE_LSEEK, sizeof(struct fuse_lseek_in), "", 0},
		{FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), "", 0},
		{FUSE_SYNCFS, sizeof(struct fuse_syncfs_in), "", 0},
	};
	static const uint8_t zeroes[128];
	struct share_rig *r = *state;
	char tail[32];

	for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
		uint32_t op = shapes[i].op;
		size_t tail_len = shapes[i].tail_len;

		memcpy(tail, shapes[i].tail, tail_len);
		memset(tail + tail_len, 'x', sizeof(tail) - tail_len);
		assert_int_not_equal(
			share_rig_call(r, op, 1, zeroes, shapes[i].args, tail, tail_len), -ENOSYS);
		for (size_t cut = 0; cut < tail_len; cut++)
			assert_int_equal(
				share_rig_call(r, op, 1, zeroes, shapes[i].args, tail, cut),
				-EINVAL);
		for (size_t cut = 0; cut < shapes[i].args; cut++)
			assert_int_equal(share_rig_call(r, op, 1, zeroes, cut, NULL, 0), -EINVAL);
		assert_int_equal(
			share_rig_call(r, op, 1, zeroes, shapes[i].args, tail, tail_len + 1),
			-EINVAL);
	}
}

static void test_lengths_within(void **state)
{
	struct share_rig *r = *state;
	struct fuse_open_out out;
	uint64_t node = share_rig_node(r, "file");
	const uint32_t sizes[] = {0, 4, 6, 1u << 31, UINT32_MAX};
	const uint32_t counts[] = {0, 2, 1u << 28, UINT32_MAX};
	struct fuse_forget_one one = {.nodeid = node, .nlookup = 1};

	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDWR, &out), 0);
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		const struct fuse_write_in in = {.fh = out.fh, .size = sizes[i]};
		const struct fuse_setxattr_in set = {.size = sizes[i]};

		assert_int_equal(share_rig_call(r, FUSE_WRITE, node, &in, sizeof(in), "12345", 5),
				 -EINVAL);
		assert_int_equal(
			share_rig_call(r, FUSE_SETXATTR, node, &set, 8, "user.a\0value", 12),
			-EINVAL);
	}
	for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
		const struct fuse_batch_forget_in in = {.count = counts[i]};

		share_rig_call(r, FUSE_BATCH_FORGET, 0, &in, sizeof(in), &one, sizeof(one));
		assert_int_equal(share_count(r->share).nodes, 2);
	}
	const struct fuse_batch_forget_in right = {.count = 1};

	share_rig_release(r, FUSE_RELEASE, node, out.fh);
	share_rig_call(r, FUSE_BATCH_FORGET, 0, &right, sizeof(right), &one, sizeof(one));
	assert_int_equal(share_count(r->share).nodes, 1);
}

static void test_huge_requests(void **state)
{
	static uint8_t big[SHARE_RIG_ROOM - 100];
	struct share_rig *r = *state;

	memset(big, 'a', sizeof(big));
	assert_int_equal(share_rig_call(r, FUSE_LOOKUP, 1, big, sizeof(big), "", 1), -EINVAL);
	assert_int_equal(share_rig_call(r, FUSE_LOOKUP, 1, big, 100000, "", 1), -ENAMETOOLONG);
	assert_int_equal(share_rig_call(r, FUSE_SYMLINK, 1, "link", 5, big, sizeof(big)), -EINVAL);
	/* A name that ends where the copy of the request does is not all that there is. */
	big[(128 << 10) - 40 - 1] = '\0';
	assert_int_equal(share_rig_call(r, FUSE_LOOKUP, 1, big, sizeof(big), "", 1), -EINVAL);
}

/* Reads and lists of any size and place: what fits, or an error. */
static void test_sizes_and_places(void **state)
{
	static const uint64_t offs[] = {0, 1, 1ull << 32, INT64_MAX, 1ull << 63, UINT64_MAX};
	static const uint32_t sizes[] = {0, 1, 23, 24, 4096, 1u << 20, 1u << 31, UINT32_MAX};
	static const uint32_t rooms[] = {16, 17, 40, 200, 4096, SHARE_RIG_ROOM};
	struct share_rig *r = *state;
	struct fuse_open_out file, dir;
	uint64_t node = share_rig_node(r, "file");

	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDWR, &file), 0);
	assert_int_equal(share_rig_open(r, FUSE_OPENDIR, 1, 0, &dir), 0);
	for (unsigned i = 0; i < ARRAY_LEN(offs) * ARRAY_LEN(sizes) * ARRAY_LEN(rooms); i++) {
		uint64_t off = offs[i % ARRAY_LEN(offs)];
		uint32_t size = sizes[i / ARRAY_LEN(offs) % ARRAY_LEN(sizes)];
		const struct fuse_getxattr_in get = {.size = size};

		r->room = rooms[i / ARRAY_LEN(offs) / ARRAY_LEN(sizes)];
		share_rig_read(r, FUSE_READ, node, file.fh, off, size);
		share_rig_read(r, FUSE_READDIR, 1, dir.fh, off, size);
		share_rig_read(r, FUSE_READDIRPLUS, 1, dir.fh, off, size);
		share_rig_call(r, FUSE_LISTXATTR, node, &get, sizeof(get), NULL, 0);
	}
	r->room = SHARE_RIG_ROOM;
	assert_int_equal(share_rig_read(r, FUSE_READ, node, file.fh, 0, 100), 0);
	assert_memory_equal(r->data, "text", 4);
}

static void test_sessions(void **state)
{
	struct share_rig *r = *state;
	uint64_t node = share_rig_node(r, "file");
	const struct fuse_getattr_in in = {0};
	struct fuse_init_in init = {.major = 6, .minor = 1};
	struct fuse_open_out out;

	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out), 0);
	/* A second INIT, and an end: what there was is gone. */
	assert_int_equal(share_rig_mount(r, 0), 0);
	assert_int_equal(share_rig_read(r, FUSE_READ, node, out.fh, 0, 1), -EBADF);
	assert_int_equal(share_rig_call(r, FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, 1, &in, sizeof(in), NULL, 0), -ENOTCONN);
	assert_int_equal(share_count(r->share).nodes, 0);
	assert_int_equal(share_rig_call(r, FUSE_INIT, 0, &init, sizeof(init), NULL, 0), -EPROTO);
	init.major = 8; /* the answer says 7, and the guest is to try again with that */
	assert_int_equal(share_rig_call(r, FUSE_INIT, 0, &init, sizeof(init), NULL, 0), 0);
	/* An old driver's, which is shorter. */
	init = (struct fuse_init_in){.major = 7, .minor = 31};
	assert_int_equal(share_rig_call(r, FUSE_INIT, 0, &init, 16, NULL, 0), 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, 1, &in, sizeof(in), NULL, 0), 0);
	share_reset(r->share);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, 1, &in, sizeof(in), NULL, 0), -ENOTCONN);
}

static void test_interrupt(void **state)
{
	struct share_rig *r = *state;
	const struct fuse_getattr_in in = {0};
	struct fuse_interrupt_in interrupt = {.unique = (r->unique + 2) * 2};

	/* Of the request after next: it is never begun. */
	share_rig_call(r, FUSE_INTERRUPT, 0, &interrupt, sizeof(interrupt), NULL, 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, 1, &in, sizeof(in), NULL, 0), -EINTR);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, 1, &in, sizeof(in), NULL, 0), 0);
	/* One that came too late. */
	interrupt.unique = r->unique * 2;
	share_rig_call(r, FUSE_INTERRUPT, 0, &interrupt, sizeof(interrupt), NULL, 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, 1, &in, sizeof(in), NULL, 0), 0);
}

int main(void)
{
#define T(test)                                                              \
	cmocka_unit_test_setup_teardown(test, share_rig_setup_beside_secret, \
					share_rig_teardown_beside_secret)
	const struct CMUnitTest tests[] = {
		T(test_headers),        T(test_unknown_opcodes), T(test_lengths),
		T(test_lengths_within), T(test_huge_requests),   T(test_sizes_and_places),
		T(test_sessions),       T(test_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
