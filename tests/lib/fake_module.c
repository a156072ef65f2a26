/* SPDX-License-Identifier: Apache-2.0 */
/* fake_module: header, section names, .modinfo, three section headers, padding. */
#include "tests/lib/fake_module.h"

#include <elf.h>
#include <lzma.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

uint8_t *fake_packed(const uint8_t *in, size_t len, enum fake_packing packing, size_t *out_len)
{
	size_t room = len + len / 2 + 4096, n = 0;
	uint8_t *out = malloc(room);

	assert_non_null(out);
	switch (packing) {
	case PACK_PLAIN:
		memcpy(out, in, len);
		n = len;
		break;
	case PACK_GZ: {
		z_stream z = {.next_in = (Bytef *)in,
			      .avail_in = (uInt)len,
			      .next_out = out,
			      .avail_out = (uInt)room};

		assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY),
				 Z_OK);
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		n = z.total_out;
		deflateEnd(&z);
		break;
	}
	case PACK_XZ:
		assert_int_equal(
			lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, in, len, out, &n, room),
			LZMA_OK);
		break;
	case PACK_ZST:
		n = ZSTD_compress(out, room, in, len, 3);
		assert_false(ZSTD_isError(n));
		break;
	}
	*out_len = n;
	return out;
}

uint8_t *fake_module(const char *info, size_t padding, enum fake_packing packing, size_t *len)
{
	static const char names[] = "\0.shstrtab\0.modinfo";
	size_t info_len = strlen(info) + 1, names_at = sizeof(Elf64_Ehdr);
	size_t info_at = names_at + sizeof(names), table = (info_at + info_len + 7) & ~7ul;
	size_t total = table + 3 * sizeof(Elf64_Shdr) + padding;
	uint8_t *raw = calloc(1, total), *out;
	Elf64_Shdr sh[3] = {
		{.sh_type = SHT_NULL},
		{.sh_name = 1,
		 .sh_type = SHT_STRTAB,
		 .sh_offset = names_at,
		 .sh_size = sizeof(names)},
		{.sh_name = 11, .sh_type = SHT_PROGBITS, .sh_offset = info_at, .sh_size = info_len},
	};
	Elf64_Ehdr eh = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_REL,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_shoff = table,
		.e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = 3,
		.e_shstrndx = 1,
	};

	assert_non_null(raw);
	memcpy(raw, &eh, sizeof(eh));
	memcpy(raw + names_at, names, sizeof(names));
	for (size_t i = 0; i < info_len; i++)
		raw[info_at + i] = info[i] == '\n' ? 0 : (uint8_t)info[i];
	memcpy(raw + table, sh, sizeof(sh));
	out = fake_packed(raw, total, packing, len);
	free(raw);
	return out;
}
