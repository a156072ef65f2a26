/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem: the memory device [virtio 1.3 5.15], by which a guest gets more memory while it runs, and
 * gives it back. Its region is RAM of guest_mem that firmware tells nobody of. It is made of
 * blocks, plugged and unplugged ones; the host says how much is to be plugged, the driver which
 * blocks.
 *
 * All of the region is usable from the start: whether a block is plugged is bookkeeping. An
 * unplugged one can be read and written, as it is mapped like any RAM, and the host counts on the
 * whole region if the guest has no manners; what a block held goes back to the host when it is
 * unplugged. So the driver's promise not to touch them, UNPLUGGED_INACCESSIBLE, is welcome and
 * not insisted upon. ACPI_PXM is not offered: there is one node.
 *
 * A reset by the driver changes no block [virtio 1.3 5.15.5.2]: a kernel that is started by another
 * one finds them plugged, and unplugs them all.
 */
#ifndef DEVICES_VIRTIO_MEM_H
#define DEVICES_VIRTIO_MEM_H

#include "devices/virtio/virtio.h"

/* Features [virtio 1.3 5.15.3]. */
#define VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE (1ull << 1)

/* The configuration space, all of it le64 but for a le16 node_id, and read-only [5.15.4]. */
enum {
	VIRTIO_MEM_CFG_BLOCK_SIZE = 0,
	VIRTIO_MEM_CFG_NODE_ID = 8,
	VIRTIO_MEM_CFG_ADDR = 16,
	VIRTIO_MEM_CFG_REGION_SIZE = 24,
	VIRTIO_MEM_CFG_USABLE_SIZE = 32,
	VIRTIO_MEM_CFG_PLUGGED_SIZE = 40,
	VIRTIO_MEM_CFG_REQUESTED_SIZE = 48,
	VIRTIO_MEM_CFG_LEN = 56,
};

/* The host's huge page; Linux takes what it can use, pieces of 2 or 4 MiB. */
#define VIRTIO_MEM_BLOCK (2ull << 20)

/* Requests and answers [virtio 1.3 5.15.6]: le16 type, then at 8 what depends on it. */
enum {
	VIRTIO_MEM_REQ_PLUG,
	VIRTIO_MEM_REQ_UNPLUG,
	VIRTIO_MEM_REQ_UNPLUG_ALL,
	VIRTIO_MEM_REQ_STATE
};
enum { VIRTIO_MEM_RESP_ACK, VIRTIO_MEM_RESP_NACK, VIRTIO_MEM_RESP_BUSY, VIRTIO_MEM_RESP_ERROR };
enum { VIRTIO_MEM_STATE_PLUGGED, VIRTIO_MEM_STATE_UNPLUGGED, VIRTIO_MEM_STATE_MIXED };
enum {
	VIRTIO_MEM_REQ_ADDR = 8,    /* le64 */
	VIRTIO_MEM_REQ_BLOCKS = 16, /* le16 */
	VIRTIO_MEM_REQ_LEN = 24,
	VIRTIO_MEM_RESP_STATE = 8, /* le16 */
	VIRTIO_MEM_RESP_LEN = 10,
};

struct virtio_mem {
	struct virtio v;             /* for the transport */
	uint64_t addr, region;       /* bytes */
	uint64_t requested, plugged; /* bytes; atomic */
	uint8_t *bits;               /* one a block, set if it is plugged; the loop's, owned */
	struct virtq_chain chain;
	struct log_budget complaints;
};

/* Nothing is plugged, nothing requested. The region is [addr, addr + region), multiples of
 * VIRTIO_MEM_BLOCK, region > 0, and one of *gm's own. `name` (for log lines), `gm` and `loop` are
 * borrowed and outlive the device. 0 or a negative errno. */
int virtio_mem_init(struct virtio_mem *m, const char *name, struct guest_mem *gm, struct loop *loop,
		    uint64_t addr, uint64_t region);
void virtio_mem_fini(struct virtio_mem *m); /* as virtio_fini() */

/* How many bytes are to be plugged: a multiple of VIRTIO_MEM_BLOCK, at most the region. The
 * driver, if there is one, hears of it; a reset leaves it. Any thread, without the virtio lock. */
void virtio_mem_request(struct virtio_mem *m, uint64_t bytes);
/* Nothing is plugged, nor asked for, as after virtio_mem_init(): for a machine that begins anew,
 * whose devices were reset. */
void virtio_mem_renew(struct virtio_mem *m);
uint64_t virtio_mem_requested(const struct virtio_mem *m);
/* How many are plugged. Any thread. */
uint64_t virtio_mem_plugged(const struct virtio_mem *m);

#endif
