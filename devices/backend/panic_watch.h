/* SPDX-License-Identifier: Apache-2.0 */
/*
 * panic_watch: notices on the guest's console that its kernel panicked.
 *
 * Linux says "Kernel panic - not syncing: REASON" and, with panic=-1, resets.
 * Whoever saw the line can tell that reset from a reboot.
 */
#ifndef DEVICES_BACKEND_PANIC_WATCH_H
#define DEVICES_BACKEND_PANIC_WATCH_H

#include "vmm/core/char_port.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PANIC_WATCH_LINE = 160 };

struct panic_watch {
	unsigned matched; /* characters of the phrase, in a row */
	_Atomic bool seen;
	bool line_done;
	_Atomic unsigned line_len;
	char line[PANIC_WATCH_LINE]; /* bytes below line_len never change */
	struct char_out next;        /* of the tap */
};

void panic_watch_init(struct panic_watch *w);

/* Read a piece of the output; pieces come one after the other (from any thread,
 * under the lock of whoever produces them) and may be cut anywhere. */
void panic_watch_feed(struct panic_watch *w, const uint8_t *bytes, size_t len);

/* Has the phrase gone by? Any thread. */
bool panic_watch_seen(const struct panic_watch *w);

/* Copy what followed the phrase in its line ("VFS: Unable to mount ..."), or as
 * much of it as has come so far, NUL-terminated and printable, into buf. Empty
 * if nothing was seen. Any thread. */
void panic_watch_line(const struct panic_watch *w, char *buf, size_t size);

/* A char_out that feeds the watch and passes everything on to `next` (copied).
 * The watch must outlive it. */
struct char_out panic_watch_tap(struct panic_watch *w, const struct char_out *next);

#endif
