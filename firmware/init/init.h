/* SPDX-License-Identifier: Apache-2.0 */
/* init: what the files of the guest's init share. It runs as one thread, once. */
#ifndef FIRMWARE_INIT_INIT_H
#define FIRMWARE_INIT_INIT_H

#include "firmware/init/boot_options.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define NEW_ROOT "/root"

/* One record in the kernel's log, and so on every console, in order with the
 * kernel's own lines. say() is silent under `quiet`, complain() is not. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Complain and end. The kernel answers with "Attempted to kill init" and panics,
 * which is what it would have done had it found no root itself, so that panic=
 * and the VMM's exit status mean the same either way. */
_Noreturn void give_up(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A whole small file (of /proc or /sys) as a string without its last newline, cut
 * at size - 1. Gives 0 or a negative errno. */
int read_text(const char *path, char *buf, size_t size);

/* Load what /m/list names, in its order. Ends init if a needed one fails. */
void load_modules(const char *cmdline);

/* Find the root, wait for it if need be, and mount it on NEW_ROOT. */
void mount_root(const struct boot_options *o);

/* Is there an init on NEW_ROOT, seen with its own idea of "/"? */
bool root_has_init(const struct boot_options *o);

/* Make NEW_ROOT the root and become its init. */
_Noreturn void switch_root(const struct boot_options *o, char **argv);

#endif
