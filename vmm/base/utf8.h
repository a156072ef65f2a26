/* SPDX-License-Identifier: Apache-2.0 */
/* utf8: text from anywhere, for formats that want UTF-8 and nothing else. */
#ifndef VMM_BASE_UTF8_H
#define VMM_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* What stands for bytes that are no UTF-8. */
#define UTF8_REPLACEMENT 0xfffdu

/* The code point at `bytes`, of which there are `len`, 1 or more, into *point. Gives how many
 * bytes it takes; or 0, with *point unchanged: they are no UTF-8, nor a beginning of any that
 * fits. Overlong forms and surrogates are none [RFC 3629 4]. Any thread. */
size_t utf8_decode(const char *bytes, size_t len, uint32_t *point);

/* The bytes as a new string of UTF-8, the caller's to free: what is none, and NUL, is
 * U+FFFD, each byte. NULL for want of memory. Any thread. */
char *utf8_clean(const char *bytes, size_t len);

#endif
