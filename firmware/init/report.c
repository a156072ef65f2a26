/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/init/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* /dev/kmsg takes 10 records in 5 s, each up to 976 bytes [Linux
 * kernel/printk/printk.c, devkmsg_write]. A new root without /dev has none: then
 * standard error, which is the console, does. */
static void put(int level, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

static void put(int level, const char *fmt, va_list args)
{
	char line[960];
	int n = snprintf(line, sizeof(line), "<%d>minivmm-init: ", level);
	int fd, rest = vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, args);
	const char *text = line;
	size_t len;

	if (rest < 0)
		return;
	n += rest;
	len = n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1;
	fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		fd = dup(STDERR_FILENO);
		text += 3;
		len -= 3;
	}
	if (fd < 0)
		return;
	if (write(fd, text, len) < 0)
		(void)!write(STDERR_FILENO, text, len);
	close(fd);
}

void say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put(6, fmt, args);
	va_end(args);
}

void complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put(3, fmt, args);
	va_end(args);
}

void give_up(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put(3, fmt, args);
	va_end(args);
	exit(1);
}

int read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t got = 0;
	ssize_t n = 0;

	buf[0] = '\0';
	if (fd < 0)
		return -errno;
	while (got < size - 1 && (n = read(fd, buf + got, size - 1 - got)) > 0)
		got += (size_t)n;
	if (n < 0)
		n = -errno;
	close(fd);
	if (got && buf[got - 1] == '\n')
		got--;
	buf[got] = '\0';
	return n < 0 ? (int)n : 0;
}
