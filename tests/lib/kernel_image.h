/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_image: small files that look like kernels, made field by field from the
 * boot protocol and the ELF specification, and a file to keep them in. */
#ifndef TESTS_LIB_KERNEL_IMAGE_H
#define TESTS_LIB_KERNEL_IMAGE_H

#include <stddef.h>
#include <stdint.h>

enum {
	BZIMAGE_SETUP_SIZE = 3 * 512, /* boot sector and two more */
	BZIMAGE_KERNEL_SIZE = 4096,
	BZIMAGE_SIZE = BZIMAGE_SETUP_SIZE + BZIMAGE_KERNEL_SIZE,
	BZIMAGE_INIT_SIZE = 0x300000,
	BZIMAGE_PREF_ADDRESS = 0x1000000,
};

/* A valid bzImage of BZIMAGE_SIZE bytes: protocol 2.15, 64-bit entry, relocatable. Byte
 * i of its kernel part is kernel_image_byte(i). */
void bzimage_make(uint8_t *out);

enum {
	VMLINUX_TEXT = 0x1000000, /* paddr; the entry point is 0x40 further */
	VMLINUX_TEXT_SIZE = 0x1000,
	VMLINUX_DATA = 0x1400000,
	VMLINUX_DATA_FILESZ = 0x800,
	VMLINUX_DATA_MEMSZ = 0x3000,
	VMLINUX_SIZE = 0x1000 + VMLINUX_TEXT_SIZE + VMLINUX_DATA_FILESZ,
	VMLINUX_PHDRS = 64, /* offset of the program headers */
};

/* A valid ELF64 vmlinux of VMLINUX_SIZE bytes with two segments, without notes. */
void vmlinux_make(uint8_t *out);
/* The same as an ELF32 with a PVH note. */
void vmlinux32_make(uint8_t *out);

/* Notes for either: */
enum {
	VMLINUX_NOTES = 0x400, /* offset: behind the program headers */
	VMLINUX_PVH_ENTRY = VMLINUX_TEXT + 0x200,
	NOTE_PHYS32_ENTRY = 18,
};
/* Append a note at `out`, aligned by `align`; gives its length with all padding. */
size_t note_put(uint8_t *out, const char *owner, uint32_t type, const void *desc, uint32_t descsz,
		unsigned align);
/* Say in the program header of the image (of whichever class) where its notes are. */
void vmlinux_set_notes(uint8_t *image, uint32_t off, uint32_t filesz, uint32_t align);
/* The notes of a Linux kernel with an entry by PVH. */
void vmlinux_add_linux_notes(uint8_t *image);

uint8_t kernel_image_byte(size_t i);

/* A file in memory and a path to open it by. */
struct image_file {
	int fd;
	char path[32];
};

void image_file_init(struct image_file *f, const void *bytes, size_t len);
void image_file_cut(struct image_file *f, size_t len);
void image_file_put(struct image_file *f, size_t off, const void *bytes, size_t len);
void image_file_fini(struct image_file *f);

#endif
