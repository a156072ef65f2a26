/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balloon: the traditional memory balloon [virtio 1.3 5.5], by which memory that the guest
 * does not need goes back to the host.
 *
 *	inflateq      pages that the driver has put into the balloon: given back
 *	deflateq      pages that it takes out again: the host gives new ones as they are touched
 *	statsq        one buffer of statistics, which waits until somebody asks for newer ones
 *	reporting_vq  ranges that are free just now: given back
 *
 * Queues that go with a feature move up where an earlier one is not negotiated, as in Linux
 * and in other devices: without free page hints, which are not offered, Linux's reporting_vq has
 * the index 3. The specification's number is 4, and there it is as well.
 *
 * What is given back, and what not, guest_mem_discard() says. Offered: STATS_VQ, DEFLATE_ON_OOM
 * and, where RAM can go back, PAGE_REPORTING. Not MUST_TELL_HOST, as a page out of the balloon
 * needs nothing of us; nor PAGE_POISON: pages that come back are zeroes, so whoever wants another
 * value in its free pages must not report them, and Linux does not (it wants the feature then,
 * also for zeroes, init_on_free=1).
 */
#ifndef DEVICES_VIRTIO_BALLOON_H
#define DEVICES_VIRTIO_BALLOON_H

#include "devices/virtio/virtio.h"
#include "vmm/core/clock.h"

/* Features [virtio 1.3 5.5.3]. */
#define VIRTIO_BALLOON_F_STATS_VQ       (1ull << 1)
#define VIRTIO_BALLOON_F_DEFLATE_ON_OOM (1ull << 2)
#define VIRTIO_BALLOON_F_PAGE_REPORTING (1ull << 5)

/* The configuration space: le32 num_pages, le32 actual [virtio 1.3 5.5.4]. */
enum {
	VIRTIO_BALLOON_CFG_NUM_PAGES = 0,
	VIRTIO_BALLOON_CFG_ACTUAL = 4,
	VIRTIO_BALLOON_CFG_LEN = 8,
};

/* Pages of the balloon are of 4 KiB, whatever the guest's are [virtio 1.3 5.5.6]. */
#define VIRTIO_BALLOON_PAGE 4096ull

/* One request of the inflateq that is longer is obeyed up to here. Linux's have 256. */
enum { VIRTIO_BALLOON_REQUEST_MAX = 4096 };

/* Tags of statistics [virtio 1.3 5.5.6.4]. */
enum {
	VIRTIO_BALLOON_S_SWAP_IN,      /* bytes, since the guest's start */
	VIRTIO_BALLOON_S_SWAP_OUT,     /* bytes, likewise */
	VIRTIO_BALLOON_S_MAJFLT,       /* faults, likewise */
	VIRTIO_BALLOON_S_MINFLT,       /* faults, likewise */
	VIRTIO_BALLOON_S_MEMFREE,      /* bytes */
	VIRTIO_BALLOON_S_MEMTOT,       /* bytes */
	VIRTIO_BALLOON_S_AVAIL,        /* bytes that could be had without swapping */
	VIRTIO_BALLOON_S_CACHES,       /* bytes */
	VIRTIO_BALLOON_S_HTLB_PGALLOC, /* huge pages, since the guest's start */
	VIRTIO_BALLOON_S_HTLB_PGFAIL,  /* likewise, that could not be had */
	VIRTIO_BALLOON_S_N,
};

/* What the guest says of itself: true or not. */
struct virtio_balloon_stats {
	uint64_t values[VIRTIO_BALLOON_S_N];
	uint32_t known; /* bit i: values[i] is there */
};

struct virtio_balloon {
	struct virtio v; /* for the transport */
	struct clock clock;
	uint32_t target, actual; /* pages; atomic */
	bool stats_wanted;       /* atomic */
	bool stats_read;         /* the loop's: the buffer in the statsq has nothing new any more */
	struct virtq_chain chain;
	struct log_budget complaints;

	pthread_mutex_t lock; /* of all below */
	struct virtio_balloon_stats stats;
	uint64_t stats_ns; /* when they came */
};

/* The balloon is to be empty. `name` (for log lines), `gm`, `loop` and what is behind `clock` are
 * borrowed and outlive the device. 0 or a negative errno. */
int virtio_balloon_init(struct virtio_balloon *b, const char *name, struct guest_mem *gm,
			struct loop *loop, const struct clock *clock);
void virtio_balloon_fini(struct virtio_balloon *b); /* as virtio_fini() */

/* How large the balloon is to be, in pages; the driver, if there is one, hears of it also when that
 * is nothing new, as it may have let pages go meanwhile. A reset leaves it. Any thread, without
 * the virtio lock. */
void virtio_balloon_set_target(struct virtio_balloon *b, uint32_t pages);
uint32_t virtio_balloon_target(const struct virtio_balloon *b);
/* How large it is, as the driver says: any number. Any thread. */
uint32_t virtio_balloon_actual(const struct virtio_balloon *b);

/* Ask the driver for new statistics, which come when it likes or never. Any thread. */
void virtio_balloon_ask(struct virtio_balloon *b);
/* The last ones, and how old they are; false if there are none: no driver, one without
 * statistics, or a saved machine's of which nobody has asked. Any thread. */
bool virtio_balloon_stats(struct virtio_balloon *b, struct virtio_balloon_stats *out,
			  uint64_t *age_ms);

#endif
