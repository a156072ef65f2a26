/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PT_NOTE segment is a row of notes. Each begins with three words, the sizes of
 * its name and of its content (without padding) and a type that is the
 * name's owner to define; name and content follow, each from an aligned offset:
 *
 *	namesz  descsz  type  | "Xen\0" | padding | content | padding
 *
 * The alignment is 4 also in ELF64 files, whatever their specification says, but 8
 * in a segment whose p_align is 8. Two owners matter here:
 *
 *	Xen, 18     XEN_ELFNOTE_PHYS32_ENTRY: the address of the PVH entry, in 4 bytes or,
 *	            as Linux writes it, in as many as a pointer has
 *	Linux       any type (a build salt since 4.19, before PVH): this is a Linux kernel
 *
 * A note that claims more than there is may hide the entry: that is a damaged
 * file, not one without a note. [System V ABI, "Note Section"; Xen public/elfnote.h]
 */
#include "firmware/elf_notes.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <elf.h>
#include <string.h>

enum { XEN_ELFNOTE_PHYS32_ENTRY = 18 };

static bool owner_is(const uint8_t *name, uint32_t namesz, const char *owner)
{
	return namesz == strlen(owner) + 1 && !memcmp(name, owner, namesz);
}

static const char *take_pvh(struct elf_notes *n, const uint8_t *desc, uint32_t descsz)
{
	uint64_t entry;

	if (descsz != 4 && descsz != 8)
		return "its PVH note has neither 4 nor 8 bytes";
	entry = descsz == 4 ? le32_get(desc) : le64_get(desc);
	if (n->pvh && entry != n->pvh_entry)
		return "it has two PVH notes that disagree";
	n->pvh = true;
	n->pvh_entry = entry;
	return NULL;
}

const char *elf_notes_scan(struct elf_notes *n, const uint8_t *p, size_t len, uint64_t p_align)
{
	const uint64_t align = p_align == 8 ? 8 : 4;
	size_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		const uint8_t *note = p + at;
		uint32_t namesz = le32_get(note), descsz = le32_get(note + 4);
		/* Sums of three 32-bit numbers: nothing wraps. */
		uint64_t desc = align_up(sizeof(Elf64_Nhdr) + (uint64_t)namesz, align);
		const char *why = NULL;

		if (!range_within(desc, descsz, len - at))
			return "a note is cut short";
		if (owner_is(note + sizeof(Elf64_Nhdr), namesz, "Linux"))
			n->linux_kernel = true;
		else if (owner_is(note + sizeof(Elf64_Nhdr), namesz, "Xen") &&
			 le32_get(note + 8) == XEN_ELFNOTE_PHYS32_ENTRY)
			why = take_pvh(n, note + desc, descsz);
		if (why)
			return why;
		/* The last one's padding need not be there. */
		desc = align_up(desc + descsz, align);
		at += desc < len - at ? desc : len - at;
	}
	for (; at < len; at++)
		if (p[at])
			return "a note is cut short";
	return NULL;
}
