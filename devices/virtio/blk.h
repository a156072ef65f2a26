/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk: the virtio block device [virtio 1.3 5.2].
 *
 * A chain is parsed into one request for the backend, kept in a slot of a pool
 * that was allocated with the device, and answered when the backend is done, in
 * whatever order. All of it runs on the loop of the queue's lane, each of which has
 * a pool and a backend of its own; vCPUs only touch the configuration space.
 *
 * A disk may have a limit. Then a lane asks before it takes a request, and where the answer is "not
 * yet", takes none until its timer rings; what it does not take stays in the ring, so there is
 * nothing to give back or to lose. The limit is one for all lanes: they share its lock.
 */
#ifndef DEVICES_VIRTIO_BLK_H
#define DEVICES_VIRTIO_BLK_H

#include "devices/backend/block.h"
#include "devices/virtio/virtio.h"
#include "vmm/core/rate_limit.h"

/* Feature bits [virtio 1.3 5.2.3]. */
#define VIRTIO_BLK_F_SEG_MAX      (1ull << 2)
#define VIRTIO_BLK_F_RO           (1ull << 5)
#define VIRTIO_BLK_F_BLK_SIZE     (1ull << 6)
#define VIRTIO_BLK_F_FLUSH        (1ull << 9)
#define VIRTIO_BLK_F_CONFIG_WCE   (1ull << 11)
#define VIRTIO_BLK_F_MQ           (1ull << 12)
#define VIRTIO_BLK_F_DISCARD      (1ull << 13)
#define VIRTIO_BLK_F_WRITE_ZEROES (1ull << 14)

/* Request types and answers [virtio 1.3 5.2.6]. */
enum {
	VIRTIO_BLK_T_IN = 0,
	VIRTIO_BLK_T_OUT = 1,
	VIRTIO_BLK_T_FLUSH = 4,
	VIRTIO_BLK_T_GET_ID = 8,
	VIRTIO_BLK_T_DISCARD = 11,
	VIRTIO_BLK_T_WRITE_ZEROES = 13,

	VIRTIO_BLK_S_OK = 0,
	VIRTIO_BLK_S_IOERR = 1,
	VIRTIO_BLK_S_UNSUPP = 2,

	VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1,
};

/* Configuration space: offsets of struct virtio_blk_config [virtio 1.3 5.2.4]. */
enum {
	VIRTIO_BLK_CFG_CAPACITY = 0,
	VIRTIO_BLK_CFG_SEG_MAX = 12,
	VIRTIO_BLK_CFG_BLK_SIZE = 20,
	VIRTIO_BLK_CFG_WRITEBACK = 32,
	VIRTIO_BLK_CFG_NUM_QUEUES = 34,
	VIRTIO_BLK_CFG_MAX_DISCARD_SECTORS = 36,
	VIRTIO_BLK_CFG_MAX_DISCARD_SEG = 40,
	VIRTIO_BLK_CFG_DISCARD_SECTOR_ALIGNMENT = 44,
	VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SECTORS = 48,
	VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SEG = 52,
	VIRTIO_BLK_CFG_WRITE_ZEROES_MAY_UNMAP = 56,
	VIRTIO_BLK_CFG_LEN = 60,
};

enum { VIRTIO_BLK_ID_LEN = 20 };

enum { VIRTIO_BLK_LANES_MAX = 16 };

struct virtio_blk_req {
	struct virtio_blk_lane *lane;
	struct virtio_blk_req *next_free;
	unsigned queue;
	struct block_req io;
	struct virtq_chain chain;
	struct iovec iov[VIRTQ_SEGS_MAX];
};

/* What one of the loops has of the device. */
struct virtio_blk_lane {
	struct virtio_blk *blk;
	unsigned index;
	struct block *backend; /* owned */

	/* The loop's. */
	struct virtio_blk_req *pool, *free;
	unsigned slots, fresh; /* of the pool: how many, and from where on never used */
	unsigned in_flight;
	bool attached, quiescing;
	struct loop_timer *timer; /* from started to stopped */
	bool waits;               /* for the timer: nothing is taken until then */
	bool limit_changed;       /* atomic, any thread: it need not wait for the timer */
	unsigned next_queue;  /* is served first when the timer rings; past the end: the first */
	uint64_t unpublished; /* a bit for each queue with answers not yet shown */
	struct log_budget host_errors;
};

struct virtio_blk {
	struct virtio v; /* for the transport */
	uint8_t id[VIRTIO_BLK_ID_LEN];
	uint64_t size;      /* bytes, of all lanes; the main thread stores, all load: atomic */
	uint8_t cache_mode; /* what the driver chose; vCPUs store, the loops load */
	struct rate_limit limit;
	struct virtio_blk_lane lanes[VIRTIO_BLK_LANES_MAX];
	unsigned n_lanes;
};

struct virtio_blk_options {
	const char *name;   /* for log lines, borrowed: "disk0" */
	const char *serial; /* what GET_ID tells, cut at 20 bytes; NULL: none */
	unsigned n_queues;  /* 1 to VIRTIO_QUEUES_MAX */
	struct rates limit; /* zeroes: none */
	const struct clock
		*clock; /* for the limit; borrowed, outlives the device; NULL: the host's */
};

/* Who serves a share of the queues: a loop, and a way of its own to the disk. */
struct virtio_blk_host {
	struct block *backend;
	struct loop *loop;
};

/* `n_hosts`: 1 to n_queues and VIRTIO_BLK_LANES_MAX, of one and the same disk. Their backends
 * are taken over, also on failure. `gm` and the loops outlive the device. 0, -ENOMEM or
 * -EMFILE. */
int virtio_blk_init(struct virtio_blk *b, const struct virtio_blk_options *options,
		    struct guest_mem *gm, const struct virtio_blk_host *hosts, unsigned n_hosts);
/* As virtio_fini(); then the backends are destroyed. A saved state is refused with
 * -EINVAL when the disk's size is another. */
void virtio_blk_fini(struct virtio_blk *b);

/* From now on no more than this of reads and writes, both together; zeroes: no limit. An operation
 * is a request of any kind that gets to the disk, its bytes are those that are read, written or
 * zeroed: a flush and a discard have none. Any thread, without the virtio lock. */
void virtio_blk_set_limit(struct virtio_blk *b, const struct rates *limit);
/* As it was set last. Any thread. */
struct rates virtio_blk_limit(struct virtio_blk *b);

/* What is behind the disk has grown, or `want`, bytes, is not 0 and it is to: then the driver is
 * told of its size [virtio 1.3 5.2.5.1]. It never shrinks, as requests are in flight. 0, or a
 * negative errno with *e filled and all as it was. Main thread; the device may be running, or
 * paused. */
int virtio_blk_resize(struct virtio_blk *b, uint64_t want, struct err *e);

/* Bytes. Any thread. */
static inline uint64_t virtio_blk_size(const struct virtio_blk *b)
{
	return __atomic_load_n(&b->size, __ATOMIC_ACQUIRE);
}

/* The disk, of which the abilities are the same for all lanes. */
static inline const struct block *virtio_blk_disk(const struct virtio_blk *b)
{
	return b->lanes[0].backend;
}

#endif
