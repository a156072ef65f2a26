/* SPDX-License-Identifier: Apache-2.0 */
/* test_share: what a guest does with a shared directory, and what the host has of it afterwards.
 * Directories and files are real ones. What either sees of the other's changes is
 * test_share_coherence's. */
#include "tests/lib/share_rig.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
	return share_rig_setup(state, true, SHARE_CACHE_AUTO, 0);
}

static int setup_readonly(void **state)
{
	return share_rig_setup(state, false, SHARE_CACHE_AUTO, 0);
}

static int setup_scarce(void **state)
{
	return share_rig_setup(state, true, SHARE_CACHE_AUTO, SHARE_FDS_MIN);
}

/* --- reading ----------------------------------------------------------------------------- */

static void test_read(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;

	share_rig_put(r, "a/b", "some words");
	assert_int_equal(share_rig_lookup(r, share_rig_node(r, "a"), "b", &entry), 0);
	assert_int_equal(entry.attr.size, 10);
	assert_int_equal(entry.attr.mode & S_IFMT, S_IFREG);

	uint64_t fh = share_rig_opened(r, entry.nodeid, O_RDONLY);

	assert_int_equal(share_rig_read(r, FUSE_READ, entry.nodeid, fh, 5, 100), 0);
	assert_int_equal(r->len, 5);
	assert_memory_equal(r->data, "words", 5);
	assert_int_equal(share_rig_read(r, FUSE_READ, entry.nodeid, fh, 10, 100), 0);
	assert_int_equal(r->len, 0);
	/* More than there is room for: what fits. */
	r->room = 16 + 3;
	assert_int_equal(share_rig_read(r, FUSE_READ, entry.nodeid, fh, 0, 1 << 30), 0);
	assert_int_equal(r->len, 3);
	r->room = SHARE_RIG_ROOM;
	assert_int_equal(share_rig_release(r, FUSE_RELEASE, entry.nodeid, fh), 0);
	assert_int_equal(share_rig_read(r, FUSE_READ, entry.nodeid, fh, 0, 1), -EBADF);
	assert_int_equal(share_count(r->share).handles, 0);
}

/* Names below the root as READDIR gives them, in pieces of `size`; how many there are. */
static unsigned list(struct share_rig *r, uint64_t dir, uint32_t size, char names[][256],
		     unsigned max)
{
	struct fuse_open_out out;
	uint64_t off = 0;
	unsigned n = 0;

	assert_int_equal(share_rig_open(r, FUSE_OPENDIR, dir, 0, &out), 0);
	for (;;) {
		assert_int_equal(share_rig_read(r, FUSE_READDIR, dir, out.fh, off, size), 0);
		if (!r->len)
			break;
		for (size_t at = 0; at < r->len;) {
			const struct fuse_dirent *e = (const void *)((const char *)r->data + at);

			assert_true(n < max && e->namelen < 256);
			memcpy(names[n], e->name, e->namelen);
			names[n++][e->namelen] = '\0';
			off = e->off;
			at += FUSE_DIRENT_SIZE(e);
		}
	}
	assert_int_equal(share_rig_release(r, FUSE_RELEASEDIR, dir, out.fh), 0);
	return n;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void test_readdir_in_small_pieces(void **state)
{
	static char names[400][256];
	struct share_rig *r = *state;
	char name[32];

	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "file-%03u", i);
		share_rig_put(r, name, "");
	}
	for (uint32_t size = 64; size <= 65536; size *= 32) {
		assert_int_equal(list(r, FUSE_ROOT_ID, size, names, 400), 302);
		qsort(names, 302, sizeof(names[0]), by_name);
		assert_string_equal(names[0], ".");
		assert_string_equal(names[1], "..");
		for (unsigned i = 0; i < 300; i++) {
			snprintf(name, sizeof(name), "file-%03u", i);
			assert_string_equal(names[i + 2], name);
		}
	}
	/* Nothing was looked up, so nothing is held. */
	assert_int_equal(share_count(r->share).nodes, 1);
}

/* Every name that was told is looked up, and no other; once each has been forgotten,
 * nothing is left. */
static void test_readdirplus_counts(void **state)
{
	struct share_rig *r = *state;
	struct fuse_open_out out;
	uint64_t off = 0, nodes[64];
	unsigned n = 0;
	char name[32];

	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "file-%03u", i);
		share_rig_put(r, name, "12345");
	}
	assert_int_equal(share_rig_open(r, FUSE_OPENDIR, FUSE_ROOT_ID, 0, &out), 0);
	for (;;) {
		assert_int_equal(
			share_rig_read(r, FUSE_READDIRPLUS, FUSE_ROOT_ID, out.fh, off, 700), 0);
		if (!r->len)
			break;
		for (size_t at = 0; at < r->len;) {
			const struct fuse_direntplus *e =
				(const void *)((const char *)r->data + at);

			if (e->entry_out.nodeid) {
				assert_int_equal(e->entry_out.attr.size, 5);
				nodes[n++] = e->entry_out.nodeid;
			}
			off = e->dirent.off;
			at += FUSE_DIRENTPLUS_SIZE(e);
		}
		assert_int_equal(share_count(r->share).nodes, 1 + n);
	}
	assert_int_equal(n, 50);
	assert_int_equal(share_rig_release(r, FUSE_RELEASEDIR, FUSE_ROOT_ID, out.fh), 0);
	for (unsigned i = 0; i < n; i++)
		share_rig_forget(r, nodes[i], 1);
	assert_int_equal(share_count(r->share).nodes, 1);
	assert_int_equal(share_count(r->share).fds, 1);
}

/* What was only read about has no descriptor: it is opened by its place when it is used, and has
 * to be the same file then. */
static void test_listed_and_used_later(void **state)
{
	struct share_rig *r = *state;
	const struct fuse_direntplus *e;
	struct fuse_getattr_in how = {0};
	struct fuse_open_out out;
	uint64_t file = 0;

	share_rig_put(r, "d/file", "12345");
	uint64_t dir = share_rig_node(r, "d");

	assert_int_equal(share_rig_open(r, FUSE_OPENDIR, dir, 0, &out), 0);
	unsigned fds = share_count(r->share).fds;

	assert_int_equal(share_rig_read(r, FUSE_READDIRPLUS, dir, out.fh, 0, 4096), 0);
	for (size_t at = 0; at < r->len; at += FUSE_DIRENTPLUS_SIZE(e)) {
		e = (const void *)((const char *)r->data + at);
		file = e->entry_out.nodeid ? e->entry_out.nodeid : file;
	}
	assert_int_not_equal(file, 0);
	assert_int_equal(share_count(r->share).fds, fds);

	/* Another of this name, while that one is elsewhere. */
	assert_int_equal(rename(share_rig_path(r, "d/file"), share_rig_path(r, "away")), 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, file, &how, sizeof(how), NULL, 0),
			 -ESTALE);
	assert_int_equal(symlink("../away", share_rig_path(r, "d/file")), 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, file, &how, sizeof(how), NULL, 0),
			 -ESTALE);
	assert_int_equal(unlink(share_rig_path(r, "d/file")), 0);
	assert_int_equal(rename(share_rig_path(r, "away"), share_rig_path(r, "d/file")), 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, file, &how, sizeof(how), NULL, 0), 0);
	assert_int_equal(share_count(r->share).fds, fds + 1);

	/* From now on it is held, wherever it is. */
	assert_int_equal(rename(share_rig_path(r, "d/file"), share_rig_path(r, "away")), 0);
	assert_int_equal(share_rig_call(r, FUSE_GETATTR, file, &how, sizeof(how), NULL, 0), 0);
}

/* --- writing --------------------------------------------------------------------------------- */

static void test_create_and_write(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	struct stat st;

	assert_int_equal(share_rig_create(r, FUSE_ROOT_ID, "new", O_RDWR | O_CREAT, S_IFREG | 0666,
					  &entry, &out),
			 0);
	assert_int_equal(share_rig_write(r, entry.nodeid, out.fh, 0, "0123456789", 10), 10);
	assert_int_equal(share_rig_write(r, entry.nodeid, out.fh, 4, "xy", 2), 2);
	assert_string_equal(share_rig_get(r, "new"), "0123xy6789");
	assert_int_equal(share_rig_read(r, FUSE_READ, entry.nodeid, out.fh, 3, 4), 0);
	assert_memory_equal(r->data, "3xy6", 4);
	/* The guest's umask is in the mode already; ours is not. */
	assert_int_equal(stat(share_rig_path(r, "new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);

	const struct fuse_flush_in flush = {.fh = out.fh};
	const struct fuse_fsync_in sync = {.fh = out.fh, .fsync_flags = 1};

	assert_int_equal(
		share_rig_call(r, FUSE_FLUSH, entry.nodeid, &flush, sizeof(flush), NULL, 0), 0);
	assert_int_equal(share_rig_call(r, FUSE_FSYNC, entry.nodeid, &sync, sizeof(sync), NULL, 0),
			 0);
	assert_int_equal(share_rig_create(r, FUSE_ROOT_ID, "new", O_RDWR | O_CREAT | O_EXCL,
					  S_IFREG | 0666, &entry, &out),
			 -EEXIST);
}

static void test_append_and_truncate(void **state)
{
	struct share_rig *r = *state;
	uint64_t node, fh;

	share_rig_put(r, "log", "one");
	node = share_rig_node(r, "log");
	fh = share_rig_opened(r, node, O_WRONLY | O_APPEND);
	/* The host appends as well: both are there. */
	share_rig_put(r, "other", "");
	int fd = open(share_rig_path(r, "log"), O_WRONLY | O_APPEND | O_CLOEXEC);

	assert_int_equal(write(fd, "two", 3), 3);
	close(fd);
	assert_int_equal(share_rig_write(r, node, fh, 3, "three", 5), 5);
	assert_string_equal(share_rig_get(r, "log"), "onetwothree");

	const struct fuse_setattr_in cut = {.valid = FATTR_SIZE, .size = 4};
	const struct fuse_setattr_in cut_open = {
		.valid = FATTR_SIZE | FATTR_FH, .fh = fh, .size = 2};

	assert_int_equal(share_rig_call(r, FUSE_SETATTR, node, &cut, sizeof(cut), NULL, 0), 0);
	assert_string_equal(share_rig_get(r, "log"), "onet");
	assert_int_equal(
		share_rig_call(r, FUSE_SETATTR, node, &cut_open, sizeof(cut_open), NULL, 0), 0);
	assert_string_equal(share_rig_get(r, "log"), "on");
	share_rig_node(r, "log");
	share_rig_opened(r, node, O_WRONLY | O_TRUNC);
	assert_string_equal(share_rig_get(r, "log"), "");
}

static void test_mode_and_times(void **state)
{
	struct share_rig *r = *state;
	uint64_t node;
	struct stat st;
	struct fuse_attr_out attr;

	share_rig_put(r, "f", "");
	assert_int_equal(symlink("f", share_rig_path(r, "link")), 0);
	node = share_rig_node(r, "f");
	const struct fuse_setattr_in in = {
		.valid = FATTR_MODE | FATTR_ATIME | FATTR_MTIME,
		.mode = 0640,
		.atime = 1000,
		.mtime = 2000,
		.mtimensec = 500,
	};

	assert_int_equal(share_rig_call(r, FUSE_SETATTR, node, &in, sizeof(in), NULL, 0), 0);
	memcpy(&attr, r->data, sizeof(attr));
	assert_int_equal(attr.attr.mode, S_IFREG | 0640);
	assert_int_equal(attr.attr.mtimensec, 500);
	assert_int_equal(stat(share_rig_path(r, "f"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_atim.tv_sec, 1000);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	/* A link has times of its own, and what it leads to keeps its. */
	node = share_rig_node(r, "link");
	const struct fuse_setattr_in link_time = {.valid = FATTR_MTIME, .mtime = 77};

	assert_int_equal(
		share_rig_call(r, FUSE_SETATTR, node, &link_time, sizeof(link_time), NULL, 0), 0);
	assert_int_equal(lstat(share_rig_path(r, "link"), &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 77);
	assert_int_equal(stat(share_rig_path(r, "f"), &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
}

static void test_names(void **state)
{
	struct share_rig *r = *state;
	const struct fuse_mkdir_in dir = {.mode = 0700};
	const struct fuse_mknod_in fifo = {.mode = S_IFIFO | 0600};
	struct fuse_entry_out entry;
	struct stat st;
	uint64_t node;

	assert_int_equal(share_rig_call(r, FUSE_MKDIR, 1, &dir, sizeof(dir), "d", 2), 0);
	node = share_rig_node(r, "d");
	assert_int_equal(share_rig_call(r, FUSE_MKNOD, node, &fifo, sizeof(fifo), "p", 2), 0);
	assert_int_equal(lstat(share_rig_path(r, "d/p"), &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	assert_int_equal(share_rig_call(r, FUSE_SYMLINK, node, NULL, 0, "l\0../x", 7), 0);
	assert_int_equal(
		share_rig_call(r, FUSE_READLINK, share_rig_node(r, "d/l"), NULL, 0, NULL, 0), 0);
	assert_int_equal(r->len, 4);
	assert_memory_equal(r->data, "../x", 4);

	const struct fuse_link_in link = {.oldnodeid = share_rig_node(r, "d/p")};

	assert_int_equal(share_rig_call(r, FUSE_LINK, 1, &link, sizeof(link), "q", 2), 0);
	assert_int_equal(share_rig_lookup(r, 1, "q", &entry), 0);
	assert_int_equal(entry.nodeid, link.oldnodeid);
	assert_int_equal(entry.attr.nlink, 2);

	const struct fuse_rename_in up = {.newdir = 1};
	const struct fuse_rename2_in careful = {.newdir = 1, .flags = RENAME_NOREPLACE};
	const struct fuse_rename2_in exchange = {.newdir = 1, .flags = RENAME_EXCHANGE};

	assert_int_equal(
		share_rig_call(r, FUSE_RENAME2, node, &careful, sizeof(careful), "l\0q", 4),
		-EEXIST);
	assert_int_equal(share_rig_call(r, FUSE_RENAME, node, &up, sizeof(up), "l\0m", 4), 0);
	assert_int_equal(share_rig_call(r, FUSE_RENAME2, 1, &exchange, sizeof(exchange), "m\0q", 4),
			 0);
	assert_int_equal(lstat(share_rig_path(r, "q"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(share_rig_name_op(r, FUSE_RMDIR, 1, "d"), -ENOTEMPTY);
	assert_int_equal(share_rig_name_op(r, FUSE_UNLINK, node, "p"), 0);
	assert_int_equal(share_rig_name_op(r, FUSE_RMDIR, 1, "d"), 0);
	assert_int_equal(share_rig_name_op(r, FUSE_UNLINK, 1, "d"), -ENOENT);
}

/* A file that is open has no name any more, and is there all the same, also when its
 * descriptors are scarce. */
static void test_unlinked_while_open(void **state)
{
	struct share_rig *r = *state;
	struct fuse_attr_out attr;
	uint64_t node, fh;
	char name[32];

	share_rig_put(r, "f", "still here");
	node = share_rig_node(r, "f");
	fh = share_rig_opened(r, node, O_RDWR);
	assert_int_equal(share_rig_name_op(r, FUSE_UNLINK, 1, "f"), 0);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "g%u", i);
		share_rig_put(r, name, "");
		share_rig_node(r, name);
	}
	assert_int_equal(share_rig_read(r, FUSE_READ, node, fh, 0, 100), 0);
	assert_memory_equal(r->data, "still here", 10);
	assert_int_equal(share_rig_write(r, node, fh, 0, "STILL", 5), 5);

	const struct fuse_getattr_in in = {.getattr_flags = FUSE_GETATTR_FH, .fh = fh};

	assert_int_equal(share_rig_call(r, FUSE_GETATTR, node, &in, sizeof(in), NULL, 0), 0);
	memcpy(&attr, r->data, sizeof(attr));
	assert_int_equal(attr.attr.nlink, 0);
	assert_int_equal(share_rig_release(r, FUSE_RELEASE, node, fh), 0);
}

static void test_sparse_and_copy(void **state)
{
	struct share_rig *r = *state;
	struct fuse_lseek_out at;
	struct fuse_write_out copied;
	uint64_t from, to, from_fh, to_fh;
	struct stat st;

	share_rig_put(r, "from", "abcdef");
	share_rig_put(r, "to", "");
	from = share_rig_node(r, "from");
	to = share_rig_node(r, "to");
	from_fh = share_rig_opened(r, from, O_RDONLY);
	to_fh = share_rig_opened(r, to, O_RDWR);

	const struct fuse_copy_file_range_in copy = {
		.fh_in = from_fh, .off_in = 1, .nodeid_out = to, .fh_out = to_fh, .len = 4};

	assert_int_equal(
		share_rig_call(r, FUSE_COPY_FILE_RANGE, from, &copy, sizeof(copy), NULL, 0), 0);
	memcpy(&copied, r->data, sizeof(copied));
	assert_int_equal(copied.size, 4);
	assert_string_equal(share_rig_get(r, "to"), "bcde");

	const struct fuse_fallocate_in longer = {.fh = to_fh, .offset = 0, .length = 1 << 20};

	assert_int_equal(share_rig_call(r, FUSE_FALLOCATE, to, &longer, sizeof(longer), NULL, 0),
			 0);
	assert_int_equal(stat(share_rig_path(r, "to"), &st), 0);
	assert_int_equal(st.st_size, 1 << 20);

	const struct fuse_lseek_in hole = {.fh = from_fh, .offset = 0, .whence = SEEK_HOLE};
	const struct fuse_lseek_in set = {.fh = from_fh, .offset = 0, .whence = SEEK_SET};

	assert_int_equal(share_rig_call(r, FUSE_LSEEK, from, &hole, sizeof(hole), NULL, 0), 0);
	memcpy(&at, r->data, sizeof(at));
	assert_int_equal(at.offset, 6);
	assert_int_equal(share_rig_call(r, FUSE_LSEEK, from, &set, sizeof(set), NULL, 0), -EINVAL);
}

static void test_xattrs(void **state)
{
	struct share_rig *r = *state;
	struct {
		struct fuse_setxattr_in in; /* only the first 8 bytes of it */
	} set = {{.size = 5}};
	const struct fuse_getxattr_in want = {.size = 100}, ask = {.size = 0}, small = {.size = 2};
	struct fuse_getxattr_out len;
	char value[16];
	uint64_t node;

	share_rig_put(r, "f", "");
	if (setxattr(share_rig_path(r, "f"), "user.probe", "x", 1, 0) && errno == EOPNOTSUPP)
		skip(); /* the file system of TMPDIR has none */
	removexattr(share_rig_path(r, "f"), "user.probe");
	node = share_rig_node(r, "f");
	assert_int_equal(share_rig_call(r, FUSE_SETXATTR, node, &set, 8, "user.a\0value", 12), 0);
	assert_int_equal(getxattr(share_rig_path(r, "f"), "user.a", value, sizeof(value)), 5);
	assert_memory_equal(value, "value", 5);
	assert_int_equal(share_rig_call(r, FUSE_GETXATTR, node, &want, sizeof(want), "user.a", 7),
			 0);
	assert_int_equal(r->len, 5);
	assert_memory_equal(r->data, "value", 5);
	assert_int_equal(share_rig_call(r, FUSE_GETXATTR, node, &ask, sizeof(ask), "user.a", 7), 0);
	memcpy(&len, r->data, sizeof(len));
	assert_int_equal(len.size, 5);
	assert_int_equal(share_rig_call(r, FUSE_GETXATTR, node, &small, sizeof(small), "user.a", 7),
			 -ERANGE);
	assert_int_equal(share_rig_call(r, FUSE_LISTXATTR, node, &want, sizeof(want), NULL, 0), 0);
	assert_non_null(memmem(r->data, r->len, "user.a", 7));
	assert_int_equal(share_rig_name_op(r, FUSE_REMOVEXATTR, node, "user.a"), 0);
	assert_int_equal(share_rig_call(r, FUSE_GETXATTR, node, &want, sizeof(want), "user.a", 7),
			 -ENODATA);
}

static void test_long_names(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	char name[300];

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	assert_int_equal(
		share_rig_create(r, 1, name, O_RDWR | O_CREAT, S_IFREG | 0600, &entry, &out), 0);
	assert_int_equal(share_rig_lookup(r, 1, name, &entry), 0);
	name[255] = 'n';
	name[256] = '\0';
	assert_int_equal(share_rig_lookup(r, 1, name, &entry), -ENAMETOOLONG);
}

static void test_statfs_access_syncfs(void **state)
{
	struct share_rig *r = *state;
	struct fuse_statfs_out fs;
	const struct fuse_access_in mask = {.mask = R_OK | W_OK};
	const struct fuse_syncfs_in sync = {0};

	assert_int_equal(share_rig_call(r, FUSE_STATFS, 1, NULL, 0, NULL, 0), 0);
	memcpy(&fs, r->data, sizeof(fs));
	assert_true(fs.st.bsize && fs.st.namelen >= 255);
	assert_int_equal(share_rig_call(r, FUSE_ACCESS, 1, &mask, sizeof(mask), NULL, 0), 0);
	assert_int_equal(share_rig_call(r, FUSE_SYNCFS, 1, &sync, sizeof(sync), NULL, 0), 0);
}

/* --- owners ----------------------------------------------------------------------------------- */

static void test_made_by_the_caller(void **state)
{
	struct share_rig *r = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	const struct fuse_mkdir_in dir = {.mode = 0755};
	struct stat st;

	r->uid = 12345;
	r->gid = 54321;
	assert_int_equal(
		share_rig_create(r, 1, "theirs", O_RDWR | O_CREAT, S_IFREG | 0640, &entry, &out),
		0);
	assert_int_equal(share_rig_call(r, FUSE_MKDIR, 1, &dir, sizeof(dir), "d", 2), 0);
	assert_int_equal(stat(share_rig_path(r, "theirs"), &st), 0);
	assert_int_equal(st.st_uid, geteuid() ? geteuid() : 12345);
	assert_int_equal(st.st_gid, geteuid() ? getegid() : 54321);
	assert_int_equal(entry.attr.uid, geteuid() ? 0 : 12345);
	assert_int_equal(stat(share_rig_path(r, "d"), &st), 0);
	assert_int_equal(st.st_uid, geteuid() ? geteuid() : 12345);
	/* And the thread is itself again. */
	share_rig_put(r, "ours", "");
	assert_int_equal(stat(share_rig_path(r, "ours"), &st), 0);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(st.st_gid, getegid());
}

/* A share of somebody who is not root, "shown" as theirs or as the guest's root's. Gives
 * whether what the guest makes belongs, there and here, to whom it should. */
static bool owner_is_right(bool shown)
{
	const struct share_options options = {.name = "share0",
					      .writable = true,
					      .fds_max = SHARE_FDS_MIN,
					      .owners_shown = shown};
	struct share_rig *r = malloc(sizeof(*r));
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	struct err e = {0};
	struct stat st;

	share_rig_init(r, true, SHARE_CACHE_AUTO, 0);
	share_destroy(r->share);
	assert_int_equal(share_open(&r->share, r->dir, &options, &e), 0);
	assert_int_equal(share_rig_mount(r, 0), 0);
	r->uid = shown ? geteuid() : 0;
	assert_int_equal(
		share_rig_create(r, 1, "made", O_RDWR | O_CREAT, S_IFREG | 0640, &entry, &out), 0);
	assert_int_equal(stat(share_rig_path(r, "made"), &st), 0);
	share_rig_fini(r);
	free(r);
	return st.st_uid == geteuid() && st.st_gid == getegid() &&
	       entry.attr.uid == (shown ? geteuid() : 0) &&
	       entry.attr.gid == (shown ? getegid() : 0);
}

static void test_whose_without_root(void **state)
{
	for (int shown = 0; shown < 2; shown++) {
		int status = -1;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (!pid) {
			/* Whatever fails in there, this process ends here. */
			if (!geteuid() &&
			    (setresgid(54321, 54321, 54321) || setresuid(12345, 12345, 12345)))
				_exit(2);
			_exit(owner_is_right(shown) ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

static void test_write_drops_suid(void **state)
{
	struct share_rig *r = *state;
	struct {
		struct fuse_write_in in;
		char data;
	} w = {{.size = 1, .write_flags = FUSE_WRITE_KILL_SUIDGID}, 'x'};
	struct stat st;
	uint64_t node;

	share_rig_put(r, "su", "");
	assert_int_equal(chmod(share_rig_path(r, "su"), 06755), 0);
	node = share_rig_node(r, "su");
	w.in.fh = share_rig_opened(r, node, O_WRONLY);
	assert_int_equal(share_rig_call(r, FUSE_WRITE, node, &w.in, sizeof(w.in), &w.data, 1), 0);
	assert_int_equal(stat(share_rig_path(r, "su"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

/* --- read-only -------------------------------------------------------------------------- */

static void test_readonly_refuses_each_change(void **state)
{
	static const struct {
		uint32_t op;
		size_t args, tail;
		const char *names;
	} changes[] = {
		{FUSE_SETATTR, sizeof(struct fuse_setattr_in), 0, NULL},
		{FUSE_SYMLINK, 0, 4, "l\0x"},
		{FUSE_MKNOD, sizeof(struct fuse_mknod_in), 2, "n"},
		{FUSE_MKDIR, sizeof(struct fuse_mkdir_in), 2, "n"},
		{FUSE_UNLINK, 0, 2, "f"},
		{FUSE_RMDIR, 0, 2, "d"},
		{FUSE_RENAME, sizeof(struct fuse_rename_in), 4, "f\0n"},
		{FUSE_RENAME2, sizeof(struct fuse_rename2_in), 4, "f\0n"},
		{FUSE_LINK, sizeof(struct fuse_link_in), 2, "n"},
		{FUSE_WRITE, sizeof(struct fuse_write_in), 0, NULL},
		{FUSE_SETXATTR, 8, 7, "user.a"},
		{FUSE_REMOVEXATTR, 0, 7, "user.a"},
		{FUSE_CREATE, sizeof(struct fuse_create_in), 2, "n"},
		{FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), 0, NULL},
		{FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), 0, NULL},
	};
	static const uint8_t zeroes[128];
	struct share_rig *r = *state;
	struct fuse_open_out out;
	uint64_t node;

	share_rig_put(r, "f", "text");
	share_rig_put(r, "d/x", "");
	node = share_rig_node(r, "f");
	for (unsigned i = 0; i < ARRAY_LEN(changes); i++)
		assert_int_equal(share_rig_call(r, changes[i].op, 1, zeroes, changes[i].args,
						changes[i].names, changes[i].tail),
				 -EROFS);
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_WRONLY, &out), -EROFS);
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDWR, &out), -EROFS);
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY | O_TRUNC, &out), -EROFS);
	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, O_RDONLY, &out), 0);
	assert_string_equal(share_rig_get(r, "f"), "text");

	const struct fuse_access_in mask = {.mask = W_OK};

	assert_int_equal(share_rig_call(r, FUSE_ACCESS, node, &mask, sizeof(mask), NULL, 0),
			 -EROFS);
}

int main(void)
{
#define T(test, setup) cmocka_unit_test_setup_teardown(test, setup, share_rig_teardown)
	const struct CMUnitTest tests[] = {
		T(test_read, setup),
		T(test_readdir_in_small_pieces, setup),
		T(test_readdirplus_counts, setup),
		T(test_listed_and_used_later, setup),
		T(test_create_and_write, setup),
		T(test_append_and_truncate, setup),
		T(test_mode_and_times, setup),
		T(test_names, setup),
		T(test_unlinked_while_open, setup_scarce),
		T(test_sparse_and_copy, setup),
		T(test_xattrs, setup),
		T(test_long_names, setup),
		T(test_statfs_access_syncfs, setup),
		T(test_made_by_the_caller, setup),
		cmocka_unit_test(test_whose_without_root),
		T(test_write_drops_suid, setup),
		T(test_readonly_refuses_each_change, setup_readonly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
