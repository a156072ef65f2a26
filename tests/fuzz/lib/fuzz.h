/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz: what the fuzz targets share: bytes become a stream of operations.
 *
 * A target defines fuzz_one(). It takes numbers from the front of the input and
 * does what they say; at the end of the input all numbers are 0, so that every
 * input is a lawful one and a mutation in the middle keeps the meaning of the
 * rest. libFuzzer calls it (clang), or replay.c with the files of a corpus (any
 * compiler): both through the LLVMFuzzerTestOneInput() of fuzz.c.
 *
 * A target is worth as much as what it checks. fuzz_check() stays in every build
 * and ends the process in a way that both callers report with the input at fault.
 */
#ifndef TESTS_FUZZ_LIB_FUZZ_H
#define TESTS_FUZZ_LIB_FUZZ_H

#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuzz_in {
	const uint8_t *at;
	size_t left;
};

/* The target's. Leaves nothing behind: the next call starts afresh. */
void fuzz_one(struct fuzz_in *in);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define fuzz_check(condition)                                        \
	do {                                                         \
		if (!(condition))                                    \
			fuzz_broken(__FILE__, __LINE__, #condition); \
	} while (0)
_Noreturn void fuzz_broken(const char *file, int line, const char *what);

/* --- the input ------------------------------------------------------------------- */

static inline bool fuzz_more(const struct fuzz_in *in)
{
	return in->left;
}

/* Little-endian, 1 to 8 bytes. */
uint64_t fuzz_uint(struct fuzz_in *in, unsigned bytes);
static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
	return (uint8_t)fuzz_uint(in, 1);
}

static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
	return (uint16_t)fuzz_uint(in, 2);
}

static inline uint32_t fuzz_u32(struct fuzz_in *in)
{
	return (uint32_t)fuzz_uint(in, 4);
}

/* 0 to n - 1, from as few bytes as n needs; n is at least 1. */
uint64_t fuzz_below(struct fuzz_in *in, uint64_t n);
/* The next `len` bytes, or as many as there are: *at points into the input. */
size_t fuzz_bytes(struct fuzz_in *in, size_t len, const uint8_t **at);

/* --- a guest's accesses ------------------------------------------------------------ */

/* One load or store of 1 to 8 bytes that begins in [base, base+len): how u8 (bits
 * 0-1 log2 of the size, bit 2 store), offset, value of a store. Checks what struct
 * bus promises. Gives what a load gave. */
uint64_t fuzz_access(struct fuzz_in *in, struct bus *b, uint64_t base, uint64_t len);

/* --- saved state ------------------------------------------------------------------- */

/* Save, change a few bytes as the input says, load. What is refused must change
 * nothing and say why; what is accepted must be accepted again and then stay what it
 * is. Gives whether it was accepted. */
enum {
	FUZZ_STATE_EXACT = 1, /* every byte counts: what is accepted is what is saved next */
	FUZZ_STATE_FRESH = 2, /* only a device after a reset can be loaded: reset it first */
};
bool fuzz_state(struct fuzz_in *in, const struct device_ops *ops, void *dev, int how);
/* Save, reset, load, save: all is there again. */
void fuzz_round_trip(const struct device_ops *ops, void *dev);

#endif
