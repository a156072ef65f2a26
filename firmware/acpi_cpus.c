/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processors that come and go (devices/cpu/hotplug.h), and who tells of them. Of each register
 * with a bit for each there is a field for each byte, as reading a byte is an exit:
 *
 *	OperationRegion (CPRG, SystemIO, 0x620, 28)
 *	Field (CPRG, ...) { CPH0, 8, ... CPH7, 8, CPU0, 8, ..., CPD0, 8, ...,
 *	                    CPEJ, 8, CPOE, 8, CPOS, 8, CPOT, 8 }
 *	Device (C009) {
 *	  Name (_HID, "ACPI0007")
 *	  Name (_UID, 9)
 *	  Name (_MAT, Buffer () {...})        its entry of the MADT, enabled
 *	  Method (_STA, 0) { If (CPH1 & 2) { Return (15) } Return (0) }
 *	  Method (_EJ0, 1) { CPEJ = 9 }       but for the first, which stays
 *	  Method (_OST, 3) { CPOE = Arg0; CPOS = Arg1; CPOT = 9 }
 *	}
 *	Method (CPEV, 0) {
 *	  Local0 = CPU1
 *	  Local1 = CPD1
 *	  If (Local0 & 2) { Notify (C009, 1) }
 *	  If (Local1 & 2) { Notify (C009, 3) }
 *	}
 *
 * [ACPI 6.5 8.4, 6.3.5 _OST, 6.2.10 _MAT]
 */
#include "firmware/acpi.h"
#include "firmware/aml.h"

#include <string.h>

enum {
	PER_BYTE = 8,
	BYTES = 8, /* of each register with a bit for each */
	NOTIFY_DEVICE_CHECK = 1,
	NOTIFY_EJECT_REQUEST = 3,
	STA_ALL = 0x0f,
};

static void cpu_name(char name[5], unsigned cpu)
{
	memcpy(name, "C000", 5);
	name[1] = (char)('0' + cpu / 100);
	name[2] = (char)('0' + cpu / 10 % 10);
	name[3] = (char)('0' + cpu % 10);
}

/* `reg`: H, U or D. */
static void field_name(char name[5], char reg, unsigned byte)
{
	memcpy(name, "CP00", 5);
	name[2] = reg;
	name[3] = (char)('0' + byte);
}

static void put_fields(struct aml *a)
{
	static const char regs[] = {'H', 'U', 'D'};
	char name[5];

	aml_io_region(a, "CPRG", LAYOUT_CPUS, LAYOUT_CPUS_LEN);
	aml_field(a, "CPRG");
	for (unsigned i = 0; i < sizeof(regs) * BYTES; i++) {
		field_name(name, regs[i / BYTES], i % BYTES);
		aml_field_unit(a, name, 8);
	}
	aml_field_unit(a, "CPEJ", 8);
	aml_field_unit(a, "CPOE", 8);
	aml_field_unit(a, "CPOS", 8);
	aml_field_unit(a, "CPOT", 8);
	aml_end(a);
}

static void put_status(struct aml *a, unsigned cpu)
{
	char name[5];

	field_name(name, 'H', cpu / PER_BYTE);
	aml_method(a, "_STA", 0);
	aml_if(a);
	aml_and(a);
	aml_ref(a, name);
	aml_integer(a, 1u << cpu % PER_BYTE);
	aml_integer(a, 0); /* no target */
	aml_return(a);
	aml_integer(a, STA_ALL);
	aml_end(a);
	aml_return(a);
	aml_integer(a, 0);
	aml_end(a);
}

static void put_eject(struct aml *a, unsigned cpu)
{
	aml_method(a, "_EJ0", 1);
	aml_store(a);
	aml_integer(a, cpu);
	aml_ref(a, "CPEJ");
	aml_end(a);
}

static void put_told(struct aml *a, unsigned cpu)
{
	aml_method(a, "_OST", 3);
	aml_store(a);
	aml_arg(a, 0);
	aml_ref(a, "CPOE");
	aml_store(a);
	aml_arg(a, 1);
	aml_ref(a, "CPOS");
	aml_store(a);
	aml_integer(a, cpu);
	aml_ref(a, "CPOT");
	aml_end(a);
}

static void put_cpu(struct aml *a, unsigned cpu)
{
	uint8_t entry[ACPI_MADT_CPU_MAX];
	char name[5];

	cpu_name(name, cpu);
	aml_device(a, name);
	aml_name(a, "_HID");
	aml_string(a, "ACPI0007");
	aml_name(a, "_UID");
	aml_integer(a, cpu);
	aml_name(a, "_MAT");
	aml_buffer(a, entry, acpi_madt_cpu(entry, cpu, true));
	put_status(a, cpu);
	if (cpu)
		put_eject(a, cpu);
	put_told(a, cpu);
	aml_end(a);
}

/* If (local & 1 << n) { Notify (Cnnn, what) } */
static void notify_cpu(struct aml *a, unsigned local, unsigned cpu, unsigned what)
{
	char name[5];

	cpu_name(name, cpu);
	aml_if(a);
	aml_and(a);
	aml_local(a, local);
	aml_integer(a, 1u << cpu % PER_BYTE);
	aml_integer(a, 0);
	aml_notify(a);
	aml_ref(a, name);
	aml_integer(a, what);
	aml_end(a);
}

static void put_event(struct aml *a, unsigned n)
{
	char name[5];

	aml_method(a, "CPEV", 0);
	for (unsigned cpu = 0; cpu < n; cpu++) {
		if (cpu % PER_BYTE == 0) {
			aml_store(a);
			field_name(name, 'U', cpu / PER_BYTE);
			aml_ref(a, name);
			aml_local(a, 0);
			aml_store(a);
			field_name(name, 'D', cpu / PER_BYTE);
			aml_ref(a, name);
			aml_local(a, 1);
		}
		if (!cpu)
			continue;
		notify_cpu(a, 0, cpu, NOTIFY_DEVICE_CHECK);
		notify_cpu(a, 1, cpu, NOTIFY_EJECT_REQUEST);
	}
	aml_end(a);
}

void acpi_put_cpus(struct aml *a, const struct board *b)
{
	if (!board_cpus_change(b))
		return;
	put_fields(a);
	for (unsigned cpu = 0; cpu < b->cpus_max; cpu++)
		put_cpu(a, cpu);
	put_event(a, b->cpus_max);
}
