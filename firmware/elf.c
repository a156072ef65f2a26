/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vmlinux is an ELF executable whose PT_LOAD segments say which bytes of the
 * file belong at which physical address (p_paddr); the virtual ones are for the
 * kernel's own page tables. It can be entered in two ways:
 *
 *	e_entry    of an ELF64: the physical address of the same 64-bit entry that a
 *	           bzImage reaches after decompression, so it takes the same zero page,
 *	           with a setup_header that we make up
 *	PVH note   in a PT_NOTE segment: a 32-bit entry that takes hvm_start_info
 *
 * The first is Linux's habit, the second is written down and serves other kernels as
 * well. So a kernel with the note is entered there, unless its notes also say
 * that it is Linux: for it the 64-bit entry is better (adr/001-elf-entry.md).
 *
 * An ELF may also be somebody's /bin/ls or a kernel module; these are refused by
 * type rather than left to a triple fault. [System V ABI, "Object Files"; Linux
 * Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"; Xen docs/misc/pvh.pandoc]
 */
#include "firmware/elf.h"

#include "firmware/elf_notes.h"
#include "firmware/setup_header.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	PHNUM_MAX = 256,
	NOTES_MAX = 64 << 10,
	LINUX_CMDLINE_MAX = 2047, /* COMMAND_LINE_SIZE - 1 */
};

/* What Linux's own header says for every kernel of that size (arch/x86/boot/header.S). */
#define LINUX_INITRD_ADDR_MAX   0x7fffffffu
#define LINUX32_INITRD_ADDR_MAX 0x37ffffffu

static const char give[] = "give a bzImage or a 64-bit vmlinux";

/* The fields that matter of Elf32_Ehdr and Elf64_Ehdr, Elf32_Phdr and Elf64_Phdr. */
struct header {
	uint64_t entry, phoff, shoff;
	unsigned phentsize, phnum, shentsize, shnum;
};

struct segment {
	uint32_t type;
	uint64_t off, vaddr, paddr, filesz, memsz, align;
};

/* What the segments say together. */
struct findings {
	bool elf64;
	uint64_t entry; /* e_entry */
	bool entry_found;
	uint64_t entry_gpa;
	bool interp;
	struct elf_notes notes;
};

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

/* --- the headers ------------------------------------------------------------------ */

static const char *machine_name(uint16_t machine)
{
	static const struct {
		uint16_t machine;
		const char *name;
	} names[] = {
		{EM_AARCH64, "ARM64"}, {EM_ARM, "ARM"},     {EM_RISCV, "RISC-V"},
		{EM_PPC64, "POWER"},   {EM_S390, "s390"},   {EM_MIPS, "MIPS"},
		{EM_SPARCV9, "SPARC"}, {EM_PPC, "PowerPC"},
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].machine == machine)
			return names[i].name;
	return "another kind of machine";
}

static int judge_ident(const struct kernel *k, const uint8_t *head, size_t len, struct err *e)
{
	uint16_t machine, type;

	if (len < sizeof(Elf32_Ehdr))
		return cut_short(k, e);
	if (head[EI_DATA] != ELFDATA2LSB)
		return err_usage(e, -EINVAL, "--kernel %s: a big-endian ELF; %s", k->path, give);
	/* Up to e_machine both classes are the same. */
	machine = le16_get(head + offsetof(Elf64_Ehdr, e_machine));
	type = le16_get(head + offsetof(Elf64_Ehdr, e_type));
	if (machine != EM_X86_64 && machine != EM_386)
		return err_usage(e, -EINVAL, "--kernel %s: an ELF for %s; give a kernel for x86-64",
				 k->path, machine_name(machine));
	if (head[EI_CLASS] != (machine == EM_386 ? ELFCLASS32 : ELFCLASS64))
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

/* The two classes differ in where fields lie, and in the width of most. */
#define AT(type, field) \
	(p + (elf64 ? offsetof(Elf64_##type, field) : offsetof(Elf32_##type, field)))
#define WORD(type, field) (elf64 ? le64_get(AT(type, field)) : le32_get(AT(type, field)))

static struct header read_header(const uint8_t *p, bool elf64)
{
	return (struct header){
		.entry = WORD(Ehdr, e_entry),
		.phoff = WORD(Ehdr, e_phoff),
		.shoff = WORD(Ehdr, e_shoff),
		.phentsize = le16_get(AT(Ehdr, e_phentsize)),
		.phnum = le16_get(AT(Ehdr, e_phnum)),
		.shentsize = le16_get(AT(Ehdr, e_shentsize)),
		.shnum = le16_get(AT(Ehdr, e_shnum)),
	};
}

static struct segment read_segment(const uint8_t *p, bool elf64)
{
	return (struct segment){
		.type = le32_get(AT(Phdr, p_type)),
		.off = WORD(Phdr, p_offset),
		.vaddr = WORD(Phdr, p_vaddr),
		.paddr = WORD(Phdr, p_paddr),
		.filesz = WORD(Phdr, p_filesz),
		.memsz = WORD(Phdr, p_memsz),
		.align = WORD(Phdr, p_align),
	};
}

#undef WORD
#undef AT

static int judge_header(const struct kernel *k, const struct header *h, size_t phdr_size,
			struct err *e)
{
	if (h->phentsize != phdr_size)
		return damaged(k, "e_phentsize is not that of its class", e);
	if (!h->phnum || h->phnum > PHNUM_MAX)
		return damaged(k, "e_phnum is out of range", e);
	if (!range_within(h->phoff, h->phnum * phdr_size, k->file_size))
		return cut_short(k, e);
	/* Nobody needs the section headers, but they come last: with them
	 * present, so is everything before them. */
	if (h->shoff && !range_within(h->shoff, (uint64_t)h->shnum * h->shentsize, k->file_size))
		return cut_short(k, e);
	return 0;
}

/* --- the segments ------------------------------------------------------------------- */

static int add_load(struct kernel *k, const struct segment *s, struct err *e)
{
	if (!s->memsz && !s->filesz)
		return 0;
	if (s->filesz > s->memsz)
		return damaged(k, "a segment is larger in the file than in memory", e);
	if (!range_within(s->off, s->filesz, k->file_size))
		return cut_short(k, e);
	if (s->paddr < LAYOUT_KERNEL)
		return err_usage(
			e, -EINVAL,
			"--kernel %s: has a segment at %#lx, below 1 MiB, where boot data lies; "
			"link it at 1 MiB or above",
			k->path, s->paddr);
	if (!range_within(s->paddr, s->memsz, LAYOUT_HOLE))
		return err_usage(e, -EINVAL,
				 "--kernel %s: has a segment at %#lx of %#lx bytes, outside RAM",
				 k->path, s->paddr, s->memsz);
	for (unsigned i = 0; i < k->n_segments; i++)
		if (ranges_overlap(s->paddr, s->memsz, k->segments[i].gpa, k->segments[i].memsz))
			return damaged(k, "two segments overlap in memory", e);
	if (k->n_segments == KERNEL_SEGMENTS_MAX)
		return damaged(k, "it has too many segments", e);

	if (!k->n_segments || s->paddr < k->start)
		k->start = s->paddr;
	if (s->paddr + s->memsz > k->end)
		k->end = s->paddr + s->memsz;
	k->segments[k->n_segments++] = (struct kernel_segment){
		.off = s->off,
		.filesz = s->filesz,
		.gpa = s->paddr,
		.memsz = s->memsz,
	};
	return 0;
}

/* Linux gives a physical entry point; other kernels give the virtual one. */
static void look_for_entry(struct findings *f, const struct segment *s)
{
	if (f->entry_found)
		return;
	f->entry_found = true;
	if (f->entry >= s->paddr && f->entry - s->paddr < s->filesz)
		f->entry_gpa = f->entry;
	else if (f->entry >= s->vaddr && f->entry - s->vaddr < s->filesz)
		f->entry_gpa = s->paddr + (f->entry - s->vaddr);
	else
		f->entry_found = false;
}

static int scan_notes(struct kernel *k, struct findings *f, const struct segment *s, struct err *e)
{
	uint8_t notes[NOTES_MAX];
	const char *wrong;
	int ret;

	if (!range_within(s->off, s->filesz, k->file_size))
		return cut_short(k, e);
	if (s->filesz > sizeof(notes))
		return damaged(k, "it has more than 64 KiB of notes", e);
	ret = fd_pread_full(k->fd, notes, s->filesz, s->off);
	if (ret)
		return err_usage(e, ret, "--kernel %s: cannot read: %s", k->path, strerror(-ret));
	wrong = elf_notes_scan(&f->notes, notes, s->filesz, s->align);
	return wrong ? damaged(k, wrong, e) : 0;
}

static int scan_segment(struct kernel *k, struct findings *f, const struct segment *s,
			struct err *e)
{
	switch (s->type) {
	case PT_LOAD:
		look_for_entry(f, s);
		return add_load(k, s, e);
	case PT_NOTE:
		return scan_notes(k, f, s, e);
	case PT_INTERP:
		f->interp = true;
		return 0;
	default:
		return 0;
	}
}

/* --- the entries ---------------------------------------------------------------------- */

static bool is_loaded(const struct kernel *k, uint64_t gpa)
{
	for (unsigned i = 0; i < k->n_segments; i++)
		if (gpa >= k->segments[i].gpa && gpa - k->segments[i].gpa < k->segments[i].filesz)
			return true;
	return false;
}

static int choose_entry(struct kernel *k, const struct findings *f, struct err *e)
{
	const struct elf_notes *notes = &f->notes;

	if (f->interp && !notes->pvh)
		return err_usage(e, -EINVAL, "--kernel %s: an ELF program; %s", k->path, give);
	if (!f->elf64 && !notes->pvh)
		return err_usage(e, -EINVAL, "--kernel %s: a 32-bit ELF without a PVH note; %s",
				 k->path, give);
	if (!k->n_segments)
		return damaged(k, "it has nothing to load", e);
	if (notes->pvh && !is_loaded(k, notes->pvh_entry))
		return damaged(k, "its PVH entry point is in none of its segments", e);
	if (!notes->pvh && !f->entry_found)
		return damaged(k, "its entry point is in none of its segments", e);

	k->entries[BOOT_PVH].there = notes->pvh;
	k->entries[BOOT_PVH].gpa = notes->pvh_entry;
	k->entries[BOOT_LINUX64].there = f->elf64 && f->entry_found;
	k->entries[BOOT_LINUX64].gpa = f->entry_gpa;
	if (k->entries[BOOT_LINUX64].there && (notes->linux_kernel || !notes->pvh))
		k->protocol = BOOT_LINUX64;
	else
		k->protocol = BOOT_PVH;
	return 0;
}

/* setup_header for the zero page: the fields that Linux's start-up code looks at
 * and a bzImage would have brought along. bootparams.c fills in the rest. */
static void make_setup_header(struct kernel *k)
{
	uint8_t zero[SETUP_HEADER_END] = {0};

	le16_put(zero + HDR_BOOT_FLAG, HDR_BOOT_FLAG_MAGIC);
	memcpy(zero + HDR_HEADER, "HdrS", 4);
	le16_put(zero + HDR_VERSION, HDR_PROTOCOL_XLOADFLAGS);
	zero[HDR_LOADFLAGS] = HDR_LOADED_HIGH;
	le32_put(zero + HDR_INITRD_ADDR_MAX, LINUX_INITRD_ADDR_MAX);
	le32_put(zero + HDR_KERNEL_ALIGNMENT, 2 * MiB);
	le32_put(zero + HDR_CMDLINE_SIZE, LINUX_CMDLINE_MAX);
	memcpy(k->setup_header, zero + SETUP_HEADER, sizeof(k->setup_header));
}

int elf_parse(struct kernel *k, const uint8_t *head, size_t len, struct err *e)
{
	struct findings f = {0};
	struct header h;
	size_t phdr_size;
	int ret = judge_ident(k, head, len, e);

	if (ret)
		return ret;
	f.elf64 = head[EI_CLASS] == ELFCLASS64;
	if (f.elf64 && len < sizeof(Elf64_Ehdr))
		return cut_short(k, e);
	h = read_header(head, f.elf64);
	phdr_size = f.elf64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	ret = judge_header(k, &h, phdr_size, e);
	if (ret)
		return ret;

	k->kind = KERNEL_ELF;
	k->only_32bit = !f.elf64;
	f.entry = h.entry;
	for (unsigned i = 0; i < h.phnum; i++) {
		uint8_t bytes[sizeof(Elf64_Phdr)];
		struct segment s;

		ret = fd_pread_full(k->fd, bytes, phdr_size, h.phoff + i * phdr_size);
		if (ret)
			return err_usage(e, ret, "--kernel %s: cannot read: %s", k->path,
					 strerror(-ret));
		s = read_segment(bytes, f.elf64);
		ret = scan_segment(k, &f, &s, e);
		if (ret)
			return ret;
	}
	ret = choose_entry(k, &f, e);
	if (ret)
		return ret;
	k->cmdline_max = LINUX_CMDLINE_MAX;
	k->initrd_addr_max = f.elf64 ? LINUX_INITRD_ADDR_MAX : LINUX32_INITRD_ADDR_MAX;
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
	enum { OVERLAP = sizeof(banner) + KERNEL_VERSION_MAX, CHUNK = 128 << 10 };
	/* As large as malloc() maps by itself: the stack and the heap would keep it. */
	char *buf = malloc(CHUNK);
	uint64_t budget = ELF_SEARCH_MAX;

	for (unsigned i = 0; buf && i < k->n_segments; i++) {
		const struct kernel_segment *s = &k->segments[i];
		uint64_t pos = 0;

		while (pos < s->filesz && budget) {
			uint64_t n = s->filesz - pos < CHUNK ? s->filesz - pos : CHUNK;

			if (fd_pread_full(k->fd, buf, n, s->off + pos) || take_version(k, buf, n))
				goto done;
			if (n < CHUNK)
				break;
			/* Read the end again: a banner may begin there. */
			pos += n - OVERLAP;
			budget = budget > n ? budget - n : 0;
		}
	}
done:
	free(buf);
}
