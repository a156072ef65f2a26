/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI host with two functions: configuration space by both mechanisms, BARs that
 * the guest moves anywhere, and MSI-X. After each step the MMIO bus must show exactly
 * what the configuration spaces say.
 */
#include "devices/pci/conf1.h"
#include "devices/pci/host.h"
#include "devices/pci/msix.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/fake_irq.h"
#include "vmm/base/bytes.h"

#include <stdlib.h>
#include <string.h>

enum { FUNCTIONS = 2, VECTORS = 3, TABLE = 0x800, PBA = 0xc00, CONF1 = 0xcf8, SLOT_LEN = 0x8000 };

static const struct pci_layout layout = {
	.ecam_base = 0xe8000000,
	.mmio32_base = 0xc0000000,
	.mmio32_len = 2 * MiB,
	.mmio64_base = 64 * GiB,
	.mmio64_len = 4 * MiB,
};

struct function {
	struct pci_dev pci;
	struct msix msix; /* the first one's */
	struct rig *rig;
	uint64_t last_off; /* of the last access to a BAR */
	const struct io_ops *last_ops;
};

struct rig {
	struct bus mmio, pio;
	struct pci_host host;
	struct pci_conf1 conf1;
	struct fake_msi msi;
	struct function f[FUNCTIONS];
};

/* --- the functions ------------------------------------------------------------------ */

static uint64_t regs_read(void *dev, uint64_t off, unsigned size);
static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t val);
static const struct io_ops regs_ops = {regs_read, regs_write};

static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
	struct function *f = dev;

	f->last_off = off;
	f->last_ops = &regs_ops;
	if (f == f->rig->f && off >= TABLE && off < PBA)
		return msix_table_read(&f->msix, off - TABLE, size);
	return f == f->rig->f && off >= PBA ? msix_pba_read(&f->msix, off - PBA, size) : 0;
}

static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct function *f = dev;

	if (f == f->rig->f && off >= TABLE && off < PBA)
		msix_table_write(&f->msix, off - TABLE, size, val);
}

static void written(void *dev, unsigned off, unsigned size)
{
	struct function *f = dev;

	fuzz_check(off + size <= PCI_CONFIG_LEN);
	if (f == f->rig->f)
		msix_config_written(&f->msix, off, size);
}

static const struct pci_dev_ops function_ops = {.config_written = written};

static void build(struct rig *r)
{
	const struct pci_ids ids = {.vendor = 0x1af4, .device = 0x1041, .class_code = 0xff00};
	const struct msi msi = fake_msi_wire(&r->msi);

	fuzz_check(!pci_host_init(&r->host, &r->mmio, &layout));
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		struct function *f = &r->f[i];

		f->rig = r;
		pci_dev_init(&f->pci, &ids, &function_ops, f, i ? "second" : "first");
	}
	fuzz_check(!pci_dev_add_bar(&r->f[0].pci, 0, 0x1000, false, &regs_ops));
	fuzz_check(!pci_dev_add_bar(&r->f[0].pci, 2, 0x4000, true, &regs_ops));
	fuzz_check(!pci_dev_add_bar(&r->f[1].pci, 0, 1 * MiB, true, &regs_ops));
	fuzz_check(!pci_dev_add_bar(&r->f[1].pci, 5, 16, false, &regs_ops));
	fuzz_check(!msix_init(&r->f[0].msix, &r->f[0].pci, VECTORS, 0, TABLE, PBA, &msi));
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		pci_dev_seal(&r->f[i].pci);
		fuzz_check(pci_host_add(&r->host, -1, &r->f[i].pci) == (int)i + 1);
	}
	fuzz_check(!pci_host_assign(&r->host, NULL));
}

/* --- what has to hold ------------------------------------------------------------------ */

static bool in_window(uint64_t base, uint64_t len)
{
	return (base >= layout.mmio32_base &&
		range_within(base - layout.mmio32_base, len, layout.mmio32_len)) ||
	       (base >= layout.mmio64_base &&
		range_within(base - layout.mmio64_base, len, layout.mmio64_len));
}

static unsigned check_bars(struct rig *r, struct function *f)
{
	unsigned mapped = 0;
	uint64_t val;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *b = &f->pci.bars[i];

		if (!b->mapped)
			continue;
		mapped++;
		fuzz_check(pci_bar_enabled(&f->pci, i) && in_window(b->mapped, b->size));
		fuzz_check(b->mapped == pci_bar_address(&f->pci, i));
		f->last_ops = NULL;
		fuzz_check(bus_read(&r->mmio, b->mapped + 8, 4, &val));
		fuzz_check(f->last_ops == b->ops && f->last_off == 8);
	}
	return mapped;
}

static void check(struct rig *r)
{
	unsigned mapped = 0;

	for (unsigned i = 0; i < FUNCTIONS; i++) {
		struct pci_dev *d = &r->f[i].pci;

		for (unsigned at = 0; at < PCI_CONFIG_LEN; at++)
			fuzz_check(!((d->config[at] ^ d->power_on[at]) & ~d->writable[at]));
		mapped += check_bars(r, &r->f[i]);
	}
	fuzz_check(r->mmio.n == 1 + mapped); /* and ECAM */
	fuzz_check(!r->msi.lost);
}

/* Both mechanisms show the same register. */
static void check_conf1(struct rig *r, unsigned slot, unsigned reg)
{
	uint64_t one, other;

	bus_write(&r->pio, CONF1, 4, 1u << 31 | slot << 11 | reg);
	bus_read(&r->pio, CONF1 + 4, 4, &one);
	bus_read(&r->mmio, layout.ecam_base + slot * SLOT_LEN + reg, 4, &other);
	fuzz_check(one == other);
}

/* A message leaves exactly if nothing masks it. */
static void notify(struct rig *r, unsigned vector)
{
	struct msix *m = &r->f[0].msix;
	unsigned before = fake_msi_delivered(&r->msi);
	bool fires =
		vector < VECTORS && m->enabled && !m->function_masked && !m->vectors[vector].masked;

	msix_notify(m, vector);
	fuzz_check(fake_msi_delivered(&r->msi) == before + fires);
	if (fires)
		fuzz_check(fake_msi_last(&r->msi).data == m->vectors[vector].data);
}

static uint64_t reset_read(void *dev, uint64_t off, unsigned size)
{
	fuzz_check(!off && size == 1);
	return 0;
}

static void reset_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	fuzz_check(!off && size == 1);
}

static const struct io_ops reset_ops = {reset_read, reset_write};

static void step(struct fuzz_in *in, struct rig *r)
{
	uint8_t op = fuzz_u8(in);
	unsigned slot = op >> 4 & 3;
	struct pci_dev *d = slot == 1 || slot == 2 ? &r->f[slot - 1].pci : NULL;
	struct pci_bar *b;

	switch (op % 8) {
	case 0:
		fuzz_access(in, &r->mmio, layout.ecam_base - 8, PCI_ECAM_LEN + 16);
		break;
	case 1:
		fuzz_access(in, &r->mmio, layout.ecam_base + slot * SLOT_LEN, PCI_CONFIG_LEN + 8);
		break;
	case 2:
		fuzz_access(in, &r->pio, CONF1 - 4, PCI_CONF1_PORTS + 8);
		break;
	case 3:
		check_conf1(r, op >> 3, (unsigned)fuzz_below(in, 64) * 4);
		break;
	case 4:
		notify(r, op >> 4 & 3);
		break;
	case 5:
		b = &r->f[op >> 4 & 1].pci.bars[(op >> 5) % PCI_BARS];
		if (b->mapped)
			fuzz_access(in, &r->mmio, b->mapped, b->size + 8);
		break;
	case 6:
		fuzz_state(in, &pci_host_device_ops, &r->host, FUZZ_STATE_EXACT);
		break;
	default:
		if (!(op & 0x80)) {
			fuzz_access(in, &r->mmio, layout.ecam_base + slot * SLOT_LEN, 0x40);
		} else if (d) {
			pci_host_reset(d);
			msix_reset(&r->f[0].msix);
			if (op & 0x40)
				pci_host_reset(&r->f[0].pci);
		}
	}
}

void fuzz_one(struct fuzz_in *in)
{
	struct rig *r = calloc(1, sizeof(*r));

	fuzz_check(r);
	bus_init(&r->mmio, "mmio");
	bus_init(&r->pio, "pio");
	fake_msi_init(&r->msi);
	build(r);
	pci_conf1_init(&r->conf1, &r->host, &reset_ops, r);
	fuzz_check(
		!bus_add(&r->pio, CONF1, PCI_CONF1_PORTS, &pci_conf1_io_ops, &r->conf1, "conf1"));
	while (fuzz_more(in)) {
		step(in, r);
		check(r);
	}
	for (unsigned i = 0; i < FUNCTIONS; i++)
		pci_host_remove(&r->f[i].pci);
	msix_fini(&r->f[0].msix);
	pci_host_fini(&r->host);
	fuzz_check(!r->mmio.n && !fake_msi_routes(&r->msi));
	fake_msi_fini(&r->msi);
	bus_fini(&r->pio);
	bus_fini(&r->mmio);
	free(r);
}
