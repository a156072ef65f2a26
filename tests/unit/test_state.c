/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state: what was written comes back; what was cut or bent is an error before
 * anybody uses it. The layout is asserted byte by byte once, because files in
 * it outlive the program that wrote them.
 */
#include "vmm/core/state.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HEADER = 32 };

static void layout_is_as_documented(void **state)
{
	static const uint8_t want[] = "chip\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" /* name, 24 */
				      "\x03\x00\x00\x00"                             /* version */
				      "\x13\x00\x00\x00"                             /* length */
				      "\xab"
				      "\x34\x12"
				      "\xef\xbe\xad\xde"
				      "\x08\x07\x06\x05\x04\x03\x02\x01"
				      "\x01"
				      "xyz";
	struct state_writer w;

	state_writer_init(&w);
	state_section_begin(&w, "chip", 3);
	state_put_u8(&w, 0xab);
	state_put_u16(&w, 0x1234);
	state_put_u32(&w, 0xdeadbeef);
	state_put_u64(&w, 0x0102030405060708);
	state_put_bool(&w, true);
	state_put_bytes(&w, "xyz", 3);
	state_section_end(&w);
	assert_int_equal(w.error, 0);
	assert_int_equal(w.len, sizeof(want) - 1);
	assert_memory_equal(w.data, want, w.len);
	state_writer_fini(&w);
	state_writer_fini(&w); /* twice is harmless */
}

static void write_two(struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "first", 1);
	state_put_u8(w, 0x11);
	state_put_bool(w, false);
	state_put_u32(w, 0x22334455);
	state_section_end(w);
	state_section_begin(w, "a-name-of-23-characters", 0x7fffffff);
	state_put_u64(w, UINT64_MAX);
	state_put_u16(w, 0xfffe);
	state_put_bytes(w, "0123456789", 10);
	state_put_bool(w, true);
	state_section_end(w);
}

/* Read what write_two() wrote: 0 only if all is there and as it was. */
static int read_two(const void *data, size_t len, bool *same)
{
	struct state_reader r;
	uint8_t bytes[10];
	int ret;

	*same = true;
	state_reader_init(&r, data, len);
	ret = state_section_open(&r, "first", NULL);
	if (ret < 0)
		return ret;
	*same &= ret == 1;
	*same &= state_get_u8(&r) == 0x11;
	*same &= state_get_bool(&r) == false;
	*same &= state_get_u32(&r) == 0x22334455;
	ret = state_section_close(&r, NULL);
	if (ret)
		return ret;
	ret = state_section_open(&r, "a-name-of-23-characters", NULL);
	if (ret < 0)
		return ret;
	*same &= ret == 0x7fffffff;
	*same &= state_get_u64(&r) == UINT64_MAX;
	*same &= state_get_u16(&r) == 0xfffe;
	state_get_bytes(&r, bytes, sizeof(bytes));
	*same &= !memcmp(bytes, "0123456789", sizeof(bytes));
	*same &= state_get_bool(&r) == true;
	return state_section_close(&r, NULL);
}

static void round_trip(void **state)
{
	struct state_writer w;
	bool same;

	write_two(&w);
	assert_int_equal(read_two(w.data, w.len, &same), 0);
	assert_true(same);
	state_writer_fini(&w);
}

/* Each truncation in a buffer of exactly its size, so that ASan sees a read
 * beyond the end. */
static void every_truncation_is_an_error(void **state)
{
	struct state_writer w;
	bool same;

	write_two(&w);
	for (size_t len = 0; len < w.len; len++) {
		uint8_t *cut = malloc(len ? len : 1);

		memcpy(cut, w.data, len);
		if (read_two(cut, len, &same) != -EBADMSG)
			fail_msg("cut to %zu of %zu bytes and accepted", len, w.len);
		free(cut);
	}
	state_writer_fini(&w);
}

/* A header is name, version and length: no flipped bit of a name or a length
 * passes; a flipped version is either refused or reported as it is. */
static void every_flipped_header_bit_is_noticed(void **state)
{
	struct state_writer w;
	bool same;

	write_two(&w);
	const size_t headers[] = {0, HEADER + 6};

	for (size_t h = 0; h < 2; h++)
		for (size_t at = headers[h]; at < headers[h] + HEADER; at++)
			for (int bit = 0; bit < 8; bit++) {
				uint8_t *bent = malloc(w.len);

				memcpy(bent, w.data, w.len);
				bent[at] ^= (uint8_t)(1 << bit);
				int ret = read_two(bent, w.len, &same);
				bool version = at - headers[h] >= 24 && at - headers[h] < 28;

				if (ret != -EBADMSG && !(version && !ret && !same))
					fail_msg("byte %zu bit %d: %d", at, bit, ret);
				free(bent);
			}
	state_writer_fini(&w);
}

/* Any flipped byte anywhere: never a crash, never the original's values. */
static void every_flipped_byte_is_noticed_or_read_as_it_is(void **state)
{
	struct state_writer w;
	bool same;

	write_two(&w);
	for (size_t at = 0; at < w.len; at++) {
		uint8_t *bent = malloc(w.len);

		memcpy(bent, w.data, w.len);
		bent[at] = (uint8_t)~bent[at];
		assert_true(read_two(bent, w.len, &same) == -EBADMSG || !same);
		free(bent);
	}
	state_writer_fini(&w);
}

static void a_bool_is_0_or_1(void **state)
{
	for (unsigned v = 0; v < 256; v++) {
		struct state_writer w;
		struct state_reader r;

		state_writer_init(&w);
		state_section_begin(&w, "b", 1);
		state_put_u8(&w, (uint8_t)v);
		state_section_end(&w);
		state_reader_init(&r, w.data, w.len);
		assert_int_equal(state_section_open(&r, "b", NULL), 1);
		assert_int_equal(state_get_bool(&r), v == 1);
		assert_int_equal(state_section_close(&r, NULL), v > 1 ? -EBADMSG : 0);
		state_writer_fini(&w);
	}
}

static void past_the_end_everything_is_zero(void **state)
{
	struct state_writer w;
	struct state_reader r;
	struct err e = {0};
	uint8_t bytes[4] = {1, 2, 3, 4};

	state_writer_init(&w);
	state_section_begin(&w, "s", 1);
	state_put_u16(&w, 0xffff);
	state_section_end(&w);
	state_section_begin(&w, "t", 1);
	state_put_u64(&w, UINT64_MAX);
	state_section_end(&w);

	state_reader_init(&r, w.data, w.len);
	assert_int_equal(state_section_open(&r, "s", &e), 1);
	/* Wider than what is left, though the next section has bytes enough. */
	assert_int_equal(state_get_u32(&r), 0);
	assert_int_equal(r.error, -EBADMSG);
	/* The first error sticks: even what would fit is not given any more. */
	assert_int_equal(state_get_u8(&r), 0);
	assert_int_equal(state_get_u16(&r), 0);
	assert_int_equal(state_get_u64(&r), 0);
	assert_false(state_get_bool(&r));
	state_get_bytes(&r, bytes, sizeof(bytes));
	assert_memory_equal(bytes, "\0\0\0\0", 4);
	assert_int_equal(state_section_close(&r, &e), -EBADMSG);
	assert_int_equal(e.code, -EBADMSG);
	assert_true(e.text[0]);
	/* An error stays, and whoever goes on is told. */
	e = (struct err){0};
	assert_int_equal(state_section_open(&r, "t", &e), -EBADMSG);
	assert_int_equal(e.code, -EBADMSG);
	assert_non_null(strstr(e.text, "'t'"));
	state_writer_fini(&w);
}

static void fields_left_unread_are_an_error(void **state)
{
	struct state_writer w;
	struct state_reader r;

	write_two(&w);
	state_reader_init(&r, w.data, w.len);
	assert_int_equal(state_section_open(&r, "first", NULL), 1);
	state_get_u8(&r);
	assert_int_equal(state_section_close(&r, NULL), -EBADMSG);
	state_writer_fini(&w);
}

static void another_section_is_named_in_the_error(void **state)
{
	struct state_writer w;
	struct state_reader r;
	struct err e = {0};

	write_two(&w);
	state_reader_init(&r, w.data, w.len);
	assert_int_equal(state_section_open(&r, "firs", &e), -EBADMSG);
	assert_non_null(strstr(e.text, "'firs'"));
	state_reader_init(&r, w.data, w.len);
	e = (struct err){0};
	assert_int_equal(state_section_expect(&r, "firs", 1, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "'firs'"));
	state_writer_fini(&w);
}

static void another_version_is_told(void **state)
{
	struct state_writer w;
	struct state_reader r;
	struct err e = {0};

	write_two(&w);
	state_reader_init(&r, w.data, w.len);
	assert_int_equal(state_section_expect(&r, "first", 1, &e), 0);
	assert_int_equal(state_get_u8(&r), 0x11);
	state_reader_init(&r, w.data, w.len);
	assert_int_equal(state_section_expect(&r, "first", 2, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "'first' has unknown version 1"));
	/* Nothing comes out of it. */
	assert_int_equal(state_get_u8(&r), 0);
	state_writer_fini(&w);
}

static void outside_a_section_there_is_nothing(void **state)
{
	static const uint8_t some[64] = {1};
	struct state_reader r;

	state_reader_init(&r, some, sizeof(some));
	assert_int_equal(state_get_u8(&r), 0);
	assert_int_equal(r.error, -EBADMSG);
	state_reader_init(&r, NULL, 0);
	assert_int_equal(state_section_open(&r, "x", NULL), -EBADMSG);
}

static void a_big_section_grows_the_buffer(void **state)
{
	enum { N = 100000 };
	struct state_writer w;
	struct state_reader r;

	state_writer_init(&w);
	state_section_begin(&w, "big", 1);
	for (uint32_t i = 0; i < N; i++)
		state_put_u32(&w, i * 2654435761u);
	state_section_end(&w);
	assert_int_equal(w.error, 0);
	assert_int_equal(w.len, HEADER + 4 * N);
	state_reader_init(&r, w.data, w.len);
	assert_int_equal(state_section_open(&r, "big", NULL), 1);
	for (uint32_t i = 0; i < N; i++)
		if (state_get_u32(&r) != i * 2654435761u)
			fail_msg("word %u differs", i);
	assert_int_equal(state_section_close(&r, NULL), 0);
	state_writer_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_is_as_documented),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(every_truncation_is_an_error),
		cmocka_unit_test(every_flipped_header_bit_is_noticed),
		cmocka_unit_test(every_flipped_byte_is_noticed_or_read_as_it_is),
		cmocka_unit_test(a_bool_is_0_or_1),
		cmocka_unit_test(past_the_end_everything_is_zero),
		cmocka_unit_test(fields_left_unread_are_an_error),
		cmocka_unit_test(another_section_is_named_in_the_error),
		cmocka_unit_test(another_version_is_told),
		cmocka_unit_test(outside_a_section_there_is_nothing),
		cmocka_unit_test(a_big_section_grows_the_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
