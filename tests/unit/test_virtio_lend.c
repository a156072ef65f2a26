/* SPDX-License-Identifier: Apache-2.0 */
/* Queues that are lent, over each transport: the borrower's doorbell and interrupts, taking
 * a queue back, resets, pauses; and what vectors do with a borrower's signals on PCI. */
#include "tests/lib/virtio_pci_rig.h"

#include <string.h>

/* The driver finds its buffer used, with what the borrower or the device says. */
static void answered(struct rig *r, uint16_t head, const char *word)
{
	uint32_t id = 0, len = 0;
	char got[5] = "";

	rig_wait_until(virtq_driver_take_used(&r->q[0], &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 4);
	assert_int_equal(guest_mem_read(&r->gm, RIG_BUFFER, got, 4), 0);
	assert_string_equal(got, word);
}

static void lent_transact(struct rig *r)
{
	uint16_t head = rig_offer(r, 0);

	assert_true(rig_lent_kicked(r));
	assert_int_equal(rig_lent_serve(r), 1);
	rig_lent_call(r);
	rig_wait_until(r->t->used_interrupt(r, 0));
	answered(r, head, "lent");
}

static void a_lent_queue_is_the_borrowers(struct rig *r)
{
	rig_bring_up(r);
	rig_transact(r, 0);
	rig_wait_until(r->t->used_interrupt(r, 0));
	rig_lend(r);
	assert_int_equal(r->echo.loan.size, r->q[0].size);
	assert_int_equal(r->echo.loan.next, 1);
	assert_ptr_equal(r->echo.loan.avail, guest_mem_hva(&r->gm, r->q[0].avail, 1));
	unsigned before = r->echo.ready[0];

	for (unsigned round = 0; round < 100; round++) {
		lent_transact(r);
		/* The other one is the device's. */
		rig_transact(r, 1);
	}
	assert_int_equal(r->echo.ready[0], before);
}

static void a_queue_comes_back(struct rig *r)
{
	uint16_t head;

	rig_bring_up(r);
	for (unsigned round = 0; round < 10; round++) {
		rig_lend(r);
		lent_transact(r);
		/* Offered, and not taken: it is the device's then. */
		head = rig_offer(r, 0);
		assert_true(rig_lent_kicked(r));
		rig_reclaim(r);
		answered(r, head, "echo");
		rig_wait_until(r->t->used_interrupt(r, 0));
		rig_transact(r, 0);
	}
}

/* It signals, and the queue is taken back before anybody has read that. */
static void the_last_signal_is_not_lost(struct rig *r)
{
	uint16_t head;

	rig_bring_up(r);
	rig_lend(r);
	head = rig_offer(r, 0);
	assert_int_equal(rig_lent_serve(r), 1);
	r->echo.signals_last = true;
	rig_reclaim(r);
	assert_true(r->t->used_interrupt(r, 0));
	answered(r, head, "lent");
}

/* The borrower took two and used one of them. */
static void what_was_taken_and_not_used_is_taken_again(struct rig *r)
{
	uint16_t head;

	rig_bring_up(r);
	rig_lend(r);
	lent_transact(r);
	head = rig_offer(r, 0);
	r->echo.next++;
	rig_reclaim(r);
	answered(r, head, "echo");
	rig_transact(r, 0);
}

/* A driver that writes where only the device may hurts itself. */
static void a_used_index_that_nobody_wrote(struct rig *r)
{
	const uint8_t nonsense[] = {0x34, 0x12};

	rig_bring_up(r);
	rig_lend(r);
	rig_offer(r, 0);
	assert_int_equal(guest_mem_write(&r->gm, r->q[0].used + 2, nonsense, 2), 0);
	rig_reclaim(r);
	rig_transact(r, 1);
	r->t->reset(r);
	rig_bring_up(r);
	rig_transact(r, 0);
}

static void a_reset_takes_it_back(struct rig *r)
{
	for (unsigned round = 0; round < 20; round++) {
		rig_bring_up(r);
		rig_lend(r);
		lent_transact(r);
		rig_offer(r, 0);
		r->t->reset(r);
		assert_false(r->echo.lent);
		assert_int_equal(r->t->status(r), 0);
		/* Nothing of it is left for the next driver. */
		assert_false(r->t->used_interrupt(r, 0));
		rig_bring_up(r);
		rig_transact(r, 0);
	}
}

/* What was saved says how far the borrower was. */
static void saved_while_lent(struct rig *r)
{
	void *device = r->t->device(r);
	struct state_writer w, again;
	struct state_reader reader;
	struct rig *clone = r->t->create(0);
	struct err e = {0};
	uint16_t head;

	rig_bring_up(r);
	rig_transact(r, 0);
	rig_lend(r);
	lent_transact(r);
	lent_transact(r);
	head = rig_offer(r, 0);
	assert_int_equal(r->t->life->pause(device), 0);
	assert_false(r->echo.lent);
	state_writer_init(&w);
	r->t->life->save(device, &w);

	memcpy(guest_mem_hva(&clone->gm, 0, RIG_RAM), guest_mem_hva(&r->gm, 0, RIG_RAM), RIG_RAM);
	memcpy(clone->q, r->q, sizeof(clone->q));
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		clone->q[i].gm = &clone->gm;
	state_reader_init(&reader, w.data, w.len);
	assert_int_equal(clone->t->life->load(clone->t->device(clone), &reader, &e), 0);
	state_writer_init(&again);
	clone->t->life->save(clone->t->device(clone), &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.data, again.data, w.len);
	state_writer_fini(&w);
	state_writer_fini(&again);

	clone->t->life->resume(clone->t->device(clone));
	answered(clone, head, "echo");
	clone->t->destroy(clone);
	r->t->life->resume(device);
	answered(r, head, "echo");
	rig_lend(r);
	lent_transact(r);
}

/* Any vCPU may do anything to the registers meanwhile. */
static void the_machine_ends_while_it_is_lent(struct rig *r)
{
	rig_bring_up(r);
	rig_lend(r);
	rig_offer(r, 0);
}

/* --- PCI: vectors -------------------------------------------------------------------------- */

static void mask(struct vpci *r, unsigned vector, bool on)
{
	vpci_st(r, r->table + vector * 16 + 12, 4, on);
}

static void signals_pass_us_by_where_the_vector_lets_them(void **state)
{
	struct vpci *r = *state;
	struct rig *m = &r->m;

	vpci_bring_up(r, true);
	rig_lend(m);
	assert_true(fake_msi_bond(&r->msi, m->echo.loan.call) >= 0);
	lent_transact(m);

	/* Masked: it pends, and shows in the PBA as any other. */
	mask(r, 1, true);
	assert_int_equal(fake_msi_bonds(&r->msi), 0);
	rig_lent_call(m);
	rig_wait_until(vpci_ld(r, r->pba, 8) == 2);
	assert_false(m->t->used_interrupt(m, 0));
	mask(r, 1, false);
	assert_true(m->t->used_interrupt(m, 0));
	assert_int_equal(vpci_ld(r, r->pba, 8), 0);
	lent_transact(m);

	/* Another vector, shared with the other queue; none; MSI-X off. */
	vpci_st(r, r->common + 0x16, 2, 0);
	vpci_st(r, r->common + 0x1a, 2, 2);
	rig_lent_call(m);
	assert_true(m->t->used_interrupt(m, 1));
	vpci_st(r, r->common + 0x16, 2, 0);
	vpci_st(r, r->common + 0x1a, 2, 0xffff);
	assert_int_equal(fake_msi_bonds(&r->msi), 0);
	unsigned before = fake_msi_delivered(&r->msi);

	rig_lent_call(m);
	vpci_cfg_st(r, r->msix_cap + 2, 2, 0);
	rig_wait_until(!rig_lent_kicked(m));
	usleep(20000);
	rig_lent_call(m);
	rig_wait_until(vpci_ld(r, r->isr, 1) == 1);
	assert_int_equal(fake_msi_delivered(&r->msi), before);
	/* And all of it back. */
	vpci_st(r, r->common + 0x16, 2, 0);
	vpci_st(r, r->common + 0x1a, 2, 1);
	vpci_cfg_st(r, r->msix_cap + 2, 2, 0x8000);
	assert_int_equal(fake_msi_bonds(&r->msi), 1);
	lent_transact(m);
	rig_reclaim(m);
	assert_int_equal(fake_msi_bonds(&r->msi), 0);
}

struct tormentor {
	struct vpci *r;
	_Atomic bool stop;
};

/* A guest that masks and moves the vector as fast as it can. */
static void *torment(void *arg)
{
	struct tormentor *t = arg;

	for (unsigned i = 0; !t->stop; i++) {
		mask(t->r, 1, i & 1);
		vpci_st(t->r, t->r->common + 0x16, 2, 0);
		vpci_st(t->r, t->r->common + 0x1a, 2, i % 3 == 0 ? 1 : i % 3 == 1 ? 2 : 0xffff);
	}
	mask(t->r, 1, false);
	vpci_st(t->r, t->r->common + 0x1a, 2, 1);
	return NULL;
}

static void vectors_that_move_meanwhile(void **state)
{
	struct vpci *r = *state;
	struct tormentor t = {.r = r};
	pthread_t thread;

	vpci_bring_up(r, true);
	assert_int_equal(pthread_create(&thread, NULL, torment, &t), 0);
	for (unsigned i = 0; i < 100; i++) {
		rig_lend(&r->m);
		for (unsigned k = 0; k < 20; k++)
			rig_lent_call(&r->m);
		rig_reclaim(&r->m);
	}
	t.stop = true;
	pthread_join(thread, NULL);
	rig_lend(&r->m);
	/* The log of messages is full by now. */
	unsigned before = fake_msi_delivered(&r->msi);

	rig_lent_call(&r->m);
	assert_int_equal(fake_msi_delivered(&r->msi), before + 1);
}

int main(void)
{
	static const struct rig_case cases[] = {
		{"a_lent_queue_is_the_borrowers", a_lent_queue_is_the_borrowers, 0},
		{"a_queue_comes_back", a_queue_comes_back, 0},
		{"the_last_signal_is_not_lost", the_last_signal_is_not_lost, 0},
		{"what_was_taken_and_not_used_is_taken_again",
		 what_was_taken_and_not_used_is_taken_again, 0},
		{"a_used_index_that_nobody_wrote", a_used_index_that_nobody_wrote, 0},
		{"a_reset_takes_it_back", a_reset_takes_it_back, 0},
		{"saved_while_lent", saved_while_lent, 0},
		{"the_machine_ends_while_it_is_lent", the_machine_ends_while_it_is_lent, 0},
	};
	const struct CMUnitTest pci[] = {
		cmocka_unit_test_setup_teardown(signals_pass_us_by_where_the_vector_lets_them,
						vpci_setup, vpci_teardown),
		cmocka_unit_test_setup_teardown(vectors_that_move_meanwhile, vpci_setup,
						vpci_teardown),
	};

	return rig_run_over_all(cases, ARRAY_LEN(cases)) +
	       cmocka_run_group_tests_name("pci: vectors", pci, NULL, NULL);
}
