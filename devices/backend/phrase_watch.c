/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One counter is the whole matcher. The phrase's first letter occurs in it only
 * once, so a mismatch can only begin a new match with the very character that
 * did not fit: no table of prefixes, nothing to go back to.
 *
 * The line is kept in a buffer that only grows: a byte is stored before
 * line_len counts it (release; pairs with the acquire in phrase_watch_line), so
 * readers need no lock. Only the first time counts; the second is its echo.
 */
#include "devices/backend/phrase_watch.h"

#include <assert.h>
#include <string.h>

void phrase_watch_init(struct phrase_watch *w, const char *phrase)
{
	memset(w, 0, sizeof(*w));
	assert(*phrase && !strchr(phrase + 1, *phrase));
	w->phrase = phrase;
}

void phrase_watch_renew(struct phrase_watch *w)
{
	w->matched = 0;
	w->line_done = false;
	atomic_store(&w->line_len, 0);
	atomic_store(&w->seen, false);
}

static void keep(struct phrase_watch *w, uint8_t c)
{
	unsigned n = atomic_load_explicit(&w->line_len, memory_order_relaxed);

	if (c == '\n' || c == '\r' || n == PHRASE_WATCH_LINE) {
		w->line_done = true;
		return;
	}
	if (!n && (c == ':' || c == ' '))
		return;
	/* It will be shown on a person's terminal. */
	w->line[n] = c >= ' ' && c < 0x7f ? (char)c : '?';
	atomic_store_explicit(&w->line_len, n + 1, memory_order_release);
}

void phrase_watch_notify(struct phrase_watch *w, void (*told)(void *ctx, const char *line),
			 void *ctx)
{
	w->told = told;
	w->told_ctx = ctx;
}

static void notify(struct phrase_watch *w)
{
	char line[PHRASE_WATCH_LINE + 1];

	phrase_watch_line(w, line, sizeof(line));
	w->told(w->told_ctx, line);
}

void phrase_watch_feed(struct phrase_watch *w, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len && !w->line_done; i++) {
		if (!w->phrase[w->matched])
			keep(w, bytes[i]);
		else if (bytes[i] == (uint8_t)w->phrase[w->matched])
			w->matched++;
		else
			w->matched = bytes[i] == (uint8_t)w->phrase[0];
		if (!w->phrase[w->matched])
			atomic_store_explicit(&w->seen, true, memory_order_release);
		if (w->line_done && w->told)
			notify(w);
	}
}

bool phrase_watch_seen(const struct phrase_watch *w)
{
	return atomic_load_explicit(&w->seen, memory_order_acquire);
}

void phrase_watch_line(const struct phrase_watch *w, char *buf, size_t size)
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
	struct phrase_watch *w = ctx;

	phrase_watch_feed(w, bytes, len);
	if (w->next.send)
		w->next.send(w->next.ctx, bytes, len);
}

struct char_out phrase_watch_tap(struct phrase_watch *w, const struct char_out *next)
{
	w->next = *next;
	return (struct char_out){tap_send, w};
}
