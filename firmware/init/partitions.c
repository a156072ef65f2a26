/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partitions: the two tables that disks of virtual machines carry.
 *
 * GPT [UEFI 2.10 5.3]: a header in the second block, an array of entries. MBR:
 * four entries in the first block, one of which may start a chain of further
 * tables, each with one logical partition and a link to the next. Checksums are
 * not verified: the guest's kernel does that before it offers a partition, and a
 * wrong name here can only fail to match.
 */
#include "firmware/init/partitions.h"

#include "firmware/init/superblock.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

enum { SECTOR = 512, MBR_ENTRIES = 446, MBR_DISK_ID = 440, MBR_ENTRY = 16, LOGICAL_MAX = 60 };

/* A GUID's first three fields are little-endian [UEFI 2.10 A]. */
static void guid_text(char out[37], const uint8_t g[16])
{
	const uint8_t u[16] = {g[3], g[2], g[1],  g[0],  g[5],  g[4],  g[7],  g[6],
			       g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]};

	superblock_uuid(out, u);
}

static unsigned read_gpt(struct partition *out, unsigned max, int fd, unsigned block)
{
	static const uint8_t unused[16];
	uint8_t h[92], e[128];
	uint64_t entries;
	uint32_t count, size;
	unsigned n = 0;

	if (fd_pread_full(fd, h, sizeof(h), block) || memcmp(h, "EFI PART", 8))
		return 0;
	entries = le64_get(h + 72); /* PartitionEntryLBA */
	count = le32_get(h + 80);   /* NumberOfPartitionEntries */
	size = le32_get(h + 84);    /* SizeOfPartitionEntry */
	if (entries > INT64_MAX / 4096 || size < sizeof(e) || size > 4096)
		return 0;
	if (count > PARTITIONS_MAX)
		count = PARTITIONS_MAX;
	for (uint32_t i = 0; i < count && n < max; i++) {
		struct partition *p = &out[n];
		uint64_t first, last;

		if (fd_pread_full(fd, e, sizeof(e), entries * block + (uint64_t)i * size))
			break;
		first = le64_get(e + 32); /* StartingLBA, EndingLBA: inclusive */
		last = le64_get(e + 40);
		if (!memcmp(e, unused, 16) || first > last || last >= INT64_MAX / 4096)
			continue;
		p->number = i + 1;
		p->start = first * block;
		p->len = (last - first + 1) * block;
		guid_text(p->uuid, e + 16);
		superblock_utf16(p->name, sizeof(p->name), e + 56, 36);
		n++;
	}
	return n;
}

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

static void mbr_partition(struct partition *p, const uint8_t *e, uint64_t base, unsigned number,
			  uint32_t disk_id)
{
	p->number = number;
	p->start = (base + le32_get(e + 8)) * SECTOR;
	p->len = (uint64_t)le32_get(e + 12) * SECTOR;
	p->name[0] = '\0';
	snprintf(p->uuid, sizeof(p->uuid), "%08x-%02x", disk_id, number);
}

/* Logical partitions are numbered from 5. Their start counts from their own
 * table, the link to the next table from the extended partition's begin. */
static unsigned read_logical(struct partition *out, unsigned max, int fd, uint64_t begin,
			     uint32_t disk_id)
{
	uint64_t at = begin;
	unsigned n = 0;

	for (unsigned i = 0; i < LOGICAL_MAX && n < max; i++) {
		uint8_t b[SECTOR];
		const uint8_t *link = NULL;

		if (fd_pread_full(fd, b, sizeof(b), at * SECTOR) || b[510] != 0x55 ||
		    b[511] != 0xaa)
			break;
		for (unsigned k = 0; k < 4 && n < max; k++) {
			const uint8_t *e = b + MBR_ENTRIES + k * MBR_ENTRY;

			if (!le32_get(e + 12))
				continue;
			if (is_extended(e[4])) {
				if (!link)
					link = e;
			} else {
				mbr_partition(&out[n], e, at, 5 + n, disk_id);
				n++;
			}
		}
		if (!link)
			break;
		at = begin + le32_get(link + 8);
	}
	return n;
}

unsigned partitions_read(struct partition *out, unsigned max, int fd)
{
	uint8_t b[SECTOR];
	uint64_t extended = 0;
	uint32_t disk_id;
	unsigned n = 0;

	if (fd_pread_full(fd, b, sizeof(b), 0) || b[510] != 0x55 || b[511] != 0xaa)
		return 0;
	for (unsigned k = 0; k < 4; k++) {
		if (b[MBR_ENTRIES + k * MBR_ENTRY + 4] != 0xee)
			continue;
		/* A protective MBR. The block is 4 KiB on disks that say so. */
		n = read_gpt(out, max, fd, SECTOR);
		return n ? n : read_gpt(out, max, fd, 4096);
	}
	disk_id = le32_get(b + MBR_DISK_ID);
	for (unsigned k = 0; k < 4 && n < max; k++) {
		const uint8_t *e = b + MBR_ENTRIES + k * MBR_ENTRY;

		/* A FAT boot sector has 55 AA too, and code where the entries are. */
		if (e[0] != 0x00 && e[0] != 0x80)
			return 0;
		if (!le32_get(e + 12) || !e[4])
			continue;
		mbr_partition(&out[n++], e, 0, k + 1, disk_id);
		if (is_extended(e[4]))
			extended = le32_get(e + 8);
	}
	if (extended)
		n += read_logical(out + n, max - n, fd, extended, disk_id);
	return n;
}

int partition_name(char *out, size_t size, const char *disk, unsigned number)
{
	size_t len = strlen(disk);
	bool digit = len && disk[len - 1] >= '0' && disk[len - 1] <= '9';
	int n = snprintf(out, size, "%s%s%u", disk, digit ? "p" : "", number);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}
