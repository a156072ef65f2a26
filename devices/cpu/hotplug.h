/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hotplug: the registers by which a guest's ACPI code follows processors that come and go while it
 * runs. What they mean is between this file and the DSDT (firmware/acpi_cpus.c); the guest's driver
 * knows only Notify, _STA, _EJ0 and _OST [ACPI 6.5 5.6.6, 6.3]. Of the first three, bit n % 8 of
 * byte n / 8 is processor n's.
 *
 *	+0   HERE    64 bits: the processors that there are
 *	+8   UP      64 bits: those that came; reading a byte clears it
 *	+16  DOWN    64 bits: those that the guest is asked to give up; reading a byte clears it
 *	+24  EJECT   writing a processor's number takes it away; reads 0
 *	+25  EVENT   _OST's first argument, its low byte,
 *	+26  STATUS  and the second's
 *	+27  TOLD    writing a processor's number: EVENT and STATUS are about it; reads 0
 *
 *	more wanted   -> HERE, UP, event     guest: Notify (processor, 1), takes it in, _OST
 *	fewer wanted  -> DOWN, event         guest: Notify (processor, 3), lets go of it, _EJ0 ->
 *EJECT EJECT         -> not HERE, `ejected`: it is to run no further instruction
 *
 * A guest may eject what nobody asked it to, or never answer. Processor 0 stays.
 */
#ifndef DEVICES_CPU_HOTPLUG_H
#define DEVICES_CPU_HOTPLUG_H

#include "vmm/base/log.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#include <pthread.h>
#include <stdint.h>

enum { CPU_HOTPLUG_PORTS = 28, CPU_HOTPLUG_MAX = 64 };

/* What is told of it. */
struct cpu_hotplug_count {
	unsigned has;    /* those that the guest has taken, and not given up */
	unsigned target; /* how many it is to have */
};

/* Called with the chip's lock held: none may call into it, nor wait. */
struct cpu_hotplug_wires {
	void (*event)(void *ctx);                 /* UP or DOWN has news. Any thread */
	void (*ejected)(void *ctx, unsigned cpu); /* On a vCPU's thread, maybe its own */
	/* The guest has one more, or one less. Likewise */
	void (*changed)(void *ctx, struct cpu_hotplug_count now);
	void *ctx;
};

struct cpu_hotplug {
	pthread_mutex_t lock;
	struct cpu_hotplug_wires wires;
	struct log_budget complaints;
	unsigned max;
	unsigned target; /* how many there are to be */
	uint64_t here;
	uint64_t coming;       /* of those, the ones that the guest has not said to have taken */
	uint64_t up, down;     /* as the guest will read them */
	uint8_t event, status; /* as written */
};

/* The first `n` of `max` processors (1 <= n <= max <= CPU_HOTPLUG_MAX) are there. *wires is
 * copied. */
void cpu_hotplug_init(struct cpu_hotplug *h, unsigned n, unsigned max,
		      const struct cpu_hotplug_wires *wires);

/* As cpu_hotplug_init() left it, with `n`: for a machine that begins anew, whose processors stand.
 */
void cpu_hotplug_renew(struct cpu_hotplug *h, unsigned n);

/* A bit for each processor that is there; and for each that would come if there were to be `n`. Any
 * thread, as the next two. */
uint64_t cpu_hotplug_here(struct cpu_hotplug *h);
uint64_t cpu_hotplug_missing(struct cpu_hotplug *h, unsigned n);
/* There are to be the first `n` (1 to max): those that are missing come, and may be used before
 * this returns; of the others the guest is asked to give up those that it has. Again is fine: it is
 * asked again. */
void cpu_hotplug_want(struct cpu_hotplug *h, unsigned n);
struct cpu_hotplug_count cpu_hotplug_count(struct cpu_hotplug *h);

/* CPU_HOTPLUG_PORTS ports; `dev` is the struct cpu_hotplug. Any width: bytes, in order. */
extern const struct io_ops cpu_hotplug_io_ops;
/* A load wants the same `max`. Which are there is part of the state. */
extern const struct device_ops cpu_hotplug_device_ops;

#endif
