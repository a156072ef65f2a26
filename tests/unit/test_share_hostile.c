/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_share_hostile: a guest that wants out of its directory, or minivmm down. Beside the
 * shared directory lies a secret; whatever is asked, nobody reads or changes it, and each request
 * has an answer.
 */
#include "tests/lib/share_rig.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct share_rig *r = malloc(sizeof(*r));

	share_rig_init(r, true, SHARE_CACHE_AUTO, 0);
	scratch_text(&r->s, "secret", "secret");
	scratch_text(&r->s, "outside/file", "secret");
	scratch_text(&r->s, "dir/file", "text");
	scratch_text(&r->s, "dir/sub/file", "text");
	*state = r;
	return 0;
}

static void assert_untouched(struct share_rig *r)
{
	static const char *const names[] = {"secret", "outside/file"};
	char text[16] = "";

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		int fd = open(scratch_path(&r->s, names[i]), O_RDONLY | O_CLOEXEC);

		assert_int_equal(read(fd, text, sizeof(text)), 6);
		assert_memory_equal(text, "secret", 6);
		close(fd);
	}
}

static int teardown(void **state)
{
	assert_untouched(*state);
	share_rig_fini(*state);
	free(*state);
	return 0;
}

/* --- ways out --------------------------------------------------------------------------------- */

static void test_names_that_are_paths(void **state)
{
	static const char *const names[] = {
		"..",        ".",           "",         "/",
		"../secret", "/etc/passwd", "sub/file", "sub/../../secret",
		"sub/",      "./file",      "file/"};
	static const uint32_t ops[] = {FUSE_LOOKUP, FUSE_UNLINK, FUSE_RMDIR};
	const struct fuse_mkdir_in mkdir_in = {.mode = 0755};
	const struct fuse_mknod_in mknod_in = {.mode = S_IFREG | 0644};
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	char two[64];

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		size_t len = strlen(names[i]) + 1;
		const struct fuse_rename_in rename_in = {.newdir = 1};
		const struct fuse_link_in link_in = {.oldnodeid = share_rig_node(r, "file")};

		for (unsigned op = 0; op < ARRAY_LEN(ops); op++)
			assert_int_equal(share_rig_name_op(r, ops[op], 1, names[i]), -EINVAL);
		assert_int_equal(share_rig_create(r, 1, names[i], O_RDWR | O_CREAT, S_IFREG | 0644,
						  &entry, &out),
				 -EINVAL);
		assert_int_equal(share_rig_call(r, FUSE_MKDIR, 1, &mkdir_in, sizeof(mkdir_in),
						names[i], len),
				 -EINVAL);
		assert_int_equal(share_rig_call(r, FUSE_MKNOD, 1, &mknod_in, sizeof(mknod_in),
						names[i], len),
				 -EINVAL);
		assert_int_equal(
			share_rig_call(r, FUSE_LINK, 1, &link_in, sizeof(link_in), names[i], len),
			-EINVAL);
		memcpy(two, names[i], len);
		memcpy(two + len, "x", 2);
		assert_int_equal(share_rig_call(r, FUSE_RENAME, 1, &rename_in, sizeof(rename_in),
						two, len + 2),
				 -EINVAL);
		assert_int_equal(share_rig_call(r, FUSE_SYMLINK, 1, NULL, 0, two, len + 2),
				 -EINVAL);
		memcpy(two, "file", 5);
		memcpy(two + 5, names[i], len);
		assert_int_equal(share_rig_call(r, FUSE_RENAME, 1, &rename_in, sizeof(rename_in),
						two, len + 5),
				 -EINVAL);
	}
}

/* Before version 7.12 a name began where there are other arguments now: what is checked as a name
 * and what is taken for one would not be the same bytes. So nobody speaks such a version. */
static void test_names_of_old_versions(void **state)
{
	static const char out[8] = "../new";
	const struct fuse_mknod_in mknod_in = {.mode = S_IFREG | 0644};
	const struct fuse_create_in create_in = {.flags = O_RDWR | O_CREAT, .mode = 0644};
	struct share_rig *r = *state;
	struct fuse_init_in init = {.major = 7};
	uint8_t args[16];

	for (init.minor = 0; init.minor < 36; init.minor++) {
		int ret = share_rig_call(r, FUSE_INIT, 0, &init, sizeof(init), NULL, 0);

		assert_true(ret == (init.minor < 23 ? -EPROTO : 0));
		memcpy(args, &mknod_in, 8);
		memcpy(args + 8, out, 8);
		share_rig_call(r, FUSE_MKNOD, 1, args, sizeof(args), "name", 5);
		memcpy(args, &create_in, 8);
		share_rig_call(r, FUSE_CREATE, 1, args, sizeof(args), "name", 5);
		assert_int_equal(access(scratch_path(&r->s, "new"), F_OK), -1);
	}
}

/* A guest that offers all there is, too, is not taken up on what would give requests another
 * layout. */
static void test_no_other_layouts(void **state)
{
	struct share_rig *r = *state;
	struct fuse_init_in init = {
		.major = 7, .minor = UINT32_MAX, .flags = UINT32_MAX, .flags2 = UINT32_MAX};
	struct fuse_init_out out = {0};
	const struct fuse_setxattr_in set = {.size = 5};
	uint64_t node;

	memset(init.unused, 0xff, sizeof(init.unused));
	assert_int_equal(share_rig_call(r, FUSE_INIT, 0, &init, sizeof(init), NULL, 0), 0);
	memcpy(&out, r->data, r->len < sizeof(out) ? r->len : sizeof(out));
	assert_int_equal(out.flags & (FUSE_SETXATTR_EXT | FUSE_POSIX_ACL | FUSE_DONT_MASK), 0);
	assert_int_equal(out.flags2 & (FUSE_SECURITY_CTX >> 32), 0);
	node = share_rig_node(r, "file");
	/* The name where it always was: it is wrong only in what it says. */
	assert_int_equal(share_rig_call(r, FUSE_SETXATTR, node, &set, 8, "nonsense\0value", 14),
			 -EOPNOTSUPP);
}

/* A link is a link, wherever it leads: it has a text, and no contents, no names below. */
static void test_links_lead_nowhere(void **state)
{
	struct share_rig *r = *state;
	char absolute[200];
	const char *const targets[] = {"../secret", absolute, "../outside", "/", "..", "sub/../.."};
	struct fuse_entry_out entry, below;
	struct fuse_open_out out;
	const struct fuse_setattr_in cut = {.valid = FATTR_SIZE}, mode = {.valid = FATTR_MODE};

	snprintf(absolute, sizeof(absolute), "%s", scratch_path(&r->s, "secret"));
	for (unsigned i = 0; i < ARRAY_LEN(targets); i++) {
		assert_int_equal(symlink(targets[i], share_rig_path(r, "link")), 0);
		assert_int_equal(share_rig_lookup(r, 1, "link", &entry), 0);
		assert_int_equal(entry.attr.mode & S_IFMT, S_IFLNK);
		assert_int_equal(share_rig_open(r, FUSE_OPEN, entry.nodeid, O_RDONLY, &out),
				 -ELOOP);
		assert_int_equal(
			share_rig_open(r, FUSE_OPEN, entry.nodeid, O_WRONLY | O_TRUNC, &out),
			-ELOOP);
		assert_int_equal(share_rig_open(r, FUSE_OPENDIR, entry.nodeid, 0, &out), -ENOTDIR);
		assert_int_equal(share_rig_lookup(r, entry.nodeid, "file", &below), -ENOTDIR);
		assert_int_equal(share_rig_name_op(r, FUSE_UNLINK, entry.nodeid, "file"), -ENOTDIR);
		assert_int_equal(
			share_rig_call(r, FUSE_SETATTR, entry.nodeid, &cut, sizeof(cut), NULL, 0),
			-EINVAL);
		assert_int_equal(
			share_rig_call(r, FUSE_SETATTR, entry.nodeid, &mode, sizeof(mode), NULL, 0),
			-EOPNOTSUPP);
		/* Through CREATE, which on a host follows where it may. */
		assert_int_equal(share_rig_create(r, 1, "link", O_RDWR | O_CREAT | O_TRUNC,
						  S_IFREG | 0644, &entry, &out),
				 -ELOOP);
		assert_int_equal(unlink(share_rig_path(r, "link")), 0);
	}
}

/* A directory becomes a link to the outside, over and over, while the guest walks through it.
 * Both names go on leading to either the one or nowhere. */
struct race {
	char dir[200], link[200], name[200];
	_Atomic bool stop;
};

static void *swap(void *arg)
{
	struct race *race = arg;

	while (!race->stop) {
		renameat2(AT_FDCWD, race->dir, AT_FDCWD, race->link, RENAME_EXCHANGE);
		usleep(20);
	}
	return NULL;
}

static void test_rename_under_way(void **state)
{
	struct share_rig *r = *state;
	struct race race = {.stop = false};
	struct fuse_entry_out dir, file;
	struct fuse_open_out out;
	unsigned seen = 0, made = 0;
	pthread_t thread;

	snprintf(race.dir, sizeof(race.dir), "%s", share_rig_path(r, "sub"));
	snprintf(race.link, sizeof(race.link), "%s", share_rig_path(r, "link"));
	assert_int_equal(symlink("../outside", race.link), 0);
	assert_int_equal(pthread_create(&thread, NULL, swap, &race), 0);
	for (unsigned i = 0; i < 20000; i++) {
		r->pid = i;
		if (share_rig_lookup(r, 1, "sub", &dir))
			continue;
		if (!share_rig_lookup(r, dir.nodeid, "file", &file)) {
			if (!share_rig_open(r, FUSE_OPEN, file.nodeid, O_RDWR, &out)) {
				assert_int_equal(
					share_rig_read(r, FUSE_READ, file.nodeid, out.fh, 0, 100),
					0);
				assert_int_equal(r->len, 4);
				assert_memory_equal(r->data, "text", 4);
				share_rig_write(r, file.nodeid, out.fh, 0, "text", 4);
				share_rig_release(r, FUSE_RELEASE, file.nodeid, out.fh);
				seen++;
			}
			share_rig_forget(r, file.nodeid, 1);
		}
		if (!share_rig_create(r, dir.nodeid, "new", O_RDWR | O_CREAT, S_IFREG | 0644, &file,
				      &out)) {
			share_rig_release(r, FUSE_RELEASE, file.nodeid, out.fh);
			share_rig_name_op(r, FUSE_UNLINK, dir.nodeid, "new");
			share_rig_forget(r, file.nodeid, 1);
			made++;
		}
		share_rig_forget(r, dir.nodeid, 1);
	}
	race.stop = true;
	pthread_join(thread, NULL);
	assert_true(seen && made);
	assert_int_equal(access(scratch_path(&r->s, "outside/new"), F_OK), -1);
	assert_int_equal(share_count(r->share).handles, 0);
}

/* A directory that was moved out of the share goes on being that directory, and shows
 * no way up from it. */
static void test_moved_out(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	uint64_t node = share_rig_node(r, "sub");

	assert_int_equal(rename(share_rig_path(r, "sub"), scratch_path(&r->s, "outside/sub")), 0);
	assert_int_equal(share_rig_lookup(r, node, "..", &entry), -EINVAL);
	assert_int_equal(share_rig_name_op(r, FUSE_UNLINK, node, "file"), -ESTALE);
}

/* --- ids -------------------------------------------------------------------------------- */

static void test_forged_nodes(void **state)
{
	struct share_rig *r = *state;
	const struct fuse_getattr_in in = {0};
	uint64_t node = share_rig_node(r, "file"), other;
	const uint64_t forged[] = {0,          node + 7,   node + 1,         node + (1ull << 32),
				   UINT64_MAX, 1ull << 32, 1ull << 32 | 1,   0xffffffffull,
				   1ull << 63, node ^ 1,   node | 1ull << 40};

	for (unsigned i = 0; i < ARRAY_LEN(forged); i++) {
		struct fuse_entry_out entry;

		assert_int_equal(
			share_rig_call(r, FUSE_GETATTR, forged[i], &in, sizeof(in), NULL, 0),
			-ESTALE);
		assert_int_equal(share_rig_lookup(r, forged[i], "file", &entry), -ESTALE);
		assert_int_equal(share_rig_name_op(r, FUSE_UNLINK, forged[i], "file"), -ESTALE);
		share_rig_forget(r, forged[i], 1);
	}
	/* What was forgotten has no id any more, and the next in its place has another. */
	share_rig_forget(r, node, UINT64_MAX);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, node, &in, sizeof(in), NULL, 0), -ESTALE);
	other = share_rig_node(r, "file");
	assert_int_not_equal(other, node);
	share_rig_forget(r, FUSE_ROOT_ID, UINT64_MAX);
	assert_int_equal(share_rig_node(r, "file"), other);
}

static void test_forged_handles(void **state)
{
	struct share_rig *r = *state;
	struct fuse_open_out file, dir;
	uint64_t node = share_rig_node(r, "file"), sub = share_rig_node(r, "sub");

	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDWR, &file), 0);
	assert_int_equal(share_rig_open(r, FUSE_OPENDIR, sub, 0, &dir), 0);
	const uint64_t forged[] = {0,          1,          file.fh + 1, file.fh + (1ull << 32),
				   UINT64_MAX, 1ull << 63, dir.fh};

	for (unsigned i = 0; i < ARRAY_LEN(forged); i++) {
		const struct fuse_setattr_in cut = {.valid = FATTR_SIZE | FATTR_FH,
						    .fh = forged[i]};

		assert_int_equal(share_rig_read(r, FUSE_READ, node, forged[i], 0, 1), -EBADF);
		assert_int_equal(share_rig_write(r, node, forged[i], 0, "x", 1), -EBADF);
		assert_int_equal(share_rig_release(r, FUSE_RELEASE, node, forged[i]), -EBADF);
		assert_int_equal(share_rig_call(r, FUSE_SETATTR, node, &cut, sizeof(cut), NULL, 0),
				 -EBADF);
	}
	/* A handle is good for its node, and a file's is no directory's. */
	assert_int_equal(share_rig_read(r, FUSE_READ, sub, file.fh, 0, 1), -EBADF);
	assert_int_equal(share_rig_read(r, FUSE_READDIR, sub, file.fh, 0, 100), -EBADF);
	assert_int_equal(share_rig_read(r, FUSE_READDIR, node, file.fh, 0, 100), -EBADF);
	assert_int_equal(share_rig_read(r, FUSE_READ, sub, dir.fh, 0, 1), -EBADF);
	assert_int_equal(share_rig_release(r, FUSE_RELEASE, node, file.fh), 0);
	assert_int_equal(share_rig_release(r, FUSE_RELEASE, node, file.fh), -EBADF);
}

/* --- special files ---------------------------------------------------------------------- */

/* Whoever opens a FIFO waits, and whoever opens a device sets something off. */
static void test_only_regular_files_are_opened(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	const struct fuse_mknod_in disk = {.mode = S_IFBLK | 0666, .rdev = 8 << 8};
	const struct fuse_mknod_in chr = {.mode = S_IFCHR | 0666, .rdev = 1 << 8 | 3};

	assert_int_equal(mkfifo(share_rig_path(r, "fifo"), 0666), 0);
	for (int flags = O_RDONLY; flags <= O_RDWR; flags++) {
		assert_int_equal(
			share_rig_open(r, FUSE_OPEN, share_rig_node(r, "fifo"), flags, &out),
			-ENXIO);
		assert_int_equal(share_rig_create(r, 1, "fifo", flags | O_CREAT, S_IFREG | 0644,
						  &entry, &out),
				 -ENXIO);
	}
	assert_int_equal(share_rig_call(r, FUSE_MKNOD, 1, &disk, sizeof(disk), "b", 2), -EPERM);
	assert_int_equal(share_rig_call(r, FUSE_MKNOD, 1, &chr, sizeof(chr), "c", 2), -EPERM);
}

static void test_proc_is_not_shared(void **state)
{
	struct share_rig *r = *state;
	const struct share_options options = {.name = "share0", .fds_max = 1024};
	struct share *share = NULL;
	struct err e = {0};

	assert_int_equal(share_open(&share, "/proc", &options, &e), -EINVAL);
	assert_non_null(strstr(e.text, "--share /proc: "));
	/* Below what is shared it is an empty directory. */
	share_destroy(r->share);
	assert_int_equal(share_open(&r->share, "/", &options, &e), 0);
	assert_int_equal(share_rig_mount(r, 0), 0);
	struct fuse_entry_out entry;
	struct fuse_open_out out;

	assert_int_equal(share_rig_lookup(r, 1, "proc", &entry), 0);
	assert_int_equal(entry.attr.mode & S_IFMT, S_IFDIR);
	uint64_t proc = entry.nodeid;

	assert_int_equal(share_rig_lookup(r, proc, "self", &entry), -ENOENT);
	assert_int_equal(share_rig_open(r, FUSE_OPENDIR, proc, 0, &out), 0);
	assert_int_equal(share_rig_read(r, FUSE_READDIR, proc, out.fh, 0, 4096), 0);
	assert_int_equal(r->len, 0);
}

/* What Linux asks of a host, and no more: some of the rest moves whole files about, which may take
 * the host any time. */
static void test_fallocate_modes(void **state)
{
	struct share_rig *r = *state;
	struct fuse_open_out out;
	uint64_t node;
	const uint32_t known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;

	assert_int_equal(truncate(share_rig_path(r, "file"), 1 << 20), 0);
	node = share_rig_node(r, "file");
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDWR, &out), 0);
	for (unsigned bit = 0; bit < 32; bit++) {
		const struct fuse_fallocate_in in = {
			.fh = out.fh, .length = 65536, .mode = 1u << bit};
		int ret = share_rig_call(r, FUSE_FALLOCATE, node, &in, sizeof(in), NULL, 0);

		assert_true(in.mode & ~known ? ret == -EOPNOTSUPP : !ret || ret == -EOPNOTSUPP);
	}
}

/* --- requests that are none ------------------------------------------------------------- */

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

/* Whoever is not root on the host: ours is the guest's root's, and cannot be given away.
 * In a child, for there is no way back. */
static void as_nobody(struct share_rig *r)
{
	const struct share_options options = {.name = "share0", .writable = true, .fds_max = 1024};
	const struct fuse_setattr_in give = {.valid = FATTR_UID, .uid = 1000};
	const struct fuse_setattr_in keep = {.valid = FATTR_UID | FATTR_GID};
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	struct stat st;

	share_destroy(r->share);
	if (!geteuid())
		assert_int_equal(setgid(65534) | setuid(65534), 0);
	assert_int_equal(share_open(&r->share, r->dir, &options, NULL), 0);
	assert_int_equal(share_rig_mount(r, 0), 0);
	r->uid = r->gid = 1000;
	assert_int_equal(
		share_rig_create(r, 1, "ours", O_RDWR | O_CREAT, S_IFREG | 0640, &entry, &out), 0);
	assert_int_equal(entry.attr.uid, 0);
	assert_int_equal(entry.attr.gid, 0);
	assert_int_equal(stat(share_rig_path(r, "ours"), &st), 0);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(
		share_rig_call(r, FUSE_SETATTR, entry.nodeid, &give, sizeof(give), NULL, 0),
		-EPERM);
	assert_int_equal(
		share_rig_call(r, FUSE_SETATTR, entry.nodeid, &keep, sizeof(keep), NULL, 0), 0);
	if (!access("/etc/shadow", F_OK)) {
		share_destroy(r->share);
		assert_int_equal(share_open(&r->share, "/etc",
					    &(struct share_options){.name = "e", .fds_max = 1024},
					    NULL),
				 0);
		assert_int_equal(share_rig_mount(r, 0), 0);
		assert_int_equal(
			share_rig_open(r, FUSE_OPEN, share_rig_node(r, "shadow"), O_RDONLY, &out),
			-EACCES);
	}
}

static void test_without_root(void **state)
{
	struct share_rig *r = *state;
	int status = 0;
	pid_t child;

	assert_int_equal(chmod(r->s.path, 0755) | chmod(r->dir, 0777), 0);
	child = fork();
	if (!child) {
		as_nobody(r);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		T(test_names_that_are_paths),
		T(test_names_of_old_versions),
		T(test_no_other_layouts),
		T(test_links_lead_nowhere),
		T(test_rename_under_way),
		T(test_moved_out),
		T(test_forged_nodes),
		T(test_forged_handles),
		T(test_only_regular_files_are_opened),
		T(test_proc_is_not_shared),
		T(test_fallocate_modes),
		T(test_headers),
		T(test_unknown_opcodes),
		T(test_lengths),
		T(test_lengths_within),
		T(test_huge_requests),
		T(test_sizes_and_places),
		T(test_sessions),
		T(test_interrupt),
		T(test_without_root),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
