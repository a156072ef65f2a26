/* SPDX-License-Identifier: Apache-2.0 */
/* The RTC as Linux reads and sets it; the C library's calendar is the judge. */
#include "devices/rtc/cmos.h"

#include "tests/lib/fake_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define S 1000000000ll

struct rig {
	struct fake_clock clock;
	struct cmos c;
};

/* 2024-02-29 23:59:58.5 UTC, a Thursday. */
#define LEAP_NIGHT (1709251198 * S + S / 2)

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct clock clock;

	fake_clock_init(&r->clock, 0, LEAP_NIGHT);
	clock = fake_clock_wire(&r->clock);
	cmos_init(&r->c, &clock);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	cmos_device_ops.fini(&r->c);
	free(r);
	return 0;
}

static uint8_t get(struct rig *r, uint8_t reg)
{
	cmos_io_ops.write(&r->c, 0, 1, reg);
	return (uint8_t)cmos_io_ops.read(&r->c, 1, 1);
}

static void set(struct rig *r, uint8_t reg, uint8_t val)
{
	cmos_io_ops.write(&r->c, 0, 1, reg);
	cmos_io_ops.write(&r->c, 1, 1, val);
}

static int bcd(uint8_t v)
{
	assert_true((v & 15) < 10 && v >> 4 < 10);
	return (v >> 4) * 10 + (v & 15);
}

static uint8_t to_bcd(int v)
{
	return (uint8_t)(v / 10 << 4 | v % 10);
}

/* As mc146818_get_time() does: BCD, 24 hours, with FADT's century. */
static time_t read_time(struct rig *r)
{
	struct tm tm = {
		.tm_sec = bcd(get(r, 0)),
		.tm_min = bcd(get(r, 2)),
		.tm_hour = bcd(get(r, 4)),
		.tm_mday = bcd(get(r, 7)),
		.tm_mon = bcd(get(r, 8)) - 1,
		.tm_year = bcd(get(r, 9)) + bcd(get(r, CMOS_CENTURY)) * 100 - 1900,
	};
	int weekday = bcd(get(r, 6));
	time_t t = timegm(&tm);

	assert_int_equal(weekday, tm.tm_wday + 1);
	return t;
}

/* As mc146818_set_time() does, with or without the divider reset. */
static void write_time(struct rig *r, time_t t, bool reset_divider)
{
	struct tm tm;
	uint8_t b = get(r, 11), a = get(r, 10) & 0x7f;

	gmtime_r(&t, &tm);
	set(r, 11, b | 0x80);
	if (reset_divider)
		set(r, 10, a | 0x70);
	set(r, 9, to_bcd(tm.tm_year % 100));
	set(r, 8, to_bcd(tm.tm_mon + 1));
	set(r, 7, to_bcd(tm.tm_mday));
	set(r, 4, to_bcd(tm.tm_hour));
	set(r, 2, to_bcd(tm.tm_min));
	set(r, 0, to_bcd(tm.tm_sec));
	set(r, CMOS_CENTURY, to_bcd((tm.tm_year + 1900) / 100));
	set(r, 11, b);
	if (reset_divider)
		set(r, 10, a);
}

static void test_shows_the_hosts_time(void **state)
{
	struct rig *r = *state;

	assert_int_equal(read_time(r), 1709251198);
	fake_clock_advance(&r->clock, 2 * S);
	assert_int_equal(read_time(r), 1709251200); /* March 1st */
	assert_int_equal(get(r, 7), 0x01);
	/* Every day of the years in between, at a different second each. */
	for (time_t t = 0; t < 4000000000; t += 86399) {
		fake_clock_set_wall(&r->clock, (int64_t)t * S);
		assert_int_equal(read_time(r), t);
	}
	fake_clock_set_wall(&r->clock, -1 * S - 1);
	assert_int_equal(read_time(r), -2);
}

static void test_linux_probe_succeeds_at_first_look(void **state)
{
	struct rig *r = *state;

	/* Not the open bus, 24 hours, BCD, battery good. */
	assert_int_equal(get(r, 10), 0x26);
	assert_int_equal(get(r, 11) & 0x86, 0x02);
	assert_int_equal(get(r, 13), 0x80);
	assert_int_equal(get(r, 12), 0);
	/* It writes the rate and disables interrupts. */
	set(r, 10, 0x26);
	set(r, 11, get(r, 11) & ~0x70);
	assert_int_equal(get(r, 10), 0x26);
}

static void test_uip_is_up_for_the_last_244_us(void **state)
{
	struct rig *r = *state;
	unsigned up = 0;

	fake_clock_set_wall(&r->clock, 1000 * S);
	for (unsigned us = 0; us < 1000000; us++) {
		bool uip = get(r, 10) & 0x80;

		/* Never earlier, and never two bouts: Linux waits 10 ms at most. */
		assert_true(us >= 999755 ? uip || us < 999757 : !uip);
		up += uip;
		fake_clock_advance(&r->clock, 1000);
	}
	assert_in_range(up, 243, 245);
	assert_int_equal(get(r, 10) & 0x80, 0);
	assert_int_equal(read_time(r), 1001);
	/* While the time is being set there is no update to come. */
	fake_clock_advance(&r->clock, S - 1000);
	assert_int_equal(get(r, 10) & 0x80, 0x80);
	set(r, 11, 0x82);
	assert_int_equal(get(r, 10) & 0x80, 0);
}

static void test_guest_sets_the_time(void **state)
{
	struct rig *r = *state;

	write_time(r, 946684799, false); /* 1999-12-31 23:59:59 */
	assert_int_equal(read_time(r), 946684799);
	/* The fraction of the second (.5) went on. */
	fake_clock_advance(&r->clock, S / 2 - 1);
	assert_int_equal(read_time(r), 946684799);
	fake_clock_advance(&r->clock, 1);
	assert_int_equal(read_time(r), 946684800);
	fake_clock_advance(&r->clock, 86400 * S);
	assert_int_equal(read_time(r), 946684800 + 86400);
}

static void test_divider_reset_starts_half_a_second_in(void **state)
{
	struct rig *r = *state;

	fake_clock_set_wall(&r->clock, 5000 * S + 123456789);
	write_time(r, 1234567890, true);
	fake_clock_advance(&r->clock, S / 2 - 1);
	assert_int_equal(read_time(r), 1234567890);
	fake_clock_advance(&r->clock, 1);
	assert_int_equal(read_time(r), 1234567891);
}

static void test_set_freezes_the_clock(void **state)
{
	struct rig *r = *state;

	set(r, 11, 0x82);
	fake_clock_advance(&r->clock, 100 * S);
	assert_int_equal(read_time(r), 1709251198);
	set(r, 11, 0x02);
	assert_int_equal(read_time(r), 1709251198);
	fake_clock_advance(&r->clock, S);
	assert_int_equal(read_time(r), 1709251199);
}

static void test_writes_to_a_running_clock_count_at_once(void **state)
{
	struct rig *r = *state;

	set(r, 2, 0x07);
	assert_int_equal(read_time(r), 1709251198 - 52 * 60);
	fake_clock_advance(&r->clock, S);
	assert_int_equal(read_time(r), 1709251199 - 52 * 60);
}

static void test_binary_and_twelve_hours(void **state)
{
	struct rig *r = *state;

	set(r, 11, 0x06); /* binary, 24 h */
	assert_int_equal(get(r, 0), 58);
	assert_int_equal(get(r, 4), 23);
	assert_int_equal(get(r, CMOS_CENTURY), 20);
	set(r, 11, 0x00);                  /* BCD, 12 h */
	assert_int_equal(get(r, 4), 0x91); /* 11 pm */
	fake_clock_advance(&r->clock, 2 * S);
	assert_int_equal(get(r, 4), 0x12); /* midnight is 12 am */
	set(r, 4, 0x92);                   /* noon is 12 pm */
	set(r, 11, 0x02);
	assert_int_equal(get(r, 4), 0x12);
	set(r, 11, 0x00);
	set(r, 4, 0x81);
	set(r, 11, 0x02);
	assert_int_equal(get(r, 4), 0x13);
}

static void test_update_flag_without_a_timer(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, 12) & 0x10, 0);
	fake_clock_advance(&r->clock, S / 2);
	set(r, 11, 0x12); /* UIE: IRQF shows as well */
	assert_int_equal(get(r, 12) & 0x90, 0x90);
	assert_int_equal(get(r, 12) & 0x90, 0);
	/* A host that sets its clock back makes nothing happen. */
	fake_clock_set_wall(&r->clock, LEAP_NIGHT - 50 * S);
	assert_int_equal(get(r, 12), 0);
}

static void test_periodic_and_alarm_flags(void **state)
{
	struct rig *r = *state;

	get(r, 12);
	fake_clock_advance(&r->clock, 976563); /* 1024 Hz */
	assert_int_equal(get(r, 12) & 0xf0, 0x40);
	set(r, 10, 0x20); /* no rate */
	fake_clock_advance(&r->clock, S / 4);
	assert_int_equal(get(r, 12) & 0x40, 0);
	/* Alarm at every hour's 00:03. */
	set(r, 1, 0x03);
	set(r, 3, 0x00);
	set(r, 5, 0xff);
	get(r, 12);
	fake_clock_set_wall(&r->clock, 1709251202 * S);
	assert_int_equal(get(r, 12) & 0x20, 0);
	fake_clock_set_wall(&r->clock, 1709251203 * S);
	assert_int_equal(get(r, 12) & 0x30, 0x30);
	assert_int_equal(get(r, 12) & 0x20, 0);
	fake_clock_advance(&r->clock, 400 * 86400 * S);
	assert_int_equal(get(r, 12) & 0x20, 0x20);
	assert_int_equal(get(r, 1), 0x03);
	assert_int_equal(get(r, 5), 0xff);
}

static void test_ram_and_index(void **state)
{
	struct rig *r = *state;

	for (unsigned i = 14; i < CMOS_RAM; i++)
		if (i != CMOS_CENTURY)
			set(r, (uint8_t)i, (uint8_t)(i ^ 0x5a));
	for (unsigned i = 14; i < CMOS_RAM; i++)
		if (i != CMOS_CENTURY)
			assert_int_equal(get(r, (uint8_t)(i | 0x80)), i ^ 0x5a);
	set(r, 13, 0);
	assert_int_equal(get(r, 13), 0x80);
	assert_int_equal(cmos_io_ops.read(&r->c, 0, 1), 0xff);
	/* outw: index and data in one. */
	cmos_io_ops.write(&r->c, 0, 2, 0x4220);
	assert_int_equal(get(r, 0x20), 0x42);
}

static void test_reset_keeps_time_and_ram(void **state)
{
	struct rig *r = *state;

	write_time(r, 1000000000, false);
	set(r, 0x40, 0x99);
	set(r, 11, 0x7a);
	cmos_device_ops.reset(&r->c);
	assert_int_equal(get(r, 11), 0x02);
	assert_int_equal(get(r, 0x40), 0x99);
	assert_int_equal(read_time(r), 1000000000);
}

static void test_hostile_times(void **state)
{
	struct rig *r = *state;

	for (unsigned mode = 0; mode < 8; mode += 2)
		for (unsigned v = 0; v < 256; v++) {
			set(r, 11, (uint8_t)(0x80 | mode));
			for (uint8_t reg = 0; reg < 10; reg++)
				set(r, reg, (uint8_t)v);
			set(r, CMOS_CENTURY, (uint8_t)v);
			set(r, 11, (uint8_t)mode);
			for (uint8_t reg = 0; reg < 14; reg++)
				get(r, reg);
			fake_clock_advance(&r->clock, 3 * 86400 * S);
			get(r, 12);
		}
	fake_clock_set_wall(&r->clock, INT64_MAX);
	get(r, 9);
	set(r, 9, 0x99);
	fake_clock_set_wall(&r->clock, INT64_MIN);
	get(r, 9);
	set(r, 0, 0);
	get(r, 12);
	/* It can be set right again. */
	fake_clock_set_wall(&r->clock, LEAP_NIGHT);
	set(r, 11, 0x02);
	write_time(r, 1700000000, true);
	assert_int_equal(read_time(r), 1700000000);
}

static void test_hostile_every_offset_and_size(void **state)
{
	struct rig *r = *state;

	for (unsigned size = 1; size <= 2; size *= 2)
		for (unsigned off = 0; off + size <= CMOS_PORTS; off++)
			for (unsigned v = 0; v < 65536; v += 257) {
				cmos_io_ops.write(&r->c, off, size, v);
				cmos_io_ops.read(&r->c, off, size);
			}
}

static void round_trip(struct rig *r)
{
	struct state_writer a, b;
	struct state_reader reader;
	struct err e = {0};
	struct clock clock = fake_clock_wire(&r->clock);
	struct rig s = {.clock = r->clock};
	time_t t = read_time(r);

	state_writer_init(&a);
	state_writer_init(&b);
	cmos_device_ops.save(&r->c, &a);
	cmos_init(&s.c, &clock);
	state_reader_init(&reader, a.data, a.len);
	assert_int_equal(cmos_device_ops.load(&s.c, &reader, &e), 0);
	cmos_device_ops.save(&s.c, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(read_time(&s), t);
	cmos_device_ops.fini(&s.c);
	state_writer_fini(&a);
	state_writer_fini(&b);
}

static void test_save_load_save(void **state)
{
	struct rig *r = *state;

	write_time(r, 1111111111, false);
	set(r, 0x50, 0x17);
	round_trip(r);
	set(r, 11, 0x82); /* and in the middle of being set */
	set(r, 7, 0x11);  /* a week earlier: the weekday stays true */
	round_trip(r);
}

static void test_hostile_state_bytes(void **state)
{
	struct rig *r = *state;
	struct state_writer w;
	struct state_reader reader;
	uint8_t *copy;

	state_writer_init(&w);
	cmos_device_ops.save(&r->c, &w);
	for (size_t len = 0; len < w.len; len++) {
		state_reader_init(&reader, w.data, len);
		assert_true(cmos_device_ops.load(&r->c, &reader, NULL) < 0);
	}
	copy = malloc(w.len);
	for (size_t i = 0; i < w.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(copy, w.data, w.len);
			copy[i] ^= (uint8_t)(1u << bit);
			state_reader_init(&reader, copy, w.len);
			if (cmos_device_ops.load(&r->c, &reader, NULL))
				continue;
			for (uint8_t reg = 0; reg < CMOS_RAM; reg++)
				get(r, reg);
			set(r, 0, 0);
			set(r, 11, 0x82);
			set(r, 11, 0x02);
			get(r, 12);
		}
	free(copy);
	state_writer_fini(&w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_shows_the_hosts_time),
		T(test_linux_probe_succeeds_at_first_look),
		T(test_uip_is_up_for_the_last_244_us),
		T(test_guest_sets_the_time),
		T(test_divider_reset_starts_half_a_second_in),
		T(test_set_freezes_the_clock),
		T(test_writes_to_a_running_clock_count_at_once),
		T(test_binary_and_twelve_hours),
		T(test_update_flag_without_a_timer),
		T(test_periodic_and_alarm_flags),
		T(test_ram_and_index),
		T(test_reset_keeps_time_and_ram),
		T(test_hostile_times),
		T(test_hostile_every_offset_and_size),
		T(test_save_load_save),
		T(test_hostile_state_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
