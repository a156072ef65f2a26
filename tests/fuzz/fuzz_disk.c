/* SPDX-License-Identifier: Apache-2.0 */
/* A disk whose partition table and file systems are the input's: a size in blocks, and
 * then pieces, each an offset (three bytes), a length and its bytes. */
#include "firmware/init/partitions.h"
#include "firmware/init/superblock.h"
#include "firmware/initramfs/disk_probe.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/kernel_image.h"

#include <string.h>

enum { DISK_MAX = 256 << 10, BLOCK = 512 };

/* Text that goes to a console, whatever the disk says. */
static void check_text(const char *text, size_t size)
{
	fuzz_check(memchr(text, 0, size));
	for (; *text; text++)
		fuzz_check((uint8_t)*text >= ' ' && *text != 0x7f);
}

static void check_superblock(const struct superblock *sb)
{
	fuzz_check(sb->type && *sb->type);
	check_text(sb->uuid, sizeof(sb->uuid));
	check_text(sb->label, sizeof(sb->label));
	fuzz_check(strspn(sb->uuid, "0123456789abcdefABCDEF-") == strlen(sb->uuid));
}

void fuzz_one(struct fuzz_in *in)
{
	struct partition parts[PARTITIONS_MAX];
	size_t size = (1 + fuzz_below(in, DISK_MAX / BLOCK)) * BLOCK;
	struct disk_probe probe;
	struct superblock sb;
	struct image_file file;
	unsigned n;

	image_file_init(&file, "", 0);
	image_file_cut(&file, size);
	while (fuzz_more(in)) {
		uint64_t at = fuzz_uint(in, 3) % size;
		const uint8_t *bytes;
		size_t len = fuzz_bytes(in, fuzz_u8(in), &bytes);

		image_file_put(&file, at, bytes, len < size - at ? len : size - at);
	}
	if (superblock_read(&sb, file.fd, 0))
		check_superblock(&sb);
	n = partitions_read(parts, PARTITIONS_MAX, file.fd);
	fuzz_check(n <= PARTITIONS_MAX);
	for (unsigned i = 0; i < n; i++) {
		const struct partition *p = &parts[i];

		fuzz_check(p->number && (!i || p->number > parts[i - 1].number));
		fuzz_check(p->len && p->start + p->len > p->start);
		check_text(p->uuid, sizeof(p->uuid));
		check_text(p->name, sizeof(p->name));
		if (superblock_read(&sb, file.fd, p->start))
			check_superblock(&sb);
	}
	disk_probe(&probe, (const char *[]){file.path}, 1);
	fuzz_check(probe.n <= DISK_PROBE_MAX);
	for (unsigned i = 0; i < probe.n; i++)
		if (probe.found[i].has_fs)
			check_superblock(&probe.found[i].sb);
	image_file_fini(&file);
}
