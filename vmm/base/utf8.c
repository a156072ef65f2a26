/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/utf8.h"

#include "vmm/base/bytes.h"

#include <stdlib.h>
#include <string.h>

size_t utf8_decode(const char *bytes, size_t len, uint32_t *point)
{
	/* By length: how the first byte begins, and the least code point that needs so many. */
	static const struct {
		uint8_t mask, first;
		uint32_t least;
	} forms[] = {
		{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	const uint8_t *p = (const uint8_t *)bytes;
	size_t n = 0;

	while (n < ARRAY_LEN(forms) && (p[0] & forms[n].mask) != forms[n].first)
		n++;
	if (n == ARRAY_LEN(forms) || n >= len)
		return 0;
	uint32_t value = p[0] & (uint8_t)~forms[n].mask;

	for (size_t i = 1; i <= n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (p[i] & 0x3f);
	}
	if (value < forms[n].least || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return 0;
	*point = value;
	return n + 1;
}

char *utf8_clean(const char *bytes, size_t len)
{
	static const char replacement[] = "\xef\xbf\xbd";
	char *clean = malloc(len * (sizeof(replacement) - 1) + 1), *to = clean;

	if (!clean)
		return NULL;
	for (size_t at = 0; at < len;) {
		uint32_t point = 0;
		size_t n = utf8_decode(bytes + at, len - at, &point);

		if (n && point) {
			memcpy(to, bytes + at, n);
			to += n;
		} else {
			memcpy(to, replacement, sizeof(replacement) - 1);
			to += sizeof(replacement) - 1;
		}
		at += n ? n : 1;
	}
	*to = '\0';
	return clean;
}
