/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue: one split virtqueue, seen from the device [virtio 1.3 2.7].
 *
 * The ring is three areas of guest RAM. The driver offers chains of buffers in
 * the avail ring; the device pops a bounded snapshot of a chain, does the work,
 * pushes it to the used ring, and asks whether the driver wants to hear of it.
 *
 *	driver:  desc[] ... avail.ring[avail.idx++] = head
 *	device:  pop -> (work) -> push ... publish -> notify?
 *
 * A guest may change the ring while we read it, so every field is read once
 * into the snapshot and judged there. Anything that breaks the protocol makes
 * pop fail, and the caller answers with NEEDS_RESET; nothing here ever trusts
 * an index, a length or a "next".
 *
 * A queue belongs to exactly one thread between start and stop.
 */
#ifndef DEVICES_VIRTIO_QUEUE_H
#define DEVICES_VIRTIO_QUEUE_H

#include "vmm/core/guest_mem.h"
#include "vmm/core/state.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* The reserved feature bits that concern the ring [virtio 1.3 6]. */
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX     (1ull << 29)

enum {
	VIRTQ_SIZE_MAX = 256,
	/* A chain with an indirect table holds no more than the queue size
	 * [virtio 1.3 2.7.5.3.1], a direct one cannot. */
	VIRTQ_SEGS_MAX = VIRTQ_SIZE_MAX,
};

/* What the driver says of a queue through the transport. */
struct virtq_config {
	uint16_t size;
	bool enabled;
	uint64_t desc, avail, used; /* gpa */
};

/* What went through a queue since it was made; reset and stop leave it alone. Its owner's
 * to read and write. */
/* Each word is written by the queue's thread alone, and may be read by any. */
struct virtq_counts {
	uint64_t kicks;      /* doorbells heard */
	uint64_t requests;   /* chains given back */
	uint64_t from_guest; /* bytes that the device was to read, */
	uint64_t to_guest;   /* and bytes that it has written */
	uint64_t interrupts;
};

static inline void virtq_count(uint64_t *word, uint64_t more)
{
	__atomic_store_n(word, *word + more, __ATOMIC_RELAXED);
}

struct virtq {
	struct virtq_config config;
	uint16_t size_max; /* what the device offers; 0: no such queue */
	struct virtq_counts counts;

	/* Below: valid between virtq_start() and virtq_stop(). */
	bool running;
	struct guest_mem *gm;
	bool event_idx, indirect;
	uint8_t *desc, *avail, *used;       /* hva */
	uint16_t last_avail;                /* next avail entry to pop */
	uint16_t used_next;                 /* next used entry to fill */
	uint16_t used_published;            /* used.idx as the driver sees it */
	uint16_t in_flight;                 /* popped and not yet pushed */
	uint64_t busy[VIRTQ_SIZE_MAX / 64]; /* the heads of those */
};

/* One buffer of a chain, checked to lie within one region of RAM. */
struct virtq_seg {
	uint64_t gpa;
	void *hva;
	uint32_t len;
};

/* A snapshot of a chain: first the segments the device reads, then those it
 * writes [virtio 1.3 2.7.4.2]. */
struct virtq_chain {
	uint16_t head;
	uint16_t n_read, n_write;     /* segments; empty ones are left out */
	uint64_t read_len, write_len; /* bytes */
	struct virtq_seg segs[VIRTQ_SEGS_MAX];
};

/* Descriptor and ring flags [virtio 1.3 2.7.5, 2.7.6, 2.7.8]. */
enum {
	VIRTQ_DESC_F_NEXT = 1,
	VIRTQ_DESC_F_WRITE = 2,
	VIRTQ_DESC_F_INDIRECT = 4,
	VIRTQ_AVAIL_F_NO_INTERRUPT = 1,
	VIRTQ_USED_F_NO_NOTIFY = 1,
};

/* Check the configuration against RAM and start from index 0. -EINVAL when the
 * size is 0, not a power of two or above size_max; an area is unaligned, not
 * wholly in one region of RAM, or wraps. `features` are the negotiated ones. */
int virtq_start(struct virtq *q, struct guest_mem *gm, uint64_t features);
/* Forget the runtime state; config stays (virtq_reset clears both). */
void virtq_stop(struct virtq *q);
void virtq_reset(struct virtq *q);

/* Take the next chain: 1 and *c filled, 0 when there is none, -EPROTO when the
 * driver broke the rules: a loop, a bad address, an index that jumped, a head
 * that is in flight already, an unlawful indirect table. After -EPROTO the queue
 * is where it was; its owner stops serving it. */
int virtq_pop(struct virtq *q, struct virtq_chain *c);

/* Give back the chain that was popped last of those that were not pushed and lie at
 * the end of what was popped: the next pop finds it again. For a device that takes
 * buffers in stock. */
void virtq_unpop(struct virtq *q, uint16_t head);

/* Somebody else has served the ring meanwhile, in order, and has taken what is before avail
 * entry `next`: go on from there, or from the first that was taken and not used. Nothing
 * is in flight. */
void virtq_continue(struct virtq *q, uint16_t next);

/* Put the chain `head` into the used ring, `written` bytes of its writable part
 * filled (and marked dirty by whoever wrote them). Not visible to the driver
 * before virtq_publish(). */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);

/* Make everything pushed visible; gives whether the driver wants an interrupt. */
bool virtq_publish(struct virtq *q);

/* Ask for (or spare) doorbells. virtq_enable_kick gives true when more arrived
 * meanwhile, so that the caller looks again: pop until 0, enable, and only
 * sleep if it says false. */
void virtq_disable_kick(struct virtq *q);
bool virtq_enable_kick(struct virtq *q);

/* Copy between a chain and a buffer, `off` bytes into the readable (writable)
 * part, whatever the framing. Give the number of bytes copied (less at the end
 * of the chain). virtq_chain_write marks what it wrote dirty. */
size_t virtq_chain_read(const struct virtq_chain *c, uint64_t off, void *buf, size_t len);
size_t virtq_chain_write(const struct virtq_chain *c, struct guest_mem *gm, uint64_t off,
			 const void *buf, size_t len);
/* Describe bytes [off, off+len) of the readable (writable) part as an iovec of
 * at most `max` entries; gives the number of entries, or -EINVAL if the part
 * is shorter or the entries do not suffice. */
int virtq_chain_iov(const struct virtq_chain *c, bool writable, uint64_t off, uint64_t len,
		    struct iovec *iov, int max);
void virtq_chain_mark_dirty(const struct virtq_chain *c, struct guest_mem *gm, uint64_t off,
			    uint64_t len);

/* State: config and indexes. Saved only while the queue's owner has let go of it. */
void virtq_save(const struct virtq *q, struct state_writer *w);
/* Into *q, which is not running; size_max is the device's own and stays. Checked
 * only in form (-EBADMSG): virtq_restart checks the rest. */
int virtq_load(struct virtq *q, struct state_reader *r);
/* Start again where the loaded indexes say. Errors as virtq_start. */
int virtq_restart(struct virtq *q, struct guest_mem *gm, uint64_t features);

#endif
