/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio console from its driver's side: data both ways, flow control, size, control
 * messages, and drivers that break the rules. */
#include "devices/virtio/console.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RINGS 0x10000ull
#define DATA  0x100000ull
#define BASIC VIRTIO_F_VERSION_1
#define SIZE_ (BASIC | VIRTIO_CONSOLE_F_SIZE)
#define MULTI (SIZE_ | VIRTIO_CONSOLE_F_MULTIPORT)

enum { SIZE = 64, LIVE = 15, NEEDS_RESET = 64, PORTS = 3, QUEUES = 2 * PORTS + 2 };
enum { READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME };

/* The host's end of a port. */
struct host {
	uint8_t got[3 << 20];
	size_t n;
	unsigned rooms;
};

struct fixture {
	struct guest_mem gm;
	struct loop *loop;
	struct virtio_console c;
	struct fake_transport t;
	struct virtq_driver q[QUEUES];
	struct host hosts[PORTS];
	unsigned n_ports;
};

static void take(void *ctx, const uint8_t *bytes, size_t len)
{
	struct host *h = ctx;

	assert_true(h->n + len <= sizeof(h->got));
	memcpy(h->got + h->n, bytes, len);
	h->n += len;
}

static void room(void *ctx)
{
	struct host *h = ctx;

	h->rooms++;
}

static struct fixture *build(unsigned n_ports)
{
	static const char *const names[PORTS] = {NULL, "org.example.log",
						 "a name that is longer "
						 "than thirty-two bytes"};
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_console_wire wires[PORTS];

	log_set_level(LOG_QUIET);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, 4 * MiB, -1, 0, NULL), 0);
	f->loop = loop_create();
	f->n_ports = n_ports;
	for (unsigned i = 0; i < n_ports; i++)
		wires[i] = (struct virtio_console_wire){
			names[i], i == 0, {take, &f->hosts[i]}, {room, &f->hosts[i]}};
	assert_int_equal(virtio_console_init(&f->c, "hvc", wires, n_ports, &f->gm, f->loop), 0);
	fake_transport_init(&f->t, &f->c.v);
	return f;
}

static void start(struct fixture *f, uint64_t features)
{
	unsigned n = features & VIRTIO_CONSOLE_F_MULTIPORT ? QUEUES : 2;

	for (unsigned i = 0; i < n; i++)
		virtq_driver_init(&f->q[i], &f->gm, RINGS + i * 0x4000, SIZE);
	virtio_driver_start(&f->c.v, features, f->q, n);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->c.v), LIVE);
}

static int single(void **state)
{
	*state = build(1);
	start(*state, SIZE_);
	return 0;
}

static int several(void **state)
{
	*state = build(PORTS);
	start(*state, MULTI);
	return 0;
}

static void destroy(struct fixture *f)
{
	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->c.v), 0);
	virtio_console_fini(&f->c);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	free(f);
}

static int teardown(void **state)
{
	destroy(*state);
	return 0;
}

static uint8_t *ram(struct fixture *f, uint64_t gpa)
{
	return guest_mem_hva(&f->gm, gpa, 1);
}

static void kick(struct fixture *f, unsigned queue)
{
	virtio_kick(&f->c.v, queue);
	loop_settle(f->loop);
}

/* The guest offers `n` buffers of `len` bytes for input. */
static void offer(struct fixture *f, unsigned queue, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++) {
		const struct vd_buf b = {DATA + queue * 0x20000ull + i * 0x1000ull, len, true};

		virtq_driver_offer(&f->q[queue], &b, 1);
	}
	kick(f, queue);
}

/* The guest sends. */
static void send(struct fixture *f, unsigned queue, const void *bytes, size_t len)
{
	const struct vd_buf b = {DATA + queue * 0x20000ull, (uint32_t)len, false};
	uint32_t id, used;

	memcpy(ram(f, b.gpa), bytes, len);
	virtq_driver_offer(&f->q[queue], &b, 1);
	kick(f, queue);
	assert_true(virtq_driver_take_used(&f->q[queue], &id, &used));
	assert_int_equal(used, 0);
}

static void type(struct fixture *f, unsigned port, const char *text)
{
	assert_int_equal(
		virtio_console_receive(&f->c.ports[port], (const uint8_t *)text, strlen(text)),
		strlen(text));
	loop_settle(f->loop);
}

/* The next input buffer that came back, which is the i-th that was offered. */
static void expect_input(struct fixture *f, unsigned queue, unsigned i, const char *text)
{
	uint32_t id, len;

	assert_true(virtq_driver_take_used(&f->q[queue], &id, &len));
	assert_int_equal(len, strlen(text));
	assert_memory_equal(ram(f, DATA + queue * 0x20000ull + i * 0x1000ull), text, len);
}

static void expect_nothing(struct fixture *f, unsigned queue)
{
	uint32_t id, len;

	assert_false(virtq_driver_take_used(&f->q[queue], &id, &len));
}

static void control(struct fixture *f, uint32_t port, uint16_t event, uint16_t value)
{
	uint8_t m[8];

	le32_put(m, port);
	le16_put(m + 4, event);
	le16_put(m + 6, value);
	send(f, 3, m, sizeof(m));
}

/* The device's next control message, in the i-th buffer. */
static const uint8_t *expect_control(struct fixture *f, unsigned i, uint32_t port, uint16_t event,
				     uint16_t value, uint32_t more)
{
	const uint8_t *m = ram(f, DATA + 2 * 0x20000ull + i * 0x1000ull);
	uint32_t id, len;

	assert_true(virtq_driver_take_used(&f->q[2], &id, &len));
	assert_int_equal(len, 8 + more);
	assert_int_equal(le32_get(m), port);
	assert_int_equal(le16_get(m + 4), event);
	assert_int_equal(le16_get(m + 6), value);
	return m + 8;
}

/* --- one port -------------------------------------------------------------------- */

static void test_what_it_offers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->c.v.ops->device_id, 3);
	assert_int_equal(f->c.v.n_queues, 2);
	assert_int_equal(virtio_offered(&f->c.v, 0) & 7, 5); /* SIZE, EMERG_WRITE */
	assert_int_equal(virtio_config_read(&f->c.v, 4, 4), 1);
}

static void test_output(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{DATA, 6, false}, {DATA + 0x1001, 7, false}};

	send(f, 1, "login: ", 7);
	assert_memory_equal(f->hosts[0].got, "login: ", 7);
	memcpy(ram(f, DATA), "hello,", 6);
	memcpy(ram(f, DATA + 0x1001), " world\n", 7);
	virtq_driver_offer(&f->q[1], bufs, 2);
	kick(f, 1);
	assert_int_equal(f->hosts[0].n, 20);
	assert_memory_equal(f->hosts[0].got + 7, "hello, world\n", 13);
	assert_int_equal(fake_transport_irqs(&f->t, 1), 2);
}

static void test_input(void **state)
{
	struct fixture *f = *state;

	offer(f, 0, 3, 100);
	expect_nothing(f, 0); /* no buffer comes back empty */
	type(f, 0, "root\r");
	expect_input(f, 0, 0, "root\r");
	type(f, 0, "x");
	expect_input(f, 0, 1, "x");
	expect_nothing(f, 0);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 2);
}

/* Smaller buffers than what comes: it is cut up, in order. */
static void test_input_in_small_buffers(void **state)
{
	struct fixture *f = *state;

	offer(f, 0, 4, 4);
	type(f, 0, "0123456789");
	expect_input(f, 0, 0, "0123");
	expect_input(f, 0, 1, "4567");
	expect_input(f, 0, 2, "89");
	expect_nothing(f, 0);
}

/* No buffers: what fits waits in the device, the rest outside, and nothing is lost. */
static void test_input_waits_for_buffers(void **state)
{
	struct fixture *f = *state;
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

		offer(f, 0, 1, 100);
		if (f->hosts[0].rooms > rooms) /* again, as a backend does */
			sent += virtio_console_receive(&f->c.ports[0], much + sent,
						       sizeof(much) - sent);
		loop_settle(f->loop);
		if (!virtq_driver_take_used(&f->q[0], &id, &len))
			continue;
		assert_memory_equal(ram(f, DATA), much + got, len);
		got += len;
	}
	assert_int_equal(got, sizeof(much));
	assert_true(f->hosts[0].rooms >= 2);
}

/* Typed before there is a driver, and while it is reset: the next one gets it. */
static void test_input_before_the_driver(void **state)
{
	struct fixture *f = *state;

	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	type(f, 0, "early");
	start(f, BASIC);
	offer(f, 0, 1, 100);
	expect_input(f, 0, 0, "early");
}

static void test_size(void **state)
{
	struct fixture *f = *state;
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
	struct fixture *f = *state;

	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	virtio_console_resize(&f->c, 0, 100, 40);
	unsigned irqs = fake_transport_config_irqs(&f->t);

	start(f, SIZE_);
	loop_settle(f->loop);
	assert_int_equal(fake_transport_config_irqs(&f->t), irqs + 1);
}

static void test_emergency_write(void **state)
{
	struct fixture *f = *state;

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

static void greet(struct fixture *f)
{
	offer(f, 2, 20, 64);
	control(f, 0, READY, 1);
	for (unsigned i = 0; i < PORTS; i++)
		expect_control(f, i, i, ADD, 0, 0);
	expect_nothing(f, 2);
}

static void test_ports_are_introduced(void **state)
{
	struct fixture *f = *state;
	const uint8_t *more;

	assert_int_equal(f->c.v.n_queues, QUEUES);
	assert_int_equal(virtio_config_read(&f->c.v, 4, 4), PORTS);
	virtio_console_resize(&f->c, 0, 100, 30);
	greet(f);
	control(f, 0, PORT_READY, 1);
	expect_control(f, 3, 0, CONSOLE, 1, 0);
	expect_control(f, 4, 0, OPEN, 1, 0);
	more = expect_control(f, 5, 0, RESIZE, 0, 4);
	assert_int_equal(le16_get(more), 100); /* cols, rows [virtio 1.3 5.3.6.2] */
	assert_int_equal(le16_get(more + 2), 30);
	control(f, 1, PORT_READY, 1);
	more = expect_control(f, 6, 1, NAME, 1, 15);
	assert_memory_equal(more, "org.example.log", 15);
	expect_control(f, 7, 1, OPEN, 1, 0);
	control(f, 2, PORT_READY, 1);
	expect_control(f, 8, 2, NAME, 1, 32); /* no more than that */
	expect_control(f, 9, 2, OPEN, 1, 0);
	expect_nothing(f, 2);
	virtio_console_resize(&f->c, 0, 90, 30);
	loop_settle(f->loop);
	more = expect_control(f, 10, 0, RESIZE, 0, 4);
	assert_int_equal(le16_get(more), 90);
}

/* Without buffers for control messages they wait, and none is lost. */
static void test_control_messages_wait_for_buffers(void **state)
{
	struct fixture *f = *state;

	control(f, 0, READY, 1);
	control(f, 0, PORT_READY, 1);
	expect_nothing(f, 2);
	offer(f, 2, 2, 64);
	expect_control(f, 0, 0, ADD, 0, 0);
	expect_control(f, 1, 0, CONSOLE, 1, 0);
	expect_nothing(f, 2);
	offer(f, 2, 4, 64);
	expect_control(f, 0, 0, OPEN, 1, 0);
	expect_control(f, 1, 1, ADD, 0, 0);
	expect_control(f, 2, 2, ADD, 0, 0);
	expect_nothing(f, 2);
}

/* A console is fed once its driver is ready, a plain port once it is open. */
static void test_flow_of_ports(void **state)
{
	struct fixture *f = *state;

	greet(f);
	offer(f, 0, 4, 100);
	offer(f, 4, 4, 100);
	type(f, 0, "a");
	type(f, 1, "b");
	expect_nothing(f, 0);
	control(f, 0, PORT_READY, 1);
	expect_input(f, 0, 0, "a");
	control(f, 1, PORT_READY, 1);
	expect_nothing(f, 4);
	control(f, 1, OPEN, 1);
	expect_input(f, 4, 0, "b");
	control(f, 1, OPEN, 0);
	type(f, 1, "c");
	expect_nothing(f, 4);
	control(f, 1, OPEN, 1);
	expect_input(f, 4, 1, "c");
	send(f, 5, "to one", 6);
	send(f, 7, "to two", 6);
	send(f, 1, "to the console", 14);
	assert_memory_equal(f->hosts[1].got, "to one", 6);
	assert_memory_equal(f->hosts[2].got, "to two", 6);
	assert_memory_equal(f->hosts[0].got, "to the console", 14);
}

/* A driver that takes no MULTIPORT has the first port alone. */
static void test_a_driver_without_multiport(void **state)
{
	struct fixture *f = *state;

	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	start(f, SIZE_);
	unsigned irqs = fake_transport_config_irqs(&f->t);

	virtio_console_resize(&f->c, 0, 70, 20);
	loop_settle(f->loop);
	assert_int_equal(fake_transport_config_irqs(&f->t), irqs + 1);
	offer(f, 0, 1, 100);
	type(f, 0, "x");
	expect_input(f, 0, 0, "x");
	send(f, 1, "y", 1);
	assert_int_equal(f->hosts[0].n, 1);
}

/* --- hostile ------------------------------------------------------------------------ */

static void assert_failed(struct fixture *f)
{
	assert_int_equal(virtio_status(&f->c.v), LIVE | NEEDS_RESET);
}

static void test_hostile_input_buffer_is_not_writable(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf b = {DATA, 16, false};

	virtq_driver_offer(&f->q[0], &b, 1);
	type(f, 0, "x");
	assert_failed(f);
	/* And what was typed is there for the next driver. */
	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	start(f, BASIC);
	offer(f, 0, 1, 10);
	expect_input(f, 0, 0, "x");
}

static void test_hostile_output_without_a_byte(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf b = {DATA, 16, true};
	uint32_t id, len;

	virtq_driver_offer(&f->q[1], &b, 1);
	kick(f, 1);
	assert_true(virtq_driver_take_used(&f->q[1], &id, &len));
	assert_int_equal(len, 0);
	assert_int_equal(f->hosts[0].n, 0);
	assert_int_equal(virtio_status(&f->c.v), LIVE);
}

/* The same megabytes again and again in one chain: the work is bounded. */
static void test_hostile_endless_chain(void **state)
{
	struct fixture *f = *state;
	struct vd_buf bufs[60];

	for (unsigned i = 0; i < 60; i++)
		bufs[i] = (struct vd_buf){DATA, 2 * MiB, false};
	*ram(f, DATA + 2 * MiB - 1) = '!';
	virtq_driver_offer(&f->q[1], bufs, 60);
	kick(f, 1);
	assert_int_equal(f->hosts[0].n, VIRTIO_CONSOLE_CHAIN_MAX);
	assert_int_equal(f->hosts[0].got[f->hosts[0].n - 1], '!');
	assert_int_equal(virtio_status(&f->c.v), LIVE);
}

static void test_hostile_control_message_cut_short(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf b = {DATA, 7, false};

	virtq_driver_offer(&f->q[3], &b, 1);
	kick(f, 3);
	assert_failed(f);
}

static void test_hostile_control_messages_without_sense(void **state)
{
	struct fixture *f = *state;

	offer(f, 2, 20, 64);
	for (unsigned event = 0; event < 300; event++)
		for (unsigned value = 0; value < 3; value++) {
			control(f, PORTS, (uint16_t)event ? (uint16_t)event : 3, (uint16_t)value);
			control(f, UINT32_MAX, (uint16_t)event ? (uint16_t)event : 6,
				(uint16_t)value);
			if (event != READY && event != PORT_READY && event != OPEN)
				control(f, 1, (uint16_t)event, (uint16_t)value);
		}
	control(f, 0, READY, 0); /* the driver gives up */
	expect_nothing(f, 2);
	assert_int_equal(virtio_status(&f->c.v), LIVE);
	control(f, 0, READY, 1); /* and is heard when it does not */
	expect_control(f, 0, 0, ADD, 0, 0);
}

static void test_hostile_control_buffer_too_small(void **state)
{
	struct fixture *f = *state;

	offer(f, 2, 1, 7);
	control(f, 0, READY, 1);
	assert_failed(f);
}

/* A driver that asks for messages faster than it takes them makes nobody grow. */
static void test_hostile_flood_of_control_messages(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 10000; i++)
		control(f, i % PORTS, i % 2 ? READY : PORT_READY, 1);
	offer(f, 2, 20, 64);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t id, len;

		/* ADD, (CONSOLE), (NAME), OPEN: each once. */
		for (unsigned k = 0; k < 3; k++)
			assert_true(virtq_driver_take_used(&f->q[2], &id, &len));
	}
	expect_nothing(f, 2);
}

/* A driver that set up the queue of its messages, and none for the answers. */
static void test_hostile_answers_without_a_queue(void **state)
{
	struct fixture *f = *state;

	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	virtq_driver_init(&f->q[3], &f->gm, RINGS, SIZE);
	assert_true(virtio_driver_negotiate(&f->c.v, MULTI));
	virtio_driver_set_queue(&f->c.v, 3, &f->q[3]);
	virtio_set_status(&f->c.v, LIVE);
	loop_settle(f->loop);
	control(f, 0, READY, 1);
	control(f, 0, PORT_READY, 1);
	type(f, 0, "x");
	assert_int_equal(virtio_status(&f->c.v), LIVE);
}

static void test_hostile_every_config_access(void **state)
{
	struct fixture *f = *state;

	for (unsigned off = 0; off < 32; off++)
		for (unsigned size = 1; size <= 8; size *= 2)
			if (off + size > VIRTIO_CONSOLE_CFG_LEN)
				assert_int_equal(virtio_config_read(&f->c.v, off, size), 0);
			else
				virtio_config_read(&f->c.v, off, size);
}

/* --- state --------------------------------------------------------------------------- */

static void save(struct fixture *f, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "hvc", 1);
	f->c.v.ops->save(&f->c, w);
	state_section_end(w);
}

static int load(struct fixture *f, const uint8_t *data, size_t len)
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
	struct fixture *f = *state, *g = build(PORTS), *h = build(1);
	struct state_writer a, b;

	greet(f);
	control(f, 0, PORT_READY, 1);
	control(f, 1, PORT_READY, 1);
	control(f, 1, OPEN, 1);
	type(f, 0, "typed ahead");
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
	destroy(g);
	destroy(h);
}

int main(void)
{
#define ONE(f)  cmocka_unit_test_setup_teardown(f, single, teardown)
#define MANY(f) cmocka_unit_test_setup_teardown(f, several, teardown)
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
		ONE(test_hostile_input_buffer_is_not_writable),
		ONE(test_hostile_output_without_a_byte),
		ONE(test_hostile_endless_chain),
		MANY(test_hostile_control_message_cut_short),
		MANY(test_hostile_control_messages_without_sense),
		MANY(test_hostile_control_buffer_too_small),
		MANY(test_hostile_flood_of_control_messages),
		MANY(test_hostile_answers_without_a_queue),
		MANY(test_hostile_every_config_access),
		MANY(test_save_load_save),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
