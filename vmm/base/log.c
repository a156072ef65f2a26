/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	LINES_PER_SECOND = 5,
	LINE_MAX_BYTES = 1024,
	TAIL_MAX_BYTES = 48,
	PATIENCE_MS = 2000,
};

static _Atomic int level_now = LOG_WARN;
static _Atomic int out_fd = STDERR_FILENO;
static _Atomic int guest_fd = -1; /* for what must not wait; -1: out_fd has to do */
static _Atomic bool raw_tty;
static _Atomic bool unread;      /* the reader was waited for in vain */
static _Atomic uint32_t dropped; /* lines of log_line(), for the next one to tell */

void log_set_level(enum log_level level)
{
	atomic_store(&level_now, level);
}

/* A pipe or a terminal once more, and that one non-blocking. To ask poll(2) and then
 * write is not enough: the console's writer, or another process, may fill it in between.
 * And O_NONBLOCK belongs to the open file, which others share. */
static int open_again(int fd)
{
	struct stat st;
	char path[32];

	if (fstat(fd, &st) || !(S_ISFIFO(st.st_mode) || isatty(fd)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_set_fd(int fd)
{
	int before = atomic_exchange(&guest_fd, open_again(fd));

	atomic_store(&out_fd, fd);
	atomic_store(&unread, false);
	if (before >= 0)
		close(before);
}

/* Another thread may be about to write to the number that it has just read: so that one is made to
 * mean the new file, and what a pipe or terminal had beside it stays open. */
int log_move(int fd)
{
	int now = atomic_load(&out_fd);

	if (now != STDERR_FILENO && dup3(fd, now, O_CLOEXEC) < 0)
		return -errno;
	atomic_store(&guest_fd, -1);
	atomic_store(&unread, false);
	if (now == STDERR_FILENO)
		atomic_store(&out_fd, fd);
	else
		close(fd);
	return 0;
}

void log_set_raw_tty(bool raw)
{
	atomic_store(&raw_tty, raw);
}

bool log_enabled(enum log_level level)
{
	return level <= (enum log_level)atomic_load_explicit(&level_now, memory_order_relaxed);
}

/* Fill `line`, cut to fit; gives its length. */
__attribute__((format(printf, 2, 0))) static size_t
compose(char line[LINE_MAX_BYTES], const char *fmt, va_list ap, const char *tail)
{
	const char *eol = atomic_load(&raw_tty) ? "\r\n" : "\n";
	int used = snprintf(line, LINE_MAX_BYTES, "minivmm: ");
	int room = LINE_MAX_BYTES - TAIL_MAX_BYTES - 2; /* for the tail and the line's end */
	int n = vsnprintf(line + used, (size_t)(room - used), fmt, ap);

	used = n < 0 ? used : n >= room - used ? room - 1 : used + n;
	n = snprintf(line + used, (size_t)(LINE_MAX_BYTES - used), "%s%s", tail, eol);
	if (n > 0)
		used += n;
	return (size_t)used;
}

static void tell_dropped(char tail[TAIL_MAX_BYTES], uint32_t n, const char *what)
{
	tail[0] = '\0';
	if (n)
		snprintf(tail, TAIL_MAX_BYTES, " (%u %s dropped)", n, what);
}

static bool is_writable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, timeout_ms) > 0 && p.revents & POLLOUT;
}

/* Wait for the reader a while if need be: but not again for one that did not come. */
static bool write_patiently(int fd, const char *line, size_t len)
{
	bool done = is_writable(fd, atomic_load(&unread) ? 0 : PATIENCE_MS);

	atomic_store(&unread, !done);
	return done && write(fd, line, len) >= 0;
}

/* Write without waiting, or do not write. */
static bool write_at_once(const char *line, size_t len)
{
	int fd = atomic_load(&guest_fd);

	if (fd >= 0)
		return write(fd, line, len) >= 0;
	fd = atomic_load(&out_fd);
	if (send(fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	return errno == ENOTSOCK && is_writable(fd, 0) && write(fd, line, len) >= 0;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES], tail[TAIL_MAX_BYTES];
	va_list ap;

	if (!log_enabled(level))
		return;
	uint32_t before = atomic_exchange(&dropped, 0);

	tell_dropped(tail, before, "lines");
	va_start(ap, fmt);
	size_t len = compose(line, fmt, ap, tail);

	va_end(ap);
	if (!write_patiently(atomic_load(&out_fd), line, len))
		atomic_fetch_add(&dropped, before + 1);
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

void log_guest(struct log_budget *b, const char *fmt, ...)
{
	struct timespec now;
	char line[LINE_MAX_BYTES], tail[TAIL_MAX_BYTES];
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
	if (__atomic_fetch_add(&b->spent, 1, __ATOMIC_RELAXED) >= LINES_PER_SECOND) {
		__atomic_fetch_add(&b->dropped, 1, __ATOMIC_RELAXED);
		return;
	}
	uint32_t before = __atomic_exchange_n(&b->dropped, 0, __ATOMIC_RELAXED);

	tell_dropped(tail, before, "similar lines");
	va_start(ap, fmt);
	size_t len = compose(line, fmt, ap, tail);

	va_end(ap);
	if (!write_at_once(line, len))
		__atomic_fetch_add(&b->dropped, before + 1, __ATOMIC_RELAXED);
}
