/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_fs: disk images with partition tables and superblocks, written field by
 * field from their specifications, as far as finding a root looks at them. The
 * offsets are written out here a second time, on purpose.
 */
#ifndef TESTS_LIB_FAKE_FS_H
#define TESTS_LIB_FAKE_FS_H

#include <stddef.h>
#include <stdint.h>

/* Superblocks, into `fs`, the file system's first FAKE_FS_BYTES bytes. uuid: 16
 * bytes (vfat: the first 4, as stored). */
enum { FAKE_FS_BYTES = 0x11000 };
void fake_ext4(uint8_t *fs, const uint8_t *uuid, const char *label);
void fake_xfs(uint8_t *fs, const uint8_t *uuid, const char *label);
void fake_btrfs(uint8_t *fs, const uint8_t *uuid, const char *label);
void fake_squashfs(uint8_t *fs);
void fake_erofs(uint8_t *fs, const uint8_t *uuid, const char *label);
void fake_f2fs(uint8_t *fs, const uint8_t *uuid, const char *label);
void fake_vfat(uint8_t *fs, const uint8_t *uuid, const char *label);

/* Partition tables for 512-byte blocks. An MBR has its disk id set to `id`;
 * `slot` is 0 to 3. A GPT has 128 entries from block 2. */
void fake_mbr(uint8_t *disk, uint32_t id);
void fake_mbr_entry(uint8_t *table, unsigned slot, uint8_t type, uint32_t first, uint32_t count);
void fake_gpt(uint8_t *disk);
void fake_gpt_entry(uint8_t *disk, unsigned index, const uint8_t *guid, uint64_t first,
		    uint64_t last, const char *name);

#endif
