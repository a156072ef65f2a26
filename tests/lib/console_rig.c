/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/console_rig.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void take(void *ctx, const uint8_t *bytes, size_t len)
{
	struct console_rig_host *h = ctx;

	assert_true(h->n + len <= sizeof(h->got));
	memcpy(h->got + h->n, bytes, len);
	h->n += len;
}

static void room(void *ctx)
{
	struct console_rig_host *h = ctx;

	h->rooms++;
}

struct console_rig *console_rig_build(unsigned n_ports)
{
	static const char *const names[CONSOLE_RIG_PORTS] = {NULL, "org.example.log",
							     "a name that is longer "
							     "than thirty-two bytes"};
	struct console_rig *f = calloc(1, sizeof(*f));
	struct virtio_console_wire wires[CONSOLE_RIG_PORTS];

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

void console_rig_start(struct console_rig *f, uint64_t features)
{
	unsigned n = features & VIRTIO_CONSOLE_F_MULTIPORT ? CONSOLE_RIG_QUEUES : 2;

	for (unsigned i = 0; i < n; i++)
		virtq_driver_init(&f->q[i], &f->gm, CONSOLE_RIG_RINGS + i * 0x4000,
				  CONSOLE_RIG_QUEUE);
	virtio_driver_start(&f->c.v, features, f->q, n);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->c.v), CONSOLE_RIG_LIVE);
}

int console_rig_single(void **state)
{
	*state = console_rig_build(1);
	console_rig_start(*state, CONSOLE_RIG_BASIC_SIZE);
	return 0;
}

int console_rig_several(void **state)
{
	*state = console_rig_build(CONSOLE_RIG_PORTS);
	console_rig_start(*state, CONSOLE_RIG_MULTIPORT);
	return 0;
}

void console_rig_destroy(struct console_rig *f)
{
	virtio_set_status(&f->c.v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->c.v), 0);
	virtio_console_fini(&f->c);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	free(f);
}

int console_rig_teardown(void **state)
{
	console_rig_destroy(*state);
	return 0;
}

uint8_t *console_rig_ram(struct console_rig *f, uint64_t gpa)
{
	return guest_mem_hva(&f->gm, gpa, 1);
}

void console_rig_kick(struct console_rig *f, unsigned queue)
{
	virtio_kick(&f->c.v, queue);
	loop_settle(f->loop);
}

void console_rig_offer(struct console_rig *f, unsigned queue, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++) {
		const struct vd_buf b = {CONSOLE_RIG_BUF(queue) + i * 0x1000ull, len, true};

		virtq_driver_offer(&f->q[queue], &b, 1);
	}
	console_rig_kick(f, queue);
}

void console_rig_send(struct console_rig *f, unsigned queue, const void *bytes, size_t len)
{
	const struct vd_buf b = {CONSOLE_RIG_BUF(queue), (uint32_t)len, false};
	uint32_t id, used;

	memcpy(console_rig_ram(f, b.gpa), bytes, len);
	virtq_driver_offer(&f->q[queue], &b, 1);
	console_rig_kick(f, queue);
	assert_true(virtq_driver_take_used(&f->q[queue], &id, &used));
	assert_int_equal(used, 0);
}

void console_rig_type(struct console_rig *f, unsigned port, const char *text)
{
	assert_int_equal(
		virtio_console_receive(&f->c.ports[port], (const uint8_t *)text, strlen(text)),
		strlen(text));
	loop_settle(f->loop);
}

void console_rig_expect_input(struct console_rig *f, unsigned queue, unsigned i, const char *text)
{
	uint32_t id, len;

	assert_true(virtq_driver_take_used(&f->q[queue], &id, &len));
	assert_int_equal(len, strlen(text));
	assert_memory_equal(console_rig_ram(f, CONSOLE_RIG_BUF(queue) + i * 0x1000ull), text, len);
}

void console_rig_expect_nothing(struct console_rig *f, unsigned queue)
{
	uint32_t id, len;

	assert_false(virtq_driver_take_used(&f->q[queue], &id, &len));
}

void console_rig_control(struct console_rig *f, uint32_t port, uint16_t event, uint16_t value)
{
	uint8_t m[8];

	le32_put(m, port);
	le16_put(m + 4, event);
	le16_put(m + 6, value);
	console_rig_send(f, 3, m, sizeof(m));
}

const uint8_t *console_rig_expect_control(struct console_rig *f, unsigned i, uint32_t port,
					  uint16_t event, uint16_t value, uint32_t more)
{
	const uint8_t *m = console_rig_ram(f, CONSOLE_RIG_BUF(2) + i * 0x1000ull);
	uint32_t id, len;

	assert_true(virtq_driver_take_used(&f->q[2], &id, &len));
	assert_int_equal(len, 8 + more);
	assert_int_equal(le32_get(m), port);
	assert_int_equal(le16_get(m + 4), event);
	assert_int_equal(le16_get(m + 6), value);
	return m + 8;
}
