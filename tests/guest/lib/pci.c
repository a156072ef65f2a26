/* SPDX-License-Identifier: Apache-2.0 */
#include "pci.h"

enum {
	PCI_STATUS = 0x06,
	PCI_BAR0 = 0x10,
	PCI_CAPABILITIES = 0x34,
	STATUS_CAPABILITIES = 0x10,
};

static uint64_t config(unsigned slot, unsigned reg)
{
	static uint64_t ecam;

	if (!ecam) {
		const uint8_t *mcfg = acpi_table("MCFG");

		expect(mcfg);
		ecam = read64((uint64_t)mcfg + 44);
		map_high(ecam, 1 << 20);
	}
	return ecam + (slot << 15) + reg;
}

uint8_t pci_read8(unsigned slot, unsigned reg)
{
	return read8(config(slot, reg));
}

uint16_t pci_read16(unsigned slot, unsigned reg)
{
	return read16(config(slot, reg));
}

uint32_t pci_read32(unsigned slot, unsigned reg)
{
	return read32(config(slot, reg));
}

void pci_write8(unsigned slot, unsigned reg, uint8_t v)
{
	write8(config(slot, reg), v);
}

void pci_write16(unsigned slot, unsigned reg, uint16_t v)
{
	write16(config(slot, reg), v);
}

void pci_write32(unsigned slot, unsigned reg, uint32_t v)
{
	write32(config(slot, reg), v);
}

unsigned pci_capability(unsigned slot, uint8_t id, unsigned after)
{
	unsigned at = after ? pci_read8(slot, after + 1) : 0;

	if (!after && pci_read16(slot, PCI_STATUS) & STATUS_CAPABILITIES)
		at = pci_read8(slot, PCI_CAPABILITIES);
	for (unsigned n = 0; at && n < 48; n++, at = pci_read8(slot, at + 1))
		if (pci_read8(slot, at) == id)
			return at;
	return 0;
}

uint64_t pci_bar(unsigned slot, unsigned bar)
{
	unsigned reg = PCI_BAR0 + bar * 4;
	uint64_t low = pci_read32(slot, reg), addr = low & ~0xfull;

	expect(!(low & 1)); /* a memory BAR */
	if ((low & 6) == 4)
		addr |= (uint64_t)pci_read32(slot, reg + 4) << 32;
	expect(addr);
	map_high(addr, 4096);
	return addr;
}

uint64_t pci_bar_size(unsigned slot, unsigned bar)
{
	unsigned reg = PCI_BAR0 + bar * 4;
	uint32_t low = pci_read32(slot, reg), high;
	uint64_t mask;

	pci_write32(slot, reg, 0xffffffff);
	mask = pci_read32(slot, reg) & ~0xfu;
	pci_write32(slot, reg, low);
	if ((low & 6) != 4)
		return mask ? (uint32_t)~mask + 1ull : 0;
	high = pci_read32(slot, reg + 4);
	pci_write32(slot, reg + 4, 0xffffffff);
	mask |= (uint64_t)pci_read32(slot, reg + 4) << 32;
	pci_write32(slot, reg + 4, high);
	return ~mask + 1;
}
