/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One counter is the whole matcher. The phrase's first letter occurs in it only
 * once, so a mismatch can only begin a new match with the very character that
 * did not fit: no table of prefixes, nothing to go back to.
 *
 * The line is kept in a buffer that only grows: a byte is stored before
 * line_len counts it (release; pairs with the acquire in panic_watch_line), so
 * readers need no lock. Only the first panic counts; the second is its echo.
 */
#include "devices/backend/panic_watch.h"

#include <string.h>

static const char phrase[] = "Kernel panic - not syncing";

enum { PHRASE_LEN = sizeof(phrase) - 1 };

void panic_watch_init(struct panic_watch *w)
{
	memset(w, 0, sizeof(*w));
}

static void keep(struct panic_watch *w, uint8_t c)
{
	unsigned n = atomic_load_explicit(&w->line_len, memory_order_relaxed);

	if (c == '\n' || c == '\r' || n == PANIC_WATCH_LINE) {
		w->line_done = true;
		return;
	}
	if (!n && (c == ':' || c == ' '))
		return;
	/* It will be shown on a person's terminal. */
	w->line[n] = c >= ' ' && c < 0x7f ? (char)c : '?';
	atomic_store_explicit(&w->line_len, n + 1, memory_order_release);
}

void panic_watch_feed(struct panic_watch *w, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len && !w->line_done; i++) {
		if (w->matched == PHRASE_LEN)
			keep(w, bytes[i]);
		else if (bytes[i] == (uint8_t)phrase[w->matched])
			w->matched++;
		else
			w->matched = bytes[i] == (uint8_t)phrase[0];
		if (w->matched == PHRASE_LEN)
			atomic_store_explicit(&w->seen, true, memory_order_release);
	}
}

bool panic_watch_seen(const struct panic_watch *w)
{
	return atomic_load_explicit(&w->seen, memory_order_acquire);
}

void panic_watch_line(const struct panic_watch *w, char *buf, size_t size)
{
	size_t n = atomic_load_explicit(&w->line_len, memory_order_acquire);

	if (!size)
		return;
	if (n > size - 1)
		n = size - 1;
	memcpy(buf, w->line, n);
	while (n && buf[n - 1] == ' ')
		n--;
	buf[n] = '\0';
}

static void tap_send(void *ctx, const uint8_t *bytes, size_t len)
{
	struct panic_watch *w = ctx;

	panic_watch_feed(w, bytes, len);
	if (w->next.send)
		w->next.send(w->next.ctx, bytes, len);
}

struct char_out panic_watch_tap(struct panic_watch *w, const struct char_out *next)
{
	w->next = *next;
	return (struct char_out){tap_send, w};
}
