/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hotplug: the registers by which a guest's ACPI code follows PCI functions that come and go
 * while it runs. What they mean is between this file and the DSDT (firmware/acpi_dsdt.c); the
 * guest's driver knows only Notify and _EJ0 [ACPI 6.5 5.6.6, 6.3.3].
 *
 *	+0  UP     a bit for each slot into which something was plugged; reading clears
 *	+4  DOWN   a bit for each slot that the guest is asked to give up; reading clears
 *	+8  EJECT  writing 1 takes what is in the slot off the bus; reads 0
 *
 *	plug -> UP, event          guest: Notify (slot, 1), looks, binds its driver
 *	ask  -> DOWN, event        guest: Notify (slot, 3), lets go of it, _EJ0 -> EJECT
 *	EJECT -> gone from the bus, `ejected`: its owner may take it apart
 *
 * A guest may eject what nobody asked it to, or never answer. Slots that are not ours cannot be
 * ejected.
 */
#ifndef DEVICES_PCI_HOTPLUG_H
#define DEVICES_PCI_HOTPLUG_H

#include "devices/pci/host.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#include <pthread.h>
#include <stdint.h>

enum { PCI_HOTPLUG_PORTS = 12 };

/* Called with the chip's lock held: neither may call into it, nor wait. */
struct pci_hotplug_wires {
	void (*event)(void *ctx);   /* UP or DOWN has news. Any thread */
	void (*ejected)(void *ctx); /* for pci_hotplug_take_ejected(). On a vCPU's thread */
	void *ctx;
};

struct pci_hotplug {
	pthread_mutex_t lock;
	struct pci_hotplug_wires wires;
	uint32_t slots;                  /* that are ours, a bit each */
	uint32_t up, down;               /* as the guest will read them */
	uint32_t ejected;                /* and not yet taken */
	struct pci_dev *devs[PCI_SLOTS]; /* borrowed; NULL: the slot is empty */
};

/* `slots`: a bit for each slot (1 to 31) of the bus in which things come and go. *wires is
 * copied. */
void pci_hotplug_init(struct pci_hotplug *h, uint32_t slots, const struct pci_hotplug_wires *wires);

/* Tell the guest of *d, which is on the host, in one of our slots, and complete: it may be used,
 * and ejected, before this returns. Borrowed until it is ejected, or the guest is gone. 0, -EINVAL
 * (not our slot) or -EEXIST. Any thread. */
int pci_hotplug_plug(struct pci_hotplug *h, struct pci_dev *d);
/* Ask the guest to give *d up; again is fine. 0, or -ENOENT if it is not plugged (any more). Any
 * thread. */
int pci_hotplug_ask(struct pci_hotplug *h, const struct pci_dev *d);
/* Is *d plugged, and not ejected? Any thread. */
bool pci_hotplug_has(struct pci_hotplug *h, const struct pci_dev *d);
/* A bit for each slot whose function was ejected since the last call: it is off the bus, and nobody
 * here knows it any more. A vCPU may still be in its code. Any thread. */
uint32_t pci_hotplug_take_ejected(struct pci_hotplug *h);

/* PCI_HOTPLUG_PORTS ports; `dev` is the struct pci_hotplug. Any width: bytes, in order. */
extern const struct io_ops pci_hotplug_io_ops;
/* A load wants the same slots to have something in them. */
extern const struct device_ops pci_hotplug_device_ops;

#endif
