/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The saved state of a virtio device, in its transport's section: the transport's
 * registers, then what is common to all devices, then the device type's own. Each
 * part is judged before it is taken; when a later part is refused, the earlier
 * ones are taken already, and the device goes back to power-on.
 */
#include "devices/virtio/virtio_priv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void virtio_save(struct virtio *v, struct state_writer *w)
{
	pthread_mutex_lock(&v->lock);
	assert(!v->serving);
	state_put_u8(w, v->status);
	state_put_u8(w, v->config_generation);
	state_put_u64(w, v->features);
	state_put_u8(w, (uint8_t)v->n_queues);
	for (unsigned i = 0; i < v->n_queues; i++)
		virtq_save(&v->queues[i], w);
	pthread_mutex_unlock(&v->lock);
	if (v->ops->save)
		v->ops->save(v->dev, w);
}

static bool status_valid(uint8_t status)
{
	return !(status & ~(VIRTIO_STATUS_DRIVER_BITS | VIRTIO_STATUS_NEEDS_RESET)) &&
	       virtio_status_in_order(status) &&
	       (status & VIRTIO_STATUS_DRIVER_OK || !(status & VIRTIO_STATUS_NEEDS_RESET));
}

static int load_common(struct virtio *v, struct state_reader *r, struct err *e)
{
	struct virtq queues[VIRTIO_QUEUES_MAX];
	uint8_t status = state_get_u8(r), generation = state_get_u8(r);
	uint64_t features = state_get_u64(r);
	bool active = status & VIRTIO_STATUS_DRIVER_OK && !(status & VIRTIO_STATUS_NEEDS_RESET);

	assert(v->phase == VIRTIO_IDLE && !v->serving);
	if (state_get_u8(r) != v->n_queues || !status_valid(status))
		return err_host(e, -EBADMSG, "saved state: %s: not of this device", v->name);
	if (status & VIRTIO_STATUS_FEATURES_OK && !virtio_features_suit(v, features))
		return err_host(e, -EBADMSG, "saved state: %s: features this device does not have",
				v->name);
	for (unsigned i = 0; i < v->n_queues; i++) {
		queues[i] = (struct virtq){.size_max = v->queues[i].size_max};
		if (virtq_load(&queues[i], r))
			return err_host(e, -EBADMSG, "saved state: %s: cut short", v->name);
		int ret = active && queues[i].config.enabled
				  ? virtq_restart(&queues[i], v->gm, features)
				  : 0;

		if (ret)
			return err_host(e, ret, "saved state: %s: queue %u does not lie in RAM",
					v->name, i);
	}

	pthread_mutex_lock(&v->lock);
	memcpy(v->queues, queues, v->n_queues * sizeof(*queues));
	v->status = status;
	v->config_generation = generation;
	v->features = features;
	v->phase = active ? VIRTIO_PAUSED : VIRTIO_IDLE;
	for (unsigned i = 0; i < v->n_lanes; i++)
		v->lanes[i].renotify = active;
	pthread_mutex_unlock(&v->lock);
	return 0;
}

int virtio_load(struct virtio *v, struct state_reader *r, struct err *e)
{
	int ret = load_common(v, r, e);

	if (ret)
		return ret;
	if (v->ops->load)
		ret = v->ops->load(v->dev, r, e);
	if (!ret)
		ret = state_section_close(r, e);
	if (ret) {
		/* Too late to leave it as it was: all of it goes back. */
		virtio_reset(v);
		if (v->transport_ops && v->transport_ops->power_on)
			v->transport_ops->power_on(v->transport);
	}
	return ret;
}
