/* SPDX-License-Identifier: Apache-2.0 */
/* fake_ring: a ring in the hands of somebody who plays the host's kernel (vhost). */
#ifndef TESTS_LIB_FAKE_RING_H
#define TESTS_LIB_FAKE_RING_H

#include "devices/backend/vhost.h"

/* As the kernel does: use the next chain of the ring, `len` bytes of it, and signal that. Gives
 * its head. */
uint16_t fake_ring_use(struct vhost_ring *r, uint32_t len);

#endif
