/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console: one port of the guest on one side, a person, a program or a file on the
 * other.
 *
 *	device -> phrase watches -> backend (char_backend.h) -> stdout, FILE, pty, socket
 *	device <- backend <- the same, but a file
 *
 * The watches make the console a witness of how the guest ended.
 */
#ifndef VMM_MACHINE_CONSOLE_H
#define VMM_MACHINE_CONSOLE_H

#include "devices/backend/char_backend.h"
#include "devices/backend/char_last.h"
#include "devices/backend/phrase_watch.h"
#include "vmm/base/err.h"
#include "vmm/config/config.h"
#include "vmm/core/char_port.h"
#include "vmm/core/loop.h"

struct console {
	bool open, kept;
	struct char_backend *backend; /* NULL: nobody, output goes nowhere */
	struct phrase_watch panic, reboot;
	struct phrase_watch kernel, init; /* fed only where somebody wants to know */
	bool watched;
	struct char_last last; /* where somebody may ask for it */
	bool remembers;
};

/* Could its file be opened, its socket be made? 0, or a negative errno with *e filled.
 * Nothing is opened or made: it costs a user who is wrong no trace, and needs no
 * machine. `name` begins the message, as below. */
int console_check(const char *name, const struct char_config *config, struct err *e);

/* Open what the output goes to, and look at stdin; nothing is read and the terminal
 * is as it was until console_start(). `name` ("--serial") is borrowed and begins the
 * messages; `keys` are the escape keys, if this is the terminal. Single-threaded still:
 * this is where the guardian of the terminal is forked. */
int console_open(struct console *c, const char *name, const struct char_config *config,
		 const struct terminal_config *keys, struct loop *loop, struct err *e);

/* Keep the last lines, also if somebody reads them. Before console_out(). 0 or -ENOMEM. */
int console_remember(struct console *c);

/* Have *events told of what the kernel says here: that it starts, its init, its panic. Before
 * console_out(). */
struct events;
void console_watch(struct console *c, struct events *events);

/* For the device: where its bytes go, and whom it tells that it has room again.
 * Valid until console_close(). */
struct char_out console_out(struct console *c);
struct char_room console_room(struct console *c);

/* Give input to `in` from here on; what a FILE held before goes. */
int console_start(struct console *c, const struct char_in *in, struct err *e);

/* A guest begins anew: what the one before said of its kernel does not count. Nobody says
 * anything meanwhile. */
void console_renew(struct console *c);

/* Did the guest's kernel say here that it panicked? Then the rest of that line is
 * in buf. */
bool console_panicked(const struct console *c, char *buf, size_t size);

/* Did it say that it restarts? */
bool console_rebooted(const struct console *c);

/* If nobody saw what the guest said: its last lines are told at close. */
void console_tell(struct console *c);

/* The same lines, a new string; NULL if they are not kept. */
char *console_last_lines(struct console *c);

/* Write out what waits, give the terminal back. Fine on zeroes. */
void console_close(struct console *c);

#endif
