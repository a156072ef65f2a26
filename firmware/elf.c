/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vmlinux is an ELF executable whose PT_LOAD segments say which bytes of the
 * file belong at which physical address (p_paddr); the virtual ones are for the
 * kernel's own page tables. Its entry point is the physical address of the same
 * 64-bit entry that a bzImage reaches after decompression, so it takes the same
 * zero page, with a setup_header that we make up.
 *
 * An ELF may also be somebody's /bin/ls or a kernel module; these are refused by
 * type rather than left to a triple fault. [System V ABI, "ELF-64 Object File
 * Format"; Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"]
 */
#include "firmware/elf.h"

#include "firmware/setup_header.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

enum {
	PHNUM_MAX = 256,
	XEN_ELFNOTE_PHYS32_ENTRY = 18, /* the PVH entry point [Xen public/elfnote.h] */
	NOTES_MAX = 64 << 10,
	LINUX_CMDLINE_MAX = 2047, /* COMMAND_LINE_SIZE - 1 */
};

/* What Linux's own header says for every 64-bit kernel (arch/x86/boot/header.S). */
#define LINUX_INITRD_ADDR_MAX 0x7fffffffu

static const char give[] = "give a bzImage or a 64-bit vmlinux";

bool elf_is(const uint8_t *head, size_t len)
{
	return len >= EI_NIDENT && !memcmp(head, ELFMAG, SELFMAG);
}

static int damaged(const struct kernel *k, const char *what, struct err *e)
{
	return err_usage(e, -EINVAL, "--kernel %s: a damaged ELF file: %s", k->path, what);
}

static int cut_short(const struct kernel *k, struct err *e)
{
	return err_usage(e, -EINVAL,
			 "--kernel %s: an ELF file cut short: its headers speak of more than its "
			 "%lu bytes; copy it again",
			 k->path, k->file_size);
}

static const char *machine_name(uint16_t machine)
{
	static const struct {
		uint16_t machine;
		const char *name;
	} names[] = {
		{EM_AARCH64, "ARM64"}, {EM_ARM, "ARM"},     {EM_RISCV, "RISC-V"},
		{EM_PPC64, "POWER"},   {EM_S390, "s390"},   {EM_MIPS, "MIPS"},
		{EM_SPARCV9, "SPARC"}, {EM_PPC, "PowerPC"}, {EM_386, "32-bit x86"},
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].machine == machine)
			return names[i].name;
	return "another kind of machine";
}

/* --- 32-bit ELF: recognised only to say what is wrong with it ------------------ */

static uint64_t note_align(uint64_t len)
{
	return align_up(len, 4);
}

static bool notes_have_pvh(const uint8_t *p, size_t len)
{
	while (len >= sizeof(Elf32_Nhdr)) {
		uint64_t namesz = le32_get(p), descsz = le32_get(p + 4);
		uint64_t size = sizeof(Elf32_Nhdr) + note_align(namesz) + note_align(descsz);

		if (size > len)
			return false;
		if (namesz == 4 && le32_get(p + 8) == XEN_ELFNOTE_PHYS32_ENTRY &&
		    !memcmp(p + sizeof(Elf32_Nhdr), "Xen", 4))
			return true;
		p += size;
		len -= size;
	}
	return false;
}

static bool elf32_has_pvh(const struct kernel *k, const uint8_t *head, size_t len)
{
	uint64_t phoff, phnum;

	if (len < sizeof(Elf32_Ehdr))
		return false;
	phoff = le32_get(head + offsetof(Elf32_Ehdr, e_phoff));
	phnum = le16_get(head + offsetof(Elf32_Ehdr, e_phnum));
	for (uint64_t i = 0; i < phnum && i < PHNUM_MAX; i++) {
		uint8_t ph[sizeof(Elf32_Phdr)], notes[4096];
		uint64_t n;

		if (fd_pread_full(k->fd, ph, sizeof(ph), phoff + i * sizeof(ph)))
			return false;
		n = le32_get(ph + offsetof(Elf32_Phdr, p_filesz));
		if (le32_get(ph + offsetof(Elf32_Phdr, p_type)) != PT_NOTE || n > NOTES_MAX)
			continue;
		if (n > sizeof(notes))
			n = sizeof(notes);
		if (!fd_pread_full(k->fd, notes, n,
				   le32_get(ph + offsetof(Elf32_Phdr, p_offset))) &&
		    notes_have_pvh(notes, n))
			return true;
	}
	return false;
}

/* --- ELF64 ---------------------------------------------------------------------- */

static int judge_ident(const struct kernel *k, const uint8_t *head, size_t len, struct err *e)
{
	uint16_t machine, type;

	if (len < sizeof(Elf32_Ehdr))
		return cut_short(k, e);
	if (head[EI_DATA] != ELFDATA2LSB)
		return err_usage(e, -EINVAL, "--kernel %s: a big-endian ELF; %s", k->path, give);
	machine = le16_get(head + offsetof(Elf64_Ehdr, e_machine));
	type = le16_get(head + offsetof(Elf64_Ehdr, e_type));
	if (machine != EM_X86_64 && machine != EM_386)
		return err_usage(e, -EINVAL, "--kernel %s: an ELF for %s; give a kernel for x86-64",
				 k->path, machine_name(machine));
	if (head[EI_CLASS] == ELFCLASS32)
		return err_usage(e, -EINVAL, "--kernel %s: a 32-bit ELF %s; %s", k->path,
				 elf32_has_pvh(k, head, len) ? "with a PVH note, which is not "
							       "supported yet"
							     : "without a PVH note",
				 give);
	if (head[EI_CLASS] != ELFCLASS64 || machine != EM_X86_64)
		return damaged(k, "its class does not go with its machine", e);
	if (type == ET_REL)
		return err_usage(e, -EINVAL, "--kernel %s: an ELF object file or kernel module; %s",
				 k->path, give);
	if (type == ET_DYN)
		return err_usage(e, -EINVAL, "--kernel %s: an ELF program or library; %s", k->path,
				 give);
	if (type != ET_EXEC)
		return err_usage(e, -EINVAL, "--kernel %s: an ELF, but no executable; %s", k->path,
				 give);
	return 0;
}

static int add_segment(struct kernel *k, const uint8_t *ph, struct err *e)
{
	struct kernel_segment s = {
		.off = le64_get(ph + offsetof(Elf64_Phdr, p_offset)),
		.filesz = le64_get(ph + offsetof(Elf64_Phdr, p_filesz)),
		.gpa = le64_get(ph + offsetof(Elf64_Phdr, p_paddr)),
		.memsz = le64_get(ph + offsetof(Elf64_Phdr, p_memsz)),
	};

	if (!s.memsz && !s.filesz)
		return 0;
	if (s.filesz > s.memsz)
		return damaged(k, "a segment is larger in the file than in memory", e);
	if (!range_within(s.off, s.filesz, k->file_size))
		return cut_short(k, e);
	if (s.gpa < LAYOUT_KERNEL)
		return err_usage(
			e, -EINVAL,
			"--kernel %s: has a segment at %#lx, below 1 MiB, where boot data lies; "
			"link it at 1 MiB or above",
			k->path, s.gpa);
	if (!range_within(s.gpa, s.memsz, LAYOUT_HOLE))
		return err_usage(e, -EINVAL,
				 "--kernel %s: has a segment at %#lx of %#lx bytes, outside RAM",
				 k->path, s.gpa, s.memsz);
	for (unsigned i = 0; i < k->n_segments; i++)
		if (ranges_overlap(s.gpa, s.memsz, k->segments[i].gpa, k->segments[i].memsz))
			return damaged(k, "two segments overlap in memory", e);
	if (k->n_segments == KERNEL_SEGMENTS_MAX)
		return damaged(k, "it has too many segments", e);

	if (!k->n_segments || s.gpa < k->start)
		k->start = s.gpa;
	if (s.gpa + s.memsz > k->end)
		k->end = s.gpa + s.memsz;
	k->segments[k->n_segments++] = s;
	return 0;
}

/* Linux gives a physical entry point; other kernels give the virtual one. */
static bool entry_in(const uint8_t *ph, uint64_t entry, uint64_t *gpa)
{
	uint64_t paddr = le64_get(ph + offsetof(Elf64_Phdr, p_paddr));
	uint64_t vaddr = le64_get(ph + offsetof(Elf64_Phdr, p_vaddr));
	uint64_t filesz = le64_get(ph + offsetof(Elf64_Phdr, p_filesz));

	if (entry >= paddr && entry - paddr < filesz)
		*gpa = entry;
	else if (entry >= vaddr && entry - vaddr < filesz)
		*gpa = paddr + (entry - vaddr);
	else
		return false;
	return true;
}

/* setup_header for the zero page: the fields that Linux's start-up code looks at
 * and a bzImage would have brought along. bootparams.c fills in the rest. */
static void make_setup_header(struct kernel *k)
{
	uint8_t zero[SETUP_HEADER_END] = {0};

	le16_put(zero + HDR_BOOT_FLAG, HDR_BOOT_FLAG_MAGIC);
	memcpy(zero + HDR_HEADER, "HdrS", 4);
	le16_put(zero + HDR_VERSION, HDR_PROTOCOL_MIN);
	zero[HDR_LOADFLAGS] = HDR_LOADED_HIGH;
	le32_put(zero + HDR_INITRD_ADDR_MAX, LINUX_INITRD_ADDR_MAX);
	le32_put(zero + HDR_KERNEL_ALIGNMENT, 2 * MiB);
	le32_put(zero + HDR_CMDLINE_SIZE, LINUX_CMDLINE_MAX);
	memcpy(k->setup_header, zero + SETUP_HEADER, sizeof(k->setup_header));
}

int elf_parse(struct kernel *k, const uint8_t *head, size_t len, struct err *e)
{
	uint64_t phoff, shoff, entry;
	unsigned phnum;
	bool entry_found = false;
	int ret = judge_ident(k, head, len, e);

	if (ret)
		return ret;
	if (len < sizeof(Elf64_Ehdr))
		return cut_short(k, e);
	entry = le64_get(head + offsetof(Elf64_Ehdr, e_entry));
	phoff = le64_get(head + offsetof(Elf64_Ehdr, e_phoff));
	phnum = le16_get(head + offsetof(Elf64_Ehdr, e_phnum));
	if (le16_get(head + offsetof(Elf64_Ehdr, e_phentsize)) != sizeof(Elf64_Phdr))
		return damaged(k, "e_phentsize is not that of ELF64", e);
	if (!phnum || phnum > PHNUM_MAX)
		return damaged(k, "e_phnum is out of range", e);
	if (!range_within(phoff, phnum * sizeof(Elf64_Phdr), k->file_size))
		return cut_short(k, e);
	/* Nobody needs the section headers, but they come last: with them
	 * present, so is everything before them. */
	shoff = le64_get(head + offsetof(Elf64_Ehdr, e_shoff));
	if (shoff && !range_within(shoff,
				   (uint64_t)le16_get(head + offsetof(Elf64_Ehdr, e_shnum)) *
					   le16_get(head + offsetof(Elf64_Ehdr, e_shentsize)),
				   k->file_size))
		return cut_short(k, e);

	k->kind = KERNEL_ELF;
	for (unsigned i = 0; i < phnum; i++) {
		uint8_t ph[sizeof(Elf64_Phdr)];
		uint32_t type;

		ret = fd_pread_full(k->fd, ph, sizeof(ph), phoff + i * sizeof(ph));
		if (ret)
			return err_usage(e, ret, "--kernel %s: cannot read: %s", k->path,
					 strerror(-ret));
		type = le32_get(ph + offsetof(Elf64_Phdr, p_type));
		if (type == PT_INTERP)
			return err_usage(e, -EINVAL, "--kernel %s: an ELF program; %s", k->path,
					 give);
		if (type != PT_LOAD)
			continue;
		ret = add_segment(k, ph, e);
		if (ret)
			return ret;
		if (!entry_found)
			entry_found = entry_in(ph, entry, &k->entry);
	}
	if (!k->n_segments)
		return damaged(k, "it has nothing to load", e);
	if (!entry_found)
		return damaged(k, "its entry point is in none of its segments", e);

	k->cmdline_max = LINUX_CMDLINE_MAX;
	k->initrd_addr_max = LINUX_INITRD_ADDR_MAX;
	make_setup_header(k);
	return 0;
}

/* --- the version, from linux_banner ----------------------------------------------- */

static const char banner[] = "Linux version ";

/* The word after a banner in [p, p+len); a format string such as "Linux version %s"
 * does not look like a release. */
static bool take_version(struct kernel *k, const char *p, size_t len)
{
	const char *end = p + len;

	while ((p = memmem(p, (size_t)(end - p), banner, sizeof(banner) - 1))) {
		p += sizeof(banner) - 1;
		if (kernel_take_version(k, p, (size_t)(end - p)))
			return true;
	}
	return false;
}

void elf_find_version(struct kernel *k)
{
	enum { OVERLAP = sizeof(banner) + KERNEL_VERSION_MAX };
	char buf[64 << 10];
	uint64_t budget = ELF_SEARCH_MAX;

	for (unsigned i = 0; i < k->n_segments; i++) {
		const struct kernel_segment *s = &k->segments[i];
		uint64_t pos = 0;

		while (pos < s->filesz && budget) {
			uint64_t n = s->filesz - pos < sizeof(buf) ? s->filesz - pos : sizeof(buf);

			if (fd_pread_full(k->fd, buf, n, s->off + pos) || take_version(k, buf, n))
				return;
			if (n < sizeof(buf))
				break;
			/* Read the end again: a banner may begin there. */
			pos += n - OVERLAP;
			budget = budget > n ? budget - n : 0;
		}
	}
}
