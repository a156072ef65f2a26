/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tty_guard: makes the user's terminal raw and sees to it that it does not stay
 * so, however the process ends: in order, by a fatal signal, or by kill -9.
 */
#ifndef DEVICES_BACKEND_TTY_GUARD_H
#define DEVICES_BACKEND_TTY_GUARD_H

#include "vmm/base/err.h"

#include <stdbool.h>

struct tty_guard;

/* Take note of the settings of `fd` (borrowed), a terminal, and start the
 * guardian. To be called once in a process and before it has threads, for it
 * forks and installs signal handlers. NULL and *e on failure. */
struct tty_guard *tty_guard_create(int fd, struct err *e);

/* Make the terminal raw, also again after somebody else has set it: 0 or a
 * negative errno. Only for a process in the foreground. Main thread. */
int tty_guard_raw(struct tty_guard *g);

/* Give the terminal its settings back. Main thread. */
void tty_guard_restore(struct tty_guard *g);

/* Somebody else has the terminal now (we are in the background): leave it as it
 * is, and let it be so when we end. Main thread. */
void tty_guard_forget(struct tty_guard *g);

bool tty_guard_is_raw(const struct tty_guard *g);

/* Restore, dismiss the guardian and reap it. NULL is fine. */
void tty_guard_destroy(struct tty_guard *g);

#endif
