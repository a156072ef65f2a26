/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo_rig: a virtio device that only gives chains back, or keeps them until it is told to, and its
 * driver, without a transport's registers. Errors are cmocka failures.
 */
#ifndef TESTS_LIB_ECHO_RIG_H
#define TESTS_LIB_ECHO_RIG_H

#include "devices/virtio/virtio.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#define ECHO_RAM     (4 * MiB)
#define ECHO_RING(i) (0x10000ull + 0x10000ull * (i))
#define ECHO_DATA    0x100000ull

#define ECHO_F_ODD   (1ull << 0)
#define ECHO_F_MAGIC (1ull << 33)
#define ECHO_BASIC   (VIRTIO_F_VERSION_1)

enum {
	ECHO_SIZE = 8,
	ECHO_QUEUES = 2,
	ECHO_CONFIG_LEN = 6,
	ECHO_ACK = 1,
	ECHO_DRIVER = 2,
	ECHO_OK = 4,
	ECHO_FEAT = 8,
	ECHO_FAILED = 128
};
enum { ECHO_LIVE = ECHO_ACK | ECHO_DRIVER | ECHO_FEAT | ECHO_OK, ECHO_NEEDS_RESET = 64 };

struct echo {
	struct virtio v;
	struct virtq_chain chain;
	bool hold, quiescing[ECHO_QUEUES]; /* a lane each */
	unsigned in_flight, served[ECHO_QUEUES], started, stopped, resets;
	uint16_t held[64], held_queue[64];
	/* A guest that refills as fast as it is served. */
	struct virtq_driver *refill;
	char order[256];
	unsigned n_order;
	uint8_t config[ECHO_CONFIG_LEN];
};

struct echo_rig {
	struct guest_mem gm;
	struct loop *loop;
	struct echo e;
	struct fake_transport t;
	struct virtq_driver d[ECHO_QUEUES];
};

/* What a request usually is: room for the answer. */
extern const struct vd_buf echo_buf;

void echo_init(struct echo *e, struct echo_rig *f, struct loop *loop);
/* Give back what was held. */
void echo_finish(void *dev);

/* For cmocka. */
int echo_rig_setup(void **state);
int echo_rig_teardown(void **state);
/* Bring the device to where virtio_fini() needs no loop. */
void echo_rig_shut(struct echo_rig *f);
/* The driver comes. */
void echo_rig_go(struct echo_rig *f);
void echo_rig_kick(struct echo_rig *f, unsigned queue);

#endif
