/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration mechanism #1 from the guest's side: port I/O, judged by ECAM. */
#include "devices/pci/conf1.h"
#include "vmm/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ECAM   0xe8000000ull
#define PORTS  0xcf8u
#define ENABLE 0x80000000u

struct rig {
	struct bus mmio, pio;
	struct pci_host host;
	struct pci_conf1 conf1;
	unsigned resets;
	uint8_t reset_value;
};

static uint64_t reset_read(void *dev, uint64_t off, unsigned size)
{
	return ((struct rig *)dev)->reset_value;
}

static void reset_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct rig *r = dev;

	assert_int_equal(off, 0);
	assert_int_equal(size, 1);
	r->reset_value = (uint8_t)val;
	r->resets++;
}

static const struct io_ops reset_ops = {.read = reset_read, .write = reset_write};

static int setup(void **state)
{
	static struct rig r;
	const struct pci_layout layout = {
		.ecam_base = ECAM,
		.mmio32_base = 0xc0000000,
		.mmio32_len = 0x100000,
	};

	r = (struct rig){0};
	bus_init(&r.mmio, "mmio");
	bus_init(&r.pio, "pio");
	assert_int_equal(pci_host_init(&r.host, &r.mmio, &layout), 0);
	pci_conf1_init(&r.conf1, &r.host, &reset_ops, &r);
	assert_int_equal(
		bus_add(&r.pio, PORTS, PCI_CONF1_PORTS, &pci_conf1_io_ops, &r.conf1, "conf1"), 0);
	*state = &r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	pci_host_fini(&r->host);
	bus_fini(&r->pio);
	bus_fini(&r->mmio);
	return 0;
}

static uint64_t in(struct rig *r, unsigned port, unsigned size)
{
	uint64_t val;

	bus_read(&r->pio, port, size, &val);
	return val;
}

static void out(struct rig *r, unsigned port, unsigned size, uint64_t val)
{
	bus_write(&r->pio, port, size, val);
}

static uint64_t ecam(struct rig *r, uint64_t off, unsigned size)
{
	uint64_t val;

	bus_read(&r->mmio, ECAM + off, size, &val);
	return val;
}

/* What Linux does to find out whether the mechanism is there. */
static void the_latch_reads_back(void **state)
{
	struct rig *r = *state;

	out(r, PORTS, 4, ENABLE);
	assert_int_equal(in(r, PORTS, 4), ENABLE);
	out(r, PORTS, 4, 0xffffffff);
	assert_int_equal(in(r, PORTS, 4), 0x80fffffc); /* reserved bits stay 0 */
}

static void every_register_reads_as_ecam_does(void **state)
{
	struct rig *r = *state;

	for (uint32_t reg = 0; reg < 256; reg++) {
		for (unsigned size = 1; size <= 4 - reg % 4; size *= 2) {
			out(r, PORTS, 4, ENABLE | (reg & 0xfc));
			assert_int_equal(in(r, PORTS + 4 + reg % 4, size), ecam(r, reg, size));
		}
	}
	assert_int_equal(in(r, PORTS + 4, 4), ecam(r, 0xfc, 4));
}

static void writes_arrive(void **state)
{
	struct rig *r = *state;
	const unsigned command = 0x04;

	out(r, PORTS, 4, ENABLE | command);
	out(r, PORTS + 4, 2, 0x0006);
	assert_int_equal(ecam(r, command, 2), 0x0006);
	out(r, PORTS + 5, 1, 0x01); /* SERR#: bit 8, by its own byte lane */
	assert_int_equal(ecam(r, command, 2), 0x0106);
}

static void nobody_there_reads_all_ones(void **state)
{
	struct rig *r = *state;

	out(r, PORTS, 4, ENABLE | 5 << 11); /* an empty slot */
	assert_int_equal(in(r, PORTS + 4, 4), 0xffffffff);
	out(r, PORTS, 4, ENABLE | 1 << 16); /* another bus */
	assert_int_equal(in(r, PORTS + 4, 2), 0xffff);
	out(r, PORTS, 4, 0); /* the window is off */
	assert_int_equal(in(r, PORTS + 4, 4), 0xffffffff);
}

static void port_0xcf9_is_the_reset_register(void **state)
{
	struct rig *r = *state;

	out(r, PORTS, 4, ENABLE | 0x10);
	out(r, PORTS + 1, 1, 0x06);
	assert_int_equal(r->resets, 1);
	assert_int_equal(in(r, PORTS + 1, 1), 0x06);
	assert_int_equal(in(r, PORTS, 4), ENABLE | 0x10);
	out(r, PORTS, 4, 0x0600); /* four bytes are for the latch */
	assert_int_equal(r->resets, 1);
}

static void odd_accesses_are_nobodys(void **state)
{
	struct rig *r = *state;

	out(r, PORTS, 4, ENABLE | 0x04);
	out(r, PORTS, 1, 0xff);
	out(r, PORTS, 2, 0xffff);
	out(r, PORTS + 2, 2, 0xffff);
	out(r, PORTS + 3, 1, 0);
	assert_int_equal(in(r, PORTS, 4), ENABLE | 0x04);
	assert_int_equal(in(r, PORTS, 2), 0xffff);
	assert_int_equal(in(r, PORTS + 6, 4), 0xffffffff); /* beyond the last port */
	assert_int_equal(in(r, PORTS + 2, 4), 0xffffffff); /* half latch, half window */
}

static void state_survives_a_round_trip(void **state)
{
	struct rig *r = *state;
	struct state_writer first, second;
	struct state_reader reader;
	struct err e = {0};

	state_writer_init(&first);
	state_writer_init(&second);
	out(r, PORTS, 4, ENABLE | 0x40);
	pci_conf1_device_ops.save(&r->conf1, &first);
	pci_conf1_device_ops.reset(&r->conf1);
	assert_int_equal(in(r, PORTS, 4), 0);
	state_reader_init(&reader, first.data, first.len);
	assert_int_equal(pci_conf1_device_ops.load(&r->conf1, &reader, &e), 0);
	pci_conf1_device_ops.save(&r->conf1, &second);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.data, second.data, first.len);

	first.data[first.len - 4] |= 1; /* a reserved bit of the address */
	state_reader_init(&reader, first.data, first.len);
	assert_int_not_equal(pci_conf1_device_ops.load(&r->conf1, &reader, &e), 0);
	assert_int_equal(in(r, PORTS, 4), ENABLE | 0x40);
	for (size_t len = 0; len < first.len; len++) {
		state_reader_init(&reader, first.data, len);
		assert_int_not_equal(pci_conf1_device_ops.load(&r->conf1, &reader, &e), 0);
	}
	state_writer_fini(&second);
	state_writer_fini(&first);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_latch_reads_back),
		TEST(every_register_reads_as_ecam_does),
		TEST(writes_arrive),
		TEST(nobody_there_reads_all_ones),
		TEST(port_0xcf9_is_the_reset_register),
		TEST(odd_accesses_are_nobodys),
		TEST(state_survives_a_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
