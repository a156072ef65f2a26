/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What PCs had before ACPI. A kernel that has no ACPI, or is told acpi=off, finds here
 * the other processors and how the I/O APIC is wired, and without it uses one processor
 * and no interrupt line, for there is no 8259 either. Linux looks at ACPI first, and at
 * nothing here if that names the processors and the I/O APIC.
 *
 *	0x9fc00   floating pointer: the first 16 bytes of the EBDA, where a search begins
 *	0xf0000   table: header, processors, buses, I/O APIC, interrupts
 *
 * Pin n is IRQ n of an ISA bus, edge-triggered and active high, as ISA has it and all our
 * lines are (devices/irq, devices/virtio/mmio.h); that includes pins beyond the 16 of a
 * real one, which virtio-mmio devices have. PCI functions have MSI-X and no pins.
 * [Intel MultiProcessor Specification 1.4, chapter 4]
 */
#include "firmware/mptable.h"

#include "vmm/base/le.h"

#include <assert.h>
#include <string.h>

enum {
	POINTER_LEN = 16,
	HEADER_LEN = 44,
	PROCESSOR_LEN = 20,
	ENTRY_LEN = 8, /* all others */
	SPEC_REV = 4,

	ENTRY_PROCESSOR = 0,
	ENTRY_BUS = 1,
	ENTRY_IOAPIC = 2,
	ENTRY_IO_INTERRUPT = 3,

	PROCESSOR_EN = 1 << 0,
	PROCESSOR_BP = 1 << 1,
	IOAPIC_EN = 1 << 0,
	INTERRUPT_INT = 0,      /* vectored, by the I/O APIC's own table */
	INTERRUPT_CONFORMS = 0, /* polarity and trigger mode are the bus's */

	BUS_PCI = 0, /* bus numbers: PCI's own, so ISA is another */
	BUS_ISA = 1,

	APIC_VERSION = 0x14,
	IOAPIC_VERSION = 0x20,
	CPU_FAMILY_6 = 0x600,
	FEATURE_FPU_APIC = 1 << 0 | 1 << 9,
};

enum { CPUS_MAX = 64, PINS_MAX = 64 };
enum { TABLE_MAX = HEADER_LEN + CPUS_MAX * PROCESSOR_LEN + (3 + PINS_MAX) * ENTRY_LEN };
static_assert(TABLE_MAX <= LAYOUT_MP_TABLE_LEN, "the table has its room");

struct table {
	uint8_t bytes[TABLE_MAX];
	size_t len;
	unsigned entries;
};

static uint8_t *add(struct table *t, uint8_t type, size_t len)
{
	uint8_t *p = t->bytes + t->len;

	assert(t->len + len <= sizeof(t->bytes));
	p[0] = type;
	t->len += len;
	t->entries++;
	return p;
}

static void add_processors(struct table *t, const struct board *b)
{
	for (unsigned i = 0; i < b->cpus; i++) {
		uint8_t *p = add(t, ENTRY_PROCESSOR, PROCESSOR_LEN);

		p[1] = (uint8_t)board_apic_id(i);
		p[2] = APIC_VERSION;
		p[3] = PROCESSOR_EN | (i ? 0 : PROCESSOR_BP);
		le32_put(p + 4, CPU_FAMILY_6);
		le32_put(p + 8, FEATURE_FPU_APIC);
	}
}

static void add_bus(struct table *t, uint8_t id, const char *type)
{
	uint8_t *p = add(t, ENTRY_BUS, ENTRY_LEN);

	p[1] = id;
	memcpy(p + 2, type, 6);
}

static void add_ioapic(struct table *t, const struct board *b)
{
	uint8_t *p = add(t, ENTRY_IOAPIC, ENTRY_LEN);

	p[1] = LAYOUT_IOAPIC_ID;
	p[2] = IOAPIC_VERSION;
	p[3] = IOAPIC_EN;
	le32_put(p + 4, (uint32_t)LAYOUT_IOAPIC);
	for (unsigned pin = 0; pin < board_ioapic_pins(b); pin++) {
		p = add(t, ENTRY_IO_INTERRUPT, ENTRY_LEN);
		p[1] = INTERRUPT_INT;
		le16_put(p + 2, INTERRUPT_CONFORMS);
		p[4] = BUS_ISA;
		p[5] = (uint8_t)pin;
		p[6] = LAYOUT_IOAPIC_ID;
		p[7] = (uint8_t)pin;
	}
}

/* The byte that makes all of them add up to 0. */
static uint8_t checksum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

int mptable_load(const struct board *b, struct guest_mem *gm, struct err *e)
{
	struct table t = {.len = HEADER_LEN};
	uint8_t pointer[POINTER_LEN] = {0};
	int ret;

	/* Entries come in the order of their types. */
	add_processors(&t, b);
	if (!b->virtio_mmio)
		add_bus(&t, BUS_PCI, "PCI   ");
	add_bus(&t, BUS_ISA, "ISA   ");
	add_ioapic(&t, b);

	memcpy(t.bytes, "PCMP", 4);
	le16_put(t.bytes + 4, (uint16_t)t.len);
	t.bytes[6] = SPEC_REV;
	memcpy(t.bytes + 8, "MINIVMM MICROVM     ", 20); /* OEM and product */
	le16_put(t.bytes + 34, (uint16_t)t.entries);
	le32_put(t.bytes + 36, (uint32_t)LAYOUT_LAPIC);
	t.bytes[7] = checksum(t.bytes, t.len);

	memcpy(pointer, "_MP_", 4);
	le32_put(pointer + 4, (uint32_t)LAYOUT_MP_TABLE);
	pointer[8] = POINTER_LEN / 16;
	pointer[9] = SPEC_REV;
	pointer[10] = checksum(pointer, sizeof(pointer));

	ret = guest_mem_write(gm, LAYOUT_MP_TABLE, t.bytes, t.len);
	if (!ret)
		ret = guest_mem_write(gm, LAYOUT_MP_POINTER, pointer, sizeof(pointer));
	return ret ? err_host(e, ret, "cannot write the MP table to guest RAM: %s", strerror(-ret))
		   : 0;
}
