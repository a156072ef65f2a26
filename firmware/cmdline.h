/* SPDX-License-Identifier: Apache-2.0 */
/* cmdline: the kernel's command line, from our defaults and the user's wishes. */
#ifndef FIRMWARE_CMDLINE_H
#define FIRMWARE_CMDLINE_H

#include "vmm/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A virtio-mmio device, for a guest that does not read ACPI. */
struct cmdline_device {
	uint64_t base, len;
	unsigned irq;
};

struct cmdline_config {
	const char *cmdline;        /* --cmdline: instead of the defaults; NULL: the defaults */
	const char *cmdline_option; /* who said it, for messages; NULL: "--cmdline" */
	const char *append;         /* --append: after them; NULL: nothing */
	/* Which ports are the kernel's consoles; the last of them is /dev/console. */
	bool serial, serial2, hvc;
	/* What root= says if the user gives none: "/dev/vda"; "": the init finds it by
	 * itself; NULL: there is no disk. */
	const char *root;
	bool root_readonly; /* the first disk cannot be written */
	const char *pci;    /* what pci= says if the user gives none; NULL: nothing */
	bool grows;         /* memory may be plugged, and is to be used */
	bool gives_back;    /* what it frees, the host is to have */
	bool quiet;         /* nobody reads along: the kernel says what goes wrong, no more */
	/* Put before all else if the line says acpi=off and names no such device itself. */
	unsigned n_devices;
	const struct cmdline_device *devices;
};

/* Write the line, NUL-terminated, to buf[size] and give its length. `max`: what the
 * kernel takes without the NUL (cmdline_size). -EINVAL and *e for control
 * characters, -E2BIG and *e, with both lengths, when it is too long: never cut. */
int cmdline_build(char *buf, size_t size, const struct cmdline_config *c, size_t max,
		  struct err *e);

/* Judge `len` bytes of text from `option`: -EINVAL and *e for a NUL, a newline or
 * another control character. For text that comes from a file. */
int cmdline_check(const char *text, size_t len, const char *option, struct err *e);

#endif
