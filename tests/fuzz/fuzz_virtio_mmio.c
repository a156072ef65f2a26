/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk behind virtio-mmio, as a guest sees it: the page of registers, RAM, the
 * doorbell, the line, a processor that is held; and as the machine sees it: pause,
 * saved states of any contents, reset. What the disk does with a request is for
 * fuzz_virtio_blk.
 */
#include "devices/virtio/blk.h"
#include "devices/virtio/mmio.h"
#include "tests/fuzz/lib/ring.h"
#include "tests/lib/fake_block.h"
#include "tests/lib/fake_irq.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BASE 0xd0000000ull

enum {
	QUEUES = 2,
	DISK = 4096,
	PIN = 16,
	/* [virtio 1.3 4.2.2] */
	QUEUE_NOTIFY = 0x050,
	INTERRUPT_STATUS = 0x060,
	INTERRUPT_ACK = 0x064,
	STATUS = 0x070,
	CONFIG = 0x100,
};

struct rig {
	struct bus mmio;
	struct fuzz_ram ram;
	struct fuzz_ring q;
	struct fake_irq irq;
	struct fake_doorbell bell;
	struct loop *loop;
	struct fake_block *disk;
	struct virtio_blk blk;
	struct virtio_mmio dev;
	bool (*held_until)(void *dev, unsigned timeout_ms);
};

static void hold(void *ctx, bool (*done)(void *dev, unsigned timeout_ms), void *dev)
{
	struct rig *r = ctx;

	fuzz_check(dev == &r->dev && !done(dev, 0));
	r->held_until = done;
}

static void build(struct rig *r, bool trapped)
{
	const struct virtio_blk_options options = {.name = "disk0", .n_queues = QUEUES};

	bus_init(&r->mmio, "mmio");
	fuzz_ram_init(&r->ram);
	fuzz_ring_init(&r->q, &r->ram, 16);
	/* Queues lie where the input says, so anything may be written. */
	r->ram.lawless = true;
	fake_irq_init(&r->irq);
	fake_doorbell_init(&r->bell);
	r->bell.fail_attach = trapped ? -ENOTSUP : 0;
	r->loop = loop_create();
	fuzz_check(r->loop);
	r->disk = fake_block_create(DISK);
	r->disk->immediate = true;
	fuzz_check(!virtio_blk_init(&r->blk, &options, &r->ram.gm,
				    &(struct virtio_blk_host){&r->disk->block, r->loop}, 1));
	const struct virtio_mmio_env env = {
		.base = BASE,
		.irq = fake_irq_line(&r->irq, PIN),
		.doorbell = fake_doorbell_wire(&r->bell),
		.hold = {hold, r},
	};

	fuzz_check(!virtio_mmio_init(&r->dev, &r->blk.v, &env));
	fuzz_check(!bus_add(&r->mmio, BASE, VIRTIO_MMIO_LEN, &virtio_mmio_io_ops, &r->dev, "x"));
}

static uint32_t get(struct rig *r, unsigned reg)
{
	uint64_t val;

	fuzz_check(bus_read(&r->mmio, BASE + reg, 4, &val));
	return (uint32_t)val;
}

static void store(struct rig *r, unsigned off, unsigned size, uint64_t val)
{
	if (!fake_doorbell_store(&r->bell, BASE + off, size, val))
		bus_write(&r->mmio, BASE + off, size, val);
}

/* --- what has to hold ------------------------------------------------------------------ */

static void check_status(struct rig *r)
{
	struct virtio *v = &r->blk.v;
	uint32_t status = get(r, STATUS);

	if (status & VIRTIO_STATUS_DRIVER_OK)
		fuzz_check(status & VIRTIO_STATUS_FEATURES_OK);
	if (status & VIRTIO_STATUS_FEATURES_OK)
		fuzz_check(status & VIRTIO_STATUS_DRIVER && v->features & VIRTIO_F_VERSION_1 &&
			   !(v->features & ~v->offered));
	if (status & VIRTIO_STATUS_DRIVER)
		fuzz_check(status & VIRTIO_STATUS_ACKNOWLEDGE);
	for (unsigned i = 0; i < QUEUES; i++)
		fuzz_check(!v->queues[i].running ||
			   (v->queues[i].config.enabled && status & VIRTIO_STATUS_DRIVER_OK));
}

static void check(struct rig *r)
{
	uint32_t pending = get(r, INTERRUPT_STATUS);

	check_status(r);
	fuzz_check(pending <= 3);
	fuzz_check(fake_irq_level(&r->irq, PIN) == (pending != 0));
	fuzz_check(!r->bell.strays &&
		   fake_doorbell_count(&r->bell) <= (r->bell.fail_attach ? 0 : QUEUES));
	fuzz_check(get(r, 0) == 0x74726976 && get(r, 4) == 2 && get(r, 8) == 2);
}

/* The processor that was held goes on, and the reset that it waited for is complete. */
static void release(struct rig *r)
{
	if (!r->held_until)
		return;
	loop_settle(r->loop);
	fuzz_check(r->held_until(&r->dev, 0));
	r->held_until = NULL;
	fuzz_check(!get(r, STATUS) && !get(r, INTERRUPT_STATUS));
}

/* --- the machine ---------------------------------------------------------------------- */

/* A pause would wait for a loop that has a thread. Here it times out at once, and
 * the loop finds out what became of it; with `stay` as if there had been time. */
static bool pause_device(struct rig *r, bool stay)
{
	struct virtio *v = &r->blk.v;
	int ret = virtio_pause(v, 0);

	if (ret && stay)
		v->resume_wanted = false;
	loop_settle(r->loop);
	fuzz_check(v->phase == (!ret || stay ? v->phase : VIRTIO_ACTIVE));
	return v->phase == VIRTIO_PAUSED || v->phase == VIRTIO_IDLE;
}

static void save_and_load(struct fuzz_in *in, struct rig *r, bool hostile)
{
	const struct device_ops *ops = &virtio_mmio_device_ops;

	if (!pause_device(r, true))
		return;
	if (hostile)
		fuzz_state(in, ops, &r->dev, FUZZ_STATE_EXACT | FUZZ_STATE_FRESH);
	else
		fuzz_round_trip(ops, &r->dev);
	check(r);
	ops->resume(&r->dev);
	loop_settle(r->loop);
}

static void reset(struct rig *r)
{
	virtio_set_status(&r->blk.v, 0);
	loop_settle(r->loop);
	virtio_mmio_device_ops.reset(&r->dev);
	fuzz_check(!get(r, INTERRUPT_STATUS));
}

/* --- the guest -------------------------------------------------------------------------- */

static void access_page(struct fuzz_in *in, struct rig *r, uint64_t len)
{
	struct virtio *v = &r->blk.v;
	struct virtq_config before[QUEUES];
	bool running = v->status & VIRTIO_STATUS_DRIVER_OK;

	for (unsigned i = 0; i < QUEUES; i++)
		before[i] = v->queues[i].config;
	fuzz_access(in, &r->mmio, BASE, len);
	/* Nothing but a reset changes a queue that is in use. */
	for (unsigned i = 0; i < QUEUES && running && v->status; i++)
		fuzz_check(!memcmp(&before[i], &v->queues[i].config, sizeof(before[i])));
}

static void step(struct fuzz_in *in, struct rig *r)
{
	static const unsigned lens[] = {CONFIG, CONFIG, CONFIG + 0x60, VIRTIO_MMIO_LEN + 8};
	struct virtio *v = &r->blk.v;
	uint8_t op = fuzz_u8(in);

	switch (op % 8) {
	case 0:
	case 1:
		access_page(in, r, lens[op >> 6]);
		break;
	case 2:
		/* A register that is one, with a value from a few bytes. */
		store(r, (op >> 3) * 4, 4, fuzz_uint(in, 1 + (op >> 7) * 3));
		break;
	case 3:
		store(r, QUEUE_NOTIFY, 4, op >> 6);
		loop_settle(r->loop);
		break;
	case 4:
		store(r, INTERRUPT_ACK, 4, op >> 3);
		fuzz_check(!(get(r, INTERRUPT_STATUS) & op >> 3));
		break;
	case 5:
		if (op & 0x80)
			reset(r);
		else if (op & 0x40)
			pause_device(r, false);
		else
			save_and_load(in, r, op & 0x20);
		break;
	case 6:
		/* The driver of a well-behaved system, by way of the register. */
		store(r, STATUS, 4, 0);
		release(r);
		fuzz_check(!virtio_status(v));
		fuzz_ring_init(&r->q, &r->ram, 16);
		fuzz_ring_bring_up(&r->q, v, v->offered);
		loop_settle(r->loop);
		break;
	default:
		if (op & 0x80)
			virtio_notify_config(v);
		else
			fuzz_ring_step(in, &r->q);
	}
}

void fuzz_one(struct fuzz_in *in)
{
	struct rig *r = calloc(1, sizeof(*r));

	fuzz_check(r);
	build(r, fuzz_u8(in) & 1);
	while (fuzz_more(in)) {
		step(in, r);
		release(r);
		check(r);
	}
	reset(r);
	virtio_mmio_fini(&r->dev);
	virtio_blk_fini(&r->blk);
	loop_destroy(r->loop);
	fuzz_check(!fake_doorbell_count(&r->bell) && !fake_irq_level(&r->irq, PIN));
	fake_doorbell_fini(&r->bell);
	fake_irq_fini(&r->irq);
	fuzz_ram_fini(&r->ram);
	bus_fini(&r->mmio);
	free(r);
}
