/* SPDX-License-Identifier: Apache-2.0 */
/*
 * make_seeds DIR: writes the seeds that no hand and no fuzzer would find, whole kernel
 * images, packed modules, file systems, into DIR/TARGET. They are in the repository;
 * run it again (target `fuzz-seeds`) when a format or a target's reading of its input
 * has changed.
 */
#include "tests/lib/fake_fs.h"
#include "tests/lib/fake_module.h"
#include "tests/lib/kernel_image.h"
#include "vmm/base/le.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *corpus;

static void put(const char *target, const char *name, const void *bytes, size_t len)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/%s", corpus, target, name);
	f = fopen(path, "wb");
	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f)) {
		perror(path);
		exit(1);
	}
}

/* The same with notes behind the headers, small: both entries, and the class that has
 * one only. */
static void pvh_kernels(void)
{
	enum { HEAD = 0x600, PART = 0x400 };
	uint8_t image[VMLINUX_SIZE];

	vmlinux_make(image);
	vmlinux_add_linux_notes(image);
	for (unsigned i = 0; i < 2; i++) {
		Elf64_Phdr *ph = (Elf64_Phdr *)(void *)(image + VMLINUX_PHDRS) + i;

		ph->p_offset = HEAD + i * PART;
		ph->p_filesz = PART;
	}
	put("kernel", "vmlinux-pvh", image, HEAD + 2 * PART);

	vmlinux32_make(image);
	for (unsigned i = 0; i < 2; i++) {
		Elf32_Phdr *ph = (Elf32_Phdr *)(void *)(image + VMLINUX_PHDRS) + i;

		ph->p_offset = HEAD + i * PART;
		ph->p_filesz = PART;
	}
	put("kernel", "vmlinux32-pvh", image, HEAD + 2 * PART);
}

static void kernels(void)
{
	enum { KERNEL = 0x400, HEAD = 0x200 };
	uint8_t bz[BZIMAGE_SIZE], elf[VMLINUX_SIZE];
	Elf64_Phdr *ph = (Elf64_Phdr *)(void *)(elf + VMLINUX_PHDRS);

	bzimage_make(bz);
	le32_put(bz + 0x1f4, KERNEL / 16); /* syssize */
	put("kernel", "bzimage", bz, BZIMAGE_SETUP_SIZE + KERNEL);

	vmlinux_make(elf);
	for (unsigned i = 0; i < 2; i++) {
		ph[i].p_offset = HEAD + i * KERNEL;
		ph[i].p_filesz = KERNEL;
	}
	memcpy(elf + HEAD, "Linux version 6.1.0-seed (x@y)", 31);
	put("kernel", "vmlinux", elf, HEAD + 2 * KERNEL);
	pvh_kernels();
}

static void modules(void)
{
	static const char info[] = "depends=b,c\nname=a\nvermagic=6.1.0-test SMP\nsoftdep=pre: d";
	static const char *const names[] = {"plain", "gz", "xz", "zst"};

	for (unsigned i = 0; i < 4; i++) {
		size_t len;
		uint8_t *bytes = fake_module(info, 0, i, &len), seed[4096] = {0};

		memcpy(seed + 1, bytes, len);
		put("unpack", names[i], seed, len + 1);
		free(bytes);
	}
}

/* The disk as fuzz_disk reads it: a size, and the pieces that are not zero. */
static void put_disk(const char *name, const uint8_t *disk, size_t size)
{
	uint8_t seed[4096];
	size_t n = 2, len;

	le16_put(seed, (uint16_t)(size / 512 - 1));
	for (size_t at = 0; at < size && n < sizeof(seed) - 260; at += len) {
		len = 1;
		if (!disk[at])
			continue;
		while (len < 200 && at + len < size &&
		       (disk[at + len] || (at + len + 8 < size && disk[at + len + 8])))
			len++;
		le32_put(seed + n, (uint32_t)at); /* the fourth byte is overwritten */
		seed[n + 3] = (uint8_t)len;
		memcpy(seed + n + 4, disk + at, len);
		n += 4 + len;
	}
	put("disk", name, seed, n);
}

static void disks(void)
{
	static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	enum { SIZE = 256 << 10 };
	uint8_t *disk = calloc(1, SIZE);

	if (!disk)
		exit(1);
#define DISK(name, fill)                    \
	do {                                \
		memset(disk, 0, SIZE);      \
		fill;                       \
		put_disk(name, disk, SIZE); \
	} while (0)
	DISK("ext4", fake_ext4(disk, uuid, "root"));
	DISK("xfs", fake_xfs(disk, uuid, "root"));
	DISK("btrfs", fake_btrfs(disk, uuid, "root"));
	DISK("squashfs", fake_squashfs(disk));
	DISK("erofs", fake_erofs(disk, uuid, "root"));
	DISK("f2fs", fake_f2fs(disk, uuid, "root"));
	DISK("vfat", fake_vfat(disk, uuid, "ROOT"));
	DISK("mbr", {
		fake_mbr(disk, 0x1234abcd);
		fake_mbr_entry(disk, 0, 0x83, 64, 64);
		fake_mbr_entry(disk, 1, 0x05, 128, 256);
		fake_mbr(disk + 128 * 512, 0);
		fake_mbr_entry(disk + 128 * 512, 0, 0x83, 8, 32);
		fake_mbr_entry(disk + 128 * 512, 1, 0x05, 64, 64);
		fake_mbr(disk + 192 * 512, 0);
		fake_mbr_entry(disk + 192 * 512, 0, 0x83, 8, 32);
		fake_ext4(disk + 64 * 512, uuid, "root");
	});
	DISK("gpt", {
		fake_gpt(disk);
		fake_gpt_entry(disk, 0, uuid, 64, 127, "root");
		fake_gpt_entry(disk, 5, uuid, 128, 255, "data");
		fake_xfs(disk + 64 * 512, uuid, "root");
	});
	free(disk);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make_seeds DIR\n");
		return 2;
	}
	corpus = argv[1];
	kernels();
	modules();
	disks();
	return 0;
}
