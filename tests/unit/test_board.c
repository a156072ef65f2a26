/* SPDX-License-Identifier: Apache-2.0 */
/* board: RAM around the hole, and a window for 64-bit BARs above all of it. */
#include "vmm/arch/x86_64/board.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define STEP (2 * MiB)

/* Each edge, and a page to either side. */
static const uint64_t sizes[] = {
	32 * MiB,       32 * MiB + PAGE, 3 * GiB - STEP, 3 * GiB - PAGE, 3 * GiB,
	3 * GiB + PAGE, 3 * GiB + STEP,  4 * GiB - PAGE, 4 * GiB,        4 * GiB + PAGE,
	5 * GiB - PAGE, 5 * GiB,         5 * GiB + PAGE, 64 * GiB,
};

static void no_byte_is_lost_and_none_is_in_the_hole(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct board b;

		assert_int_equal(board_init(&b, sizes[i], sizes[i], 1, 1, 48, NULL), 0);
		assert_true(b.ram_low + b.ram_high == sizes[i]);
		assert_true(b.ram_low == (sizes[i] < 3 * GiB ? sizes[i] : 3 * GiB));
		/* High RAM only when low RAM is full. */
		assert_true(!b.ram_high || b.ram_low == 3 * GiB);
		assert_true(b.mmio64 >= 4 * GiB + b.ram_high);
		assert_true(b.mmio64 % GiB == 0);
		assert_true(b.mmio64_len > 0);
		assert_true(b.mmio64 + b.mmio64_len <= 1ull << 48);
	}
}

/* hostile-cases: "guest RAM sizes around the 3 to 4 GiB hole". */
static void the_map_is_the_boards(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct guest_mem gm;
		struct board b;

		assert_int_equal(board_init(&b, sizes[i], sizes[i], 1, 1, 48, NULL), 0);
		guest_mem_init(&gm, GUEST_MEM_ANON);
		assert_int_equal(board_map_ram(&b, &gm, NULL), 0);
		assert_true(guest_mem_size(&gm) == sizes[i]);
		assert_int_equal(gm.n_regions, b.ram_high ? 2 : 1);
		assert_non_null(guest_mem_hva(&gm, b.ram_low - 1, 1));
		assert_null(guest_mem_hva(&gm, b.ram_low, 1));
		assert_null(guest_mem_hva(&gm, b.ram_low - 1, 2));
		assert_null(guest_mem_hva(&gm, 4 * GiB - 1, 2));
		assert_null(guest_mem_hva(&gm, LAYOUT_ECAM, 1));
		assert_null(guest_mem_hva(&gm, LAYOUT_IOAPIC, 1));
		assert_null(guest_mem_hva(&gm, LAYOUT_LAPIC, 1));
		assert_null(guest_mem_hva(&gm, b.mmio64, 1));
		if (b.ram_high) {
			assert_non_null(guest_mem_hva(&gm, 4 * GiB + b.ram_high - 1, 1));
			assert_null(guest_mem_hva(&gm, 4 * GiB + b.ram_high - 1, 2));
		} else {
			assert_null(guest_mem_hva(&gm, 4 * GiB, 1));
		}
		guest_mem_fini(&gm);
	}
}

static void virtio_devices_have_places(void **state)
{
	struct err e = {0};
	struct board b;

	/* On PCI: the slots after the bridge's. */
	assert_int_equal(board_init(&b, GiB, GiB, 1, 1, 48, NULL), 0);
	for (unsigned i = 0; i < 31; i++) {
		assert_int_equal(board_add_virtio(&b, "x", NULL), 0);
		assert_int_equal(b.virtio[i].slot, i + 1);
	}
	assert_int_equal(board_ioapic_pins(&b), 16);
	assert_int_equal(board_add_virtio(&b, "one-more", &e), -ENOSPC);
	assert_string_equal(e.text,
			    "one-more: there is room for 31 virtio devices with --transport "
			    "pci; give fewer");
	assert_int_equal(b.n_virtio, 31);
	e = (struct err){0};

	/* On MMIO: pages in the hole, pins that are nobody else's. */
	assert_int_equal(board_init(&b, GiB, GiB, 1, 1, 48, NULL), 0);
	b.virtio_mmio = true;
	for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++) {
		assert_int_equal(board_add_virtio(&b, "x", NULL), 0);
		assert_true(b.virtio[i].base >= LAYOUT_HOLE && b.virtio[i].base % 4096 == 0);
		assert_true(b.virtio[i].base + 4096 <= LAYOUT_IOAPIC);
		assert_true(i == 0 || b.virtio[i].base == b.virtio[i - 1].base + 4096);
		assert_true(b.virtio[i].gsi > LAYOUT_GSI_GED);
		assert_true(i == 0 || b.virtio[i].gsi == b.virtio[i - 1].gsi + 1);
		assert_true(b.virtio[i].gsi < board_ioapic_pins(&b));
		assert_true(board_ioapic_pins(&b) >= 16 && board_ioapic_pins(&b) <= 64);
	}
	assert_int_equal(board_ioapic_pins(&b), 64);
	assert_int_equal(board_add_virtio(&b, "one-more", &e), -ENOSPC);
	assert_non_null(strstr(e.text, "--transport mmio"));
}

/* hostile-cases: "DMA across the hole refused", for every size: the last page is
 * RAM to its last byte, and a transfer that goes on beyond it moves nothing. */
static void dma_ends_where_ram_ends(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct guest_mem gm;
		struct board b;

		assert_int_equal(board_init(&b, sizes[i], sizes[i], 1, 1, 48, NULL), 0);
		guest_mem_init(&gm, GUEST_MEM_ANON);
		assert_int_equal(board_map_ram(&b, &gm, NULL), 0);

		const uint64_t ends[] = {b.ram_low, 4 * GiB + b.ram_high};

		for (unsigned j = 0; j < (b.ram_high ? 2 : 1); j++) {
			char page[PAGE], two[2 * PAGE];

			memset(page, 'x', sizeof(page));
			memset(two, 'y', sizeof(two));
			assert_int_equal(guest_mem_write(&gm, ends[j] - PAGE, page, PAGE), 0);
			assert_int_equal(guest_mem_write(&gm, ends[j] - PAGE, two, PAGE + 1),
					 -EFAULT);
			assert_int_equal(guest_mem_write(&gm, ends[j], two, 1), -EFAULT);
			assert_int_equal(guest_mem_read(&gm, ends[j] - 1, two, 2), -EFAULT);
			assert_int_equal(guest_mem_read(&gm, ends[j] - PAGE, two, PAGE), 0);
			assert_memory_equal(two, page, PAGE);
		}
		/* From the last byte below the hole to the first above it. */
		assert_null(guest_mem_hva(&gm, b.ram_low - 1, 4 * GiB - b.ram_low + 2));
		guest_mem_fini(&gm);
	}
}

/* Behind RAM, in Linux's memory blocks, below the window; RAM is where it would be without. */
static void room_to_grow(void **state)
{
	static const struct {
		uint64_t memory, max, at, len;
	} cases[] = {
		{256 * MiB, 512 * MiB, 4 * GiB, 256 * MiB},
		{256 * MiB, 256 * MiB + PAGE, 4 * GiB, 128 * MiB},
		{3 * GiB, 4 * GiB, 4 * GiB, GiB},
		{3 * GiB + PAGE, 4 * GiB, 6 * GiB, GiB},
		{5 * GiB, 8 * GiB, 6 * GiB, 3 * GiB},
		{6 * GiB, 6 * GiB + 129 * MiB, 8 * GiB, 256 * MiB},
		{32 * MiB, 64 * GiB, 4 * GiB, 64 * GiB},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct guest_mem gm;
		struct board b, fixed;

		assert_int_equal(board_init(&b, cases[i].memory, cases[i].max, 1, 1, 48, NULL), 0);
		assert_int_equal(
			board_init(&fixed, cases[i].memory, cases[i].memory, 1, 1, 48, NULL), 0);
		assert_int_equal(fixed.growth_len, 0);
		assert_true(b.ram_low == fixed.ram_low && b.ram_high == fixed.ram_high);
		assert_true(b.growth == cases[i].at && b.growth_len == cases[i].len);
		assert_true(b.growth_len == board_growth(cases[i].memory, cases[i].max));
		assert_true(b.mmio64 >= b.growth + b.growth_len && b.mmio64 % GiB == 0);
		guest_mem_init(&gm, GUEST_MEM_ANON);
		assert_int_equal(board_map_ram(&b, &gm, NULL), 0);
		assert_true(guest_mem_size(&gm) == cases[i].memory + cases[i].len);
		assert_non_null(guest_mem_hva(&gm, b.growth, b.growth_len));
		assert_null(guest_mem_hva(&gm, b.growth + b.growth_len, 1));
		guest_mem_fini(&gm);
	}
}

/* One behind the other in the file, in this order. */
static void a_saved_one_is_mapped_with_its_room(void **state)
{
	struct board b;
	struct guest_mem gm;
	int fd = memfd_create("saved", MFD_CLOEXEC);

	assert_int_equal(board_init(&b, 3 * GiB + 4 * MiB, 4 * GiB, 1, 1, 48, NULL), 0);
	const uint64_t at[] = {0, b.ram_low, b.ram_low + b.ram_high};
	const uint64_t gpa[] = {0, 4 * GiB, b.growth};

	assert_int_equal(ftruncate(fd, (off_t)(at[2] + b.growth_len)), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pwrite(fd, &(char){(char)('a' + i)}, 1, (off_t)at[i]), 1);
	guest_mem_init(&gm, GUEST_MEM_FILE);
	assert_int_equal(board_map_saved_ram(&b, &gm, fd, NULL), 0);
	assert_int_equal(gm.n_regions, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(*(char *)guest_mem_hva(&gm, gpa[i], 1), 'a' + i);
	guest_mem_fini(&gm);
	close(fd);
}

static void room_to_grow_moves_the_window_only(void **state)
{
	struct board small, roomy;

	assert_int_equal(board_init(&small, 512 * MiB, 512 * MiB, 1, 1, 48, NULL), 0);
	assert_int_equal(board_init(&roomy, 512 * MiB, 16 * GiB, 1, 1, 48, NULL), 0);
	assert_true(small.ram_low == roomy.ram_low && !roomy.ram_high);
	assert_true(small.mmio64 == 4 * GiB);
	assert_true(roomy.mmio64 >= 4 * GiB + 13 * GiB);
}

static void too_few_address_bits_are_refused(void **state)
{
	/* 63 GiB of RAM end 60 GiB above the hole's end, at 2^36: no room for the window. */
	const struct {
		uint64_t memory;
		unsigned bits;
		bool fits;
	} cases[] = {
		{63 * GiB, 36, false},        {63 * GiB, 37, true},   {62 * GiB, 36, true},
		{62 * GiB + PAGE, 36, false}, {3 * GiB, 32, false},   {3 * GiB, 33, true},
		{1024 * GiB, 40, false},      {1024 * GiB, 41, true}, {1024 * GiB, 64, true},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct board b;
		struct err e = {0};
		int ret = board_init(&b, cases[i].memory, cases[i].memory, 1, 1, cases[i].bits, &e);

		assert_int_equal(ret, cases[i].fits ? 0 : -EINVAL);
		if (cases[i].fits) {
			assert_true(b.mmio64_len >= GiB);
			continue;
		}
		assert_int_equal(e.kind, ERR_USAGE);
		assert_non_null(strstr(e.text, "--memory"));
	}
}

static void apic_ids_are_the_numbers(void **state)
{
	struct board b;

	assert_int_equal(board_init(&b, 1 * GiB, 1 * GiB, 3, 7, 48, NULL), 0);
	assert_int_equal(b.cpus, 3);
	assert_int_equal(b.cpus_max, 7);
	for (unsigned i = 0; i < 255; i++)
		assert_int_equal(board_apic_id(i), i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_byte_is_lost_and_none_is_in_the_hole),
		cmocka_unit_test(the_map_is_the_boards),
		cmocka_unit_test(virtio_devices_have_places),
		cmocka_unit_test(dma_ends_where_ram_ends),
		cmocka_unit_test(room_to_grow),
		cmocka_unit_test(a_saved_one_is_mapped_with_its_room),
		cmocka_unit_test(room_to_grow_moves_the_window_only),
		cmocka_unit_test(too_few_address_bits_are_refused),
		cmocka_unit_test(apic_ids_are_the_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
