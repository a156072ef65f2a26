/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/pci/host.h"

#include "vmm/base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { PAGE = 4096, STATE_VERSION = 1 };

/* --- which BAR answers where -------------------------------------------------- */

static bool in_windows(const struct pci_host *h, uint64_t addr, uint64_t size)
{
	const struct pci_layout *l = &h->layout;

	return (addr >= l->mmio32_base &&
		range_within(addr - l->mmio32_base, size, l->mmio32_len)) ||
	       (addr >= l->mmio64_base && range_within(addr - l->mmio64_base, size, l->mmio64_len));
}

/* Does a BAR that comes before (slot, index) want a part of this range? */
static bool claimed(const struct pci_host *h, unsigned slot, unsigned index, uint64_t addr,
		    uint64_t size)
{
	for (unsigned s = 0; s <= slot; s++) {
		unsigned n = s < slot ? PCI_BARS : index;

		for (unsigned i = 0; h->slots[s] && i < n; i++) {
			const struct pci_bar *b = &h->slots[s]->bars[i];

			if (b->wanted && ranges_overlap(b->wanted, b->size, addr, size))
				return true;
		}
	}
	return false;
}

static void decide(struct pci_host *h)
{
	for (unsigned s = 0; s < PCI_SLOTS; s++) {
		struct pci_dev *d = h->slots[s];

		for (unsigned i = 0; d && i < PCI_BARS; i++) {
			struct pci_bar *b = &d->bars[i];
			uint64_t addr = b->size ? pci_bar_address(d, i) : 0;

			b->wanted = 0;
			if (addr && pci_bar_enabled(d, i) && in_windows(h, addr, b->size) &&
			    !claimed(h, s, i, addr, b->size))
				b->wanted = addr;
		}
	}
}

/* The device hears first: while a doorbell is gone and the range is not, a store
 * arrives at the bus, which is right; the other way round it would be lost. */
static void unmap_bar(struct pci_host *h, struct pci_dev *d, unsigned i)
{
	struct pci_bar *b = &d->bars[i];

	if (d->ops && d->ops->bar_unmapped)
		d->ops->bar_unmapped(d->dev, i, b->mapped);
	bus_remove(h->mmio, b->mapped, d->dev);
	b->mapped = 0;
}

static void map_bar(struct pci_host *h, struct pci_dev *d, unsigned i)
{
	struct pci_bar *b = &d->bars[i];
	int ret = bus_add(h->mmio, b->wanted, b->size, b->ops, d->dev, d->name);

	if (ret) {
		log_guest(&h->complaints,
			  "pci: %s: BAR %u at 0x%llx is in the way of another "
			  "device and stays unmapped",
			  d->name, i, (unsigned long long)b->wanted);
		return;
	}
	b->mapped = b->wanted;
	if (d->ops && d->ops->bar_mapped)
		d->ops->bar_mapped(d->dev, i, b->mapped);
}

/* Make the bus agree. All that must go goes first: two BARs may trade places. */
static void sync_bars(struct pci_host *h)
{
	decide(h);
	for (unsigned s = 0; s < PCI_SLOTS; s++)
		for (unsigned i = 0; h->slots[s] && i < PCI_BARS; i++)
			if (h->slots[s]->bars[i].mapped &&
			    h->slots[s]->bars[i].mapped != h->slots[s]->bars[i].wanted)
				unmap_bar(h, h->slots[s], i);
	for (unsigned s = 0; s < PCI_SLOTS; s++)
		for (unsigned i = 0; h->slots[s] && i < PCI_BARS; i++)
			if (h->slots[s]->bars[i].wanted && !h->slots[s]->bars[i].mapped)
				map_bar(h, h->slots[s], i);
}

/* --- ECAM ---------------------------------------------------------------------- */

/* The function at an ECAM offset, and the register; NULL where there is none. An
 * access that ends in the next function's space is nobody's. */
static struct pci_dev *target(struct pci_host *h, uint64_t off, unsigned size, unsigned *reg)
{
	unsigned slot = (off >> 15) & 31, function = (off >> 12) & 7;

	*reg = off & (PCI_FUNCTION_LEN - 1);
	if (function || !range_within(*reg, size, PCI_FUNCTION_LEN))
		return NULL;
	return h->slots[slot];
}

static uint64_t ecam_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_host *h = dev;
	uint64_t val = size_mask(size);
	struct pci_dev *d;
	unsigned reg;

	pthread_mutex_lock(&h->lock);
	d = target(h, off, size, &reg);
	if (d)
		val = pci_config_read(d, reg, size);
	pthread_mutex_unlock(&h->lock);
	return val;
}

static void ecam_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pci_host *h = dev;
	struct pci_dev *d;
	unsigned reg;

	pthread_mutex_lock(&h->lock);
	d = target(h, off, size, &reg);
	if (d) {
		pci_config_write(d, reg, size, val);
		if (ranges_overlap(reg, size, PCI_COMMAND, 2) ||
		    ranges_overlap(reg, size, PCI_BAR0, 4 * PCI_BARS))
			sync_bars(h);
	}
	pthread_mutex_unlock(&h->lock);
}

const struct io_ops pci_host_ecam_ops = {.read = ecam_read, .write = ecam_write};

/* --- set-up ---------------------------------------------------------------------- */

int pci_host_init(struct pci_host *h, struct bus *mmio, const struct pci_layout *layout)
{
	/* The generic ECAM host bridge that QEMU's "gpex" introduced. */
	static const struct pci_ids ids = {
		.vendor = 0x1b36,
		.device = 0x0008,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.class_code = 0x0600,
	};
	int ret;

	memset(h, 0, sizeof(*h));
	h->layout = *layout;
	ret = bus_add(mmio, layout->ecam_base, PCI_ECAM_LEN, &pci_host_ecam_ops, h, "pci-ecam");
	if (ret)
		return ret;
	h->mmio = mmio;
	pthread_mutex_init(&h->lock, NULL);
	pci_dev_init(&h->bridge, &ids, NULL, h, "pci-host");
	h->bridge.host = h;
	h->slots[0] = &h->bridge;
	return 0;
}

void pci_host_fini(struct pci_host *h)
{
	if (!h->mmio)
		return;
	for (unsigned s = 1; s < PCI_SLOTS; s++)
		if (h->slots[s])
			pci_host_remove(h->slots[s]);
	bus_remove(h->mmio, h->layout.ecam_base, h);
	pthread_mutex_destroy(&h->lock);
	h->mmio = NULL;
}

int pci_host_add(struct pci_host *h, int slot, struct pci_dev *d)
{
	if (slot < -1 || slot == 0 || slot >= PCI_SLOTS)
		return -EINVAL;
	pthread_mutex_lock(&h->lock);
	if (slot < 0)
		for (slot = 1; slot < PCI_SLOTS && h->slots[slot];)
			slot++;
	if (slot == PCI_SLOTS) {
		slot = -ENOSPC;
	} else if (h->slots[slot]) {
		slot = -EEXIST;
	} else {
		d->host = h;
		d->slot = (unsigned)slot;
		h->slots[slot] = d;
	}
	pthread_mutex_unlock(&h->lock);
	return slot;
}

void pci_host_remove(struct pci_dev *d)
{
	struct pci_host *h = d->host;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (d->bars[i].mapped)
			unmap_bar(h, d, i);
	h->slots[d->slot] = NULL;
	sync_bars(h);
	pthread_mutex_unlock(&h->lock);
	d->host = NULL;
}

/* --- firmware's part ----------------------------------------------------------- */

/* The lowest place for `size` bytes in a window that no BAR has; 0 if there is none. */
static uint64_t place(const struct pci_host *h, uint64_t base, uint64_t len, uint64_t size)
{
	uint64_t align = size < PAGE ? PAGE : size;
	uint64_t addr = base;

	if (!len || base > UINT64_MAX - align)
		return 0;
	addr = align_up(base ? base : 1, align);
again:
	if (addr < base || !range_within(addr - base, align, len))
		return 0;
	for (unsigned s = 0; s < PCI_SLOTS; s++)
		for (unsigned i = 0; h->slots[s] && i < PCI_BARS; i++) {
			const struct pci_dev *d = h->slots[s];
			uint64_t other = d->bars[i].size ? pci_bar_address(d, i) : 0;

			if (other && ranges_overlap(addr, align, other, d->bars[i].size)) {
				addr += align;
				goto again;
			}
		}
	return addr;
}

/* The biggest of those with 32-bit BARs; when all those have their place, which is below
 * 4 GiB or nowhere, of those with 64-bit ones. NULL: all have. */
static struct pci_dev *next_unplaced(struct pci_host *h, unsigned *index)
{
	struct pci_dev *found = NULL;
	bool found64 = true;
	uint64_t most = 0;

	for (unsigned s = 0; s < PCI_SLOTS; s++)
		for (unsigned i = 0; h->slots[s] && i < PCI_BARS; i++) {
			const struct pci_bar *b = &h->slots[s]->bars[i];

			if (!b->size || pci_bar_address(h->slots[s], i))
				continue;
			if (b->is64 == found64 ? b->size > most : found64) {
				most = b->size;
				found64 = b->is64;
				found = h->slots[s];
				*index = i;
			}
		}
	return found;
}

int pci_host_assign(struct pci_host *h, struct err *e)
{
	const struct pci_layout *l = &h->layout;
	struct pci_dev *d;
	unsigned i = 0;
	int ret = 0;

	pthread_mutex_lock(&h->lock);
	while (!ret && (d = next_unplaced(h, &i))) {
		uint64_t addr = place(h, l->mmio32_base, l->mmio32_len, d->bars[i].size);

		if (!addr && d->bars[i].is64)
			addr = place(h, l->mmio64_base, l->mmio64_len, d->bars[i].size);
		if (addr) {
			pci_bar_set_address(d, i, addr);
			pci_dev_seal(d);
		} else {
			ret = err_usage(
				e, -ENOSPC,
				"pci: no room for %s's BAR %u of %llu bytes; use fewer devices",
				d->name, i, (unsigned long long)d->bars[i].size);
		}
	}
	pthread_mutex_unlock(&h->lock);
	return ret;
}

/* --- life ------------------------------------------------------------------------ */

static void set_config(struct pci_dev *d, const uint8_t *config)
{
	struct pci_host *h = d->host;

	if (h)
		pthread_mutex_lock(&h->lock);
	memcpy(d->config, config, sizeof(d->config));
	if (h) {
		sync_bars(h);
		pthread_mutex_unlock(&h->lock);
	}
}

void pci_host_reset(struct pci_dev *d)
{
	set_config(d, d->power_on);
}

void pci_host_restore(struct pci_dev *d, const struct pci_saved *saved)
{
	set_config(d, saved->config);
}

static void host_reset(void *dev)
{
	struct pci_host *h = dev;

	pci_host_reset(&h->bridge);
}

static void host_save(void *dev, struct state_writer *w)
{
	struct pci_host *h = dev;

	state_section_begin(w, "pci-host", STATE_VERSION);
	pci_dev_save(&h->bridge, w);
	state_section_end(w);
}

static int host_load(void *dev, struct state_reader *r, struct err *e)
{
	struct pci_host *h = dev;
	struct pci_saved saved;
	int ret = state_section_expect(r, "pci-host", STATE_VERSION, e);

	if (ret)
		return ret;
	ret = pci_dev_load_check(&h->bridge, r, &saved, e);
	if (!ret)
		ret = state_section_close(r, e);
	if (!ret)
		pci_host_restore(&h->bridge, &saved);
	return ret;
}

static void host_fini(void *dev)
{
	pci_host_fini(dev);
}

const struct device_ops pci_host_device_ops = {
	.reset = host_reset,
	.save = host_save,
	.load = host_load,
	.fini = host_fini,
};
