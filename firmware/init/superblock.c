/* SPDX-License-Identifier: Apache-2.0 */
/*
 * superblock: a file system is known by a magic number at a fixed place, and
 * its UUID and label stand at fixed places beside it. Two reads cover all that
 * Linux boots from: the first 4 KiB, and the 4 KiB at 64 KiB for btrfs.
 *
 * Order matters where a disk was formatted twice: btrfs leaves the first
 * 64 KiB alone, and FAT's signature 55 AA is in many a boot sector, so FAT is
 * asked last.
 */
#include "firmware/init/superblock.h"

#include "vmm/base/le.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { BLOCK = 4096, BTRFS_AT = 0x10000 };

/* A small image may end within the block: what is missing reads as zeroes. */
static bool read_block(int fd, uint64_t off, uint8_t buf[BLOCK])
{
	size_t got = 0;

	memset(buf, 0, BLOCK);
	while (got < BLOCK) {
		ssize_t n = pread(fd, buf + got, BLOCK - got, (off_t)(off + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return got > 0;
}

void superblock_uuid(char out[37], const uint8_t u[16])
{
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		 u[13], u[14], u[15]);
}

static void set_uuid(struct superblock *sb, const uint8_t uuid[16])
{
	static const uint8_t none[16];

	if (memcmp(uuid, none, 16))
		superblock_uuid(sb->uuid, uuid);
}

/* Labels end at a 0 or at the field's end; FAT pads with blanks. Control
 * characters would write over the terminal that shows them. */
static void set_label(struct superblock *sb, const uint8_t *field, size_t len)
{
	size_t n = strnlen((const char *)field, len);

	if (n > sizeof(sb->label) - 1)
		n = sizeof(sb->label) - 1;
	memcpy(sb->label, field, n);
	while (n && sb->label[n - 1] == ' ')
		n--;
	sb->label[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)sb->label[i] < ' ' || sb->label[i] == 0x7f)
			sb->label[i] = '?';
}

void superblock_utf16(char *out, unsigned size, const uint8_t *in, unsigned units)
{
	unsigned n = 0;

	for (unsigned i = 0; i < units; i++) {
		uint32_t c = le16_get(in + 2 * i);
		char utf8[4];
		unsigned len;

		if (!c)
			break;
		if (c >= 0xd800 && c < 0xdc00 && i + 1 < units) {
			uint32_t low = le16_get(in + 2 * i + 2);

			if (low >= 0xdc00 && low < 0xe000) {
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				i++;
			}
		}
		if ((c >= 0xd800 && c < 0xe000) || c < ' ' || c == 0x7f)
			c = '?';
		if (c < 0x80) {
			utf8[0] = (char)c;
			len = 1;
		} else if (c < 0x800) {
			utf8[0] = (char)(0xc0 | c >> 6);
			utf8[1] = (char)(0x80 | (c & 0x3f));
			len = 2;
		} else if (c < 0x10000) {
			utf8[0] = (char)(0xe0 | c >> 12);
			utf8[1] = (char)(0x80 | (c >> 6 & 0x3f));
			utf8[2] = (char)(0x80 | (c & 0x3f));
			len = 3;
		} else {
			utf8[0] = (char)(0xf0 | c >> 18);
			utf8[1] = (char)(0x80 | (c >> 12 & 0x3f));
			utf8[2] = (char)(0x80 | (c >> 6 & 0x3f));
			utf8[3] = (char)(0x80 | (c & 0x3f));
			len = 4;
		}
		if (n + len >= size)
			break;
		memcpy(out + n, utf8, len);
		n += len;
	}
	if (size)
		out[n] = '\0';
}

/* [Linux Documentation/filesystems/ext4/super.rst]: the superblock is at 1024.
 * The ext4 driver mounts ext2 and ext3 too. A journal device is not a root. */
static bool is_ext(struct superblock *sb, const uint8_t *b)
{
	enum { S_MAGIC = 0x38, S_FEATURE_INCOMPAT = 0x60, S_UUID = 0x68, S_VOLUME_NAME = 0x78 };
	enum { INCOMPAT_JOURNAL_DEV = 0x8 };

	b += 1024;
	if (le16_get(b + S_MAGIC) != 0xef53 ||
	    (le32_get(b + S_FEATURE_INCOMPAT) & INCOMPAT_JOURNAL_DEV))
		return false;
	sb->type = "ext4";
	set_uuid(sb, b + S_UUID);
	set_label(sb, b + S_VOLUME_NAME, 16);
	return true;
}

/* [Linux fs/xfs/libxfs/xfs_format.h, struct xfs_dsb]: sb_uuid, sb_fname. */
static bool is_xfs(struct superblock *sb, const uint8_t *b)
{
	if (memcmp(b, "XFSB", 4))
		return false;
	sb->type = "xfs";
	set_uuid(sb, b + 32);
	set_label(sb, b + 108, 12);
	return true;
}

/* [Linux fs/squashfs/squashfs_fs.h]: neither UUID nor label. s_major is 4. */
static bool is_squashfs(struct superblock *sb, const uint8_t *b)
{
	if (memcmp(b, "hsqs", 4) || le16_get(b + 28) != 4)
		return false;
	sb->type = "squashfs";
	return true;
}

/* [Linux fs/erofs/erofs_fs.h, struct erofs_super_block]: uuid, volume_name. */
static bool is_erofs(struct superblock *sb, const uint8_t *b)
{
	b += 1024;
	if (le32_get(b) != 0xe0f5e1e2)
		return false;
	sb->type = "erofs";
	set_uuid(sb, b + 48);
	set_label(sb, b + 64, 16);
	return true;
}

/* [Linux include/linux/f2fs_fs.h, struct f2fs_super_block]: volume_name is
 * 512 units of UTF-16. */
static bool is_f2fs(struct superblock *sb, const uint8_t *b)
{
	b += 1024;
	if (le32_get(b) != 0xf2f52010)
		return false;
	sb->type = "f2fs";
	set_uuid(sb, b + 108);
	superblock_utf16(sb->label, sizeof(sb->label), b + 124, 512);
	return true;
}

/* [Linux include/uapi/linux/btrfs_tree.h, struct btrfs_super_block], at 64 KiB. */
static bool is_btrfs(struct superblock *sb, const uint8_t *b)
{
	enum { FSID = 0x20, MAGIC = 0x40, LABEL = 0x12b };

	if (memcmp(b + MAGIC, "_BHRfS_M", 8))
		return false;
	sb->type = "btrfs";
	set_uuid(sb, b + FSID);
	set_label(sb, b + LABEL, 256);
	return true;
}

/* [Microsoft FAT specification 1.03]: BS_FilSysType tells nothing to a driver,
 * but mkfs writes it, and it keeps plain boot sectors out. */
static bool is_vfat(struct superblock *sb, const uint8_t *b)
{
	const uint8_t *ext; /* BS_VolID, BS_VolLab, BS_FilSysType, in a row */

	if (b[510] != 0x55 || b[511] != 0xaa)
		return false;
	if (!memcmp(b + 82, "FAT32   ", 8))
		ext = b + 67;
	else if (!memcmp(b + 54, "FAT12   ", 8) || !memcmp(b + 54, "FAT16   ", 8))
		ext = b + 39;
	else
		return false;
	sb->type = "vfat";
	snprintf(sb->uuid, sizeof(sb->uuid), "%04X-%04X", le16_get(ext + 2), le16_get(ext));
	if (memcmp(ext + 4, "NO NAME    ", 11))
		set_label(sb, ext + 4, 11);
	return true;
}

bool superblock_read(struct superblock *sb, int fd, uint64_t base)
{
	uint8_t buf[BLOCK];

	memset(sb, 0, sizeof(*sb));
	if (base > INT64_MAX - BTRFS_AT - BLOCK)
		return false;
	if (!read_block(fd, base, buf))
		return false;
	if (is_ext(sb, buf) || is_xfs(sb, buf) || is_squashfs(sb, buf) || is_erofs(sb, buf) ||
	    is_f2fs(sb, buf) || is_vfat(sb, buf))
		return true;
	return read_block(fd, base + BTRFS_AT, buf) && is_btrfs(sb, buf);
}
