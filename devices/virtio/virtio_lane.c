/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_lane: the loops' side of a device. A lane takes its queues, hears their doorbells, and
 * lets go of them when the phase says so (virtio.c has the picture).
 */
#include "devices/virtio/virtio_priv.h"

#include <assert.h>

static void take_queues(void *arg);

static void forget_doorbells(struct virtio_lane *lane)
{
	struct virtio *v = lane->v;

	for (unsigned i = lane->index; i < v->n_queues; i += v->n_lanes) {
		loop_fd_del(v->doorbells[i].watch);
		v->doorbells[i].watch = NULL;
	}
}

/* virtio_hand_over_locked() from no lane (NULL), or from `self`, which goes on serving and takes
 * its queues by itself. */
static bool hand_over_locked(struct virtio *v, const struct virtio_lane *self)
{
	bool all = true;

	v->resume_wanted = false;
	__atomic_store_n(&v->failed, v->status & VIRTIO_STATUS_NEEDS_RESET, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < v->n_lanes; i++) {
		struct virtio_lane *lane = &v->lanes[i];

		if (lane == self)
			continue;
		if (loop_post(lane->loop, take_queues, lane))
			all = false;
		else
			v->serving++;
	}
	if (all)
		return true;
	__atomic_store_n(&v->failed, true, __ATOMIC_RELAXED);
	v->status |= VIRTIO_STATUS_NEEDS_RESET;
	if (!v->serving)
		v->phase = VIRTIO_IDLE;
	log_guest(&v->complaints, "%s: out of memory; the device needs a reset", v->name);
	return false;
}

bool virtio_hand_over_locked(struct virtio *v)
{
	return hand_over_locked(v, NULL);
}

/* Lock held: a lane has nothing of the device any more. If it was the last one, what was
 * waited for is there. */
static void leave_locked(struct virtio *v)
{
	if (--v->serving)
		return;
	if (v->phase == VIRTIO_RESETTING) {
		virtio_reset_locked(v);
		return;
	}
	/* ACTIVE: no loop was able to take its queues. */
	v->phase = v->phase == VIRTIO_PAUSING ? VIRTIO_PAUSED : VIRTIO_IDLE;
	pthread_cond_broadcast(&v->idle);
}

/* On the loop with nothing in flight: give the queues back. */
static void let_go(struct virtio_lane *lane)
{
	struct virtio *v = lane->v;
	bool tell = false;

	if (v->ops->stopped)
		v->ops->stopped(v->dev, lane->index);
	loop_fd_del(lane->control_watch);
	lane->control_watch = NULL;

	pthread_mutex_lock(&v->lock);
	/* The last one of a pause that nobody waits for any more: all go on. */
	bool again = v->serving == 1 && v->phase == VIRTIO_PAUSING && v->resume_wanted;

	if (again) {
		v->phase = VIRTIO_ACTIVE;
		tell = !hand_over_locked(v, lane);
	} else {
		leave_locked(v);
	}
	pthread_mutex_unlock(&v->lock);
	/* Unless there is more to do, *v may be gone by now. */
	if (tell)
		virtio_raise_config(v);
	if (again)
		take_queues(lane);
}

static void on_control(void *ctx, int events)
{
	struct virtio_lane *lane = ctx;
	struct virtio *v = lane->v;

	virtio_unring(lane->control);
	pthread_mutex_lock(&v->lock);
	bool stop = v->phase == VIRTIO_RESETTING || v->phase == VIRTIO_PAUSING;

	pthread_mutex_unlock(&v->lock);
	if (stop && !lane->draining) {
		lane->draining = true;
		forget_doorbells(lane);
		if (v->ops->quiesce)
			v->ops->quiesce(v->dev, lane->index);
		else
			lane->drained = true;
	}
	if (lane->drained)
		let_go(lane);
}

static void on_doorbell(void *ctx, int events)
{
	struct virtio_doorbell *d = ctx;

	virtq_count(&d->v->queues[d->index].counts.kicks, virtio_unring(d->fd));
	if (!virtio_failed(d->v))
		d->v->ops->queue_ready(d->v->dev, d->index);
}

bool virtio_watch_doorbell(struct virtio_doorbell *d)
{
	struct loop *loop = virtio_lane_of(d->v, d->index)->loop;

	if (!d->watch)
		d->watch = loop_fd_add(loop, d->fd, LOOP_READ, on_doorbell, d);
	return d->watch;
}

/* Of those queues that are there and not lent. */
static bool watch_doorbells(struct virtio_lane *lane)
{
	struct virtio *v = lane->v;

	for (unsigned i = lane->index; i < v->n_queues; i += v->n_lanes)
		if (v->queues[i].running && !v->doorbells[i].lent &&
		    !virtio_watch_doorbell(&v->doorbells[i]))
			return false;
	return true;
}

/* Without a watch on its control no reset would reach the lane, so it does not take its queues
 * at all. */
static void cannot_serve(struct virtio_lane *lane)
{
	struct virtio *v = lane->v;

	__atomic_store_n(&v->failed, true, __ATOMIC_RELAXED);
	pthread_mutex_lock(&v->lock);
	bool tell = v->phase != VIRTIO_RESETTING;

	v->status |= VIRTIO_STATUS_NEEDS_RESET;
	leave_locked(v);
	pthread_mutex_unlock(&v->lock);
	if (tell)
		virtio_raise_config(v);
}

/* The task of hand_over_locked: from here the lane's queues are this thread's. */
static void take_queues(void *arg)
{
	struct virtio_lane *lane = arg;
	struct virtio *v = lane->v;

	lane->draining = lane->drained = false;
	lane->control_watch = loop_fd_add(lane->loop, lane->control, LOOP_READ, on_control, lane);
	if (!lane->control_watch) {
		cannot_serve(lane);
		return;
	}
	pthread_mutex_lock(&v->lock);
	bool renotify = lane->renotify;

	lane->renotify = false;
	pthread_mutex_unlock(&v->lock);

	/* A reset or pause that came meanwhile has rung `control`, which is watched
	 * now: it is heard as soon as this returns. */
	if (v->ops->started)
		v->ops->started(v->dev, lane->index);
	if (!watch_doorbells(lane))
		virtio_fail(v, "the host has no more descriptors to watch");
	for (unsigned i = lane->index; i < v->n_queues; i += v->n_lanes) {
		if (!v->queues[i].running)
			continue;
		if (renotify)
			virtio_raise_queue(v, i);
		/* What was offered before anybody listened. */
		if (!virtio_failed(v) && !v->doorbells[i].lent)
			v->ops->queue_ready(v->dev, i);
	}
}

void virtio_quiesced(struct virtio *v, unsigned index)
{
	struct virtio_lane *lane = &v->lanes[index];

	/* The rest is for on_control, from the top of the loop's stack: whoever waits
	 * may free the device, and our callers are still inside it. */
	assert(lane->draining && !lane->drained);
	lane->drained = true;
	virtio_ring(lane->control);
}
