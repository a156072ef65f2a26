/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST = 3, MANY = 1024 };

/* The variable's number, or 0: it is not there, or is none. */
static long number(const char *variable)
{
	const char *text = getenv(variable);
	char *end;
	long n = text ? strtol(text, &end, 10) : 0;

	return text && *text && !*end && n > 0 ? n : 0;
}

/* The how manieth of names with colons between is `name`? -1: none. */
static int place_of(const char *name, const char *names)
{
	size_t len = strlen(name);

	for (int i = 0; names; i++) {
		if (strcspn(names, ":") == len && !strncmp(names, name, len))
			return i;
		names = strchr(names, ':');
		names = names ? names + 1 : NULL;
	}
	return -1;
}

static int choose(const char *name, struct err *e)
{
	long n = number("LISTEN_PID") == getpid() ? number("LISTEN_FDS") : 0;
	int place = place_of(name, getenv("LISTEN_FDNAMES"));

	if (!n || n > MANY)
		return err_usage(e, -ENOENT,
				 "--control fd=systemd: LISTEN_FDS and LISTEN_PID tell of no "
				 "socket for us");
	if (n > 1 && (place < 0 || place >= n))
		return err_usage(e, -ENOTUNIQ,
				 "--control fd=systemd: LISTEN_FDS tells of %ld sockets; call one "
				 "of them %s (FileDescriptorName=)",
				 n, name);
	for (int fd = FIRST; fd < FIRST + n; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return FIRST + (n > 1 ? place : 0);
}

int activation_fd(const char *name, struct err *e)
{
	int fd = choose(name, e);

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return fd;
}
