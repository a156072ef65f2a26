/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi: the tables that describe the board to a guest: RSDP, XSDT, FADT, MADT,
 * DSDT, and MCFG where there is PCI.
 */
#ifndef FIRMWARE_ACPI_H
#define FIRMWARE_ACPI_H

#include "vmm/arch/x86_64/board.h"
#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The header that all tables but the RSDP begin with [ACPI 6.5 5.2.6]. */
enum {
	ACPI_LENGTH = 4,
	ACPI_REVISION = 8,
	ACPI_CHECKSUM = 9,
	ACPI_HEADER_LEN = 36,
};

/* Fill in a header: `signature` has four characters. The checksum comes with
 * acpi_checksum(), when the table is complete. */
void acpi_header(uint8_t *table, const char *signature, uint32_t len, uint8_t revision);

/* Set the byte at `at` so that all `len` bytes add up to 0. */
void acpi_checksum(uint8_t *table, size_t len, size_t at);

enum { ACPI_MADT_CPU_MAX = 16 };
/* Write a processor's entry of the MADT, enabled or only capable of it: its length in bytes, at
 * most ACPI_MADT_CPU_MAX. */
size_t acpi_madt_cpu(uint8_t *p, unsigned cpu, bool enabled);

/* The processors that come and go, as a part of the DSDT's \_SB, with the method CPEV for when they
 * have news; and what they take of the ports. Nothing where none does. */
struct aml;
void acpi_put_cpus(struct aml *a, const struct board *b);

/* Write the DSDT to buf: its length, or -ENOSPC. */
int acpi_build_dsdt(const struct board *b, uint8_t *buf, size_t cap);

/* Write all tables as they have to lie at `gpa`, the RSDP first, to buf: their
 * length in bytes, or -ENOSPC. Plain memory in, plain memory out. */
int acpi_build(const struct board *b, uint64_t gpa, uint8_t *buf, size_t cap);

/* Put the tables into guest RAM; *rsdp is where. -ENOSPC, -ENOMEM or -EFAULT and
 * *e. */
int acpi_load(const struct board *b, struct guest_mem *gm, uint64_t *rsdp, struct err *e);

#endif
