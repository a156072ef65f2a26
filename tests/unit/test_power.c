/* SPDX-License-Identifier: Apache-2.0 */
/* Power-off, reset and the power button, as ACPI code and Linux reach them. */
#include "devices/power/power.h"

#include "tests/lib/fake_irq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct rig {
	struct power p;
	struct fake_irq irq;
	unsigned stops;
	enum stop_reason reason;
};

static void on_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	struct rig *r = ctx;

	r->stops++;
	r->reason = reason;
	assert_true(reason == STOP_POWEROFF || detail);
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	fake_irq_init(&r->irq);
	struct irq_line line = fake_irq_line(&r->irq, 5);

	power_init(&r->p, &line, &(struct stop_sink){on_stop, r});
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	power_device_ops.fini(&r->p);
	fake_irq_fini(&r->irq);
	free(r);
	return 0;
}

static uint8_t acpi_in(struct rig *r, unsigned off)
{
	return (uint8_t)power_acpi_io_ops.read(&r->p, off, 1);
}

static void acpi_out(struct rig *r, unsigned off, uint8_t val)
{
	power_acpi_io_ops.write(&r->p, off, 1, val);
}

static void reset_out(struct rig *r, uint8_t val)
{
	power_reset_io_ops.write(&r->p, 0, 1, val);
}

static void test_s5_powers_off(void **state)
{
	struct rig *r = *state;

	acpi_out(r, 1, 0x80); /* Linux clears WAK_STS first */
	assert_int_equal(acpi_in(r, 1), 0);
	acpi_out(r, 0, 5 << 2); /* the type alone does nothing */
	assert_int_equal(r->stops, 0);
	acpi_out(r, 0, 5 << 2 | 0x20);
	assert_int_equal(r->stops, 1);
	assert_int_equal(r->reason, STOP_POWEROFF);
	assert_int_equal(acpi_in(r, 0), 5 << 2); /* SLP_EN reads 0 */
}

static void test_other_sleep_types_do_nothing(void **state)
{
	struct rig *r = *state;

	for (unsigned v = 0; v < 256; v++)
		if ((v & 0x3c) != (5 << 2 | 0x20))
			acpi_out(r, 0, (uint8_t)v);
	assert_int_equal(r->stops, 0);
}

static void test_acpi_reset(void **state)
{
	struct rig *r = *state;

	reset_out(r, POWER_RESET_VALUE);
	assert_int_equal(r->stops, 1);
	assert_int_equal(r->reason, STOP_RESET);
}

static void test_reboot_p_in_two_steps(void **state)
{
	struct rig *r = *state;

	for (unsigned code = 0x06; code <= 0x0e; code += 8) {
		r->stops = 0;
		uint8_t cf9 = (uint8_t)power_reset_io_ops.read(&r->p, 0, 1) & (uint8_t)~code;

		reset_out(r, cf9 | 2);
		assert_int_equal(r->stops, 0);
		assert_int_equal(power_reset_io_ops.read(&r->p, 0, 1), 2);
		reset_out(r, cf9 | (uint8_t)code);
		assert_int_equal(r->stops, 1);
		assert_int_equal(r->reason, STOP_RESET);
		power_device_ops.reset(&r->p);
	}
}

static void test_power_button(void **state)
{
	struct rig *r = *state;

	assert_int_equal(acpi_in(r, 2), 0);
	power_button_press(&r->p);
	assert_int_equal(fake_irq_raised(&r->irq, 5), 1);
	assert_false(fake_irq_level(&r->irq, 5));
	acpi_out(r, 2, 0); /* read-only */
	assert_int_equal(acpi_in(r, 2), POWER_EVENT_BUTTON);
	assert_int_equal(acpi_in(r, 2), 0);
	/* Pressed twice before anybody looks: one event, two edges. */
	power_button_press(&r->p);
	power_button_press(&r->p);
	assert_int_equal(fake_irq_raised(&r->irq, 5), 3);
	assert_int_equal(acpi_in(r, 2), POWER_EVENT_BUTTON);
	assert_int_equal(acpi_in(r, 2), 0);
	assert_int_equal(r->stops, 0);
}

static void test_hostile_every_offset_and_size(void **state)
{
	struct rig *r = *state;

	for (unsigned size = 1; size <= 2; size *= 2)
		for (unsigned off = 0; off + size <= POWER_ACPI_PORTS; off++)
			for (unsigned v = 0; v < 65536; v += 255) {
				power_acpi_io_ops.write(&r->p, off, size, v);
				power_acpi_io_ops.read(&r->p, off, size);
			}
	for (unsigned v = 0; v < 256; v++)
		reset_out(r, (uint8_t)v);
	assert_int_equal(power_reset_io_ops.read(&r->p, 0, 1) & ~0x0e, 0);
}

/* Both events share the byte and the line, and neither takes the other along. */
static void test_hotplug_event(void **state)
{
	struct rig *r = *state;

	power_hotplug_event(&r->p);
	assert_int_equal(acpi_in(r, 2), POWER_EVENT_HOTPLUG);
	assert_int_equal(acpi_in(r, 2), 0);
	power_button_press(&r->p);
	power_hotplug_event(&r->p);
	power_vmgenid_event(&r->p);
	assert_int_equal(acpi_in(r, 2),
			 POWER_EVENT_BUTTON | POWER_EVENT_HOTPLUG | POWER_EVENT_VMGENID);
}

static void test_save_load_save(void **state)
{
	struct rig *r = *state, *s;
	struct state_writer a, b;
	struct state_reader reader;
	void *other;

	acpi_out(r, 0, 3 << 2);
	reset_out(r, 0x02);
	power_button_press(&r->p);
	set_up(&other);
	s = other;
	state_writer_init(&a);
	state_writer_init(&b);
	power_device_ops.save(&r->p, &a);
	state_reader_init(&reader, a.data, a.len);
	assert_int_equal(power_device_ops.load(&s->p, &reader, NULL), 0);
	power_device_ops.save(&s->p, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(acpi_in(s, 0), 3 << 2);
	assert_int_equal(acpi_in(s, 2), POWER_EVENT_BUTTON);
	for (size_t len = 0; len < a.len; len++) {
		state_reader_init(&reader, a.data, len);
		assert_true(power_device_ops.load(&s->p, &reader, NULL) < 0);
	}
	for (size_t i = 0; i < a.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(b.data, a.data, a.len);
			b.data[i] ^= (uint8_t)(1u << bit);
			state_reader_init(&reader, b.data, a.len);
			if (!power_device_ops.load(&s->p, &reader, NULL))
				assert_int_equal(
					acpi_in(s, 2) & ~(POWER_EVENT_BUTTON | POWER_EVENT_HOTPLUG |
							  POWER_EVENT_VMGENID | POWER_EVENT_CPUS),
					0);
		}
	assert_int_equal(s->stops, 0);
	state_writer_fini(&a);
	state_writer_fini(&b);
	tear_down(&other);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_s5_powers_off),  T(test_other_sleep_types_do_nothing),
		T(test_acpi_reset),     T(test_reboot_p_in_two_steps),
		T(test_power_button),   T(test_hostile_every_offset_and_size),
		T(test_save_load_save), T(test_hotplug_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
