/* SPDX-License-Identifier: Apache-2.0 */
/* cpio_reader: a state machine would be the kernel's way; a loop is enough here. */
#include "tests/lib/cpio_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t number(const uint8_t *header, unsigned index)
{
	char text[9] = {0}, *end;
	unsigned long v;

	memcpy(text, header + 6 + 8 * index, 8);
	v = strtoul(text, &end, 16);
	assert_ptr_equal(end, text + 8);
	return (uint32_t)v;
}

unsigned cpio_read(struct cpio_entry *out, unsigned max, const uint8_t *bytes, size_t len)
{
	size_t at = 0;
	unsigned n = 0;

	for (;;) {
		const uint8_t *h = bytes + at;
		uint32_t name_size, size;

		assert_true(at % 4 == 0 && at + 110 <= len);
		assert_memory_equal(h, "070701", 6);
		size = number(h, 6);
		name_size = number(h, 11);
		assert_true(name_size >= 2 && at + 110 + name_size <= len);
		assert_int_equal(h[110 + name_size - 1], 0);
		assert_int_equal(strlen((const char *)h + 110), name_size - 1);
		at = (at + 110 + name_size + 3) & ~3ul;
		assert_true(at + size <= len);
		if (!strcmp((const char *)h + 110, "TRAILER!!!"))
			break;
		assert_true(n < max);
		out[n++] = (struct cpio_entry){
			.name = (const char *)h + 110,
			.ino = number(h, 0),
			.mode = number(h, 1),
			.nlink = number(h, 4),
			.rdev_major = number(h, 9),
			.rdev_minor = number(h, 10),
			.data = bytes + at,
			.len = size,
		};
		at = (at + size + 3) & ~3ul;
	}
	assert_int_equal(at, len);
	return n;
}

const struct cpio_entry *cpio_lookup(const struct cpio_entry *e, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(e[i].name, name))
			return &e[i];
	return NULL;
}
