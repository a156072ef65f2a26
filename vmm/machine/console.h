/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console: the guest's serial port on one side, a person or a file on the other.
 *
 *	UART -> phrase watches -> ring -> writer thread -> stdout or FILE
 *	UART <- terminal (raw mode, Ctrl-a keys) <- stdin
 */
#ifndef VMM_MACHINE_CONSOLE_H
#define VMM_MACHINE_CONSOLE_H

#include "devices/backend/char_out.h"
#include "devices/backend/phrase_watch.h"
#include "devices/backend/terminal.h"
#include "vmm/base/err.h"
#include "vmm/config/config.h"
#include "vmm/core/char_port.h"
#include "vmm/core/loop.h"

struct console {
	enum serial_kind kind;
	int fd; /* of the output; owned if it is a file, -1 if there is none */
	struct char_out_fd *out;
	struct phrase_watch panic, reboot;
	struct terminal *terminal; /* NULL: no input */
	struct loop *loop;
};

/* Could the FILE of --serial be opened? 0, or a negative errno with *e filled. Nothing
 * is opened or made: it costs a user who is wrong no trace, and needs no machine. */
int console_check(const struct vm_config *config, struct err *e);

/* Open where the output goes, and look at stdin; nothing is read and the terminal
 * is as it was until console_start(). Single-threaded still: this is where the
 * guardian of the terminal is forked. */
int console_open(struct console *c, const struct vm_config *config, struct loop *loop,
		 struct err *e);

/* For the device: where its bytes go, and whom it tells that it has room again.
 * Valid until console_close(). */
struct char_out console_out(struct console *c);
struct char_room console_room(struct console *c);

/* What the console asks of the machine, all called on the main loop. */
struct console_wishes {
	struct char_in in;             /* takes the input */
	void (*send_break)(void *ctx); /* Ctrl-a b */
	void (*leave)(void *ctx);      /* Ctrl-a x */
	bool fresh;                    /* what a FILE held before goes */
	void *ctx;
};

/* Empty the FILE, if that is wanted; read input from here on. */
int console_start(struct console *c, const struct console_wishes *wishes, struct err *e);

/* Did the guest's kernel say on the console that it panicked? Then the rest of
 * that line is in buf. */
bool console_panicked(const struct console *c, char *buf, size_t size);

/* Did it say that it restarts? */
bool console_rebooted(const struct console *c);

/* Write out what waits, give the terminal back. Fine on zeroes. */
void console_close(struct console *c);

#endif
