/* SPDX-License-Identifier: Apache-2.0 */
/* The hot-plug registers as ACPI code reaches them, and as one that means harm would. */
#include "devices/pci/hotplug.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ECAM  0xe8000000ull
#define PORTS 0x610u
#define SLOTS 0x0000ff00u /* 8 to 15 */

enum { UP = 0, DOWN = 4, EJECT = 8 };

struct rig {
	struct bus mmio, pio;
	struct pci_host host;
	struct pci_hotplug h;
	struct pci_dev devs[PCI_SLOTS];
	unsigned events, ejections;
};

static void on_event(void *ctx)
{
	((struct rig *)ctx)->events++;
}

static void on_ejected(void *ctx)
{
	((struct rig *)ctx)->ejections++;
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	const struct pci_layout layout = {
		.ecam_base = ECAM, .mmio32_base = 0xc0000000, .mmio32_len = 0x100000};
	const struct pci_hotplug_wires wires = {on_event, on_ejected, r};

	bus_init(&r->mmio, "mmio");
	bus_init(&r->pio, "pio");
	assert_int_equal(pci_host_init(&r->host, &r->mmio, &layout), 0);
	pci_hotplug_init(&r->h, SLOTS, &wires);
	assert_int_equal(
		bus_add(&r->pio, PORTS, PCI_HOTPLUG_PORTS, &pci_hotplug_io_ops, &r->h, "hotplug"),
		0);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	pci_hotplug_device_ops.fini(&r->h);
	pci_host_fini(&r->host);
	bus_fini(&r->pio);
	bus_fini(&r->mmio);
	free(r);
	return 0;
}

static uint32_t in(struct rig *r, unsigned off, unsigned size)
{
	uint64_t val;

	assert_true(bus_read(&r->pio, PORTS + off, size, &val));
	return (uint32_t)val;
}

static void out(struct rig *r, unsigned off, unsigned size, uint64_t val)
{
	assert_true(bus_write(&r->pio, PORTS + off, size, val));
}

/* What a guest that looks for a function finds. */
static uint16_t vendor(struct rig *r, unsigned slot)
{
	uint64_t val;

	assert_true(bus_read(&r->mmio, ECAM + (slot << 15), 2, &val));
	return (uint16_t)val;
}

static struct pci_dev *on_bus(struct rig *r, unsigned slot)
{
	const struct pci_ids ids = {.vendor = 0x1af4, .device = 0x1042};

	pci_dev_init(&r->devs[slot], &ids, NULL, r, "x");
	assert_int_equal(pci_host_add(&r->host, (int)slot, &r->devs[slot]), slot);
	return &r->devs[slot];
}

static struct pci_dev *plug(struct rig *r, unsigned slot)
{
	struct pci_dev *d = on_bus(r, slot);

	assert_int_equal(pci_hotplug_plug(&r->h, d), 0);
	return d;
}

static void comes_and_goes(void **state)
{
	struct rig *r = *state;
	struct pci_dev *d = plug(r, 9);

	assert_int_equal(r->events, 1);
	assert_int_equal(pci_hotplug_plug(&r->h, d), -EEXIST);
	assert_int_equal(in(r, UP, 4), 1 << 9);
	assert_int_equal(in(r, UP, 4), 0); /* reading clears */
	assert_int_equal(in(r, DOWN, 4), 0);
	assert_int_equal(pci_hotplug_ask(&r->h, d), 0);
	assert_int_equal(r->events, 2);
	assert_int_equal(in(r, DOWN, 4), 1 << 9);
	assert_int_equal(in(r, DOWN, 4), 0);
	assert_int_equal(vendor(r, 9), 0x1af4); /* it was asked, no more */
	assert_true(pci_hotplug_has(&r->h, d));
	assert_int_equal(pci_hotplug_take_ejected(&r->h), 0);
	assert_int_equal(pci_hotplug_ask(&r->h, d), 0);
	assert_int_equal(r->events, 3);
	out(r, EJECT, 4, 1 << 9);
	assert_int_equal(vendor(r, 9), 0xffff);
	assert_int_equal(r->ejections, 1);
	assert_int_equal(in(r, DOWN, 4), 0); /* what was still to be read is void */
	assert_int_equal(pci_hotplug_take_ejected(&r->h), 1 << 9);
	assert_int_equal(pci_hotplug_take_ejected(&r->h), 0);
	assert_int_equal(pci_hotplug_ask(&r->h, d), -ENOENT);
	assert_false(pci_hotplug_has(&r->h, d));
	plug(r, 9);
	assert_int_equal(in(r, UP, 4), 1 << 9);
}

/* Bytes, words and dwords; two slots of one byte, and of different ones. */
static void any_width(void **state)
{
	struct rig *r = *state;

	plug(r, 8);
	plug(r, 15);
	assert_int_equal(in(r, UP, 1), 0);
	assert_int_equal(in(r, UP + 1, 1), 0x81);
	assert_int_equal(in(r, UP, 4), 0);
	out(r, EJECT, 1, 0x81); /* slots 0 and 7 */
	assert_int_equal(r->ejections, 0);
	out(r, EJECT + 1, 1, 0x80);
	assert_int_equal(vendor(r, 15), 0xffff);
	assert_int_equal(vendor(r, 8), 0x1af4);
	out(r, EJECT, 2, 0x100);
	assert_int_equal(vendor(r, 8), 0xffff);
	assert_int_equal(pci_hotplug_take_ejected(&r->h), 0x8100);
}

/* Only what is ours can be ejected, and only once; nothing else can be written. */
static void hostile(void **state)
{
	struct rig *r = *state;
	struct pci_dev *fixed = on_bus(r, 3), *unplugged = on_bus(r, 12);
	uint64_t val;

	assert_int_equal(pci_hotplug_plug(&r->h, fixed), -EINVAL);
	plug(r, 10);
	out(r, UP, 4, UINT32_MAX);
	out(r, DOWN, 4, UINT32_MAX);
	assert_int_equal(in(r, UP, 4), 1 << 10);
	assert_int_equal(in(r, DOWN, 4), 0);
	assert_int_equal(in(r, EJECT, 4), 0);
	for (unsigned i = 0; i < 3; i++)
		out(r, EJECT, 4, UINT32_MAX);
	assert_int_equal(r->ejections, 1);
	assert_int_equal(pci_hotplug_take_ejected(&r->h), 1 << 10);
	assert_int_equal(vendor(r, 0), 0x1b36);
	assert_int_equal(vendor(r, 3), 0x1af4);
	assert_int_equal(vendor(r, 12), 0x1af4); /* it is not told of yet */
	assert_int_equal(pci_hotplug_plug(&r->h, unplugged), 0);
	/* Beyond the end, and across registers. */
	assert_false(bus_read(&r->pio, PORTS + PCI_HOTPLUG_PORTS - 1, 2, &val));
	assert_false(bus_write(&r->pio, PORTS + PCI_HOTPLUG_PORTS - 1, 4, UINT32_MAX));
	assert_int_equal(in(r, UP + 1, 4), 1 << 4);
	out(r, EJECT - 2, 4, UINT32_MAX); /* two bytes of DOWN, slots 0 to 15 of EJECT */
	assert_int_equal(vendor(r, 12), 0xffff);
	assert_int_equal(vendor(r, 3), 0x1af4);
}

static void save(struct rig *r, struct state_writer *w)
{
	state_writer_init(w);
	pci_hotplug_device_ops.save(&r->h, w);
}

static int load(struct rig *r, const uint8_t *bytes, size_t len)
{
	struct state_reader reader;
	struct err e = {0};

	state_reader_init(&reader, bytes, len);
	return pci_hotplug_device_ops.load(&r->h, &reader, &e);
}

static void saved_and_loaded(void **state)
{
	struct rig *r = *state;
	struct state_writer w, again;
	uint8_t *wrong;

	plug(r, 8);
	in(r, UP, 4);
	pci_hotplug_ask(&r->h, plug(r, 14));
	save(r, &w);
	pci_hotplug_device_ops.reset(&r->h);
	assert_int_equal(in(r, UP, 4), 0);
	assert_int_equal(in(r, DOWN, 4), 0);
	assert_int_equal(load(r, w.data, w.len), 0);
	save(r, &again);
	assert_int_equal(again.len, w.len);
	assert_memory_equal(again.data, w.data, w.len);
	assert_int_equal(in(r, UP, 4), 1 << 14);
	assert_int_equal(in(r, DOWN, 4), 1 << 14);
	/* News of a slot that is empty, or of other slots: nothing is taken. The four registers end
	 * the section. */
	wrong = malloc(w.len);
	for (unsigned reg = 0; reg < 4; reg++)
		for (unsigned bit = 0; bit < 32; bit++) {
			if (reg >= 2 && (bit == 8 || bit == 14))
				continue;
			memcpy(wrong, w.data, w.len);
			wrong[w.len - 16 + 4 * reg + bit / 8] ^= 1 << bit % 8;
			assert_true(load(r, wrong, w.len) < 0);
		}
	for (size_t len = 0; len < w.len; len++)
		assert_true(load(r, w.data, len) < 0);
	assert_int_equal(in(r, UP, 4), 0);
	assert_int_equal(in(r, DOWN, 4), 0);
	out(r, EJECT, 4, 1 << 8);
	assert_true(load(r, w.data, w.len) < 0);
	free(wrong);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(comes_and_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(any_width, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(saved_and_loaded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
