/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel: the file given with --kernel, judged once and then put into RAM.
 *
 * kernel_open() reads a few KiB of the file, decides what it is and reduces it
 * to a list of segments, an entry point and a setup_header; everything that
 * can be wrong with the file is found here. kernel_load() copies the segments
 * into guest RAM straight from the file.
 */
#ifndef FIRMWARE_KERNEL_H
#define FIRMWARE_KERNEL_H

#include "vmm/arch/x86_64/board.h"
#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"

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

/* Open and judge the file. Reads a few KiB; never blocks on a FIFO or a device.
 * `path` must outlive *k. On failure gives a negative errno, fills *e with one
 * line that begins "--kernel PATH:" and leaves nothing open. */
int kernel_open(struct kernel *k, const char *path, struct err *e);

/* Fine on a kernel that failed to open, and twice. */
void kernel_close(struct kernel *k);

/* The release, such as "6.1.0-56-cloud-amd64", which names the modules' folder;
 * NULL if the file does not say. For an ELF the first call searches the file. */
const char *kernel_version(struct kernel *k);

/* For the parsers: take the first word of [text, text+len) as the version if it looks
 * like a release: it begins with a digit, has no slash (it becomes part of a path)
 * and ends within `len`. */
bool kernel_take_version(struct kernel *k, const char *text, size_t len);

/* Copy the kernel into RAM below the hole, which must be fresh (zero). Errors:
 * -ENOSPC with *e naming --memory and what it must be at least; -ENODATA when the
 * file was cut since kernel_open(); read errors. */
int kernel_load(const struct kernel *k, const struct board *b, struct guest_mem *gm, struct err *e);

#endif
