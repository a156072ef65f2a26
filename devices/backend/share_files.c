/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contents of files. Only regular files are ever opened: a FIFO or a device of the same
 * name is for the guest's own kernel to serve, and opening one here could wait or have
 * effects. O_NONBLOCK is for the files of kernels, which look regular and wait.
 */
#include "devices/backend/share_priv.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <unistd.h>

enum {
	/* What the guest's flags may ask of the host. */
	OPEN_FLAGS = O_ACCMODE | O_APPEND | O_TRUNC | O_SYNC | O_DSYNC,
	OUR_FLAGS = O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
	COPY_MAX = 64 << 20,
	/* What Linux passes on. The others move or fill a whole file, while all else waits. */
	FALLOCATE_MODES = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE,
};

static bool writes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

void share_drop_suid(int fd)
{
	struct stat st;

	if (!fstat(fd, &st) && st.st_mode & (S_ISUID | S_ISGID) && S_ISREG(st.st_mode))
		fchmod(fd, st.st_mode & 07777 &
				   ~(S_ISUID | (st.st_mode & S_IXGRP ? (unsigned)S_ISGID : 0)));
}

/* `fd`, which this takes over, becomes a handle: 0 or a negative errno. */
static int add_handle(struct share *s, struct share_node *n, int fd, const struct stat *st,
		      struct fuse_file_info *fi)
{
	struct share_handle *h = share_handle_add(&s->handles, n, fd, false);

	if (!h)
		return -ENFILE;
	fi->fh = h->id;
	fi->direct_io = s->cache == SHARE_CACHE_NONE;
	fi->keep_cache = s->cache == SHARE_CACHE_ALWAYS ||
			 (share_pages_good(n, st) && s->cache == SHARE_CACHE_AUTO);
	/* Nothing is held back that a close would have to send. */
	fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY;
	return 0;
}

static int open_node(struct share *s, struct share_node *n, int flags)
{
	char name[SHARE_FD_NAME];
	int fd;

	if (n->type != S_IFREG)
		return n->type == S_IFDIR ? -EISDIR : n->type == S_IFLNK ? -ELOOP : -ENXIO;
	fd = share_node_fd(&s->nodes, n);
	if (fd < 0)
		return fd;
	fd = openat(s->proc, share_fd_name(fd, name), (flags & OPEN_FLAGS) | OUR_FLAGS);
	return fd < 0 ? -errno : fd;
}

/* The guest opens a file as it remembers it. If it has become another since, it is
 * to look again: its size decides how much the guest's kernel will read. */
static bool differs(const struct share_node *n, const struct stat *st)
{
	return n->told &&
	       (n->told_size != st->st_size || !share_same_time(&n->told_mtime, &st->st_mtim));
}

void share_op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	const struct fuse_open_in *in = (const void *)(share_of(req)->copy + SHARE_HEADER_LEN);
	bool drop_suid = in->open_flags & FUSE_OPEN_KILL_SUIDGID;
	struct share *s = share_of(req);
	struct share_node *n;
	struct share_stat st;
	int ret = share_want(s, id, &n), fd = -1;

	if (ret >= 0)
		ret = !s->writable && writes(fi->flags) ? -EROFS : share_stat(ret, "", &st);
	if (!ret)
		ret = share_check_place(req, n, differs(n, &st.st));
	if (!ret && !share_handles_room(&s->handles))
		ret = -ENFILE;
	if (!ret)
		ret = fd = open_node(s, n, fi->flags);
	if (ret >= 0 && fi->flags & O_TRUNC) {
		n->told = false;
		if (drop_suid)
			share_drop_suid(fd);
		ret = share_stat(fd, "", &st);
		if (ret)
			fd_close(&fd);
	}
	if (ret >= 0)
		ret = add_handle(s, n, fd, &st.st, fi);
	if (ret)
		share_reply(req, ret);
	else
		fuse_reply_open(req, fi);
}

/* Make the file, or -EEXIST: what is there already is opened as any other file is, for
 * O_CREAT alone would open a device as well. */
static int make_file(fuse_req_t req, int dir, const char *name, mode_t mode, int flags)
{
	int ret = share_act_as(req);

	if (ret)
		return ret;
	ret = openat(dir, name, (flags & OPEN_FLAGS) | OUR_FLAGS | O_CREAT | O_EXCL | O_NOFOLLOW,
		     mode & 07777);
	ret = ret < 0 ? -errno : ret;
	share_act_end(share_of(req));
	return ret;
}

void share_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		  struct fuse_file_info *fi)
{
	struct share *s = share_of(req);
	struct fuse_entry_param entry;
	struct share_node *dir, *n = NULL;
	struct stat st;
	int ret = share_want_dir(req, parent, name, &dir), fd = -1;

	if (ret >= 0 && !share_handles_room(&s->handles))
		ret = -ENFILE;
	if (ret >= 0)
		ret = fd = make_file(req, ret, name, mode, fi->flags);
	if (ret >= 0 || (ret == -EEXIST && !(fi->flags & O_EXCL)))
		ret = share_enter(s, dir, name, true, &entry);
	if (!ret) {
		n = share_node_get(&s->nodes, entry.ino);
		if (fd < 0)
			ret = fd = open_node(s, n, fi->flags);
	}
	/* Somebody on the host may have put another file there meanwhile. */
	if (ret >= 0 && n)
		ret = fstat(fd, &st)                               ? -errno
		      : st.st_dev == n->dev && st.st_ino == n->ino ? 0
								   : -ESTALE;
	if (!ret)
		ret = add_handle(s, n, fd_take(&fd), &st, fi);
	fd_close(&fd);
	if (ret && n)
		share_node_forget(&s->nodes, n, 1);
	if (ret)
		share_reply(req, ret);
	else
		fuse_reply_create(req, &entry, fi);
}

/* --- open files ------------------------------------------------------------------------- */

static struct share_handle *get(fuse_req_t req, fuse_ino_t id, const struct fuse_file_info *fi)
{
	return share_handle_get(&share_of(req)->handles, fi->fh, id, false);
}

/* Into the guest's buffers, behind where the answer's header goes. */
void share_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct share *s = share_of(req);
	const struct share_request *r = s->request;
	const struct share_handle *h = get(req, id, fi);
	struct iovec iov[SHARE_IOV_MAX];
	uint64_t room = r->out_len - SHARE_ANSWER_LEN;
	ssize_t got = -1;
	int n;

	if (size > room)
		size = room;
	if (size > SHARE_DATA_MAX)
		size = SHARE_DATA_MAX;
	if (!h) {
		share_reply(req, -EBADF);
		return;
	}
	n = share_iov_cut(r->out, r->n_out, SHARE_ANSWER_LEN, size, iov, SHARE_IOV_MAX);
	do
		got = preadv(h->fd, iov, n, off);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		share_reply(req, -errno);
		return;
	}
	s->in_place = (uint64_t)got;
	/* libfuse passes the address on and does not look. */
	fuse_reply_buf(req, got ? iov[0].iov_base : NULL, (size_t)got);
}

/* From the guest's buffers: libfuse has not seen the data, and `buf` is no buffer. */
void share_write(fuse_req_t req, fuse_ino_t id, const char *buf, size_t size, off_t off,
		 struct fuse_file_info *fi)
{
	struct share *s = share_of(req);
	const struct share_request *r = s->request;
	const struct fuse_write_in *in = (const void *)(s->copy + SHARE_HEADER_LEN);
	const struct share_handle *h = get(req, id, fi);
	struct iovec iov[SHARE_IOV_MAX];
	ssize_t put;
	int n;

	if (!h) {
		share_reply(req, -EBADF);
		return;
	}
	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
		share_drop_suid(h->fd);
	/* The guest knows by itself that this changes what it was told. */
	h->node->told = false;
	n = share_iov_cut(r->in, r->n_in, SHARE_HEADER_LEN + SHARE_WRITE_LEN, size, iov,
			  SHARE_IOV_MAX);
	do
		put = pwritev(h->fd, iov, n, off);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		share_reply(req, -errno);
	else
		fuse_reply_write(req, (size_t)put);
}

/* A close, of which there may be several for an open file: a network file system tells
 * of writes that failed. */
void share_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	const struct share_handle *h = get(req, id, fi);
	int fd = h ? fcntl(h->fd, F_DUPFD_CLOEXEC, 0) : -1;

	share_reply(req, !h ? -EBADF : fd < 0 || close(fd) ? -errno : 0);
}

void share_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct share *s = share_of(req);
	struct share_handle *h = get(req, id, fi);

	if (h)
		share_handle_remove(&s->handles, &s->nodes, h);
	share_reply(req, h ? 0 : -EBADF);
}

void share_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi)
{
	const struct share_handle *h = get(req, id, fi);

	share_reply(req, !h ? -EBADF : (datasync ? fdatasync(h->fd) : fsync(h->fd)) ? -errno : 0);
}

void share_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len,
		     struct fuse_file_info *fi)
{
	const struct share_handle *h = get(req, id, fi);

	if (!h || mode & ~FALLOCATE_MODES) {
		share_reply(req, h ? -EOPNOTSUPP : -EBADF);
		return;
	}
	h->node->told = false;
	share_reply(req, fallocate(h->fd, mode, off, len) ? -errno : 0);
}

void share_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence, struct fuse_file_info *fi)
{
	const struct share_handle *h = get(req, id, fi);
	off_t at = -1;

	if (h && (whence == SEEK_DATA || whence == SEEK_HOLE))
		at = lseek(h->fd, off, whence);
	else
		errno = h ? EINVAL : EBADF;
	if (at < 0)
		share_reply(req, -errno);
	else
		fuse_reply_lseek(req, at);
}

void share_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in,
			   struct fuse_file_info *fi_in, fuse_ino_t out, off_t off_out,
			   struct fuse_file_info *fi_out, size_t len, int flags)
{
	const struct share_handle *from = get(req, in, fi_in), *to = get(req, out, fi_out);
	ssize_t n;

	if (!from || !to) {
		share_reply(req, -EBADF);
		return;
	}
	to->node->told = false;
	/* Others wait meanwhile; the guest asks again for the rest. */
	n = copy_file_range(from->fd, &off_in, to->fd, &off_out, len < COPY_MAX ? len : COPY_MAX,
			    (unsigned)flags);
	if (n < 0)
		share_reply(req, -errno);
	else
		fuse_reply_write(req, (size_t)n);
}
