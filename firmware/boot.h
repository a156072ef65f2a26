/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot: what a boot loader leaves in the first MiB, and the state in which the
 * first vCPU begins, for whichever protocol the kernel is entered by.
 */
#ifndef FIRMWARE_BOOT_H
#define FIRMWARE_BOOT_H

#include "firmware/kernel.h"
#include "vmm/arch/x86_64/board.h"
#include "vmm/arch/x86_64/boot_entry.h"
#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"

#include <stdint.h>

enum { BOOT_SEED_LEN = 32 };

struct boot_config {
	const struct board *board;
	const struct kernel *kernel; /* loaded */
	const char *cmdline;         /* from cmdline_build() */
	uint64_t initrd, initrd_len; /* gpa and bytes; both 0 for none */
	uint64_t rsdp;               /* gpa of the ACPI RSDP */
	/* Host randomness for the guest's generator, or NULL. With it the guest
	 * has random numbers before it has an entropy device. Not by PVH, which has
	 * no place for it. */
	const uint8_t *seed; /* BOOT_SEED_LEN bytes */
};

/* One file of an initrd, and where it goes. */
struct boot_initrd {
	uint64_t len; /* bytes, given */
	uint64_t gpa;
};

/* Where an initrd of these `n` files belongs: page-aligned, as high as RAM below the
 * hole and the kernel's initrd_addr_max allow, one file behind the other from multiples of
 * 4 bytes, as Linux wants archives; it skips the zeroes between them [Linux
 * Documentation/driver-api/early-userspace/buffer-format.rst]. Fills the files' gpa, and
 * *gpa and *len for all of it; both are 0 for no bytes. -ENOSPC and *e, which names
 * --initrd and --memory, if it does not fit above the kernel. */
int boot_place_initrds(const struct kernel *k, const struct board *b, struct boot_initrd *files,
		       unsigned n, uint64_t *gpa, uint64_t *len, struct err *e);

/* Write it all to guest RAM and describe the entry of kernel->protocol. -EFAULT if RAM is less than
 * 1 MiB; the caller has checked the rest by kernel_load() and cmdline_build(). */
int boot_setup(const struct boot_config *c, struct guest_mem *gm, struct boot_entry *entry,
	       struct err *e);

#endif
