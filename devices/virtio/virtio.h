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
 * device's loop: all of queue_ready and quiesce run there. So a device needs no
 * lock of its own for what only its loop touches.
 *
 *	   vCPU                              device's loop
 *	DRIVER_OK  -> check, start queues -> add doorbells, started()
 *	(doorbell eventfd)                -> queue_ready(i)
 *	status = 0 -> "resetting"         -> remove doorbells, quiesce()
 *	status reads non-zero meanwhile      ... in flight drains ...
 *	status reads 0                    <- virtio_quiesced()
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
enum { VIRTIO_ID_NET = 1, VIRTIO_ID_BLOCK = 2, VIRTIO_ID_CONSOLE = 3, VIRTIO_ID_RNG = 4 };

/* Device status bits [virtio 1.3 2.1]. */
enum {
	VIRTIO_STATUS_ACKNOWLEDGE = 0x01,
	VIRTIO_STATUS_DRIVER = 0x02,
	VIRTIO_STATUS_DRIVER_OK = 0x04,
	VIRTIO_STATUS_FEATURES_OK = 0x08,
	VIRTIO_STATUS_NEEDS_RESET = 0x40,
	VIRTIO_STATUS_FAILED = 0x80,
};

/* Reserved feature bits [virtio 1.3 6]. */
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX     (1ull << 29)
#define VIRTIO_F_VERSION_1     (1ull << 32)

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
	 * (VERSION_1 is checked for all.) May be NULL. vCPU thread. */
	bool (*features_ok)(void *dev, uint64_t features);

	/* The driver is ready; v->features is final. Loop thread. May be NULL. */
	void (*started)(void *dev);

	/* The driver offered something in queue `index`. Loop thread. */
	void (*queue_ready)(void *dev, unsigned index);

	/* Finish or cancel what is in flight, touch no queue afterwards, then call
	 * virtio_quiesced() once, at once or later, on the loop's thread. After it the
	 * queues may start again (resume) or be reset. */
	void (*quiesce)(void *dev);

	/* The driver reset the device: back to power-on. Under the virtio lock, no
	 * queue running. May be NULL. */
	void (*reset)(void *dev);
};

/* What the transport does for the device. Any thread, no lock held over it. */
struct virtio_transport_ops {
	void (*notify_queue)(void *transport, unsigned index);
	void (*notify_config)(void *transport);
};

struct virtio {
	const struct virtio_ops *ops;
	void *dev;
	const char *name; /* for log lines: "disk0" */
	struct guest_mem *gm;
	struct loop *loop;
	uint32_t config_len;
	unsigned n_queues;
	struct virtq *queues;  /* n_queues of them, owned */
	int *doorbells;        /* an eventfd for each queue, owned */
	struct loop_fd **watches;

	const struct virtio_transport_ops *transport_ops;
	void *transport;

	pthread_mutex_t lock;
	pthread_cond_t idle; /* signalled when quiesced */
	uint64_t offered, features;
	uint8_t status;
	uint8_t config_generation;
	enum { VIRTIO_IDLE, VIRTIO_ACTIVE, VIRTIO_RESETTING, VIRTIO_PAUSING, VIRTIO_PAUSED } phase;
	struct log_budget complaints;
};

/* `offered` gains VERSION_1, INDIRECT_DESC and EVENT_IDX here. `queue_sizes` has
 * n_queues entries (each a power of two <= VIRTQ_SIZE_MAX). Opens the doorbell
 * eventfds. `gm`, `loop`, `name` are borrowed and outlive the object. 0 or a
 * negative errno. */
int virtio_init(struct virtio *v, const struct virtio_ops *ops, void *dev, const char *name,
		struct guest_mem *gm, struct loop *loop, uint64_t offered, uint32_t config_len,
		unsigned n_queues, const uint16_t *queue_sizes);
/* With vCPUs gone; stops the queues if they run: waits until the loop has let go
 * of them. The loop must be running or never have run. */
void virtio_fini(struct virtio *v);

void virtio_set_transport(struct virtio *v, const struct virtio_transport_ops *ops,
			  void *transport);

/* --- for transports: vCPU threads ------------------------------------------- */

uint8_t virtio_status(struct virtio *v);
/* A write to the status register. 0 asks for a reset; bits out of order, or
 * cleared, are ignored [virtio 1.3 2.1.1]. FEATURES_OK stays clear if the subset
 * does not suit. Activation that fails sets NEEDS_RESET. */
void virtio_set_status(struct virtio *v, uint8_t status);
/* Wait until a reset is complete, for transports whose drivers do not poll (mmio). */
void virtio_wait_reset(struct virtio *v);

uint32_t virtio_offered(struct virtio *v, uint32_t select); /* 32 bits of them; select > 1: 0 */
uint32_t virtio_driver_features(struct virtio *v, uint32_t select);
/* Ignored once FEATURES_OK is set. */
void virtio_set_driver_features(struct virtio *v, uint32_t select, uint32_t bits);

/* Queue set-up. `index` out of range: reads 0, writes ignored; writes after the
 * queue is enabled or after DRIVER_OK are ignored. */
enum virtio_queue_field {
	VIRTIO_QUEUE_SIZE,
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

/* Interrupt the driver for queue `index` (after virtq_publish said so). */
void virtio_notify_queue(struct virtio *v, unsigned index);
/* The configuration changed (a disk grew): bump the generation and interrupt. */
void virtio_notify_config(struct virtio *v);
/* The driver broke the protocol: NEEDS_RESET, a configuration interrupt, one
 * rate-limited line; the queues are not served any more. Loop thread. */
void virtio_fail(struct virtio *v, const char *why);
bool virtio_failed(struct virtio *v);
void virtio_quiesced(struct virtio *v);

/* --- for the machine: main thread, vCPUs parked ------------------------------ */

/* Drain, and wait for it, at most `timeout_ms`: 0 or -ETIMEDOUT (resumed again). */
int virtio_pause(struct virtio *v, unsigned timeout_ms);
void virtio_resume(struct virtio *v);
/* Fields of the common state, inside the section of the transport or device. */
void virtio_save(struct virtio *v, struct state_writer *w);
/* Into a device that is idle; all checked before anything is set; leaves it
 * paused if it was active. -EBADMSG or the errors of virtq_restart. */
int virtio_load(struct virtio *v, struct state_reader *r, struct err *e);

#endif
