/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpio: for each file a header of 13 numbers as 8 hexadecimal digits behind the
 * magic "070701", the name with its 0, padding to 4 bytes, the data, padding to
 * 4 bytes. A file called TRAILER!!! ends the archive.
 */
#include "firmware/initramfs/cpio.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADER = 110 };

static uint8_t *reserve(struct cpio *c, size_t n)
{
	uint8_t *at;

	if (c->error)
		return NULL;
	if (n > SIZE_MAX / 4 || c->len > SIZE_MAX / 4) {
		c->error = -EFBIG;
		return NULL;
	}
	if (n > c->room - c->len) {
		size_t room = c->room ? c->room : 64 * 1024;
		uint8_t *bytes;

		while (room - c->len < n)
			room *= 2;
		bytes = realloc(c->bytes, room);
		if (!bytes) {
			c->error = -ENOMEM;
			return NULL;
		}
		c->bytes = bytes;
		c->room = room;
	}
	at = c->bytes + c->len;
	c->len += n;
	return at;
}

static void entry(struct cpio *c, const char *name, unsigned mode, unsigned rdev_major,
		  unsigned rdev_minor, const void *data, size_t len)
{
	size_t name_len = strlen(name) + 1;
	size_t head = align_up(HEADER + name_len, 4), body = align_up(len, 4);
	char text[HEADER + 1];
	uint8_t *p;

	if (len > UINT32_MAX) {
		c->error = c->error ? c->error : -EFBIG;
		return;
	}
	p = reserve(c, head + body);
	if (!p)
		return;
	/* magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor,
	 * rdevmajor, rdevminor, namesize, check. A time of 0 keeps the bytes the same
	 * from run to run. */
	snprintf(text, sizeof(text), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		 c->inode++, mode, 0, 0, S_ISDIR(mode) ? 2 : 1, 0, (uint32_t)len, 0, 0, rdev_major,
		 rdev_minor, (uint32_t)name_len, 0);
	memcpy(p, text, HEADER);
	memcpy(p + HEADER, name, name_len);
	memset(p + HEADER + name_len, 0, head - HEADER - name_len);
	if (len)
		memcpy(p + head, data, len);
	memset(p + head + len, 0, body - len);
}

void cpio_dir(struct cpio *c, const char *name)
{
	entry(c, name, S_IFDIR | 0755, 0, 0, NULL, 0);
}

void cpio_chardev(struct cpio *c, const char *name, unsigned mode, unsigned major, unsigned minor)
{
	entry(c, name, S_IFCHR | mode, major, minor, NULL, 0);
}

void cpio_file(struct cpio *c, const char *name, unsigned mode, const void *data, size_t len)
{
	entry(c, name, S_IFREG | mode, 0, 0, data, len);
}

int cpio_finish(struct cpio *c)
{
	entry(c, "TRAILER!!!", 0, 0, 0, NULL, 0);
	return c->error;
}

void cpio_fini(struct cpio *c)
{
	free(c->bytes);
	memset(c, 0, sizeof(*c));
}
