/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmgenid: the 16 bytes of RAM by which a guest knows that it is not the one that it was: that it
 * goes on from a snapshot, maybe as one of many [Virtual Machine Generation ID, Microsoft 2012].
 *
 * The DSDT says where they are (device VGEN: ADDR), and notifies the device when they have
 * changed. Linux then seeds its random pool anew (drivers/virt/vmgenid.c): else two machines that
 * were restored from one snapshot would make the same keys.
 */
#ifndef DEVICES_POWER_VMGENID_H
#define DEVICES_POWER_VMGENID_H

#include "vmm/base/err.h"
#include "vmm/core/device.h"
#include "vmm/core/guest_mem.h"

#include <stdint.h>

enum { VMGENID_LEN = 16, VMGENID_ALIGN = 8 };

/* Have the guest's ACPI code notify the device. Called on the main thread. */
struct vmgenid_wires {
	void (*changed)(void *ctx);
	void *ctx;
};

struct vmgenid {
	struct guest_mem *gm; /* borrowed */
	uint64_t gpa;         /* 0: the guest has none, and is told nothing */
	struct vmgenid_wires wires;
};

/* For a guest whose tables say `gpa`, a multiple of VMGENID_ALIGN. *wires is copied; `gm` outlives
 * it. Nothing is written yet. */
void vmgenid_init(struct vmgenid *v, struct guest_mem *gm, uint64_t gpa,
		  const struct vmgenid_wires *wires);

/* Write 128 random bits; the guest is not told, as it has not begun. 0, or a negative errno with
 * *e filled: the host gives no random bytes, -EFAULT if there is no RAM. vCPUs stand. */
int vmgenid_create(struct vmgenid *v, struct err *e);

/* The same, of a guest that goes on from a snapshot, and it is told. Its interrupt controllers are
 * loaded. */
int vmgenid_renew(struct vmgenid *v, struct err *e);

/* load: a machine that was saved before there was such a device has none, as its guest sees none
 * in its tables. */
extern const struct device_ops vmgenid_device_ops;

#endif
