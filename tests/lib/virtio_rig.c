/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/virtio_rig.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the device: answers every request with one word --------------------------------- */

static uint64_t echo_config_read(void *dev, uint32_t off, unsigned size)
{
	struct rig_echo *d = dev;
	uint64_t val = 0;

	assert_true(off + size <= RIG_CONFIG_LEN);
	memcpy(&val, d->config + off, size);
	return val;
}

static void echo_config_write(void *dev, uint32_t off, unsigned size, uint64_t val)
{
	struct rig_echo *d = dev;

	assert_true(off + size <= RIG_CONFIG_LEN);
	memcpy(d->config + off, &val, size);
}

static void answer(struct rig_echo *d, unsigned index, const struct virtq_chain *c)
{
	virtq_chain_write(c, d->v.gm, 0, "echo", 4);
	virtq_push(&d->v.queues[index], c->head, 4);
}

static void echo_ready(void *dev, unsigned index)
{
	struct rig_echo *d = dev;
	struct virtq_chain c;
	unsigned taken = 0;

	d->ready[index]++;
	while (virtio_pop(&d->v, index, &taken, &c)) {
		if (d->stalled && d->n_held < ARRAY_LEN(d->held)) {
			d->held[d->n_held] = c;
			d->held_queue[d->n_held++] = index;
		} else {
			answer(d, index, &c);
		}
	}
	virtio_publish(&d->v, index);
}

static void finish_held(void *arg)
{
	struct rig_echo *d = arg;

	for (unsigned i = 0; i < d->n_held; i++) {
		answer(d, d->held_queue[i], &d->held[i]);
		virtio_publish(&d->v, d->held_queue[i]);
	}
	d->n_held = 0;
	if (d->quiesce_waits) {
		d->quiesce_waits = false;
		virtio_quiesced(&d->v, 0);
	}
}

static void reclaim(void *arg)
{
	struct rig_echo *d = arg;

	const uint64_t one = 1;

	if (d->signals_last)
		assert_int_equal(write(d->loan.call, &one, sizeof(one)), sizeof(one));
	d->lent = false;
	d->loan.next = d->next;
	virtio_reclaim(&d->v, 0, 1, &d->loan);
}

static void echo_quiesce(void *dev, unsigned lane)
{
	struct rig_echo *d = dev;

	if (d->lent)
		reclaim(d);
	d->quiesce_waits = true;
	if (!d->n_held)
		finish_held(d);
}

static void echo_reset(void *dev)
{
	((struct rig_echo *)dev)->resets++;
}

static void echo_save(void *dev, struct state_writer *w)
{
	state_put_u32(w, ((struct rig_echo *)dev)->extra);
}

static int echo_load(void *dev, struct state_reader *r, struct err *e)
{
	uint32_t extra = state_get_u32(r);

	if (r->error || extra > 1000)
		return err_host(e, -EBADMSG, "saved state: echo's own is bad");
	((struct rig_echo *)dev)->extra = extra;
	return 0;
}

const struct virtio_ops rig_echo_ops = {
	.device_id = RIG_DEVICE_ID,
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.queue_ready = echo_ready,
	.quiesce = echo_quiesce,
	.reset = echo_reset,
	.save = echo_save,
	.load = echo_load,
};

void rig_unstall(struct rig *r)
{
	r->echo.stalled = false;
	assert_int_equal(loop_post(io_thread_loop(r->thread), finish_held, &r->echo), 0);
}

static void lend(void *arg)
{
	struct rig_echo *d = arg;

	assert_int_equal(virtio_lend(&d->v, 0, 1, &d->loan), 0);
	d->next = d->loan.next;
	d->lent = true;
}

void rig_lend(struct rig *r)
{
	assert_int_equal(loop_post(io_thread_loop(r->thread), lend, &r->echo), 0);
	rig_wait_until(r->echo.lent);
}

void rig_reclaim(struct rig *r)
{
	unsigned before = r->echo.ready[0];

	assert_int_equal(loop_post(io_thread_loop(r->thread), reclaim, &r->echo), 0);
	rig_wait_until(r->echo.ready[0] != before);
}

bool rig_lent_kicked(struct rig *r)
{
	uint64_t count;

	return read(r->echo.loan.kick, &count, sizeof(count)) == sizeof(count);
}

unsigned rig_lent_serve(struct rig *r)
{
	const struct vhost_ring *l = &r->echo.loan;
	const uint16_t *avail = l->avail;
	uint16_t *used = l->used;
	uint32_t *elems = (uint32_t *)l->used + 1;
	unsigned n = 0;

	for (; r->echo.next != le16toh(avail[1]); n++) {
		uint16_t slot = r->echo.next % l->size, head = le16toh(avail[2 + slot]);
		const uint64_t *desc = (const uint64_t *)l->desc + 2 * head;

		assert_int_equal(guest_mem_write(&r->gm, le64toh(desc[0]), "lent", 4), 0);
		elems[2 * slot] = htole32(head);
		elems[2 * slot + 1] = htole32(4);
		r->echo.next++;
		__atomic_store_n(&used[1], htole16(r->echo.next), __ATOMIC_RELEASE);
	}
	return n;
}

/* --- the machine ------------------------------------------------------------------------ */

void rig_init(struct rig *r, const struct rig_transport *t, int attach_errno)
{
	const uint16_t sizes[RIG_QUEUES] = {64, 16};
	int ret;

	r->t = t;
	bus_init(&r->mmio, "mmio");
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&r->gm, 0, RIG_RAM, -1, 0, NULL), 0);
	fake_doorbell_init(&r->bell);
	r->bell.fail_attach = attach_errno;
	r->thread = io_thread_create("echo", &ret);
	assert_non_null(r->thread);
	ret = virtio_init(&r->echo.v, &rig_echo_ops, &r->echo, "echo0", &r->gm,
			  io_thread_loop(r->thread), 1ull << 5, RIG_CONFIG_LEN, RIG_QUEUES, sizes);
	assert_int_equal(ret, 0);
	for (unsigned i = 0; i < RIG_CONFIG_LEN; i++)
		r->echo.config[i] = (uint8_t)(0x10 + i);
}

void rig_fini(struct rig *r)
{
	virtio_fini(&r->echo.v);
	io_thread_destroy(r->thread);
	/* Nothing is left behind on the host or on the bus. */
	assert_int_equal(fake_doorbell_count(&r->bell), 0);
	assert_int_equal(r->bell.strays, 0);
	assert_int_equal(r->mmio.n, 0);
	fake_doorbell_fini(&r->bell);
	guest_mem_fini(&r->gm);
	bus_fini(&r->mmio);
	free(r);
}

/* --- the driver ------------------------------------------------------------------------- */

uint64_t rig_ld(struct rig *r, uint64_t addr, unsigned size)
{
	uint64_t val;

	bus_read(&r->mmio, addr, size, &val);
	return val;
}

void rig_st(struct rig *r, uint64_t addr, unsigned size, uint64_t val)
{
	if (!fake_doorbell_store(&r->bell, addr, size, val)) {
		r->trapped++;
		bus_write(&r->mmio, addr, size, val);
	}
}

void rig_negotiate(struct rig *r)
{
	const struct rig_transport *t = r->t;

	t->reset(r);
	t->set_status(r, RIG_ACK);
	t->set_status(r, RIG_DRIVER);
	t->accept(r, 0, 0);
	t->accept(r, 1, 1); /* VERSION_1 */
	t->set_status(r, RIG_FEATURES_OK);
	assert_int_equal(t->status(r), RIG_FEATURES_OK);
}

void rig_set_up_queues(struct rig *r)
{
	const struct rig_transport *t = r->t;

	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		struct virtq_driver *q = &r->q[i];

		virtq_driver_init(q, &r->gm, 0x10000 + i * 0x10000ull,
				  (uint16_t)t->queue_get(r, i, VIRTIO_QUEUE_SIZE_MAX));
		t->queue_set(r, i, VIRTIO_QUEUE_SIZE, q->size);
		t->queue_set(r, i, VIRTIO_QUEUE_DESC_LO, (uint32_t)q->desc);
		t->queue_set(r, i, VIRTIO_QUEUE_DESC_HI, (uint32_t)(q->desc >> 32));
		t->queue_set(r, i, VIRTIO_QUEUE_AVAIL_LO, (uint32_t)q->avail);
		t->queue_set(r, i, VIRTIO_QUEUE_AVAIL_HI, (uint32_t)(q->avail >> 32));
		t->queue_set(r, i, VIRTIO_QUEUE_USED_LO, (uint32_t)q->used);
		t->queue_set(r, i, VIRTIO_QUEUE_USED_HI, (uint32_t)(q->used >> 32));
		t->queue_set(r, i, VIRTIO_QUEUE_ENABLE, 1);
	}
}

void rig_bring_up(struct rig *r)
{
	r->t->find(r);
	rig_negotiate(r);
	r->t->set_up_interrupts(r);
	rig_set_up_queues(r);
	r->t->set_status(r, RIG_RUNNING);
	assert_int_equal(r->t->status(r), RIG_RUNNING);
}

uint16_t rig_offer(struct rig *r, unsigned queue)
{
	const struct vd_buf buf = {RIG_BUFFER + queue * 64, 16, true};
	uint16_t head = virtq_driver_offer(&r->q[queue], &buf, 1);

	r->t->kick(r, queue);
	return head;
}

void rig_transact(struct rig *r, unsigned queue)
{
	uint64_t gpa = RIG_BUFFER + queue * 64;
	uint32_t id = 0, len = 0;
	char word[5] = "";

	assert_int_equal(guest_mem_write(&r->gm, gpa, "----", 4), 0);
	uint16_t head = rig_offer(r, queue);

	rig_wait_until(virtq_driver_take_used(&r->q[queue], &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 4);
	assert_int_equal(guest_mem_read(&r->gm, gpa, word, 4), 0);
	assert_string_equal(word, "echo");
}

void rig_lent_call(struct rig *r)
{
	r->t->signal(r, r->echo.loan.call);
}

/* --- tests over all transports ---------------------------------------------------------- */

enum { CASES_MAX = 64, NAME_MAX_LEN = 128 };

struct bound {
	const struct rig_case *c;
	const struct rig_transport *t;
	struct rig *r;
	char name[NAME_MAX_LEN];
};

static int set_up(void **state)
{
	struct bound *b = *state;

	b->r = b->t->create(b->c->attach_errno);
	return 0;
}

static int tear_down(void **state)
{
	struct bound *b = *state;

	b->t->destroy(b->r);
	return 0;
}

static void run(void **state)
{
	struct bound *b = *state;

	b->c->run(b->r);
}

int rig_run_over_all(const struct rig_case *cases, unsigned n)
{
	static const struct rig_transport *const transports[] = {&rig_pci, &rig_mmio};
	static struct bound bound[CASES_MAX];
	static struct CMUnitTest tests[CASES_MAX];
	int failed = 0;

	assert_true(n <= CASES_MAX);
	for (unsigned t = 0; t < ARRAY_LEN(transports); t++) {
		for (unsigned i = 0; i < n; i++) {
			bound[i] = (struct bound){.c = &cases[i], .t = transports[t]};
			snprintf(bound[i].name, sizeof(bound[i].name), "%s: %s",
				 transports[t]->name, cases[i].name);
			tests[i] = (struct CMUnitTest){
				.name = bound[i].name,
				.test_func = run,
				.setup_func = set_up,
				.teardown_func = tear_down,
				.initial_state = &bound[i],
			};
		}
		failed += _cmocka_run_group_tests(transports[t]->name, tests, n, NULL, NULL);
	}
	return failed;
}
