/* SPDX-License-Identifier: Apache-2.0 */
/* rng: the virtio entropy device [virtio 1.3 5.4]: the host's getrandom(2) in the
 * guest's buffers. It has no configuration space and no state of its own. */
#ifndef DEVICES_VIRTIO_RNG_H
#define DEVICES_VIRTIO_RNG_H

#include "devices/virtio/virtio.h"

struct virtio_rng {
	struct virtio v; /* for the transport */
	struct virtq_chain chain;
};

/* `name` (for log lines), `gm` and `loop` are borrowed and outlive the device. 0 or
 * a negative errno. */
int virtio_rng_init(struct virtio_rng *r, const char *name, struct guest_mem *gm,
		    struct loop *loop);
void virtio_rng_fini(struct virtio_rng *r); /* as virtio_fini() */

#endif
