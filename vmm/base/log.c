/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { LINES_PER_SECOND = 5, LINE_MAX_BYTES = 1024 };

static _Atomic int level_now = LOG_WARN;
static _Atomic int out_fd = STDERR_FILENO;
static _Atomic bool raw_tty;

void log_set_level(enum log_level level)
{
	atomic_store(&level_now, level);
}

void log_set_fd(int fd)
{
	atomic_store(&out_fd, fd);
}

void log_set_raw_tty(bool raw)
{
	atomic_store(&raw_tty, raw);
}

bool log_enabled(enum log_level level)
{
	return level <= (enum log_level)atomic_load_explicit(&level_now, memory_order_relaxed);
}

__attribute__((format(printf, 1, 0))) static void emit(const char *fmt, va_list ap,
						       const char *tail)
{
	char line[LINE_MAX_BYTES];
	const char *eol = atomic_load(&raw_tty) ? "\r\n" : "\n";
	int used = snprintf(line, sizeof(line), "minivmm: ");
	int room = (int)sizeof(line) - 64; /* keeps space for the tail */
	int n = vsnprintf(line + used, (size_t)(room - used), fmt, ap);

	used = n < 0 ? used : n >= room - used ? room - 1 : used + n;
	n = snprintf(line + used, sizeof(line) - (size_t)used, "%s%s", tail, eol);
	if (n > 0)
		used += n;
	/* A log that cannot be written has nowhere to say so. */
	if (write(atomic_load(&out_fd), line, (size_t)used) < 0)
		return;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	emit(fmt, ap, "");
	va_end(ap);
}

void log_last_words(const char *text)
{
	static const char head[] = "minivmm: ";
	const char *eol = atomic_load(&raw_tty) ? "\r\n" : "\n";
	struct iovec line[] = {
		{(char *)head, sizeof(head) - 1},
		{(char *)text, strlen(text)},
		{(char *)eol, strlen(eol)},
	};

	if (writev(atomic_load(&out_fd), line, 3) < 0)
		return;
}

/* Would a line go out without waiting? What is no longer than PIPE_BUF does, once
 * the descriptor is writable [pipe(7)]. */
static bool has_room(void)
{
	struct pollfd p = {.fd = atomic_load(&out_fd), .events = POLLOUT};

	return poll(&p, 1, 0) > 0 && p.revents & POLLOUT;
}

void log_guest(struct log_budget *b, const char *fmt, ...)
{
	struct timespec now;
	char tail[48] = "";
	uint64_t second;
	va_list ap;

	if (!log_enabled(LOG_WARN))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	second = (uint64_t)now.tv_sec;
	/* Two threads may race for the last line of a window; one line more or
	 * less does no harm, a lock here would. */
	if (__atomic_load_n(&b->window, __ATOMIC_RELAXED) != second) {
		__atomic_store_n(&b->window, second, __ATOMIC_RELAXED);
		__atomic_store_n(&b->spent, 0, __ATOMIC_RELAXED);
	}
	if (__atomic_fetch_add(&b->spent, 1, __ATOMIC_RELAXED) >= LINES_PER_SECOND || !has_room()) {
		__atomic_fetch_add(&b->dropped, 1, __ATOMIC_RELAXED);
		return;
	}
	uint32_t dropped = __atomic_exchange_n(&b->dropped, 0, __ATOMIC_RELAXED);
	if (dropped)
		snprintf(tail, sizeof(tail), " (%u similar lines dropped)", dropped);
	va_start(ap, fmt);
	emit(fmt, ap, tail);
	va_end(ap);
}
