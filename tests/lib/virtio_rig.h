/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_rig: a virtio device behind a transport, and its driver, for tests. The
 * driver goes the way a guest's would: through the addresses at which the registers
 * answer, guest RAM, and stores that may ring a doorbell. Behind the registers is the
 * real virtio core with a device of two queues on a thread of its own, which answers
 * each request with the word "echo". Expected values come from the specification.
 * Errors are cmocka failures.
 *
 * A test of what all transports promise calls the functions of struct rig_transport
 * and runs over each of them; one of a transport's own registers includes that
 * transport's rig (virtio_pci_rig.h, virtio_mmio_rig.h), of which struct rig is the
 * first member.
 */
#ifndef TESTS_LIB_VIRTIO_RIG_H
#define TESTS_LIB_VIRTIO_RIG_H

#include "devices/backend/vhost.h"
#include "devices/virtio/virtio.h"
#include "tests/lib/fake_irq.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#define RIG_RAM (2 * MiB)

enum { RIG_QUEUES = 2, RIG_CONFIG_LEN = 12, RIG_BUFFER = 0x40000, RIG_DEVICE_ID = 42 };

/* Status bits and their usual sums [virtio 1.3 2.1]. */
enum { RIG_ACK = 1, RIG_DRIVER = 3, RIG_FEATURES_OK = 0x0b, RIG_RUNNING = 0x0f, RIG_BROKEN = 0x4f };

struct rig_echo {
	struct virtio v;
	uint8_t config[RIG_CONFIG_LEN]; /* 0x10, 0x11, ... at first */
	_Atomic unsigned ready[RIG_QUEUES], resets;
	uint32_t extra; /* state beside the queues; above 1000 it is refused */

	/* A device that stalls: requests stay in flight until rig_unstall(). */
	_Atomic bool stalled;
	struct virtq_chain held[64];
	unsigned held_queue[64]; /* the loop's */
	_Atomic unsigned n_held;
	bool quiesce_waits;

	/* Queue 0 is lent to the test, which has taken and used all before avail entry `next`. */
	_Atomic bool lent;
	struct vhost_ring loan;
	_Atomic uint16_t next;
	bool signals_last; /* it signals once more, when it is too late for the loop to hear it */
};

struct rig_transport;

struct rig {
	const struct rig_transport *t;
	struct bus mmio;
	struct guest_mem gm;
	struct fake_doorbell bell;
	struct io_thread *thread;
	struct rig_echo echo;
	struct virtq_driver q[RIG_QUEUES];
	unsigned trapped; /* stores that no doorbell took */
};

/* What a driver does, in the registers of one transport. Nothing here waits but
 * `reset`, and that as drivers of this transport do. */
struct rig_transport {
	const char *name;
	const struct device_ops *life;
	/* The machine with the device on it, not yet driven. `attach_errno`: what attaching
	 * a doorbell gives. `destroy` checks that nothing was left behind. */
	struct rig *(*create)(int attach_errno);
	void (*destroy)(struct rig *r);
	void *(*device)(struct rig *r); /* for `life` */

	void (*find)(struct rig *r); /* all that comes before the first register */
	uint8_t (*status)(struct rig *r);
	void (*set_status)(struct rig *r, uint8_t status);
	void (*reset)(struct rig *r);
	uint32_t (*offered)(struct rig *r, uint32_t select);
	void (*accept)(struct rig *r, uint32_t select, uint32_t bits);
	/* A register of queue `index`, any index; and whether it can be read back. */
	uint32_t (*queue_get)(struct rig *r, unsigned index, enum virtio_queue_field field);
	void (*queue_set)(struct rig *r, unsigned index, enum virtio_queue_field field,
			  uint32_t val);
	bool (*readable)(enum virtio_queue_field field);
	/* Where interrupts go: before DRIVER_OK, after each reset. */
	void (*set_up_interrupts)(struct rig *r);
	void (*kick)(struct rig *r, unsigned index);
	/* Did one come for a used buffer (of queue `index`), or for the configuration?
	 * It is acknowledged by that. */
	bool (*used_interrupt)(struct rig *r, unsigned index);
	bool (*config_interrupt)(struct rig *r);
	uint64_t (*config_ld)(struct rig *r, unsigned off, unsigned size);
	void (*config_st)(struct rig *r, unsigned off, unsigned size, uint64_t val);
	uint32_t (*generation)(struct rig *r);
	/* Not the driver's: somebody on the host signals an eventfd. */
	void (*signal)(struct rig *r, int eventfd);
};

extern const struct rig_transport rig_pci, rig_mmio;

extern const struct virtio_ops rig_echo_ops;

/* The parts that all transports have; a transport's `create` and `destroy` call these
 * around their own. */
void rig_init(struct rig *r, const struct rig_transport *t, int attach_errno);
/* The device is off the transport already; frees *r. */
void rig_fini(struct rig *r);

/* The guest's loads and stores. */
uint64_t rig_ld(struct rig *r, uint64_t addr, unsigned size);
void rig_st(struct rig *r, uint64_t addr, unsigned size, uint64_t val);

/* From a device that was found: reset, and on to FEATURES_OK with VERSION_1 alone. */
void rig_negotiate(struct rig *r);
/* Rings at fixed places, handed to the device. */
void rig_set_up_queues(struct rig *r);
/* All of it up to DRIVER_OK. */
void rig_bring_up(struct rig *r);
/* A chain of one buffer on `queue`, offered and kicked; gives its head. */
uint16_t rig_offer(struct rig *r, unsigned queue);
/* One request on `queue`, waited for. */
void rig_transact(struct rig *r, unsigned queue);
/* Let what a stalled device holds finish; it stalls no more. */
void rig_unstall(struct rig *r);

/* Lend queue 0 to the test, and take it back: done when they return. */
void rig_lend(struct rig *r);
void rig_reclaim(struct rig *r);
/* As borrower: has the doorbell rung since the last call? Answer what was offered with
 * "lent", 4 bytes; gives how many that were. Signal that. */
bool rig_lent_kicked(struct rig *r);
unsigned rig_lent_serve(struct rig *r);
void rig_lent_call(struct rig *r);

/* One test, for each transport: with a rig of its own. */
struct rig_case {
	const char *name;
	void (*run)(struct rig *r);
	int attach_errno; /* what attaching a doorbell gives */
};

/* A cmocka group for each transport, names as in "mmio: name"; gives the number of
 * failures. */
int rig_run_over_all(const struct rig_case *cases, unsigned n);

#define rig_wait_until(condition)                      \
	do {                                           \
		unsigned tries_ = 0;                   \
		while (!(condition)) {                 \
			usleep(200);                   \
			assert_true(++tries_ < 50000); \
		}                                      \
	} while (0)

#endif
