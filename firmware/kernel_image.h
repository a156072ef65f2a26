/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_image: what the parsers (bzimage, elf) reduce a kernel's file to, and all
 * that its loader needs to know of it.
 */
#ifndef FIRMWARE_KERNEL_IMAGE_H
#define FIRMWARE_KERNEL_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kernel_kind {
	KERNEL_BZIMAGE, /* with a 64-bit entry point */
	KERNEL_ELF,     /* an ELF64 vmlinux */
};

/* `filesz` bytes of the file at `off` belong at `gpa`; what follows up to `memsz`
 * is zero, as fresh RAM is. */
struct kernel_segment {
	uint64_t off, filesz;
	uint64_t gpa, memsz;
};

/* setup_header begins at this offset of the file and of the zero page, where
 * the next field begins at the end [Linux boot protocol, "kernel_info"]. */
enum { SETUP_HEADER = 0x1f1, SETUP_HEADER_END = 0x290 };

enum { KERNEL_SEGMENTS_MAX = 32, KERNEL_VERSION_MAX = 128 };

struct kernel {
	const char *path; /* borrowed, for messages */
	int fd;           /* owned; -1 when closed */
	uint64_t file_size;
	enum kernel_kind kind;

	unsigned n_segments;
	struct kernel_segment segments[KERNEL_SEGMENTS_MAX];
	uint64_t entry; /* gpa of the 64-bit entry point */
	uint64_t start; /* lowest gpa used */
	uint64_t end;   /* first gpa beyond what it needs before it reads its memory map */

	uint32_t cmdline_max;     /* bytes, without the NUL */
	uint64_t initrd_addr_max; /* the last byte an initrd may occupy */

	/* setup_header for the zero page, as in the file or made up for an ELF. */
	uint8_t setup_header[SETUP_HEADER_END - SETUP_HEADER];

	char version[KERNEL_VERSION_MAX]; /* empty until known */
};

/* Take the first word of [text, text+len) as the version if it looks
 * like a release: it begins with a digit, has no slash (it becomes part of a path)
 * and ends within `len`. */
bool kernel_take_version(struct kernel *k, const char *text, size_t len);

#endif
