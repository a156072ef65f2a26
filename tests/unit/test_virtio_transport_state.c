/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a virtio device as the machine sees it, over each transport: pause and
 * resume, saved state that comes back, state that nobody saved, the machine's reset. */
#include "tests/lib/virtio_rig.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <string.h>

static void save(struct rig *r, struct state_writer *w)
{
	state_writer_init(w);
	r->t->life->save(r->t->device(r), w);
	assert_int_equal(w->error, 0);
}

static int load(struct rig *r, const uint8_t *data, size_t len, struct err *e)
{
	struct state_reader reader;

	*e = (struct err){0};
	state_reader_init(&reader, data, len);
	return r->t->life->load(r->t->device(r), &reader, e);
}

static void stop(struct rig *r)
{
	assert_int_equal(r->t->life->pause(r->t->device(r)), 0);
}

static void resume(struct rig *r)
{
	r->t->life->resume(r->t->device(r));
}

static void assert_same(const struct state_writer *a, const struct state_writer *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->data, b->data, a->len);
}

/* A device in use, with an interrupt that the driver has not looked at, paused; what
 * it holds goes to *w. */
static void busy_state(struct rig *r, struct state_writer *w)
{
	rig_bring_up(r);
	rig_transact(r, 0);
	rig_transact(r, 1);
	virtio_notify_config(&r->echo.v);
	r->echo.extra = 77;
	stop(r);
	save(r, w);
}

/* The driver of *from goes on with the clone, whose RAM is a copy. */
static struct rig *clone_of(struct rig *from)
{
	struct rig *to = from->t->create(0);

	memcpy(guest_mem_hva(&to->gm, 0, RIG_RAM), guest_mem_hva(&from->gm, 0, RIG_RAM), RIG_RAM);
	memcpy(to->q, from->q, sizeof(to->q));
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		to->q[i].gm = &to->gm;
	return to;
}

static void state_survives_a_round_trip(struct rig *r)
{
	struct state_writer w, again;
	struct rig *clone;
	struct err e;

	busy_state(r, &w);
	clone = clone_of(r);
	assert_int_equal(load(clone, w.data, w.len, &e), 0);
	save(clone, &again);
	assert_same(&w, &again);
	assert_int_equal(clone->echo.extra, 77);

	/* The driver goes on as if nothing had happened. */
	resume(clone);
	clone->t->find(clone);
	assert_int_equal(clone->t->status(clone), RIG_RUNNING);
	assert_int_equal(clone->t->generation(clone), 1);
	rig_transact(clone, 0);
	rig_transact(clone, 1);
	rig_wait_until(clone->t->used_interrupt(clone, 1));

	/* So does the original. */
	resume(r);
	rig_transact(r, 0);
	r->t->destroy(clone);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

/* What was offered while the device stood is served after the resume. */
static void requests_wait_for_the_resume(struct rig *r)
{
	uint32_t id, len;

	rig_bring_up(r);
	rig_transact(r, 0);
	for (unsigned round = 0; round < 200; round++) {
		stop(r);
		uint16_t used = virtq_driver_used_idx(&r->q[0]);

		rig_offer(r, 0);
		if (round % 50 == 0)
			usleep(2000);
		assert_int_equal(virtq_driver_used_idx(&r->q[0]), used);
		resume(r);
		rig_wait_until(virtq_driver_take_used(&r->q[0], &id, &len));
	}
}

static void idle_state_survives_a_round_trip(struct rig *r)
{
	struct state_writer w, again;
	struct err e;

	save(r, &w);
	assert_int_equal(load(r, w.data, w.len, &e), 0);
	save(r, &again);
	assert_same(&w, &again);
	rig_bring_up(r);
	rig_transact(r, 0);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

/* A driver may be stopped between any two registers. */
static void half_negotiated_state_survives(struct rig *r)
{
	struct state_writer w, again;
	struct rig *clone;
	struct err e;

	r->t->find(r);
	rig_negotiate(r);
	r->t->offered(r, 1);
	r->t->set_up_interrupts(r);
	rig_set_up_queues(r);
	save(r, &w);
	clone = clone_of(r);
	assert_int_equal(load(clone, w.data, w.len, &e), 0);
	save(clone, &again);
	assert_same(&w, &again);
	clone->t->find(clone);
	assert_int_equal(clone->t->status(clone), RIG_FEATURES_OK);
	clone->t->set_status(clone, RIG_RUNNING);
	rig_transact(clone, 0);
	rig_transact(clone, 1);
	r->t->destroy(clone);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

/* "snapshot with any byte flipped or cut short". */
static void damaged_state_is_refused_or_taken_exactly(struct rig *r)
{
	static const uint8_t flips[] = {0x01, 0x80, 0xff};
	struct state_writer w, fresh, now;
	struct rig *clone;
	unsigned refused = 0;
	struct err e;

	busy_state(r, &w);
	clone = clone_of(r);
	save(clone, &fresh);
	for (size_t len = 0; len < w.len; len++) {
		assert_int_equal(load(clone, w.data, len, &e), -EBADMSG);
		assert_true(e.text[0]);
	}
	for (size_t i = 0; i < w.len; i++)
		for (unsigned f = 0; f < ARRAY_LEN(flips); f++) {
			w.data[i] ^= flips[f];
			int ret = load(clone, w.data, w.len, &e);

			save(clone, &now);
			assert_int_equal(now.len, fresh.len);
			if (ret) {
				refused++;
				assert_true(e.kind == ERR_HOST && e.text[0]);
				assert_memory_equal(now.data, fresh.data, now.len);
			} else {
				assert_memory_equal(now.data + 32, w.data + 32, now.len - 32);
				clone->t->life->reset(clone->t->device(clone));
				clone->echo.extra = 0;
			}
			state_writer_fini(&now);
			w.data[i] ^= flips[f];
		}
	assert_true(refused > w.len);
	r->t->destroy(clone);
	resume(r);
	rig_transact(r, 0);
	state_writer_fini(&w);
	state_writer_fini(&fresh);
}

/* The last thing to be found wrong, when virtio has its part already: the whole
 * device is at power-on then. */
static void a_late_refusal_leaves_no_half(struct rig *r)
{
	static uint8_t longer[1 << 16];
	struct state_writer w, fresh, now;
	struct rig *clone;
	struct err e;

	busy_state(r, &w);
	clone = clone_of(r);
	save(clone, &fresh);
	assert_true(w.len + 4 <= sizeof(longer));
	memcpy(longer, w.data, w.len);
	le32_put(longer + 28, le32_get(longer + 28) + 4); /* the section's length */
	assert_int_equal(load(clone, longer, w.len + 4, &e), -EBADMSG);
	clone->echo.extra = 0;
	save(clone, &now);
	assert_same(&now, &fresh);
	r->t->destroy(clone);
	resume(r);
	rig_transact(r, 0);
	state_writer_fini(&now);
	state_writer_fini(&fresh);
	state_writer_fini(&w);
}

static void machine_reset_brings_power_on_back(struct rig *r)
{
	struct state_writer fresh, now;

	save(r, &fresh);
	rig_bring_up(r);
	rig_transact(r, 0);
	virtio_notify_config(&r->echo.v);
	r->t->life->reset(r->t->device(r));
	save(r, &now);
	assert_same(&fresh, &now);
	rig_bring_up(r);
	rig_transact(r, 0);
	state_writer_fini(&fresh);
	state_writer_fini(&now);
}

/* "One stalled disk freezes neither pause nor stop": the pause gives up in time, and
 * the device goes on by itself. */
static void pause_of_a_stalled_device_gives_up(struct rig *r)
{
	uint32_t id, len;

	rig_bring_up(r);
	r->echo.stalled = true;
	rig_offer(r, 0);
	rig_wait_until(r->echo.ready[0] > 0);
	assert_int_equal(virtio_pause(&r->echo.v, 10), -ETIMEDOUT);
	rig_unstall(r);
	rig_wait_until(virtq_driver_take_used(&r->q[0], &id, &len));
	rig_transact(r, 0);
	stop(r);
	resume(r);
	rig_transact(r, 1);
}

int main(void)
{
#define T(name)                \
	{                      \
#name, name, 0 \
	}
	static const struct rig_case cases[] = {
		T(state_survives_a_round_trip),
		T(requests_wait_for_the_resume),
		T(idle_state_survives_a_round_trip),
		T(half_negotiated_state_survives),
		T(damaged_state_is_refused_or_taken_exactly),
		T(a_late_refusal_leaves_no_half),
		T(machine_reset_brings_power_on_back),
		T(pause_of_a_stalled_device_gives_up),
	};

	return rig_run_over_all(cases, ARRAY_LEN(cases));
}
