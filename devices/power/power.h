/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power: the switches of a hardware-reduced ACPI machine, and its reset port.
 *
 *	+0  SLEEP_CONTROL_REG  SLP_TYP (bits 4:2), SLP_EN (bit 5)   [ACPI 6.5 4.8.3.7]
 *	+1  SLEEP_STATUS_REG   WAK_STS (bit 7)
 *	+2  event byte of the Generic Event Device [ACPI 6.5 5.6.9]: which events
 *	    have happened since it was read; reading clears it
 *
 * and port 0xcf9, the reset control register that PC chipsets have. FADT gives
 * it as RESET_REG with RESET_VALUE 6; `\_S5` must give SLP_TYP 5.
 */
#ifndef DEVICES_POWER_POWER_H
#define DEVICES_POWER_POWER_H

#include "vmm/base/log.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/irq.h"
#include "vmm/core/stop.h"

#include <pthread.h>
#include <stdint.h>

enum {
	POWER_ACPI_PORTS = 3,
	POWER_RESET_PORTS = 1,
	POWER_SLP_TYP_S5 = 5,
	POWER_RESET_VALUE = 0x06,
	POWER_EVENT_BUTTON = 0x01,  /* bits in the event byte */
	POWER_EVENT_HOTPLUG = 0x02, /* devices/pci/hotplug.h has news, */
	POWER_EVENT_VMGENID = 0x04, /* or vmgenid.h, */
	POWER_EVENT_CPUS = 0x08,    /* or devices/cpu/hotplug.h */
};

struct power {
	pthread_mutex_t lock;
	struct irq_line ged; /* one edge for each event */
	struct stop_sink stop;
	struct log_budget complaints;
	uint8_t sleep_control; /* SLP_TYP as written */
	uint8_t events;
	uint8_t reset_control;
};

/* The wires are copied. `stop` hears STOP_POWEROFF and STOP_RESET on a vCPU
 * thread. */
void power_init(struct power *p, const struct irq_line *ged, const struct stop_sink *stop);

/* Press the power button: the guest's operating system gets an event and may do
 * as it likes. Any thread. */
void power_button_press(struct power *p);

/* Tell the guest's ACPI code to look at the hot-plug registers of PCI, or of the processors. Any
 * thread; it never waits. */
void power_hotplug_event(struct power *p);
void power_cpus_event(struct power *p);

/* Tell the guest's ACPI code that the VM generation ID has changed. Any thread. */
void power_vmgenid_event(struct power *p);

/* POWER_ACPI_PORTS ports; `dev` is the struct power. */
extern const struct io_ops power_acpi_io_ops;
/* The one port 0xcf9. A PCI host that claims 0xcf8 to 0xcff passes byte accesses
 * at offset 1 on to these. */
extern const struct io_ops power_reset_io_ops;
extern const struct device_ops power_device_ops;

#endif
