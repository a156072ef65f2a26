/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/pci/config.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
	CAPS_BEGIN = 0x40,
	BAR_TYPE_64 = 2 << 1, /* [PCI 3.0 6.2.5.1] */
};

void pci_dev_define(struct pci_dev *d, unsigned off, unsigned size, uint32_t value,
		    uint32_t writable)
{
	assert(range_within(off, size, PCI_CONFIG_LEN) && size <= 4);
	for (unsigned i = 0; i < size; i++) {
		d->config[off + i] = (uint8_t)(value >> (8 * i));
		d->writable[off + i] = (uint8_t)(writable >> (8 * i));
	}
}

void pci_dev_init(struct pci_dev *d, const struct pci_ids *ids, const struct pci_dev_ops *ops,
		  void *dev, const char *name)
{
	*d = (struct pci_dev){.name = name, .ops = ops, .dev = dev};
	d->cap_end = CAPS_BEGIN;
	d->cap_link = PCI_CAPABILITIES_POINTER;
	pci_dev_define(d, PCI_VENDOR_ID, 2, ids->vendor, 0);
	pci_dev_define(d, PCI_DEVICE_ID, 2, ids->device, 0);
	/* Bus Master Enable is kept for the guest to read back and not enforced:
	 * no driver that we know of relies on a device held back by it. */
	pci_dev_define(d, PCI_COMMAND, 2, 0,
		       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR |
			       PCI_COMMAND_INTX_DISABLE);
	pci_dev_define(d, PCI_REVISION_ID, 1, ids->revision, 0);
	pci_dev_define(d, PCI_CLASS_CODE + 1, 2, ids->class_code, 0);
	pci_dev_define(d, PCI_CACHE_LINE_SIZE, 1, 0, 0xff);
	pci_dev_define(d, PCI_SUBSYSTEM_VENDOR_ID, 2, ids->subsystem_vendor, 0);
	pci_dev_define(d, PCI_SUBSYSTEM_ID, 2, ids->subsystem, 0);
	pci_dev_define(d, PCI_INTERRUPT_LINE, 1, 0, 0xff);
	pci_dev_seal(d);
}

int pci_dev_add_bar(struct pci_dev *d, unsigned index, uint64_t size, bool is64,
		    const struct io_ops *ops)
{
	unsigned off = PCI_BAR0 + 4 * index;

	if (index + is64 >= PCI_BARS || !is_power_of_2(size) || size < 16 ||
	    (!is64 && size > 2 * GiB))
		return -EINVAL;
	d->bars[index] = (struct pci_bar){.size = size, .is64 = is64, .ops = ops};
	/* Bits below the size read zero: writing all ones tells the driver how big
	 * it is [PCI 3.0 6.2.5.1, implementation note on sizing]. */
	pci_dev_define(d, off, 4, is64 ? BAR_TYPE_64 : 0, (uint32_t) ~(size - 1));
	if (is64)
		pci_dev_define(d, off + 4, 4, 0, (uint32_t)(~(size - 1) >> 32));
	pci_dev_seal(d);
	return 0;
}

int pci_dev_add_cap(struct pci_dev *d, uint8_t id, unsigned len)
{
	unsigned off = d->cap_end;

	if (!range_within(off, len, PCI_CONFIG_LEN))
		return -ENOSPC;
	d->config[d->cap_link] = (uint8_t)off;
	d->config[off] = id;
	d->cap_link = off + 1;
	d->cap_end = (unsigned)align_up(off + len, 4);
	d->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	pci_dev_seal(d);
	return (int)off;
}

void pci_dev_seal(struct pci_dev *d)
{
	memcpy(d->power_on, d->config, sizeof(d->power_on));
}

uint64_t pci_config_read(struct pci_dev *d, unsigned off, unsigned size)
{
	uint8_t bytes[8] = {0};

	assert(size <= sizeof(bytes) && range_within(off, size, PCI_FUNCTION_LEN));
	for (unsigned i = 0; i < size && off + i < PCI_CONFIG_LEN; i++)
		bytes[i] = d->config[off + i];
	if (d->ops && d->ops->config_read)
		d->ops->config_read(d->dev, off, size, bytes);
	return le64_get(bytes) & size_mask(size);
}

void pci_config_write(struct pci_dev *d, unsigned off, unsigned size, uint64_t val)
{
	uint8_t heard = 0;

	assert(size <= 8 && range_within(off, size, PCI_FUNCTION_LEN));
	for (unsigned i = 0; i < size && off + i < PCI_CONFIG_LEN; i++) {
		uint8_t mask = d->writable[off + i];
		uint8_t new = (uint8_t)(val >> (8 * i));

		d->config[off + i] = (uint8_t)((d->config[off + i] & ~mask) | (new &mask));
		heard |= mask;
	}
	if (heard && d->ops && d->ops->config_written)
		d->ops->config_written(d->dev, off, size);
}

uint16_t pci_config_get16(const struct pci_dev *d, unsigned off)
{
	return le16_get(d->config + off);
}

uint32_t pci_config_get32(const struct pci_dev *d, unsigned off)
{
	return le32_get(d->config + off);
}

uint64_t pci_bar_address(const struct pci_dev *d, unsigned index)
{
	unsigned off = PCI_BAR0 + 4 * index;
	uint64_t addr = pci_config_get32(d, off);

	if (d->bars[index].is64)
		addr |= (uint64_t)pci_config_get32(d, off + 4) << 32;
	return addr & ~(d->bars[index].size - 1);
}

void pci_bar_set_address(struct pci_dev *d, unsigned index, uint64_t addr)
{
	unsigned off = PCI_BAR0 + 4 * index;

	assert(d->bars[index].size && !(addr & (d->bars[index].size - 1)));
	le32_put(d->config + off, (uint32_t)addr | (d->bars[index].is64 ? BAR_TYPE_64 : 0));
	if (d->bars[index].is64)
		le32_put(d->config + off + 4, (uint32_t)(addr >> 32));
}

bool pci_bar_enabled(const struct pci_dev *d, unsigned index)
{
	return d->bars[index].size && (pci_config_get16(d, PCI_COMMAND) & PCI_COMMAND_MEMORY);
}

void pci_dev_save(const struct pci_dev *d, struct state_writer *w)
{
	state_put_u8(w, (uint8_t)d->slot);
	state_put_bytes(w, d->config, sizeof(d->config));
}

int pci_dev_load_check(const struct pci_dev *d, struct state_reader *r, struct pci_saved *out,
		       struct err *e)
{
	uint8_t slot = state_get_u8(r);

	state_get_bytes(r, out->config, sizeof(out->config));
	if (r->error)
		return err_host(e, r->error, "saved state: '%s' is cut short", d->name);
	if (slot != d->slot)
		return err_host(e, -EBADMSG,
				"saved state: '%s' was in PCI slot %u, here it is in %u", d->name,
				slot, d->slot);
	/* What the guest cannot change says which device this is. */
	for (unsigned i = 0; i < PCI_CONFIG_LEN; i++)
		if ((out->config[i] ^ d->config[i]) & ~d->writable[i])
			return err_host(e, -EBADMSG,
					"saved state: '%s' is another device (configuration byte "
					"0x%02x differs)",
					d->name, i);
	return 0;
}
