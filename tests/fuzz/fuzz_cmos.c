/* SPDX-License-Identifier: Apache-2.0 */
/* The real-time clock under a guest that writes anything anywhere, and a host whose
 * clock jumps to any time there is. */
#include "devices/rtc/cmos.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/fake_clock.h"

enum { PORT = 0x70, INDEX = 0, DATA = 1, RAM_ONLY = 0x40, REG_B = 0x0b, B_BINARY = 4, B_24H = 2 };

static uint8_t get(struct bus *pio, uint8_t index)
{
	uint64_t val;

	bus_write(pio, PORT + INDEX, 1, index);
	bus_read(pio, PORT + DATA, 1, &val);
	return (uint8_t)val;
}

/* With the clock as the chip itself set it, what it shows is a time. */
static void check_time(struct bus *pio)
{
	uint8_t format = get(pio, REG_B) & (B_BINARY | B_24H);

	if (format != (B_BINARY | B_24H))
		return;
	fuzz_check(get(pio, 0) < 60 && get(pio, 2) < 60 && get(pio, 4) < 24);
	fuzz_check(get(pio, 7) - 1 < 31 && get(pio, 8) - 1 < 12 && get(pio, 9) < 100);
}

void fuzz_one(struct fuzz_in *in)
{
	const struct device_ops *ops = &cmos_device_ops;
	bool as_set = true;
	struct fake_clock hands;
	struct cmos c;
	struct bus pio;

	bus_init(&pio, "pio");
	fake_clock_init(&hands, 0, 1700000000ll * 1000000000);
	const struct clock clock = fake_clock_wire(&hands);

	cmos_init(&c, &clock);
	fuzz_check(!bus_add(&pio, PORT, CMOS_PORTS, &cmos_io_ops, &c, "cmos"));
	while (fuzz_more(in)) {
		uint8_t index;

		switch (fuzz_u8(in) % 8) {
		case 0:
			fake_clock_advance(&hands, fuzz_uint(in, 8));
			break;
		case 1:
			fake_clock_set_wall(&hands, (int64_t)fuzz_uint(in, 8));
			break;
		case 2:
			if (ops->reset)
				ops->reset(&c);
			break;
		case 3:
			fuzz_state(in, ops, &c, 0);
			as_set = false;
			break;
		case 4:
			fuzz_round_trip(ops, &c);
			break;
		case 5:
			/* RAM is RAM: what was stored is there. */
			index = RAM_ONLY + (uint8_t)fuzz_below(in, CMOS_RAM - RAM_ONLY);
			bus_write(&pio, PORT + INDEX, 1, index);
			bus_write(&pio, PORT + DATA, 1, index ^ 0x5a);
			fuzz_check(get(&pio, index) == (index ^ 0x5a));
			break;
		case 6:
			if (as_set)
				check_time(&pio);
			break;
		default:
			fuzz_access(in, &pio, PORT - 8, CMOS_PORTS + 16);
			as_set = false;
		}
	}
	ops->fini(&c);
	bus_fini(&pio);
}
