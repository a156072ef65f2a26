/* SPDX-License-Identifier: Apache-2.0 */
/* fake_module: kernel modules as far as their .modinfo goes, and the three ways
 * in which distributions compress them. */
#ifndef TESTS_LIB_FAKE_MODULE_H
#define TESTS_LIB_FAKE_MODULE_H

#include <stddef.h>
#include <stdint.h>

enum fake_packing { PACK_PLAIN, PACK_GZ, PACK_XZ, PACK_ZST };

/* An ELF file whose .modinfo holds `info` (strings parted by '\n'), `padding`
 * further bytes, compressed as asked. malloc'ed; *len is its length. */
uint8_t *fake_module(const char *info, size_t padding, enum fake_packing packing, size_t *len);

/* `len` bytes compressed; malloc'ed. */
uint8_t *fake_packed(const uint8_t *in, size_t len, enum fake_packing packing, size_t *out_len);

#endif
