/* SPDX-License-Identifier: Apache-2.0 */
/* bytes: arithmetic on sizes and addresses that a guest or a file chose. */
#ifndef VMM_BASE_BYTES_H
#define VMM_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KiB (UINT64_C(1) << 10)
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Is [off, off+len) within [0, total)? Never wraps; an empty range at `total`
 * is within. */
static inline bool range_within(uint64_t off, uint64_t len, uint64_t total)
{
	return off <= total && len <= total - off;
}

static inline bool ranges_overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return alen && blen && (a < b ? b - a < alen : a - b < blen);
}

/* `align` is a power of two. align_up wraps near 2^64: check the range first. */
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return align_down(v + align - 1, align);
}

static inline bool is_power_of_2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* All ones for an access of `size` bytes (1, 2, 4 or 8): what a bus gives back
 * when nobody answers, and the mask for a value of that size. */
static inline uint64_t size_mask(unsigned size)
{
	return size >= 8 ? UINT64_MAX : (1ull << (size * 8)) - 1;
}

#endif
