/* SPDX-License-Identifier: Apache-2.0 */
/* pci: enough of a bus walk for a guest of one page. */
#ifndef TESTS_GUEST_LIB_PCI_H
#define TESTS_GUEST_LIB_PCI_H

#include "guest.h"

enum { PCI_SLOTS = 32, PCI_NONE = 0xffff };

/* Configuration space by ECAM (MCFG says where), bus 0, function 0. */
uint8_t pci_read8(unsigned slot, unsigned reg);
uint16_t pci_read16(unsigned slot, unsigned reg);
uint32_t pci_read32(unsigned slot, unsigned reg);
void pci_write8(unsigned slot, unsigned reg, uint8_t v);
void pci_write16(unsigned slot, unsigned reg, uint16_t v);
void pci_write32(unsigned slot, unsigned reg, uint32_t v);

/* Offset of the first capability with this id after `after` (0: from the start); 0
 * when there is none. */
unsigned pci_capability(unsigned slot, uint8_t id, unsigned after);

/* Where a memory BAR is, made addressable. */
uint64_t pci_bar(unsigned slot, unsigned bar);
/* Its size, by writing all ones [PCI 3.0 6.2.5.1]; decoding must be off. */
uint64_t pci_bar_size(unsigned slot, unsigned bar);

#endif
