/* SPDX-License-Identifier: Apache-2.0 */
/* The PCI bus: the host bridge in slot 0, and the ways into configuration space.
 * Without PCI, what remains of its ports is the reset register among them. */
#include "vmm/machine/parts.h"

#include <string.h>

int machine_make_pci(struct machine *m, struct err *e)
{
	const struct pci_layout layout = {
		.ecam_base = LAYOUT_ECAM,
		.mmio32_base = LAYOUT_MMIO32,
		.mmio32_len = LAYOUT_MMIO32_LEN,
		.mmio64_base = m->board.mmio64,
		.mmio64_len = m->board.mmio64_len,
	};
	int ret;

	if (m->board.virtio_mmio) {
		ret = bus_add(&m->pio, LAYOUT_RESET, LAYOUT_RESET_LEN, &power_reset_io_ops,
			      &m->power, "reset");
		return ret ? err_host(e, ret, "the reset register: %s", strerror(-ret)) : 0;
	}
	ret = pci_host_init(&m->pci, &m->mmio, &layout);
	pci_conf1_init(&m->conf1, &m->pci, &power_reset_io_ops, &m->power);
	if (!ret)
		ret = bus_add(&m->pio, LAYOUT_PCI_CONF1, PCI_CONF1_PORTS, &pci_conf1_io_ops,
			      &m->conf1, "pci-conf1");
	if (!ret)
		ret = device_list_add(&m->devices, "pci", &pci_host_device_ops, &m->pci);
	if (!ret)
		ret = device_list_add(&m->devices, "pci-conf1", &pci_conf1_device_ops, &m->conf1);
	if (ret)
		return err_host(e, ret, "the PCI host bridge: %s", strerror(-ret));
	return 0;
}
