/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk_rig: the block device and its driver, for tests, over a disk that finishes requests when and
 * how the test says (fake_block). Errors are cmocka failures.
 */
#ifndef TESTS_LIB_BLK_RIG_H
#define TESTS_LIB_BLK_RIG_H

#include "devices/virtio/blk.h"
#include "tests/lib/fake_block.h"
#include "tests/lib/fake_clock.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#define BR_RAM       (8 * MiB)
#define BR_RING(i)   (0x10000ull + 0x10000ull * (i))
#define BR_TABLE     0x80000ull
#define BR_REQ(i)    (0x100000ull + 0x10000ull * (i)) /* header, then status, then data */
#define BR_STATUS(i) (BR_REQ(i) + 0x800)
#define BR_DATA(i)   (BR_REQ(i) + 0x1000)
#define BR_DISK      (1 * MiB)
#define BR_BASIC     VIRTIO_F_VERSION_1
#define BR_ALL                                                                           \
	(BR_BASIC | VIRTIO_F_INDIRECT_DESC | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_DISCARD | \
	 VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_CONFIG_WCE)

enum { BR_SIZE = 256, BR_QUEUES = 2, BR_LIVE = 15, BR_NEEDS_RESET = 64, BR_UNTOUCHED = 0xee };

struct blk_rig {
	struct guest_mem gm;
	struct loop *loop;
	struct io_thread *thread;
	struct virtio_blk b;
	struct fake_block *disk;
	struct fake_transport t;
	struct virtq_driver d[BR_QUEUES];
	struct fake_clock time; /* the device's, for its limit; it stands */
	struct clock clock;
	bool destroyed;
};

/* For cmocka: a writable disk of a pattern, the driver has not come yet. */
int br_setup(void **state);
int br_teardown(void **state);
/* The device and its disk alone, anew: with another loop, or read-only. */
void br_make(struct blk_rig *f, struct loop *loop, bool read_only);
void br_unmake(struct blk_rig *f);

/* The driver comes. */
void br_go(struct blk_rig *f, uint64_t features);
uint8_t *br_at(struct blk_rig *f, uint64_t gpa);
void br_put_header(struct blk_rig *f, unsigned i, uint32_t type, uint64_t sector);
/* Request `i` (its header, data and status have a place of their own) in the usual
 * three descriptors, in queue 0. */
void br_offer(struct blk_rig *f, unsigned i, uint32_t type, uint64_t sector, uint32_t len,
	      bool device_writes);
void br_kick(struct blk_rig *f);
uint8_t br_status(struct blk_rig *f, unsigned i);
/* One request from offer to answer: its status; *used_len is what the used ring says. */
uint8_t br_run(struct blk_rig *f, uint32_t type, uint64_t sector, uint32_t len, bool device_writes,
	       uint32_t *used_len);
/* One with a range, to discard or to zero. */
uint8_t br_range(struct blk_rig *f, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags);
/* Does a write reach the medium before it is done? */
bool br_write_is_stable(struct blk_rig *f);

#endif
