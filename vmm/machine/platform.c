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

static void on_new_generation(void *ctx)
{
	power_vmgenid_event(&((struct machine *)ctx)->power);
}

/* One row for each place where a chip answers. */
struct placement {
	bool absent;
	struct bus *bus;
	uint64_t base, len;
	const struct io_ops *ops;
	void *dev;
	const char *name;
};

static void make_uart(struct machine *m, unsigned i, unsigned gsi)
{
	struct irq_line irq = pin(m, gsi);
	struct char_out out = console_out(&m->consoles[i]);
	struct char_room room = console_room(&m->consoles[i]);

	uart16550_init(&m->uarts[i], &irq, &out, &room);
}

/* The registers that only say which one the next access is about. */
static void coalesce_indexes(struct machine *m)
{
	coalesced_add(&m->coalesced, false, LAYOUT_IOAPIC, sizeof(uint32_t));
	coalesced_add(&m->coalesced, true, LAYOUT_CMOS, 1);
}

int machine_make_platform(struct machine *m, struct err *e)
{
	struct msi msi = irqchip_msi(&m->irqchip);
	struct irq_line ged = pin(m, LAYOUT_GSI_GED);

	ioapic_init(&m->ioapic, &msi, LAYOUT_IOAPIC_ID, board_ioapic_pins(&m->board));
	make_uart(m, CONSOLE_SERIAL, LAYOUT_GSI_COM1);
	make_uart(m, CONSOLE_SERIAL2, LAYOUT_GSI_COM2);
	cmos_init(&m->cmos, &clock_host);
	i8042_init(&m->i8042, &m->stop);
	power_init(&m->power, &ged, &m->stop);
	pvpanic_init(&m->pvpanic, &m->stop);
	vmgenid_init(&m->vmgenid, &m->ram, LAYOUT_VMGENID,
		     &(struct vmgenid_wires){on_new_generation, m});
	m->exits.ioapic_eoi = on_eoi;
	m->exits.ioapic = &m->ioapic;

	const struct placement placements[] = {
		{false, &m->mmio, LAYOUT_IOAPIC, LAYOUT_IOAPIC_LEN, &ioapic_io_ops, &m->ioapic,
		 "ioapic"},
		{false, &m->pio, LAYOUT_CMOS, LAYOUT_CMOS_LEN, &cmos_io_ops, &m->cmos, "cmos"},
		{false, &m->pio, LAYOUT_I8042_DATA, I8042_PORTS, &i8042_io_ops, &m->i8042, "i8042"},
		{false, &m->pio, LAYOUT_ACPI_SLEEP, LAYOUT_ACPI_PORT_LEN, &power_acpi_io_ops,
		 &m->power, "power"},
		{false, &m->pio, LAYOUT_PVPANIC, LAYOUT_PVPANIC_LEN, &pvpanic_io_ops, &m->pvpanic,
		 "pvpanic"},
		{!m->board.serial, &m->pio, LAYOUT_COM1, LAYOUT_COM1_LEN, &uart16550_io_ops,
		 &m->uarts[CONSOLE_SERIAL], "com1"},
		{!m->board.serial2, &m->pio, LAYOUT_COM2, LAYOUT_COM2_LEN, &uart16550_io_ops,
		 &m->uarts[CONSOLE_SERIAL2], "com2"},
	};
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_LEN(placements) && !ret; i++) {
		const struct placement *p = &placements[i];

		if (p->absent)
			continue;
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
		ret = device_list_add(&m->devices, "vmgenid", &vmgenid_device_ops, &m->vmgenid);
	if (!ret)
		ret = device_list_add(&m->devices, "com1", &uart16550_device_ops,
				      &m->uarts[CONSOLE_SERIAL]);
	if (!ret && m->board.serial2)
		ret = device_list_add(&m->devices, "com2", &uart16550_device_ops,
				      &m->uarts[CONSOLE_SERIAL2]);
	if (ret)
		return err_host(e, ret, "the board's chips do not fit: %s", strerror(-ret));
	coalesce_indexes(m);
	/* One that is restored has the old one until its devices' state is here. */
	return m->saved.bytes ? 0 : vmgenid_create(&m->vmgenid, e);
}
