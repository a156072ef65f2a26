/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmos: the PC's real-time clock and its 128 bytes of battery-backed RAM
 * [Motorola MC146818A; port layout as in the IBM PC/AT].
 *
 * Time is the host's wall clock in UTC plus what the guest has set it forward
 * or back. Nothing ticks: every register is computed when it is read. There is
 * no interrupt line; the flags in register C are right for who polls them.
 */
#ifndef DEVICES_RTC_CMOS_H
#define DEVICES_RTC_CMOS_H

#include "vmm/core/bus.h"
#include "vmm/core/clock.h"
#include "vmm/core/device.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	CMOS_PORTS = 2,      /* index, data */
	CMOS_CENTURY = 0x32, /* FADT.CENTURY */
	CMOS_RAM = 128,
};

struct cmos {
	pthread_mutex_t lock;
	struct clock clock;
	uint8_t index;         /* bits 0-6 of what was written to the index port */
	uint8_t ram[CMOS_RAM]; /* all but the time and the flags of A and C */
	int64_t offset_ns;     /* guest's time = host's wall clock + this */
	bool halted;           /* register B.SET, or the divider chain is held in reset */
	int64_t flags_seen_ns; /* guest's time when register C was last read */
};

/* `clock` is copied. Any thread may use the chip afterwards. */
void cmos_init(struct cmos *c, const struct clock *clock);

/* Port I/O at CMOS_PORTS ports; `dev` is the struct cmos. */
extern const struct io_ops cmos_io_ops;
extern const struct device_ops cmos_device_ops;

#endif
