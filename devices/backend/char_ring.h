/* SPDX-License-Identifier: Apache-2.0 */
/*
 * char_ring: console output that waits for its reader, with a bound.
 *
 * When it is full the oldest byte goes, never the newest: the last lines before a
 * crash are what everybody wants. All that was dropped since the last piece was
 * taken lies before the ring's oldest byte: one counter and one mark say it all.
 *
 * Not locked: its owner has a lock.
 */
#ifndef DEVICES_BACKEND_CHAR_RING_H
#define DEVICES_BACKEND_CHAR_RING_H

#include <stddef.h>
#include <stdint.h>

enum {
	CHAR_RING = 256 * 1024, /* bytes that may wait */
	CHAR_MARK_MAX = 96,     /* "[minivmm: N bytes of console output dropped]" */
};

struct char_ring {
	uint8_t *bytes;      /* owned; its pages come as they are first used */
	uint64_t head, tail; /* head - tail bytes wait */
	uint64_t dropped;    /* since the last mark */
	uint64_t lost;       /* in all */
};

/* 0 or a negative errno. fini is fine on zeroes. */
int char_ring_init(struct char_ring *r);
void char_ring_fini(struct char_ring *r);

static inline size_t char_ring_waiting(const struct char_ring *r)
{
	return r->head - r->tail;
}

/* Put bytes behind those that wait; what does not fit goes from the front. */
void char_ring_append(struct char_ring *r, const uint8_t *bytes, size_t len);

/* Take up to `len` bytes from the front. */
size_t char_ring_take(struct char_ring *r, uint8_t *to, size_t len);

/* Write the mark for what was dropped, if something was, to `to` (CHAR_MARK_MAX bytes)
 * and begin to count anew: its length, or 0. `eol` is "\r\n" for a raw terminal. */
size_t char_ring_mark(struct char_ring *r, uint8_t *to, const char *eol);

/* `n` bytes that had been taken will reach nobody. */
void char_ring_lose(struct char_ring *r, uint64_t n);

/* There will be no reader any more: drop all. */
void char_ring_forget(struct char_ring *r);

#endif
