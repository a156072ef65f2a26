/* SPDX-License-Identifier: Apache-2.0 */
/* The power switches and the reset port. */
#include "devices/power/power.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/fake_irq.h"

enum { ACPI = 0x600, RESET = 0xcf9, GED_EVENTS = 2, PIN = 5, SLP_EN = 0x20 };

struct stops {
	unsigned off, reset;
};

static void count_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	struct stops *s = ctx;

	fuzz_check(reason == STOP_POWEROFF || reason == STOP_RESET);
	++*(reason == STOP_RESET ? &s->reset : &s->off);
}

void fuzz_one(struct fuzz_in *in)
{
	const struct device_ops *ops = &power_device_ops;
	struct stops stops = {0};
	struct fake_irq irq;
	struct power p;
	struct bus pio;

	bus_init(&pio, "pio");
	fake_irq_init(&irq);
	const struct irq_line ged = fake_irq_line(&irq, PIN);

	power_init(&p, &ged, &(struct stop_sink){count_stop, &stops});
	fuzz_check(!bus_add(&pio, ACPI, POWER_ACPI_PORTS, &power_acpi_io_ops, &p, "acpi"));
	fuzz_check(!bus_add(&pio, RESET, POWER_RESET_PORTS, &power_reset_io_ops, &p, "reset"));
	while (fuzz_more(in)) {
		struct stops before = stops;
		unsigned raised = fake_irq_raised(&irq, PIN);
		uint64_t val;

		switch (fuzz_u8(in) % 8) {
		case 0:
			/* An event and its edge, seen once. */
			power_button_press(&p);
			fuzz_check(fake_irq_raised(&irq, PIN) == raised + 1);
			bus_read(&pio, ACPI + GED_EVENTS, 1, &val);
			/* A state may have brought the other one. */
			fuzz_check((val & ~POWER_EVENT_HOTPLUG) == POWER_EVENT_BUTTON);
			bus_read(&pio, ACPI + GED_EVENTS, 1, &val);
			fuzz_check(!val);
			break;
		case 1:
			power_button_press(&p);
			power_hotplug_event(&p);
			fuzz_check(fake_irq_raised(&irq, PIN) == raised + 2);
			break;
		case 2:
			ops->reset(&p);
			break;
		case 3:
			fuzz_state(in, ops, &p, FUZZ_STATE_EXACT);
			break;
		case 4:
			fuzz_round_trip(ops, &p);
			break;
		case 5:
			bus_write(&pio, ACPI, 1, POWER_SLP_TYP_S5 << 2 | SLP_EN);
			fuzz_check(stops.off == before.off + 1);
			continue;
		case 6:
			fuzz_access(in, &pio, RESET - 8, POWER_RESET_PORTS + 16);
			fuzz_check(stops.off == before.off);
			continue;
		default:
			fuzz_access(in, &pio, ACPI - 8, POWER_ACPI_PORTS + 16);
			fuzz_check(stops.reset == before.reset);
			continue;
		}
		fuzz_check(stops.off == before.off && stops.reset == before.reset);
	}
	ops->fini(&p);
	fake_irq_fini(&irq);
	bus_fini(&pio);
}
