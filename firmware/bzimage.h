/* SPDX-License-Identifier: Apache-2.0 */
/* bzimage: the compressed kernel image as distributions ship it. Used by
 * kernel.c only. */
#ifndef FIRMWARE_BZIMAGE_H
#define FIRMWARE_BZIMAGE_H

#include "firmware/kernel_image.h"
#include "vmm/base/err.h"

#include <stdbool.h>

/* Does the file begin as a bzImage, a Linux boot sector, does? */
bool bzimage_is(const uint8_t *head, size_t len);

/* Fill *k from the first `len` bytes of the file, which is open as k->fd. Reads
 * the version string besides. 0, or -EINVAL and *e. */
int bzimage_parse(struct kernel *k, const uint8_t *head, size_t len, struct err *e);

#endif
