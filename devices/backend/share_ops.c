/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations: their table, and those on what a name or a node is: looking up, forgetting,
 * attributes, symbolic links, the file system. Each answers before it returns.
 */
#include "devices/backend/share_priv.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* A file's times are those of the host's clock tick, or on some file systems of the
 * second: one that was changed just now may change again and show no difference. */
enum { SETTLED_S = 3 };

const char *share_fd_name(int fd, char name[SHARE_FD_NAME])
{
	snprintf(name, SHARE_FD_NAME, "%d", fd);
	return name;
}

int share_want(struct share *s, fuse_ino_t id, struct share_node **out)
{
	struct share_node *n = share_node_get(&s->nodes, id);

	*out = n;
	return n ? share_node_fd(&s->nodes, n) : -ESTALE;
}

/* --- is what the guest remembers still so? ------------------------------------------------- */

/* Was this thread sent away just now? It has looked the path up again. */
static bool came_back(struct share *s, uint32_t pid)
{
	for (unsigned i = 0; i < SHARE_RETRIES; i++)
		if (s->retries[i] == pid + 1ull) {
			s->retries[i] = 0;
			return true;
		}
	return false;
}

int share_check_place(fuse_req_t req, struct share_node *n, bool changed)
{
	struct share *s = share_of(req);
	uint32_t pid = (uint32_t)fuse_req_ctx(req)->pid;

	if (s->cache != SHARE_CACHE_AUTO || came_back(s, pid) ||
	    (!changed && share_node_in_place(&s->nodes, n)))
		return 0;
	s->retries[s->next_retry] = pid + 1ull;
	s->next_retry = (s->next_retry + 1) % SHARE_RETRIES;
	return -ESTALE;
}

int share_want_dir(fuse_req_t req, fuse_ino_t id, const char *name, struct share_node **out)
{
	struct share *s = share_of(req);
	int fd = share_want(s, id, out), ret;

	if (fd < 0)
		return fd;
	/* It was checked; but libfuse has had it in its hands, and from here it goes to the host.
	 */
	if (!share_is_name(name))
		return -EINVAL;
	if ((*out)->type != S_IFDIR)
		return -ENOTDIR;
	if ((*out)->opaque)
		return -EACCES;
	ret = share_check_place(req, *out, false);
	return ret ? ret : fd;
}

/* --- what the guest is told ------------------------------------------------------------- */

double share_timeout(const struct share *s)
{
	static const double seconds[] = {
		[SHARE_CACHE_AUTO] = 1,
		[SHARE_CACHE_NONE] = 0,
		[SHARE_CACHE_ALWAYS] = 24 * 3600,
	};

	return seconds[s->cache];
}

bool share_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool share_pages_good(struct share_node *n, const struct stat *st)
{
	bool good = n->seen && n->seen_size == st->st_size &&
		    share_same_time(&n->seen_mtime, &st->st_mtim) &&
		    share_same_time(&n->seen_ctime, &st->st_ctim);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	n->seen = now.tv_sec - st->st_ctim.tv_sec > SETTLED_S;
	n->seen_size = st->st_size;
	n->seen_mtime = st->st_mtim;
	n->seen_ctime = st->st_ctim;
	return good;
}

void share_tell(struct share_node *n, const struct share_stat *st)
{
	n->told = true;
	n->told_size = st->st.st_size;
	n->told_mtime = st->st.st_mtim;
}

int share_enter(struct share *s, struct share_node *parent, const char *name, bool open,
		struct fuse_entry_param *entry)
{
	struct share_node *n;
	struct share_stat st;
	int ret = share_node_lookup(&s->nodes, parent, name, open, &n, &st);

	if (ret)
		return ret;
	share_tell(n, &st);
	share_show(s, &st.st);
	*entry = (struct fuse_entry_param){
		.ino = n->id,
		.generation = n->id >> 32,
		.attr = st.st,
		.attr_timeout = share_timeout(s),
		.entry_timeout = share_timeout(s),
	};
	return 0;
}

void share_reply_entry(fuse_req_t req, struct share_node *parent, const char *name)
{
	struct fuse_entry_param entry;
	int ret = share_enter(share_of(req), parent, name, true, &entry);

	if (ret)
		share_reply(req, ret);
	else
		fuse_reply_entry(req, &entry);
}

static void reply_attr(fuse_req_t req, struct share_node *n, int fd)
{
	struct share *s = share_of(req);
	struct share_stat st;
	int ret = share_stat(fd, "", &st);

	if (ret) {
		share_reply(req, ret);
		return;
	}
	share_tell(n, &st);
	share_show(s, &st.st);
	fuse_reply_attr(req, &st.st, share_timeout(s));
}

/* --- names and nodes -------------------------------------------------------------------- */

static void op_init(void *arg, struct fuse_conn_info *conn)
{
	const struct share *s = arg;

	/* complete_init() offers its better successor. */
	conn->want &= ~FUSE_CAP_HANDLE_KILLPRIV;
	if (s->cache == SHARE_CACHE_ALWAYS)
		conn->want |= conn->capable & FUSE_CAP_CACHE_SYMLINKS;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct share *s = share_of(req);
	struct share_node *dir;
	struct fuse_entry_param entry = {0};
	int ret = share_want(s, parent, &dir);

	if (ret >= 0)
		ret = share_enter(s, dir, name, true, &entry);
	/* It may be there in the directory that took this one's place. */
	if (ret == -ENOENT && share_check_place(req, dir, false))
		ret = -ESTALE;
	entry.entry_timeout = share_timeout(s);
	if (ret && (ret != -ENOENT || s->cache != SHARE_CACHE_ALWAYS))
		share_reply(req, ret);
	else
		fuse_reply_entry(req, &entry); /* node 0: it is known not to be there */
}

static void forget_one(struct share *s, uint64_t id, uint64_t n)
{
	struct share_node *node = share_node_get(&s->nodes, id);

	if (node)
		share_node_forget(&s->nodes, node, n);
}

static void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t n)
{
	forget_one(share_of(req), id, n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget_one(share_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct share_node *n;
	int fd = share_want(share_of(req), id, &n);

	if (fd < 0)
		share_reply(req, fd);
	else
		reply_attr(req, n, fd);
}

static void op_readlink(fuse_req_t req, fuse_ino_t id)
{
	char target[PATH_MAX + 1];
	struct share_node *n;
	int fd = share_want(share_of(req), id, &n);
	ssize_t len = fd < 0 ? fd : readlinkat(fd, "", target, PATH_MAX);

	if (len < 0) {
		share_reply(req, fd < 0 ? fd : errno == ENOENT ? -EINVAL : -errno);
		return;
	}
	target[len] = '\0';
	fuse_reply_readlink(req, target);
}

static void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct share_node *n;
	struct statvfs fs;
	int fd = share_want(share_of(req), id, &n);

	if (fd < 0 || fstatvfs(fd, &fs))
		share_reply(req, fd < 0 ? fd : -errno);
	else
		fuse_reply_statfs(req, &fs);
}

static void op_access(fuse_req_t req, fuse_ino_t id, int mask)
{
	struct share *s = share_of(req);
	char name[SHARE_FD_NAME];
	struct share_node *n;
	int ret = share_want(s, id, &n);

	if (ret >= 0 && mask & W_OK && !s->writable)
		ret = -EROFS;
	if (ret >= 0)
		ret = faccessat(s->proc, share_fd_name(ret, name), mask & (R_OK | W_OK | X_OK),
				AT_EACCESS)
			      ? -errno
			      : 0;
	share_reply(req, ret);
}

/* --- changing attributes ---------------------------------------------------------------- */

/* Root's in the guest is ours on the host, where we are not root. */
static int set_owner(const struct share *s, int fd, const struct stat *want, int what)
{
	uid_t uid = what & FUSE_SET_ATTR_UID ? want->st_uid : (uid_t)-1;
	gid_t gid = what & FUSE_SET_ATTR_GID ? want->st_gid : (gid_t)-1;

	if (s->shown_as_root && !uid)
		uid = s->uid;
	if (s->shown_as_root && !gid)
		gid = s->gid;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

static int set_size(struct share *s, struct share_node *n, int file, off_t size)
{
	const uint32_t valid = le32_get(s->copy + SHARE_HEADER_LEN);
	_cleanup_fd_ int own = -1;
	char name[SHARE_FD_NAME];

	if (n->type != S_IFREG)
		return n->type == S_IFDIR ? -EISDIR : -EINVAL;
	if (file < 0) {
		own = openat(s->proc, share_fd_name(n->fd, name),
			     O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		if (own < 0)
			return -errno;
		file = own;
	}
	if (valid & FATTR_KILL_SUIDGID)
		share_drop_suid(file);
	return ftruncate(file, size) ? -errno : 0;
}

static int set_times(const struct share *s, const struct share_node *n, const struct stat *want,
		     int what)
{
	struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
	char name[SHARE_FD_NAME];

	if (what & FUSE_SET_ATTR_ATIME_NOW)
		t[0].tv_nsec = UTIME_NOW;
	else if (what & FUSE_SET_ATTR_ATIME)
		t[0] = want->st_atim;
	if (what & FUSE_SET_ATTR_MTIME_NOW)
		t[1].tv_nsec = UTIME_NOW;
	else if (what & FUSE_SET_ATTR_MTIME)
		t[1] = want->st_mtim;
	if (n->type == S_IFLNK) /* since Linux 5.8 */
		return utimensat(n->fd, "", t, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
	return utimensat(s->proc, share_fd_name(n->fd, name), t, 0) ? -errno : 0;
}

static void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *want, int what,
		       struct fuse_file_info *fi)
{
	struct share *s = share_of(req);
	struct share_handle *h = NULL;
	char name[SHARE_FD_NAME];
	struct share_node *n;
	int fd = share_want(s, id, &n), ret = fd < 0 ? fd : 0;

	if (!ret && n->opaque)
		ret = -EACCES;
	if (!ret && fi) {
		h = share_handle_get(&s->handles, fi->fh, id, n->type == S_IFDIR);
		ret = h ? 0 : -EBADF;
	}
	/* A new owner takes set-user-ID away; the mode may give it back. */
	if (!ret && what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		ret = set_owner(s, fd, want, what);
	if (!ret && what & FUSE_SET_ATTR_MODE)
		ret = n->type == S_IFLNK ? -EOPNOTSUPP
		      : fchmodat(s->proc, share_fd_name(fd, name), want->st_mode & 07777, 0)
			      ? -errno
			      : 0;
	if (!ret && what & FUSE_SET_ATTR_SIZE)
		ret = set_size(s, n, h ? h->fd : -1, want->st_size);
	if (!ret && what & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
			    FUSE_SET_ATTR_MTIME_NOW))
		ret = set_times(s, n, want, what);
	if (ret)
		share_reply(req, ret);
	else
		reply_attr(req, n, fd);
}

/* Locks are the guest's own: without operations for them its kernel keeps them itself. */
const struct fuse_lowlevel_ops share_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.statfs = op_statfs,
	.access = op_access,
	.mknod = share_mknod,
	.mkdir = share_mkdir,
	.symlink = share_symlink,
	.link = share_link,
	.unlink = share_unlink,
	.rmdir = share_rmdir,
	.rename = share_rename,
	.open = share_op_open,
	.create = share_create,
	.read = share_read,
	.write = share_write,
	.flush = share_flush,
	.release = share_release,
	.fsync = share_fsync,
	.fallocate = share_fallocate,
	.lseek = share_lseek,
	.copy_file_range = share_copy_file_range,
	.opendir = share_opendir,
	.readdir = share_readdir,
	.readdirplus = share_readdirplus,
	.releasedir = share_releasedir,
	.fsyncdir = share_fsyncdir,
	.setxattr = share_setxattr,
	.getxattr = share_getxattr,
	.listxattr = share_listxattr,
	.removexattr = share_removexattr,
};
