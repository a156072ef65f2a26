/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request is one chain: what the device reads is a FUSE request, header first, and what it
 * writes is the answer [virtio 1.3 5.11.6.1]. Where one descriptor ends and the next begins means
 * nothing. The answer is shown to the driver as soon as it is there, for the next
 * request may take its time.
 */
#include "devices/virtio/fs.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { HIPRIO = 0 };

static uint64_t config_read(void *dev, uint32_t off, unsigned size)
{
	struct virtio_fs *f = dev;
	uint8_t cfg[VIRTIO_FS_CFG_LEN];
	uint64_t val = 0;

	memcpy(cfg + VIRTIO_FS_CFG_TAG, f->tag, sizeof(f->tag));
	le32_put(cfg + VIRTIO_FS_CFG_NUM_REQUEST_QUEUES, f->v.n_queues - 1);
	memcpy(&val, cfg + off, size);
	return le64toh(val);
}

/* The chain that was popped from queue `index`. False if the device has failed. */
static bool serve(struct virtio_fs *f, unsigned index)
{
	const struct virtq_chain *c = &f->chain;
	int n_in = virtq_chain_iov(c, false, 0, c->read_len, f->in, (int)ARRAY_LEN(f->in));
	int n_out = virtq_chain_iov(c, true, 0, c->write_len, f->out, (int)ARRAY_LEN(f->out));
	int64_t written;

	assert(n_in >= 0 && n_out >= 0); /* no more than the chain has segments */
	const struct share_request r = {
		.in = f->in,
		.n_in = n_in,
		.in_len = c->read_len,
		.out = f->out,
		.n_out = n_out,
		.out_len = c->write_len,
	};
	written = share_serve(f->backend, &r);
	if (written < 0) {
		virtio_fail(&f->v, "a request without a header or room for its answer");
		return false;
	}
	/* A read that failed may have come part of the way. */
	virtq_chain_mark_dirty(c, f->v.gm, 0,
			       c->write_len < SHARE_ANSWER_MAX ? c->write_len : SHARE_ANSWER_MAX);
	virtq_push(&f->v.queues[index], c->head, (uint32_t)written);
	return true;
}

static void serve_hiprio(struct virtio_fs *f)
{
	unsigned taken = 0;

	while (virtio_pop(&f->v, HIPRIO, &taken, &f->chain) && serve(f, HIPRIO))
		;
	virtio_publish(&f->v, HIPRIO);
}

static void queue_ready(void *dev, unsigned index)
{
	struct virtio_fs *f = dev;
	unsigned taken = 0;

	serve_hiprio(f);
	while (index != HIPRIO && virtio_pop(&f->v, index, &taken, &f->chain) && serve(f, index)) {
		virtio_publish(&f->v, index);
		serve_hiprio(f);
	}
}

static void started(void *dev, unsigned lane)
{
	struct virtio_fs *f = dev;

	share_attach(f->backend);
}

static void reset(void *dev)
{
	struct virtio_fs *f = dev;

	share_reset(f->backend);
}

static void save(void *dev, struct state_writer *w)
{
	const struct virtio_fs *f = dev;

	state_put_u8(w, share_mounted(f->backend));
}

static int load(void *dev, struct state_reader *r, struct err *e)
{
	const struct virtio_fs *f = dev;
	uint8_t mounted = state_get_u8(r);

	if (r->error || mounted > 1)
		return err_host(e, -EBADMSG, "saved state: %s: not of a share", f->v.name);
	if (mounted)
		return err_host(e, -ENOTSUP,
				"saved state: %s: the share was mounted, and files that were open "
				"cannot be brought back; unmount it before saving",
				f->v.name);
	return 0;
}

static const struct virtio_ops ops = {
	.device_id = VIRTIO_ID_FS,
	.config_read = config_read,
	.started = started,
	.queue_ready = queue_ready,
	.reset = reset,
	.save = save,
	.load = load,
};

int virtio_fs_init(struct virtio_fs *f, struct share *backend,
		   const struct virtio_fs_options *options, struct guest_mem *gm, struct loop *loop)
{
	uint16_t sizes[1 + VIRTIO_FS_REQUEST_QUEUES_MAX];
	unsigned n = 1 + options->n_request_queues;
	int ret;

	assert(n > 1 && n <= ARRAY_LEN(sizes));
	*f = (struct virtio_fs){.backend = backend};
	memcpy(f->tag, options->tag, strnlen(options->tag, sizeof(f->tag)));
	for (unsigned i = 0; i < n; i++)
		sizes[i] = VIRTQ_SIZE_MAX;
	ret = virtio_init(&f->v, &ops, f, options->name, gm, loop, 0, VIRTIO_FS_CFG_LEN, n, sizes);
	if (ret)
		virtio_fs_fini(f);
	return ret;
}

void virtio_fs_fini(struct virtio_fs *f)
{
	virtio_fini(&f->v);
	share_destroy(f->backend);
	f->backend = NULL;
}
