/* SPDX-License-Identifier: Apache-2.0 */
/* elf: an uncompressed kernel, vmlinux. Used by kernel.c only. */
#ifndef FIRMWARE_ELF_H
#define FIRMWARE_ELF_H

#include "firmware/kernel_image.h"
#include "vmm/base/err.h"

#include <stdbool.h>

bool elf_is(const uint8_t *head, size_t len);

/* Fill *k from the first `len` bytes of the file, which is open as k->fd; reads
 * the program headers besides. 0, or a negative errno and *e. */
int elf_parse(struct kernel *k, const uint8_t *head, size_t len, struct err *e);

/* Search the loaded part of the file for "Linux version " and fill k->version;
 * leaves it empty if it is not in the first ELF_SEARCH_MAX bytes. */
enum { ELF_SEARCH_MAX = 96 << 20 };
void elf_find_version(struct kernel *k);

#endif
