/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio: what all virtio devices have in common [virtio 1.3 2.1, 2.2, 3.1]:
 * the status register, feature negotiation, setting queues up, NEEDS_RESET,
 * and the hand-over of the queues between the vCPUs and the I/O thread.
 *
 *	transport (pci, mmio)  decodes registers, calls the functions below
 *	virtio                 this file
 *	device (blk, rng, net) struct virtio_ops
 *	backend                the host's side, opened before the device is made
 *
 * Threads. The transport calls in on vCPU threads; a mutex here serialises
 * them. From DRIVER_OK until a reset is complete the queues belong to the
 * device's loop: started, queue_ready, quiesce and stopped all run there. So a
 * device needs no lock of its own for what only its loop touches, and the data
 * path takes none.
 *
 * A device whose queues are to be served side by side has several loops. Each is
 * a lane: queue i belongs to lane i modulo their number, and each lane goes the way
 * below by itself, with a started, quiesce and stopped of its own. "Loop thread" is
 * that of the queue's lane, and a device keeps apart what the lanes touch. The device
 * is idle when the last lane has let go.
 *
 *	   vCPU                              device's loop
 *	DRIVER_OK  -> check, start queues -> watch doorbells, started()
 *	(doorbell eventfd)                -> queue_ready(i)
 *	status = 0 -> "resetting"         -> forget doorbells, quiesce()
 *	status reads non-zero meanwhile      ... in flight drains ...
 *	                                     virtio_quiesced()
 *	status reads 0                    <- stopped()
 *
 * A pause is the same without the reset at the end: the queues stay as they are.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_H
#define DEVICES_VIRTIO_VIRTIO_H

#include "devices/virtio/queue.h"
#include "vmm/base/log.h"
#include "vmm/core/guest_mem.h"
#include "vmm/core/loop.h"
#include "vmm/core/state.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Device types [virtio 1.3 5]. */
enum {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_RNG = 4,
	VIRTIO_ID_BALLOON = 5,
	VIRTIO_ID_VSOCK = 19,
	VIRTIO_ID_MEM = 24,
	VIRTIO_ID_FS = 26,
};

/* Device status bits [virtio 1.3 2.1]. */
enum {
	VIRTIO_STATUS_ACKNOWLEDGE = 0x01,
	VIRTIO_STATUS_DRIVER = 0x02,
	VIRTIO_STATUS_DRIVER_OK = 0x04,
	VIRTIO_STATUS_FEATURES_OK = 0x08,
	VIRTIO_STATUS_NEEDS_RESET = 0x40,
	VIRTIO_STATUS_FAILED = 0x80,
};

/* Reserved feature bits [virtio 1.3 6]; those of the ring are in queue.h. */
#define VIRTIO_F_VERSION_1 (1ull << 32)

enum { VIRTIO_QUEUES_MAX = 64 };

struct virtio;

/* What a device type brings. `dev` is the device's own object. */
struct virtio_ops {
	uint32_t device_id;

	/* Configuration space, vCPU threads, under the virtio lock. `off`+`size`
	 * lies within config_len; NULL write: read-only. */
	uint64_t (*config_read)(void *dev, uint32_t off, unsigned size);
	void (*config_write)(void *dev, uint32_t off, unsigned size, uint64_t val);

	/* Is this subset of the offered features one the device can work with?
	 * (VERSION_1 is checked for all.) Asked, without changing anything, when the
	 * driver sets FEATURES_OK and of a saved state. May be NULL. Any thread. */
	bool (*features_ok)(void *dev, uint64_t features);

	/* The queues of `lane` are its loop's from here; v->features is final. Again after
	 * each pause. Loop thread. May be NULL. */
	void (*started)(void *dev, unsigned lane);

	/* The driver (perhaps) offered something in queue `index`: take it with
	 * virtio_pop(). Loop thread. */
	void (*queue_ready)(void *dev, unsigned index);

	/* Finish or cancel what is in flight in the queues of `lane`, then call
	 * virtio_quiesced() once, at once or later, on the loop's thread, and touch no
	 * queue of it afterwards. NULL: the device never has anything in flight between
	 * two calls. */
	void (*quiesce)(void *dev, unsigned lane);

	/* The last call on the loop before it lets go of the queues, from the top of
	 * its stack: the pair of started. May be NULL. */
	void (*stopped)(void *dev, unsigned lane);

	/* The driver reset the device: back to power-on. Under the virtio lock, no
	 * queue running. May be NULL. */
	void (*reset)(void *dev);

	/* State that the device type has beside its queues, the end of the section. `load`
	 * checks before it sets; `reset` undoes it. Both NULL if it has none. Main thread,
	 * idle or paused. */
	void (*save)(void *dev, struct state_writer *w);
	int (*load)(void *dev, struct state_reader *r, struct err *e);
};

/* What the transport does for the device: interrupts. Any thread, without the
 * virtio lock. notify_config may come from inside virtio_set_status(), on the
 * same vCPU thread: the transport holds no lock over that call that it takes here.
 *
 * reset: a reset is complete, and with it what the transport holds for the driver
 * goes: selectors, vectors, pending interrupts, also those of requests that ended
 * while it was under way. May be NULL. Any thread, under the virtio lock.
 *
 * power_on: the same for what a driver's reset leaves alone. May be NULL. Main thread.
 *
 * set_call: queue `index` was lent: whoever signals `eventfd` (borrowed; -1: nobody any
 * more, and nothing comes by it once this is back) interrupts as notify_queue does. The
 * transport takes what it can by itself and leaves the rest to the eventfd's other reader.
 * May be NULL: that is none. Loop thread. */
struct virtio_transport_ops {
	void (*notify_queue)(void *transport, unsigned index);
	void (*notify_config)(void *transport);
	void (*reset)(void *transport);
	void (*power_on)(void *transport);
	void (*set_call)(void *transport, unsigned index, int eventfd);
};

/* One queue's doorbell: an eventfd, and while the loop has the queues, its watch. */
struct virtio_doorbell {
	struct virtio *v;
	unsigned index;
	int fd; /* owned */
	struct loop_fd *watch;
	/* The loop's: its queue is lent, and these are there (virtio_lend.c). */
	bool lent;
	int call; /* eventfd, owned */
	struct loop_fd *call_watch;
};

/* A loop that serves the device, or some of its queues, and what is its own while it does. */
struct virtio_lane {
	struct virtio *v;
	unsigned index;
	struct loop *loop;
	int control;   /* eventfd, owned: look at the phase again */
	bool renotify; /* under the lock: interrupts raised before the save may be lost */

	struct loop_fd *control_watch;
	bool draining; /* quiesce was called */
	bool drained;  /* ... and answered */
};

struct virtio {
	const struct virtio_ops *ops;
	void *dev;
	const char *name; /* for log lines: "disk0" */
	struct guest_mem *gm;
	struct virtio_lane *lanes; /* owned */
	unsigned n_lanes;
	uint32_t config_len;
	unsigned n_queues;
	struct virtq *queues;              /* n_queues of them, owned */
	struct virtio_doorbell *doorbells; /* likewise */

	const struct virtio_transport_ops *transport_ops;
	void *transport;

	pthread_mutex_t lock; /* of all down to the next line */
	pthread_cond_t idle;  /* the phase became IDLE or PAUSED */
	uint64_t offered, features;
	uint8_t status;
	uint8_t config_generation;
	enum { VIRTIO_IDLE, VIRTIO_ACTIVE, VIRTIO_RESETTING, VIRTIO_PAUSING, VIRTIO_PAUSED } phase;
	unsigned serving;   /* lanes that have their queues, or a task on its way to take them */
	bool resume_wanted; /* PAUSING was given up: go on as soon as it is through */

	bool failed; /* NEEDS_RESET: nothing is popped or published any more. Any loop, atomic */
	struct log_budget complaints;
};

/* `offered` gains VERSION_1, INDIRECT_DESC and EVENT_IDX here. `queue_sizes` has
 * n_queues entries (each a power of two <= VIRTQ_SIZE_MAX). Opens the doorbell
 * eventfds. `loop` is the first lane's. `gm`, `loop`, `name` are borrowed and outlive
 * the object. 0 or a negative errno. */
int virtio_init(struct virtio *v, const struct virtio_ops *ops, void *dev, const char *name,
		struct guest_mem *gm, struct loop *loop, uint64_t offered, uint32_t config_len,
		unsigned n_queues, const uint16_t *queue_sizes);
/* Another loop (borrowed, outlives the object) to serve the device; no more of them than
 * queues. Before there is a transport. 0 or a negative errno. */
int virtio_add_lane(struct virtio *v, struct loop *loop);
/* With vCPUs gone; stops the queues if they run: waits until the loops have let go
 * of them, so the loops of a device that was activated must still be running. Fine
 * on a zero-filled or half-built object. */
void virtio_fini(struct virtio *v);

void virtio_set_transport(struct virtio *v, const struct virtio_transport_ops *ops,
			  void *transport);

/* --- for transports: vCPU threads ------------------------------------------- */

uint8_t virtio_status(struct virtio *v);
/* A write to the status register. 0 asks for a reset, which may be complete on
 * return or later; until then every write is ignored. A write with bits out of
 * order, or cleared, is ignored as a whole [virtio 1.3 2.1.1]. FEATURES_OK stays
 * clear if the subset does not suit. Activation that fails sets NEEDS_RESET. */
void virtio_set_status(struct virtio *v, uint8_t status);
/* Wait until a reset is complete, for transports whose drivers do not poll (mmio)
 * and for the machine's own reset: at most `timeout_ms`, so that a vCPU can look
 * whether it is wanted elsewhere and come back. Gives whether it is complete. */
bool virtio_wait_reset(struct virtio *v, unsigned timeout_ms);

uint32_t virtio_offered(struct virtio *v, uint32_t select); /* 32 bits of them; select > 1: 0 */
uint32_t virtio_driver_features(struct virtio *v, uint32_t select);
/* Ignored once FEATURES_OK is set. */
void virtio_set_driver_features(struct virtio *v, uint32_t select, uint32_t bits);

/* Queue set-up. `index` out of range: reads 0, writes ignored; writes after the
 * queue is enabled or after DRIVER_OK are ignored. (Enabling may be taken back
 * before DRIVER_OK, which mmio drivers do.) Values are judged at DRIVER_OK. */
enum virtio_queue_field {
	VIRTIO_QUEUE_SIZE,
	VIRTIO_QUEUE_SIZE_MAX, /* of the device: writes are ignored */
	VIRTIO_QUEUE_ENABLE,
	VIRTIO_QUEUE_DESC_LO,
	VIRTIO_QUEUE_DESC_HI,
	VIRTIO_QUEUE_AVAIL_LO,
	VIRTIO_QUEUE_AVAIL_HI,
	VIRTIO_QUEUE_USED_LO,
	VIRTIO_QUEUE_USED_HI,
};
uint32_t virtio_queue_get(struct virtio *v, unsigned index, enum virtio_queue_field field);
void virtio_queue_set(struct virtio *v, unsigned index, enum virtio_queue_field field,
		      uint32_t val);

/* A trapped doorbell: signal the eventfd that an ioeventfd would have. Out of
 * range: ignored. */
void virtio_kick(struct virtio *v, unsigned index);
int virtio_doorbell_fd(struct virtio *v, unsigned index); /* borrowed */

/* Any offset and any size of 1, 2, 4, 8: beyond the end reads 0 and ignores. */
uint64_t virtio_config_read(struct virtio *v, uint64_t off, unsigned size);
void virtio_config_write(struct virtio *v, uint64_t off, unsigned size, uint64_t val);
uint8_t virtio_config_generation(struct virtio *v);

/* --- for devices ------------------------------------------------------------ */

/* The loop of a lane, 0 to n_lanes - 1. */
static inline struct loop *virtio_loop(const struct virtio *v, unsigned lane)
{
	return v->lanes[lane].loop;
}

/* Serve queue `index`: call from queue_ready with *taken = 0 first, until false.
 * It spares doorbells meanwhile, looks again before it sleeps, fails the device
 * when the driver broke the rules, and after as many chains as the queue is long
 * it rings the doorbell itself and says false: other queues get their turn.
 * Loop thread. */
bool virtio_pop(struct virtio *v, unsigned index, unsigned *taken, struct virtq_chain *c);
/* Show the driver what was pushed to queue `index` and interrupt it if it asked
 * for that; nothing once the device has failed. Loop thread. */
void virtio_publish(struct virtio *v, unsigned index);
/* The configuration changed (a disk grew): bump the generation and interrupt. Any
 * thread, without the virtio lock. */
void virtio_notify_config(struct virtio *v);
/* The same, with what changed: a driver that reads *field in pieces, or beside others, sees by the
 * generation that it has to read again. Others load *field atomically, with acquire. */
void virtio_change_config(struct virtio *v, uint64_t *field, uint64_t value);
/* The driver broke the protocol: NEEDS_RESET, a configuration interrupt, one
 * rate-limited line; the queues are not served any more. Loop thread. */
void virtio_fail(struct virtio *v, const char *why);
/* Loop thread. */
bool virtio_failed(const struct virtio *v);
/* Lend `n` running queues from `first` on, of which nothing is in flight, to somebody else in the
 * host who serves them by itself: rings[0] to rings[n - 1] (devices/backend/vhost.h) are all that
 * it has to know. Between started and quiesce; the device is not asked to serve the queues
 * meanwhile. 0, or none is lent: -ENOTSUP without a transport, -EMFILE or -ENOMEM. Loop thread. */
struct vhost_ring;
int virtio_lend(struct virtio *v, unsigned first, unsigned n, struct vhost_ring *rings);
/* The borrower has let go, or never took them: no store of its into guest RAM comes any more, and
 * each `next` is the first entry that it has not taken; what it took and did not use, the device
 * takes again. The queues are the device's, and their doorbells ring. Loop thread; at the latest in
 * quiesce. */
void virtio_reclaim(struct virtio *v, unsigned first, unsigned n, const struct vhost_ring *rings);
/* The answer to quiesce. The lane's loop thread. */
void virtio_quiesced(struct virtio *v, unsigned lane);

/* --- for the machine: main thread, vCPUs parked ------------------------------ */

/* Drain, and wait for it, at most `timeout_ms`: 0 or -ETIMEDOUT (the device goes on
 * by itself once the drain is through). A reset under way is awaited as well. */
int virtio_pause(struct virtio *v, unsigned timeout_ms);
void virtio_resume(struct virtio *v);
/* A reset of the device, waited for: its loop runs, or has let go of it. */
void virtio_reset(struct virtio *v);
/* The rest of the transport's section: the common state and the device's own; the
 * device is idle or paused. */
void virtio_save(struct virtio *v, struct state_writer *w);
/* The same, and the section's end, into a device that is idle; leaves it paused if it
 * was active: virtio_resume() starts it. -EBADMSG, or -EINVAL for rings that do not fit
 * RAM, with *e filled: the device is unchanged or, transport included, at power-on. */
int virtio_load(struct virtio *v, struct state_reader *r, struct err *e);

#endif
