/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk. Some of its driver's requests are proper ones, in any framing, and then
 * the answer, the data and the disk are known beforehand; the others are anything.
 * Always: the device writes into writable buffers only, and the disk changes only by
 * a write that the backend was given whole and did not fail.
 */
#include "devices/virtio/blk.h"
#include "tests/fuzz/lib/ring.h"
#include "tests/lib/fake_block.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 15, SECTOR = 512, DISK = 16 * SECTOR, HEADER = 16, QUEUE_SIZE = 64 };

struct rig {
	struct fuzz_ram ram;
	struct fuzz_ring q;
	struct loop *loop;
	struct fake_block *disk;
	struct virtio_blk blk;
	struct fake_transport transport;
	uint8_t before[DISK]; /* the disk as it should be */
	bool orderly;         /* nothing hostile was done since the last reset */
};

static unsigned writes_done(const struct rig *r)
{
	const unsigned *n = r->disk->n_submitted;

	return n[BLOCK_WRITE] + n[BLOCK_WRITE_ZEROES];
}

static void settle(struct rig *r)
{
	loop_settle(r->loop);
	fuzz_ram_check(&r->ram);
}

static void bring_up(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in);
	uint64_t features =
		(how & 1 ? VIRTIO_F_EVENT_IDX : 0) | (how & 2 ? VIRTIO_F_INDIRECT_DESC : 0) |
		(how & 4 ? VIRTIO_BLK_F_FLUSH : 0) | (how & 8 ? VIRTIO_BLK_F_CONFIG_WCE : 0) |
		(how & 16 ? VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES : 0);
	struct virtio *v = &r->blk.v;

	virtio_set_status(v, 0);
	settle(r);
	/* A reset waits for what is in flight, for as long as that takes. */
	fuzz_check(!virtio_status(v) == !fake_block_pending(r->disk));
	fake_block_complete_all(r->disk, 0);
	settle(r);
	memcpy(r->before, r->disk->data, DISK);
	fuzz_check(!virtio_status(v));
	fuzz_ram_forbid(&r->ram);
	fuzz_ring_init(&r->q, &r->ram, QUEUE_SIZE);
	fuzz_ring_bring_up(&r->q, v, features);
	settle(r);
	r->orderly = !r->ram.lawless;
}

/* --- proper requests ------------------------------------------------------------------- */

/* Describe [gpa, gpa+len) by one to four descriptors; gives the next free one. */
static unsigned frame(struct fuzz_in *in, struct rig *r, unsigned i, uint64_t gpa, uint32_t len,
		      uint16_t flags)
{
	unsigned cuts = fuzz_u8(in) % 4;

	while (len) {
		uint32_t piece = cuts-- ? 1 + (uint32_t)fuzz_below(in, len) : len;

		if (piece >= len || cuts > 4)
			piece = len;
		fuzz_ring_desc(&r->q, 0, i, gpa, piece, flags | 1, (uint16_t)(i + 1));
		gpa += piece;
		len -= piece;
		i++;
	}
	return i;
}

/* What [virtio 1.3 5.2.6.2] asks for, for a range of `n` sectors. */
static uint8_t expected(uint64_t sector, uint32_t len, int result)
{
	if (len % SECTOR || !range_within(sector, len / SECTOR, DISK / SECTOR))
		return VIRTIO_BLK_S_IOERR;
	return len && result ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

/* One read or write, start to end: header, data and status lie in RING_HIGH. */
static void transfer(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in), header[HEADER] = {0}, status = 0xee;
	bool write = how & 1;
	uint32_t len = (how >> 1 & 7) * SECTOR + (how & 0x10 ? fuzz_u8(in) : 0);
	uint64_t sector = how & 0x20 ? fuzz_uint(in, 8) : fuzz_below(in, 20);
	uint64_t data = RING_HIGH + HEADER, end = data + len;
	uint8_t *hva = guest_mem_hva(&r->ram.gm, data, 8 * SECTOR);
	uint16_t used = fuzz_ring_used_idx(&r->q);
	unsigned i = 0;

	if (!r->orderly || virtio_status(&r->blk.v) != OK || fake_block_pending(r->disk))
		return;
	r->disk->immediate = true;
	r->disk->result = how & 0x40 ? -EIO : 0;
	header[0] = write;
	le64_put(header + 8, sector);
	fuzz_ram_store(&r->ram, RING_HIGH, header, sizeof(header));
	fuzz_ram_store(&r->ram, end, &status, 1);
	if (write && len)
		hva[0] = r->ram.before[data] = how;

	if (write) {
		i = frame(in, r, i, RING_HIGH, HEADER + len, 0);
	} else {
		i = frame(in, r, i, RING_HIGH, HEADER, 0);
		if (len)
			i = frame(in, r, i, data, len, 2);
	}
	fuzz_ring_desc(&r->q, 0, i, end, 1, 2, 0);
	fuzz_ring_offer(&r->q, 0);
	virtio_kick(&r->blk.v, 0);
	settle(r);

	uint8_t answer = expected(sector, len, r->disk->result);
	uint32_t id, n;

	fuzz_check(fuzz_ring_used_idx(&r->q) == (uint16_t)(used + 1));
	fuzz_ring_used(&r->q, used, &id, &n);
	fuzz_check(id == 0);
	fuzz_check(*(uint8_t *)guest_mem_hva(&r->ram.gm, end, 1) == answer);
	if (answer == VIRTIO_BLK_S_OK) {
		if (write && len)
			memcpy(r->before + sector * SECTOR, hva, len);
		fuzz_check(!len || !memcmp(r->disk->data + sector * SECTOR, hva, len));
		fuzz_check(n == (write ? 1 : len + 1));
	}
	fuzz_check(!memcmp(r->before, r->disk->data, DISK));
}

/* --- improper ones ------------------------------------------------------------------------ */

/* A header for whatever the next chain of nobody knows what is. */
static void store_header(struct fuzz_in *in, struct rig *r)
{
	static const uint8_t types[] = {0, 1, 4, 8, 11, 13, 2, 0xff};
	uint8_t how = fuzz_u8(in), bytes[2 * HEADER] = {types[how & 7]};

	le64_put(bytes + 8, how & 8 ? fuzz_uint(in, 8) : fuzz_u8(in) % 20);
	le64_put(bytes + 16, how & 16 ? fuzz_uint(in, 8) : fuzz_u8(in) % 20); /* of a range */
	le32_put(bytes + 24, how & 32 ? fuzz_u32(in) : fuzz_u8(in) % 20);
	le32_put(bytes + 28, how >> 6);
	fuzz_ram_store(&r->ram, RING_DATA + (how & 0x80 ? HEADER : 0), bytes, sizeof(bytes));
}

static void ready_chain(struct fuzz_in *in, struct rig *r)
{
	uint8_t how = fuzz_u8(in);
	unsigned head = fuzz_u8(in) % 56;

	store_header(in, r);
	fuzz_ring_desc(&r->q, 0, head, RING_DATA, how & 1 ? 32 : 16, 1, (uint16_t)(head + 1));
	fuzz_ring_desc(&r->q, 0, head + 1, RING_DATA + 512, (how >> 2 & 7) * SECTOR,
		       how & 2 ? 3 : 1, (uint16_t)(head + 2));
	fuzz_ring_desc(&r->q, 0, head + 2, RING_HOLE - 16, how >> 5, 2, 0);
	fuzz_ring_offer(&r->q, (uint16_t)head);
}

static void step(struct fuzz_in *in, struct rig *r)
{
	uint8_t op = fuzz_u8(in);
	unsigned pending = fake_block_pending(r->disk), writes = writes_done(r);
	bool hostile = true;
	uint64_t at;

	switch (op % 8) {
	case 0:
		transfer(in, r);
		return;
	case 1:
		if ((op & 0xf8) == 0xf8)
			bring_up(in, r);
		r->disk->immediate = op & 8;
		r->disk->result = op & 16 ? -EIO : 0;
		return;
	case 2:
	case 3:
		virtio_kick(&r->blk.v, op >> 7);
		settle(r);
		hostile = writes_done(r) > writes && (!r->disk->immediate || !r->disk->result);
		break;
	case 4:
		if (pending)
			fake_block_complete(r->disk, op % pending, op & 0x40 ? -EIO : 0);
		settle(r);
		/* Only what did not fail may show. */
		if (op & 0x40)
			fuzz_check(!memcmp(r->before, r->disk->data, DISK));
		break;
	case 5:
		ready_chain(in, r);
		r->orderly = false;
		break;
	case 6:
		at = fuzz_u8(in) % 70;
		virtio_config_write(&r->blk.v, at, 1u << (op >> 6), fuzz_u8(in));
		virtio_config_read(&r->blk.v, at, 1u << (op >> 6));
		break;
	default:
		fuzz_ring_step(in, &r->q);
		r->orderly = false;
	}
	if (hostile)
		memcpy(r->before, r->disk->data, DISK);
	fuzz_check(!memcmp(r->before, r->disk->data, DISK));
}

void fuzz_one(struct fuzz_in *in)
{
	struct rig *r = calloc(1, sizeof(*r));
	const struct virtio_blk_options options = {.name = "disk0", .serial = "s", .n_queues = 1};

	fuzz_check(r);
	fuzz_ram_init(&r->ram);
	r->loop = loop_create();
	r->disk = fake_block_create(DISK);
	for (unsigned i = 0; i < DISK; i++)
		r->disk->data[i] = (uint8_t)(i / SECTOR + i);
	fuzz_check(r->loop &&
		   !virtio_blk_init(&r->blk, &options, &r->ram.gm,
				    &(struct virtio_blk_host){&r->disk->block, r->loop}, 1));
	fake_transport_init(&r->transport, &r->blk.v);
	bring_up(in, r);
	while (fuzz_more(in)) {
		step(in, r);
		fuzz_ram_check(&r->ram);
	}
	virtio_set_status(&r->blk.v, 0);
	settle(r);
	fake_block_complete_all(r->disk, -EIO);
	settle(r);
	virtio_blk_fini(&r->blk);
	loop_destroy(r->loop);
	fuzz_ram_fini(&r->ram);
	free(r);
}
