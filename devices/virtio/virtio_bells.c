/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/virtio_bells.h"

#include "vmm/base/log.h"

#include <errno.h>
#include <string.h>

_Static_assert(VIRTIO_QUEUES_MAX <= 64, "one bit for each doorbell");

void virtio_bells_init(struct virtio_bells *b, struct virtio *v, const struct doorbell *doorbell,
		       uint32_t stride)
{
	*b = (struct virtio_bells){.v = v, .doorbell = *doorbell, .stride = stride};
	pthread_mutex_init(&b->lock, NULL);
}

void virtio_bells_fini(struct virtio_bells *b)
{
	virtio_bells_unmap(b);
	pthread_mutex_destroy(&b->lock);
}

void virtio_bells_map(struct virtio_bells *b, uint64_t gpa)
{
	pthread_mutex_lock(&b->lock);
	b->mapped = true;
	b->gpa = gpa;
	b->asked = 0;
	pthread_mutex_unlock(&b->lock);
}

void virtio_bells_unmap(struct virtio_bells *b)
{
	const struct doorbell *d = &b->doorbell;

	pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; i < b->v->n_queues; i++)
		if (b->attached & 1ull << i)
			d->ops->detach(d->ctx, b->gpa + (uint64_t)i * b->stride,
				       virtio_doorbell_fd(b->v, i), !b->stride, i);
	b->attached = 0;
	b->mapped = false;
	pthread_mutex_unlock(&b->lock);
}

/* Under the lock. Without it the next store is trapped as well: slower, and nothing else. */
static void attach(struct virtio_bells *b, unsigned index)
{
	const struct doorbell *d = &b->doorbell;
	int ret = d->ops->attach(d->ctx, b->gpa + (uint64_t)index * b->stride,
				 virtio_doorbell_fd(b->v, index), !b->stride, index);

	b->asked |= 1ull << index;
	if (!ret)
		b->attached |= 1ull << index;
	else if (ret != -ENOTSUP)
		log_debug("%s: queue %u has no doorbell: %s", b->v->name, index, strerror(-ret));
}

void virtio_bells_kick(struct virtio_bells *b, unsigned index)
{
	if (index >= b->v->n_queues)
		return;
	virtio_kick(b->v, index);
	if (!b->doorbell.ops)
		return;
	pthread_mutex_lock(&b->lock);
	if (b->mapped && !(b->asked & 1ull << index))
		attach(b, index);
	pthread_mutex_unlock(&b->lock);
}
