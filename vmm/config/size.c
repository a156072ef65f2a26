/* SPDX-License-Identifier: Apache-2.0 */
/* size: see size.h. One loop reads digits; the parsers differ only in what may follow them. */
#include "vmm/config/size.h"

#include <errno.h>
#include <stdio.h>

static const char suffixes[] = "KMGT";

/* Reads at least one digit, leaves *end behind the last one. */
static int digits(const char *text, const char **end, uint64_t *out)
{
	uint64_t v = 0;
	int err = *text >= '0' && *text <= '9' ? 0 : -EINVAL;

	for (; *text >= '0' && *text <= '9'; text++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
			err = -ERANGE; /* read on: junk behind it is the worse fault */
	}
	*end = text;
	if (!err)
		*out = v;
	return err;
}

int number_parse(const char *text, uint64_t max, uint64_t *out)
{
	const char *end;
	uint64_t v = 0;
	int err = digits(text, &end, &v);

	if (*end)
		return -EINVAL;
	if (err)
		return err;
	if (v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

/* A bare number counts 2^shift bytes. */
static int parse(const char *text, unsigned shift, uint64_t *out)
{
	const char *end;
	uint64_t v = 0;
	int err = digits(text, &end, &v);

	if (err == -EINVAL)
		return err;
	if (*end) {
		unsigned i = 0;

		while (suffixes[i] && suffixes[i] != (*end & ~0x20))
			i++;
		if (!suffixes[i] || end[1])
			return -EINVAL;
		shift = 10 * (i + 1);
	}
	if (err || v > UINT64_MAX >> shift)
		return -ERANGE;
	*out = v << shift;
	return 0;
}

int size_parse(const char *text, uint64_t *out)
{
	return parse(text, 20, out);
}

int bytes_parse(const char *text, uint64_t *out)
{
	return parse(text, 0, out);
}

struct size_text size_format(uint64_t bytes)
{
	struct size_text t;
	unsigned i = 0;

	while (suffixes[i] && bytes && !(bytes & 1023)) {
		bytes >>= 10;
		i++;
	}
	if (i)
		snprintf(t.s, sizeof(t.s), "%llu%c", (unsigned long long)bytes, suffixes[i - 1]);
	else
		snprintf(t.s, sizeof(t.s), "%llu bytes", (unsigned long long)bytes);
	return t;
}
