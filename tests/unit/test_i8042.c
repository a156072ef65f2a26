/* SPDX-License-Identifier: Apache-2.0 */
/* The keyboard controller: Linux's reboot path and its driver's probe. */
#include "devices/ps2/i8042.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct rig {
	struct i8042 k;
	unsigned stops;
	enum stop_reason reason;
};

static void on_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	struct rig *r = ctx;

	r->stops++;
	r->reason = reason;
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	i8042_init(&r->k, &(struct stop_sink){on_stop, r});
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	i8042_device_ops.fini(&r->k);
	free(r);
	return 0;
}

static uint8_t in(struct rig *r, unsigned port)
{
	return (uint8_t)i8042_io_ops.read(&r->k, port - 0x60, 1);
}

static void out(struct rig *r, unsigned port, uint8_t val)
{
	i8042_io_ops.write(&r->k, port - 0x60, 1, val);
}

/* An answer that is there at once, without AUXDATA. */
static uint8_t answer(struct rig *r)
{
	assert_int_equal(in(r, 0x64) & 0x21, 0x01);
	uint8_t val = in(r, 0x60);

	assert_int_equal(in(r, 0x64) & 0x01, 0);
	return val;
}

static void test_reboot_k(void **state)
{
	struct rig *r = *state;

	assert_int_equal(in(r, 0x64) & 0x02, 0); /* kb_wait() passes at once */
	assert_int_equal(r->stops, 0);
	out(r, 0x64, 0xfe);
	assert_int_equal(r->stops, 1);
	assert_int_equal(r->reason, STOP_RESET);
	assert_int_equal(in(r, 0x64) & 0x02, 0);
}

static void test_pulses_of_bit_0_reset_and_others_do_not(void **state)
{
	struct rig *r = *state;

	for (unsigned cmd = 0; cmd < 256; cmd++) {
		r->stops = 0;
		out(r, 0x64, (uint8_t)cmd);
		assert_int_equal(r->stops, cmd >= 0xf0 && !(cmd & 1));
	}
	/* The same line by the output port. */
	r->stops = 0;
	out(r, 0x64, 0xd1);
	out(r, 0x60, 0xdf);
	assert_int_equal(r->stops, 0);
	out(r, 0x64, 0xd1);
	out(r, 0x60, 0xfe);
	assert_int_equal(r->stops, 1);
}

static void test_linux_driver_gets_every_answer_at_once(void **state)
{
	struct rig *r = *state;
	uint8_t ctr;

	assert_int_equal(in(r, 0x64) & 0x01, 0); /* nothing to flush */
	out(r, 0x64, 0xaa);
	assert_int_equal(answer(r), 0x55);
	out(r, 0x64, 0x20);
	ctr = answer(r);
	out(r, 0x64, 0x20);
	assert_int_equal(answer(r), ctr);
	assert_int_not_equal(in(r, 0x64) & 0x10, 0); /* not locked */
	out(r, 0x64, 0x60);
	out(r, 0x60, 0x74);
	out(r, 0x64, 0x20);
	assert_int_equal(answer(r), 0x74);
	/* No aux port: the loop test's byte comes back as the keyboard's. */
	out(r, 0x64, 0xd3);
	out(r, 0x60, 0x5a);
	assert_int_equal(answer(r), 0x5a);
	out(r, 0x64, 0xa9);
	ctr = answer(r);
	assert_true(ctr && ctr != 0xfa && ctr != 0xff);
	/* Keyboard port: wired, enabled and disabled, silent. */
	out(r, 0x64, 0xab);
	assert_int_equal(answer(r), 0);
	out(r, 0x64, 0xae);
	out(r, 0x64, 0x20);
	assert_int_equal(answer(r) & 0x10, 0);
	out(r, 0x60, 0xf2);
	assert_int_equal(in(r, 0x64) & 0x03, 0);
	assert_int_equal(r->stops, 0);
}

static void test_hostile_every_offset_and_size(void **state)
{
	struct rig *r = *state;

	for (unsigned size = 1; size <= 4; size *= 2)
		for (unsigned off = 0; off + size <= I8042_PORTS; off++)
			for (unsigned v = 0; v < 256; v++) {
				i8042_io_ops.write(&r->k, off, size, v * 0x01010101u);
				i8042_io_ops.read(&r->k, off, size);
			}
	/* Of the ports between its two, one is the board's. */
	for (unsigned port = 0x62; port < 0x64; port++)
		assert_int_equal(in(r, port), 0xff);
	assert_int_equal(in(r, 0x64) & 0x02, 0);
}

/* Who takes an NMI asks there for SERR# and IOCHK#, and must not be told of them. */
static void test_nmi_status(void **state)
{
	struct rig *r = *state;

	assert_int_equal(in(r, 0x61), 0);
	for (unsigned v = 0; v < 256; v++) {
		i8042_io_ops.write(&r->k, 1, 1, v);
		assert_int_equal(in(r, 0x61), v & 0x0f);
	}
}

static void test_save_load_save(void **state)
{
	struct rig *r = *state, *s;
	struct state_writer a, b;
	struct state_reader reader;
	void *other;

	out(r, 0x64, 0xad);
	out(r, 0x64, 0xc0);
	out(r, 0x64, 0x60); /* waits for its byte */
	set_up(&other);
	s = other;
	state_writer_init(&a);
	state_writer_init(&b);
	i8042_device_ops.save(&r->k, &a);
	state_reader_init(&reader, a.data, a.len);
	assert_int_equal(i8042_device_ops.load(&s->k, &reader, NULL), 0);
	i8042_device_ops.save(&s->k, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	out(s, 0x60, 0x7f);
	assert_int_equal(answer(s), 0x80);
	out(s, 0x64, 0x20);
	assert_int_equal(answer(s), 0x7f);
	/* Bad bytes: refused or harmless, never a reset. */
	for (size_t len = 0; len < a.len; len++) {
		state_reader_init(&reader, a.data, len);
		assert_true(i8042_device_ops.load(&s->k, &reader, NULL) < 0);
	}
	for (size_t i = 0; i < a.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(b.data, a.data, a.len);
			b.data[i] ^= (uint8_t)(1u << bit);
			state_reader_init(&reader, b.data, a.len);
			if (!i8042_device_ops.load(&s->k, &reader, NULL)) {
				in(s, 0x64);
				in(s, 0x60);
				out(s, 0x60, 0xff);
			}
		}
	assert_int_equal(s->stops, 0);
	state_writer_fini(&a);
	state_writer_fini(&b);
	tear_down(&other);
}

static void test_reset(void **state)
{
	struct rig *r = *state;

	out(r, 0x64, 0xd1);
	i8042_device_ops.reset(&r->k);
	out(r, 0x60, 0x00); /* no command waits any more */
	assert_int_equal(r->stops, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_reboot_k),
		T(test_pulses_of_bit_0_reset_and_others_do_not),
		T(test_linux_driver_gets_every_answer_at_once),
		T(test_hostile_every_offset_and_size),
		T(test_nmi_status),
		T(test_save_load_save),
		T(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
