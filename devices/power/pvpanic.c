/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One port and no state: what is written has happened at once. The wires are set
 * once and the log budget looks after itself, so there is no lock.
 *
 * PANICKED ends the run. CRASH_LOADED is a guest with kdump on its way into its crash
 * kernel: it has asked to be left alone, so it is told and goes on; whatever comes of
 * it ends the run in its own way.
 */
#include "devices/power/pvpanic.h"

#include <string.h>

enum { EVENTS = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED };

static uint64_t pvpanic_read(void *dev, uint64_t off, unsigned size)
{
	return EVENTS;
}

/* Bits that the device does not know are ignored. */
static void pvpanic_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pvpanic *p = dev;

	if (val & PVPANIC_PANICKED)
		stop_request(&p->stop, STOP_PANIC, "as its pvpanic driver says");
	else if (val & PVPANIC_CRASH_LOADED)
		log_guest(&p->complaints, "pvpanic: the guest panicked; its crash kernel takes "
					  "over");
}

const struct io_ops pvpanic_io_ops = {pvpanic_read, pvpanic_write};

void pvpanic_init(struct pvpanic *p, const struct stop_sink *stop)
{
	memset(p, 0, sizeof(*p));
	p->stop = *stop;
}
