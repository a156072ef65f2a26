/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console device behind a driver without manners, on any of its queues: it fills
 * what it was given to fill and not a byte more, it keeps no more than its FIFO, and
 * it gives its input in order.
 */
#include "devices/virtio/console.h"
#include "tests/fuzz/lib/ring.h"
#include "tests/lib/virtq_driver.h"

#include <stdlib.h>

enum { PORTS = 2, QUEUES = 6 };

struct rig {
	struct virtio_console c;
	struct fuzz_ram ram;
	struct fuzz_ring q;
	struct loop *l;
	uint64_t said; /* bytes that came out */
	unsigned rooms;
};

static void count_out(void *ctx, const uint8_t *bytes, size_t len)
{
	struct rig *r = ctx;

	r->said += len;
}

static void count_room(void *ctx)
{
	struct rig *r = ctx;

	r->rooms++;
}

/* The one ring that the fuzzer plays is queue `index`; the others are not enabled. */
static void bring_up(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in);
	unsigned index = (unsigned)fuzz_below(in, QUEUES);
	uint64_t features = (how & 0x80 ? VIRTIO_F_EVENT_IDX : 0) |
			    (how & 0x40 ? VIRTIO_F_INDIRECT_DESC : 0) |
			    (how & 0x20 ? VIRTIO_CONSOLE_F_MULTIPORT : 0) |
			    (how & 0x10 ? VIRTIO_CONSOLE_F_SIZE : 0);
	struct virtio *v = &r->c.v;

	virtio_set_status(v, 0);
	loop_settle(r->l);
	fuzz_check(!virtio_status(v));
	fuzz_ram_forbid(&r->ram);
	fuzz_ring_init(&r->q, &r->ram, (uint16_t)(1u << how % 7));
	fuzz_check(virtio_driver_negotiate(v, features | VIRTIO_F_VERSION_1));
	virtio_queue_set(v, index, VIRTIO_QUEUE_SIZE, r->q.size);
	virtio_queue_set(v, index, VIRTIO_QUEUE_DESC_LO, (uint32_t)r->q.desc);
	virtio_queue_set(v, index, VIRTIO_QUEUE_AVAIL_LO, (uint32_t)r->q.avail);
	virtio_queue_set(v, index, VIRTIO_QUEUE_USED_LO, (uint32_t)r->q.used);
	virtio_queue_set(v, index, VIRTIO_QUEUE_ENABLE, 1);
	virtio_set_status(v, 15);
	loop_settle(r->l);
}

static void receive(struct fuzz_in *in, struct rig *r)
{
	struct virtio_console_port *p = &r->c.ports[fuzz_below(in, PORTS)];
	const uint8_t *bytes;
	size_t n = fuzz_bytes(in, (size_t)fuzz_below(in, 2000), &bytes);
	size_t before = p->n_fifo, taken = virtio_console_receive(p, bytes, n);

	fuzz_check(taken <= n && p->n_fifo == before + taken);
	fuzz_check(taken == n || p->n_fifo == VIRTIO_CONSOLE_FIFO);
	loop_settle(r->l);
}

void fuzz_one(struct fuzz_in *in)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct fake_transport transport;

	fuzz_check(r && (r->l = loop_create()));
	fuzz_ram_init(&r->ram);
	r->q.ram = &r->ram;
	const struct virtio_console_wire wires[PORTS] = {
		{NULL, true, {count_out, r}, {count_room, r}},
		{"fuzz", false, {count_out, r}, {count_room, r}},
	};

	fuzz_check(!virtio_console_init(&r->c, "hvc", wires, PORTS, &r->ram.gm, r->l));
	fake_transport_init(&transport, &r->c.v);
	bring_up(in, r);
	while (fuzz_more(in)) {
		uint8_t op = fuzz_u8(in);

		if (op == 0xff) {
			bring_up(in, r);
		} else if (op < 0x30) {
			virtio_kick(&r->c.v, op % 8);
			loop_settle(r->l);
		} else if (op < 0x38) {
			receive(in, r);
		} else if (op < 0x3c) {
			uint16_t cols = fuzz_u16(in), rows = fuzz_u16(in);

			virtio_console_resize(&r->c, op & 1, cols, rows);
			loop_settle(r->l);
			if (!(op & 1))
				fuzz_check(virtio_config_read(&r->c.v, 0, 4) ==
					   ((uint32_t)rows << 16 | cols));
		} else if (op < 0x40) {
			uint64_t said = r->said, off = fuzz_u8(in);

			virtio_config_write(&r->c.v, off, 1u << (op & 3), fuzz_u8(in));
			fuzz_check(r->said - said <= 1);
		} else {
			fuzz_ring_step(in, &r->q);
		}
		fuzz_ram_check(&r->ram);
		fuzz_check(!virtio_failed(&r->c.v) ||
			   virtio_status(&r->c.v) & VIRTIO_STATUS_NEEDS_RESET);
	}
	virtio_set_status(&r->c.v, 0);
	loop_settle(r->l);
	virtio_console_fini(&r->c);
	loop_destroy(r->l);
	fuzz_ram_fini(&r->ram);
	free(r);
}
