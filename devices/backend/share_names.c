/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What makes, removes and moves names: always one name in a directory that is open, so that
 * no path is walked and nothing is followed.
 */
#include "devices/backend/share_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* `ret` is what making `name` in `dir` came to. */
static void reply_made(fuse_req_t req, struct share_node *dir, const char *name, int ret)
{
	if (ret)
		share_reply(req, ret);
	else
		share_reply_entry(req, dir, name);
}

void share_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct share_node *dir;
	int fd = share_want_dir(req, parent, name, &dir), ret = fd < 0 ? fd : 0;

	/* A device node that the guest makes would be a door to the host's devices. The one
	 * with number 0:0 is none, but an overlay's mark for what was deleted. */
	if (!ret && (S_ISBLK(mode) || (S_ISCHR(mode) && rdev != makedev(0, 0))))
		ret = -EPERM;
	if (!ret)
		ret = share_act_as(req);
	if (!ret) {
		ret = mknodat(fd, name, mode, rdev) ? -errno : 0;
		share_act_end(share_of(req));
	}
	reply_made(req, dir, name, ret);
}

void share_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct share_node *dir;
	int fd = share_want_dir(req, parent, name, &dir), ret = fd < 0 ? fd : share_act_as(req);

	if (!ret) {
		ret = mkdirat(fd, name, mode & 07777) ? -errno : 0;
		share_act_end(share_of(req));
	}
	reply_made(req, dir, name, ret);
}

void share_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct share_node *dir;
	int fd = share_want_dir(req, parent, name, &dir), ret = fd < 0 ? fd : share_act_as(req);

	if (!ret) {
		ret = symlinkat(target, fd, name) ? -errno : 0;
		share_act_end(share_of(req));
	}
	reply_made(req, dir, name, ret);
}

void share_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name)
{
	struct share *s = share_of(req);
	struct share_node *dir, *n;
	char from[SHARE_FD_NAME];
	int to = share_want_dir(req, parent, name, &dir);
	int fd = to < 0 ? to : share_want(s, id, &n);

	/* /proc leads to the very file, also when that is a symbolic link. */
	if (fd >= 0)
		fd = linkat(s->proc, share_fd_name(fd, from), to, name, AT_SYMLINK_FOLLOW) ? -errno
											   : 0;
	reply_made(req, dir, name, fd);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
	struct share_node *dir;
	int fd = share_want_dir(req, parent, name, &dir);

	if (fd >= 0)
		fd = unlinkat(fd, name, flags) ? -errno : 0;
	share_reply(req, fd);
}

void share_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, 0);
}

void share_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, AT_REMOVEDIR);
}

void share_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		  const char *new_name, unsigned flags)
{
	struct share *s = share_of(req);
	struct share_node *from, *to;
	int ret, fd = share_want_dir(req, parent, name, &from);
	int new_fd = fd < 0 ? fd : share_want_dir(req, new_parent, new_name, &to);

	if (new_fd < 0) {
		share_reply(req, new_fd);
		return;
	}
	ret = renameat2(fd, name, new_fd, new_name, flags) ? -errno : 0;
	if (!ret) {
		share_node_moved(&s->nodes, to, new_name);
		if (flags & RENAME_EXCHANGE)
			share_node_moved(&s->nodes, from, name);
	}
	share_reply(req, ret);
}
