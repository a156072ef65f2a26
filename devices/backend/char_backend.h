/* SPDX-License-Identifier: Apache-2.0 */
/*
 * char_backend: where a console's bytes go on the host, and come from. One interface
 * for all kinds, so that any port can have any of them:
 *
 *	char_tty     the user's terminal, or whatever stdin and stdout are
 *	char_file    output only
 *	char_kept    nobody; the last lines are there if the guest fails
 *	char_pty     a pseudo-terminal that programs for serial lines open
 *	char_socket  a unix socket that listens, one client at a time
 *
 * All share the manners of char_ring: a vCPU never waits for a reader, the oldest
 * output goes first when too much waits, and the gap is marked. Where a reader may
 * come later or leave and come back, what the guest said meanwhile waits for it.
 *
 * A backend is opened while the machine is made and opens nothing afterwards. But
 * for out and room, everything is for the main thread.
 */
#ifndef DEVICES_BACKEND_CHAR_BACKEND_H
#define DEVICES_BACKEND_CHAR_BACKEND_H

#include "devices/backend/terminal.h"
#include "vmm/base/err.h"
#include "vmm/core/char_port.h"
#include "vmm/core/loop.h"

#include <stdbool.h>

struct char_backend;

struct char_backend_ops {
	/* The device's end, for any thread, until close. */
	struct char_out (*out)(struct char_backend *b);
	/* Whom the device tells that it has room again; the same. */
	struct char_room (*room)(struct char_backend *b);
	/* Give input to `in` from here on; a file that was there is emptied (not earlier: a start
	 * that fails must not cost the last run's record). 0 or a negative errno and *e. */
	int (*start)(struct char_backend *b, const struct char_in *in, struct err *e);
	/* With the device gone or silent and the loop not running: write out what waits,
	 * as long as the reader takes it, and free everything. */
	void (*close)(struct char_backend *b);
};

struct char_backend {
	const struct char_backend_ops *ops;
	const char *name; /* borrowed, for messages: "--serial" */
};

/* All give NULL with *e filled on failure: ERR_USAGE for what the user can mend, in
 * words that begin with `name`. `loop` is the main loop; it outlives the backend. */

/* stdin and stdout. `keys` (copied): what the escape keys do; loop and in are set
 * here. Forks (the terminal's guardian): call it before there are threads. */
struct char_backend *char_tty_create(const char *name, struct loop *loop,
				     const struct terminal_config *keys, struct err *e);
/* Created if it is not there, appended to until start() says otherwise. */
struct char_backend *char_file_create(const char *name, const char *path, struct err *e);
/* To nobody, or with `show` to stderr. */
struct char_backend *char_kept_create(const char *name, bool show, struct err *e);
/* The guest failed: at close, tell its last lines on stderr. Main thread. */
void char_kept_tell(struct char_backend *b);
/* Its last lines so far, as they would be told, but also if they are shown: a new string, the
 * caller's to free; NULL for want of memory. A NUL is told as '?'. */
char *char_kept_last(struct char_backend *b);
/* Its path is told in a line on stderr. */
struct char_backend *char_pty_create(const char *name, struct loop *loop, struct err *e);
/* Made at `path` with mode 0600, removed by close. Whatever is there already is
 * refused, a symlink too. */
int char_socket_check(const char *name, const char *path, struct err *e); /* makes nothing */
struct char_backend *char_socket_create(const char *name, const char *path, struct loop *loop,
					struct err *e);

#endif
