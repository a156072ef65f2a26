/* SPDX-License-Identifier: Apache-2.0 */
/* terminal_rig: a terminal with a guest behind it, which takes what is typed, and a pty for it
 * to be on. */
#ifndef TESTS_LIB_TERMINAL_RIG_H
#define TESTS_LIB_TERMINAL_RIG_H

#include "devices/backend/terminal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TERMINAL_RIG_PATIENCE_MS = 10000 };

/* The console takes `appetite` bytes at a time, at first any number. What a key does is counted; a
 * break is a `!` among the bytes, too, or a fault if the guest `faults`. */
struct terminal_rig {
	struct loop *loop;
	struct terminal *t;
	struct char_room room;
	size_t appetite, n, want;
	unsigned leaves, breaks, buttons, nmis;
	bool refuses_breaks, faults;
	uint16_t cols, rows;
	unsigned sizes;
	_Atomic bool done; /* for a thread of the test */
	uint8_t got[300000];
};

/* Started on `fd`, which is borrowed; `line`: its console knows breaks, as by default. */
struct terminal_rig *terminal_rig_start(int fd);
struct terminal_rig *terminal_rig_start_on(int fd, bool line);
void terminal_rig_end(struct terminal_rig *g);
/* For `ms`, or until it has the bytes that it wants, or is left. */
void terminal_rig_run(struct terminal_rig *g, unsigned ms);

/* Both ends, the caller's to close. */
void terminal_rig_open_pty(int *master, int *slave);
bool terminal_rig_is_raw(int tty);
/* Until it is raw or not, as `want` says. */
void terminal_rig_await_raw(int tty, bool want);
void terminal_rig_type(int fd, const char *keys, size_t n);

#endif
