/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space alone, as a guest's firmware would probe it. The expected
 * numbers are the specification's, written out here and not taken from config.h. */
#include "devices/pci/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

static const struct pci_ids ids = {
	.vendor = 0x1af4,
	.device = 0x1042,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1043,
	.class_code = 0x0100,
	.revision = 7,
};

struct rig {
	struct pci_dev dev;
	unsigned written, last_off, last_size;
	uint8_t overlay; /* xored into every byte read */
};

static void on_read(void *dev, unsigned off, unsigned size, uint8_t *bytes)
{
	struct rig *r = dev;

	for (unsigned i = 0; i < size; i++)
		bytes[i] ^= r->overlay;
}

static void on_written(void *dev, unsigned off, unsigned size)
{
	struct rig *r = dev;

	r->written++;
	r->last_off = off;
	r->last_size = size;
}

static const struct pci_dev_ops ops = {.config_read = on_read, .config_written = on_written};

/* BAR 0: 4 KiB, 32 bits. BAR 2: 16 KiB, 64 bits. BAR 4: 8 GiB, 64 bits. */
static int setup(void **state)
{
	static struct rig rig;

	memset(&rig, 0, sizeof(rig));
	pci_dev_init(&rig.dev, &ids, &ops, &rig, "probe");
	assert_int_equal(pci_dev_add_bar(&rig.dev, 0, 0x1000, false, NULL), 0);
	assert_int_equal(pci_dev_add_bar(&rig.dev, 2, 0x4000, true, NULL), 0);
	assert_int_equal(pci_dev_add_bar(&rig.dev, 4, 8ull << 30, true, NULL), 0);
	*state = &rig;
	return 0;
}

static uint64_t rd(void **state, unsigned off, unsigned size)
{
	return pci_config_read(&((struct rig *)*state)->dev, off, size);
}

static void wr(void **state, unsigned off, unsigned size, uint64_t val)
{
	pci_config_write(&((struct rig *)*state)->dev, off, size, val);
}

static void header_identifies_the_function(void **state)
{
	assert_int_equal(rd(state, 0x00, 4), 0x10421af4);
	assert_int_equal(rd(state, 0x08, 4), 0x01000007);
	assert_int_equal(rd(state, 0x0a, 2), 0x0100);
	assert_int_equal(rd(state, 0x0e, 1), 0); /* type 0, one function */
	assert_int_equal(rd(state, 0x2c, 4), 0x10431af4);
	assert_int_equal(rd(state, 0x30, 4), 0); /* no expansion ROM */
	assert_int_equal(rd(state, 0x3d, 1), 0); /* no INTx */
	assert_int_equal(rd(state, 0x00, 8), 0x10421af4);
	assert_int_equal(rd(state, 0x02, 1), 0x42);
	assert_int_equal(rd(state, 0x01, 4), 0x0010421a); /* unaligned */
}

static void identity_is_read_only(void **state)
{
	static const unsigned fixed[] = {0x00, 0x08, 0x2c, 0x30, 0x34, 0x38};

	for (unsigned i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		uint64_t before = rd(state, fixed[i], 4);

		wr(state, fixed[i], 4, ~before);
		assert_int_equal(rd(state, fixed[i], 4), before);
	}
}

static void command_keeps_only_what_it_has(void **state)
{
	wr(state, 0x04, 2, 0xffff);
	assert_int_equal(rd(state, 0x04, 2), 0x0506); /* memory, master, SERR, INTx disable */
	wr(state, 0x04, 2, 0);
	assert_int_equal(rd(state, 0x04, 2), 0);
	wr(state, 0x06, 2, 0xffff); /* status: nothing to set, nothing to clear */
	assert_int_equal(rd(state, 0x06, 2), 0);
}

static void bars_are_sized_by_all_ones(void **state)
{
	wr(state, 0x10, 4, 0xffffffff);
	assert_int_equal(rd(state, 0x10, 4), 0xfffff000);
	wr(state, 0x18, 4, 0xffffffff);
	wr(state, 0x1c, 4, 0xffffffff);
	assert_int_equal(rd(state, 0x18, 4), 0xffffc004);
	assert_int_equal(rd(state, 0x1c, 4), 0xffffffff);
	wr(state, 0x20, 8, UINT64_MAX);
	assert_int_equal(rd(state, 0x20, 8), 0xfffffffe00000004ull);
	wr(state, 0x14, 4, 0xffffffff); /* no BAR 1 */
	assert_int_equal(rd(state, 0x14, 4), 0);
}

static void bars_hold_an_address(void **state)
{
	struct rig *r = *state;

	wr(state, 0x18, 4, 0xc0007fff);
	wr(state, 0x1c, 4, 0x12);
	assert_int_equal(pci_bar_address(&r->dev, 2), 0x12c0004000ull);
	assert_int_equal(rd(state, 0x18, 4), 0xc0004004);
	assert_false(pci_bar_enabled(&r->dev, 2));
	wr(state, 0x04, 1, 0x02);
	assert_true(pci_bar_enabled(&r->dev, 2));
	assert_false(pci_bar_enabled(&r->dev, 1));
	wr(state, 0x1d, 1, 0x34); /* a byte in the middle */
	assert_int_equal(pci_bar_address(&r->dev, 2), 0x3412c0004000ull);
}

static void bad_bars_are_refused(void **state)
{
	struct rig *r = *state;

	assert_int_equal(pci_dev_add_bar(&r->dev, 0, 0, false, NULL), -EINVAL);
	assert_int_equal(pci_dev_add_bar(&r->dev, 0, 8, false, NULL), -EINVAL);
	assert_int_equal(pci_dev_add_bar(&r->dev, 0, 0x3000, false, NULL), -EINVAL);
	assert_int_equal(pci_dev_add_bar(&r->dev, 0, 4ull << 30, false, NULL), -EINVAL);
	assert_int_equal(pci_dev_add_bar(&r->dev, 5, 0x1000, true, NULL), -EINVAL);
	assert_int_equal(pci_dev_add_bar(&r->dev, 6, 0x1000, false, NULL), -EINVAL);
}

static void capabilities_are_a_list(void **state)
{
	struct rig *r = *state;

	assert_int_equal(rd(state, 0x06, 2) & 0x10, 0);
	assert_int_equal(pci_dev_add_cap(&r->dev, 0x09, 18), 0x40);
	assert_int_equal(pci_dev_add_cap(&r->dev, 0x11, 12), 0x54);
	pci_dev_define(&r->dev, 0x56, 2, 0x1234, 0xc000);
	assert_int_equal(rd(state, 0x06, 2) & 0x10, 0x10);
	assert_int_equal(rd(state, 0x34, 1), 0x40);
	assert_int_equal(rd(state, 0x40, 2), 0x5409);
	assert_int_equal(rd(state, 0x54, 4), 0x12340011);
	wr(state, 0x54, 4, 0xffffffff);
	assert_int_equal(rd(state, 0x54, 4), 0xd2340011);
	assert_int_equal(pci_dev_add_cap(&r->dev, 0x09, 0xa1), -ENOSPC);
	assert_int_equal(pci_dev_add_cap(&r->dev, 0x09, 0xa0), 0x60);
	assert_int_equal(pci_dev_add_cap(&r->dev, 0x09, 1), -ENOSPC);
}

static void device_hears_of_writes_that_can_stick(void **state)
{
	struct rig *r = *state;

	wr(state, 0x00, 4, 1);
	wr(state, 0x100, 4, 1);
	assert_int_equal(r->written, 0);
	wr(state, 0x02, 4, 1); /* ends in COMMAND */
	assert_int_equal(r->written, 1);
	assert_int_equal(r->last_off, 0x02);
	assert_int_equal(r->last_size, 4);
	r->overlay = 0xff;
	assert_int_equal(rd(state, 0x00, 2), 0xe50b);
}

/* Hostile: every offset, every size. */
static void config_space_at_every_offset(void **state)
{
	struct rig *r = *state;
	uint8_t fixed[256];

	for (unsigned i = 0; i < 256; i++)
		fixed[i] = r->dev.config[i] & ~r->dev.writable[i];
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off + size <= 4096; off++) {
			uint64_t val;

			wr(state, off, size, UINT64_MAX);
			val = rd(state, off, size);
			if (size < 8)
				assert_int_equal(val >> (8 * size), 0);
			if (off >= 0x100)
				assert_int_equal(val, 0);
		}
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(r->dev.config[i] & ~r->dev.writable[i], fixed[i]);
}

/* --- state -------------------------------------------------------------------- */

static void save(const struct pci_dev *d, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "probe", 1);
	pci_dev_save(d, w);
	state_section_end(w);
	assert_int_equal(w->error, 0);
}

static int load(const struct pci_dev *d, const uint8_t *data, size_t len, struct pci_saved *out,
		struct err *e)
{
	struct state_reader r;
	int ret;

	*e = (struct err){0};
	state_reader_init(&r, data, len);
	ret = state_section_open(&r, "probe", e);
	if (ret < 0)
		return ret;
	ret = pci_dev_load_check(d, &r, out, e);
	return ret ? ret : state_section_close(&r, e);
}

static void state_survives_a_round_trip(void **state)
{
	struct rig *r = *state;
	struct pci_saved saved;
	struct state_writer w;
	struct err e;

	wr(state, 0x04, 2, 0x6);
	wr(state, 0x18, 8, 0x1ffffc000ull);
	wr(state, 0x3c, 1, 0x55);
	save(&r->dev, &w);
	assert_int_equal(load(&r->dev, w.data, w.len, &saved, &e), 0);
	assert_memory_equal(saved.config, r->dev.config, 256);
	state_writer_fini(&w);
}

static void damaged_state_is_refused(void **state)
{
	struct rig *r = *state;
	struct pci_saved saved;
	struct state_writer w;
	unsigned refused = 0;
	struct err e;

	save(&r->dev, &w);
	for (size_t len = 0; len < w.len; len++) {
		assert_int_equal(load(&r->dev, w.data, len, &saved, &e), -EBADMSG);
		assert_true(e.text[0]);
	}
	for (size_t i = 0; i < w.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			w.data[i] ^= 1u << bit;
			if (load(&r->dev, w.data, w.len, &saved, &e)) {
				refused++;
				assert_int_equal(e.code, -EBADMSG);
			} else if (i >= 33) {
				/* Only what the guest may write can be otherwise. */
				assert_true(r->dev.writable[i - 33] & 1u << bit);
			}
			w.data[i] ^= 1u << bit;
		}
	assert_true(refused > 256);
	r->dev.slot = 3;
	assert_int_equal(load(&r->dev, w.data, w.len, &saved, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "slot"));
	state_writer_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(header_identifies_the_function, setup),
		cmocka_unit_test_setup(identity_is_read_only, setup),
		cmocka_unit_test_setup(command_keeps_only_what_it_has, setup),
		cmocka_unit_test_setup(bars_are_sized_by_all_ones, setup),
		cmocka_unit_test_setup(bars_hold_an_address, setup),
		cmocka_unit_test_setup(bad_bars_are_refused, setup),
		cmocka_unit_test_setup(capabilities_are_a_list, setup),
		cmocka_unit_test_setup(device_hears_of_writes_that_can_stick, setup),
		cmocka_unit_test_setup(config_space_at_every_offset, setup),
		cmocka_unit_test_setup(state_survives_a_round_trip, setup),
		cmocka_unit_test_setup(damaged_state_is_refused, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
