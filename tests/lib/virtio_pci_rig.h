/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_pci_rig: a virtio-pci device and its driver, for tests. Everything goes
 * the way a guest's driver would go: through ECAM, the BAR that enumeration found,
 * guest RAM, and stores that may ring a doorbell. Offsets come from the
 * capabilities, expected values from the specification. Behind it is the real
 * virtio core with a device of two queues on a thread of its own, which answers
 * each request with the word "echo". Errors are cmocka failures.
 */
#ifndef TESTS_LIB_VIRTIO_PCI_RIG_H
#define TESTS_LIB_VIRTIO_PCI_RIG_H

#include "devices/pci/host.h"
#include "devices/virtio/pci.h"
#include "tests/lib/fake_irq.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#define VPCI_ECAM   0xe8000000ull
#define VPCI_MMIO32 0xc0000000ull
#define VPCI_RAM    (2 * MiB)

enum { VPCI_SLOT = 1, VPCI_QUEUES = 2, VPCI_CONFIG_LEN = 12, VPCI_BUFFER = 0x40000 };

struct vpci_echo {
	struct virtio v;
	uint8_t config[VPCI_CONFIG_LEN];
	_Atomic unsigned ready[VPCI_QUEUES], resets;
	uint32_t extra; /* state beside the queues */
};

struct vpci {
	struct bus mmio;
	struct guest_mem gm;
	struct fake_msi msi;
	struct fake_doorbell bell;
	struct io_thread *thread;
	struct pci_host host;
	struct vpci_echo echo;
	struct virtio_pci dev;
	struct virtq_driver q[VPCI_QUEUES];

	/* What enumeration found. */
	uint64_t bar, common, isr, device, notify;
	uint32_t multiplier, notify_len, device_len;
	unsigned msix_cap, window;
	uint64_t table, pba;
	unsigned trapped; /* kicks that caused an exit */
};

extern const struct virtio_ops vpci_echo_ops;

/* The machine with the device on it, not yet driven. `attach_errno`: what attaching a
 * doorbell gives. `unbuild` checks that nothing was left behind. */
void vpci_build(struct vpci *r, int attach_errno);
void vpci_unbuild(struct vpci *r);
/* For cmocka: a rig of its own for each test, with ioeventfds and without. */
int vpci_setup(void **state);
int vpci_setup_trapped(void **state);
int vpci_teardown(void **state);

/* The guest's loads and stores: anywhere, and in the device's configuration space. */
uint64_t vpci_ld(struct vpci *r, uint64_t addr, unsigned size);
void vpci_st(struct vpci *r, uint64_t addr, unsigned size, uint64_t val);
uint64_t vpci_cfg_ld(struct vpci *r, unsigned reg, unsigned size);
void vpci_cfg_st(struct vpci *r, unsigned reg, unsigned size, uint64_t val);
uint64_t vpci_bar_address(struct vpci *r);

/* Walk the capability list [virtio 1.3 4.1.5.1.1]; gives a bit for each type seen. */
unsigned vpci_find_structures(struct vpci *r);
void vpci_enable_memory(struct vpci *r);
/* Reset, and on to FEATURES_OK. */
void vpci_negotiate(struct vpci *r);
void vpci_set_up_queues(struct vpci *r, bool vectors);
/* All of it up to DRIVER_OK. With `vectors`, configuration changes use vector 0 and
 * queue i vector i + 1, with message data 0x50 + vector. */
void vpci_bring_up(struct vpci *r, bool vectors);
uint64_t vpci_doorbell(struct vpci *r, unsigned queue);
/* Did a message with this datum arrive? */
bool vpci_delivered(struct vpci *r, uint32_t data);
/* One request on `queue`, waited for. */
void vpci_transact(struct vpci *r, unsigned queue);

#define vpci_wait_until(condition)                     \
	do {                                           \
		unsigned tries_ = 0;                   \
		while (!(condition)) {                 \
			usleep(200);                   \
			assert_true(++tries_ < 25000); \
		}                                      \
	} while (0)

#endif
