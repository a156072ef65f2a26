/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk behind virtio-pci, as a guest sees it: configuration space with its window
 * onto the BAR, the BAR, RAM, doorbells; and as the machine sees it: pause, saved
 * states of any contents, reset. What the disk does with a request is for
 * fuzz_virtio_blk.
 */
#include "devices/pci/host.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/pci.h"
#include "tests/fuzz/lib/ring.h"
#include "tests/lib/fake_block.h"
#include "tests/lib/fake_irq.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUES = 2, DISK = 4096, SLOT = 1, FUNCTION = SLOT * 0x8000, COMMON_LEN = 0x38 };

static const struct pci_layout layout = {
	.ecam_base = 0xe8000000,
	.mmio32_base = 0xc0000000,
	.mmio32_len = 64 * KiB,
};

struct rig {
	struct bus mmio;
	struct fuzz_ram ram;
	struct fuzz_ring q;
	struct fake_msi msi;
	struct fake_doorbell bell;
	struct loop *loop;
	struct fake_block *disk;
	struct pci_host host;
	struct virtio_blk blk;
	struct virtio_pci dev;
};

static void build(struct rig *r, bool trapped)
{
	const struct virtio_blk_options options = {.name = "disk0", .n_queues = QUEUES};

	bus_init(&r->mmio, "mmio");
	fuzz_ram_init(&r->ram);
	fuzz_ring_init(&r->q, &r->ram, 16);
	/* Queues lie where the input says, so anything may be written. */
	r->ram.lawless = true;
	fake_msi_init(&r->msi);
	fake_doorbell_init(&r->bell);
	r->bell.fail_attach = trapped ? -ENOTSUP : 0;
	r->loop = loop_create();
	fuzz_check(r->loop && !pci_host_init(&r->host, &r->mmio, &layout));
	r->disk = fake_block_create(DISK);
	r->disk->immediate = true;
	fuzz_check(!virtio_blk_init(&r->blk, &options, &r->ram.gm,
				    &(struct virtio_blk_host){&r->disk->block, r->loop}, 1));
	const struct virtio_pci_env env = {
		.msi = fake_msi_wire(&r->msi),
		.doorbell = fake_doorbell_wire(&r->bell),
	};

	fuzz_check(!virtio_pci_init(&r->dev, &r->blk.v, &env));
	fuzz_check(pci_host_add(&r->host, -1, &r->dev.pci) == SLOT);
	fuzz_check(!pci_host_assign(&r->host, NULL));
}

/* --- what has to hold ------------------------------------------------------------------ */

static void check_status(struct rig *r)
{
	struct virtio *v = &r->blk.v;
	uint8_t status = virtio_status(v);

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
	uint64_t bar = r->dev.pci.bars[VIRTIO_PCI_BAR].mapped, ids;
	unsigned bells = bar && !r->bell.fail_attach ? QUEUES : 0;

	check_status(r);
	fuzz_check(!r->bell.strays && fake_doorbell_count(&r->bell) <= bells);
	fuzz_check(!r->msi.lost);
	fuzz_check(bus_read(&r->mmio, layout.ecam_base + FUNCTION, 4, &ids) && ids == 0x10421af4);
}

/* --- the machine ---------------------------------------------------------------------- */

/* A pause would wait for a loop that has a thread. Here it times out at once, and
 * the loop finds out what became of it; with `stay` as if there had been time. */
static bool pause(struct rig *r, bool stay)
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
	const struct device_ops *ops = &virtio_pci_device_ops;

	if (!pause(r, true))
		return;
	if (hostile)
		fuzz_state(in, ops, &r->dev, FUZZ_STATE_EXACT | FUZZ_STATE_FRESH);
	else
		fuzz_round_trip(ops, &r->dev);
	ops->resume(&r->dev);
	loop_settle(r->loop);
}

static void reset(struct rig *r)
{
	virtio_set_status(&r->blk.v, 0);
	loop_settle(r->loop);
	virtio_pci_device_ops.reset(&r->dev);
}

/* --- the guest -------------------------------------------------------------------------- */

static void store(struct rig *r, uint64_t gpa, unsigned size, uint64_t val)
{
	if (!fake_doorbell_store(&r->bell, gpa, size, val))
		bus_write(&r->mmio, gpa, size, val);
}

/* Memory decoding and MSI-X on, vectors filled: what firmware and drivers do first. */
static void enable(struct rig *r, uint8_t how)
{
	uint64_t function = layout.ecam_base + FUNCTION, bar;

	store(r, function + PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	store(r, function + r->dev.msix.cap + 2, 2, how & 1 ? 0x8000 : 0);
	bar = r->dev.pci.bars[VIRTIO_PCI_BAR].mapped;
	for (unsigned i = 0; bar && i <= QUEUES; i++) {
		store(r, bar + 0x3000 + 16 * i, 4, 0xfee00000);
		store(r, bar + 0x3000 + 16 * i + 8, 4, 0x40 + i);
		store(r, bar + 0x3000 + 16 * i + 12, 4, how >> i & 2);
	}
}

static void access(struct fuzz_in *in, struct rig *r, uint64_t base, uint64_t len)
{
	struct virtio *v = &r->blk.v;
	struct virtq_config before[QUEUES];
	bool running = v->status & VIRTIO_STATUS_DRIVER_OK;

	for (unsigned i = 0; i < QUEUES; i++)
		before[i] = v->queues[i].config;
	fuzz_access(in, &r->mmio, base, len);
	/* Nothing but a reset changes a queue that is in use. */
	for (unsigned i = 0; i < QUEUES && running && v->status; i++)
		fuzz_check(!memcmp(&before[i], &v->queues[i].config, sizeof(before[i])));
}

static void step(struct fuzz_in *in, struct rig *r)
{
	uint64_t function = layout.ecam_base + FUNCTION;
	uint64_t bar = r->dev.pci.bars[VIRTIO_PCI_BAR].mapped;
	struct virtio *v = &r->blk.v;
	uint8_t op = fuzz_u8(in);

	switch (op % 8) {
	case 0:
		if (bar)
			access(in, r, bar, op & 0x80 ? VIRTIO_PCI_BAR_LEN + 8 : COMMON_LEN);
		break;
	case 1:
		/* The header, or the capabilities, of which the window is the last. */
		if (op & 0x80)
			access(in, r, function, 0x40);
		else
			access(in, r, function + r->dev.window, 24);
		break;
	case 2:
		access(in, r, function, 0x108);
		break;
	case 3:
		if (bar)
			store(r, bar + 0x2000 + 4 * (op >> 6), 1u << (op >> 4 & 3), 0);
		loop_settle(r->loop);
		break;
	case 4:
		enable(r, op >> 3);
		break;
	case 5:
		if (op & 0x80)
			reset(r);
		else if (op & 0x40)
			pause(r, false);
		else
			save_and_load(in, r, op & 0x20);
		break;
	case 6:
		virtio_set_status(v, 0);
		loop_settle(r->loop);
		fuzz_check(!virtio_status(v));
		fuzz_ring_init(&r->q, &r->ram, 16);
		fuzz_ring_bring_up(&r->q, v, v->offered);
		loop_settle(r->loop);
		break;
	default:
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
		check(r);
	}
	reset(r);
	virtio_pci_fini(&r->dev);
	virtio_blk_fini(&r->blk);
	pci_host_fini(&r->host);
	loop_destroy(r->loop);
	fuzz_check(!fake_doorbell_count(&r->bell) && !fake_msi_routes(&r->msi) && !r->mmio.n);
	fake_doorbell_fini(&r->bell);
	fake_msi_fini(&r->msi);
	fuzz_ram_fini(&r->ram);
	bus_fini(&r->mmio);
	free(r);
}
