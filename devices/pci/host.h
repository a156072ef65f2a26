/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host: the PCI host bridge with one bus, and the part of firmware that gives
 * BARs their addresses.
 *
 *	guest's load/store -> MMIO bus -> ECAM window -> function's config space
 *	                               -> BAR window  -> device's registers
 *
 * ECAM is an array of 4 KiB per function [PCIe 5.0 7.2.2]; bus 0 is 1 MiB of
 * it. Slot 0 is the host bridge itself, 1 to 31 are for devices, each with one
 * function. Absent functions read all ones, which is how a guest finds out.
 *
 * Which BAR answers where is a pure function of all configuration spaces: those
 * with memory decoding on, whose range lies in a window of the bridge, and that
 * overlap no BAR of a lower slot (or of a lower number in the same function).
 * After each write that may matter the MMIO bus is made to agree with it. The
 * windows hold no RAM, and the bus refuses a range that another device has, so a
 * BAR that the guest puts somewhere else merely answers nowhere until it is moved
 * back.
 *
 * Threads: one mutex for all configuration space, and for mapping and unmapping.
 * Accesses to a BAR never take it.
 */
#ifndef DEVICES_PCI_HOST_H
#define DEVICES_PCI_HOST_H

#include "devices/pci/config.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#include <pthread.h>
#include <stdint.h>

enum { PCI_SLOTS = 32, PCI_ECAM_LEN = 1 << 20 };

/* Guest-physical addresses. BARs go to mmio32, below 4 GiB; mmio64 takes what
 * does not fit (len 0: none) and what the guest moves there. */
struct pci_layout {
	uint64_t ecam_base;
	uint64_t mmio32_base, mmio32_len;
	uint64_t mmio64_base, mmio64_len;
};

struct pci_host {
	struct bus *mmio;
	struct pci_layout layout;
	pthread_mutex_t lock;
	struct pci_dev bridge;
	struct pci_dev *slots[PCI_SLOTS]; /* borrowed; [0] is the bridge */
	struct log_budget complaints;
};

/* Claims the ECAM window on `mmio`, which outlives the host. Errors of bus_add(). */
int pci_host_init(struct pci_host *h, struct bus *mmio, const struct pci_layout *layout);
/* With vCPUs gone. Fine on a zero-filled object. */
void pci_host_fini(struct pci_host *h);

/* Put a function into `slot` (1-31), or into the lowest free one for -1. Gives the
 * slot; -EINVAL, -EEXIST (taken) or -ENOSPC. *d is borrowed until pci_host_remove(). */
int pci_host_add(struct pci_host *h, int slot, struct pci_dev *d);
/* Unmaps its BARs. Fine if it is on no host. */
void pci_host_remove(struct pci_dev *d);

/* Give every BAR that has no address one, 32-bit ones before 64-bit ones, the biggest of
 * each kind first and none sharing a page, as firmware would, and make that the
 * power-on state. Decoding stays off: Linux would only switch it off again to size the
 * BARs. -ENOSPC with *e filled. */
int pci_host_assign(struct pci_host *h, struct err *e);

/* Back to power-on, and what pci_dev_load_check() accepted: for the device's
 * reset and load, on the main thread with vCPUs parked. No config_written calls. */
void pci_host_reset(struct pci_dev *d);
void pci_host_restore(struct pci_dev *d, const struct pci_saved *saved);

/* Configuration space by its offset in ECAM, below PCI_ECAM_LEN; `dev` is the struct
 * pci_host. What the ECAM window does, for other ways in. Any thread. */
extern const struct io_ops pci_host_ecam_ops;

/* The bridge's own life (`dev` is the struct pci_host); put it on the list of
 * devices before the functions. */
extern const struct device_ops pci_host_device_ops;

#endif
