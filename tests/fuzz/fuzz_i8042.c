/* SPDX-License-Identifier: Apache-2.0 */
/* The keyboard controller: it must reset the machine when asked, and for nothing else. */
#include "devices/ps2/i8042.h"
#include "tests/fuzz/lib/fuzz.h"

enum { BASE = 0x60, STATUS = 4, OBF = 1, PULSE_RESET = 0xfe };

static void count_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	fuzz_check(reason == STOP_RESET);
	++*(unsigned *)ctx;
}

void fuzz_one(struct fuzz_in *in)
{
	const struct device_ops *ops = &i8042_device_ops;
	unsigned resets = 0;
	struct i8042 k;
	struct bus pio;
	uint64_t val;

	bus_init(&pio, "pio");
	i8042_init(&k, &(struct stop_sink){count_stop, &resets});
	fuzz_check(!bus_add(&pio, BASE, I8042_PORTS, &i8042_io_ops, &k, "i8042"));
	while (fuzz_more(in)) {
		unsigned before = resets;

		switch (fuzz_u8(in) % 6) {
		case 0:
			ops->reset(&k);
			break;
		case 1:
			fuzz_state(in, ops, &k, FUZZ_STATE_EXACT);
			break;
		case 2:
			fuzz_round_trip(ops, &k);
			break;
		case 3:
			/* Everybody's last resort works whatever was said before. */
			bus_write(&pio, BASE + STATUS, 1, PULSE_RESET);
			fuzz_check(resets == before + 1);
			continue;
		case 4:
			/* Reading the data register empties it, whoever filled it. */
			bus_read(&pio, BASE, 1, &val);
			bus_read(&pio, BASE + STATUS, 1, &val);
			fuzz_check(!(val & OBF));
			break;
		default:
			fuzz_access(in, &pio, BASE - 8, I8042_PORTS + 16);
			continue;
		}
		fuzz_check(resets == before);
	}
	ops->fini(&k);
	bus_fini(&pio);
}
