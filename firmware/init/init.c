/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init: the guest's first program when minivmm packed the initramfs.
 *
 * A stock kernel has its disk driver and file system as modules, on a disk that
 * it cannot read without them. So the packer sends them along, and this program
 * loads them, finds the root, and hands over to the init that is there. It is
 * linked statically with musl, holds no state and never stays.
 */
#include "firmware/init/init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
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

static void mount_or_complain(const char *type, const char *on, unsigned long flags)
{
	if (mount(type, on, type, flags, NULL) && errno != EBUSY)
		complain("mounting %s on %s: %s", type, on, strerror(errno));
}

int main(int argc, char **argv)
{
	static char cmdline[4096];
	static struct boot_options options;

	/* On any other system this would be a disaster: it deletes files of "/". */
	if (getpid() != 1) {
		fputs("minivmm-init: is for a guest's initramfs, as process 1\n", stderr);
		return 1;
	}
	umask(022);
	mount_or_complain("devtmpfs", "/dev", MS_NOSUID);
	mount_or_complain("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
	mount_or_complain("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC);
	if (read_text("/proc/cmdline", cmdline, sizeof(cmdline)))
		complain("/proc/cmdline: cannot be read; going on as if it were empty");
	boot_options_parse(&options, cmdline);
	if (options.too_long)
		give_up("%s= on the command line is too long", options.too_long);
	load_modules(cmdline);
	mount_root(&options);
	switch_root(&options, argv);
}
