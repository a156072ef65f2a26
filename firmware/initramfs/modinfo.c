/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modinfo: an ELF64 file's header points to the section headers, one of which
 * holds the names of all. Every number comes from a file that anybody may have
 * written, so each is checked against the file's length before it is followed.
 */
#include "firmware/initramfs/modinfo.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <elf.h>
#include <errno.h>

int modinfo_find(struct modinfo *m, const uint8_t *bytes, size_t len)
{
	uint64_t table, names, names_len;
	unsigned count, string_index;
	const uint8_t *sh;

	if (len < sizeof(Elf64_Ehdr) || memcmp(bytes, ELFMAG, SELFMAG) ||
	    bytes[EI_CLASS] != ELFCLASS64 || bytes[EI_DATA] != ELFDATA2LSB)
		return -ENOEXEC;
	table = le64_get(bytes + offsetof(Elf64_Ehdr, e_shoff));
	count = le16_get(bytes + offsetof(Elf64_Ehdr, e_shnum));
	string_index = le16_get(bytes + offsetof(Elf64_Ehdr, e_shstrndx));
	if (le16_get(bytes + offsetof(Elf64_Ehdr, e_shentsize)) != sizeof(Elf64_Shdr) ||
	    string_index >= count || !range_within(table, count * sizeof(Elf64_Shdr), len))
		return -ENOEXEC;
	sh = bytes + table + string_index * sizeof(Elf64_Shdr);
	names = le64_get(sh + offsetof(Elf64_Shdr, sh_offset));
	names_len = le64_get(sh + offsetof(Elf64_Shdr, sh_size));
	if (!range_within(names, names_len, len))
		return -ENOEXEC;
	for (unsigned i = 0; i < count; i++) {
		static const char wanted[] = ".modinfo";
		uint64_t off, size;
		uint32_t name;

		sh = bytes + table + i * sizeof(Elf64_Shdr);
		name = le32_get(sh + offsetof(Elf64_Shdr, sh_name));
		if (!range_within(name, sizeof(wanted), names_len) ||
		    memcmp(bytes + names + name, wanted, sizeof(wanted)))
			continue;
		off = le64_get(sh + offsetof(Elf64_Shdr, sh_offset));
		size = le64_get(sh + offsetof(Elf64_Shdr, sh_size));
		if (!range_within(off, size, len))
			return -ENOEXEC;
		/* Strings must end within: what follows the last 0 is none. */
		while (size && bytes[off + size - 1])
			size--;
		m->at = (const char *)bytes + off;
		m->end = m->at + size;
		return 0;
	}
	return -ENODATA;
}

const char *modinfo_next(const struct modinfo *m, const char *key, const char *after)
{
	const char *s = after ? after + strlen(after) + 1 : m->at;
	size_t n = strlen(key);

	for (; s < m->end; s += strlen(s) + 1)
		if (!strncmp(s, key, n) && s[n] == '=')
			return s + n + 1;
	return NULL;
}
