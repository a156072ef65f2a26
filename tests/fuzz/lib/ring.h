/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring: a virtio driver that the fuzzer plays, in guest RAM that remembers.
 *
 *	0x0000  descriptors, avail ring, used ring       0x8000  nothing: a hole
 *	0x1000  indirect tables                          0xc000  data
 *	0x2000  data                                     0x14000 end of RAM
 *
 * RAM has a copy of itself. Whatever the driver lets the device write (buffers of
 * writable descriptors, the used ring) is noted; after a step of the device all
 * other bytes must be as they were. A driver that lets the device write into its
 * own tables has lost every right to that: the check is off from then on, and only
 * the sanitizers watch. What a target adds beyond RING_END is its own affair.
 */
#ifndef TESTS_FUZZ_LIB_RING_H
#define TESTS_FUZZ_LIB_RING_H

#include "devices/virtio/virtio.h"
#include "tests/fuzz/lib/fuzz.h"
#include "vmm/core/guest_mem.h"

enum {
	RING_TABLES = 0x1000,
	RING_DATA = 0x2000,
	RING_HOLE = 0x8000,
	RING_HIGH = 0xc000,
	RING_END = 0x14000,
};

struct fuzz_ram {
	struct guest_mem gm;
	uint8_t before[RING_END];
	bool writable[RING_END]; /* by the device */
	bool lawless;
};

void fuzz_ram_init(struct fuzz_ram *r);
void fuzz_ram_fini(struct fuzz_ram *r);
/* The guest's own stores; those beyond RAM go nowhere. */
void fuzz_ram_store(struct fuzz_ram *r, uint64_t gpa, const void *bytes, size_t len);
/* The device may write there from now on, or nowhere any more. */
void fuzz_ram_allow(struct fuzz_ram *r, uint64_t gpa, uint64_t len);
void fuzz_ram_forbid(struct fuzz_ram *r);
/* After a step of the device. */
void fuzz_ram_check(struct fuzz_ram *r);

struct fuzz_ring {
	struct fuzz_ram *ram;
	unsigned index; /* which of the device's queues it is */
	uint16_t size;
	uint64_t desc, avail, used;
	uint16_t avail_idx;
	uint16_t next_desc; /* for those who play by the rules */
};

/* A ring of `size` (a power of two, 64 at most) from address 0, zeroed. */
void fuzz_ring_init(struct fuzz_ring *q, struct fuzz_ram *r, uint16_t size);
void fuzz_ring_desc(struct fuzz_ring *q, uint64_t table, unsigned i, uint64_t addr, uint32_t len,
		    uint16_t flags, uint16_t next);
void fuzz_ring_offer(struct fuzz_ring *q, uint16_t head);
/* How many entries the used ring has, and one of them. */
uint16_t fuzz_ring_used_idx(const struct fuzz_ring *q);
void fuzz_ring_used(const struct fuzz_ring *q, uint16_t at, uint32_t *id, uint32_t *len);
/* From a device that was reset to DRIVER_OK with this ring as its queue `index`. */
void fuzz_ring_bring_up(struct fuzz_ring *q, struct virtio *v, uint64_t features);
/* One thing that a driver without manners does: a descriptor of any contents in any
 * table, a head, an index, flags, bytes of a buffer. */
void fuzz_ring_step(struct fuzz_in *in, struct fuzz_ring *q);

#endif
