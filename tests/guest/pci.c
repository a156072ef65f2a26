/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci: walks the bus as firmware and Linux do: identities, capability lists that
 * end, BARs that have a size, keep their address and do not overlap.
 *
 * RUN: --disk DISK
 * DISK: 1M
 * EXPECT: 0: class 060000 *
 * EXPECT: ?: 1af4:1042 *
 * EXPECT: ?: 1af4:1044 *
 * EXPECT: absent slots read all ones
 * QEMU: -device virtio-rng-pci,disable-legacy=on
 */
#include "pci.h"

static struct {
	uint64_t base, len;
} bars[PCI_SLOTS * 6];
static unsigned n_bars;

static void look_at_bars(unsigned slot)
{
	/* Only ordinary functions have six [PCI 3.0 6.2.5]. */
	for (unsigned bar = 0; bar < 6 && !(pci_read8(slot, 0x0e) & 0x7f); bar++) {
		uint32_t low = pci_read32(slot, 0x10 + bar * 4);
		uint16_t command = pci_read16(slot, 4);

		if (low & 1)
			continue; /* I/O: QEMU's */
		pci_write16(slot, 4, command & ~2u);
		uint64_t size = pci_bar_size(slot, bar);

		pci_write16(slot, 4, command);
		expect_equal(pci_read32(slot, 0x10 + bar * 4), low);
		if (!size)
			continue;
		uint64_t base = pci_bar(slot, bar);

		printf("%u: BAR %u %#lx size %#lx\n", slot, bar, base, size);
		expect(!(size & (size - 1)) && base % size == 0);
		for (unsigned i = 0; i < n_bars; i++)
			expect(base + size <= bars[i].base || base >= bars[i].base + bars[i].len);
		bars[n_bars].base = base;
		bars[n_bars++].len = size;
		if ((low & 6) == 4)
			bar++;
	}
}

void guest_main(void)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		uint32_t id = pci_read32(slot, 0);
		unsigned caps = 0;

		if (id == 0xffffffff) {
			for (unsigned reg = 0; reg < 256; reg += 4)
				expect_equal(pci_read32(slot, reg), 0xffffffff);
			continue;
		}
		if (!slot)
			printf("%u: class %06x (host bridge)\n", slot, pci_read32(slot, 8) >> 8);
		printf("%u: %04x:%04x class %06x, subsystem %08x\n", slot, id & 0xffff, id >> 16,
		       pci_read32(slot, 8) >> 8, pci_read32(slot, 0x2c));
		if (pci_read16(slot, 6) & 0x10)
			for (unsigned at = pci_read8(slot, 0x34); at;
			     at = pci_read8(slot, at + 1)) {
				expect(at >= 0x40 && at % 4 == 0);
				expect(++caps < 48);
			}
		/* Read-only registers stay what they are. */
		pci_write32(slot, 0, 0);
		expect_equal(pci_read32(slot, 0), id);
		look_at_bars(slot);
	}
	puts("absent slots read all ones\n");
}
