/* SPDX-License-Identifier: Apache-2.0 */
/* elf_notes: what the notes of a kernel's ELF file say of its entry points. Used by
 * elf.c only. */
#ifndef FIRMWARE_ELF_NOTES_H
#define FIRMWARE_ELF_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf_notes {
	bool linux_kernel; /* a note's owner is "Linux" */
	bool pvh;          /* XEN_ELFNOTE_PHYS32_ENTRY is there */
	uint64_t pvh_entry;
};

/* Add what the `len` bytes of a PT_NOTE segment say to *n, which began as zeroes.
 * `align` is the segment's p_align. NULL, or what is wrong with them, as a phrase; *n
 * is then undefined. */
const char *elf_notes_scan(struct elf_notes *n, const uint8_t *p, size_t len, uint64_t align);

#endif
