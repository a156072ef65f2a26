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
	KERNEL_BZIMAGE,
	KERNEL_ELF, /* a vmlinux, of either class */
};

/* What an image can be entered by; each is a state of the processor and a
 * structure that tells the kernel of its machine. */
enum boot_protocol {
	BOOT_LINUX64, /* long mode, the zero page [boot.rst, "64-bit Boot Protocol"] */
	BOOT_LINUX32, /* no paging, the zero page [boot.rst, "32-bit Boot Protocol"] */
	BOOT_PVH,     /* no paging, hvm_start_info [Xen docs/misc/pvh.pandoc] */
	BOOT_PROTOCOLS,
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
	struct {
		bool there;
		uint64_t gpa;
	} entries[BOOT_PROTOCOLS];
	enum boot_protocol protocol; /* the entry that is taken: it is there */
	bool only_32bit;             /* cannot run 64-bit programs */

	uint64_t start; /* lowest gpa used */
	uint64_t end;   /* first gpa beyond what it needs before it reads its memory map */

	uint32_t cmdline_max;     /* bytes, without the NUL */
	uint64_t initrd_addr_max; /* the last byte an initrd may occupy */

	/* setup_header for the zero page, as in the file or made up for an ELF; PVH
	 * has no use for it. */
	uint8_t setup_header[SETUP_HEADER_END - SETUP_HEADER];

	char version[KERNEL_VERSION_MAX]; /* empty until known */
};

/* Take the first word of [text, text+len) as the version if it looks
 * like a release: it begins with a digit, has no slash (it becomes part of a path)
 * and ends within `len`. */
bool kernel_take_version(struct kernel *k, const char *text, size_t len);

#endif
