/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpio: an archive in the "newc" format, which is what the kernel unpacks into
 * its first root [Linux Documentation/driver-api/early-userspace/buffer-format.rst].
 *
 * It is not compressed: the host would spend time on it and the guest more, to
 * save a copy within the same memory.
 *
 *	struct cpio c = {0};
 *	cpio_dir(&c, "dev");
 *	cpio_file(&c, "init", 0755, bytes, len);
 *	rc = cpio_finish(&c);     // c.bytes, c.len
 *	cpio_fini(&c);
 *
 * An error (no memory, over 4 GiB) sticks: the calls in between need no checks,
 * cpio_finish tells. One thread.
 */
#ifndef FIRMWARE_INITRAMFS_CPIO_H
#define FIRMWARE_INITRAMFS_CPIO_H

#include <stddef.h>
#include <stdint.h>

struct cpio {
	uint8_t *bytes;
	size_t len, room;
	uint32_t inode;
	int error;
};

/* Names have no leading slash; a directory comes before what is in it. */
void cpio_dir(struct cpio *c, const char *name);
void cpio_chardev(struct cpio *c, const char *name, unsigned mode, unsigned major, unsigned minor);
void cpio_file(struct cpio *c, const char *name, unsigned mode, const void *data, size_t len);

/* Write the trailer. Gives 0, -ENOMEM or -EFBIG. */
int cpio_finish(struct cpio *c);

/* Free the bytes. */
void cpio_fini(struct cpio *c);

#endif
