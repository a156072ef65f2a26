/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AML is prefix code: an opcode, for a body its length (PkgLength, which counts
 * itself), then operands in order. The length comes first and is known last, and
 * it takes one to four bytes; so a body is written without it, and aml_end()
 * moves the body up to make room. Bodies are small, and closed once.
 */
#include "firmware/aml.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* [ACPI 6.5 20.3, table 20.2] */
enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE_PREFIX = 0x0a,
	OP_WORD_PREFIX = 0x0b,
	OP_DWORD_PREFIX = 0x0c,
	OP_STRING_PREFIX = 0x0d,
	OP_QWORD_PREFIX = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_DUAL_NAME_PREFIX = 0x2e,
	OP_MULTI_NAME_PREFIX = 0x2f,
	OP_EXT_PREFIX = 0x5b,
	OP_LOCAL0 = 0x60,
	OP_ARG0 = 0x68,
	OP_STORE = 0x70,
	OP_AND = 0x7b,
	OP_OR = 0x7d,
	OP_NOTIFY = 0x86,
	OP_CREATE_DWORD_FIELD = 0x8a,
	OP_LNOT = 0x92,
	OP_LEQUAL = 0x93,
	OP_IF = 0xa0,
	OP_ELSE = 0xa1,
	OP_RETURN = 0xa4,
	/* after OP_EXT_PREFIX */
	EXT_REGION = 0x80,
	EXT_FIELD = 0x81,
	EXT_DEVICE = 0x82,
};

enum {
	METHOD_SERIALIZED = 1 << 3,
	REGION_SYSTEM_IO = 1,
	FIELD_BYTE_ACC = 1,
};

/* Resource descriptors [ACPI 6.5 6.4.2, 6.4.3]. */
enum {
	RES_IO = 0x47,
	RES_END_TAG = 0x79,
	RES_MEMORY32_FIXED = 0x86,
	RES_DWORD_SPACE = 0x87,
	RES_WORD_SPACE = 0x88,
	RES_INTERRUPT = 0x89,
	RES_QWORD_SPACE = 0x8a,

	RES_DECODE16 = 1,
	RES_READ_WRITE = 1,
	RES_SPACE_MEMORY = 0,
	RES_SPACE_BUS = 2,
	RES_MIN_MAX_FIXED = 1 << 2 | 1 << 3,
	RES_INT_CONSUMER = 1 << 0,
	RES_INT_EDGE = 1 << 1,
};

void aml_init(struct aml *a, void *buf, size_t cap)
{
	*a = (struct aml){.buf = buf, .cap = cap};
}

int aml_finish(const struct aml *a)
{
	assert(!a->depth);
	return a->overflow ? -ENOSPC : (int)a->len;
}

/* --- bytes ---------------------------------------------------------------------- */

static void put(struct aml *a, const void *p, size_t len)
{
	if (a->overflow || !range_within(a->len, len, a->cap)) {
		a->overflow = true;
		return;
	}
	memcpy(a->buf + a->len, p, len);
	a->len += len;
}

static void put8(struct aml *a, uint8_t v)
{
	put(a, &v, 1);
}

static void put16(struct aml *a, uint16_t v)
{
	uint8_t b[2];

	le16_put(b, v);
	put(a, b, sizeof(b));
}

static void put32(struct aml *a, uint32_t v)
{
	uint8_t b[4];

	le32_put(b, v);
	put(a, b, sizeof(b));
}

static void put64(struct aml *a, uint64_t v)
{
	uint8_t b[8];

	le64_put(b, v);
	put(a, b, sizeof(b));
}

static void put_ext(struct aml *a, uint8_t op)
{
	put8(a, OP_EXT_PREFIX);
	put8(a, op);
}

/* NameString [ACPI 6.5 20.2.2]. */
static void put_name(struct aml *a, const char *name)
{
	size_t segments;

	if (*name == '\\')
		put8(a, *name++);
	segments = (strlen(name) + 1) / 5;
	assert(segments && strlen(name) == 5 * segments - 1);
	if (segments == 2)
		put8(a, OP_DUAL_NAME_PREFIX);
	if (segments > 2) {
		put8(a, OP_MULTI_NAME_PREFIX);
		put8(a, (uint8_t)segments);
	}
	for (size_t i = 0; i < segments; i++)
		put(a, name + 5 * i, 4);
}

/* Put `len` bytes in at `at`, before what is there. */
static void insert(struct aml *a, size_t at, const void *p, size_t len)
{
	if (a->overflow || !range_within(a->len, len, a->cap)) {
		a->overflow = true;
		return;
	}
	memmove(a->buf + at + len, a->buf + at, a->len - at);
	memcpy(a->buf + at, p, len);
	a->len += len;
}

/* --- bodies ----------------------------------------------------------------------- */

static void begin(struct aml *a)
{
	assert(a->depth < AML_DEPTH_MAX);
	a->open[a->depth].at = a->len;
	a->open[a->depth].resources = false;
	a->depth++;
}

/* PkgLength [ACPI 6.5 20.2.4] of a body of `body` bytes. It counts its own bytes;
 * the first byte has their number less one in bits 7:6 and, of more than one, only
 * the low four bits of the length. */
static size_t encode_pkg_length(uint8_t out[4], size_t body)
{
	size_t n, len;

	if (body + 1 < 1u << 6) {
		out[0] = (uint8_t)(body + 1);
		return 1;
	}
	for (n = 2; body + n >= 1u << (4 + 8 * (n - 1)); n++)
		;
	assert(n <= 4);
	len = body + n;
	out[0] = (uint8_t)((n - 1) << 6 | (len & 0xf));
	for (size_t i = 1; i < n; i++)
		out[i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
	return n;
}

void aml_end(struct aml *a)
{
	uint8_t length[4];
	size_t at;

	assert(a->depth);
	a->depth--;
	at = a->open[a->depth].at;
	if (a->open[a->depth].resources) {
		uint8_t size[3] = {OP_WORD_PREFIX};

		put8(a, RES_END_TAG);
		put8(a, 0); /* a checksum of 0: not used [ACPI 6.5 6.4.2.9] */
		le16_put(size + 1, (uint16_t)(a->len - at));
		insert(a, at, size, sizeof(size));
	}
	if (!a->overflow)
		insert(a, at, length, encode_pkg_length(length, a->len - at));
}

void aml_scope(struct aml *a, const char *name)
{
	put8(a, OP_SCOPE);
	begin(a);
	put_name(a, name);
}

void aml_device(struct aml *a, const char *name)
{
	put_ext(a, EXT_DEVICE);
	begin(a);
	put_name(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned args)
{
	assert(args <= 7);
	put8(a, OP_METHOD);
	begin(a);
	put_name(a, name);
	put8(a, (uint8_t)(args | METHOD_SERIALIZED));
}

void aml_package(struct aml *a, unsigned elements)
{
	assert(elements <= 255);
	put8(a, OP_PACKAGE);
	begin(a);
	put8(a, (uint8_t)elements);
}

void aml_field(struct aml *a, const char *region)
{
	put_ext(a, EXT_FIELD);
	begin(a);
	put_name(a, region);
	put8(a, FIELD_BYTE_ACC);
}

void aml_resources(struct aml *a)
{
	put8(a, OP_BUFFER);
	begin(a);
	a->open[a->depth - 1].resources = true;
}

void aml_if(struct aml *a)
{
	put8(a, OP_IF);
	begin(a);
}

void aml_else(struct aml *a)
{
	put8(a, OP_ELSE);
	begin(a);
}

/* --- objects ------------------------------------------------------------------------ */

void aml_name(struct aml *a, const char *name)
{
	put8(a, OP_NAME);
	put_name(a, name);
}

void aml_integer(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		put8(a, v ? OP_ONE : OP_ZERO);
	} else if (v <= UINT8_MAX) {
		put8(a, OP_BYTE_PREFIX);
		put8(a, (uint8_t)v);
	} else if (v <= UINT16_MAX) {
		put8(a, OP_WORD_PREFIX);
		put16(a, (uint16_t)v);
	} else if (v <= UINT32_MAX) {
		put8(a, OP_DWORD_PREFIX);
		put32(a, (uint32_t)v);
	} else {
		put8(a, OP_QWORD_PREFIX);
		put64(a, v);
	}
}

void aml_string(struct aml *a, const char *s)
{
	put8(a, OP_STRING_PREFIX);
	put(a, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
	assert((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f'));
	return c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 0x20) - 'a' + 10;
}

/* Three letters of five bits each and four digits, big-endian [ACPI 6.5 19.6.36]. */
void aml_eisaid(struct aml *a, const char *id)
{
	uint32_t v = 0;

	assert(strlen(id) == 7);
	for (unsigned i = 0; i < 3; i++)
		v = v << 5 | ((uint32_t)(id[i] - '@') & 0x1f);
	for (unsigned i = 3; i < 7; i++)
		v = v << 4 | hex_digit(id[i]);
	put8(a, OP_DWORD_PREFIX);
	put32(a, htobe32(v));
}

/* Sixteen bytes, the first three groups little-endian [ACPI 6.5 19.6.142]. */
void aml_buffer(struct aml *a, const void *bytes, size_t len)
{
	put8(a, OP_BUFFER);
	begin(a);
	aml_integer(a, len);
	put(a, bytes, len);
	aml_end(a);
}

void aml_uuid(struct aml *a, const char *uuid)
{
	static const uint8_t places[16] = {6,  4,  2,  0,  11, 9,  16, 14,
					   19, 21, 24, 26, 28, 30, 32, 34};

	assert(strlen(uuid) == 36);
	put8(a, OP_BUFFER);
	begin(a);
	aml_integer(a, sizeof(places));
	for (unsigned i = 0; i < sizeof(places); i++)
		put8(a,
		     (uint8_t)(hex_digit(uuid[places[i]]) << 4 | hex_digit(uuid[places[i] + 1])));
	aml_end(a);
}

void aml_io_region(struct aml *a, const char *name, uint16_t port, unsigned len)
{
	put_ext(a, EXT_REGION);
	put_name(a, name);
	put8(a, REGION_SYSTEM_IO);
	aml_integer(a, port);
	aml_integer(a, len);
}

void aml_field_unit(struct aml *a, const char *name, unsigned bits)
{
	assert(bits < 1 << 6); /* a one-byte PkgLength, which here counts bits */
	put_name(a, name);
	put8(a, (uint8_t)bits);
}

/* --- terms of methods --------------------------------------------------------------- */

void aml_ref(struct aml *a, const char *name)
{
	put_name(a, name);
}

void aml_arg(struct aml *a, unsigned n)
{
	assert(n <= 6);
	put8(a, (uint8_t)(OP_ARG0 + n));
}

void aml_local(struct aml *a, unsigned n)
{
	assert(n <= 7);
	put8(a, (uint8_t)(OP_LOCAL0 + n));
}

void aml_store(struct aml *a)
{
	put8(a, OP_STORE);
}

void aml_and(struct aml *a)
{
	put8(a, OP_AND);
}

void aml_or(struct aml *a)
{
	put8(a, OP_OR);
}

void aml_lequal(struct aml *a)
{
	put8(a, OP_LEQUAL);
}

void aml_lnot(struct aml *a)
{
	put8(a, OP_LNOT);
}

void aml_notify(struct aml *a)
{
	put8(a, OP_NOTIFY);
}

void aml_return(struct aml *a)
{
	put8(a, OP_RETURN);
}

void aml_create_dword_field(struct aml *a, unsigned arg, unsigned offset, const char *name)
{
	put8(a, OP_CREATE_DWORD_FIELD);
	aml_arg(a, arg);
	aml_integer(a, offset);
	put_name(a, name);
}

/* --- resource descriptors ------------------------------------------------------------ */

void aml_io(struct aml *a, uint16_t port, uint8_t len)
{
	put8(a, RES_IO);
	put8(a, RES_DECODE16);
	put16(a, port); /* lowest base */
	put16(a, port); /* highest base */
	put8(a, 1);     /* alignment */
	put8(a, len);
}

void aml_interrupt(struct aml *a, uint32_t gsi)
{
	put8(a, RES_INTERRUPT);
	put16(a, 6);
	put8(a, RES_INT_CONSUMER | RES_INT_EDGE);
	put8(a, 1); /* one interrupt */
	put32(a, gsi);
}

void aml_memory32_fixed(struct aml *a, uint32_t base, uint32_t len)
{
	put8(a, RES_MEMORY32_FIXED);
	put16(a, 9);
	put8(a, RES_READ_WRITE);
	put32(a, base);
	put32(a, len);
}

void aml_bus_window(struct aml *a, uint16_t first, uint16_t last)
{
	put8(a, RES_WORD_SPACE);
	put16(a, 13);
	put8(a, RES_SPACE_BUS);
	put8(a, RES_MIN_MAX_FIXED);
	put8(a, 0);
	put16(a, 0); /* granularity */
	put16(a, first);
	put16(a, last);
	put16(a, 0); /* translation */
	put16(a, (uint16_t)(last - first + 1));
}

void aml_memory32_window(struct aml *a, uint32_t base, uint32_t len)
{
	put8(a, RES_DWORD_SPACE);
	put16(a, 23);
	put8(a, RES_SPACE_MEMORY);
	put8(a, RES_MIN_MAX_FIXED);
	put8(a, RES_READ_WRITE);
	put32(a, 0);
	put32(a, base);
	put32(a, base + len - 1);
	put32(a, 0);
	put32(a, len);
}

void aml_memory64_window(struct aml *a, uint64_t base, uint64_t len)
{
	put8(a, RES_QWORD_SPACE);
	put16(a, 43);
	put8(a, RES_SPACE_MEMORY);
	put8(a, RES_MIN_MAX_FIXED);
	put8(a, RES_READ_WRITE);
	put64(a, 0);
	put64(a, base);
	put64(a, base + len - 1);
	put64(a, 0);
	put64(a, len);
}
