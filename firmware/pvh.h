/* SPDX-License-Identifier: Apache-2.0 */
/* pvh: hvm_start_info, which tells a kernel that is entered by PVH of its machine. */
#ifndef FIRMWARE_PVH_H
#define FIRMWARE_PVH_H

#include "firmware/boot.h"

/* Write it, with its module list and memory map, at LAYOUT_START_INFO. 0 or -EFAULT. */
int pvh_write(const struct boot_config *c, struct guest_mem *gm);

#endif
