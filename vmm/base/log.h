/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: lines for the person who runs the VM, on stderr or in --log-file.
 *
 * A guest can make a device complain as often as it likes, so whatever a guest
 * can trigger goes through log_guest(), which lets a few lines a second pass
 * and counts the rest. All functions may be called from any thread.
 */
#ifndef VMM_BASE_LOG_H
#define VMM_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_QUIET, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Settings: by main, before threads exist. */
void log_set_level(enum log_level level);
/* `fd` is borrowed. Without this it is stderr, but only with it log_guest() never waits:
 * it opens the same file again. */
void log_set_fd(int fd);

/* From here on lines go into `fd`, a file open for appending, which is taken over; no line of
 * another thread is lost or torn. What log_set_fd() was given is closed, unless it is stderr. 0 or
 * a negative errno, with `fd` the caller's. Main thread. */
int log_move(int fd);

/* While the terminal is raw, a line needs a carriage return as well. */
void log_set_raw_tty(bool raw);

bool log_enabled(enum log_level level);

/* One line: "minivmm: " + text + newline, in one piece. A reader that does not read is
 * waited for, two seconds at most and once only: then lines are dropped, and how many is
 * told with the next one that passes. */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* A line whatever the level, from a signal handler: async-signal-safe. */
void log_last_words(const char *text);

/* A budget of lines for one source of guest-triggered complaints: zero-filled
 * storage is ready for use. */
struct log_budget {
	uint64_t window; /* second the budget below belongs to */
	uint32_t spent, dropped;
};

/* A warning about what the guest did, at most 5 a second for each budget, and none
 * that would have to wait for the reader: a vCPU calls this. How many were dropped is
 * told with the next one that passes. */
void log_guest(struct log_budget *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
