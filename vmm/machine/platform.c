/* SPDX-License-Identifier: Apache-2.0 */
/* The chips of the board, each on its bus and with its wires. */
#include "vmm/base/bytes.h"
#include "vmm/core/clock.h"
#include "vmm/machine/parts.h"

#include <string.h>

static struct irq_line pin(struct machine *m, unsigned gsi)
{
	return (struct irq_line){ioapic_set, &m->ioapic, gsi};
}

static void on_eoi(void *ioapic, uint8_t vector)
{
	ioapic_eoi(ioapic, vector);
}

/* One row for each place where a chip answers. */
struct placement {
	struct bus *bus;
	uint64_t base, len;
	const struct io_ops *ops;
	void *dev;
	const char *name;
};

int machine_make_platform(struct machine *m, struct err *e)
{
	struct msi msi = irqchip_msi(&m->irqchip);
	struct irq_line com1 = pin(m, LAYOUT_GSI_COM1), ged = pin(m, LAYOUT_GSI_GED);
	struct char_out out = console_out(&m->console);
	struct char_room room = console_room(&m->console);

	ioapic_init(&m->ioapic, &msi, LAYOUT_IOAPIC_ID, board_ioapic_pins(&m->board));
	uart16550_init(&m->uart, &com1, &out, &room);
	cmos_init(&m->cmos, &clock_host);
	i8042_init(&m->i8042, &m->stop);
	power_init(&m->power, &ged, &m->stop);
	m->exits.ioapic_eoi = on_eoi;
	m->exits.ioapic = &m->ioapic;

	const struct placement placements[] = {
		{&m->mmio, LAYOUT_IOAPIC, LAYOUT_IOAPIC_LEN, &ioapic_io_ops, &m->ioapic, "ioapic"},
		{&m->pio, LAYOUT_CMOS, LAYOUT_CMOS_LEN, &cmos_io_ops, &m->cmos, "cmos"},
		{&m->pio, LAYOUT_I8042_DATA, I8042_PORTS, &i8042_io_ops, &m->i8042, "i8042"},
		{&m->pio, LAYOUT_ACPI_SLEEP, LAYOUT_ACPI_PORT_LEN, &power_acpi_io_ops, &m->power,
		 "power"},
		{&m->pio, LAYOUT_COM1, LAYOUT_COM1_LEN, &uart16550_io_ops, &m->uart, "com1"},
	};
	/* Without a serial port the last row is nobody's. */
	unsigned n = ARRAY_LEN(placements) - !m->board.serial;
	int ret = 0;

	for (unsigned i = 0; i < n && !ret; i++) {
		const struct placement *p = &placements[i];

		ret = bus_add(p->bus, p->base, p->len, p->ops, p->dev, p->name);
	}
	if (!ret)
		ret = device_list_add(&m->devices, "ioapic", &ioapic_device_ops, &m->ioapic);
	if (!ret)
		ret = device_list_add(&m->devices, "cmos", &cmos_device_ops, &m->cmos);
	if (!ret)
		ret = device_list_add(&m->devices, "i8042", &i8042_device_ops, &m->i8042);
	if (!ret)
		ret = device_list_add(&m->devices, "power", &power_device_ops, &m->power);
	if (!ret)
		ret = device_list_add(&m->devices, "com1", &uart16550_device_ops, &m->uart);
	if (ret)
		return err_host(e, ret, "the board's chips do not fit: %s", strerror(-ret));
	return 0;
}
