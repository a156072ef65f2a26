/* SPDX-License-Identifier: Apache-2.0 */
/* The UART as a driver sees it: Linux's 8250 probe and interrupt handler are
 * retold here from the data sheet's side. */
#include "devices/serial/uart16550.h"

#include "tests/lib/fake_irq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct rig {
	struct uart16550 u;
	struct fake_irq irq;
	uint8_t sent[4096];
	size_t n_sent;
	unsigned rooms;
};

static void take_sent(void *ctx, const uint8_t *bytes, size_t len)
{
	struct rig *r = ctx;

	assert_true(r->n_sent + len <= sizeof(r->sent));
	memcpy(r->sent + r->n_sent, bytes, len);
	r->n_sent += len;
}

static void count_room(void *ctx)
{
	struct rig *r = ctx;

	r->rooms++;
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	fake_irq_init(&r->irq);
	struct irq_line line = fake_irq_line(&r->irq, 4);

	uart16550_init(&r->u, &line, &(struct char_out){take_sent, r},
		       &(struct char_room){count_room, r});
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	uart16550_device_ops.fini(&r->u);
	fake_irq_fini(&r->irq);
	free(r);
	return 0;
}

static uint8_t in(struct rig *r, unsigned port)
{
	return (uint8_t)uart16550_io_ops.read(&r->u, port, 1);
}

static void out(struct rig *r, unsigned port, uint8_t val)
{
	uart16550_io_ops.write(&r->u, port, 1, val);
}

static bool irq(struct rig *r)
{
	return fake_irq_level(&r->irq, 4);
}

static size_t receive(struct rig *r, const char *s)
{
	return uart16550_receive(&r->u, (const uint8_t *)s, strlen(s));
}

/* FIFO on at trigger level 8, receiver interrupts on. */
static void open_port(struct rig *r)
{
	out(r, 2, 0x87);
	out(r, 1, 0x05);
}

static void test_linux_autoconfig_finds_a_16550a(void **state)
{
	struct rig *r = *state;

	/* IER keeps four bits. */
	out(r, 1, 0);
	assert_int_equal(in(r, 1), 0);
	out(r, 1, 0xff);
	assert_int_equal(in(r, 1), 0x0f);
	out(r, 1, 0);
	/* Loopback turns RTS and OUT2 into CTS and DCD. */
	out(r, 4, 0x10 | 0x0a);
	assert_int_equal(in(r, 6) & 0xf0, 0x90);
	out(r, 4, 0);
	/* The FIFO bits of IIR say 16550A; bit 5 would say 16750. */
	out(r, 2, 0x01);
	assert_int_equal(in(r, 2) >> 6, 3);
	out(r, 2, 0x21);
	assert_int_equal(in(r, 2) >> 5, 6);
	/* No extended register set behind LCR 0xbf: offset 2 stays IIR. */
	out(r, 3, 0xbf);
	assert_int_not_equal(in(r, 2), 0);
	out(r, 3, 0);
	out(r, 2, 0);
	assert_int_equal(in(r, 2), 0x01);
	/* Scratch, and a status that is not the open bus. */
	out(r, 7, 0xa5);
	assert_int_equal(in(r, 7), 0xa5);
	assert_int_equal(in(r, 5), 0x60);
	assert_int_equal(in(r, 6) & 0xf0, 0xb0);
}

static void test_divisor_latch(void **state)
{
	struct rig *r = *state;

	out(r, 1, 0x05);
	out(r, 3, 0x83);
	out(r, 0, 0x01);
	out(r, 1, 0xc2);
	assert_int_equal(in(r, 0), 0x01);
	assert_int_equal(in(r, 1), 0xc2);
	out(r, 3, 0x03);
	assert_int_equal(in(r, 1), 0x05);
	assert_int_equal(r->n_sent, 0);
}

static void test_linux_thre_test_passes(void **state)
{
	struct rig *r = *state;

	for (int i = 0; i < 2; i++) {
		out(r, 1, 0x02);
		assert_int_equal(in(r, 2), 0x02);
		assert_int_equal(in(r, 2), 0x01); /* reading it clears it */
		out(r, 1, 0x00);
	}
}

static void test_each_sent_byte_interrupts_again(void **state)
{
	struct rig *r = *state;

	out(r, 1, 0x02);
	for (unsigned i = 0; i < 300; i++) {
		assert_true(irq(r));
		assert_int_equal(in(r, 2) & 0x0f, 0x02);
		assert_false(irq(r));
		out(r, 0, (uint8_t)i);
	}
	assert_int_equal(r->n_sent, 300);
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(r->sent[i], (uint8_t)i);
	/* An edge for every time: none is lost at an edge-triggered pin. */
	assert_int_equal(fake_irq_raised(&r->irq, 4), 301);
}

static void test_below_trigger_times_out_at_once(void **state)
{
	struct rig *r = *state;

	open_port(r);
	assert_int_equal(receive(r, "abc"), 3);
	assert_true(irq(r));
	assert_int_equal(in(r, 2), 0xcc);
	assert_int_equal(receive(r, "defgh"), 5);
	assert_int_equal(in(r, 2), 0xc4);
	for (char c = 'a'; c <= 'h'; c++) {
		assert_int_equal(in(r, 5) & 0x01, 0x01);
		assert_int_equal(in(r, 0), c);
	}
	assert_int_equal(in(r, 5) & 0x01, 0);
	assert_int_equal(in(r, 2), 0xc1);
	assert_false(irq(r));
}

static void test_without_fifo_one_byte_at_a_time(void **state)
{
	struct rig *r = *state;

	out(r, 1, 0x01);
	assert_int_equal(receive(r, "xy"), 1);
	assert_int_equal(in(r, 2), 0x04);
	assert_int_equal(r->rooms, 0);
	assert_int_equal(in(r, 0), 'x');
	assert_int_equal(r->rooms, 1);
	assert_int_equal(receive(r, "y"), 1);
	assert_int_equal(in(r, 0), 'y');
}

/* A guest that listens and whose FIFO is full: the break comes later, and is not lost. */
static void test_a_break_finds_no_room(void **state)
{
	struct rig *r = *state;

	assert_false(uart16550_receive_break(&r->u)); /* nobody listens */
	assert_int_equal(r->rooms, 0);
	out(r, 1, 0x01);
	assert_int_equal(r->rooms, 1);
	assert_int_equal(receive(r, "x"), 1);
	assert_false(uart16550_receive_break(&r->u));
	assert_int_equal(in(r, 0), 'x');
	assert_int_equal(r->rooms, 2);
	assert_true(uart16550_receive_break(&r->u));
	assert_int_equal(in(r, 5) & 0x11, 0x11); /* BI, DR */
}

static void test_causes_show_in_order_of_priority(void **state)
{
	struct rig *r = *state;

	out(r, 2, 0x01);
	out(r, 4, 0x12); /* loopback: RTS up... */
	out(r, 4, 0x10); /* ...and down: a modem change */
	out(r, 4, 0x00);
	out(r, 1, 0x0f);
	assert_true(uart16550_receive_break(&r->u));
	assert_int_equal(in(r, 2) & 0x0f, 0x06);
	assert_int_equal(in(r, 5) & 0x9e, 0x90); /* BI, and an error in the FIFO */
	assert_int_equal(in(r, 2) & 0x0f, 0x04);
	assert_int_equal(in(r, 0), 0);
	assert_int_equal(in(r, 2) & 0x0f, 0x02);
	assert_int_equal(in(r, 2) & 0x0f, 0x00);
	assert_int_equal(in(r, 6) & 0x01, 0x01);
	assert_int_equal(in(r, 6) & 0x0f, 0x00);
	assert_int_equal(in(r, 2) & 0x0f, 0x01);
	assert_false(irq(r));
}

static void test_loopback_overruns_after_sixteen(void **state)
{
	struct rig *r = *state;

	out(r, 2, 0x01);
	out(r, 4, 0x10);
	for (unsigned i = 0; i < 17; i++)
		out(r, 0, (uint8_t)(0x40 + i));
	assert_int_equal(in(r, 5) & 0x03, 0x03);
	assert_int_equal(in(r, 5) & 0x03, 0x01); /* OE is cleared by the read */
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(r, 0), 0x40 + i);
	assert_int_equal(in(r, 5) & 0x01, 0);
	assert_int_equal(r->n_sent, 0);
	/* Break in the loop. */
	out(r, 3, 0x43);
	assert_int_equal(in(r, 5) & 0x11, 0x11);
	assert_int_equal(in(r, 0), 0);
	/* RI shows its trailing edge only. */
	in(r, 6);
	out(r, 4, 0x14);
	assert_int_equal(in(r, 6) & 0x4f, 0x40);
	out(r, 4, 0x10);
	assert_int_equal(in(r, 6) & 0x4f, 0x04);
}

static void test_fifo_reset_drops_the_loop_but_not_the_host(void **state)
{
	struct rig *r = *state;

	open_port(r);
	assert_int_equal(receive(r, "keep"), 4);
	out(r, 4, 0x10);
	out(r, 0, '!');
	out(r, 4, 0x00);
	out(r, 2, 0x87);
	out(r, 2, 0x00);
	out(r, 2, 0x87);
	for (const char *p = "keep"; *p; p++)
		assert_int_equal(in(r, 0), *p);
	assert_int_equal(in(r, 5) & 0x01, 0);
}

static void test_input_waits_until_the_guest_listens(void **state)
{
	struct rig *r = *state;

	assert_int_equal(receive(r, "early"), 0);
	/* Output with polling is not listening, nor is a driver that starts up. */
	for (int i = 0; i < 1000; i++) {
		in(r, 5);
		out(r, 0, '.');
		r->n_sent = 0;
	}
	assert_int_equal(receive(r, "early"), 0);
	assert_int_equal(r->rooms, 0);
	open_port(r);
	assert_int_equal(r->rooms, 1);
	assert_int_equal(receive(r, "early"), 5);
	assert_true(irq(r));
}

static void test_a_guest_that_polls_gets_its_input(void **state)
{
	struct rig *r = *state;

	assert_int_equal(receive(r, "p"), 0);
	for (int i = 0; i < 1000 && !r->rooms; i++)
		assert_int_equal(in(r, 5) & 0x01, 0);
	assert_int_equal(r->rooms, 1);
	assert_int_equal(receive(r, "p"), 1);
	assert_int_equal(in(r, 5) & 0x01, 1);
	assert_int_equal(in(r, 0), 'p');
	assert_false(irq(r));
}

static void test_no_input_is_dropped_under_back_pressure(void **state)
{
	struct rig *r = *state;
	uint8_t input[10000];
	size_t given = 0, got = 0;

	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (uint8_t)(i * 7 + i / 256);
	open_port(r);
	while (got < sizeof(input)) {
		if (!given || r->rooms) {
			r->rooms = 0;
			size_t n = uart16550_receive(&r->u, input + given, sizeof(input) - given);

			assert_in_range(n, 1, UART16550_FIFO);
			given += n;
		}
		assert_true(irq(r));
		while ((in(r, 2) & 0x0f) != 0x01)
			while (in(r, 5) & 0x01) {
				assert_true(got < given);
				assert_int_equal(in(r, 0), input[got]);
				got++;
			}
		assert_int_equal(in(r, 5) & 0x02, 0);
	}
	assert_int_equal(given, sizeof(input));
}

static void test_wide_accesses_are_byte_cycles(void **state)
{
	struct rig *r = *state;

	uart16550_io_ops.write(&r->u, 6, 2, 0x5a00);
	assert_int_equal(in(r, 7), 0x5a);
	assert_int_equal(uart16550_io_ops.read(&r->u, 4, 4), 0x5ab06000);
}

static void test_hostile_every_offset_and_size(void **state)
{
	struct rig *r = *state;

	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off + size <= UART16550_PORTS; off++)
			for (unsigned val = 0; val < 256; val++) {
				uint64_t v = val * 0x0101010101010101ull;

				r->n_sent = 0;
				uart16550_io_ops.write(&r->u, off, size, v);
				uart16550_io_ops.read(&r->u, off, size);
				uart16550_receive(&r->u, (const uint8_t *)"zz", 2);
			}
	/* It still works. */
	out(r, 3, 0);
	out(r, 4, 0);
	r->n_sent = 0;
	out(r, 0, 'k');
	assert_int_equal(r->n_sent, 1);
	assert_int_equal(r->sent[0], 'k');
}

static void test_reset(void **state)
{
	struct rig *r = *state;

	open_port(r);
	receive(r, "gone");
	assert_true(irq(r));
	uart16550_device_ops.reset(&r->u);
	assert_false(irq(r));
	assert_int_equal(in(r, 1), 0);
	assert_int_equal(in(r, 5), 0x60);
}

static void busy_state(struct rig *r)
{
	out(r, 3, 0x83);
	out(r, 0, 0x0c);
	out(r, 1, 0x01);
	out(r, 3, 0x13);
	out(r, 4, 0x0b);
	out(r, 7, 0x77);
	open_port(r);
	out(r, 1, 0x07);
	receive(r, "saved");
	uart16550_receive_break(&r->u);
}

static void test_save_load_save(void **state)
{
	struct rig *r = *state, *s;
	struct state_writer a, b;
	struct state_reader reader;
	struct err e = {0};
	void *other;

	busy_state(r);
	set_up(&other);
	s = other;
	state_writer_init(&a);
	state_writer_init(&b);
	uart16550_device_ops.save(&r->u, &a);
	state_reader_init(&reader, a.data, a.len);
	assert_int_equal(uart16550_device_ops.load(&s->u, &reader, &e), 0);
	uart16550_device_ops.save(&s->u, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	/* The interrupt controller has its own state: no second edge. */
	assert_int_equal(fake_irq_raised(&s->irq, 4), 0);
	/* And it goes on where it was. */
	for (const char *p = "saved"; *p; p++)
		assert_int_equal(in(s, 0), *p);
	assert_int_equal(in(s, 5) & 0x10, 0x10);
	assert_int_equal(in(s, 7), 0x77);
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

	busy_state(r);
	state_writer_init(&w);
	uart16550_device_ops.save(&r->u, &w);
	for (size_t len = 0; len < w.len; len++) {
		state_reader_init(&reader, w.data, len);
		assert_true(uart16550_device_ops.load(&r->u, &reader, NULL) < 0);
	}
	copy = malloc(w.len);
	for (size_t i = 0; i < w.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(copy, w.data, w.len);
			copy[i] ^= (uint8_t)(1u << bit);
			state_reader_init(&reader, copy, w.len);
			if (uart16550_device_ops.load(&r->u, &reader, NULL))
				continue;
			for (unsigned port = 0; port < UART16550_PORTS; port++)
				in(r, port);
			receive(r, "0123456789abcdef0123456789");
		}
	free(copy);
	state_writer_fini(&w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_linux_autoconfig_finds_a_16550a),
		T(test_divisor_latch),
		T(test_linux_thre_test_passes),
		T(test_each_sent_byte_interrupts_again),
		T(test_below_trigger_times_out_at_once),
		T(test_without_fifo_one_byte_at_a_time),
		T(test_a_break_finds_no_room),
		T(test_causes_show_in_order_of_priority),
		T(test_loopback_overruns_after_sixteen),
		T(test_fifo_reset_drops_the_loop_but_not_the_host),
		T(test_input_waits_until_the_guest_listens),
		T(test_a_guest_that_polls_gets_its_input),
		T(test_no_input_is_dropped_under_back_pressure),
		T(test_wide_accesses_are_byte_cycles),
		T(test_hostile_every_offset_and_size),
		T(test_reset),
		T(test_save_load_save),
		T(test_hostile_state_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
