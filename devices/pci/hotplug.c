/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The function leaves the bus within the guest's write to EJECT, so that what looks at the slot
 * afterwards finds it empty. The rest of its end takes longer and is its owner's.
 *
 * Locks: ours, then the host's.
 */
#include "devices/pci/hotplug.h"

#include "devices/byte_lanes.h"

#include <errno.h>
#include <string.h>

enum { UP = 0, DOWN = 4, EJECT = 8, STATE_VERSION = 1 };

static uint32_t bit(unsigned slot)
{
	return 1u << slot;
}

static uint32_t present(const struct pci_hotplug *h)
{
	uint32_t slots = 0;

	for (unsigned s = 0; s < PCI_SLOTS; s++)
		if (h->devs[s])
			slots |= bit(s);
	return slots;
}

/* --- the guest's side ------------------------------------------------------------------ */

static uint8_t take_byte(uint32_t *reg, uint64_t lane)
{
	uint8_t val = (uint8_t)(*reg >> 8 * lane);

	*reg &= ~(0xffu << 8 * lane);
	return val;
}

static uint8_t hotplug_read8(void *dev, uint64_t off)
{
	struct pci_hotplug *h = dev;
	uint8_t val = 0;

	pthread_mutex_lock(&h->lock);
	if (off < DOWN)
		val = take_byte(&h->up, off - UP);
	else if (off < EJECT)
		val = take_byte(&h->down, off - DOWN);
	pthread_mutex_unlock(&h->lock);
	return val;
}

static void eject(struct pci_hotplug *h, unsigned slot)
{
	pci_host_remove(h->devs[slot]);
	h->devs[slot] = NULL;
	h->up &= ~bit(slot);
	h->down &= ~bit(slot);
	h->ejected |= bit(slot);
	h->wires.ejected(h->wires.ctx);
}

static void hotplug_write8(void *dev, uint64_t off, uint8_t val)
{
	struct pci_hotplug *h = dev;

	if (off < EJECT)
		return;
	pthread_mutex_lock(&h->lock);
	uint32_t which = (uint32_t)val << 8 * (off - EJECT);

	for (unsigned s = 0; s < PCI_SLOTS; s++)
		if (which & bit(s) && h->devs[s])
			eject(h, s);
	pthread_mutex_unlock(&h->lock);
}

static uint64_t hotplug_read(void *dev, uint64_t off, unsigned size)
{
	return byte_lanes_read(dev, off, size, hotplug_read8);
}

static void hotplug_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	byte_lanes_write(dev, off, size, val, hotplug_write8);
}

const struct io_ops pci_hotplug_io_ops = {hotplug_read, hotplug_write};

/* --- the machine's side ---------------------------------------------------------------- */

void pci_hotplug_init(struct pci_hotplug *h, uint32_t slots, const struct pci_hotplug_wires *wires)
{
	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
	h->slots = slots & ~bit(0);
	h->wires = *wires;
}

int pci_hotplug_plug(struct pci_hotplug *h, struct pci_dev *d)
{
	int ret = 0;

	pthread_mutex_lock(&h->lock);
	if (!(h->slots & bit(d->slot))) {
		ret = -EINVAL;
	} else if (h->devs[d->slot]) {
		ret = -EEXIST;
	} else {
		h->devs[d->slot] = d;
		h->up |= bit(d->slot);
		h->wires.event(h->wires.ctx);
	}
	pthread_mutex_unlock(&h->lock);
	return ret;
}

int pci_hotplug_ask(struct pci_hotplug *h, const struct pci_dev *d)
{
	int ret = -ENOENT;

	pthread_mutex_lock(&h->lock);
	if (h->devs[d->slot] == d) {
		h->down |= bit(d->slot);
		h->wires.event(h->wires.ctx);
		ret = 0;
	}
	pthread_mutex_unlock(&h->lock);
	return ret;
}

bool pci_hotplug_has(struct pci_hotplug *h, const struct pci_dev *d)
{
	pthread_mutex_lock(&h->lock);
	bool has = h->devs[d->slot] == d;

	pthread_mutex_unlock(&h->lock);
	return has;
}

uint32_t pci_hotplug_take_ejected(struct pci_hotplug *h)
{
	pthread_mutex_lock(&h->lock);
	uint32_t slots = h->ejected;

	h->ejected = 0;
	pthread_mutex_unlock(&h->lock);
	return slots;
}

/* --- life ------------------------------------------------------------------------------ */

static void hotplug_reset(void *dev)
{
	struct pci_hotplug *h = dev;

	/* Who comes up finds what is there by looking. */
	pthread_mutex_lock(&h->lock);
	h->up = h->down = 0;
	pthread_mutex_unlock(&h->lock);
}

static void hotplug_fini(void *dev)
{
	struct pci_hotplug *h = dev;

	pthread_mutex_destroy(&h->lock);
}

static void hotplug_save(void *dev, struct state_writer *w)
{
	struct pci_hotplug *h = dev;

	pthread_mutex_lock(&h->lock);
	state_section_begin(w, "hotplug", STATE_VERSION);
	state_put_u32(w, h->slots);
	state_put_u32(w, present(h));
	state_put_u32(w, h->up);
	state_put_u32(w, h->down);
	state_section_end(w);
	pthread_mutex_unlock(&h->lock);
}

static int hotplug_load(void *dev, struct state_reader *r, struct err *e)
{
	struct pci_hotplug *h = dev;
	int ret = state_section_expect(r, "hotplug", STATE_VERSION, e);

	if (ret)
		return ret;
	uint32_t slots = state_get_u32(r), there = state_get_u32(r);
	uint32_t up = state_get_u32(r), down = state_get_u32(r);

	ret = state_section_close(r, e);
	if (ret)
		return ret;
	pthread_mutex_lock(&h->lock);
	if (slots != h->slots || there != present(h) || (up | down) & ~there) {
		ret = -EBADMSG;
	} else {
		h->up = up;
		h->down = down;
	}
	pthread_mutex_unlock(&h->lock);
	return ret ? err_host(e, ret, "saved state: 'hotplug' has other slots than this machine")
		   : 0;
}

const struct device_ops pci_hotplug_device_ops = {
	.reset = hotplug_reset,
	.save = hotplug_save,
	.load = hotplug_load,
	.fini = hotplug_fini,
};
