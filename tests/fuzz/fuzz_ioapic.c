/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O APIC between pins that move, a guest that programs it, and end-of-interrupt
 * messages that come for anything. */
#include "devices/irq/ioapic.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/fake_irq.h"

#include <errno.h>

#define BASE       0xfec00000ull
#define REMOTE_IRR (1ull << 14)
#define LEVEL      (1ull << 15)
#define MASKED     (1ull << 16)

enum { WINDOW = 0x10, RTE_FIRST = 0x10, PINS = 48 };

/* What the guest reads back of a pin. */
static uint64_t read_rte(struct bus *mmio, unsigned pin)
{
	uint64_t lo, hi;

	bus_write(mmio, BASE, 4, RTE_FIRST + 2 * pin);
	bus_read(mmio, BASE + WINDOW, 4, &lo);
	bus_write(mmio, BASE, 4, RTE_FIRST + 2 * pin + 1);
	bus_read(mmio, BASE + WINDOW, 4, &hi);
	return hi << 32 | lo;
}

/* No interrupt is forgotten, and the host knows the message of every pin that may send
 * one: its EOI would be lost otherwise. */
static void check(struct ioapic *a, struct bus *mmio, struct fake_msi *msi)
{
	uint8_t select = a->ioregsel;

	for (unsigned pin = 0; pin < PINS; pin++) {
		uint64_t rte = read_rte(mmio, pin);
		bool up = a->lines >> pin & 1;

		fuzz_check(rte & LEVEL || !(rte & REMOTE_IRR));
		if (rte & MASKED)
			continue;
		fuzz_check(!(rte & LEVEL) || !up || rte & REMOTE_IRR);
		fuzz_check(rte & LEVEL || !(a->edges >> pin & 1));
		fuzz_check(msi->pins[pin].set && msi->pins[pin].level == !!(rte & LEVEL));
		fuzz_check((msi->pins[pin].msg.data & 0xff) == (rte & 0xff));
		fuzz_check((msi->pins[pin].msg.addr >> 12 & 0xff) == rte >> 56);
	}
	bus_write(mmio, BASE, 4, select);
}

void fuzz_one(struct fuzz_in *in)
{
	const struct device_ops *ops = &ioapic_device_ops;
	struct fake_msi fake;
	struct ioapic a;
	struct bus mmio;

	bus_init(&mmio, "mmio");
	fake_msi_init(&fake);
	const struct msi msi = fake_msi_wire(&fake);

	ioapic_init(&a, &msi, 0, PINS);
	fuzz_check(!bus_add(&mmio, BASE, IOAPIC_MMIO_LEN, &ioapic_io_ops, &a, "ioapic"));
	while (fuzz_more(in)) {
		uint8_t op = fuzz_u8(in);

		fake.fail_send = op & 0x80 ? -EINVAL : 0;
		switch (op % 8) {
		case 0:
			ioapic_set(&a, (unsigned)fuzz_below(in, PINS + 8), op & 0x40);
			break;
		case 1:
			ioapic_eoi(&a, fuzz_u8(in));
			break;
		case 2:
			ops->reset(&a);
			break;
		case 3:
			fuzz_state(in, ops, &a, FUZZ_STATE_EXACT);
			ops->resume(&a);
			break;
		case 4:
			fuzz_round_trip(ops, &a);
			ops->resume(&a);
			break;
		case 5:
			bus_write(&mmio, BASE, 1, RTE_FIRST + fuzz_u8(in) % (2 * PINS));
			bus_write(&mmio, BASE + WINDOW, 4, fuzz_u32(in));
			break;
		default:
			fuzz_access(in, &mmio, BASE - 8, op & 0x20 ? 0x60 : IOAPIC_MMIO_LEN + 16);
		}
		check(&a, &mmio, &fake);
	}
	ops->fini(&a);
	fake_msi_fini(&fake);
	bus_fini(&mmio);
}
