/* SPDX-License-Identifier: Apache-2.0 */
/* pvpanic on a bus, as Linux's driver and a hostile guest reach it. */
#include "devices/power/pvpanic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PORT = 0x505 };

struct rig {
	struct pvpanic p;
	struct bus pio;
	unsigned panics;
};

static void on_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	struct rig *r = ctx;

	assert_int_equal(reason, STOP_PANIC);
	assert_non_null(detail);
	r->panics++;
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	log_set_level(LOG_QUIET);
	bus_init(&r->pio, "pio");
	pvpanic_init(&r->p, &(struct stop_sink){on_stop, r});
	assert_int_equal(bus_add(&r->pio, PORT, PVPANIC_PORTS, &pvpanic_io_ops, &r->p, "pvpanic"),
			 0);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	bus_fini(&r->pio);
	free(r);
	return 0;
}

static void test_says_what_it_knows(void **state)
{
	struct rig *r = *state;
	uint64_t val = 0;

	assert_true(bus_read(&r->pio, PORT, 1, &val));
	assert_int_equal(val, 0x03);
	assert_int_equal(r->panics, 0);
}

static void test_a_panic_ends_the_run(void **state)
{
	struct rig *r = *state;

	bus_write(&r->pio, PORT, 1, PVPANIC_PANICKED);
	assert_int_equal(r->panics, 1);
}

/* The crash kernel is to run, so the machine must. */
static void test_a_loaded_crash_kernel_goes_on(void **state)
{
	struct rig *r = *state;

	bus_write(&r->pio, PORT, 1, PVPANIC_CRASH_LOADED);
	assert_int_equal(r->panics, 0);
}

static void test_hostile_every_value(void **state)
{
	struct rig *r = *state;
	uint64_t val;

	for (unsigned v = 0; v < 256; v++) {
		r->panics = 0;
		bus_write(&r->pio, PORT, 1, v);
		assert_int_equal(r->panics, v & PVPANIC_PANICKED);
		bus_read(&r->pio, PORT, 1, &val);
		assert_int_equal(val, 0x03);
	}
}

static void test_hostile_every_size(void **state)
{
	struct rig *r = *state;
	uint64_t val;

	/* Wider than the port: nobody answers. */
	for (unsigned size = 2; size <= 8; size *= 2) {
		assert_false(bus_read(&r->pio, PORT, size, &val));
		assert_false(bus_write(&r->pio, PORT, size, UINT64_MAX));
	}
	assert_int_equal(r->panics, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_says_what_it_knows),
		T(test_a_panic_ends_the_run),
		T(test_a_loaded_crash_kernel_goes_on),
		T(test_hostile_every_value),
		T(test_hostile_every_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
