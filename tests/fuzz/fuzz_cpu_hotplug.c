/* SPDX-License-Identifier: Apache-2.0 */
/* The processors' registers: whatever a guest writes, the first stays, none goes that is not there,
 * and each goes once. */
#include "devices/cpu/hotplug.h"
#include "tests/fuzz/lib/fuzz.h"

enum { PORTS = 0x620, MAX = 20, START = 3, EJECT = 24 };

struct rig {
	struct bus pio;
	struct cpu_hotplug h;
	uint64_t here; /* as far as its owner knows */
	unsigned events, changes;
};

static void on_event(void *ctx)
{
	((struct rig *)ctx)->events++;
}

static void on_ejected(void *ctx, unsigned cpu)
{
	struct rig *r = ctx;

	fuzz_check(cpu && cpu < MAX && r->here & 1ull << cpu);
	r->here &= ~(1ull << cpu);
}

static void on_changed(void *ctx, struct cpu_hotplug_count now)
{
	fuzz_check(now.has && now.has <= MAX && now.target && now.target <= MAX);
	((struct rig *)ctx)->changes++;
}

static void want(struct rig *r, unsigned n)
{
	uint64_t come = cpu_hotplug_missing(&r->h, n);

	fuzz_check(come == (((1ull << n) - 1) & ~r->here));
	cpu_hotplug_want(&r->h, n);
	r->here |= come;
	fuzz_check(cpu_hotplug_count(&r->h).target == n);
}

static void check(struct rig *r)
{
	struct cpu_hotplug_count c = cpu_hotplug_count(&r->h);
	uint64_t val;

	fuzz_check(cpu_hotplug_here(&r->h) == r->here && r->here & 1 && r->here < 1ull << MAX);
	fuzz_check(c.has && c.has <= (unsigned)__builtin_popcountll(r->here));
	fuzz_check(c.target && c.target <= MAX);
	fuzz_check(bus_read(&r->pio, PORTS, 8, &val) && val == r->here);
}

void fuzz_one(struct fuzz_in *in)
{
	const struct device_ops *ops = &cpu_hotplug_device_ops;
	static struct rig rig;
	struct rig *r = &rig;
	const struct cpu_hotplug_wires wires = {on_event, on_ejected, on_changed, r};
	unsigned asked = 1;

	*r = (struct rig){.here = (1ull << START) - 1};
	bus_init(&r->pio, "pio");
	cpu_hotplug_init(&r->h, START, MAX, &wires);
	fuzz_check(!bus_add(&r->pio, PORTS, CPU_HOTPLUG_PORTS, &cpu_hotplug_io_ops, &r->h, "cpus"));
	while (fuzz_more(in)) {
		switch (fuzz_u8(in) % 7) {
		case 0:
			want(r, 1 + (unsigned)fuzz_below(in, MAX));
			asked++;
			break;
		case 1:
			bus_write(&r->pio, PORTS + EJECT, 1, fuzz_below(in, MAX + 2));
			break;
		case 2: /* _OST of all of it */
			bus_write(&r->pio, PORTS + EJECT, 4,
				  (fuzz_below(in, MAX + 2) << 24) | fuzz_below(in, 2) << 23 |
					  fuzz_below(in, 5) << 8 | 0xff);
			break;
		case 3:
			fuzz_state(in, ops, &r->h, FUZZ_STATE_EXACT);
			r->here = cpu_hotplug_here(&r->h);
			break;
		case 4:
			fuzz_round_trip(ops, &r->h);
			break;
		case 5:
			ops->reset(&r->h);
			break;
		default:
			fuzz_access(in, &r->pio, PORTS - 8, CPU_HOTPLUG_PORTS + 16);
		}
		check(r);
	}
	/* An edge for each wish, at most. */
	fuzz_check(r->events <= asked);
	ops->fini(&r->h);
	bus_fini(&r->pio);
}
