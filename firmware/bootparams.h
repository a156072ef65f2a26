/* SPDX-License-Identifier: Apache-2.0 */
/* bootparams: Linux's own boot protocols, 64-bit and 32-bit: the zero page (struct
 * boot_params), and the page tables that the first of them wants. */
#ifndef FIRMWARE_BOOTPARAMS_H
#define FIRMWARE_BOOTPARAMS_H

#include "firmware/boot.h"

/* Write the zero page, and the seed that it points at. 0 or -EFAULT. */
int bootparams_write(const struct boot_config *c, struct guest_mem *gm);

/* Write tables at LAYOUT_PML4 that map the first 4 GiB where they are. 0 or -EFAULT. */
int bootparams_write_page_tables(struct guest_mem *gm);

#endif
