/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/snapshot/checksum.h"

/* The library as a header: nothing to link, and only what is used of it. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t checksum_of(const void *p, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(p, len, seed);
}
