/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_irq: struct irq_line, struct msi and struct doorbell of vmm/core/irq.h
 * without a hypervisor. Each fake records what the device asked for and plays
 * the host's part: it counts, it fails on request, and a fake doorbell rings
 * as an ioeventfd would. Any thread may call in.
 */
#ifndef TESTS_LIB_FAKE_IRQ_H
#define TESTS_LIB_FAKE_IRQ_H

#include "vmm/core/irq.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* --- lines ------------------------------------------------------------------ */

enum { FAKE_PINS = 32 };

struct fake_irq {
	pthread_mutex_t lock;
	bool level[FAKE_PINS];
	unsigned raised[FAKE_PINS]; /* low-to-high edges */
};

void fake_irq_init(struct fake_irq *f);
void fake_irq_fini(struct fake_irq *f);
struct irq_line fake_irq_line(struct fake_irq *f, unsigned pin);
bool fake_irq_level(struct fake_irq *f, unsigned pin);
unsigned fake_irq_raised(struct fake_irq *f, unsigned pin);

/* --- messages --------------------------------------------------------------- */

enum { FAKE_MSI_ROUTES = 128, FAKE_MSI_LOG = 256, FAKE_MSI_PINS = 64, FAKE_MSI_BONDS = 16 };

struct fake_msi {
	pthread_mutex_t lock;
	struct {
		bool used, armed;
		struct msi_msg msg;
	} routes[FAKE_MSI_ROUTES];
	struct {
		bool set, level;
		struct msi_msg msg;
	} pins[FAKE_MSI_PINS];
	struct {
		int eventfd; /* 0: a free place */
		int route;
	} bonds[FAKE_MSI_BONDS];

	/* What reached the guest, in order; the count goes on when the log is full. */
	struct msi_msg log[FAKE_MSI_LOG];
	unsigned delivered;
	unsigned lost;       /* fires of a disarmed route */
	unsigned news, sets; /* calls of route_new and route_set */
	unsigned sends;      /* calls of send, which also count as delivered */

	/* Failures to provoke: the next calls give this errno while it is not 0. */
	int fail_new, fail_set, fail_send, fail_bind;
};

void fake_msi_init(struct fake_msi *f);
void fake_msi_fini(struct fake_msi *f);
/* Valid as long as *f is. */
struct msi fake_msi_wire(struct fake_msi *f);
unsigned fake_msi_delivered(struct fake_msi *f);
/* Routes that are not given back. */
unsigned fake_msi_routes(struct fake_msi *f);
/* Eventfds that are bound to a route; the one that `eventfd` is bound to, or -1. */
unsigned fake_msi_bonds(struct fake_msi *f);
int fake_msi_bond(struct fake_msi *f, int eventfd);
/* Somebody signals an eventfd: as irqfds do, the route it is bound to fires and the signal
 * is used up; else it stays there. */
void fake_msi_signal(struct fake_msi *f, int eventfd);
/* The newest message that was delivered; zeroes if none was. */
struct msi_msg fake_msi_last(struct fake_msi *f);

/* --- doorbells -------------------------------------------------------------- */

enum { FAKE_DOORBELLS = 256 };

struct fake_doorbell {
	pthread_mutex_t lock;
	unsigned n;
	struct fake_doorbell_entry {
		uint64_t gpa;
		int eventfd;
		bool match;
		uint32_t data;
	} entries[FAKE_DOORBELLS];
	unsigned attaches, detaches; /* successful calls */
	unsigned strays;             /* detach of what was not attached, or attached twice */
	int fail_attach;             /* attach gives this errno, e.g. -ENOTSUP, while not 0 */
};

void fake_doorbell_init(struct fake_doorbell *f);
void fake_doorbell_fini(struct fake_doorbell *f);
struct doorbell fake_doorbell_wire(struct fake_doorbell *f);
unsigned fake_doorbell_count(struct fake_doorbell *f);
/* A guest's store: signals the eventfd and gives true if a doorbell took it;
 * false means an exit, and the test goes on to bus_write(). */
bool fake_doorbell_store(struct fake_doorbell *f, uint64_t gpa, unsigned size, uint64_t val);

#endif
