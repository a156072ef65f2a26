/* SPDX-License-Identifier: Apache-2.0 */
/* The MP table, searched for and walked as the specification tells an operating system
 * to. [Intel MultiProcessor Specification 1.4] */
#include "firmware/mptable.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct found {
	unsigned cpus, bootstrap, pci, isa, ioapics;
	uint64_t apic_ids;
	uint8_t isa_bus, ioapic_id;
	uint64_t pins; /* bit n: a line of the ISA bus goes to pin n */
};

static bool sums_to_zero(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return !sum;
}

/* "_MP_" on a 16-byte boundary: in the first KiB of the EBDA, the last KiB of base
 * memory (here the same), or the BIOS ROM at 0xf0000. */
static const uint8_t *search(struct guest_mem *gm)
{
	static const struct {
		uint64_t from, len;
	} places[] = {{0x9fc00, 0x400}, {0xf0000, 0x10000}};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		for (uint64_t at = places[i].from; at < places[i].from + places[i].len; at += 16) {
			const uint8_t *p = guest_mem_hva(gm, at, 16);

			if (!memcmp(p, "_MP_", 4) && p[8] == 1 && sums_to_zero(p, 16))
				return p;
		}
	}
	fail_msg("no floating pointer");
	return NULL;
}

static void walk(struct guest_mem *gm, const struct board *b, struct found *f)
{
	static const uint8_t sizes[] = {20, 8, 8, 8, 8};
	const uint8_t *mpf = search(gm), *table, *p;
	unsigned entries, last = 0;
	size_t len;

	memset(f, 0, sizeof(*f));
	assert_int_equal(mpf[9], 4);  /* 1.4 */
	assert_int_equal(mpf[11], 0); /* a table, no default configuration */
	assert_int_equal(mpf[12], 0); /* virtual wire: no IMCR */
	table = guest_mem_hva(gm, le32_get(mpf + 4), 44);
	assert_non_null(table);
	assert_memory_equal(table, "PCMP", 4);
	len = le16_get(table + 4);
	assert_non_null(guest_mem_hva(gm, le32_get(mpf + 4), len));
	assert_true(le32_get(mpf + 4) + len <= 0xffff0); /* the reset vector's */
	assert_true(sums_to_zero(table, len));
	assert_int_equal(table[6], 4);
	assert_int_equal(le32_get(table + 36), 0xfee00000);
	entries = le16_get(table + 34);

	for (p = table + 44; entries; entries--, p += sizes[*p]) {
		assert_true(p < table + len);
		assert_true(*p < sizeof(sizes));
		assert_true(*p >= last); /* sorted by type */
		last = *p;
		switch (*p) {
		case 0:
			assert_true(p[1] < 64 && !(f->apic_ids & 1ull << p[1]));
			f->apic_ids |= 1ull << p[1];
			assert_int_equal(p[2], 0x14);
			assert_true(p[3] & 1);
			f->bootstrap += !!(p[3] & 2);
			assert_int_equal(!!(p[3] & 2), !p[1]);
			f->cpus++;
			break;
		case 1:
			f->pci += !memcmp(p + 2, "PCI   ", 6);
			if (!memcmp(p + 2, "ISA   ", 6)) {
				f->isa_bus = p[1];
				f->isa++;
			}
			break;
		case 2:
			f->ioapic_id = p[1];
			assert_int_equal(p[3], 1);
			assert_int_equal(le32_get(p + 4), 0xfec00000);
			f->ioapics++;
			break;
		case 3:
			assert_int_equal(p[1], 0); /* INT */
			assert_int_equal(le16_get(p + 2), 0);
			assert_int_equal(p[4], f->isa_bus);
			assert_int_equal(p[6], f->ioapic_id);
			assert_int_equal(p[5], p[7]);
			assert_true(p[7] < board_ioapic_pins(b));
			f->pins |= 1ull << p[7];
			break;
		}
	}
	assert_ptr_equal(p, table + len);
	assert_int_equal(f->bootstrap, 1);
	assert_int_equal(f->isa, 1);
	assert_int_equal(f->ioapics, 1);
}

static void load(struct board *b, struct guest_mem *gm, struct found *f)
{
	struct err e = {0};

	b->ram_low = 2 * MiB;
	guest_mem_init(gm, GUEST_MEM_ANON);
	assert_int_equal(board_map_ram(b, gm, &e), 0);
	assert_int_equal(mptable_load(b, gm, &e), 0);
	walk(gm, b, f);
}

static void test_cpus(void **state)
{
	for (unsigned cpus = 1; cpus <= 64; cpus++) {
		/* Those that may come later are not there yet. */
		struct board b = {.cpus = cpus, .cpus_max = 64};
		struct guest_mem gm;
		struct found f;

		load(&b, &gm, &f);
		assert_int_equal(f.cpus, cpus);
		assert_true(f.apic_ids == (cpus == 64 ? UINT64_MAX : (1ull << cpus) - 1));
		assert_int_equal(f.pci, 1);
		assert_int_equal(f.pins, 0xffff);
		guest_mem_fini(&gm);
	}
}

/* As many virtio-mmio devices as there can be: each has its pin. */
static void test_virtio_mmio(void **state)
{
	struct board b = {.cpus = 64, .cpus_max = 64, .virtio_mmio = true};
	struct guest_mem gm;
	struct found f;

	for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++)
		assert_int_equal(board_add_virtio(&b, "v", NULL), 0);
	load(&b, &gm, &f);
	assert_int_equal(f.pci, 0);
	for (unsigned i = 0; i < b.n_virtio; i++)
		assert_true(f.pins & 1ull << b.virtio[i].gsi);
	guest_mem_fini(&gm);
}

static void test_no_ram(void **state)
{
	struct board b = {.cpus = 1, .cpus_max = 1};
	struct guest_mem none;
	struct err e = {0};

	guest_mem_init(&none, GUEST_MEM_ANON);
	assert_true(mptable_load(&b, &none, &e) < 0);
	assert_int_equal(e.kind, ERR_HOST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_virtio_mmio),
		cmocka_unit_test(test_no_ram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
