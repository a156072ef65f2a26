/* SPDX-License-Identifier: Apache-2.0 */
/* mptable: processors and interrupt lines for a guest that does without ACPI
 * [Intel MultiProcessor Specification 1.4]. */
#ifndef FIRMWARE_MPTABLE_H
#define FIRMWARE_MPTABLE_H

#include "vmm/arch/x86_64/board.h"
#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"

/* Put the floating pointer at LAYOUT_MP_POINTER and the table at LAYOUT_MP_TABLE. -EFAULT
 * and *e if RAM is less than 1 MiB. */
int mptable_load(const struct board *b, struct guest_mem *gm, struct err *e);

#endif
