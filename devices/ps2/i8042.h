/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i8042: the PC's keyboard controller with nothing plugged in. It is here for
 * its reset line: `reboot=k` and everybody's last resort is `outb(0xfe, 0x64)`.
 */
#ifndef DEVICES_PS2_I8042_H
#define DEVICES_PS2_I8042_H

#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/stop.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* From port 0x60. Offset 0 is data, 4 is command and status. Of what lies between, port
 * 0x61 is the board's NMI status and control register, which is kept here because it
 * is nobody else's; the rest reads as if nobody were there. */
enum { I8042_PORTS = 5 };

struct i8042 {
	pthread_mutex_t lock;
	struct stop_sink stop;
	uint8_t ctr;     /* the controller's command byte */
	uint8_t pending; /* the command that waits for its data byte, or 0 */
	uint8_t out;     /* output buffer, valid while `obf` */
	bool obf;        /* status: output buffer full */
	bool after_cmd;  /* status: the last write was a command */
	uint8_t nmi_sc;  /* port 0x61, the bits that can be written */
};

/* `stop` is copied; it hears STOP_RESET on a vCPU thread. */
void i8042_init(struct i8042 *k, const struct stop_sink *stop);

extern const struct io_ops i8042_io_ops;
extern const struct device_ops i8042_device_ops;

#endif
