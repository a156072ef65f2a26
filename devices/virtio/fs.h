/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs: the virtio file-system device [virtio 1.3 5.11] over a share
 * (devices/backend/share.h).
 *
 * Queue 0 is for what must not wait behind other requests: FUSE_FORGET, which is what frees the
 * host's memory, and FUSE_INTERRUPT; the others are for requests. All are served by the
 * share's own thread, one request after the other: a host that is slow makes the guest's
 * processes wait that use this share, never a vCPU. A request that was interrupted before its
 * turn is answered with EINTR.
 *
 * There is no notification queue, no DAX.
 *
 * Saved state: node ids and open files live in this process, so a device that is mounted
 * can be saved but not loaded again: load refuses it, and says so. One that is not mounted
 * has no state of its own.
 */
#ifndef DEVICES_VIRTIO_FS_H
#define DEVICES_VIRTIO_FS_H

#include "devices/backend/share.h"
#include "devices/virtio/virtio.h"

/* Configuration space [virtio 1.3 5.11.4]: offsets. */
enum {
	VIRTIO_FS_CFG_TAG = 0,
	VIRTIO_FS_CFG_NUM_REQUEST_QUEUES = 36,
	VIRTIO_FS_CFG_LEN = 40,
};

enum { VIRTIO_FS_TAG_LEN = 36, VIRTIO_FS_REQUEST_QUEUES_MAX = 8 };

struct virtio_fs {
	struct virtio v; /* for the transport */
	struct share *backend;
	uint8_t tag[VIRTIO_FS_TAG_LEN];

	/* The loop's. */
	struct virtq_chain chain;
	struct iovec in[VIRTQ_SEGS_MAX], out[VIRTQ_SEGS_MAX];
};

struct virtio_fs_options {
	const char *name;          /* for log lines, borrowed */
	const char *tag;           /* what the guest mounts; cut at 36 bytes */
	unsigned n_request_queues; /* 1 to VIRTIO_FS_REQUEST_QUEUES_MAX */
};

/* `backend` is taken over, also on failure. `gm` and `loop` outlive the device.
 * 0, -ENOMEM or -EMFILE. */
int virtio_fs_init(struct virtio_fs *f, struct share *backend,
		   const struct virtio_fs_options *options, struct guest_mem *gm,
		   struct loop *loop);
/* As virtio_fini(); then the share is closed. */
void virtio_fs_fini(struct virtio_fs *f);

#endif
