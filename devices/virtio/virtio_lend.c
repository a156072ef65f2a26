/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues that are lent: the host's kernel (vhost) has the ring, hears its doorbell and
 * signals an eventfd, `call`, when the driver is to be interrupted.
 *
 *	driver --doorbell's eventfd--> borrower --call--+--> interrupt   (a bond of the transport)
 *	                                                +--> on_call() --> transport
 *
 * Where the transport can bind `call` to an interrupt, signals go past this process. Where
 * it cannot, for now (a masked vector) or at all (virtio-mmio, whose driver reads a status
 * register), they are read here and raised like any other. The eventfd is watched all the
 * time, since what the transport can do changes on vCPU threads: Linux hands a signal to
 * the bond first and wakes the watcher only if there is none (before 5.12: also then).
 */
#include "devices/backend/vhost.h"
#include "devices/virtio/virtio_priv.h"
#include "vmm/base/fd.h"

#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>

static void raise_calls(struct virtio_doorbell *d)
{
	struct virtio *v = d->v;

	if (!virtio_unring(d->call))
		return;
	virtq_count(&v->queues[d->index].counts.interrupts, 1);
	virtio_raise_queue(v, d->index);
}

static void on_call(void *ctx, int events)
{
	raise_calls(ctx);
}

static int lend(struct virtio *v, unsigned index, struct vhost_ring *out)
{
	struct virtio_doorbell *d = &v->doorbells[index];
	struct virtq *q = &v->queues[index];

	assert(!d->lent && q->running && !q->in_flight);
	if (!v->transport_ops)
		return -ENOTSUP;
	d->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->call < 0)
		return -errno;
	d->call_watch = loop_fd_add(virtio_lane_of(v, index)->loop, d->call, LOOP_READ, on_call, d);
	if (!d->call_watch) {
		fd_close(&d->call);
		return -ENOMEM;
	}
	loop_fd_del(d->watch);
	d->watch = NULL;
	d->lent = true;
	if (v->transport_ops->set_call)
		v->transport_ops->set_call(v->transport, index, d->call);
	*out = (struct vhost_ring){
		.size = q->config.size,
		.desc = q->desc,
		.avail = q->avail,
		.used = q->used,
		.next = q->last_avail,
		.kick = d->fd,
		.call = d->call,
	};
	return 0;
}

static void reclaim(struct virtio *v, unsigned index, uint16_t next)
{
	struct virtio_doorbell *d = &v->doorbells[index];

	assert(d->lent);
	if (v->transport_ops->set_call)
		v->transport_ops->set_call(v->transport, index, -1);
	loop_fd_del(d->call_watch);
	d->call_watch = NULL;
	raise_calls(d); /* what was signalled while it had no bond */
	fd_close(&d->call);
	d->lent = false;
	virtq_continue(&v->queues[index], next);
	if (virtio_lane_of(v, index)->draining)
		return;
	if (!virtio_watch_doorbell(d))
		virtio_fail(v, "the host has no more descriptors to watch");
	virtio_kick(v, index);
}

void virtio_reclaim(struct virtio *v, unsigned first, unsigned n, const struct vhost_ring *rings)
{
	for (unsigned i = 0; i < n; i++)
		reclaim(v, first + i, rings[i].next);
}

int virtio_lend(struct virtio *v, unsigned first, unsigned n, struct vhost_ring *rings)
{
	for (unsigned i = 0; i < n; i++) {
		int ret = lend(v, first + i, &rings[i]);

		if (ret) {
			virtio_reclaim(v, first, i, rings);
			return ret;
		}
	}
	return 0;
}
