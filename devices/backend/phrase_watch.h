/* SPDX-License-Identifier: Apache-2.0 */
/*
 * phrase_watch: notices a phrase in the guest's console output, and keeps the rest
 * of its line.
 *
 * At the pins of a machine a panic and a reboot look alike: Linux says "Kernel panic
 * - not syncing: REASON" and, with panic=-1, resets; and after "reboot: Restarting
 * system" it may well choose a triple fault. Whoever saw the line can tell.
 */
#ifndef DEVICES_BACKEND_PHRASE_WATCH_H
#define DEVICES_BACKEND_PHRASE_WATCH_H

#include "vmm/core/char_port.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PHRASE_WATCH_LINE = 160 };

struct phrase_watch {
	const char *phrase;
	unsigned matched; /* characters of the phrase, in a row */
	_Atomic bool seen;
	bool line_done;
	_Atomic unsigned line_len;
	char line[PHRASE_WATCH_LINE]; /* bytes below line_len never change */
	struct char_out next;         /* of the tap */
	void (*told)(void *ctx, const char *line);
	void *told_ctx;
};

/* `phrase` is borrowed; its first character occurs in it only once. */
void phrase_watch_init(struct phrase_watch *w, const char *phrase);

/* As if it had seen nothing yet; while nothing is fed. */
void phrase_watch_renew(struct phrase_watch *w);

/* Read a piece of the output; pieces come one after the other (from any thread,
 * under the lock of whoever produces them) and may be cut anywhere. */
void phrase_watch_feed(struct phrase_watch *w, const uint8_t *bytes, size_t len);

/* Call `told` once the line with the phrase is complete, with what followed the phrase, as
 * phrase_watch_line() has it: on the thread that feeds, under its lock, so it must not wait.
 * Before the first feed. */
void phrase_watch_notify(struct phrase_watch *w, void (*told)(void *ctx, const char *line),
			 void *ctx);

/* Has the phrase gone by? Any thread. */
bool phrase_watch_seen(const struct phrase_watch *w);

/* Copy what followed the phrase in its line ("VFS: Unable to mount ..."), or as
 * much of it as has come so far, NUL-terminated and printable, into buf. Empty
 * if nothing was seen. Any thread. */
void phrase_watch_line(const struct phrase_watch *w, char *buf, size_t size);

/* A char_out that feeds the watch and passes everything on to `next` (copied).
 * The watch must outlive it. */
struct char_out phrase_watch_tap(struct phrase_watch *w, const struct char_out *next);

#endif
