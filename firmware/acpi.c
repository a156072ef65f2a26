/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a guest finds its machine: the zero page points to the RSDP, which points to
 * the XSDT, which lists the rest:
 *
 *	RSDP -> XSDT -> FADT -> DSDT    chips and devices, as AML
 *	             -> MADT            processors and the I/O APIC
 *	             -> MCFG            PCI configuration space, if there is PCI
 *
 * The machine is "hardware-reduced" [ACPI 6.5 4.1]: no SCI, no PM timer, no PM1
 * blocks, no 8259, no PIT. In return the FADT names two registers for sleeping
 * and one for reset, and events arrive by a Generic Event Device in the DSDT.
 * Only what is there is described: Linux's defaults for what is absent are the
 * quick ones.
 */
#include "firmware/acpi.h"

#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	RSDP_LEN = 36,
	RSDP_V1_LEN = 20, /* what the first of its two checksums covers */
	TABLE_ALIGN = 16,
	GAS_LEN = 12,
	GAS_SYSTEM_IO = 1,
	GAS_BYTE_ACCESS = 1,
};

/* FADT [ACPI 6.5 5.2.9]. Fields left out are zero, as HW_REDUCED_ACPI asks. */
enum {
	FADT_DSDT = 40,
	FADT_PREFERRED_PM_PROFILE = 45,
	FADT_CENTURY = 108,
	FADT_IAPC_BOOT_ARCH = 109,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_MINOR_VERSION = 131,
	FADT_X_DSDT = 140,
	FADT_SLEEP_CONTROL_REG = 244,
	FADT_SLEEP_STATUS_REG = 256,
	FADT_HYPERVISOR_VENDOR = 268,
	FADT_LEN = 276,

	FADT_MAJOR = 6,
	FADT_MINOR = 5,
};

enum {
	PM_PROFILE_ENTERPRISE_SERVER = 4,

	IAPC_LEGACY_DEVICES = 1 << 0, /* a COM port counts as one */
	IAPC_VGA_NOT_PRESENT = 1 << 2,
	/* 8042 (bit 1) and CMOS RTC Not Present (bit 5) stay clear: Linux need
	 * not probe for a keyboard, and there is a clock. */

	FADT_F_WBINVD = 1 << 0,
	FADT_F_PROC_C1 = 1 << 2,
	FADT_F_PWR_BUTTON = 1 << 4, /* no fixed one: it is a device in the DSDT */
	FADT_F_SLP_BUTTON = 1 << 5, /* no fixed one */
	FADT_F_FIX_RTC = 1 << 6,    /* no RTC wake status in fixed registers */
	FADT_F_RESET_REG_SUP = 1 << 10,
	FADT_F_HEADLESS = 1 << 12,
	FADT_F_HW_REDUCED_ACPI = 1 << 20,

	CMOS_CENTURY = 0x32,
	RESET_VALUE = 0x06, /* port 0xcf9: system reset, reset CPU */
};

/* MADT [ACPI 6.5 5.2.12]. */
enum {
	MADT_LAPIC_ADDRESS = 36,
	MADT_FIXED_LEN = 44, /* PCAT_COMPAT in its flags stays clear: no 8259 */
	MADT_REVISION = 6,
	MADT_TYPE_LAPIC = 0,
	MADT_TYPE_IOAPIC = 1,
	MADT_TYPE_X2APIC = 9,
	MADT_LAPIC_LEN = 8,
	MADT_IOAPIC_LEN = 12,
	MADT_X2APIC_LEN = ACPI_MADT_CPU_MAX,
	MADT_ENABLED = 1 << 0,
	MADT_ONLINE_CAPABLE = 1 << 1,
	LAPIC_ID_MAX = 254, /* 255 is the broadcast id [SDM 3A 11.6.1] */
};

/* MCFG [PCI Firmware 3.3, 4.1.2]. */
enum { MCFG_LEN = 60, MCFG_BASE = 44, MCFG_BUS_SIZE = 1 << 20 };

void acpi_header(uint8_t *table, const char *signature, uint32_t len, uint8_t revision)
{
	memcpy(table, signature, 4);
	le32_put(table + ACPI_LENGTH, len);
	table[ACPI_REVISION] = revision;
	memcpy(table + 10, "MINIVM", 6);   /* OEMID */
	memcpy(table + 16, "MINIVMM ", 8); /* OEM Table ID */
	le32_put(table + 24, 1);           /* OEM Revision */
	memcpy(table + 28, "MVMM", 4);     /* Creator ID */
	le32_put(table + 32, 1);           /* Creator Revision */
}

void acpi_checksum(uint8_t *table, size_t len, size_t at)
{
	uint8_t sum = 0;

	table[at] = 0;
	for (size_t i = 0; i < len; i++)
		sum += table[i];
	table[at] = (uint8_t)-sum;
}

/* Generic Address Structure: a byte-wide I/O port [ACPI 6.5 5.2.3.2]. */
static void put_port(uint8_t *p, uint16_t port)
{
	p[0] = GAS_SYSTEM_IO;
	p[1] = 8; /* bits */
	p[2] = 0;
	p[3] = GAS_BYTE_ACCESS;
	le64_put(p + 4, port);
}

static size_t build_fadt(const struct board *b, uint8_t *t, size_t cap, uint64_t dsdt)
{
	if (cap < FADT_LEN)
		return 0;
	memset(t, 0, FADT_LEN);
	acpi_header(t, "FACP", FADT_LEN, FADT_MAJOR);
	t[FADT_MINOR_VERSION] = FADT_MINOR;
	le32_put(t + FADT_DSDT, (uint32_t)dsdt);
	le64_put(t + FADT_X_DSDT, dsdt);
	t[FADT_PREFERRED_PM_PROFILE] = PM_PROFILE_ENTERPRISE_SERVER;
	t[FADT_CENTURY] = CMOS_CENTURY;
	le16_put(t + FADT_IAPC_BOOT_ARCH,
		 IAPC_VGA_NOT_PRESENT | (b->serial || b->serial2 ? IAPC_LEGACY_DEVICES : 0));
	le32_put(t + FADT_FLAGS, FADT_F_WBINVD | FADT_F_PROC_C1 | FADT_F_PWR_BUTTON |
					 FADT_F_SLP_BUTTON | FADT_F_FIX_RTC | FADT_F_RESET_REG_SUP |
					 FADT_F_HEADLESS | FADT_F_HW_REDUCED_ACPI);
	put_port(t + FADT_RESET_REG, LAYOUT_RESET);
	t[FADT_RESET_VALUE] = RESET_VALUE;
	put_port(t + FADT_SLEEP_CONTROL_REG, LAYOUT_ACPI_SLEEP);
	put_port(t + FADT_SLEEP_STATUS_REG, LAYOUT_ACPI_SLEEP + 1);
	memcpy(t + FADT_HYPERVISOR_VENDOR, "MINIVMM", 7);
	acpi_checksum(t, FADT_LEN, ACPI_CHECKSUM);
	return FADT_LEN;
}

size_t acpi_madt_cpu(uint8_t *p, unsigned cpu, bool enabled)
{
	uint32_t id = board_apic_id(cpu);
	uint32_t flags = enabled ? MADT_ENABLED : MADT_ONLINE_CAPABLE;

	if (id <= LAPIC_ID_MAX) {
		p[0] = MADT_TYPE_LAPIC;
		p[1] = MADT_LAPIC_LEN;
		p[2] = (uint8_t)cpu; /* ACPI Processor UID */
		p[3] = (uint8_t)id;
		le32_put(p + 4, flags);
		return MADT_LAPIC_LEN;
	}
	p[0] = MADT_TYPE_X2APIC;
	p[1] = MADT_X2APIC_LEN;
	le16_put(p + 2, 0);
	le32_put(p + 4, id);
	le32_put(p + 8, flags);
	le32_put(p + 12, cpu); /* ACPI Processor UID */
	return MADT_X2APIC_LEN;
}

static size_t build_madt(const struct board *b, uint8_t *t, size_t cap)
{
	uint8_t *p = t + MADT_FIXED_LEN;
	size_t len;

	if (cap < MADT_FIXED_LEN + MADT_IOAPIC_LEN + (uint64_t)b->cpus_max * MADT_X2APIC_LEN)
		return 0;
	memset(t, 0, MADT_FIXED_LEN);
	le32_put(t + MADT_LAPIC_ADDRESS, LAYOUT_LAPIC);
	/* One beyond `cpus` is not there yet, but may come. */
	for (unsigned i = 0; i < b->cpus_max; i++)
		p += acpi_madt_cpu(p, i, i < b->cpus);

	/* No interrupt source overrides: a device's interrupt is the pin that
	 * the DSDT says. No NMI entries: nothing is wired to LINT1. */
	p[0] = MADT_TYPE_IOAPIC;
	p[1] = MADT_IOAPIC_LEN;
	p[2] = LAYOUT_IOAPIC_ID;
	p[3] = 0;
	le32_put(p + 4, LAYOUT_IOAPIC);
	le32_put(p + 8, 0); /* Global System Interrupt Base */
	p += MADT_IOAPIC_LEN;

	len = (size_t)(p - t);
	acpi_header(t, "APIC", (uint32_t)len, MADT_REVISION);
	acpi_checksum(t, len, ACPI_CHECKSUM);
	return len;
}

static size_t build_mcfg(uint8_t *t, size_t cap)
{
	uint8_t *entry = t + MCFG_BASE;

	if (cap < MCFG_LEN)
		return 0;
	memset(t, 0, MCFG_LEN);
	acpi_header(t, "MCFG", MCFG_LEN, 1);
	le64_put(entry, LAYOUT_ECAM);
	le16_put(entry + 8, 0);                                     /* segment */
	entry[10] = 0;                                              /* first bus */
	entry[11] = (uint8_t)(LAYOUT_ECAM_LEN / MCFG_BUS_SIZE - 1); /* last bus */
	acpi_checksum(t, MCFG_LEN, ACPI_CHECKSUM);
	return MCFG_LEN;
}

static size_t build_xsdt(uint8_t *t, size_t cap, const uint64_t *tables, unsigned n)
{
	size_t len = ACPI_HEADER_LEN + (size_t)n * 8;

	if (cap < len)
		return 0;
	memset(t, 0, len);
	acpi_header(t, "XSDT", (uint32_t)len, 1);
	for (unsigned i = 0; i < n; i++)
		le64_put(t + ACPI_HEADER_LEN + (size_t)i * 8, tables[i]);
	acpi_checksum(t, len, ACPI_CHECKSUM);
	return len;
}

static void build_rsdp(uint8_t *p, uint64_t xsdt)
{
	memset(p, 0, RSDP_LEN);
	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, "MINIVM", 6); /* OEMID */
	p[15] = 2;                  /* revision; no RSDT at 16 */
	le32_put(p + 20, RSDP_LEN);
	le64_put(p + 24, xsdt);
	acpi_checksum(p, RSDP_V1_LEN, 8);
	acpi_checksum(p, RSDP_LEN, 32);
}

/* Where the next table goes. */
struct cursor {
	uint64_t gpa;
	uint8_t *buf;
	size_t cap, len;
	bool full;
};

static uint8_t *next(const struct cursor *c, size_t *room)
{
	*room = c->full ? 0 : c->cap - c->len;
	return c->buf + c->len;
}

/* Take the `len` bytes that were written there (0: they did not fit); gives their
 * gpa. */
static uint64_t took(struct cursor *c, size_t len)
{
	uint64_t gpa = c->gpa + c->len;
	size_t end = align_up(c->len + len, TABLE_ALIGN);

	if (!len || end > c->cap) {
		c->full = true;
		return 0;
	}
	memset(c->buf + c->len + len, 0, end - c->len - len);
	c->len = end;
	return gpa;
}

int acpi_build(const struct board *b, uint64_t gpa, uint8_t *buf, size_t cap)
{
	struct cursor c = {.gpa = gpa, .buf = buf, .cap = cap};
	uint64_t tables[3], dsdt, xsdt;
	unsigned n = 0;
	uint8_t *at;
	size_t room;
	int len;

	/* The RSDP is first and written last, when the XSDT's place is known. */
	if (cap < RSDP_LEN)
		return -ENOSPC;
	took(&c, RSDP_LEN);

	at = next(&c, &room);
	len = acpi_build_dsdt(b, at, room);
	dsdt = took(&c, len > 0 ? (size_t)len : 0);
	at = next(&c, &room);
	tables[n++] = took(&c, build_fadt(b, at, room, dsdt));
	at = next(&c, &room);
	tables[n++] = took(&c, build_madt(b, at, room));
	if (!b->virtio_mmio) {
		at = next(&c, &room);
		tables[n++] = took(&c, build_mcfg(at, room));
	}
	at = next(&c, &room);
	xsdt = took(&c, build_xsdt(at, room, tables, n));
	if (c.full)
		return -ENOSPC;
	build_rsdp(buf, xsdt);
	return (int)c.len;
}

int acpi_load(const struct board *b, struct guest_mem *gm, uint64_t *rsdp, struct err *e)
{
	uint8_t *buf = malloc(LAYOUT_ACPI_LEN);
	int ret;

	if (!buf)
		return err_host(e, -ENOMEM, "no memory for the ACPI tables");
	ret = acpi_build(b, LAYOUT_ACPI, buf, LAYOUT_ACPI_LEN);
	if (ret > 0)
		ret = guest_mem_write(gm, LAYOUT_ACPI, buf, (uint64_t)ret);
	free(buf);
	if (ret)
		return err_host(e, ret, "cannot write the ACPI tables: %s", strerror(-ret));
	*rsdp = LAYOUT_ACPI;
	return 0;
}
