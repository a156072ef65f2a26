/* SPDX-License-Identifier: Apache-2.0 */
/* fake_fs: see the specifications that firmware/init/superblock.c names. */
#include "tests/lib/fake_fs.h"

#include "vmm/base/le.h"

void fake_ext4(uint8_t *fs, const uint8_t *uuid, const char *label)
{
	le16_put(fs + 0x438, 0xef53);
	memcpy(fs + 0x468, uuid, 16);
	strncpy((char *)fs + 0x478, label, 16);
}

void fake_xfs(uint8_t *fs, const uint8_t *uuid, const char *label)
{
	memcpy(fs, "XFSB", 4);
	memcpy(fs + 0x20, uuid, 16);
	strncpy((char *)fs + 0x6c, label, 12);
}

void fake_btrfs(uint8_t *fs, const uint8_t *uuid, const char *label)
{
	memcpy(fs + 0x10040, "_BHRfS_M", 8);
	memcpy(fs + 0x10020, uuid, 16);
	strncpy((char *)fs + 0x1012b, label, 256);
}

void fake_squashfs(uint8_t *fs)
{
	memcpy(fs, "hsqs", 4);
	le16_put(fs + 28, 4);
}

void fake_erofs(uint8_t *fs, const uint8_t *uuid, const char *label)
{
	le32_put(fs + 0x400, 0xe0f5e1e2);
	memcpy(fs + 0x430, uuid, 16);
	strncpy((char *)fs + 0x440, label, 16);
}

void fake_f2fs(uint8_t *fs, const uint8_t *uuid, const char *label)
{
	le32_put(fs + 0x400, 0xf2f52010);
	memcpy(fs + 0x46c, uuid, 16);
	for (size_t i = 0; label[i]; i++)
		le16_put(fs + 0x47c + 2 * i, (uint8_t)label[i]);
}

void fake_vfat(uint8_t *fs, const uint8_t *uuid, const char *label)
{
	memset(fs + 0x47, ' ', 11);
	memcpy(fs + 0x47, label, strlen(label));
	memcpy(fs + 0x43, uuid, 4);
	memcpy(fs + 0x52, "FAT32   ", 8);
	fs[0] = 0xeb;
	fs[0x1fe] = 0x55;
	fs[0x1ff] = 0xaa;
}

void fake_mbr(uint8_t *disk, uint32_t id)
{
	le32_put(disk + 0x1b8, id);
	disk[0x1fe] = 0x55;
	disk[0x1ff] = 0xaa;
}

void fake_mbr_entry(uint8_t *table, unsigned slot, uint8_t type, uint32_t first, uint32_t count)
{
	uint8_t *e = table + 0x1be + 16 * slot;

	e[4] = type;
	le32_put(e + 8, first);
	le32_put(e + 12, count);
	table[0x1fe] = 0x55;
	table[0x1ff] = 0xaa;
}

void fake_gpt(uint8_t *disk)
{
	uint8_t *h = disk + 512;

	fake_mbr(disk, 0);
	fake_mbr_entry(disk, 0, 0xee, 1, UINT32_MAX);
	memcpy(h, "EFI PART", 8);
	le64_put(h + 24, 1);
	le64_put(h + 72, 2);
	le32_put(h + 80, 128);
	le32_put(h + 84, 128);
}

void fake_gpt_entry(uint8_t *disk, unsigned index, const uint8_t *guid, uint64_t first,
		    uint64_t last, const char *name)
{
	uint8_t *e = disk + 1024 + 128 * index;

	memset(e, 0xa5, 16);
	memcpy(e + 16, guid, 16);
	le64_put(e + 32, first);
	le64_put(e + 40, last);
	for (size_t i = 0; name[i]; i++)
		le16_put(e + 56 + 2 * i, (uint8_t)name[i]);
}
