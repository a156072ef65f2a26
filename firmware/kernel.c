/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file is, is decided by its first page and never by its name. Each
 * format has a parser (bzimage.c, elf.c) that fills struct kernel; here is what
 * they have in common: opening, recognising, and copying into RAM.
 *
 * The file is the user's but may be anybody's: every number in it is checked
 * before it is used, and the segments that a parser leaves are inside the
 * file, do not overlap and do not wrap.
 */
#include "firmware/kernel.h"

#include "firmware/bzimage.h"
#include "firmware/elf.h"
#include "vmm/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const protocol_names[BOOT_PROTOCOLS] = {
	[BOOT_LINUX64] = "linux64",
	[BOOT_LINUX32] = "linux32",
	[BOOT_PVH] = "pvh",
};

/* Enough for the setup_header, an ELF header and the PE header before them. */
enum { HEAD_SIZE = 4096 };

/* What people give by mistake, told by its magic number. */
static const struct {
	unsigned off;
	unsigned len;
	const char *magic;
	const char *is;
} impostors[] = {
	{0, 2, "\x1f\x8b", "gzip-compressed; unpack it first"},
	{0, 6, "\xfd\x37zXZ\0", "xz-compressed; unpack it first"},
	{0, 4, "\x28\xb5\x2f\xfd", "zstd-compressed; unpack it first"},
	{0, 3, "BZh", "bzip2-compressed; unpack it first"},
	{0, 4, "\x04\x22\x4d\x18", "lz4-compressed; unpack it first"},
	{0, 4, "\x02\x21\x4c\x18", "lz4-compressed; unpack it first"},
	{0x38, 4, "ARM\x64", "an ARM64 kernel; give one for x86-64"},
	{0x38, 4, "RSC\x05", "a RISC-V kernel; give one for x86-64"},
	{0x24, 4, "\x18\x28\x6f\x01", "a 32-bit ARM kernel; give one for x86-64"},
	{4, 4, "zimg", "an EFI zboot image; unpack it first"},
	{0, 6, "070701", "a cpio archive; an initramfs is given with --initrd"},
	{0, 4, "QFI\xfb", "a qcow2 disk image; a disk is given with --disk"},
	{0, 2, "#!", "a script, not a kernel"},
};

static int not_a_kernel(const struct kernel *k, const uint8_t *head, size_t len, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(impostors); i++)
		if (range_within(impostors[i].off, impostors[i].len, len) &&
		    !memcmp(head + impostors[i].off, impostors[i].magic, impostors[i].len))
			return err_usage(e, -EINVAL, "--kernel %s: is %s", k->path,
					 impostors[i].is);
	return err_usage(e, -EINVAL,
			 "--kernel %s: neither a bzImage nor an ELF file; give a bzImage or a "
			 "64-bit vmlinux",
			 k->path);
}

static int open_regular(struct kernel *k, struct err *e)
{
	struct stat st;

	/* O_NONBLOCK: a FIFO nobody writes to must not hang us before fstat. */
	k->fd = open(k->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (k->fd < 0 || fstat(k->fd, &st) < 0) {
		int code = -errno;

		return err_usage(e, code, "--kernel %s: %s", k->path, strerror(-code));
	}
	if (S_ISDIR(st.st_mode))
		return err_usage(e, -EISDIR, "--kernel %s: is a directory; give a kernel image",
				 k->path);
	if (!S_ISREG(st.st_mode))
		return err_usage(e, -EINVAL, "--kernel %s: is not a regular file", k->path);
	if (st.st_size == 0)
		return err_usage(e, -EINVAL, "--kernel %s: is empty", k->path);
	k->file_size = (uint64_t)st.st_size;
	return 0;
}

int kernel_open(struct kernel *k, const char *path, struct err *e)
{
	uint8_t head[HEAD_SIZE];
	size_t len = sizeof(head);
	int ret;

	*k = (struct kernel){.path = path, .fd = -1};
	ret = open_regular(k, e);
	if (ret)
		goto fail;
	if (k->file_size < len)
		len = k->file_size;
	ret = fd_pread_full(k->fd, head, len, 0);
	if (ret) {
		ret = err_usage(e, ret, "--kernel %s: cannot read: %s", path, strerror(-ret));
		goto fail;
	}

	if (elf_is(head, len))
		ret = elf_parse(k, head, len, e);
	else if (bzimage_is(head, len))
		ret = bzimage_parse(k, head, len, e);
	else
		ret = not_a_kernel(k, head, len, e);
	if (!ret)
		return 0;
fail:
	kernel_close(k);
	return ret;
}

void kernel_close(struct kernel *k)
{
	fd_close(&k->fd);
}

const char *kernel_version(struct kernel *k)
{
	if (!k->version[0] && k->kind == KERNEL_ELF && k->fd >= 0)
		elf_find_version(k);
	return k->version[0] ? k->version : NULL;
}

const char *boot_protocol_name(enum boot_protocol protocol)
{
	return protocol_names[protocol];
}

int kernel_choose_protocol(struct kernel *k, enum boot_protocol protocol, struct err *e)
{
	char has[64] = "";
	size_t n = 0;

	if (k->entries[protocol].there) {
		k->protocol = protocol;
		return 0;
	}
	for (unsigned i = 0; i < BOOT_PROTOCOLS; i++)
		if (k->entries[i].there)
			n += (size_t)snprintf(has + n, sizeof(has) - n, "%s%s", n ? " or " : "",
					      protocol_names[i]);
	return err_usage(e, -EINVAL, "--boot %s: --kernel %s has no such entry; give %s",
			 protocol_names[protocol], k->path, has);
}

int kernel_load(const struct kernel *k, const struct board *b, struct guest_mem *gm, struct err *e)
{
	if (k->end > LAYOUT_HOLE)
		return err_usage(
			e, -EINVAL,
			"--kernel %s: asks for RAM up to %#lx, which is beyond %#lx; is it "
			"damaged?",
			k->path, k->end, (uint64_t)LAYOUT_HOLE);
	if (k->end > b->ram_low)
		return err_usage(e, -ENOSPC,
				 "--memory %luM is too small for this kernel: it needs at least "
				 "%lu MiB",
				 b->ram_low / MiB, align_up(k->end, 2 * MiB) / MiB);

	for (unsigned i = 0; i < k->n_segments; i++) {
		const struct kernel_segment *s = &k->segments[i];
		int ret;

		if (!s->filesz)
			continue;
		ret = guest_mem_pread(gm, s->gpa, k->fd, s->off, s->filesz);
		if (ret == -ENODATA)
			return err_usage(e, ret, "--kernel %s: was cut short while it was read",
					 k->path);
		if (ret)
			return err_host(e, ret, "--kernel %s: cannot load: %s", k->path,
					strerror(-ret));
	}
	return 0;
}
