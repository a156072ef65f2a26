/* SPDX-License-Identifier: Apache-2.0 */
/* report: what the guest's init tells a person, and what it reads as text. */
#ifndef FIRMWARE_INIT_REPORT_H
#define FIRMWARE_INIT_REPORT_H

#include <stddef.h>

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

#endif
