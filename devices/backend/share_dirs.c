/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading directories. A place in one is what the host's file system says it is (d_off),
 * so it means the same after any change, and in any order of asking. What the host gave and the
 * guest had no room for is kept for its next request.
 */
#include "devices/backend/share_priv.h"

#include "vmm/base/fd.h"
#include "vmm/core/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ANSWER_MAX = 128 << 10 };

/* struct linux_dirent64 of getdents64(2). */
struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

/* "." asks for leave to enter, which is not needed to read; /proc does not, and takes longer. */
static int open_dir(const struct share *s, const struct share_node *n)
{
	enum { FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC };
	int fd = openat(n->fd, ".", FLAGS);
	char name[SHARE_FD_NAME];

	if (fd < 0 && errno == EACCES)
		fd = openat(s->proc, share_fd_name(n->fd, name), FLAGS);
	return fd < 0 ? -errno : fd;
}

/*
 * May the guest read its own copy of the directory, which it opens now? Reading it from
 * here tells of what is in it as well: as long as that is still believed, there is nothing
 * to gain. Afterwards each name would be a request.
 */
static bool listing_good(const struct share *s, struct share_node *n)
{
	double age = (double)(clock_monotonic_ns(&clock_host) - n->listed_ns) / 1e9;
	struct share_stat st;

	if (s->cache != SHARE_CACHE_AUTO)
		return s->cache == SHARE_CACHE_ALWAYS;
	return !share_stat(n->fd, "", &st) && share_pages_good(n, &st.st) && n->listed_ns &&
	       age < share_timeout(s) * 0.75;
}

void share_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct share *s = share_of(req);
	struct share_handle *h = NULL;
	struct share_node *n;
	int ret = share_want(s, id, &n), fd = -1;

	if (ret >= 0)
		ret = n->type == S_IFDIR ? share_check_place(req, n, false) : -ENOTDIR;
	if (!ret && !n->opaque) {
		fd = open_dir(s, n);
		ret = fd < 0 ? fd : 0;
	}
	if (!ret) {
		h = share_handle_add(&s->handles, n, fd, true);
		ret = h ? 0 : -ENFILE;
	}
	if (ret) {
		share_reply(req, ret);
		return;
	}
	fi->fh = h->id;
	fi->cache_readdir = s->cache != SHARE_CACHE_NONE;
	fi->keep_cache = listing_good(s, n);
	fuse_reply_open(req, fi);
}

/* Read on at `off`; bytes or a negative errno. */
static long read_ahead(struct share_handles *t, struct share_handle *h, off_t off)
{
	/* Without what was read the host is further than the guest has come. */
	bool there = h->entries && off == h->pos && off;
	long got;

	if (!share_handle_read_ahead(t, h))
		return -ENOMEM;
	if (!there && lseek(h->fd, off, SEEK_SET) < 0)
		return -errno;
	got = syscall(SYS_getdents64, h->fd, h->entries, SHARE_AHEAD);
	return got < 0 ? -errno : got;
}

/* The entry at `off`, or NULL with *error 0 at the end. */
static const struct entry *entry_at(struct share_handles *t, struct share_handle *h, off_t off,
				    int *error)
{
	long got;

	*error = 0;
	if (h->fd < 0)
		return NULL;
	if (h->entries && off == h->pos && h->at < h->end)
		return (const void *)(h->entries + h->at);
	got = read_ahead(t, h, off);
	h->at = 0;
	/* Where the host is in the directory now is known only after a success. */
	h->pos = got < 0 ? -1 : off;
	h->end = got < 0 ? 0 : (unsigned)got;
	*error = got < 0 ? (int)got : 0;
	return h->end ? (const void *)h->entries : NULL;
}

static void step_over(struct share_handle *h, const struct entry *e)
{
	h->pos = e->off;
	h->at += e->len;
}

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Adds one entry, with all that is known of it if `plus`: how long it is, also if there is not
 * so much room. Then nothing was added. */
static size_t add(fuse_req_t req, struct share_node *dir, const struct entry *e, bool plus,
		  char *buf, size_t room)
{
	struct fuse_entry_param full = {
		.attr = {.st_ino = e->ino, .st_mode = (mode_t)e->type << 12},
	};
	size_t len;

	if (!plus)
		return fuse_add_direntry(req, buf, room, e->name, &full.attr, e->off);
	len = fuse_add_direntry_plus(req, NULL, 0, e->name, NULL, 0);
	if (len > room)
		return len;
	/* Node 0: nothing is told of it, and nothing is counted. */
	if (!is_dots(e->name) && share_enter(share_of(req), dir, e->name, false, &full))
		full.ino = 0;
	return fuse_add_direntry_plus(req, buf, room, e->name, &full, e->off);
}

static void read_dir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		     struct fuse_file_info *fi, bool plus)
{
	struct share *s = share_of(req);
	struct share_handles *t = &s->handles;
	struct share_handle *h = share_handle_get(t, fi->fh, id, true);
	uint64_t room = s->request->out_len - SHARE_ANSWER_LEN;
	const struct entry *e;
	size_t used = 0;
	int error = 0;
	char *buf;

	size = size < room ? size : room;
	size = size < ANSWER_MAX ? size : ANSWER_MAX;
	buf = h ? malloc(size + 1) : NULL;
	if (!buf) {
		share_reply(req, h ? -ENOMEM : -EBADF);
		return;
	}
	if (plus && !off)
		h->node->listed_ns = clock_monotonic_ns(&clock_host);
	for (e = entry_at(t, h, off, &error); e; e = entry_at(t, h, h->pos, &error)) {
		size_t len = add(req, h->node, e, plus, buf + used, size - used);

		if (len > size - used) {
			/* Not even one: an empty answer would mean the end. */
			error = used ? 0 : -EINVAL;
			break;
		}
		used += len;
		step_over(h, e);
	}
	if (error && !used)
		share_reply(req, error);
	else
		fuse_reply_buf(req, buf, used);
	free(buf);
}

void share_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, id, size, off, fi, false);
}

void share_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	read_dir(req, id, size, off, fi, true);
}

void share_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct share *s = share_of(req);
	struct share_handle *h = share_handle_get(&s->handles, fi->fh, id, true);

	if (h)
		share_handle_remove(&s->handles, &s->nodes, h);
	share_reply(req, h ? 0 : -EBADF);
}

void share_fsyncdir(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi)
{
	const struct share_handle *h = share_handle_get(&share_of(req)->handles, fi->fh, id, true);
	int ret = 0;

	if (h && h->fd >= 0)
		ret = (datasync ? fdatasync(h->fd) : fsync(h->fd)) ? -errno : 0;
	share_reply(req, h ? ret : -EBADF);
}
