/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/snapshot/dir.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const files[] = {SNAPSHOT_STATE,
				    SNAPSHOT_MEMORY,
				    SNAPSHOT_PACKED,
				    SNAPSHOT_CONFIG,
				    SNAPSHOT_CMDLINE,
				    SNAPSHOT_WORKING_SET,
				    SNAPSHOT_WORKING_SET_PARTIAL};

static int fail(const struct snapshot_dir *d, int ret, struct err *e)
{
	return err_host(e, ret, "snapshot %.200s: %s", d->path, strerror(-ret));
}

static bool is_name(const char *s)
{
	return *s && strcmp(s, ".") != 0 && strcmp(s, "..") != 0 && !strchr(s, '/');
}

/* The directory above, which somebody else has opened. */
static int take_above(struct snapshot_dir *d, int at, struct err *e)
{
	int flags = fcntl(at, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(at, &st))
		return fail(d, -errno, e);
	/* O_PATH is not enough: it is synced in the end. */
	if (!S_ISDIR(st.st_mode) || flags & O_PATH)
		return err_usage(e, -ENOTDIR,
				 "snapshot %.200s: what it is to be in is no directory that is "
				 "open for reading",
				 d->path);
	d->above = fcntl(at, F_DUPFD_CLOEXEC, 0);
	return d->above < 0 ? fail(d, -errno, e) : 0;
}

static int open_above(struct snapshot_dir *d, struct err *e)
{
	char *above =
		d->name > d->path ? strndup(d->path, (size_t)(d->name - d->path)) : strdup(".");

	if (!above)
		return err_host(e, -ENOMEM, "snapshot: out of memory");
	d->above = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = d->above < 0 ? -errno : 0;

	free(above);
	return ret ? fail(d, ret, e) : 0;
}

static int split(struct snapshot_dir *d, int at, const char *path, struct err *e)
{
	size_t len = strlen(path);

	while (at < 0 && len > 1 && path[len - 1] == '/')
		len--;
	d->path = strndup(path, len);
	if (!d->path)
		return err_host(e, -ENOMEM, "snapshot: out of memory");
	char *slash = at < 0 ? strrchr(d->path, '/') : NULL;

	d->name = slash ? slash + 1 : d->path;
	if (!is_name(d->name))
		return err_usage(e, -EINVAL, "snapshot %.200s: not a name for a directory", path);
	if (asprintf(&d->partial, ".%s.partial", d->name) < 0) {
		d->partial = NULL;
		return err_host(e, -ENOMEM, "snapshot: out of memory");
	}
	return at < 0 ? open_above(d, e) : take_above(d, at, e);
}

/* Is there, under that name, something that a snapshot must not take the place of? */
static int check_place(const struct snapshot_dir *d, const char *name, struct err *e)
{
	_cleanup_fd_ int fd =
		openat(d->above, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return fail(d, -errno, e);
	if (!fstatat(fd, SNAPSHOT_STATE, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
		return 0;
	/* An empty one may be removed, and only that. */
	if (!unlinkat(d->above, name, AT_REMOVEDIR))
		return 0;
	return err_usage(e, -ENOTEMPTY,
			 "snapshot %.200s: is there, and is no snapshot; give another place",
			 d->path);
}

static void empty(int fd)
{
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		unlinkat(fd, files[i], 0);
}

/* One that was there: somebody else's would have our files in their hands. */
static int check_left(const struct snapshot_dir *d, struct err *e)
{
	struct stat st;

	if (fstat(d->fd, &st))
		return fail(d, -errno, e);
	if (st.st_uid != geteuid())
		return err_usage(e, -EPERM,
				 "snapshot %.200s: beside it is a %.200s of another user's; have "
				 "that removed, or give another place",
				 d->path, d->partial);
	return fchmod(d->fd, 0700) ? fail(d, -errno, e) : 0;
}

/* The partial directory, new or left by one who died. */
static int take_partial(struct snapshot_dir *d, struct err *e)
{
	bool is_new = !mkdirat(d->above, d->partial, 0700);

	if (!is_new && errno != EEXIST)
		return fail(d, -errno, e);
	d->fd = openat(d->above, d->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (d->fd < 0) {
		int ret = -errno;

		if (is_new)
			unlinkat(d->above, d->partial, AT_REMOVEDIR);
		return fail(d, ret, e);
	}
	int ret = is_new ? 0 : check_left(d, e);

	if (ret) {
		fd_close(&d->fd);
		return ret;
	}
	if (flock(d->fd, LOCK_EX | LOCK_NB)) {
		ret = -errno;

		fd_close(&d->fd);
		return ret == -EWOULDBLOCK
			       ? err_host(e, -EBUSY, "snapshot %.200s: is being written already",
					  d->path)
			       : fail(d, ret, e);
	}
	empty(d->fd);
	return 0;
}

static void forget(struct snapshot_dir *d)
{
	fd_close(&d->fd);
	fd_close(&d->above);
	free(d->partial);
	free(d->path);
	d->path = d->name = d->partial = NULL;
}

int snapshot_dir_begin(struct snapshot_dir *d, int at, const char *path, struct err *e)
{
	*d = (struct snapshot_dir){.above = -1, .fd = -1};
	int ret = split(d, at, path, e);

	if (!ret)
		ret = check_place(d, d->name, e);
	if (!ret)
		ret = take_partial(d, e);
	if (ret)
		forget(d);
	return ret;
}

int snapshot_dir_file(const struct snapshot_dir *d, const char *name, struct err *e)
{
	int fd = openat(d->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? err_host(e, -errno, "snapshot %.200s: %s: %s", d->path, name,
				 strerror(errno))
		      : fd;
}

void snapshot_dir_remove(const struct snapshot_dir *d, const char *name)
{
	unlinkat(d->fd, name, 0);
}

int snapshot_dir_sync(const struct snapshot_dir *d, int fd, const char *name, struct err *e)
{
	return fsync(fd) ? err_host(e, -errno, "snapshot %.200s: %s: %s", d->path, name,
				    strerror(errno))
			 : 0;
}

/* Does its name still mean what was written? */
static bool is_there(const struct snapshot_dir *d)
{
	struct stat a, b;

	return !fstat(d->fd, &a) && !fstatat(d->above, d->partial, &b, AT_SYMLINK_NOFOLLOW) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* In one step, be there an older one or not; *e is filled. */
static int put_in_place(const struct snapshot_dir *d, bool *replaced, struct err *e)
{
	*replaced = false;
	if (!is_there(d))
		return err_host(e, -ESTALE,
				"snapshot %.200s: what was written of it was taken away meanwhile",
				d->path);
	if (!renameat2(d->above, d->partial, d->above, d->name, RENAME_NOREPLACE))
		return 0;
	/* A file system that does not know the flag says EINVAL; a plain rename takes no place
	 * of what is not empty. */
	if (errno == EINVAL && !renameat(d->above, d->partial, d->above, d->name))
		return 0;
	if (errno != EEXIST && errno != ENOTEMPTY)
		return fail(d, -errno, e);
	if (renameat2(d->above, d->partial, d->above, d->name, RENAME_EXCHANGE))
		return fail(d, -errno, e);
	/* It may be another than at the beginning, and nothing to be replaced. */
	int ret = check_place(d, d->partial, e);

	if (ret)
		renameat2(d->above, d->partial, d->above, d->name, RENAME_EXCHANGE);
	*replaced = !ret;
	return ret;
}

int snapshot_dir_commit(struct snapshot_dir *d, struct err *e)
{
	bool replaced = false;
	int ret = fsync(d->fd) ? fail(d, -errno, e) : put_in_place(d, &replaced, e);

	if (ret) {
		snapshot_dir_abandon(d);
		return ret;
	}
	/* It is in its place, and stays there also if the disk does not say that it knows. */
	if (fsync(d->above))
		ret = fail(d, -errno, e);
	if (replaced && !ret) {
		_cleanup_fd_ int old = openat(d->above, d->partial,
					      O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

		if (old >= 0)
			empty(old);
		unlinkat(d->above, d->partial, AT_REMOVEDIR);
	}
	forget(d);
	return ret;
}

void snapshot_dir_abandon(struct snapshot_dir *d)
{
	if (d->fd >= 0) {
		empty(d->fd);
		if (is_there(d))
			unlinkat(d->above, d->partial, AT_REMOVEDIR);
	}
	forget(d);
}

int snapshot_dir_open(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_usage(e, -errno, "--restore %.200s: %s", path, strerror(errno)) : fd;
}

int snapshot_dir_open_at(int at, const char *path)
{
	if (at >= 0 && !is_name(path))
		return -EINVAL;
	int fd = openat(at < 0 ? AT_FDCWD : at, path,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC | (at < 0 ? 0 : O_NOFOLLOW));

	return fd < 0 ? -errno : fd;
}
