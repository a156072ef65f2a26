/* SPDX-License-Identifier: Apache-2.0 */
/* The hot-plug registers: whatever a guest writes, only what is in our slots can go, and each goes
 * once. */
#include "devices/pci/hotplug.h"
#include "tests/fuzz/lib/fuzz.h"

#include <errno.h>

#define ECAM  0xe8000000ull
#define SLOTS 0x00ffff00u /* 8 to 23 */

enum { PORTS = 0x610, FIXED = 3, EJECT = 8 };

struct rig {
	struct bus pio, mmio;
	struct pci_host host;
	struct pci_hotplug h;
	struct pci_dev devs[PCI_SLOTS];
	uint32_t plugged; /* as far as its owner knows */
	unsigned events, ejections;
};

static void on_event(void *ctx)
{
	((struct rig *)ctx)->events++;
}

static void on_ejected(void *ctx)
{
	((struct rig *)ctx)->ejections++;
}

static bool on_bus(struct rig *r, unsigned slot)
{
	uint64_t val;

	bus_read(&r->mmio, ECAM + (slot << 15), 2, &val);
	return val != 0xffff;
}

static void put(struct rig *r, unsigned slot)
{
	const struct pci_ids ids = {.vendor = 0x1af4, .device = 0x1042};

	pci_dev_init(&r->devs[slot], &ids, NULL, r, "x");
	fuzz_check(pci_host_add(&r->host, (int)slot, &r->devs[slot]) == (int)slot);
}

static void plug(struct rig *r, unsigned slot)
{
	unsigned events = r->events;
	bool ours = SLOTS & 1u << slot;

	if (r->plugged & 1u << slot || on_bus(r, slot))
		return;
	put(r, slot);
	fuzz_check(pci_hotplug_plug(&r->h, &r->devs[slot]) == (ours ? 0 : -EINVAL));
	fuzz_check(r->events == events + ours);
	if (ours)
		r->plugged |= 1u << slot;
	else
		pci_host_remove(&r->devs[slot]);
}

/* What is off the bus is what was ejected, and is told of once. */
static void collect(struct rig *r)
{
	uint32_t gone = pci_hotplug_take_ejected(&r->h);
	unsigned n = (unsigned)__builtin_popcount(gone);

	fuzz_check(!(gone & ~r->plugged) && r->ejections == n);
	r->plugged &= ~gone;
	r->ejections = 0;
	for (unsigned s = 1; s < PCI_SLOTS; s++)
		fuzz_check(on_bus(r, s) == (s == FIXED || r->plugged & 1u << s));
	fuzz_check(!pci_hotplug_take_ejected(&r->h));
}

void fuzz_one(struct fuzz_in *in)
{
	const struct pci_layout layout = {
		.ecam_base = ECAM, .mmio32_base = 0xc0000000, .mmio32_len = 0x100000};
	const struct device_ops *ops = &pci_hotplug_device_ops;
	static struct rig rig;
	struct rig *r = &rig;
	const struct pci_hotplug_wires wires = {on_event, on_ejected, r};

	*r = (struct rig){0};
	bus_init(&r->pio, "pio");
	bus_init(&r->mmio, "mmio");
	fuzz_check(!pci_host_init(&r->host, &r->mmio, &layout));
	put(r, FIXED);
	pci_hotplug_init(&r->h, SLOTS, &wires);
	fuzz_check(
		!bus_add(&r->pio, PORTS, PCI_HOTPLUG_PORTS, &pci_hotplug_io_ops, &r->h, "hotplug"));
	while (fuzz_more(in)) {
		unsigned slot;
		uint64_t val;

		switch (fuzz_u8(in) % 8) {
		case 0:
			plug(r, 1 + (unsigned)fuzz_below(in, PCI_SLOTS - 1));
			break;
		case 1:
			slot = 1 + (unsigned)fuzz_below(in, PCI_SLOTS - 1);
			if (r->plugged & 1u << slot)
				pci_hotplug_ask(&r->h, &r->devs[slot]);
			break;
		case 2:
			val = fuzz_u32(in);
			bus_write(&r->pio, PORTS + EJECT, 4, val);
			for (unsigned s = 1; s < PCI_SLOTS; s++)
				fuzz_check(!on_bus(r, s) || !(val & 1u << s) || s == FIXED);
			break;
		case 3:
			collect(r);
			break;
		case 4:
			fuzz_state(in, ops, &r->h, FUZZ_STATE_EXACT);
			break;
		case 5:
			fuzz_round_trip(ops, &r->h);
			break;
		case 6:
			ops->reset(&r->h);
			break;
		default:
			fuzz_access(in, &r->pio, PORTS - 8, PCI_HOTPLUG_PORTS + 16);
		}
	}
	collect(r);
	ops->fini(&r->h);
	pci_host_fini(&r->host);
	bus_fini(&r->pio);
	bus_fini(&r->mmio);
}
