/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon behind a driver without manners, on any of its queues. What it was told of goes by
 * whole pages or not at all; reports take nothing that was not reported; statistics are only
 * what the buffer says; a state that is refused leaves a device that is at power-on.
 */
#include "devices/virtio/balloon.h"
#include "tests/fuzz/lib/ring.h"
#include "tests/lib/fake_clock.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <stdlib.h>
#include <string.h>

enum { QUEUES = 5, PAGE = 4096, LIST_MAX = 64 };

struct rig {
	struct virtio_balloon b;
	struct fuzz_ram ram;
	struct fuzz_ring q;
	struct loop *l;
	bool reports; /* only the device-writable buffers may change */
};

static void bring_up(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in);
	uint64_t features = (how & 0x80 ? VIRTIO_F_EVENT_IDX : 0) |
			    (how & 0x40 ? VIRTIO_F_INDIRECT_DESC : 0) |
			    (how & 0x20 ? 0 : VIRTIO_BALLOON_F_STATS_VQ) |
			    (how & 0x10 ? 0 : VIRTIO_BALLOON_F_PAGE_REPORTING);
	struct virtio *v = &r->b.v;

	virtio_set_status(v, 0);
	loop_settle(r->l);
	fuzz_check(!virtio_status(v) && !virtio_balloon_actual(&r->b));
	fuzz_ram_forbid(&r->ram);
	fuzz_ring_init(&r->q, &r->ram, (uint16_t)(1u << how % 6));
	r->q.index = (unsigned)fuzz_below(in, QUEUES);
	r->reports = r->q.index > 0;
	fuzz_ring_bring_up(&r->q, v, features);
	loop_settle(r->l);
}

/* Of the inflateq: beyond the rings, a page is as it was or zeroes. */
static void check_pages(struct rig *r)
{
	static const uint8_t zero[PAGE];

	for (uint64_t gpa = PAGE; gpa < RING_END; gpa += PAGE) {
		const uint8_t *now = guest_mem_hva(&r->ram.gm, gpa, PAGE);

		if (!now || !memcmp(now, r->ram.before + gpa, PAGE))
			continue;
		fuzz_check(!memcmp(now, zero, PAGE));
		memcpy(r->ram.before + gpa, zero, PAGE);
	}
}

static void check(struct rig *r)
{
	if (r->reports)
		fuzz_ram_check(&r->ram);
	else
		check_pages(r);
	uint8_t status = virtio_status(&r->b.v);

	fuzz_check(!virtio_failed(&r->b.v) || !(status & VIRTIO_STATUS_DRIVER_OK) ||
		   status & VIRTIO_STATUS_NEEDS_RESET);
}

/* A list as a driver with manners has it. */
static void offer_list(struct fuzz_in *in, struct rig *r)
{
	unsigned n = (unsigned)fuzz_below(in, LIST_MAX);
	uint8_t list[4 * LIST_MAX];

	for (unsigned i = 0; i < n; i++)
		le32_put(list + 4 * i, (uint32_t)fuzz_below(in, RING_END / PAGE + 4));
	fuzz_ram_store(&r->ram, RING_DATA, list, 4 * n);
	fuzz_ring_desc(&r->q, r->q.desc, r->q.next_desc, RING_DATA, 4 * n, 0, 0);
	fuzz_ring_offer(&r->q, r->q.next_desc);
	r->q.next_desc = (uint16_t)((r->q.next_desc + 1) % r->q.size);
}

static void load(struct fuzz_in *in, struct rig *r)
{
	const uint8_t *bytes;
	size_t n = fuzz_bytes(in, fuzz_u8(in), &bytes);
	struct state_writer w;
	struct state_reader s;
	struct err e = {0};

	virtio_set_status(&r->b.v, 0);
	loop_settle(r->l);
	state_writer_init(&w);
	state_section_begin(&w, "balloon", 1);
	state_put_bytes(&w, bytes, n);
	state_section_end(&w);
	state_reader_init(&s, w.data, w.len);
	fuzz_check(state_section_open(&s, "balloon", &e) == 1);
	if (virtio_load(&r->b.v, &s, &e))
		fuzz_check(!virtio_status(&r->b.v) && *e.text);
	state_writer_fini(&w);
	/* The rings are anywhere in RAM now, and may be written. */
	r->ram.lawless = true;
	r->reports = true;
	virtio_resume(&r->b.v);
	loop_settle(r->l);
	fuzz_check(virtio_balloon_target(&r->b) <= RING_END / PAGE);
}

static void ask(struct rig *r)
{
	struct virtio_balloon_stats s;
	uint64_t age;

	virtio_balloon_ask(&r->b);
	loop_settle(r->l);
	if (virtio_balloon_stats(&r->b, &s, &age))
		fuzz_check(r->b.v.features & VIRTIO_BALLOON_F_STATS_VQ &&
			   s.known < 1u << VIRTIO_BALLOON_S_N);
}

void fuzz_one(struct fuzz_in *in)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct fake_transport transport;
	struct fake_clock hands;
	struct clock clock;

	fuzz_check(r && (r->l = loop_create()));
	fake_clock_init(&hands, 0, 0);
	clock = fake_clock_wire(&hands);
	fuzz_ram_init(&r->ram);
	r->q.ram = &r->ram;
	fuzz_check(!virtio_balloon_init(&r->b, "balloon", &r->ram.gm, r->l, &clock));
	fake_transport_init(&transport, &r->b.v);
	bring_up(in, r);
	while (fuzz_more(in)) {
		uint8_t op = fuzz_u8(in);

		if (op == 0xff) {
			bring_up(in, r);
		} else if (op == 0xfe) {
			load(in, r);
		} else if (op < 0x30) {
			virtio_kick(&r->b.v, op % QUEUES);
			loop_settle(r->l);
		} else if (op < 0x34) {
			ask(r);
		} else if (op < 0x38) {
			uint32_t pages = (uint32_t)fuzz_below(in, RING_END / PAGE + 1);

			virtio_balloon_set_target(&r->b, pages);
			fuzz_check(virtio_config_read(&r->b.v, 0, 4) == pages);
		} else if (op < 0x3c) {
			uint32_t target = virtio_balloon_target(&r->b);
			uint8_t off = fuzz_u8(in);

			virtio_config_write(&r->b.v, off, 1u << (op & 3), fuzz_uint(in, 8));
			fuzz_check(virtio_balloon_target(&r->b) == target);
			fuzz_check(virtio_config_read(&r->b.v, 4, 4) ==
				   virtio_balloon_actual(&r->b));
		} else if (op < 0x48) {
			offer_list(in, r);
		} else {
			fuzz_ring_step(in, &r->q);
		}
		check(r);
	}
	virtio_set_status(&r->b.v, 0);
	loop_settle(r->l);
	virtio_balloon_fini(&r->b);
	loop_destroy(r->l);
	fuzz_ram_fini(&r->ram);
	free(r);
}
