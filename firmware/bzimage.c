/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bzImage is three things in a row:
 *
 *	setup      boot sector and 16-bit code; the setup_header in it, at 0x1f1,
 *	           says all that a loader must know
 *	kernel     "protected-mode" part: a decompressor with the payload;
 *	           32-bit entry at its first byte, 64-bit entry at 0x200
 *	signature  what sbsign appended, not for us
 *
 * We copy the second part to the address that the kernel prefers and enter it at
 * 0x200, or at its first byte if it is a 32-bit kernel or one from before Linux 3.8: no
 * 16-bit code ever runs. From there on the decompressor unpacks within
 * `init_size` bytes, which is why that much RAM has to be there.
 * [Linux Documentation/arch/x86/boot.rst]
 */
#include "firmware/bzimage.h"

#include "firmware/setup_header.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <string.h>

enum {
	SECTOR = 512,
	SYSSIZE_UNIT = 16,
	ENTRY_64 = 0x200, /* from the first byte of the kernel part */
};

/* PE/COFF, as far as the place of an appended signature [PE format, "Optional
 * Header Data Directories"]. */
enum {
	PE_POINTER = 0x3c,
	PE_OPTIONAL = 24,
	PE32_PLUS = 0x20b,
	PE_DIR_COUNT = 108,
	PE_DIRS = 112,
	PE_DIR_SECURITY = 4,
	PE_DIR_SIZE = 8,
};

static int damaged(const struct kernel *k, const char *what, struct err *e)
{
	return err_usage(e, -EINVAL, "--kernel %s: a damaged bzImage: %s", k->path, what);
}

static int cut_short(const struct kernel *k, uint64_t want, struct err *e)
{
	return err_usage(
		e, -EINVAL,
		"--kernel %s: a bzImage cut short: %lu bytes, its header says %lu; copy it "
		"again",
		k->path, k->file_size, want);
}

bool bzimage_is(const uint8_t *head, size_t len)
{
	/* The boot sector's flag alone is on every bootable disk. */
	return len >= HDR_HEADER + 4 && le16_get(head + HDR_BOOT_FLAG) == HDR_BOOT_FLAG_MAGIC &&
	       !memcmp(head + HDR_HEADER, "HdrS", 4);
}

/* The end of the signature that the PE header names, or 0. Nobody needs the
 * signature here, but without its end the file is not whole. */
static uint64_t signature_end(const uint8_t *head, size_t len)
{
	uint32_t pe = le32_get(head + PE_POINTER);
	const uint8_t *opt, *dir;

	if (memcmp(head, "MZ", 2) ||
	    !range_within(pe, PE_OPTIONAL + PE_DIRS + 5 * PE_DIR_SIZE, len))
		return 0;
	opt = head + pe + PE_OPTIONAL;
	if (memcmp(head + pe, "PE\0\0", 4) || le16_get(opt) != PE32_PLUS ||
	    le32_get(opt + PE_DIR_COUNT) <= PE_DIR_SECURITY)
		return 0;
	dir = opt + PE_DIRS + PE_DIR_SECURITY * PE_DIR_SIZE;
	return (uint64_t)le32_get(dir) + le32_get(dir + 4);
}

/* "6.1.0-56-cloud-amd64 (debian-kernel@...) #1 SMP ...": the first word. */
static void read_version(struct kernel *k, uint32_t ptr, uint32_t setup_size)
{
	char text[KERNEL_VERSION_MAX];
	uint32_t off = ptr + SECTOR;
	size_t n = sizeof(text);

	if (!ptr || off >= setup_size)
		return;
	if (n > setup_size - off)
		n = setup_size - off;
	if (!fd_pread_full(k->fd, text, n, off))
		kernel_take_version(k, text, n);
}

static int judge_protocol(const struct kernel *k, const uint8_t *head, struct err *e)
{
	uint16_t version = le16_get(head + HDR_VERSION);

	if (version < HDR_PROTOCOL_MIN)
		return err_usage(
			e, -EINVAL,
			"--kernel %s: speaks boot protocol %u.%02u; 2.10 (Linux 2.6.31) or "
			"later is needed",
			k->path, version >> 8, version & 0xff);
	if (!(head[HDR_LOADFLAGS] & HDR_LOADED_HIGH))
		return damaged(k, "LOADED_HIGH is not set", e);
	return 0;
}

/* Where the kernel goes: where it prefers to run, for it would move itself there
 * from anywhere lower, relocatable or not. */
static int judge_address(const struct kernel *k, const uint8_t *head, uint64_t *load, struct err *e)
{
	uint64_t pref = le64_get(head + HDR_PREF_ADDRESS);
	uint64_t align = le32_get(head + HDR_KERNEL_ALIGNMENT);

	if (!head[HDR_RELOCATABLE_KERNEL])
		align = 1;
	else if (!is_power_of_2(align))
		return damaged(k, "kernel_alignment is no power of two", e);
	if (!pref)
		pref = align_up(LAYOUT_KERNEL, align);
	if (pref < LAYOUT_KERNEL || pref >= LAYOUT_HOLE)
		return damaged(k, "pref_address lies outside RAM", e);
	if (align_down(pref, align) != pref)
		return damaged(k, "pref_address is not aligned to kernel_alignment", e);
	*load = pref;
	return 0;
}

/* The 32-bit entry is always there, and does for a 64-bit kernel too: its first
 * code builds the page tables that we would have built. */
static void find_entries(struct kernel *k, const uint8_t *head, uint64_t load)
{
	bool tells = le16_get(head + HDR_VERSION) >= HDR_PROTOCOL_XLOADFLAGS;
	bool has64 = tells && le16_get(head + HDR_XLOADFLAGS) & HDR_XLF_KERNEL_64;

	k->entries[BOOT_LINUX32].there = true;
	k->entries[BOOT_LINUX32].gpa = load;
	k->entries[BOOT_LINUX64].there = has64;
	k->entries[BOOT_LINUX64].gpa = load + ENTRY_64;
	k->protocol = has64 ? BOOT_LINUX64 : BOOT_LINUX32;
	k->only_32bit = tells && !has64;
}

int bzimage_parse(struct kernel *k, const uint8_t *head, size_t len, struct err *e)
{
	uint32_t setup_size, header_end;
	uint64_t kernel_size, end, load = 0;
	uint64_t init_size;
	int ret;

	if (len < HDR_INIT_SIZE_END)
		return cut_short(k, HDR_INIT_SIZE_END, e);
	ret = judge_protocol(k, head, e);
	if (ret)
		return ret;

	header_end = HDR_HEADER + head[HDR_JUMP_LEN];
	if (header_end < HDR_INIT_SIZE_END || header_end > SETUP_HEADER_END)
		return damaged(k, "the setup_header has an impossible length", e);
	/* 0 means 4, for boot sectors older than the field. */
	setup_size = ((head[HDR_SETUP_SECTS] ? head[HDR_SETUP_SECTS] : 4) + 1) * SECTOR;
	if (header_end > setup_size)
		return damaged(k, "setup_sects is too small for the setup_header", e);

	kernel_size = (uint64_t)le32_get(head + HDR_SYSSIZE) * SYSSIZE_UNIT;
	if (kernel_size <= ENTRY_64)
		return damaged(k, "syssize leaves no room for a kernel", e);
	end = setup_size + kernel_size;
	if (signature_end(head, len) > end)
		end = signature_end(head, len);
	if (k->file_size < end)
		return cut_short(k, end, e);

	ret = judge_address(k, head, &load, e);
	if (ret)
		return ret;
	init_size = le32_get(head + HDR_INIT_SIZE);
	if (init_size < kernel_size)
		return damaged(k, "init_size is less than the kernel itself", e);

	k->kind = KERNEL_BZIMAGE;
	k->n_segments = 1;
	k->segments[0] = (struct kernel_segment){
		.off = setup_size,
		.filesz = kernel_size,
		.gpa = load,
		.memsz = init_size,
	};
	find_entries(k, head, load);
	k->start = load;
	k->end = load + init_size;
	k->cmdline_max = le32_get(head + HDR_CMDLINE_SIZE);
	k->initrd_addr_max = le32_get(head + HDR_INITRD_ADDR_MAX);
	memcpy(k->setup_header, head + SETUP_HEADER, header_end - SETUP_HEADER);
	read_version(k, le16_get(head + HDR_KERNEL_VERSION), setup_size);
	return 0;
}
