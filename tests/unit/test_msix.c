/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X as a driver uses it: table and Message Control on one side, what reaches
 * the (fake) interrupt controller on the other. */
#include "devices/pci/host.h"
#include "devices/pci/msix.h"
#include "tests/lib/fake_irq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { VECTORS = 67, CAP = 0x40 };

struct rig {
	struct fake_msi fake;
	struct pci_dev pci;
	struct msix m;
};

static void config_written(void *dev, unsigned off, unsigned size)
{
	msix_config_written(&((struct rig *)dev)->m, off, size);
}

static const struct pci_dev_ops ops = {.config_written = config_written};

static void build(struct rig *r)
{
	const struct pci_ids ids = {.vendor = 1, .device = 2};

	memset(r, 0, sizeof(*r));
	fake_msi_init(&r->fake);
	pci_dev_init(&r->pci, &ids, &ops, r, "probe");
	struct msi wire = fake_msi_wire(&r->fake);

	assert_int_equal(msix_init(&r->m, &r->pci, VECTORS, 2, 0x1000, 0x1800, &wire), 0);
}

static void unbuild(struct rig *r)
{
	msix_fini(&r->m);
	assert_int_equal(fake_msi_routes(&r->fake), 0);
	fake_msi_fini(&r->fake);
}

static int setup(void **state)
{
	static struct rig rig;

	build(&rig);
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	unbuild(*state);
	return 0;
}

static void control(struct rig *r, uint16_t val)
{
	pci_config_write(&r->pci, CAP + 2, 2, val);
}

static void entry(struct rig *r, unsigned i, uint64_t addr, uint32_t data, uint32_t mask)
{
	msix_table_write(&r->m, i * 16 + 0, 4, (uint32_t)addr);
	msix_table_write(&r->m, i * 16 + 4, 4, addr >> 32);
	msix_table_write(&r->m, i * 16 + 8, 4, data);
	msix_table_write(&r->m, i * 16 + 12, 4, mask);
}

static uint64_t pba(struct rig *r, unsigned word)
{
	return msix_pba_read(&r->m, word * 8, 8);
}

/* ------------------------------------------------------------------------------- */

static void capability_reads_as_specified(void **state)
{
	struct rig *r = *state;

	assert_int_equal(pci_config_read(&r->pci, CAP, 1), 0x11);
	assert_int_equal(pci_config_read(&r->pci, CAP + 2, 2), VECTORS - 1);
	assert_int_equal(pci_config_read(&r->pci, CAP + 4, 4), 0x1002);
	assert_int_equal(pci_config_read(&r->pci, CAP + 8, 4), 0x1802);
	control(r, 0xffff);
	assert_int_equal(pci_config_read(&r->pci, CAP + 2, 2), 0xc000 | (VECTORS - 1));
	pci_config_write(&r->pci, CAP + 4, 8, UINT64_MAX);
	assert_int_equal(pci_config_read(&r->pci, CAP + 4, 4), 0x1002);
}

static void vectors_power_on_masked(void **state)
{
	struct rig *r = *state;

	for (unsigned i = 0; i < VECTORS; i++) {
		assert_int_equal(msix_table_read(&r->m, i * 16, 8), 0);
		assert_int_equal(msix_table_read(&r->m, i * 16 + 8, 8), 1ull << 32);
	}
}

static void unmasked_vector_fires(void **state)
{
	struct rig *r = *state;

	control(r, 0x8000);
	entry(r, 3, 0x1fee01000, 0x4021, 0);
	for (unsigned i = 0; i < 5; i++)
		msix_notify(&r->m, 3);
	assert_int_equal(fake_msi_delivered(&r->fake), 5);
	assert_int_equal(fake_msi_last(&r->fake).addr, 0x1fee01000);
	assert_int_equal(fake_msi_last(&r->fake).data, 0x4021);
	assert_int_equal(pba(r, 0), 0);
	/* One route, armed once: each arming rewrites KVM's whole table. */
	assert_int_equal(r->fake.news, 1);
	assert_int_equal(r->fake.sets, 1);
	assert_int_equal(r->fake.sends, 0);
}

static void set_up_without_interrupts_costs_no_route(void **state)
{
	struct rig *r = *state;

	control(r, 0xc000);
	for (unsigned i = 0; i < VECTORS; i++)
		entry(r, i, 0xfee00000, 0x30 + i, 0);
	control(r, 0x8000);
	assert_int_equal(r->fake.news + r->fake.sets, 0);
}

static void masked_vector_pends_and_fires_once(void **state)
{
	struct rig *r = *state;

	control(r, 0x8000);
	entry(r, 65, 0xfee00000, 0x31, 1);
	msix_notify(&r->m, 65);
	msix_notify(&r->m, 65);
	assert_int_equal(fake_msi_delivered(&r->fake), 0);
	assert_int_equal(pba(r, 0), 0);
	assert_int_equal(pba(r, 1), 2);
	assert_int_equal(msix_pba_read(&r->m, 8, 4), 2);
	/* The message may change meanwhile: the one at unmasking counts. */
	entry(r, 65, 0xfee02000, 0x77, 0);
	assert_int_equal(fake_msi_delivered(&r->fake), 1);
	assert_int_equal(fake_msi_last(&r->fake).addr, 0xfee02000);
	assert_int_equal(fake_msi_last(&r->fake).data, 0x77);
	assert_int_equal(pba(r, 1), 0);
}

static void function_mask_holds_all(void **state)
{
	struct rig *r = *state;

	control(r, 0xc000);
	entry(r, 0, 0xfee00000, 0x40, 0);
	entry(r, 1, 0xfee00000, 0x41, 1);
	msix_notify(&r->m, 0);
	msix_notify(&r->m, 1);
	assert_int_equal(fake_msi_delivered(&r->fake), 0);
	assert_int_equal(pba(r, 0), 3);
	control(r, 0x8000);
	assert_int_equal(fake_msi_delivered(&r->fake), 1);
	assert_int_equal(fake_msi_last(&r->fake).data, 0x40);
	assert_int_equal(pba(r, 0), 2);
}

static void disabled_function_is_silent(void **state)
{
	struct rig *r = *state;

	entry(r, 0, 0xfee00000, 0x40, 0);
	assert_false(msix_enabled(&r->m));
	msix_notify(&r->m, 0);
	assert_int_equal(pba(r, 0), 0);
	control(r, 0x8000);
	assert_true(msix_enabled(&r->m));
	assert_int_equal(fake_msi_delivered(&r->fake), 0);
	/* What pends when the driver goes is not for the next one. */
	control(r, 0xc000);
	msix_notify(&r->m, 0);
	control(r, 0);
	assert_int_equal(pba(r, 0), 0);
	control(r, 0x8000);
	assert_int_equal(fake_msi_delivered(&r->fake), 0);
}

static void route_is_armed_again_only_for_a_new_message(void **state)
{
	struct rig *r = *state;

	control(r, 0x8000);
	entry(r, 0, 0xfee00000, 0x40, 0);
	msix_notify(&r->m, 0);
	entry(r, 0, 0xfee00000, 0x40, 1); /* masked and back: as irq handlers do */
	entry(r, 0, 0xfee00000, 0x40, 0);
	msix_notify(&r->m, 0);
	assert_int_equal(r->fake.sets, 1);
	entry(r, 0, 0xfee05000, 0x41, 1); /* another CPU */
	entry(r, 0, 0xfee05000, 0x41, 0);
	assert_int_equal(r->fake.sets, 1);
	msix_notify(&r->m, 0);
	assert_int_equal(r->fake.sets, 2);
	assert_int_equal(r->fake.news, 1);
	assert_int_equal(fake_msi_last(&r->fake).addr, 0xfee05000);
	assert_int_equal(r->fake.lost, 0);
}

static void no_route_to_be_had(void **state)
{
	struct rig *r = *state;

	control(r, 0x8000);
	entry(r, 0, 0xfee00000, 0x40, 0);
	r->fake.fail_new = -EMFILE;
	msix_notify(&r->m, 0);
	assert_int_equal(r->fake.sends, 1);
	assert_int_equal(fake_msi_delivered(&r->fake), 1);
	r->fake.fail_new = 0;
	r->fake.fail_set = -ENOSPC;
	msix_notify(&r->m, 0);
	assert_int_equal(fake_msi_delivered(&r->fake), 2);
	r->fake.fail_set = 0;
	msix_notify(&r->m, 0);
	/* A failed change of message must not fire the old one. */
	r->fake.fail_set = -ENOSPC;
	entry(r, 0, 0xfee00000, 0x99, 0);
	msix_notify(&r->m, 0);
	assert_int_equal(fake_msi_last(&r->fake).data, 0x99);
	/* Back to the message before: the route may hold either. */
	r->fake.fail_set = 0;
	entry(r, 0, 0xfee00000, 0x40, 0);
	msix_notify(&r->m, 0);
	assert_int_equal(fake_msi_last(&r->fake).data, 0x40);
	r->fake.fail_set = r->fake.fail_send = -EINVAL;
	entry(r, 0, 0x1000, 0x40, 0);
	msix_notify(&r->m, 0);
	assert_int_equal(fake_msi_delivered(&r->fake), 5);
}

/* --- hostile ----------------------------------------------------------------------- */

static void odd_accesses_of_the_table(void **state)
{
	struct rig *r = *state;

	for (unsigned size = 1; size <= 8; size *= 2)
		for (uint64_t off = 0; off < VECTORS * 16 + 64; off++) {
			bool good = size >= 4 && off % size == 0 && off + size <= VECTORS * 16;

			if (good)
				continue;
			msix_table_write(&r->m, off, size, UINT64_MAX);
			assert_int_equal(msix_table_read(&r->m, off, size), 0);
		}
	vectors_power_on_masked(state);
	msix_table_write(&r->m, UINT64_MAX - 3, 4, 1);
	assert_int_equal(msix_table_read(&r->m, UINT64_MAX - 7, 8), 0);
	/* 8 bytes at once are two dwords; reserved bits stay clear. */
	msix_table_write(&r->m, 16, 8, UINT64_MAX);
	msix_table_write(&r->m, 24, 8, UINT64_MAX);
	assert_int_equal(msix_table_read(&r->m, 16, 8), 0xfffffffffffffffcull);
	assert_int_equal(msix_table_read(&r->m, 24, 8), 0x1ffffffffull);
}

static void odd_accesses_of_the_pending_bits(void **state)
{
	struct rig *r = *state;

	control(r, 0xc000);
	for (unsigned i = 0; i < VECTORS; i++)
		msix_notify(&r->m, i);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (uint64_t off = 0; off < 64; off++) {
			bool good = size >= 4 && off % size == 0 && off + size <= 16;

			if (!good)
				assert_int_equal(msix_pba_read(&r->m, off, size), 0);
		}
	assert_int_equal(pba(r, 0), UINT64_MAX);
	assert_int_equal(pba(r, 1), 7);
	assert_int_equal(msix_pba_read(&r->m, 12, 4), 0);
	assert_int_equal(msix_pba_read(&r->m, UINT64_MAX - 7, 8), 0);
}

static void vector_out_of_range(void **state)
{
	struct rig *r = *state;

	control(r, 0x8000);
	msix_notify(&r->m, VECTORS);
	msix_notify(&r->m, 0xffff);
	msix_notify(&r->m, UINT32_MAX);
	assert_int_equal(fake_msi_delivered(&r->fake), 0);
}

static void bad_parameters_are_refused(void **state)
{
	struct msi wire = fake_msi_wire(&((struct rig *)*state)->fake);
	const struct pci_ids ids = {0};
	struct pci_dev d;
	struct msix m;

	pci_dev_init(&d, &ids, NULL, NULL, "x");
	assert_int_equal(msix_init(&m, &d, 0, 0, 0, 0, &wire), -EINVAL);
	msix_fini(&m);
	assert_int_equal(msix_init(&m, &d, 2049, 0, 0, 0, &wire), -EINVAL);
	assert_int_equal(msix_init(&m, &d, 1, 6, 0, 0, &wire), -EINVAL);
	assert_int_equal(msix_init(&m, &d, 1, 0, 4, 0, &wire), -EINVAL);
	assert_true(pci_dev_add_cap(&d, 9, 0xb8) > 0);
	assert_int_equal(msix_init(&m, &d, 1, 0, 0, 0, &wire), -ENOSPC);
	msix_fini(&m);
}

/* --- threads ----------------------------------------------------------------------- */

enum { ROUNDS = 20000 };

static void *notifier(void *arg)
{
	struct rig *r = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		msix_notify(&r->m, 5);
	return NULL;
}

/* While one thread notifies, the guest masks: once the bit reads back nothing
 * arrives, and the last word is never lost. */
static void masking_is_exact_under_load(void **state)
{
	struct rig *r = *state;
	pthread_t t;

	control(r, 0x8000);
	entry(r, 5, 0xfee00000, 0x50, 0);
	assert_int_equal(pthread_create(&t, NULL, notifier, r), 0);
	for (unsigned i = 0; i < 2000; i++) {
		msix_table_write(&r->m, 5 * 16 + 12, 4, 1);
		unsigned before = fake_msi_delivered(&r->fake);

		assert_int_equal(msix_table_read(&r->m, 5 * 16 + 12, 4), 1);
		assert_int_equal(fake_msi_delivered(&r->fake), before);
		msix_table_write(&r->m, 5 * 16 + 12, 4, 0);
	}
	msix_table_write(&r->m, 5 * 16 + 12, 4, 1);
	unsigned before = fake_msi_delivered(&r->fake);

	pthread_join(t, NULL);
	msix_notify(&r->m, 5);
	assert_int_equal(pba(r, 0), 1u << 5);
	msix_table_write(&r->m, 5 * 16 + 12, 4, 0);
	assert_int_equal(fake_msi_delivered(&r->fake), before + 1);
	assert_int_equal(r->fake.lost, 0);
}

/* --- state --------------------------------------------------------------------------- */

static void save(struct rig *r, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "probe", 1);
	pci_dev_save(&r->pci, w);
	msix_save(&r->m, w);
	state_section_end(w);
	assert_int_equal(w->error, 0);
}

static int load(struct rig *r, const uint8_t *data, size_t len, struct err *e)
{
	struct msix_saved vectors[VECTORS];
	struct state_reader reader;
	struct pci_saved config;
	int ret;

	*e = (struct err){0};
	state_reader_init(&reader, data, len);
	ret = state_section_open(&reader, "probe", e);
	if (ret < 0)
		return ret;
	ret = pci_dev_load_check(&r->pci, &reader, &config, e);
	if (!ret)
		ret = msix_load_check(&r->m, &reader, &config, vectors, e);
	if (!ret)
		ret = state_section_close(&reader, e);
	if (ret)
		return ret;
	pci_host_restore(&r->pci, &config);
	msix_restore(&r->m, &config, vectors);
	return 0;
}

static void busy_state(struct rig *r)
{
	control(r, 0x8000);
	entry(r, 0, 0xfee00000, 0x40, 0);
	entry(r, 1, 0x1fee01000, 0x41, 1);
	entry(r, 66, 0xfee00000, 0x42, 1);
	msix_notify(&r->m, 66);
}

static void state_survives_a_round_trip(void **state)
{
	struct state_writer w, again;
	struct rig *r = *state;
	static struct rig clone;
	struct err e;

	busy_state(r);
	save(r, &w);
	build(&clone);
	assert_int_equal(load(&clone, w.data, w.len, &e), 0);
	save(&clone, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.data, again.data, w.len);

	/* It works on where the other left off. */
	assert_true(msix_enabled(&clone.m));
	msix_notify(&clone.m, 0);
	assert_int_equal(fake_msi_last(&clone.fake).data, 0x40);
	msix_table_write(&clone.m, 66 * 16 + 12, 4, 0);
	assert_int_equal(fake_msi_delivered(&clone.fake), 2);
	assert_int_equal(fake_msi_last(&clone.fake).data, 0x42);
	unbuild(&clone);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

static void damaged_state_is_refused_or_taken_exactly(void **state)
{
	struct state_writer w, fresh, now;
	struct rig *r = *state;
	static struct rig clone;
	struct err e;

	busy_state(r);
	save(r, &w);
	build(&clone);
	save(&clone, &fresh);
	for (size_t len = 0; len < w.len; len++)
		assert_int_equal(load(&clone, w.data, len, &e), -EBADMSG);
	for (size_t i = 0; i < w.len; i++) {
		w.data[i] ^= 0xff;
		int ret = load(&clone, w.data, w.len, &e);

		save(&clone, &now);
		if (ret) {
			assert_int_equal(e.code, -EBADMSG);
			assert_memory_equal(now.data, fresh.data, now.len);
		} else {
			assert_memory_equal(now.data + 32, w.data + 32, now.len - 32);
			unbuild(&clone);
			build(&clone);
		}
		state_writer_fini(&now);
		w.data[i] ^= 0xff;
	}
	unbuild(&clone);
	state_writer_fini(&w);
	state_writer_fini(&fresh);
}

static void impossible_pending_bits_are_refused(void **state)
{
	struct rig *r = *state;
	struct state_writer w;
	struct err e;

	busy_state(r);
	save(r, &w);
	assert_int_equal(w.data[w.len - 2], 1); /* vector 66: masked, pending */
	w.data[w.len - 2] = 0;
	assert_int_equal(load(r, w.data, w.len, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "vector 66"));
	w.data[w.len - 2] = 1;
	assert_int_equal(load(r, w.data, w.len, &e), 0);
	w.data[32 + 1 + CAP + 3] &= 0x7f; /* not enabled */
	assert_int_equal(load(r, w.data, w.len, &e), -EBADMSG);
	state_writer_fini(&w);
}

static void reset_brings_power_on_back(void **state)
{
	struct rig *r = *state;

	busy_state(r);
	msix_reset(&r->m);
	vectors_power_on_masked(state);
	assert_false(msix_enabled(&r->m));
	assert_int_equal(pba(r, 1), 0);
}

/* --- sources ------------------------------------------------------------------- */

static int source(void)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	assert_true(fd > 0);
	return fd;
}

/* As the source's owner does; gives whether there was anything. */
static bool heard(struct rig *r, int fd, unsigned vector)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		return false;
	msix_notify(&r->m, vector);
	return true;
}

static void source_is_bound_while_its_vector_is_usable(void **state)
{
	struct rig *r = *state;
	int fd = source();

	/* Not enabled: whoever owns it hears it. */
	msix_source_set(&r->m, fd, 3);
	assert_int_equal(fake_msi_bonds(&r->fake), 0);
	fake_msi_signal(&r->fake, fd);
	assert_true(heard(r, fd, 3));
	assert_int_equal(fake_msi_delivered(&r->fake), 0);

	control(r, 0x8000);
	entry(r, 3, 0xfee00000, 0x33, 0);
	assert_true(fake_msi_bond(&r->fake, fd) >= 0);
	fake_msi_signal(&r->fake, fd);
	assert_false(heard(r, fd, 3));
	assert_int_equal(fake_msi_delivered(&r->fake), 1);
	assert_int_equal(fake_msi_last(&r->fake).data, 0x33);

	/* Masked, by the vector and by the function: it pends, and comes once. */
	for (unsigned round = 0; round < 2; round++) {
		round ? control(r, 0xc000) : msix_table_write(&r->m, 3 * 16 + 12, 4, 1);
		assert_int_equal(fake_msi_bonds(&r->fake), 0);
		fake_msi_signal(&r->fake, fd);
		fake_msi_signal(&r->fake, fd);
		assert_true(heard(r, fd, 3));
		assert_int_equal(fake_msi_delivered(&r->fake), 1 + round);
		assert_int_equal(pba(r, 0), 1 << 3);
		round ? control(r, 0x8000) : msix_table_write(&r->m, 3 * 16 + 12, 4, 0);
		assert_int_equal(fake_msi_delivered(&r->fake), 2 + round);
		assert_int_equal(pba(r, 0), 0);
		assert_true(fake_msi_bond(&r->fake, fd) >= 0);
	}
	/* A signal that its owner has not read yet is not lost by the unmasking. */
	msix_table_write(&r->m, 3 * 16 + 12, 4, 1);
	fake_msi_signal(&r->fake, fd);
	msix_table_write(&r->m, 3 * 16 + 12, 4, 0);
	assert_int_equal(fake_msi_delivered(&r->fake), 4);
	assert_false(heard(r, fd, 3));

	msix_source_del(&r->m, fd);
	assert_int_equal(fake_msi_bonds(&r->fake), 0);
	msix_source_del(&r->m, fd);
	msix_source_del(&r->m, -1);
	msix_table_write(&r->m, 3 * 16 + 12, 4, 1);
	msix_table_write(&r->m, 3 * 16 + 12, 4, 0);
	assert_int_equal(fake_msi_bonds(&r->fake), 0);
	close(fd);
}

static void source_follows_message_and_vector(void **state)
{
	struct rig *r = *state;
	int a = source(), b = source();

	control(r, 0x8000);
	entry(r, 1, 0xfee00000, 0x41, 0);
	entry(r, 2, 0xfee01000, 0x42, 0);
	/* Two may share a vector. */
	msix_source_set(&r->m, a, 1);
	msix_source_set(&r->m, b, 1);
	assert_int_equal(fake_msi_bond(&r->fake, a), fake_msi_bond(&r->fake, b));
	fake_msi_signal(&r->fake, b);
	assert_int_equal(fake_msi_last(&r->fake).data, 0x41);
	/* Another message, also of a vector that is not masked meanwhile. */
	msix_table_write(&r->m, 1 * 16 + 8, 4, 0x51);
	fake_msi_signal(&r->fake, a);
	assert_int_equal(fake_msi_last(&r->fake).data, 0x51);
	/* Another vector; one that is none; and back. */
	msix_source_set(&r->m, a, 2);
	fake_msi_signal(&r->fake, a);
	assert_int_equal(fake_msi_last(&r->fake).addr, 0xfee01000);
	msix_source_set(&r->m, a, 0xffff);
	assert_int_equal(fake_msi_bond(&r->fake, a), -1);
	msix_source_set(&r->m, a, 1);
	fake_msi_signal(&r->fake, a);
	assert_int_equal(fake_msi_last(&r->fake).data, 0x51);
	msix_reset(&r->m);
	assert_int_equal(fake_msi_bonds(&r->fake), 0);
	msix_source_del(&r->m, a);
	msix_source_del(&r->m, b);
	close(a);
	close(b);
}

static void source_that_cannot_be_bound_is_heard(void **state)
{
	struct rig *r = *state;
	int fd = source();

	control(r, 0x8000);
	entry(r, 1, 0xfee00000, 0x41, 0);
	r->fake.fail_bind = -ENOTSUP;
	msix_source_set(&r->m, fd, 1);
	fake_msi_signal(&r->fake, fd);
	assert_true(heard(r, fd, 1));
	assert_int_equal(fake_msi_delivered(&r->fake), 1);
	/* A message that the host does not take: not the one before it, either. */
	r->fake.fail_bind = 0;
	msix_source_set(&r->m, fd, 1);
	assert_int_equal(fake_msi_bonds(&r->fake), 1);
	r->fake.fail_set = -EINVAL;
	msix_table_write(&r->m, 1 * 16 + 4, 4, 0xbad);
	assert_int_equal(fake_msi_bonds(&r->fake), 0);
	fake_msi_signal(&r->fake, fd);
	assert_true(heard(r, fd, 1));
	assert_int_equal(r->fake.sends, 1);
	r->fake.fail_set = 0;
	msix_source_del(&r->m, fd);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(capability_reads_as_specified, setup, teardown),
		cmocka_unit_test_setup_teardown(vectors_power_on_masked, setup, teardown),
		cmocka_unit_test_setup_teardown(unmasked_vector_fires, setup, teardown),
		cmocka_unit_test_setup_teardown(set_up_without_interrupts_costs_no_route, setup,
						teardown),
		cmocka_unit_test_setup_teardown(masked_vector_pends_and_fires_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(function_mask_holds_all, setup, teardown),
		cmocka_unit_test_setup_teardown(disabled_function_is_silent, setup, teardown),
		cmocka_unit_test_setup_teardown(route_is_armed_again_only_for_a_new_message, setup,
						teardown),
		cmocka_unit_test_setup_teardown(no_route_to_be_had, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_accesses_of_the_table, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_accesses_of_the_pending_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(vector_out_of_range, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_parameters_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(masking_is_exact_under_load, setup, teardown),
		cmocka_unit_test_setup_teardown(state_survives_a_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(damaged_state_is_refused_or_taken_exactly, setup,
						teardown),
		cmocka_unit_test_setup_teardown(impossible_pending_bits_are_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(reset_brings_power_on_back, setup, teardown),
		cmocka_unit_test_setup_teardown(source_is_bound_while_its_vector_is_usable, setup,
						teardown),
		cmocka_unit_test_setup_teardown(source_follows_message_and_vector, setup, teardown),
		cmocka_unit_test_setup_teardown(source_that_cannot_be_bound_is_heard, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
