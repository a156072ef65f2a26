/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DSDT: what cannot be found by looking. In ASL it reads:
 *
 *	Name (\_S5, ...)                    how to power off
 *	Scope (\_SB) {
 *	  Device (MRES) PNP0C02             ECAM and our ports are taken
 *	  Device (PCI0) PNP0A08             the host bridge and its windows, with
 *	    Device (Snn)                    each slot for what comes later; or without PCI
 *	  Device (VMnn) LNRO0005            each virtio-mmio device
 *	  Device (RTC)  PNP0B00
 *	  Device (COM1) PNP0501             the serial ports, if there are any:
 *	  Device (COM2) PNP0501             _UID 1 and 2
 *	  Device (PEVT) QEMU0001            pvpanic
 *	  Device (PWRB) PNP0C0C             the power button
 *	  Device (VGEN) VM_Gen_Counter      where the VM generation ID is
 *	  Device (GED)  ACPI0013            the interrupt that tells of a press, of the slots,
 *	                                    and that the guest is another
 *	  Device (Cnnn) ACPI0007            the processors (acpi_cpus.c)
 *	}
 *
 * Processors are in the MADT only, unless some can come and go: else an ACPI0007 device
 * adds nothing. The bridge has no _PRT, for its devices have no INTx pins; its
 * _OSC lets the guest have all of PCI Express, since no firmware stays behind that
 * could want it.
 */
#include "firmware/acpi.h"
#include "firmware/aml.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <string.h>

enum {
	DSDT_REVISION = 2, /* integers of 64 bits */
	SLP_TYP_S5 = 5,    /* what the guest writes to SLEEP_CONTROL to power off */
	GED_EVENT_PORT = LAYOUT_ACPI_SLEEP + 2,
	GED_POWER_BUTTON = 1 << 0,
	GED_HOTPLUG = 1 << 1,
	GED_VMGENID = 1 << 2,
	GED_CPUS = 1 << 3,
	NOTIFY_DEVICE_CHECK = 1, /* [ACPI 6.5 table 5.168] */
	NOTIFY_EJECT_REQUEST = 3,
	NOTIFY_PRESSED = 0x80, /* [ACPI 6.5 table 5.169] */
	NOTIFY_NEW_ID = 0x80,  /* a device's own [VMGENID 3] */
	STA_ALL = 0x0f,        /* present, enabled, shown, working [ACPI 6.5 6.3.7] */
};

/* _OSC of a host bridge [PCI Firmware 3.3, 4.5.1]. */
#define OSC_UUID "33db4d5b-1ff7-401c-9657-7441c03dd766"
enum {
	OSC_REVISION = 1,
	OSC_UNKNOWN_UUID = 1 << 2,
	OSC_UNKNOWN_REVISION = 1 << 3,
	OSC_MASKED = 1 << 4,
	/* Native hot-plug, SHPC, PME, AER, and the PCI Express capability. */
	OSC_GRANTED = 0x1f,
};

static void name_integer(struct aml *a, const char *name, uint64_t v)
{
	aml_name(a, name);
	aml_integer(a, v);
}

static void name_eisaid(struct aml *a, const char *name, const char *id)
{
	aml_name(a, name);
	aml_eisaid(a, id);
}

/* The first two elements are what PM1a and PM1b would take; SLEEP_CONTROL takes
 * the first [ACPI 6.5 7.4.2]. */
static void put_s5(struct aml *a)
{
	aml_name(a, "\\_S5_");
	aml_package(a, 4);
	aml_integer(a, SLP_TYP_S5);
	aml_integer(a, SLP_TYP_S5);
	aml_integer(a, 0);
	aml_integer(a, 0);
	aml_end(a);
}

/* Linux uses ECAM only if a PNP0C02 reserves it. */
static void put_motherboard(struct aml *a, const struct board *b)
{
	aml_device(a, "MRES");
	name_eisaid(a, "_HID", "PNP0C02");
	aml_name(a, "_CRS");
	aml_resources(a);
	if (!b->virtio_mmio)
		aml_memory32_fixed(a, LAYOUT_ECAM, LAYOUT_ECAM_LEN);
	aml_io(a, LAYOUT_ACPI_SLEEP, LAYOUT_ACPI_PORT_LEN);
	if (b->n_hotplug)
		aml_io(a, LAYOUT_HOTPLUG, LAYOUT_HOTPLUG_LEN);
	if (board_cpus_change(b))
		aml_io(a, LAYOUT_CPUS, LAYOUT_CPUS_LEN);
	aml_end(a);
	aml_end(a);
}

/*
 *	Method (_OSC, 4, Serialized) {
 *	  CreateDWordField (Arg3, 0, CDW1)
 *	  If (Arg0 == ToUUID (...)) {
 *	    CreateDWordField (Arg3, 8, CDW3)
 *	    Local0 = CDW3 & 0x1f
 *	    If (!(CDW3 == Local0)) { CDW1 |= masked }
 *	    If (!(Arg1 == 1)) { CDW1 |= unknown revision }
 *	    CDW3 = Local0
 *	  } Else { CDW1 |= unknown UUID }
 *	  Return (Arg3)
 *	}
 */
static void set_osc_error(struct aml *a, uint64_t error)
{
	aml_or(a);
	aml_ref(a, "CDW1");
	aml_integer(a, error);
	aml_ref(a, "CDW1");
}

static void put_osc(struct aml *a)
{
	aml_method(a, "_OSC", 4);
	aml_create_dword_field(a, 3, 0, "CDW1");
	aml_if(a);
	aml_lequal(a);
	aml_arg(a, 0);
	aml_uuid(a, OSC_UUID);
	{
		aml_create_dword_field(a, 3, 8, "CDW3");
		aml_and(a);
		aml_ref(a, "CDW3");
		aml_integer(a, OSC_GRANTED);
		aml_local(a, 0);

		aml_if(a);
		aml_lnot(a);
		aml_lequal(a);
		aml_ref(a, "CDW3");
		aml_local(a, 0);
		set_osc_error(a, OSC_MASKED);
		aml_end(a);

		aml_if(a);
		aml_lnot(a);
		aml_lequal(a);
		aml_arg(a, 1);
		aml_integer(a, OSC_REVISION);
		set_osc_error(a, OSC_UNKNOWN_REVISION);
		aml_end(a);

		aml_store(a);
		aml_local(a, 0);
		aml_ref(a, "CDW3");
	}
	aml_end(a);
	aml_else(a);
	set_osc_error(a, OSC_UNKNOWN_UUID);
	aml_end(a);
	aml_return(a);
	aml_arg(a, 3);
	aml_end(a);
}

static void slot_name(char name[5], unsigned slot)
{
	memcpy(name, "S00_", 5);
	name[1] = (char)('0' + slot / 10);
	name[2] = (char)('0' + slot % 10);
}

/* If (local & 1 << slot) { Notify (Snn, what) } */
static void notify_slot(struct aml *a, unsigned local, unsigned slot, unsigned what)
{
	char name[5];

	slot_name(name, slot);
	aml_if(a);
	aml_and(a);
	aml_local(a, local);
	aml_integer(a, 1u << slot);
	aml_integer(a, 0); /* no target */
	aml_notify(a);
	aml_ref(a, name);
	aml_integer(a, what);
	aml_end(a);
}

/*
 * The slots in which devices come and go (devices/pci/hotplug.h), and who tells of them:
 *
 *	OperationRegion (HPRG, SystemIO, 0x610, 12)
 *	Field (HPRG, ...) { HPUP, 32, HPDN, 32, HPEJ, 32 }
 *	Device (S05) {
 *	  Name (_ADR, 0x50000)
 *	  Name (_SUN, 5)
 *	  Method (_EJ0, 1) { HPEJ = 0x20 }
 *	}
 *	Method (HPEV, 0) {
 *	  Local0 = HPUP
 *	  Local1 = HPDN
 *	  If (Local0 & 0x20) { Notify (S05, 1) }
 *	  If (Local1 & 0x20) { Notify (S05, 3) }
 *	}
 */
static void put_hotplug(struct aml *a, const struct board *b)
{
	unsigned first = board_hotplug_slot(b);

	aml_io_region(a, "HPRG", LAYOUT_HOTPLUG, LAYOUT_HOTPLUG_LEN);
	aml_field(a, "HPRG");
	aml_field_unit(a, "HPUP", 32);
	aml_field_unit(a, "HPDN", 32);
	aml_field_unit(a, "HPEJ", 32);
	aml_end(a);
	for (unsigned slot = first; slot < first + b->n_hotplug; slot++) {
		char name[5];

		slot_name(name, slot);
		aml_device(a, name);
		name_integer(a, "_ADR", (uint64_t)slot << 16);
		name_integer(a, "_SUN", slot);
		aml_method(a, "_EJ0", 1);
		aml_store(a);
		aml_integer(a, 1u << slot);
		aml_ref(a, "HPEJ");
		aml_end(a);
		aml_end(a);
	}
	aml_method(a, "HPEV", 0);
	aml_store(a);
	aml_ref(a, "HPUP");
	aml_local(a, 0);
	aml_store(a);
	aml_ref(a, "HPDN");
	aml_local(a, 1);
	for (unsigned slot = first; slot < first + b->n_hotplug; slot++) {
		notify_slot(a, 0, slot, NOTIFY_DEVICE_CHECK);
		notify_slot(a, 1, slot, NOTIFY_EJECT_REQUEST);
	}
	aml_end(a);
}

static void put_pci(struct aml *a, const struct board *b)
{
	aml_device(a, "PCI0");
	name_eisaid(a, "_HID", "PNP0A08");
	name_eisaid(a, "_CID", "PNP0A03");
	name_integer(a, "_UID", 0);
	name_integer(a, "_SEG", 0);
	name_integer(a, "_BBN", 0);
	name_integer(a, "_CCA", 1);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_bus_window(a, 0, 0);
	aml_memory32_window(a, LAYOUT_MMIO32, LAYOUT_MMIO32_LEN);
	if (b->mmio64_len)
		aml_memory64_window(a, b->mmio64, b->mmio64_len);
	aml_end(a);
	put_osc(a);
	if (b->n_hotplug)
		put_hotplug(a, b);
	aml_end(a);
}

/* The id is the one that Linux knows (drivers/virtio/virtio_mmio.c); the devices are
 * bound in the order in which they stand here. Edge: see devices/virtio/mmio.h. */
static void put_virtio_mmio(struct aml *a, const struct board_virtio *v, unsigned index)
{
	static const char digits[] = "0123456789ABCDEF";
	const char name[] = {'V', 'M', digits[index >> 4 & 15], digits[index & 15], '\0'};

	aml_device(a, name);
	aml_name(a, "_HID");
	aml_string(a, "LNRO0005");
	name_integer(a, "_UID", index);
	name_integer(a, "_CCA", 1); /* DMA is coherent with the caches */
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_memory32_fixed(a, (uint32_t)v->base, LAYOUT_VIRTIO_MMIO_LEN);
	aml_interrupt(a, v->gsi);
	aml_end(a);
	aml_end(a);
}

/* Without an interrupt, as the clock has none: told of one, Linux and hwclock
 * would wait for it in vain. */
static void put_rtc(struct aml *a)
{
	aml_device(a, "RTC_");
	name_eisaid(a, "_HID", "PNP0B00");
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_io(a, LAYOUT_CMOS, LAYOUT_CMOS_LEN);
	aml_end(a);
	aml_end(a);
}

static void put_com(struct aml *a, const char *name, unsigned uid, uint16_t port, unsigned gsi)
{
	aml_device(a, name);
	name_eisaid(a, "_HID", "PNP0501");
	name_integer(a, "_UID", uid);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_io(a, port, LAYOUT_COM1_LEN);
	aml_interrupt(a, gsi);
	aml_end(a);
	aml_end(a);
}

/*
 * Drivers that know its port by _CRS write there; for those that would rather have
 * AML do it there are the two methods of QEMU's specification:
 *
 *	OperationRegion (PEOR, SystemIO, 0x505, 1)
 *	Field (PEOR, ...) { PEPT, 8 }
 *	Method (RDPT, 0) { Return (PEPT) }
 *	Method (WRPT, 1) { PEPT = Arg0 }
 */
static void put_pvpanic(struct aml *a)
{
	aml_device(a, "PEVT");
	aml_name(a, "_HID");
	aml_string(a, "QEMU0001");
	name_integer(a, "_STA", STA_ALL);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_io(a, LAYOUT_PVPANIC, LAYOUT_PVPANIC_LEN);
	aml_end(a);
	aml_io_region(a, "PEOR", LAYOUT_PVPANIC, LAYOUT_PVPANIC_LEN);
	aml_field(a, "PEOR");
	aml_field_unit(a, "PEPT", 8);
	aml_end(a);
	aml_method(a, "RDPT", 0);
	aml_return(a);
	aml_ref(a, "PEPT");
	aml_end(a);
	aml_method(a, "WRPT", 1);
	aml_store(a);
	aml_arg(a, 0);
	aml_ref(a, "PEPT");
	aml_end(a);
	aml_end(a);
}

static void put_power_button(struct aml *a)
{
	aml_device(a, "PWRB");
	name_eisaid(a, "_HID", "PNP0C0C");
	aml_end(a);
}

/* Both of the names under which drivers look for it: the first one is longer than an id may be,
 * so it has got the other. ADDR is the low half of the address, and the high half. */
static void put_vmgenid(struct aml *a)
{
	aml_device(a, "VGEN");
	aml_name(a, "_HID");
	aml_string(a, "MVMM0001");
	aml_name(a, "_CID");
	aml_package(a, 2);
	aml_string(a, "VM_Gen_Counter");
	aml_string(a, "VMGENCTR");
	aml_end(a);
	aml_name(a, "_DDN");
	aml_string(a, "VM_Gen_Counter");
	name_integer(a, "_UID", 0);
	aml_name(a, "ADDR");
	aml_package(a, 2);
	aml_integer(a, (uint32_t)LAYOUT_VMGENID);
	aml_integer(a, LAYOUT_VMGENID >> 32);
	aml_end(a);
	aml_end(a);
}

/* If (Local0 & event) { Notify (device, what) } */
static void notify_event(struct aml *a, unsigned event, const char *device, unsigned what)
{
	aml_if(a);
	aml_and(a);
	aml_local(a, 0);
	aml_integer(a, event);
	aml_integer(a, 0); /* no target */
	aml_notify(a);
	aml_ref(a, device);
	aml_integer(a, what);
	aml_end(a);
}

/* If (Local0 & event) { method () } */
static void call_if(struct aml *a, unsigned event, const char *method)
{
	aml_if(a);
	aml_and(a);
	aml_local(a, 0);
	aml_integer(a, event);
	aml_integer(a, 0);
	aml_ref(a, method);
	aml_end(a);
}

/* An edge on the GED's interrupt says that the event byte has news; reading the
 * byte clears it. [ACPI 6.5 5.6.9] */
static void put_ged(struct aml *a, const struct board *b)
{
	aml_device(a, "GED_");
	aml_name(a, "_HID");
	aml_string(a, "ACPI0013");
	name_integer(a, "_UID", 0);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_interrupt(a, LAYOUT_GSI_GED);
	aml_end(a);
	aml_io_region(a, "EVTR", GED_EVENT_PORT, 1);
	aml_field(a, "EVTR");
	aml_field_unit(a, "EVTB", 8);
	aml_end(a);

	aml_method(a, "_EVT", 1);
	aml_store(a);
	aml_ref(a, "EVTB");
	aml_local(a, 0);
	notify_event(a, GED_POWER_BUTTON, "PWRB", NOTIFY_PRESSED);
	notify_event(a, GED_VMGENID, "VGEN", NOTIFY_NEW_ID);
	if (b->n_hotplug)
		call_if(a, GED_HOTPLUG, "\\_SB_.PCI0.HPEV");
	if (board_cpus_change(b))
		call_if(a, GED_CPUS, "\\_SB_.CPEV");
	aml_end(a);
	aml_end(a);
}

int acpi_build_dsdt(const struct board *b, uint8_t *buf, size_t cap)
{
	struct aml a;
	int len;

	if (cap < ACPI_HEADER_LEN)
		return -ENOSPC;
	memset(buf, 0, ACPI_HEADER_LEN);
	aml_init(&a, buf + ACPI_HEADER_LEN, cap - ACPI_HEADER_LEN);

	put_s5(&a);
	aml_scope(&a, "\\_SB_");
	put_motherboard(&a, b);
	if (!b->virtio_mmio)
		put_pci(&a, b);
	for (unsigned i = 0; b->virtio_mmio && i < b->n_virtio; i++)
		put_virtio_mmio(&a, &b->virtio[i], i);
	put_rtc(&a);
	if (b->serial)
		put_com(&a, "COM1", 1, LAYOUT_COM1, LAYOUT_GSI_COM1);
	if (b->serial2)
		put_com(&a, "COM2", 2, LAYOUT_COM2, LAYOUT_GSI_COM2);
	put_pvpanic(&a);
	put_power_button(&a);
	put_vmgenid(&a);
	acpi_put_cpus(&a, b);
	put_ged(&a, b);
	aml_end(&a);

	len = aml_finish(&a);
	if (len < 0)
		return len;
	len += ACPI_HEADER_LEN;
	acpi_header(buf, "DSDT", (uint32_t)len, DSDT_REVISION);
	acpi_checksum(buf, (size_t)len, ACPI_CHECKSUM);
	return len;
}
