/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aml: a writer of ACPI machine language, the byte code of DSDT and SSDT.
 *
 * Each function appends what the ASL statement of the same name compiles to.
 * What has a body is opened by its function and closed by aml_end(), which puts
 * in the length; bodies nest:
 *
 *	aml_device(a, "RTC_");                  Device (RTC) {
 *	aml_name(a, "_HID");                      Name (_HID,
 *	aml_eisaid(a, "PNP0B00");                       EisaId ("PNP0B00"))
 *	aml_name(a, "_CRS");                      Name (_CRS,
 *	aml_resources(a);                               ResourceTemplate () {
 *	aml_io(a, 0x70, 2);                               IO (...) })
 *	aml_end(a);
 *	aml_end(a);                             }
 *
 * Names are written as in AML: segments of four characters, filled up with '_',
 * with '\' before an absolute one. The buffer is the caller's; what does not fit is
 * dropped and remembered, so that only aml_finish() needs a check. One thread.
 * [ACPI 6.5 20 "ACPI Machine Language (AML) Specification"]
 */
#ifndef FIRMWARE_AML_H
#define FIRMWARE_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AML_DEPTH_MAX = 16 };

struct aml {
	uint8_t *buf; /* borrowed */
	size_t cap, len;
	bool overflow; /* did not fit, or opened too deep */
	unsigned depth;
	struct {
		size_t at; /* the body begins here; its length goes before it */
		bool resources;
	} open[AML_DEPTH_MAX];
};

void aml_init(struct aml *a, void *buf, size_t cap);

/* The number of bytes written; -ENOSPC if they did not all fit. Every body must
 * have been closed. */
int aml_finish(const struct aml *a);

/* --- bodies: closed by aml_end() ---------------------------------------------- */

void aml_scope(struct aml *a, const char *name);
void aml_device(struct aml *a, const char *name);
/* Serialized, as a method that creates named objects has to be. */
void aml_method(struct aml *a, const char *name, unsigned args);
void aml_package(struct aml *a, unsigned elements);
/* Field (region, ByteAcc, NoLock, Preserve): followed by aml_field_unit(). */
void aml_field(struct aml *a, const char *region);
/* Buffer () {...} with resource descriptors, and an end tag. */
void aml_resources(struct aml *a);
/* The condition follows, then the statements. */
void aml_if(struct aml *a);
void aml_else(struct aml *a);
void aml_end(struct aml *a);

/* --- objects -------------------------------------------------------------------- */

/* Name (name, ...): the object follows. */
void aml_name(struct aml *a, const char *name);
void aml_integer(struct aml *a, uint64_t v); /* in its shortest form */
void aml_string(struct aml *a, const char *s);
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A08" */
void aml_buffer(struct aml *a, const void *bytes, size_t len);
/* ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766"), lower case */
void aml_uuid(struct aml *a, const char *uuid);
void aml_io_region(struct aml *a, const char *name, uint16_t port, unsigned len);
void aml_field_unit(struct aml *a, const char *name, unsigned bits);

/* --- terms of methods: operands follow in the order of ASL ------------------------ */

void aml_ref(struct aml *a, const char *name);
void aml_arg(struct aml *a, unsigned n);   /* Arg0 to Arg6 */
void aml_local(struct aml *a, unsigned n); /* Local0 to Local7 */
void aml_store(struct aml *a);             /* Store (value, target) */
void aml_and(struct aml *a);               /* And (a, b, target) */
void aml_or(struct aml *a);                /* Or (a, b, target) */
void aml_lequal(struct aml *a);            /* LEqual (a, b) */
void aml_lnot(struct aml *a);              /* LNot (a) */
void aml_notify(struct aml *a);            /* Notify (device, value) */
void aml_return(struct aml *a);            /* Return (value) */
/* CreateDWordField (Arg`arg`, offset, name) */
void aml_create_dword_field(struct aml *a, unsigned arg, unsigned offset, const char *name);

/* --- resource descriptors, in aml_resources() [ACPI 6.5 6.4] ----------------------- */

void aml_io(struct aml *a, uint16_t port, uint8_t len);
/* Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) */
void aml_interrupt(struct aml *a, uint32_t gsi);
void aml_memory32_fixed(struct aml *a, uint32_t base, uint32_t len);
/* Windows of a bridge (ResourceProducer), first to last inclusive. */
void aml_bus_window(struct aml *a, uint16_t first, uint16_t last);
void aml_memory32_window(struct aml *a, uint32_t base, uint32_t len);
void aml_memory64_window(struct aml *a, uint64_t base, uint64_t len);

#endif
