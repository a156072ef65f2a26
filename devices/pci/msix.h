/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msix: a function's MSI-X vectors [PCI 3.0 6.8.2].
 *
 * The guest fills a table in a BAR: for each vector an address, a datum and a
 * mask bit. The device says "vector 3"; if nothing masks it, the message goes out,
 * else its bit in the Pending Bit Array is set, and unmasking sends it.
 *
 *	             enabled, unmasked            masked (vector or function)
 *	notify       fire                         pending = 1
 *	unmask       -                            fire if pending; pending = 0
 *	not enabled  nothing fires, nothing pends
 *
 * Routes are few, and most vectors that a driver programs never fire. So a vector gets
 * its route when it first fires, and the route is armed anew only when the
 * message differs from the one it carries; masking does not disarm it, since
 * nobody fires a masked vector. Where no route is to be had, the message is sent
 * without one.
 *
 * Threads: notify comes from any thread, the table from vCPUs; one mutex. It is
 * held while firing, so that no message leaves once a mask bit reads back set.
 *
 * A source is an eventfd that somebody outside of this process signals (vhost). While its
 * vector is usable it is bound to the vector's route, and its interrupts pass us by. While
 * it is not, they stay in the eventfd, which the source's owner watches all the time: it
 * reads them and says msix_notify(), and they pend as any other does.
 */
#ifndef DEVICES_PCI_MSIX_H
#define DEVICES_PCI_MSIX_H

#include "devices/pci/config.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/core/irq.h"
#include "vmm/core/state.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { MSIX_ENTRY_LEN = 16, MSIX_VECTORS_MAX = 2048 };

struct msix_vector {
	uint32_t addr_lo, addr_hi, data; /* as the table holds them */
	bool masked, pending;
	int route; /* -1: none yet */
	bool armed;
	struct msi_msg carried; /* the message the route is armed with */
};

/* `eventfd` is borrowed; -1: a free place. */
struct msix_source {
	int eventfd;
	unsigned vector; /* perhaps out of range: then nobody hears it */
	bool bound;
};

struct msix {
	struct msi msi;
	struct pci_dev *pci;
	unsigned cap; /* offset of the capability */
	unsigned n;
	struct msix_vector *vectors; /* n of them, owned */
	struct msix_source *sources; /* likewise */
	pthread_mutex_t lock;
	_Atomic bool enabled; /* as in Message Control; written under the lock */
	bool function_masked; /* likewise */
	struct log_budget complaints;
};

/* Add the capability to *d: `n` (1 to 2048) vectors, the table at `table_off` of BAR
 * `bar` and the pending bits at `pba_off`, both multiples of 8. The owner of the
 * BAR sends accesses on to the four functions below. 0, -EINVAL, -ENOSPC (no room
 * for the capability) or -ENOMEM. *msi is copied; what it points at outlives *m. */
int msix_init(struct msix *m, struct pci_dev *d, unsigned n, unsigned bar, uint32_t table_off,
	      uint32_t pba_off, const struct msi *msi);
/* Gives the routes back. Nobody may notify any more, and there are no sources. Fine on a
 * zero-filled object. */
void msix_fini(struct msix *m);

/* Bytes of BAR that the table and the pending bits take. */
uint32_t msix_table_len(unsigned n);
uint32_t msix_pba_len(unsigned n);

/* Aligned accesses of 4 and 8 bytes count; others read 0 and write nothing, as do
 * those beyond the end. Pending bits are read-only. vCPU threads. */
uint64_t msix_table_read(struct msix *m, uint64_t off, unsigned size);
void msix_table_write(struct msix *m, uint64_t off, unsigned size, uint64_t val);
uint64_t msix_pba_read(struct msix *m, uint64_t off, unsigned size);

/* For the device's config_written: looks at Message Control if that was hit. */
void msix_config_written(struct msix *m, unsigned off, unsigned size);

/* Interrupt the guest. Any thread; a vector out of range is ignored. */
void msix_notify(struct msix *m, unsigned vector);
/* `eventfd` (not -1, read by its owner when it is not bound) is a source of interrupts of
 * `vector` from now on, and of no other; at most n sources. Where it cannot be bound, its
 * owner hears all of it. Any thread. */
void msix_source_set(struct msix *m, int eventfd, unsigned vector);
/* Once it is back nothing interrupts by it. Any thread; one that is none is fine. */
void msix_source_del(struct msix *m, int eventfd);
/* Is MSI-X on? Any thread. */
bool msix_enabled(struct msix *m);

/* Power-on: all vectors masked, nothing pending, not enabled. */
void msix_reset(struct msix *m);

/* State, as for struct pci_dev: `check` reads n vectors into `out` (room for n,
 * caller's) and judges them against the configuration space that comes with them;
 * `restore` sets both the table and what Message Control says. Main thread. */
struct msix_saved {
	uint32_t addr_lo, addr_hi, data;
	bool masked, pending;
};
void msix_save(struct msix *m, struct state_writer *w);
int msix_load_check(const struct msix *m, struct state_reader *r, const struct pci_saved *config,
		    struct msix_saved *out, struct err *e);
void msix_restore(struct msix *m, const struct pci_saved *config, const struct msix_saved *saved);

#endif
