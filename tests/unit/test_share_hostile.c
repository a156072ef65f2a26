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
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

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

/* --- without root ------------------------------------------------------------------------ */

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
#define T(test)                                                              \
	cmocka_unit_test_setup_teardown(test, share_rig_setup_beside_secret, \
					share_rig_teardown_beside_secret)
	const struct CMUnitTest tests[] = {
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
		T(test_without_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
