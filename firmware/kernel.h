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

#include "firmware/kernel_image.h"
#include "vmm/arch/x86_64/board.h"
#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"

/* Open and judge the file, and choose the entry that is best for it. Reads a few KiB; never blocks
 * on a FIFO or a device. `path` must outlive *k. On failure gives a negative errno, fills *e with
 * one line that begins "--kernel PATH:" and leaves nothing open. */
int kernel_open(struct kernel *k, const char *path, struct err *e);

/* Take this entry instead. -EINVAL and *e, which names the ones that the file has, if
 * it is not there. */
int kernel_choose_protocol(struct kernel *k, enum boot_protocol protocol, struct err *e);

/* "linux64", "linux32", "pvh": as --boot has it. */
const char *boot_protocol_name(enum boot_protocol protocol);

/* Fine on a kernel that failed to open, and twice. */
void kernel_close(struct kernel *k);

/* The release, such as "6.1.0-56-cloud-amd64", which names the modules' folder;
 * NULL if the file does not say. For an ELF the first call searches the file. */
const char *kernel_version(struct kernel *k);

/* Copy the kernel into RAM below the hole, which must be fresh (zero). Errors:
 * -ENOSPC with *e naming --memory and what it must be at least; -ENODATA when the
 * file was cut since kernel_open(); read errors. */
int kernel_load(const struct kernel *k, const struct board *b, struct guest_mem *gm, struct err *e);

#endif
