/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's registers that only hold a value until DRIVER_OK judges it:
 * features, queue set-up, and the way into a device's configuration space. What
 * has consequences (the status register) is in virtio.c.
 */
#include "devices/virtio/virtio.h"

#include "vmm/base/bytes.h"

uint32_t virtio_offered(struct virtio *v, uint32_t select)
{
	return select > 1 ? 0 : (uint32_t)(v->offered >> (32 * select));
}

uint32_t virtio_driver_features(struct virtio *v, uint32_t select)
{
	pthread_mutex_lock(&v->lock);
	uint64_t features = v->features;

	pthread_mutex_unlock(&v->lock);
	return select > 1 ? 0 : (uint32_t)(features >> (32 * select));
}

void virtio_set_driver_features(struct virtio *v, uint32_t select, uint32_t bits)
{
	if (select > 1)
		return;
	pthread_mutex_lock(&v->lock);
	if (!(v->status & VIRTIO_STATUS_FEATURES_OK)) {
		v->features &= ~(0xffffffffull << (32 * select));
		v->features |= (uint64_t)bits << (32 * select);
	}
	pthread_mutex_unlock(&v->lock);
}

static uint32_t *half(uint64_t *addr, bool high)
{
	/* The value is in host order, and so are its halves. */
	return (uint32_t *)addr + (high == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__));
}

/* One of the six address registers, or NULL. */
static uint32_t *address_half(struct virtq_config *c, enum virtio_queue_field field)
{
	switch (field) {
	case VIRTIO_QUEUE_DESC_LO:
	case VIRTIO_QUEUE_DESC_HI:
		return half(&c->desc, field == VIRTIO_QUEUE_DESC_HI);
	case VIRTIO_QUEUE_AVAIL_LO:
	case VIRTIO_QUEUE_AVAIL_HI:
		return half(&c->avail, field == VIRTIO_QUEUE_AVAIL_HI);
	case VIRTIO_QUEUE_USED_LO:
	case VIRTIO_QUEUE_USED_HI:
		return half(&c->used, field == VIRTIO_QUEUE_USED_HI);
	default:
		return NULL;
	}
}

uint32_t virtio_queue_get(struct virtio *v, unsigned index, enum virtio_queue_field field)
{
	uint32_t val = 0;

	if (index >= v->n_queues)
		return 0;
	pthread_mutex_lock(&v->lock);
	struct virtq_config *c = &v->queues[index].config;
	uint32_t *addr = address_half(c, field);

	if (addr)
		val = *addr;
	else if (field == VIRTIO_QUEUE_SIZE_MAX)
		val = v->queues[index].size_max;
	else
		val = field == VIRTIO_QUEUE_SIZE ? c->size : c->enabled;
	pthread_mutex_unlock(&v->lock);
	return val;
}

void virtio_queue_set(struct virtio *v, unsigned index, enum virtio_queue_field field, uint32_t val)
{
	if (index >= v->n_queues)
		return;
	pthread_mutex_lock(&v->lock);
	struct virtq_config *c = &v->queues[index].config;
	uint32_t *addr = address_half(c, field);

	if (v->status & VIRTIO_STATUS_DRIVER_OK)
		goto out;
	if (field == VIRTIO_QUEUE_ENABLE)
		c->enabled = val == 1;
	else if (c->enabled)
		goto out;
	else if (addr)
		*addr = val;
	else if (field == VIRTIO_QUEUE_SIZE)
		c->size = val <= UINT16_MAX ? (uint16_t)val : 0;
out:
	pthread_mutex_unlock(&v->lock);
}

/* --- configuration space ------------------------------------------------------------- */

uint64_t virtio_config_read(struct virtio *v, uint64_t off, unsigned size)
{
	uint64_t val;

	if (!range_within(off, size, v->config_len))
		return 0;
	pthread_mutex_lock(&v->lock);
	val = v->ops->config_read(v->dev, (uint32_t)off, size);
	pthread_mutex_unlock(&v->lock);
	return val & size_mask(size);
}

void virtio_config_write(struct virtio *v, uint64_t off, unsigned size, uint64_t val)
{
	if (!range_within(off, size, v->config_len) || !v->ops->config_write)
		return;
	pthread_mutex_lock(&v->lock);
	v->ops->config_write(v->dev, (uint32_t)off, size, val & size_mask(size));
	pthread_mutex_unlock(&v->lock);
}

uint8_t virtio_config_generation(struct virtio *v)
{
	pthread_mutex_lock(&v->lock);
	uint8_t generation = v->config_generation;

	pthread_mutex_unlock(&v->lock);
	return generation;
}
