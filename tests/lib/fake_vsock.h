/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_vsock: a backend of the socket device without paths: each connection is a socket pair,
 * whose other end the test holds. Port FAKE_VSOCK_REFUSED is nobody's. Loop thread, but for
 * what is said otherwise.
 */
#ifndef TESTS_LIB_FAKE_VSOCK_H
#define TESTS_LIB_FAKE_VSOCK_H

#include "devices/backend/vsock.h"

#include <stdbool.h>

enum { FAKE_VSOCK_REFUSED = 9, FAKE_VSOCK_ENDS = 1200 };

struct fake_vsock {
	struct vsock_backend b;
	bool attached;
	unsigned attaches, detaches;
	/* The guest's connections, in their order: our ends, and the ports it wanted. Atomic, so
	 * that a test may look while the loop is another thread's. */
	unsigned n_ends;
	int ends[FAKE_VSOCK_ENDS]; /* owned; -1: the test has taken it */
	uint32_t ports[FAKE_VSOCK_ENDS];
	/* The guest's answers, in their order. */
	unsigned n_answers;
	uint32_t answers[FAKE_VSOCK_ENDS];
	void *who[FAKE_VSOCK_ENDS];

	/* It can have the guest's rings (fake_vsock_serves_rings), and then has no connections: the
	 * test plays the kernel. What it did comes back in `rings`. */
	bool has_rings; /* atomic */
	struct vhost_ring rings[VSOCK_RINGS];
	uint64_t ring_features;
	unsigned takes;
	int take_error;
};

/* For virtio_vsock_init(), which takes it over. */
struct fake_vsock *fake_vsock_create(void);
/* From here on it has the rings. Before the device is started. */
void fake_vsock_serves_rings(struct fake_vsock *f);
/* Hand a connection to the guest's `port` in: our end of it, or the negative errno that open()
 * gave. */
int fake_vsock_open(struct fake_vsock *f, uint32_t port, void *who);
/* Our end of the guest's i-th connection, which is the caller's from here on. */
int fake_vsock_end(struct fake_vsock *f, unsigned i);

#endif
