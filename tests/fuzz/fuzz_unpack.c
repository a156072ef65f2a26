/* SPDX-License-Identifier: Apache-2.0 */
/* A compressed module of any contents, and what a module says of itself. */
#include "firmware/initramfs/modinfo.h"
#include "firmware/initramfs/unpack.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/fake_module.h"

#include <stdlib.h>
#include <string.h>

enum { MAX = 64 << 10 };

static void check_modinfo(const uint8_t *bytes, size_t len)
{
	static const char *const keys[] = {"depends", "name", "softdep", "vermagic"};
	struct modinfo m;

	if (modinfo_find(&m, bytes, len))
		return;
	fuzz_check((const uint8_t *)m.at >= bytes && m.at <= m.end &&
		   (const uint8_t *)m.end <= bytes + len);
	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *before = NULL, *value = NULL;

		while ((value = modinfo_next(&m, keys[i], value))) {
			/* A string of its own, further on each time. */
			fuzz_check(value > m.at && value + strlen(value) < m.end);
			fuzz_check(value > before);
			before = value;
		}
	}
}

static bool unpack(const uint8_t *in, size_t len, uint8_t **out, size_t *out_len)
{
	int ret = unpack_bytes(out, out_len, in, len, MAX);

	fuzz_check(ret <= 0);
	if (!ret)
		fuzz_check(*out_len <= MAX && !(*out)[*out_len]);
	return !ret;
}

void fuzz_one(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in), *out, *packed;
	size_t len, packed_len;

	check_modinfo(in->at, in->left);
	if (unpack(in->at, in->left, &out, &len)) {
		check_modinfo(out, len);
		free(out);
	}
	/* What we packed ourselves comes out as it went in; seldom, for packing is slow. */
	if (how < 0xfc || how % 4 == PACK_PLAIN)
		return;
	packed = fake_packed(in->at, in->left, how % 4, &packed_len);
	fuzz_check(packed && unpack(packed, packed_len, &out, &len));
	fuzz_check(len == in->left && !memcmp(out, in->at, len));
	free(packed);
	free(out);
}
