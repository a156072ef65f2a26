/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes, by the file's path in /proc/self/fd: an O_PATH descriptor has none.
 * That path leads to the very file, also when that is a symbolic link.
 *
 * ACLs name users by number. Where owners are not given as they are, such a number would be
 * another user's, so there are none.
 */
#include "devices/backend/share_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

enum { PATH_LEN = 32, VALUE_MAX = 64 << 10 /* XATTR_SIZE_MAX, XATTR_LIST_MAX */ };

static bool is_acl(const char *name)
{
	return strncmp(name, "system.posix_acl_", 17) == 0;
}

/* The path of `id`: 0 or a negative errno. `name` may be NULL. */
static int find(struct share *s, fuse_ino_t id, const char *name, char path[PATH_LEN])
{
	struct share_node *n;
	int fd = share_want(s, id, &n);

	if (fd < 0)
		return fd;
	if (n->opaque || (name && is_acl(name) && !s->owners_real))
		return -EOPNOTSUPP;
	snprintf(path, PATH_LEN, "/proc/self/fd/%d", fd);
	return 0;
}

void share_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size,
		    int flags)
{
	char path[PATH_LEN];
	int ret = find(share_of(req), id, name, path);

	if (!ret)
		ret = setxattr(path, name, value, size, flags) ? -errno : 0;
	share_reply(req, ret);
}

void share_removexattr(fuse_req_t req, fuse_ino_t id, const char *name)
{
	char path[PATH_LEN];
	int ret = find(share_of(req), id, name, path);

	if (!ret)
		ret = removexattr(path, name) ? -errno : 0;
	share_reply(req, ret);
}

/* A value or a list of names, of which the guest takes `size` bytes; 0: it asks how long
 * it is. */
static void reply_value(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
	char path[PATH_LEN], *buf = NULL;
	size_t max = size < VALUE_MAX ? size : VALUE_MAX;
	ssize_t len = find(share_of(req), id, name, path);

	if (!len && max) {
		buf = malloc(max);
		len = buf ? 0 : -ENOMEM;
	}
	if (!len) {
		len = name ? getxattr(path, name, buf, max) : listxattr(path, buf, max);
		len = len < 0 ? -errno : len;
	}
	if (len < 0)
		share_reply(req, (int)len);
	else if (!size)
		fuse_reply_xattr(req, (size_t)len);
	else
		fuse_reply_buf(req, buf, (size_t)len);
	free(buf);
}

void share_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
	reply_value(req, id, name, size);
}

void share_listxattr(fuse_req_t req, fuse_ino_t id, size_t size)
{
	reply_value(req, id, NULL, size);
}
