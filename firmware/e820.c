/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM as it is, less what a guest must not take: the EBDA and everything up to
 * 1 MiB, where the ACPI tables are; ECAM, for kernels that believe MCFG only if
 * e820 agrees; and four pages that KVM may use on hosts without unrestricted
 * guest mode. [ACPI 6.5 15]
 */
#include "firmware/e820.h"

#include <assert.h>

enum { KVM_PAGES_LEN = 4 * 4096 }; /* the identity map and the TSS behind it */

static void add(struct e820 *map, uint64_t gpa, uint64_t end, enum e820_type type)
{
	if (gpa >= end)
		return;
	assert(map->n < E820_ENTRIES_MAX);
	map->entries[map->n++] = (struct e820_entry){gpa, end - gpa, type};
}

void e820_build(struct e820 *map, const struct board *b)
{
	map->n = 0;
	add(map, 0, LAYOUT_EBDA, E820_RAM);
	add(map, LAYOUT_EBDA, LAYOUT_KERNEL, E820_RESERVED);
	add(map, LAYOUT_KERNEL, b->ram_low, E820_RAM);
	if (!b->virtio_mmio)
		add(map, LAYOUT_ECAM, LAYOUT_ECAM + LAYOUT_ECAM_LEN, E820_RESERVED);
	add(map, LAYOUT_IDENTITY_MAP, LAYOUT_IDENTITY_MAP + KVM_PAGES_LEN, E820_RESERVED);
	add(map, LAYOUT_HOLE_END, LAYOUT_HOLE_END + b->ram_high, E820_RAM);
}
