/* SPDX-License-Identifier: Apache-2.0 */
/* cpio_reader: reads a newc archive as the kernel's unpacker does, and fails the
 * test where that would complain. */
#ifndef TESTS_LIB_CPIO_READER_H
#define TESTS_LIB_CPIO_READER_H

#include <stddef.h>
#include <stdint.h>

struct cpio_entry {
	const char *name;
	uint32_t ino, mode, nlink, rdev_major, rdev_minor;
	const uint8_t *data;
	size_t len;
};

/* All entries in their order, without the trailer. Gives how many. */
unsigned cpio_read(struct cpio_entry *out, unsigned max, const uint8_t *bytes, size_t len);

/* The entry called `name`, or NULL. */
const struct cpio_entry *cpio_lookup(const struct cpio_entry *e, unsigned n, const char *name);

#endif
