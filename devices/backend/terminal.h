/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terminal: from the user's standard input to the guest's console.
 *
 * On a terminal: raw mode, escape keys (Ctrl-a x leaves, Ctrl-a h helps), job
 * control. Anything else (pipe, file, /dev/null): bytes as they are, and at the
 * end of file nothing more. Input that the guest does not take yet waits.
 */
#ifndef DEVICES_BACKEND_TERMINAL_H
#define DEVICES_BACKEND_TERMINAL_H

#include "vmm/base/err.h"
#include "vmm/core/char_port.h"
#include "vmm/core/loop.h"

#include <stdbool.h>

/* SysRq on a line that has no break: what Linux's hvc takes for one. */
enum { TERMINAL_SYSRQ = 0x0f };

enum { TERMINAL_BUFFER = 64 * 1024 }; /* bytes of typed-ahead input that may wait */

struct terminal;

struct terminal_config {
	struct loop *loop; /* the main loop; all callbacks come from it */
	struct char_in in; /* who gets the input, and Ctrl-a b and s */
	/* The machine's keys; may be NULL. */
	void (*leave)(void *ctx);        /* Ctrl-a x */
	void (*press_button)(void *ctx); /* Ctrl-a p */
	void (*inject_nmi)(void *ctx);   /* Ctrl-a n */
	/* The terminal has that size, now and after each change. May be NULL. */
	void (*resized)(void *ctx, uint16_t cols, uint16_t rows);
	void *ctx;
	bool log_on_tty; /* log lines go to the terminal: while raw they need a CR */
};

/* Look at `fd` (borrowed, left as it is) and, if it is a terminal, start what
 * restores it. Forks: call it before the process has threads. A descriptor that
 * is closed or cannot be read gives a terminal without input. NULL and *e on
 * failure. */
struct terminal *terminal_create(int fd, struct err *e);

/* For the device that terminal_start() will feed. Any thread may call it until
 * terminal_destroy(). */
struct char_room terminal_room(struct terminal *t);

/* Enter raw mode if in the foreground, and read from now on. The loop's thread,
 * or before it runs. 0 or a negative errno and *e. */
int terminal_start(struct terminal *t, const struct terminal_config *c, struct err *e);

/* Restore the terminal and stop reading. The loop exists still, but does not run
 * again. NULL is fine. */
void terminal_destroy(struct terminal *t);

#endif
