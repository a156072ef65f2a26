/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/blk_rig.h"

#include "vmm/base/le.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

void br_make(struct blk_rig *f, struct loop *loop, bool read_only)
{
	f->clock = fake_clock_wire(&f->time);
	const struct virtio_blk_options options = {.name = "disk0",
						   .serial = "serial-0123456789abcdef",
						   .n_queues = BR_QUEUES,
						   .clock = &f->clock};

	f->disk = fake_block_create(BR_DISK);
	f->disk->immediate = true;
	f->disk->destroyed = &f->destroyed;
	f->disk->block.read_only = read_only;
	for (uint64_t i = 0; i < BR_DISK; i++)
		f->disk->data[i] = (uint8_t)(i / 512 * 3 + i % 251);
	const struct virtio_blk_host host = {&f->disk->block, loop};

	assert_int_equal(virtio_blk_init(&f->b, &options, &f->gm, &host, 1), 0);
	fake_transport_init(&f->t, &f->b.v);
	for (unsigned i = 0; i < BR_QUEUES; i++)
		virtq_driver_init(&f->d[i], &f->gm, BR_RING(i), BR_SIZE);
}

int br_setup(void **state)
{
	struct blk_rig *f = calloc(1, sizeof(*f));

	log_set_level(LOG_QUIET);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, BR_RAM, -1, 0, NULL), 0);
	f->loop = loop_create();
	br_make(f, f->loop, false);
	*state = f;
	return 0;
}

void br_unmake(struct blk_rig *f)
{
	if (!f->thread) {
		virtio_set_status(&f->b.v, 0);
		loop_settle(f->loop);
		if (fake_block_pending(f->disk))
			fake_block_complete_all(f->disk, 0);
		loop_settle(f->loop);
	}
	f->destroyed = false;
	virtio_blk_fini(&f->b);
	assert_true(f->destroyed);
}

int br_teardown(void **state)
{
	struct blk_rig *f = *state;

	br_unmake(f);
	io_thread_destroy(f->thread);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	free(f);
	return 0;
}

void br_go(struct blk_rig *f, uint64_t features)
{
	virtio_driver_start(&f->b.v, features, f->d, BR_QUEUES);
	if (!f->thread)
		loop_settle(f->loop);
}

uint8_t *br_at(struct blk_rig *f, uint64_t gpa)
{
	uint8_t *p = guest_mem_hva(&f->gm, gpa, 1);

	assert_non_null(p);
	return p;
}

void br_put_header(struct blk_rig *f, unsigned i, uint32_t type, uint64_t sector)
{
	uint8_t *h = br_at(f, BR_REQ(i));

	le32_put(h, type);
	le32_put(h + 4, 0);
	le64_put(h + 8, sector);
	*br_at(f, BR_STATUS(i)) = BR_UNTOUCHED;
}

void br_offer(struct blk_rig *f, unsigned i, uint32_t type, uint64_t sector, uint32_t len,
	      bool device_writes)
{
	const struct vd_buf bufs[] = {
		{BR_REQ(i), 16, false}, {BR_DATA(i), len, device_writes}, {BR_STATUS(i), 1, true}};

	br_put_header(f, i, type, sector);
	virtq_driver_offer(&f->d[0], bufs, 3);
}

void br_kick(struct blk_rig *f)
{
	virtio_kick(&f->b.v, 0);
	loop_settle(f->loop);
}

uint8_t br_status(struct blk_rig *f, unsigned i)
{
	return __atomic_load_n(br_at(f, BR_STATUS(i)), __ATOMIC_ACQUIRE);
}

uint8_t br_run(struct blk_rig *f, uint32_t type, uint64_t sector, uint32_t len, bool device_writes,
	       uint32_t *used_len)
{
	uint32_t id, got = 0;

	br_offer(f, 0, type, sector, len, device_writes);
	br_kick(f);
	assert_true(virtq_driver_take_used(&f->d[0], &id, &got));
	if (used_len)
		*used_len = got;
	return br_status(f, 0);
}

uint8_t br_range(struct blk_rig *f, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
	uint8_t *p = br_at(f, BR_DATA(0));

	le64_put(p, sector);
	le32_put(p + 8, n);
	le32_put(p + 12, flags);
	return br_run(f, type, 0, 16, false, NULL);
}

bool br_write_is_stable(struct blk_rig *f)
{
	assert_int_equal(br_run(f, VIRTIO_BLK_T_OUT, 0, 512, false, NULL), 0);
	return f->disk->last_stable;
}
