/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(const char *option, const char *path, int code, struct err *e)
{
	return err_usage(e, -code, "%s %.300s: %s", option, path, strerror(code));
}

static int check_folder(const char *option, const char *path, struct err *e)
{
	char *copy = strdup(path);
	int code;

	if (!copy)
		return err_host(e, -ENOMEM, "%s: out of memory", option);
	code = access(dirname(copy), W_OK | X_OK) ? errno : 0;
	free(copy);
	return code ? refuse(option, path, code, e) : 0;
}

int whole_file_check(const char *option, const char *path, struct err *e)
{
	char real[PATH_MAX];
	struct stat st;

	if (!realpath(path, real)) {
		/* A link that leads nowhere is not ours to replace. */
		if (errno != ENOENT || !lstat(path, &st))
			return refuse(option, path, errno ? errno : ENOENT, e);
		return check_folder(option, path, e);
	}
	if (stat(real, &st))
		return refuse(option, path, errno, e);
	if (S_ISDIR(st.st_mode))
		return refuse(option, path, EISDIR, e);
	if (!S_ISREG(st.st_mode))
		return err_usage(e, -EINVAL, "%s %.300s: is not a regular file", option, path);
	if (access(real, W_OK))
		return refuse(option, path, errno, e);
	return check_folder(option, real, e);
}

static int fill_file(const char *name, int (*fill)(FILE *out, void *ctx), void *ctx)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	int ret;

	if (!out) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return ret;
	}
	ret = fill(out, ctx);
	if (!ret && (fflush(out) || ferror(out)))
		ret = errno ? -errno : -EIO;
	if (fclose(out) && !ret)
		ret = -errno;
	return ret;
}

int whole_file_write(const char *option, const char *path, int (*fill)(FILE *out, void *ctx),
		     void *ctx, struct err *e)
{
	char real[PATH_MAX], *name = NULL;
	const char *place = realpath(path, real) ? real : path;
	int ret;

	if (asprintf(&name, "%s.%d.tmp", place, (int)getpid()) < 0)
		return err_host(e, -ENOMEM, "%s: out of memory", option);
	ret = fill_file(name, fill, ctx);
	if (!ret && rename(name, place))
		ret = -errno;
	if (ret)
		unlink(name);
	free(name);
	return ret ? err_host(e, ret, "%s %.300s: %s", option, path, strerror(-ret)) : 0;
}
