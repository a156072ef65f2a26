/* SPDX-License-Identifier: Apache-2.0 */
/* The host bridge from the guest's side: loads and stores on the MMIO bus. */
#include "devices/pci/host.h"
#include "vmm/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#define ECAM    0xe8000000ull
#define MMIO32  0xc0000000ull
#define MMIO64  0x4000000000ull
#define WINDOW  0x100000ull
#define BAR_LEN 0x4000ull

/* A function with one 64-bit BAR that answers with its own tag. */
struct probe {
	struct pci_dev pci;
	uint64_t tag, last_write;
	uint64_t at; /* as the callbacks say */
	unsigned maps, unmaps;
};

static uint64_t probe_read(void *dev, uint64_t off, unsigned size)
{
	return ((struct probe *)dev)->tag + off;
}

static void probe_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	((struct probe *)dev)->last_write = val;
}

static const struct io_ops probe_io = {.read = probe_read, .write = probe_write};

static void probe_mapped(void *dev, unsigned bar, uint64_t gpa)
{
	struct probe *p = dev;

	assert_int_equal(bar, 0);
	assert_int_equal(p->at, 0);
	p->at = gpa;
	p->maps++;
}

static void probe_unmapped(void *dev, unsigned bar, uint64_t gpa)
{
	struct probe *p = dev;

	assert_int_equal(p->at, gpa);
	p->at = 0;
	p->unmaps++;
}

static const struct pci_dev_ops probe_ops = {
	.bar_mapped = probe_mapped,
	.bar_unmapped = probe_unmapped,
};

struct rig {
	struct bus mmio;
	struct pci_host host;
	struct probe a, b; /* slots 1 and 2 */
};

static void make_probe_of(struct probe *p, uint64_t tag, uint64_t len, bool is64)
{
	const struct pci_ids ids = {.vendor = 0x1234, .device = (uint16_t)tag};

	memset(p, 0, sizeof(*p));
	p->tag = tag;
	pci_dev_init(&p->pci, &ids, &probe_ops, p, "probe");
	assert_int_equal(pci_dev_add_bar(&p->pci, 0, len, is64, &probe_io), 0);
}

static void make_probe(struct probe *p, uint64_t tag, uint64_t len)
{
	make_probe_of(p, tag, len, true);
}

static int setup(void **state)
{
	const struct pci_layout layout = {ECAM, MMIO32, WINDOW, MMIO64, WINDOW};
	static struct rig r;

	memset(&r, 0, sizeof(r));
	bus_init(&r.mmio, "mmio");
	assert_int_equal(pci_host_init(&r.host, &r.mmio, &layout), 0);
	make_probe(&r.a, 0xa000, BAR_LEN);
	make_probe(&r.b, 0xb000, BAR_LEN);
	assert_int_equal(pci_host_add(&r.host, -1, &r.a.pci), 1);
	assert_int_equal(pci_host_add(&r.host, -1, &r.b.pci), 2);
	assert_int_equal(pci_host_assign(&r.host, NULL), 0);
	*state = &r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	pci_host_fini(&r->host);
	assert_int_equal(r->mmio.n, 0);
	bus_fini(&r->mmio);
	return 0;
}

static uint64_t ld(struct rig *r, uint64_t addr, unsigned size)
{
	uint64_t val;

	bus_read(&r->mmio, addr, size, &val);
	return val;
}

static void st(struct rig *r, uint64_t addr, unsigned size, uint64_t val)
{
	bus_write(&r->mmio, addr, size, val);
}

static uint64_t cfg(unsigned slot, unsigned reg)
{
	return ECAM + slot * 0x8000 + reg;
}

static void enable(struct rig *r, unsigned slot, bool on)
{
	st(r, cfg(slot, 4), 2, on ? 2 : 0);
}

static void move(struct rig *r, unsigned slot, uint64_t addr)
{
	st(r, cfg(slot, 0x10), 4, (uint32_t)addr);
	st(r, cfg(slot, 0x14), 4, addr >> 32);
}

/* ------------------------------------------------------------------------------- */

static void bus_is_enumerated(void **state)
{
	struct rig *r = *state;

	assert_int_equal(ld(r, cfg(0, 0), 4), 0x00081b36);
	assert_int_equal(ld(r, cfg(0, 0xa), 2), 0x0600);
	assert_int_equal(ld(r, cfg(1, 0), 4), 0xa0001234);
	assert_int_equal(ld(r, cfg(2, 0), 4), 0xb0001234);
	for (unsigned slot = 0; slot < 32; slot++)
		for (unsigned function = slot < 3; function < 8; function++)
			assert_int_equal(ld(r, cfg(slot, 0) + function * 0x1000, 4), 0xffffffff);
	assert_int_equal(ld(r, cfg(1, 0x100), 4), 0); /* no extended capabilities */
}

static void slots_are_given_out(void **state)
{
	struct rig *r = *state;
	static struct probe many[32];

	for (unsigned i = 0; i < 32; i++)
		make_probe(&many[i], i, 0x1000);
	assert_int_equal(pci_host_add(&r->host, 2, &many[0].pci), -EEXIST);
	assert_int_equal(pci_host_add(&r->host, 0, &many[0].pci), -EINVAL);
	assert_int_equal(pci_host_add(&r->host, 32, &many[0].pci), -EINVAL);
	assert_int_equal(pci_host_add(&r->host, 4, &many[0].pci), 4);
	assert_int_equal(pci_host_add(&r->host, -1, &many[1].pci), 3);
	for (unsigned i = 2; i < 29; i++)
		assert_int_equal(pci_host_add(&r->host, -1, &many[i].pci), 3 + i);
	assert_int_equal(pci_host_add(&r->host, -1, &many[29].pci), -ENOSPC);
	pci_host_remove(&many[5].pci);
	assert_int_equal(ld(r, cfg(8, 0), 4), 0xffffffff);
	assert_int_equal(pci_host_add(&r->host, -1, &many[29].pci), 8);
}

static void firmware_assigns_bars(void **state)
{
	struct rig *r = *state;
	uint64_t a = pci_bar_address(&r->a.pci, 0), b = pci_bar_address(&r->b.pci, 0);

	assert_true(a >= MMIO32 && a + BAR_LEN <= MMIO32 + WINDOW);
	assert_true(b >= MMIO32 && b + BAR_LEN <= MMIO32 + WINDOW);
	assert_false(ranges_overlap(a, BAR_LEN, b, BAR_LEN));
	assert_int_equal(ld(r, cfg(1, 0x10), 4), (uint32_t)a | 4);
	/* Decoding is off until the driver asks for it. */
	assert_int_equal(ld(r, a, 4), 0xffffffff);
	enable(r, 1, true);
	assert_int_equal(ld(r, a + 8, 4), 0xa008);
	assert_int_equal(r->a.at, a);
}

static void firmware_packs_mixed_sizes(void **state)
{
	static const uint64_t lens[] = {0x10, 0x40000, 0x1000, 0x80000, 0x20, 0x4000, 0x10};
	static struct probe many[ARRAY_LEN(lens)];
	struct rig *r = *state;

	for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
		make_probe(&many[i], i, lens[i]);
		assert_true(pci_host_add(&r->host, -1, &many[i].pci) > 0);
	}
	assert_int_equal(pci_host_assign(&r->host, NULL), 0);
	for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
		uint64_t addr = pci_bar_address(&many[i].pci, 0);

		assert_true(addr >= MMIO32 && addr + lens[i] <= MMIO32 + WINDOW);
		assert_int_equal(addr % lens[i], 0);
		assert_int_equal(addr % 4096, 0);
		for (unsigned j = 0; j < i; j++)
			assert_false(ranges_overlap(addr, lens[i], pci_bar_address(&many[j].pci, 0),
						    lens[j]));
	}
}

static void firmware_runs_out_of_room(void **state)
{
	static struct probe big[3];
	struct rig *r = *state;
	struct err e = {0};

	for (unsigned i = 0; i < 3; i++) {
		make_probe(&big[i], i, 0x80000);
		assert_true(pci_host_add(&r->host, -1, &big[i].pci) > 0);
	}
	/* One below 4 GiB, the others above. */
	assert_int_equal(pci_host_assign(&r->host, &e), 0);
	assert_in_range(pci_bar_address(&big[1].pci, 0), MMIO64, MMIO64 + WINDOW);
	static struct probe last;

	make_probe(&last, 9, 0x80000);
	assert_true(pci_host_add(&r->host, -1, &last.pci) > 0);
	assert_int_equal(pci_host_assign(&r->host, &e), -ENOSPC);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "no room"));
}

/* A 64-bit BAR would fill the window below 4 GiB, but 32-bit ones have nowhere else. */
static void firmware_leaves_room_for_32_bits(void **state)
{
	const struct pci_layout layout = {ECAM, MMIO32, WINDOW, MMIO64, WINDOW};
	static struct probe wide, narrow[2];
	struct pci_host host;
	struct bus mmio;

	bus_init(&mmio, "mmio");
	assert_int_equal(pci_host_init(&host, &mmio, &layout), 0);
	make_probe(&wide, 1, WINDOW);
	assert_int_equal(pci_host_add(&host, -1, &wide.pci), 1);
	for (unsigned i = 0; i < ARRAY_LEN(narrow); i++) {
		make_probe_of(&narrow[i], 2 + i, WINDOW / 4 << i, false);
		assert_int_equal(pci_host_add(&host, -1, &narrow[i].pci), 2 + i);
	}
	assert_int_equal(pci_host_assign(&host, NULL), 0);
	assert_int_equal(pci_bar_address(&wide.pci, 0), MMIO64);
	/* The biggest first, lest it finds only pieces. */
	assert_int_equal(pci_bar_address(&narrow[1].pci, 0), MMIO32);
	assert_int_equal(pci_bar_address(&narrow[0].pci, 0), MMIO32 + WINDOW / 2);
	pci_host_fini(&host);
	bus_fini(&mmio);
}

static void sizing_unmaps_and_brings_back(void **state)
{
	struct rig *r = *state;
	uint64_t a = pci_bar_address(&r->a.pci, 0);

	enable(r, 1, true);
	move(r, 1, UINT64_MAX);
	assert_int_equal(ld(r, cfg(1, 0x10), 8), 0xffffffffffffc004ull);
	assert_int_equal(ld(r, a, 4), 0xffffffff);
	assert_int_equal(r->a.at, 0);
	move(r, 1, a);
	assert_int_equal(ld(r, a, 4), 0xa000);
	enable(r, 1, false);
	assert_int_equal(r->a.at, 0);
	assert_int_equal(ld(r, a, 4), 0xffffffff);
}

static void bar_moves(void **state)
{
	struct rig *r = *state;
	uint64_t old = pci_bar_address(&r->a.pci, 0);

	enable(r, 1, true);
	move(r, 1, MMIO64 + 0x8000);
	assert_int_equal(ld(r, MMIO64 + 0x8000 + 4, 4), 0xa004);
	st(r, MMIO64 + 0x8000, 4, 77);
	assert_int_equal(r->a.last_write, 77);
	assert_int_equal(ld(r, old, 4), 0xffffffff);
	assert_int_equal(r->a.at, MMIO64 + 0x8000);
	assert_int_equal(r->a.maps, r->a.unmaps + 1);
}

static void bars_trade_places(void **state)
{
	struct rig *r = *state;
	uint64_t a = pci_bar_address(&r->a.pci, 0), b = pci_bar_address(&r->b.pci, 0);

	enable(r, 1, true);
	enable(r, 2, true);
	move(r, 1, b); /* both at b: the lower slot has it */
	assert_int_equal(ld(r, b, 4), 0xa000);
	assert_int_equal(r->b.at, 0);
	move(r, 2, a);
	assert_int_equal(ld(r, a, 4), 0xb000);
	assert_int_equal(ld(r, b, 4), 0xa000);
}

/* --- hostile ----------------------------------------------------------------------- */

static void bar_over_ram_is_unmapped(void **state)
{
	struct rig *r = *state;
	/* RAM lies below and above the windows; the edges are the interesting places. */
	static const uint64_t bad[] = {0,
				       0x4000,
				       0x7fff0000,
				       MMIO32 - BAR_LEN,
				       MMIO32 + WINDOW,
				       0x100000000ull,
				       MMIO64 - BAR_LEN,
				       MMIO64 + WINDOW,
				       UINT64_MAX & ~(BAR_LEN - 1),
				       0xfee00000,
				       0xfec00000};
	unsigned n;

	enable(r, 1, true);
	n = r->mmio.n;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		move(r, 1, bad[i]);
		assert_int_equal(r->a.at, 0);
		assert_int_equal(r->mmio.n, n - 1);
	}
	move(r, 1, MMIO32 + WINDOW - BAR_LEN);
	assert_int_equal(r->a.at, MMIO32 + WINDOW - BAR_LEN);
}

static void bar_over_ecam_is_unmapped(void **state)
{
	struct rig *r = *state;

	enable(r, 1, true);
	move(r, 1, ECAM);
	assert_int_equal(r->a.at, 0);
	assert_int_equal(ld(r, cfg(0, 0), 4), 0x00081b36);
}

static void bar_over_another_device_is_unmapped(void **state)
{
	static const struct io_ops none = {probe_read, probe_write};
	struct probe other = {.tag = 0xdead0000};
	struct rig *r = *state;

	/* Somebody in the window that PCI does not know of. */
	assert_int_equal(bus_add(&r->mmio, MMIO32 + 0x50000, 0x1000, &none, &other, "other"), 0);
	enable(r, 1, true);
	move(r, 1, MMIO32 + 0x50000);
	assert_int_equal(r->a.at, 0);
	assert_int_equal(ld(r, MMIO32 + 0x50000, 4), 0xdead0000);
	/* It is tried again once the way is free. */
	assert_int_equal(bus_remove(&r->mmio, MMIO32 + 0x50000, &other), 0);
	enable(r, 2, true);
	assert_int_equal(r->a.at, MMIO32 + 0x50000);
}

static void bar_over_another_bar_is_unmapped(void **state)
{
	struct rig *r = *state;
	uint64_t a = pci_bar_address(&r->a.pci, 0);

	enable(r, 1, true);
	enable(r, 2, true);
	move(r, 2, a);
	assert_int_equal(r->a.at, a);
	assert_int_equal(r->b.at, 0);
	assert_int_equal(ld(r, a, 4), 0xa000);
	move(r, 1, MMIO32 + 0x80000); /* out of the way */
	assert_int_equal(r->b.at, a);
	assert_int_equal(ld(r, a, 4), 0xb000);
}

static void ecam_at_every_offset(void **state)
{
	struct rig *r = *state;

	for (unsigned size = 1; size <= 8; size *= 2)
		for (uint64_t off = 0; off < PCI_ECAM_LEN; off += off < 0x11000 ? 1 : 253) {
			uint64_t val = ld(r, ECAM + off, size);

			/* Across the end of a function, or of the window, nobody answers. */
			if ((off & 0xfff) + size > 0x1000) {
				assert_true(val == size_mask(size));
				st(r, ECAM + off, size, UINT64_MAX);
			}
		}
	assert_int_equal(ld(r, cfg(1, 0), 4), 0xa0001234);
	for (uint64_t off = 0; off < PCI_ECAM_LEN; off += 1)
		st(r, ECAM + off, 1 + (off & 1), UINT64_MAX);
	assert_int_equal(ld(r, cfg(1, 0), 4), 0xa0001234);
	assert_int_equal(ld(r, cfg(3, 0), 4), 0xffffffff);
}

/* --- life ---------------------------------------------------------------------------- */

static void reset_brings_power_on_back(void **state)
{
	struct rig *r = *state;
	uint64_t a = pci_bar_address(&r->a.pci, 0);

	enable(r, 1, true);
	move(r, 1, MMIO64);
	st(r, cfg(1, 0x3c), 1, 11);
	pci_host_reset(&r->a.pci);
	assert_int_equal(r->a.at, 0);
	assert_int_equal(ld(r, cfg(1, 4), 2), 0);
	assert_int_equal(ld(r, cfg(1, 0x3c), 1), 0);
	assert_int_equal(pci_bar_address(&r->a.pci, 0), a);
}

static void bridge_state_survives_a_round_trip(void **state)
{
	struct state_writer w, again;
	struct state_reader reader;
	struct rig *r = *state;
	struct err e = {0};

	st(r, cfg(0, 4), 2, 0x106);
	state_writer_init(&w);
	pci_host_device_ops.save(&r->host, &w);
	pci_host_device_ops.reset(&r->host);
	assert_int_equal(ld(r, cfg(0, 4), 2), 0);
	for (size_t len = 0; len < w.len; len++) {
		state_reader_init(&reader, w.data, len);
		e = (struct err){0};
		assert_int_equal(pci_host_device_ops.load(&r->host, &reader, &e), -EBADMSG);
		assert_true(e.text[0]);
		assert_int_equal(ld(r, cfg(0, 4), 2), 0);
	}
	state_reader_init(&reader, w.data, w.len);
	assert_int_equal(pci_host_device_ops.load(&r->host, &reader, &e), 0);
	assert_int_equal(ld(r, cfg(0, 4), 2), 0x106);
	state_writer_init(&again);
	pci_host_device_ops.save(&r->host, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.data, again.data, w.len);
	w.data[32 + 1] ^= 1; /* the vendor */
	state_reader_init(&reader, w.data, w.len);
	assert_int_equal(pci_host_device_ops.load(&r->host, &reader, &e), -EBADMSG);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

static void restore_maps_where_the_guest_had_moved_it(void **state)
{
	struct rig *r = *state;
	uint64_t a = pci_bar_address(&r->a.pci, 0), b = pci_bar_address(&r->b.pci, 0);
	struct pci_saved saved_a, saved_b;

	/* Each saved where the other one is by default. */
	memcpy(saved_a.config, r->a.pci.config, 256);
	memcpy(saved_b.config, r->b.pci.config, 256);
	enable(r, 1, true);
	enable(r, 2, true);
	saved_a.config[4] = saved_b.config[4] = 2;
	memcpy(saved_a.config + 0x10, r->b.pci.config + 0x10, 8);
	memcpy(saved_b.config + 0x10, r->a.pci.config + 0x10, 8);
	pci_host_restore(&r->a.pci, &saved_a);
	pci_host_restore(&r->b.pci, &saved_b);
	assert_int_equal(r->a.at, b);
	assert_int_equal(r->b.at, a);
}

static void ecam_window_must_be_free(void **state)
{
	const struct pci_layout layout = {ECAM + 0x1000, MMIO32, WINDOW, 0, 0};
	struct rig *r = *state;
	struct pci_host second = {0};

	assert_int_equal(pci_host_init(&second, &r->mmio, &layout), -EEXIST);
	pci_host_fini(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bus_is_enumerated, setup, teardown),
		cmocka_unit_test_setup_teardown(slots_are_given_out, setup, teardown),
		cmocka_unit_test_setup_teardown(firmware_assigns_bars, setup, teardown),
		cmocka_unit_test(firmware_leaves_room_for_32_bits),
		cmocka_unit_test_setup_teardown(firmware_packs_mixed_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(firmware_runs_out_of_room, setup, teardown),
		cmocka_unit_test_setup_teardown(sizing_unmaps_and_brings_back, setup, teardown),
		cmocka_unit_test_setup_teardown(bar_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(bars_trade_places, setup, teardown),
		cmocka_unit_test_setup_teardown(bar_over_ram_is_unmapped, setup, teardown),
		cmocka_unit_test_setup_teardown(bar_over_ecam_is_unmapped, setup, teardown),
		cmocka_unit_test_setup_teardown(bar_over_another_device_is_unmapped, setup,
						teardown),
		cmocka_unit_test_setup_teardown(bar_over_another_bar_is_unmapped, setup, teardown),
		cmocka_unit_test_setup_teardown(ecam_at_every_offset, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_brings_power_on_back, setup, teardown),
		cmocka_unit_test_setup_teardown(bridge_state_survives_a_round_trip, setup,
						teardown),
		cmocka_unit_test_setup_teardown(restore_maps_where_the_guest_had_moved_it, setup,
						teardown),
		cmocka_unit_test_setup_teardown(ecam_window_must_be_free, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
