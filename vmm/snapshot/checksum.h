/* SPDX-License-Identifier: Apache-2.0 */
/* checksum: XXH3 of 64 bits, which finds what went wrong by accident, and not who wants to fool us.
 */
#ifndef VMM_SNAPSHOT_CHECKSUM_H
#define VMM_SNAPSHOT_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The sum of `len` bytes, which also depends on `seed`: 0, or the sum of what came before. */
uint64_t checksum_of(const void *p, size_t len, uint64_t seed);

#endif
