/* SPDX-License-Identifier: Apache-2.0 */
/*
 * size: numbers that a person typed, read strictly.
 *
 * strtoul() and its friends take blanks, signs, hexadecimal, and `12x` for 12.
 * Here a number is decimal digits and nothing else, and one that does not fit is
 * an error, never another number.
 */
#ifndef VMM_CONFIG_SIZE_H
#define VMM_CONFIG_SIZE_H

#include <stdint.h>

/* Decimal digits only. Gives 0; -EINVAL for anything else, -ERANGE above `max`.
 * *out is untouched on failure. Any thread. */
int number_parse(const char *text, uint64_t max, uint64_t *out);

/* A size in bytes: digits with one suffix of K, M, G or T (powers of 1024, either
 * case); a bare number counts MiB. Gives 0, -EINVAL (not a size) or -ERANGE (over
 * 2^64 - 1). *out is untouched on failure. Any thread. */
int size_parse(const char *text, uint64_t *out);

/* The same, but a bare number counts bytes. */
int bytes_parse(const char *text, uint64_t *out);

/* The shortest exact spelling that size_parse() reads: "512M", "1G", "2100K"; a
 * number that is no multiple of 1 KiB is given as "N bytes". */
struct size_text {
	char s[32];
};
struct size_text size_format(uint64_t bytes);

#endif
