/* SPDX-License-Identifier: Apache-2.0 */
/* init_program: the guest's init (firmware/init), as bytes within minivmm. */
#ifndef FIRMWARE_INITRAMFS_INIT_PROGRAM_H
#define FIRMWARE_INITRAMFS_INIT_PROGRAM_H

#include <stdint.h>

extern const uint8_t init_program[], init_program_end[];

#endif
