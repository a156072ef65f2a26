/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O APIC as a guest programs it, against messages spelled out by hand. */
#include "devices/irq/ioapic.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LOG = 64 };

struct rig {
	struct ioapic a;
	unsigned n_sent, n_told;
	struct msi_msg sent[LOG];
	struct {
		unsigned pin;
		bool armed, level;
		struct msi_msg msg;
	} told[LOG];
	int refuse;
};

static int on_send(void *ctx, const struct msi_msg *msg)
{
	struct rig *r = ctx;

	r->sent[r->n_sent++ % LOG] = *msg;
	return r->refuse;
}

static int on_pin_set(void *ctx, unsigned pin, const struct msi_msg *msg, bool level)
{
	struct rig *r = ctx;
	unsigned i = r->n_told++ % LOG;

	r->told[i].pin = pin;
	r->told[i].armed = msg;
	r->told[i].level = level;
	if (msg)
		r->told[i].msg = *msg;
	return r->refuse;
}

static const struct msi_ops ops = {.send = on_send, .pin_set = on_pin_set};

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	ioapic_init(&r->a, &(struct msi){&ops, r}, 3, 24);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	ioapic_device_ops.fini(&r->a);
	free(r);
	return 0;
}

static uint32_t get(struct rig *r, uint32_t reg)
{
	ioapic_io_ops.write(&r->a, 0x00, 4, reg);
	return (uint32_t)ioapic_io_ops.read(&r->a, 0x10, 4);
}

static void set(struct rig *r, uint32_t reg, uint32_t val)
{
	ioapic_io_ops.write(&r->a, 0x00, 4, reg);
	ioapic_io_ops.write(&r->a, 0x10, 4, val);
}

/* High half first, as Linux does. */
static void set_rte(struct rig *r, unsigned pin, uint64_t rte)
{
	set(r, 0x11 + 2 * pin, (uint32_t)(rte >> 32));
	set(r, 0x10 + 2 * pin, (uint32_t)rte);
}

static uint64_t get_rte(struct rig *r, unsigned pin)
{
	return (uint64_t)get(r, 0x11 + 2 * pin) << 32 | get(r, 0x10 + 2 * pin);
}

static void assert_sent(struct rig *r, unsigned n, uint64_t addr, uint32_t data)
{
	assert_int_equal(r->n_sent, n);
	assert_int_equal(r->sent[(n - 1) % LOG].addr, addr);
	assert_int_equal(r->sent[(n - 1) % LOG].data, data);
}

#define MASKED 0x10000ull
#define LEVEL  0x8000ull
#define RIRR   0x4000ull

static void test_registers_after_power_on(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, 0), 3u << 24);
	assert_int_equal(get(r, 1), 0x00170020);
	assert_int_equal(get(r, 2), 3u << 24);
	for (unsigned pin = 0; pin < 24; pin++)
		assert_int_equal(get_rte(r, pin), MASKED);
	set(r, 0, 0xffffffff);
	assert_int_equal(get(r, 0), 0x0f000000);
	set(r, 1, 0);
	assert_int_equal(get(r, 1), 0x00170020);
	assert_int_equal(ioapic_io_ops.read(&r->a, 0, 4), 1);
}

static void test_read_only_bits_of_an_rte(void **state)
{
	struct rig *r = *state;

	set_rte(r, 7, ~0ull);
	assert_int_equal(get_rte(r, 7), 0xff0000000001afff);
	assert_int_equal(r->n_sent, 0);
}

static void test_edge(void **state)
{
	struct rig *r = *state;

	set_rte(r, 4, 0x0200000000000031); /* physical, APIC 2, fixed */
	ioapic_set(&r->a, 4, true);
	assert_sent(r, 1, 0xfee02000, 0x31);
	ioapic_set(&r->a, 4, true); /* no edge */
	ioapic_set(&r->a, 4, false);
	assert_int_equal(r->n_sent, 1);
	ioapic_set(&r->a, 4, true);
	assert_int_equal(r->n_sent, 2);
	assert_int_equal(get_rte(r, 4) & RIRR, 0);
	ioapic_eoi(&r->a, 0x31);
	assert_int_equal(r->n_sent, 2);
}

static void test_message_formats(void **state)
{
	struct rig *r = *state;

	set_rte(r, 0, 0xff00000000000941); /* logical, all, lowest priority */
	ioapic_set(&r->a, 0, true);
	assert_sent(r, 1, 0xfee00000 | 0xff << 12 | 1 << 3 | 1 << 2, 0x141);
	set_rte(r, 1, 0x0000000000000400); /* NMI */
	ioapic_set(&r->a, 1, true);
	assert_sent(r, 2, 0xfee00000, 0x400);
	set_rte(r, 2, 0x010000000000a042); /* level, active low */
	ioapic_set(&r->a, 2, true);
	assert_sent(r, 3, 0xfee01000, 0xc042);
}

static void test_level_repeats_until_the_line_is_down(void **state)
{
	struct rig *r = *state;

	set_rte(r, 9, LEVEL | 0x51);
	ioapic_set(&r->a, 9, true);
	assert_sent(r, 1, 0xfee00000, 0xc051);
	assert_int_equal(get_rte(r, 9), LEVEL | RIRR | 0x51);
	ioapic_set(&r->a, 9, false);
	ioapic_set(&r->a, 9, true); /* in service: not again */
	assert_int_equal(r->n_sent, 1);
	ioapic_eoi(&r->a, 0x52);
	assert_int_equal(r->n_sent, 1);
	ioapic_eoi(&r->a, 0x51);
	assert_int_equal(r->n_sent, 2);
	ioapic_set(&r->a, 9, false);
	ioapic_eoi(&r->a, 0x51);
	assert_int_equal(r->n_sent, 2);
	assert_int_equal(get_rte(r, 9) & RIRR, 0);
}

static void test_eoi_register(void **state)
{
	struct rig *r = *state;

	set_rte(r, 9, LEVEL | 0x51);
	ioapic_set(&r->a, 9, true);
	ioapic_io_ops.write(&r->a, 0x40, 4, 0x51);
	assert_int_equal(r->n_sent, 2);
}

static void test_masked_edge_is_kept_once(void **state)
{
	struct rig *r = *state;

	set_rte(r, 5, MASKED | 0x61);
	for (int i = 0; i < 3; i++) {
		ioapic_set(&r->a, 5, true);
		ioapic_set(&r->a, 5, false);
	}
	assert_int_equal(r->n_sent, 0);
	set(r, 0x10 + 2 * 5, 0x61);
	assert_sent(r, 1, 0xfee00000, 0x61);
	set(r, 0x10 + 2 * 5, MASKED | 0x61);
	set(r, 0x10 + 2 * 5, 0x61);
	assert_int_equal(r->n_sent, 1);
}

static void test_oneshot_handler_masks_in_service(void **state)
{
	struct rig *r = *state;
	unsigned told;

	set_rte(r, 10, LEVEL | 0x71);
	told = r->n_told;
	for (int i = 0; i < 100; i++) {
		ioapic_set(&r->a, 10, true);
		set(r, 0x10 + 2 * 10, MASKED | LEVEL | 0x71);
		ioapic_eoi(&r->a, 0x71);
		ioapic_set(&r->a, 10, false);
		set(r, 0x10 + 2 * 10, LEVEL | 0x71);
	}
	assert_int_equal(r->n_sent, 100);
	/* No news for the hypervisor in all that. */
	assert_int_equal(r->n_told, told);
	/* Still up on unmask: again. */
	ioapic_set(&r->a, 10, true);
	set(r, 0x10 + 2 * 10, MASKED | LEVEL | 0x71);
	ioapic_eoi(&r->a, 0x71);
	assert_int_equal(r->n_sent, 101);
	set(r, 0x10 + 2 * 10, LEVEL | 0x71);
	assert_int_equal(r->n_sent, 102);
}

static void test_edge_mode_clears_a_stuck_remote_irr(void **state)
{
	struct rig *r = *state;

	set_rte(r, 11, LEVEL | 0x81);
	ioapic_set(&r->a, 11, true);
	ioapic_set(&r->a, 11, false);
	set_rte(r, 11, MASKED | 0x81);
	set_rte(r, 11, LEVEL | 0x81);
	assert_int_equal(get_rte(r, 11) & RIRR, 0);
	ioapic_set(&r->a, 11, true);
	assert_int_equal(r->n_sent, 2);
}

static void test_routes_are_told(void **state)
{
	struct rig *r = *state;

	set(r, 0x11 + 2 * 3, 0x01000000); /* still masked: nothing to tell */
	assert_int_equal(r->n_told, 0);
	set(r, 0x10 + 2 * 3, LEVEL | 0x91);
	assert_int_equal(r->n_told, 1);
	assert_int_equal(r->told[0].pin, 3);
	assert_true(r->told[0].armed && r->told[0].level);
	assert_int_equal(r->told[0].msg.addr, 0xfee01000);
	assert_int_equal(r->told[0].msg.data, 0xc091);
	set(r, 0x11 + 2 * 3, 0x02000000);
	assert_int_equal(r->n_told, 2);
	assert_int_equal(r->told[1].msg.addr, 0xfee02000);
	set(r, 0x10 + 2 * 3, MASKED | 0x91); /* edge and masked */
	assert_int_equal(r->n_told, 3);
	assert_false(r->told[2].armed);
	set(r, 0x10 + 2 * 3, 0x91);
	ioapic_device_ops.reset(&r->a);
	assert_int_equal(r->n_told, 5);
	assert_false(r->told[4].armed);
	assert_int_equal(get_rte(r, 3), MASKED);
}

static void test_route_is_told_before_the_message(void **state)
{
	struct rig *r = *state;

	set_rte(r, 6, LEVEL | MASKED | 0x99);
	ioapic_set(&r->a, 6, true);
	r->refuse = -ENOSPC; /* a host that refuses both is survived */
	set(r, 0x10 + 2 * 6, LEVEL | 0x99);
	assert_int_equal(r->n_told, 1);
	assert_int_equal(r->n_sent, 1);
}

static void test_hostile_every_offset_and_size(void **state)
{
	struct rig *r = *state;

	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off + size <= IOAPIC_MMIO_LEN; off++)
			for (unsigned reg = 0; reg < 256; reg += off % 16 ? 255 : 1) {
				ioapic_io_ops.write(&r->a, 0, 4, reg);
				ioapic_io_ops.write(&r->a, off, size, 0xfffefefefefefe00 | reg);
				ioapic_io_ops.read(&r->a, off, size);
			}
	ioapic_set(&r->a, 24, true);
	ioapic_set(&r->a, UINT32_MAX, true);
	for (unsigned v = 0; v < 256; v++)
		ioapic_eoi(&r->a, (uint8_t)v);
	assert_int_equal(get(r, 1), 0x00170020);
	assert_int_equal(get(r, 0x40), 0xffffffff);
}

/* Later chips have more pins than the data sheet's 24. */
static void test_sixty_four_pins(void **state)
{
	struct rig *r = *state;
	struct state_writer w;
	struct state_reader reader;
	struct ioapic few;

	ioapic_init(&few, &r->a.msi, 3, 24);
	ioapic_init(&r->a, &few.msi, 3, 64);
	assert_int_equal(get(r, 1), 0x003f0020);
	set_rte(r, 63, 0x61);
	set_rte(r, 31, LEVEL | 0x71);
	ioapic_set(&r->a, 63, true);
	assert_sent(r, 1, 0xfee00000, 0x61);
	ioapic_set(&r->a, 31, true);
	assert_sent(r, 2, 0xfee00000, 0xc071);
	ioapic_set(&r->a, 64, true); /* nobody's */
	ioapic_set(&r->a, 31, false);
	ioapic_eoi(&r->a, 0x71);
	assert_int_equal(r->n_sent, 2);
	assert_int_equal(r->a.lines, 1ull << 63);

	/* State of another chip is refused. */
	state_writer_init(&w);
	ioapic_device_ops.save(&r->a, &w);
	state_reader_init(&reader, w.data, w.len);
	assert_int_equal(ioapic_device_ops.load(&r->a, &reader, NULL), 0);
	state_reader_init(&reader, w.data, w.len);
	assert_true(ioapic_device_ops.load(&few, &reader, NULL) < 0);
	state_writer_fini(&w);
	ioapic_device_ops.fini(&few);
}

static void test_save_load_save(void **state)
{
	struct rig *r = *state, *s;
	struct state_writer a, b;
	struct state_reader reader;
	void *other;

	set_rte(r, 4, 0x0100000000000031);
	set_rte(r, 9, LEVEL | 0x51);
	ioapic_set(&r->a, 9, true);
	set(r, 0x10 + 2 * 9, MASKED | LEVEL | 0x51);
	ioapic_set(&r->a, 5, true); /* an edge that waits */
	set_up(&other);
	s = other;
	state_writer_init(&a);
	state_writer_init(&b);
	ioapic_device_ops.save(&r->a, &a);
	state_reader_init(&reader, a.data, a.len);
	assert_int_equal(ioapic_device_ops.load(&s->a, &reader, NULL), 0);
	ioapic_device_ops.save(&s->a, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	/* The new machine's hypervisor hears of the routes: pin 4's, and pin 9's,
	 * which is masked but in service. Nothing is sent before resume. */
	assert_int_equal(s->n_told, 2);
	assert_int_equal(s->told[0].pin, 4);
	assert_int_equal(s->told[1].pin, 9);
	assert_true(s->told[1].armed && s->told[1].level);
	ioapic_device_ops.resume(&s->a);
	assert_int_equal(s->n_sent, 0);
	ioapic_eoi(&s->a, 0x51);
	set(s, 0x10 + 2 * 9, LEVEL | 0x51);
	assert_sent(s, 1, 0xfee00000, 0xc051);
	set(s, 0x10 + 2 * 5, 0x61);
	assert_sent(s, 2, 0xfee00000, 0x61);
	state_writer_fini(&a);
	state_writer_fini(&b);
	tear_down(&other);
}

static void test_hostile_state_bytes(void **state)
{
	struct rig *r = *state;
	struct state_writer w;
	struct state_reader reader;
	uint8_t *copy;

	set_rte(r, 9, LEVEL | 0x51);
	ioapic_set(&r->a, 9, true);
	state_writer_init(&w);
	ioapic_device_ops.save(&r->a, &w);
	for (size_t len = 0; len < w.len; len++) {
		state_reader_init(&reader, w.data, len);
		assert_true(ioapic_device_ops.load(&r->a, &reader, NULL) < 0);
	}
	copy = malloc(w.len);
	for (size_t i = 0; i < w.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(copy, w.data, w.len);
			copy[i] ^= (uint8_t)(1u << bit);
			state_reader_init(&reader, copy, w.len);
			if (ioapic_device_ops.load(&r->a, &reader, NULL))
				continue;
			ioapic_device_ops.resume(&r->a);
			ioapic_eoi(&r->a, 0x51);
			for (unsigned reg = 0; reg < 0x40; reg++)
				get(r, reg);
		}
	free(copy);
	state_writer_fini(&w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_registers_after_power_on),
		T(test_read_only_bits_of_an_rte),
		T(test_edge),
		T(test_message_formats),
		T(test_level_repeats_until_the_line_is_down),
		T(test_eoi_register),
		T(test_masked_edge_is_kept_once),
		T(test_oneshot_handler_masks_in_service),
		T(test_edge_mode_clears_a_stuck_remote_irr),
		T(test_routes_are_told),
		T(test_route_is_told_before_the_message),
		T(test_hostile_every_offset_and_size),
		T(test_sixty_four_pins),
		T(test_save_load_save),
		T(test_hostile_state_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
