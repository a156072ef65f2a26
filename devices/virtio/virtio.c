/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state that vCPUs and the loops share is one word, `phase`, under the lock:
 *
 *	         DRIVER_OK               status = 0 (any of the three)
 *	IDLE ---------------> ACTIVE -------------------> RESETTING
 *	 ^                    |    ^                       |  |
 *	 |              pause |    | resume          drained  |
 *	 |                    v    |                       |  |
 *	 |               PAUSING -> PAUSED                 |  |
 *	 +---------------------------------------------------+
 *
 * A vCPU only ever changes the phase and rings each lane's `control`; the loops see
 * what is wanted and do it, and the last to let go ends the phase. Neither waits for
 * the other, and nothing on the way to IDLE or PAUSED can fail for want of memory: the
 * tasks that hand the queues to the loops are allocated at DRIVER_OK and at a resume,
 * where failing is NEEDS_RESET.
 *
 * While nobody is `serving`, the loops know nothing of the device, so reset and
 * fini are done on the spot.
 */
#include "devices/virtio/virtio.h"

#include "devices/virtio/virtio_priv.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* --- eventfds ------------------------------------------------------------------- */

void virtio_ring(int fd)
{
	uint64_t one = 1;
	/* EAGAIN: the counter is full, so it is readable anyway. */
	ssize_t n = write(fd, &one, sizeof(one));

	(void)n;
}

uint64_t virtio_unring(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count) ? count : 0;
}

/* --- creation -------------------------------------------------------------------- */

static int open_doorbells(struct virtio *v)
{
	for (unsigned i = 0; i < v->n_queues; i++) {
		v->doorbells[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (v->doorbells[i].fd < 0)
			return -errno;
	}
	return 0;
}

static void free_parts(struct virtio *v)
{
	for (unsigned i = 0; v->doorbells && i < v->n_queues; i++)
		fd_close(&v->doorbells[i].fd);
	for (unsigned i = 0; i < v->n_lanes; i++)
		fd_close(&v->lanes[i].control);
	free(v->lanes);
	free(v->doorbells);
	free(v->queues);
	pthread_cond_destroy(&v->idle);
	pthread_mutex_destroy(&v->lock);
	*v = (struct virtio){0};
}

int virtio_add_lane(struct virtio *v, struct loop *loop)
{
	struct virtio_lane *lane = &v->lanes[v->n_lanes];

	assert(v->n_lanes < v->n_queues);
	*lane = (struct virtio_lane){
		.v = v,
		.index = v->n_lanes,
		.loop = loop,
		.control = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	if (lane->control < 0)
		return -errno;
	v->n_lanes++;
	return 0;
}

int virtio_init(struct virtio *v, const struct virtio_ops *ops, void *dev, const char *name,
		struct guest_mem *gm, struct loop *loop, uint64_t offered, uint32_t config_len,
		unsigned n_queues, const uint16_t *queue_sizes)
{
	pthread_condattr_t attr;
	int ret = -ENOMEM;

	assert(n_queues <= VIRTIO_QUEUES_MAX);
	*v = (struct virtio){
		.ops = ops,
		.dev = dev,
		.name = name,
		.gm = gm,
		.config_len = config_len,
		.n_queues = n_queues,
		.offered =
			offered | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX,
	};
	pthread_mutex_init(&v->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&v->idle, &attr);
	pthread_condattr_destroy(&attr);

	v->queues = calloc(n_queues, sizeof(*v->queues));
	v->doorbells = calloc(n_queues, sizeof(*v->doorbells));
	v->lanes = calloc(n_queues, sizeof(*v->lanes));
	if (!v->queues || !v->doorbells || !v->lanes)
		goto fail;
	for (unsigned i = 0; i < n_queues; i++) {
		assert(is_power_of_2(queue_sizes[i]) && queue_sizes[i] <= VIRTQ_SIZE_MAX);
		v->queues[i].size_max = queue_sizes[i];
		virtq_reset(&v->queues[i]);
		v->doorbells[i] =
			(struct virtio_doorbell){.v = v, .index = i, .fd = -1, .call = -1};
	}
	ret = open_doorbells(v);
	if (!ret)
		ret = virtio_add_lane(v, loop);
	if (!ret)
		return 0;
fail:
	free_parts(v);
	return ret;
}

void virtio_fini(struct virtio *v)
{
	if (!v->ops)
		return;
	virtio_set_status(v, 0);
	pthread_mutex_lock(&v->lock);
	while (v->phase != VIRTIO_IDLE)
		pthread_cond_wait(&v->idle, &v->lock);
	pthread_mutex_unlock(&v->lock);
	free_parts(v);
}

void virtio_set_transport(struct virtio *v, const struct virtio_transport_ops *ops, void *transport)
{
	v->transport_ops = ops;
	v->transport = transport;
}

/* --- interrupts and doorbells --------------------------------------------------------- */

void virtio_notify_config(struct virtio *v)
{
	uint64_t nothing;

	virtio_change_config(v, &nothing, 0);
}

void virtio_change_config(struct virtio *v, uint64_t *field, uint64_t value)
{
	pthread_mutex_lock(&v->lock);
	bool tell = v->status & VIRTIO_STATUS_DRIVER_OK;

	__atomic_store_n(field, value, __ATOMIC_RELEASE);
	v->config_generation++;
	pthread_mutex_unlock(&v->lock);
	if (tell)
		virtio_raise_config(v);
}

void virtio_kick(struct virtio *v, unsigned index)
{
	if (index < v->n_queues)
		virtio_ring(v->doorbells[index].fd);
}

int virtio_doorbell_fd(struct virtio *v, unsigned index)
{
	return v->doorbells[index].fd;
}

void virtio_reset_locked(struct virtio *v)
{
	for (unsigned i = 0; i < v->n_queues; i++)
		virtq_reset(&v->queues[i]);
	v->status = 0;
	v->features = 0;
	v->config_generation = 0;
	for (unsigned i = 0; i < v->n_lanes; i++)
		v->lanes[i].renotify = false;
	if (v->ops->reset)
		v->ops->reset(v->dev);
	if (v->transport_ops && v->transport_ops->reset)
		v->transport_ops->reset(v->transport);
	v->phase = VIRTIO_IDLE;
	pthread_cond_broadcast(&v->idle);
}

void virtio_fail(struct virtio *v, const char *why)
{
	if (__atomic_exchange_n(&v->failed, true, __ATOMIC_RELAXED))
		return;
	log_guest(&v->complaints, "%s: %s; the device needs a reset", v->name, why);
	pthread_mutex_lock(&v->lock);
	v->status |= VIRTIO_STATUS_NEEDS_RESET;
	bool tell = v->phase == VIRTIO_ACTIVE;

	pthread_mutex_unlock(&v->lock);
	if (tell)
		virtio_raise_config(v); /* [virtio 1.3 2.1.2] */
}

bool virtio_failed(const struct virtio *v)
{
	return __atomic_load_n(&v->failed, __ATOMIC_RELAXED);
}

bool virtio_pop(struct virtio *v, unsigned index, unsigned *taken, struct virtq_chain *c)
{
	struct virtq *q = &v->queues[index];
	int ret;

	/* A driver may have left out a queue that the device comes to by itself. */
	if (virtio_failed(v) || virtio_lane_of(v, index)->draining || !q->running)
		return false;
	if (*taken == q->config.size) {
		virtio_kick(v, index);
		return false;
	}
	if (!*taken)
		virtq_disable_kick(q);
	ret = virtq_pop(q, c);
	if (!ret && virtq_enable_kick(q)) {
		/* More came in between. An index that flickers must not keep us here:
		 * look once, and come back by the doorbell. */
		virtq_disable_kick(q);
		ret = virtq_pop(q, c);
		if (!ret)
			virtio_kick(v, index);
	}
	if (ret < 0)
		virtio_fail(v, "a descriptor chain or ring index breaks the rules");
	*taken += ret > 0;
	return ret > 0;
}

void virtio_publish(struct virtio *v, unsigned index)
{
	if (virtio_failed(v) || !virtq_publish(&v->queues[index]))
		return;
	virtq_count(&v->queues[index].counts.interrupts, 1);
	virtio_raise_queue(v, index);
}

/* --- the driver's registers ----------------------------------------------------------- */

uint8_t virtio_status(struct virtio *v)
{
	pthread_mutex_lock(&v->lock);
	uint8_t status = v->status;

	pthread_mutex_unlock(&v->lock);
	return status;
}

static void ring_lanes(struct virtio *v)
{
	for (unsigned i = 0; i < v->n_lanes; i++)
		virtio_ring(v->lanes[i].control);
}

static void request_reset_locked(struct virtio *v)
{
	if (!v->serving) {
		virtio_reset_locked(v);
		return;
	}
	v->phase = VIRTIO_RESETTING;
	ring_lanes(v);
}

bool virtio_features_suit(struct virtio *v, uint64_t features)
{
	return !(features & ~v->offered) && features & VIRTIO_F_VERSION_1 &&
	       (!v->ops->features_ok || v->ops->features_ok(v->dev, features));
}

/* All enabled queues, or none. */
static bool start_queues(struct virtio *v)
{
	for (unsigned i = 0; i < v->n_queues; i++) {
		if (!v->queues[i].config.enabled || !virtq_start(&v->queues[i], v->gm, v->features))
			continue;
		while (i--)
			virtq_stop(&v->queues[i]);
		return false;
	}
	return true;
}

bool virtio_status_in_order(uint8_t status)
{
	if (status & VIRTIO_STATUS_DRIVER && !(status & VIRTIO_STATUS_ACKNOWLEDGE))
		return false;
	if (status & VIRTIO_STATUS_FEATURES_OK && !(status & VIRTIO_STATUS_DRIVER))
		return false;
	return !(status & VIRTIO_STATUS_DRIVER_OK) || status & VIRTIO_STATUS_FEATURES_OK;
}

/* Lock held. Gives whether the driver has to be told of NEEDS_RESET. */
static bool activate_locked(struct virtio *v)
{
	v->status |= VIRTIO_STATUS_DRIVER_OK;
	if (!start_queues(v)) {
		v->status |= VIRTIO_STATUS_NEEDS_RESET;
		log_guest(&v->complaints,
			  "%s: a queue's size or address is not valid; the device needs a reset",
			  v->name);
		return true;
	}
	v->phase = VIRTIO_ACTIVE;
	return !virtio_hand_over_locked(v);
}

void virtio_set_status(struct virtio *v, uint8_t status)
{
	bool tell = false;

	pthread_mutex_lock(&v->lock);
	if (v->phase == VIRTIO_RESETTING)
		goto out;
	if (!status) {
		request_reset_locked(v);
		goto out;
	}
	status &= VIRTIO_STATUS_DRIVER_BITS;
	uint8_t before = v->status & VIRTIO_STATUS_DRIVER_BITS, fresh = status & ~before;

	if (before & ~status || !virtio_status_in_order(status))
		goto out;
	if (fresh & VIRTIO_STATUS_FEATURES_OK && !virtio_features_suit(v, v->features)) {
		status &= ~(VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
		fresh &= status;
	}
	v->status |= status & ~VIRTIO_STATUS_DRIVER_OK;
	if (fresh & VIRTIO_STATUS_DRIVER_OK)
		tell = activate_locked(v);
out:
	pthread_mutex_unlock(&v->lock);
	if (tell)
		virtio_raise_config(v);
}

static struct timespec deadline(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

bool virtio_wait_reset(struct virtio *v, unsigned timeout_ms)
{
	struct timespec until = deadline(timeout_ms);

	pthread_mutex_lock(&v->lock);
	while (v->phase == VIRTIO_RESETTING &&
	       pthread_cond_timedwait(&v->idle, &v->lock, &until) != ETIMEDOUT)
		;
	bool complete = v->phase != VIRTIO_RESETTING;

	pthread_mutex_unlock(&v->lock);
	return complete;
}

void virtio_reset(struct virtio *v)
{
	virtio_set_status(v, 0);
	while (!virtio_wait_reset(v, 1000))
		;
}

/* --- pause ------------------------------------------------------------------------------ */

int virtio_pause(struct virtio *v, unsigned timeout_ms)
{
	struct timespec until = deadline(timeout_ms);
	int ret = 0;

	pthread_mutex_lock(&v->lock);
	while (v->phase == VIRTIO_RESETTING && !ret)
		ret = pthread_cond_timedwait(&v->idle, &v->lock, &until);
	if (v->phase == VIRTIO_ACTIVE) {
		v->phase = VIRTIO_PAUSING;
		ring_lanes(v);
	}
	v->resume_wanted = false;
	while (v->phase == VIRTIO_PAUSING && !ret)
		ret = pthread_cond_timedwait(&v->idle, &v->lock, &until);
	if (v->phase == VIRTIO_PAUSING)
		v->resume_wanted = true;
	bool quiet = v->phase == VIRTIO_IDLE || v->phase == VIRTIO_PAUSED;

	pthread_mutex_unlock(&v->lock);
	return quiet ? 0 : -ETIMEDOUT;
}

void virtio_resume(struct virtio *v)
{
	bool tell = false;

	pthread_mutex_lock(&v->lock);
	if (v->phase == VIRTIO_PAUSED) {
		v->phase = VIRTIO_ACTIVE;
		tell = !virtio_hand_over_locked(v);
	} else if (v->phase == VIRTIO_PAUSING) {
		v->resume_wanted = true;
	}
	pthread_mutex_unlock(&v->lock);
	if (tell)
		virtio_raise_config(v);
}
