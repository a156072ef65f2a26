/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/echo_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const struct vd_buf echo_buf = {ECHO_DATA, 64, true};

/* --- the device --------------------------------------------------------------------- */

static void give_back(struct echo *e, unsigned queue, uint16_t head)
{
	if (!virtio_failed(&e->v))
		virtq_push(&e->v.queues[queue], head, 0);
	__atomic_add_fetch(&e->served[queue], 1, __ATOMIC_SEQ_CST);
}

static void echo_ready(void *dev, unsigned index)
{
	struct echo *e = dev;
	unsigned taken = 0;

	if (e->n_order < sizeof(e->order) - 1)
		e->order[e->n_order++] = (char)('0' + index);
	while (virtio_pop(&e->v, index, &taken, &e->chain)) {
		if (e->hold && e->in_flight < ARRAY_LEN(e->held)) {
			e->held[e->in_flight] = e->chain.head;
			e->held_queue[e->in_flight++] = (uint16_t)index;
			continue;
		}
		if (e->chain.write_len)
			virtq_chain_write(&e->chain, e->v.gm, 0, "E", 1);
		give_back(e, index, e->chain.head);
		if (e->refill && !index)
			virtq_driver_offer(e->refill, &echo_buf, 1);
	}
	virtio_publish(&e->v, index);
}

void echo_finish(void *dev)
{
	struct echo *e = dev;

	while (e->in_flight) {
		e->in_flight--;
		give_back(e, e->held_queue[e->in_flight], e->held[e->in_flight]);
	}
	for (unsigned i = 0; i < ECHO_QUEUES; i++)
		if (e->v.queues[i].running)
			virtio_publish(&e->v, i);
	for (unsigned lane = 0; lane < e->v.n_lanes; lane++) {
		if (!e->quiescing[lane])
			continue;
		e->quiescing[lane] = false;
		virtio_quiesced(&e->v, lane);
	}
}

static void echo_quiesce(void *dev, unsigned lane)
{
	struct echo *e = dev;

	for (unsigned i = 0; i < e->in_flight; i++)
		if (e->held_queue[i] % e->v.n_lanes == lane)
			e->quiescing[lane] = true;
	if (!e->quiescing[lane])
		virtio_quiesced(&e->v, lane);
}

static void echo_started(void *dev, unsigned lane)
{
	((struct echo *)dev)->started++;
}

static void echo_stopped(void *dev, unsigned lane)
{
	struct echo *e = dev;

	for (unsigned i = 0; i < e->in_flight; i++)
		assert_int_not_equal(e->held_queue[i] % e->v.n_lanes, lane);
	e->stopped++;
}

static void echo_reset(void *dev)
{
	((struct echo *)dev)->resets++;
}

static bool echo_features_ok(void *dev, uint64_t features)
{
	return !(features & ECHO_F_ODD) || features & ECHO_F_MAGIC; /* ODD needs MAGIC */
}

static uint64_t echo_config_read(void *dev, uint32_t off, unsigned size)
{
	uint64_t val = 0;

	assert_true(off + size <= ECHO_CONFIG_LEN);
	memcpy(&val, ((struct echo *)dev)->config + off, size);
	return val;
}

static void echo_config_write(void *dev, uint32_t off, unsigned size, uint64_t val)
{
	assert_true(off + size <= ECHO_CONFIG_LEN);
	memcpy(((struct echo *)dev)->config + off, &val, size);
}

static const struct virtio_ops echo_ops = {
	.device_id = 99,
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.features_ok = echo_features_ok,
	.started = echo_started,
	.queue_ready = echo_ready,
	.quiesce = echo_quiesce,
	.stopped = echo_stopped,
	.reset = echo_reset,
};

void echo_init(struct echo *e, struct echo_rig *f, struct loop *loop)
{
	const uint16_t sizes[ECHO_QUEUES] = {ECHO_SIZE, ECHO_SIZE};

	memset(e, 0, sizeof(*e));
	assert_int_equal(virtio_init(&e->v, &echo_ops, e, "echo", &f->gm, loop,
				     ECHO_F_ODD | ECHO_F_MAGIC, ECHO_CONFIG_LEN, ECHO_QUEUES,
				     sizes),
			 0);
}

int echo_rig_setup(void **state)
{
	struct echo_rig *f = calloc(1, sizeof(*f));

	log_set_level(LOG_QUIET);
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, ECHO_RAM, -1, 0, NULL), 0);
	f->loop = loop_create();
	echo_init(&f->e, f, f->loop);
	fake_transport_init(&f->t, &f->e.v);
	for (unsigned i = 0; i < ECHO_QUEUES; i++)
		virtq_driver_init(&f->d[i], &f->gm, ECHO_RING(i), ECHO_SIZE);
	*state = f;
	return 0;
}

void echo_rig_shut(struct echo_rig *f)
{
	virtio_set_status(&f->e.v, 0);
	loop_settle(f->loop);
	f->e.hold = false;
	echo_finish(&f->e);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->e.v), 0);
}

int echo_rig_teardown(void **state)
{
	struct echo_rig *f = *state;

	echo_rig_shut(f);
	virtio_fini(&f->e.v);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	free(f);
	return 0;
}

void echo_rig_go(struct echo_rig *f)
{
	virtio_driver_start(&f->e.v, ECHO_BASIC, f->d, ECHO_QUEUES);
	loop_settle(f->loop);
}

void echo_rig_kick(struct echo_rig *f, unsigned queue)
{
	virtio_kick(&f->e.v, queue);
	loop_settle(f->loop);
}
