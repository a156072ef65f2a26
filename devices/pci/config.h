/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: the configuration space of one PCI function, type 0 [PCI 3.0 6].
 *
 * Configuration space is bytes with a mask that says which bits the guest may
 * change. Everything else follows from them: sizing a BAR is a write of all
 * ones that sticks only above the size; moving it is a write; a capability is
 * a range on a list. So the guest's part of the state is these bytes and
 * nothing more. Where a write has an effect, the device hears of it afterwards.
 *
 *	0x00 header, BARs        0x40 capabilities ...      0x100 ... 0xfff
 *	bytes + mask             bytes + mask               absent: reads 0
 *
 * The functions are conventional PCI behind ECAM: no PCI Express capability,
 * hence no extended configuration space. Nothing here knows of a bus: where the
 * BARs are mapped is for host.c to decide. The host's lock guards all of it once
 * the function is on a host; before that it belongs to its creator.
 */
#ifndef DEVICES_PCI_CONFIG_H
#define DEVICES_PCI_CONFIG_H

#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/state.h"

#include <stdbool.h>
#include <stdint.h>

/* Header registers, type 0 [PCI 3.0 6.1]. */
enum {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION_ID = 0x08,
	PCI_CLASS_CODE = 0x09, /* programming interface, sub-class, base class */
	PCI_CACHE_LINE_SIZE = 0x0c,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
	PCI_SUBSYSTEM_ID = 0x2e,
	PCI_CAPABILITIES_POINTER = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_INTERRUPT_PIN = 0x3d,
};

enum {
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_COMMAND_SERR = 1 << 8,
	PCI_COMMAND_INTX_DISABLE = 1 << 10,
	PCI_STATUS_INTERRUPT = 1 << 3,
	PCI_STATUS_CAP_LIST = 1 << 4,
};

enum { PCI_CAP_ID_VENDOR = 0x09, PCI_CAP_ID_MSIX = 0x11 };

enum {
	PCI_CONFIG_LEN = 256,    /* bytes that exist */
	PCI_FUNCTION_LEN = 4096, /* bytes of ECAM that one function answers for */
	PCI_BARS = 6,
};

/* What the header says of the function. */
struct pci_ids {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint16_t class_code; /* base class << 8 | sub-class */
	uint8_t revision;
};

/* What the device hears of; any entry may be NULL. Called under the host's lock:
 * none of them may call into the host. */
struct pci_dev_ops {
	/* The guest reads [off, off+size), size <= 8; `bytes` holds what is stored and
	 * may be replaced. For registers whose value is made on reading. */
	void (*config_read)(void *dev, unsigned off, unsigned size, uint8_t *bytes);
	/* The guest wrote [off, off+size), which overlaps at least one writable bit;
	 * the stored bytes are the new ones. */
	void (*config_written)(void *dev, unsigned off, unsigned size);
	/* BAR `bar` answers at `gpa` from now on (is about to stop answering there). */
	void (*bar_mapped)(void *dev, unsigned bar, uint64_t gpa);
	void (*bar_unmapped)(void *dev, unsigned bar, uint64_t gpa);
};

struct pci_bar {
	uint64_t size; /* bytes, a power of two; 0: no such BAR */
	bool is64;
	const struct io_ops *ops; /* offsets are relative to the BAR */

	/* host.c: where it should answer and where it does; 0: nowhere. */
	uint64_t wanted, mapped;
};

struct pci_host;

struct pci_dev {
	const char *name; /* borrowed: "disk0" */
	const struct pci_dev_ops *ops;
	void *dev; /* of `ops` and of the BARs' io_ops */

	uint8_t config[PCI_CONFIG_LEN];
	uint8_t writable[PCI_CONFIG_LEN];
	uint8_t power_on[PCI_CONFIG_LEN]; /* what a reset brings back */
	struct pci_bar bars[PCI_BARS];
	unsigned cap_end;  /* first byte after the last capability */
	unsigned cap_link; /* the byte that the next capability's offset goes to */

	struct pci_host *host; /* NULL until pci_host_add() */
	unsigned slot;         /* device number on bus 0 */
};

/* A function without BARs and capabilities, decoding nothing. */
void pci_dev_init(struct pci_dev *d, const struct pci_ids *ids, const struct pci_dev_ops *ops,
		  void *dev, const char *name);

/* A memory BAR of `size` bytes: a power of two, at least 16, at most 2 GiB if it
 * is 32 bits wide; a 64-bit one takes index and index + 1. -EINVAL otherwise. */
int pci_dev_add_bar(struct pci_dev *d, unsigned index, uint64_t size, bool is64,
		    const struct io_ops *ops);

/* Append a capability of `len` bytes (with its two header bytes): gives its
 * offset, a multiple of 4, or -ENOSPC. Its body is zero and read-only. */
int pci_dev_add_cap(struct pci_dev *d, uint8_t id, unsigned len);

/* Fill a register, 1, 2 or 4 bytes, and say which bits of it the guest may change. */
void pci_dev_define(struct pci_dev *d, unsigned off, unsigned size, uint32_t value,
		    uint32_t writable);

/* Take what config holds now as the power-on state. */
void pci_dev_seal(struct pci_dev *d);

/* One access of the guest, size 1, 2, 4 or 8, at any alignment; off + size is at
 * most PCI_FUNCTION_LEN. */
uint64_t pci_config_read(struct pci_dev *d, unsigned off, unsigned size);
void pci_config_write(struct pci_dev *d, unsigned off, unsigned size, uint64_t val);

/* The stored value of a register; no effects. */
uint16_t pci_config_get16(const struct pci_dev *d, unsigned off);
uint32_t pci_config_get32(const struct pci_dev *d, unsigned off);

/* The address that BAR `index` holds. */
uint64_t pci_bar_address(const struct pci_dev *d, unsigned index);
void pci_bar_set_address(struct pci_dev *d, unsigned index, uint64_t addr);
/* Does memory decoding of it apply? */
bool pci_bar_enabled(const struct pci_dev *d, unsigned index);

/* State: fields within the section of the device. `check` reads them into *out
 * and judges them against *d (-EBADMSG: another function, or another machine);
 * nothing is set before pci_host_restore(d, out). */
struct pci_saved {
	uint8_t config[PCI_CONFIG_LEN];
};
void pci_dev_save(const struct pci_dev *d, struct state_writer *w);
int pci_dev_load_check(const struct pci_dev *d, struct state_reader *r, struct pci_saved *out,
		       struct err *e);

#endif
