/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio console from its driver's side: data both ways, flow control, size, control
 * messages, and what of it is saved. */
#include "tests/lib/console_rig.h"
#include "vmm/base/le.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- one port -------------------------------------------------------------------- */

static void test_what_it_offers(void **state)
{
	struct console_rig *f = *state;

	assert_int_equal(f->c.v.ops->device_id, 3);
	assert_int_equal(f->c.v.n_queues, 2);
	assert_int_equal(virtio_offered(&f->c.v, 0) & 7, 5); /* SIZE, EMERG_WRITE */
	assert_int_equal(virtio_config_read(&f->c.v, 4, 4), 1);
}

static void test_output(void **state)
{
	struct console_rig *f = *state;
	const struct vd_buf bufs[] = {{CONSOLE_RIG_DATA, 6, false},
				      {CONSOLE_RIG_DATA + 0x1001, 7, false}};

	console_rig_send(f, 1, "login: ", 7);
	assert_memory_equal(f->hosts[0].got, "login: ", 7);
	memcpy(console_rig_ram(f, CONSOLE_RIG_DATA), "hello,", 6);
	memcpy(console_rig_ram(f, CONSOLE_RIG_DATA + 0x1001), " world\n", 7);
	virtq_driver_offer(&f->q[1], bufs, 2);
	console_rig_kick(f, 1);
	assert_int_equal(f->hosts[0].n, 20);
	assert_memory_equal(f->hosts[0].got + 7, "hello, world\n", 13);
	assert_int_equal(fake_transport_irqs(&f->t, 1), 2);
}

static void test_input(void **state)
{
	struct console_rig *f = *state;

	console_rig_offer(f, 0, 3, 100);
	console_rig_expect_nothing(f, 0); /* no buffer comes back empty */
	console_rig_type(f, 0, "root\r");
	console_rig_expect_input(f, 0, 0, "root\r");
	console_rig_type(f, 0, "x");
	console_rig_expect_input(f, 0, 1, "x");
	console_rig_expect_nothing(f, 0);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 2);
}

/* Smaller buffers than what comes: it is cut up, in order. */
static void test_input_in_small_buffers(void **state)
{
	struct console_rig *f = *state;

	console_rig_offer(f, 0, 4, 4);
	console_rig_type(f, 0, "0123456789");
	console_rig_expect_input(f, 0, 0, "0123");
	console_rig_expect_input(f, 0, 1, "4567");
	console_rig_expect_input(f, 0, 2, "89");
	console_rig_expect_nothing(f, 0);
}

/* No buffers: what fits waits in the device, the rest outside, and nothing is lost. */
static void test_input_waits_for_buffers(void **state)
{
	struct console_rig *f = *state;
	static uint8_t much[3000];
	size_t sent, got = 0;

	for (size_t i = 0; i < sizeof(much); i++)
		much[i] = (uint8_t)(i * 7 + i / 256);
	sent = virtio_console_receive(&f->c.ports[0], much, sizeof(much));
	assert_int_equal(sent, VIRTIO_CONSOLE_FIFO);
	assert_int_equal(virtio_console_receive(&f->c.ports[0], much, 1), 0);
	loop_settle(f->loop);
	assert_int_equal(f->hosts[0].rooms, 0);
	for (unsigned i = 0; i < 40; i++) {
		unsigned rooms = f->hosts[0].rooms;
		uint32_t id, len;

		console_rig_offer(f, 0, 1, 100);
		if (f->hosts[0].rooms > rooms) /* again, as a backend does */
			sent += virtio_console_receive(&f->c.ports[0], much + sent,
						       sizeof(much) - sent);
		loop_settle(f->loop);
		if (!virtq_driver_take_used(&f->q[0], &id, &len))
			continue;
		assert_memory_equal(console_rig_ram(f, CONSOLE_RIG_DATA), much + got, len);
		got += len;
	}
	assert_int_equal(got, sizeof(much));
	assert_true(f->hosts[0].rooms >= 2);
}

/* Typed before there is a driver, and while it is reset: the next one gets it. */
static void test_input_before_the_driver(void **state)
{
	struct console_rig *f = *state;

	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	console_rig_type(f, 0, "early");
	console_rig_start(f, CONSOLE_RIG_BASIC);
	console_rig_offer(f, 0, 1, 100);
	console_rig_expect_input(f, 0, 0, "early");
}

static void test_size(void **state)
{
	struct console_rig *f = *state;
	unsigned irqs = fake_transport_config_irqs(&f->t);
	uint8_t generation = virtio_config_generation(&f->c.v);

	virtio_console_resize(&f->c, 0, 132, 43);
	assert_int_equal(virtio_config_read(&f->c.v, 0, 2), 132);
	assert_int_equal(virtio_config_read(&f->c.v, 2, 2), 43);
	assert_int_equal(fake_transport_config_irqs(&f->t), irqs + 1);
	assert_int_not_equal(virtio_config_generation(&f->c.v), generation);
	virtio_console_resize(&f->c, 0, 132, 43); /* nothing new */
	assert_int_equal(fake_transport_config_irqs(&f->t), irqs + 1);
	virtio_console_resize(&f->c, 0, 80, 43);
	assert_int_equal(virtio_config_read(&f->c.v, 0, 4), 43 << 16 | 80);
	assert_int_equal(fake_transport_config_irqs(&f->t), irqs + 2);
}

/* A driver looks at the size when it hears of a change, and not before. */
static void test_first_size(void **state)
{
	struct console_rig *f = *state;

	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	virtio_console_resize(&f->c, 0, 100, 40);
	unsigned irqs = fake_transport_config_irqs(&f->t);

	console_rig_start(f, CONSOLE_RIG_BASIC_SIZE);
	loop_settle(f->loop);
	assert_int_equal(fake_transport_config_irqs(&f->t), irqs + 1);
}

static void test_emergency_write(void **state)
{
	struct console_rig *f = *state;

	virtio_set_status(&f->c.v, 0); /* no driver at all */
	loop_settle(f->loop);
	virtio_config_write(&f->c.v, 8, 4, 'h');
	virtio_config_write(&f->c.v, 8, 1, 'i');
	assert_int_equal(f->hosts[0].n, 2);
	assert_memory_equal(f->hosts[0].got, "hi", 2);
	assert_int_equal(virtio_config_read(&f->c.v, 8, 4), 0);
	/* The rest is not to be written. */
	for (unsigned off = 0; off < 16; off++)
		for (unsigned size = 1; size <= 8; size *= 2)
			if (off != 8)
				virtio_config_write(&f->c.v, off, size, 0x5a);
	assert_int_equal(f->hosts[0].n, 2);
	assert_int_equal(virtio_config_read(&f->c.v, 4, 4), 1);
}

/* --- several ports ----------------------------------------------------------------- */

static void greet(struct console_rig *f)
{
	console_rig_offer(f, 2, 20, 64);
	console_rig_control(f, 0, CONSOLE_RIG_READY, 1);
	for (unsigned i = 0; i < CONSOLE_RIG_PORTS; i++)
		console_rig_expect_control(f, i, i, CONSOLE_RIG_ADD, 0, 0);
	console_rig_expect_nothing(f, 2);
}

static void test_ports_are_introduced(void **state)
{
	struct console_rig *f = *state;
	const uint8_t *more;

	assert_int_equal(f->c.v.n_queues, CONSOLE_RIG_QUEUES);
	assert_int_equal(virtio_config_read(&f->c.v, 4, 4), CONSOLE_RIG_PORTS);
	virtio_console_resize(&f->c, 0, 100, 30);
	greet(f);
	console_rig_control(f, 0, CONSOLE_RIG_PORT_READY, 1);
	console_rig_expect_control(f, 3, 0, CONSOLE_RIG_CONSOLE, 1, 0);
	console_rig_expect_control(f, 4, 0, CONSOLE_RIG_OPEN, 1, 0);
	more = console_rig_expect_control(f, 5, 0, CONSOLE_RIG_RESIZE, 0, 4);
	assert_int_equal(le16_get(more), 100); /* cols, rows [virtio 1.3 5.3.6.2] */
	assert_int_equal(le16_get(more + 2), 30);
	console_rig_control(f, 1, CONSOLE_RIG_PORT_READY, 1);
	more = console_rig_expect_control(f, 6, 1, CONSOLE_RIG_NAME, 1, 15);
	assert_memory_equal(more, "org.example.log", 15);
	console_rig_expect_control(f, 7, 1, CONSOLE_RIG_OPEN, 1, 0);
	console_rig_control(f, 2, CONSOLE_RIG_PORT_READY, 1);
	console_rig_expect_control(f, 8, 2, CONSOLE_RIG_NAME, 1, 32); /* no more than that */
	console_rig_expect_control(f, 9, 2, CONSOLE_RIG_OPEN, 1, 0);
	console_rig_expect_nothing(f, 2);
	virtio_console_resize(&f->c, 0, 90, 30);
	loop_settle(f->loop);
	more = console_rig_expect_control(f, 10, 0, CONSOLE_RIG_RESIZE, 0, 4);
	assert_int_equal(le16_get(more), 90);
}

/* Without buffers for control messages they wait, and none is lost. */
static void test_control_messages_wait_for_buffers(void **state)
{
	struct console_rig *f = *state;

	console_rig_control(f, 0, CONSOLE_RIG_READY, 1);
	console_rig_control(f, 0, CONSOLE_RIG_PORT_READY, 1);
	console_rig_expect_nothing(f, 2);
	console_rig_offer(f, 2, 2, 64);
	console_rig_expect_control(f, 0, 0, CONSOLE_RIG_ADD, 0, 0);
	console_rig_expect_control(f, 1, 0, CONSOLE_RIG_CONSOLE, 1, 0);
	console_rig_expect_nothing(f, 2);
	console_rig_offer(f, 2, 4, 64);
	console_rig_expect_control(f, 0, 0, CONSOLE_RIG_OPEN, 1, 0);
	console_rig_expect_control(f, 1, 1, CONSOLE_RIG_ADD, 0, 0);
	console_rig_expect_control(f, 2, 2, CONSOLE_RIG_ADD, 0, 0);
	console_rig_expect_nothing(f, 2);
}

/* A console is fed once its driver is ready, a plain port once it is open. */
static void test_flow_of_ports(void **state)
{
	struct console_rig *f = *state;

	greet(f);
	console_rig_offer(f, 0, 4, 100);
	console_rig_offer(f, 4, 4, 100);
	console_rig_type(f, 0, "a");
	console_rig_type(f, 1, "b");
	console_rig_expect_nothing(f, 0);
	console_rig_control(f, 0, CONSOLE_RIG_PORT_READY, 1);
	console_rig_expect_input(f, 0, 0, "a");
	console_rig_control(f, 1, CONSOLE_RIG_PORT_READY, 1);
	console_rig_expect_nothing(f, 4);
	console_rig_control(f, 1, CONSOLE_RIG_OPEN, 1);
	console_rig_expect_input(f, 4, 0, "b");
	console_rig_control(f, 1, CONSOLE_RIG_OPEN, 0);
	console_rig_type(f, 1, "c");
	console_rig_expect_nothing(f, 4);
	console_rig_control(f, 1, CONSOLE_RIG_OPEN, 1);
	console_rig_expect_input(f, 4, 1, "c");
	console_rig_send(f, 5, "to one", 6);
	console_rig_send(f, 7, "to two", 6);
	console_rig_send(f, 1, "to the console", 14);
	assert_memory_equal(f->hosts[1].got, "to one", 6);
	assert_memory_equal(f->hosts[2].got, "to two", 6);
	assert_memory_equal(f->hosts[0].got, "to the console", 14);
}

/* A driver that takes no MULTIPORT has the first port alone. */
static void test_a_driver_without_multiport(void **state)
{
	struct console_rig *f = *state;

	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	console_rig_start(f, CONSOLE_RIG_BASIC_SIZE);
	unsigned irqs = fake_transport_config_irqs(&f->t);

	virtio_console_resize(&f->c, 0, 70, 20);
	loop_settle(f->loop);
	assert_int_equal(fake_transport_config_irqs(&f->t), irqs + 1);
	console_rig_offer(f, 0, 1, 100);
	console_rig_type(f, 0, "x");
	console_rig_expect_input(f, 0, 0, "x");
	console_rig_send(f, 1, "y", 1);
	assert_int_equal(f->hosts[0].n, 1);
}

/* --- state --------------------------------------------------------------------------- */

static void save(struct console_rig *f, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "hvc", 1);
	f->c.v.ops->save(&f->c, w);
	state_section_end(w);
}

static int load(struct console_rig *f, const uint8_t *data, size_t len)
{
	struct state_reader r;
	struct err e = {0};

	state_reader_init(&r, data, len);
	if (state_section_open(&r, "hvc", &e) != 1)
		return -1;
	int ret = f->c.v.ops->load(&f->c, &r, &e);

	return ret ? ret : state_section_close(&r, &e);
}

static void test_save_load_save(void **state)
{
	struct console_rig *f = *state, *g = console_rig_build(CONSOLE_RIG_PORTS),
			   *h = console_rig_build(1);
	struct state_writer a, b;

	greet(f);
	console_rig_control(f, 0, CONSOLE_RIG_PORT_READY, 1);
	console_rig_control(f, 1, CONSOLE_RIG_PORT_READY, 1);
	console_rig_control(f, 1, CONSOLE_RIG_OPEN, 1);
	console_rig_type(f, 0, "typed ahead");
	virtio_console_resize(&f->c, 0, 77, 22);
	save(f, &a);
	assert_int_equal(load(g, a.data, a.len), 0);
	save(g, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(virtio_config_read(&g->c.v, 0, 2), 77);
	assert_int_equal(g->c.ports[0].n_fifo, 11);
	assert_true(g->c.ports[1].open);
	state_writer_fini(&b);
	/* Another number of ports is another device. */
	assert_true(load(h, a.data, a.len) < 0);
	for (size_t len = 0; len < a.len; len++)
		assert_true(load(g, a.data, len) < 0);
	/* Whatever is accepted is what is saved next. */
	for (size_t i = 0; i < a.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			uint8_t *copy = malloc(a.len);

			memcpy(copy, a.data, a.len);
			copy[i] ^= (uint8_t)(1u << bit);
			if (!load(g, copy, a.len)) {
				save(g, &b);
				assert_int_equal(b.len, a.len);
				assert_memory_equal(b.data, copy, a.len);
				state_writer_fini(&b);
			}
			free(copy);
		}
	state_writer_fini(&a);
	console_rig_destroy(g);
	console_rig_destroy(h);
}

int main(void)
{
#define ONE(f)  cmocka_unit_test_setup_teardown(f, console_rig_single, console_rig_teardown)
#define MANY(f) cmocka_unit_test_setup_teardown(f, console_rig_several, console_rig_teardown)
	const struct CMUnitTest tests[] = {
		ONE(test_what_it_offers),
		ONE(test_output),
		ONE(test_input),
		ONE(test_input_in_small_buffers),
		ONE(test_input_waits_for_buffers),
		ONE(test_input_before_the_driver),
		ONE(test_size),
		ONE(test_first_size),
		ONE(test_emergency_write),
		MANY(test_ports_are_introduced),
		MANY(test_control_messages_wait_for_buffers),
		MANY(test_flow_of_ports),
		MANY(test_a_driver_without_multiport),
		MANY(test_save_load_save),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
