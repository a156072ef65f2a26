/* SPDX-License-Identifier: Apache-2.0 */
/* The processors' registers as ACPI code reaches them, and as one that means harm would. */
#include "devices/cpu/hotplug.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PORTS = 0x620, HERE = 0, UP = 8, DOWN = 16, EJECT = 24, EVENT = 25, STATUS = 26, TOLD = 27 };
enum { DEVICE_CHECK = 1, EJECT_REQUEST = 3, FAILURE = 0x80, IN_PROGRESS = 0x84 };

struct rig {
	struct bus pio;
	struct cpu_hotplug h;
	unsigned events, changes;
	struct cpu_hotplug_count told; /* with the last change */
	unsigned ejections, last;
};

static void on_event(void *ctx)
{
	((struct rig *)ctx)->events++;
}

static void on_ejected(void *ctx, unsigned cpu)
{
	struct rig *r = ctx;

	r->ejections++;
	r->last = cpu;
}

static void on_changed(void *ctx, struct cpu_hotplug_count now)
{
	struct rig *r = ctx;

	r->changes++;
	r->told = now;
}

static struct rig *rig_of(unsigned n, unsigned max)
{
	struct rig *r = calloc(1, sizeof(*r));
	const struct cpu_hotplug_wires wires = {on_event, on_ejected, on_changed, r};

	assert_non_null(r);
	bus_init(&r->pio, "pio");
	cpu_hotplug_init(&r->h, n, max, &wires);
	assert_int_equal(
		bus_add(&r->pio, PORTS, CPU_HOTPLUG_PORTS, &cpu_hotplug_io_ops, &r->h, "cpus"), 0);
	return r;
}

static void end(struct rig *r)
{
	cpu_hotplug_device_ops.fini(&r->h);
	bus_fini(&r->pio);
	free(r);
}

static int setup(void **state)
{
	*state = rig_of(1, 12);
	return 0;
}

static int teardown(void **state)
{
	end(*state);
	return 0;
}

static uint64_t in(struct rig *r, unsigned off, unsigned size)
{
	uint64_t val;

	assert_true(bus_read(&r->pio, PORTS + off, size, &val));
	return val;
}

static void out(struct rig *r, unsigned off, unsigned size, uint64_t val)
{
	assert_true(bus_write(&r->pio, PORTS + off, size, val));
}

static void told(struct rig *r, unsigned event, unsigned status, unsigned cpu)
{
	out(r, EVENT, 1, event);
	out(r, STATUS, 1, status);
	out(r, TOLD, 1, cpu);
}

static void is(struct rig *r, unsigned has, unsigned target)
{
	struct cpu_hotplug_count c = cpu_hotplug_count(&r->h);

	assert_int_equal(c.has, has);
	assert_int_equal(c.target, target);
}

static void come_and_go(void **state)
{
	struct rig *r = *state;

	is(r, 1, 1);
	assert_int_equal(in(r, HERE, 8), 1);
	assert_int_equal(cpu_hotplug_missing(&r->h, 10), 0x3fe);
	cpu_hotplug_want(&r->h, 10);
	assert_int_equal(r->events, 1);
	assert_int_equal(cpu_hotplug_here(&r->h), 0x3ff);
	assert_int_equal(cpu_hotplug_missing(&r->h, 10), 0);
	assert_int_equal(in(r, HERE, 8), 0x3ff);
	assert_int_equal(in(r, UP, 1), 0xfe);
	assert_int_equal(in(r, UP, 1), 0); /* reading clears, byte by byte */
	assert_int_equal(in(r, UP + 1, 1), 0x03);
	assert_int_equal(in(r, UP, 8), 0);
	assert_int_equal(in(r, DOWN, 8), 0);
	is(r, 1, 10); /* it has taken none yet */
	for (unsigned cpu = 1; cpu < 10; cpu++) {
		told(r, DEVICE_CHECK, 0, cpu);
		is(r, cpu + 1, 10);
		assert_int_equal(r->told.has, cpu + 1);
		assert_int_equal(r->told.target, 10);
	}
	assert_int_equal(r->changes, 9);
	told(r, DEVICE_CHECK, 0, 9); /* twice is once */
	assert_int_equal(r->changes, 9);

	cpu_hotplug_want(&r->h, 8);
	assert_int_equal(r->events, 2);
	assert_int_equal(in(r, DOWN, 8), 0x300);
	assert_int_equal(in(r, DOWN, 8), 0);
	is(r, 10, 8); /* it was asked, no more */
	told(r, EJECT_REQUEST, IN_PROGRESS, 9);
	out(r, EJECT, 1, 9);
	assert_int_equal(r->ejections, 1);
	assert_int_equal(r->last, 9);
	assert_int_equal(r->told.has, 9);
	assert_int_equal(in(r, HERE, 8), 0x1ff);
	told(r, EJECT_REQUEST, 0, 9);
	told(r, EJECT_REQUEST, FAILURE, 8);
	is(r, 9, 8);
	assert_int_equal(r->changes, 10);
	/* Asked again, it does. */
	cpu_hotplug_want(&r->h, 8);
	assert_int_equal(in(r, DOWN, 8), 0x100);
	out(r, EJECT, 1, 8);
	is(r, 8, 8);
	cpu_hotplug_want(&r->h, 8);
	assert_int_equal(r->events, 3);
	cpu_hotplug_want(&r->h, 9);
	assert_int_equal(in(r, UP, 8), 0x100);
}

/* Another wish before the guest has looked; one that does not take a processor, and does so when it
 * is told again. */
static void second_thoughts(void **state)
{
	struct rig *r = *state;

	cpu_hotplug_want(&r->h, 4);
	cpu_hotplug_want(&r->h, 2);
	assert_int_equal(in(r, UP, 8), 0x2);
	assert_int_equal(in(r, DOWN, 8), 0xc);
	cpu_hotplug_want(&r->h, 1);
	assert_int_equal(in(r, UP, 8), 0);
	cpu_hotplug_want(&r->h, 4);
	assert_int_equal(in(r, UP, 8), 0xe);
	assert_int_equal(in(r, DOWN, 8), 0);
	told(r, DEVICE_CHECK, 0, 1);
	told(r, DEVICE_CHECK, FAILURE, 2);
	is(r, 2, 4);
	cpu_hotplug_want(&r->h, 4);
	assert_int_equal(in(r, UP, 8), 0xc);
	told(r, DEVICE_CHECK, 0, 2);
	told(r, 0, 0, 3); /* a bus check */
	is(r, 4, 4);
}

/* The first stays, the others go once, and nothing else can be written. */
static void hostile(void **state)
{
	struct rig *r = *state;
	uint64_t val;

	cpu_hotplug_want(&r->h, 3);
	for (unsigned off = 0; off < EJECT; off += 8)
		out(r, off, 8, UINT64_MAX);
	assert_int_equal(in(r, HERE, 8), 7);
	assert_int_equal(in(r, UP, 8), 6);
	assert_int_equal(in(r, DOWN, 8), 0);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned cpu = 0; cpu < 256; cpu++) {
			if (cpu == 2)
				continue;
			out(r, EJECT, 1, cpu);
			for (unsigned event = 0; event < 5; event++)
				told(r, event, 0, cpu);
		}
	assert_int_equal(r->ejections, 1);
	assert_int_equal(r->last, 1);
	assert_int_equal(cpu_hotplug_here(&r->h), 5);
	is(r, 1, 3);
	assert_int_equal(in(r, EJECT, 1), 0);
	assert_int_equal(in(r, TOLD, 1), 0);
	/* All four at once, in ascending order. */
	out(r, EJECT, 4, 2 << 24 | 0 << 16 | DEVICE_CHECK << 8 | 77);
	is(r, 2, 3);
	out(r, EJECT, 4, 2 << 24 | 0 << 16 | DEVICE_CHECK << 8 | 2);
	is(r, 1, 3);
	assert_int_equal(r->ejections, 2);
	/* Beyond the end, and across registers. */
	assert_false(bus_read(&r->pio, PORTS + CPU_HOTPLUG_PORTS - 1, 2, &val));
	assert_false(bus_write(&r->pio, PORTS + CPU_HOTPLUG_PORTS - 1, 4, UINT32_MAX));
	cpu_hotplug_want(&r->h, 12);
	assert_int_equal(in(r, HERE + 4, 8), 0xffeull << 32);
	assert_int_equal(in(r, UP, 8), 0);
	out(r, EJECT - 4, 8, 11ull << 32); /* and EVENT, STATUS, TOLD 0 */
	assert_int_equal(r->last, 11);
}

/* As at first, whatever came, went and was on its way. */
static void renewed(void **state)
{
	struct rig *r = *state;

	cpu_hotplug_want(&r->h, 4);
	told(r, DEVICE_CHECK, 0, 1);
	out(r, EJECT, 1, 1);
	cpu_hotplug_want(&r->h, 3);
	cpu_hotplug_renew(&r->h, 2);
	is(r, 2, 2);
	assert_int_equal(in(r, HERE, 8), 3);
	assert_int_equal(in(r, UP, 8), 0);
	assert_int_equal(in(r, DOWN, 8), 0);
}

static void all_64(void **state)
{
	struct rig *r = rig_of(63, 64);

	assert_int_equal(cpu_hotplug_here(&r->h), UINT64_MAX >> 1);
	cpu_hotplug_want(&r->h, 64);
	assert_int_equal(in(r, UP + 7, 1), 0x80);
	told(r, DEVICE_CHECK, 0, 63);
	is(r, 64, 64);
	assert_int_equal(cpu_hotplug_missing(&r->h, 64), 0);
	cpu_hotplug_want(&r->h, 1);
	assert_int_equal(in(r, DOWN, 8), UINT64_MAX - 1);
	for (unsigned cpu = 63; cpu; cpu--)
		out(r, EJECT, 1, cpu);
	is(r, 1, 1);
	end(r);
}

static void save(struct rig *r, struct state_writer *w)
{
	state_writer_init(w);
	cpu_hotplug_device_ops.save(&r->h, w);
}

static int load(struct rig *r, const uint8_t *bytes, size_t len)
{
	struct state_reader reader;
	struct err e = {0};

	state_reader_init(&reader, bytes, len);
	return cpu_hotplug_device_ops.load(&r->h, &reader, &e);
}

static void loads_as(struct rig *r, const struct state_writer *w)
{
	struct state_writer again;

	assert_int_equal(load(r, w->data, w->len), 0);
	save(r, &again);
	assert_int_equal(again.len, w->len);
	assert_memory_equal(again.data, w->data, w->len);
	state_writer_fini(&again);
}

static void saved_and_loaded(void **state)
{
	struct rig *r = *state, *other = rig_of(1, 12), *larger = rig_of(1, 13);
	struct state_writer w;

	cpu_hotplug_want(&r->h, 9);
	told(r, DEVICE_CHECK, 0, 1);
	told(r, DEVICE_CHECK, 0, 8);
	out(r, EJECT, 1, 3);
	in(r, UP, 1);
	cpu_hotplug_want(&r->h, 6);
	out(r, EVENT, 2, 0x1234);
	save(r, &w);
	loads_as(other, &w);
	assert_int_equal(cpu_hotplug_here(&other->h), 0x1ff);
	is(other, 3, 6);
	assert_int_equal(in(other, UP, 8), 0x3c);
	assert_int_equal(in(other, DOWN, 8), 0x1c0);
	assert_int_equal(in(other, EVENT, 2), 0x1234);
	assert_true(load(larger, w.data, w.len) < 0);
	for (size_t len = 0; len < w.len; len++)
		assert_true(load(other, w.data, len) < 0);
	assert_int_equal(in(other, HERE, 8), 0x1ff);
	/* A reset voids what was to be read, and leaves who is there. */
	loads_as(other, &w);
	cpu_hotplug_device_ops.reset(&other->h);
	assert_int_equal(in(other, UP, 8), 0);
	assert_int_equal(in(other, DOWN, 8), 0);
	assert_int_equal(in(other, HERE, 8), 0x1ff);
	state_writer_fini(&w);
	end(other);
	end(larger);
}

/* The fields end the section: max and target, 4 bytes each; HERE, what comes, UP and DOWN, 8 bytes
 * each; two bytes. */
static void wrong_states(void **state)
{
	enum { MAX = 0, TARGET = 4, IS_HERE = 8, COMING = 16, IS_UP = 24, IS_DOWN = 32, LEN = 42 };
	static const struct {
		unsigned at;
		uint64_t value;
		bool fine;
	} cases[] = {
		{IS_HERE, 0x01f, true},       {IS_HERE, 0x01e, false}, /* without the first */
		{IS_HERE, 0x101f, false},                              /* beyond max */
		{IS_HERE, 0x007, false}, /* UP of one that is not there */
		{COMING, 0x018, true},        {COMING, 0x038, false},  {COMING, 0x019, false},
		{IS_UP, 0x008, true},         {IS_UP, 0x004, false}, /* it has it already */
		{IS_UP, 0x001, false},        {IS_DOWN, 0x004, true},  {IS_DOWN, 0x008, false},
		{IS_DOWN, 0x001, false},      {IS_DOWN, 0x020, false}, {IS_DOWN, 1ull << 63, false},
		{IS_HERE, 1ull << 63, false},
	};
	struct rig *r = *state;
	struct state_writer w;

	cpu_hotplug_want(&r->h, 5);
	told(r, DEVICE_CHECK, 0, 1);
	told(r, DEVICE_CHECK, 0, 2);
	save(r, &w);
	uint8_t *wrong = malloc(w.len), *fields = wrong + w.len - LEN;

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		memcpy(wrong, w.data, w.len);
		if (cases[i].at == IS_DOWN || cases[i].at == IS_UP)
			le64_put(fields + IS_UP, 0x008);
		le64_put(fields + cases[i].at, cases[i].value);
		if (cases[i].at != IS_UP && cases[i].at != IS_DOWN)
			le64_put(fields + IS_UP, cases[i].at == IS_HERE ? 0x018 : 0x008);
		if (!load(r, wrong, w.len) != cases[i].fine)
			fail_msg("case %u", i);
	}
	for (unsigned n = 0; n < 14; n++) {
		memcpy(wrong, w.data, w.len);
		le32_put(fields + TARGET, n);
		assert_int_equal(!load(r, wrong, w.len), n >= 1 && n <= 12);
		memcpy(wrong, w.data, w.len);
		le32_put(fields + MAX, n);
		assert_int_equal(!load(r, wrong, w.len), n == 12);
	}
	free(wrong);
	state_writer_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(second_thoughts, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(renewed, setup, teardown),
		cmocka_unit_test(all_64),
		cmocka_unit_test_setup_teardown(saved_and_loaded, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_states, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
