/* SPDX-License-Identifier: Apache-2.0 */
/* e820: the memory map as a PC's BIOS call 0x15/0xe820 would give it. */
#ifndef FIRMWARE_E820_H
#define FIRMWARE_E820_H

#include "vmm/arch/x86_64/board.h"

#include <stdint.h>

enum e820_type {
	E820_RAM = 1,
	E820_RESERVED = 2,
};

struct e820_entry {
	uint64_t gpa, len;
	enum e820_type type;
};

/* The zero page has room for this many [boot.rst, zero-page.rst]. */
enum { E820_ENTRIES_MAX = 128 };

struct e820 {
	unsigned n;
	struct e820_entry entries[E820_ENTRIES_MAX];
};

/* The board's map, sorted by address, without overlaps or empty entries. */
void e820_build(struct e820 *map, const struct board *b);

#endif
