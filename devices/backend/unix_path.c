/* SPDX-License-Identifier: Apache-2.0 */
/* unix_path: whether a path is free, what is made there, and what of it is removed. */
#include "devices/backend/unix_path.h"

#include "vmm/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool set_address(struct sockaddr_un *addr, const char *path)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(addr->sun_path))
		return false;
	memcpy(addr->sun_path, path, strlen(path));
	return true;
}

int unix_path_connect(const char *path)
{
	struct sockaddr_un addr;
	_cleanup_fd_ int fd = -1;

	if (!set_address(&addr, path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	return fd_take(&fd);
}

static int refuse_existing(const char *what, struct err *e)
{
	return err_usage(e, -EEXIST,
			 "%s: is there already; remove it if nobody uses it, or give another path",
			 what);
}

/* Who made it has ended without removing it: the kernel would connect us otherwise. */
static bool is_left_over(const char *path)
{
	int fd = unix_path_connect(path), ret = fd;

	fd_close(&fd);
	return ret == -ECONNREFUSED;
}

int unix_path_check(const char *what, const char *path, bool replace, struct err *e)
{
	struct sockaddr_un addr;
	struct stat st;

	if (!set_address(&addr, path))
		return err_usage(e, -ENAMETOOLONG,
				 "%s: longer than the %zu bytes that a socket's path may have; "
				 "give a shorter one",
				 what, sizeof(addr.sun_path) - 1);
	if (lstat(path, &st))
		return 0; /* what else may be wrong, bind() tells */
	if (!replace || !S_ISSOCK(st.st_mode))
		return refuse_existing(what, e);
	return is_left_over(path)
		       ? 0
		       : err_usage(e, -EADDRINUSE, "%s: another process uses it; give another path",
				   what);
}

void unix_path_remove(struct unix_path *p)
{
	struct stat st;

	if (p->leaf && !fstatat(p->dir, p->leaf, &st, AT_SYMLINK_NOFOLLOW) && st.st_dev == p->dev &&
	    st.st_ino == p->ino)
		unlinkat(p->dir, p->leaf, 0);
	free(p->leaf);
	p->leaf = NULL;
	fd_close(&p->dir);
}

/* Remember where the socket is, whatever becomes of the working directory. */
static int note_path(struct unix_path *p, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	struct stat st;
	int ret = 0;

	if (!dir)
		return -ENOMEM;
	p->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->dir < 0)
		ret = -errno;
	free(dir);
	p->leaf = strdup(slash ? slash + 1 : path);
	if (!p->leaf)
		ret = -ENOMEM;
	if (!ret && fstatat(p->dir, p->leaf, &st, AT_SYMLINK_NOFOLLOW))
		ret = -errno;
	if (ret) {
		unlink(path);
		return ret;
	}
	p->dev = st.st_dev;
	p->ino = st.st_ino;
	return 0;
}

int unix_path_listen(struct unix_path *p, const char *what, const char *path, int backlog,
		     bool replace, struct err *e)
{
	struct sockaddr_un addr;
	_cleanup_fd_ int fd = -1;
	struct stat st;

	*p = UNIX_PATH_NONE;
	int ret = unix_path_check(what, path, replace, e);

	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || fchmod(fd, 0600))
		return err_host(e, -errno, "%s: cannot make a socket: %s", what, strerror(errno));
	/* What is there was found to be left over just now. */
	if (replace && !lstat(path, &st) && unlink(path))
		return err_usage(e, -errno, "%s: cannot be replaced: %s", what, strerror(errno));
	set_address(&addr, path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		if (errno == EADDRINUSE)
			return refuse_existing(what, e);
		return err_usage(e, -errno, "%s: %s", what, strerror(errno));
	}
	ret = note_path(p, path);
	if (ret)
		return err_host(e, ret, "%s: %s", what, strerror(-ret));
	if (listen(fd, backlog))
		return err_host(e, -errno, "%s: %s", what, strerror(errno));
	return fd_take(&fd);
}
