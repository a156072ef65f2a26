/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port: a hostile driver on one side, a host that types on the other, and
 * the watch for panics that reads along. */
#include "devices/backend/phrase_watch.h"
#include "devices/serial/uart16550.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/fake_irq.h"

#include <string.h>

#define PHRASE "Kernel panic"

enum { COM1 = 0x3f8, PIN = 4, IIR = 2, IIR_NO_INTERRUPT = 1 };

struct wires {
	struct fake_irq irq;
	unsigned rooms;
	uint8_t sent[4096];
	size_t n_sent;
};

static void keep_sent(void *ctx, const uint8_t *bytes, size_t len)
{
	struct wires *w = ctx;

	fuzz_check(len == 1);
	if (w->n_sent < sizeof(w->sent))
		w->sent[w->n_sent++] = *bytes;
}

static void count_room(void *ctx)
{
	((struct wires *)ctx)->rooms++;
}

static void receive(struct fuzz_in *in, struct uart16550 *u)
{
	const uint8_t *bytes;
	size_t len = fuzz_bytes(in, fuzz_u8(in) % 24, &bytes);

	fuzz_check(uart16550_receive(u, bytes, len) <= len);
}

static void check_watch(const struct phrase_watch *w, const struct wires *wires)
{
	char line[PHRASE_WATCH_LINE + 1];

	if (wires->n_sent < sizeof(wires->sent))
		fuzz_check(phrase_watch_seen(w) ==
			   !!memmem(wires->sent, wires->n_sent, PHRASE, strlen(PHRASE)));

	phrase_watch_line(w, line, sizeof(line));
	fuzz_check(phrase_watch_seen(w) || !*line);
	for (const char *c = line; *c; c++)
		fuzz_check(*c >= ' ' && *c <= '~');
}

void fuzz_one(struct fuzz_in *in)
{
	const struct device_ops *ops = &uart16550_device_ops;
	struct wires w;
	struct phrase_watch watch;
	bool loaded = false;
	struct uart16550 u;
	struct bus pio;

	memset(&w, 0, sizeof(w));
	bus_init(&pio, "pio");
	fake_irq_init(&w.irq);
	const struct irq_line line = fake_irq_line(&w.irq, PIN);
	const struct char_out end = {keep_sent, &w};

	phrase_watch_init(&watch, PHRASE);
	const struct char_out tap = phrase_watch_tap(&watch, &end);

	uart16550_init(&u, &line, &tap, &(struct char_room){count_room, &w});
	fuzz_check(!bus_add(&pio, COM1, UART16550_PORTS, &uart16550_io_ops, &u, "com1"));
	while (fuzz_more(in)) {
		bool up = u.line;
		const uint8_t *text;
		uint64_t val;
		size_t len;

		switch (fuzz_u8(in) % 8) {
		case 0:
			receive(in, &u);
			break;
		case 1:
			uart16550_receive_break(&u);
			break;
		case 2:
			/* The line is up exactly while IIR has something to show. */
			bus_read(&pio, COM1 + IIR, 1, &val);
			fuzz_check(up == !(val & IIR_NO_INTERRUPT));
			break;
		case 3:
			ops->reset(&u);
			fuzz_check(!u.line);
			break;
		case 4:
			fuzz_state(in, ops, &u, FUZZ_STATE_EXACT);
			loaded = true;
			break;
		case 5:
			fuzz_round_trip(ops, &u);
			loaded = true;
			break;
		case 6:
			len = fuzz_bytes(in, fuzz_u8(in), &text);
			for (size_t i = 0; i < len; i++)
				bus_write(&pio, COM1, 1, text[i]);
			break;
		default:
			fuzz_access(in, &pio, COM1 - 8, UART16550_PORTS + 16);
		}
		fuzz_check(u.n_rx <= UART16550_FIFO);
		/* Loading does not move the line: its level is the I/O APIC's state, too. */
		fuzz_check(loaded || u.line == fake_irq_level(&w.irq, PIN));
	}
	check_watch(&watch, &w);
	ops->fini(&u);
	fake_irq_fini(&w.irq);
	bus_fini(&pio);
}
