/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpus: processors that come while the command runs, as the kernel tells of them
 * [Linux Documentation/ABI/testing/sysfs-uevent, lib/kobject_uevent.c].
 */
#include "firmware/init/command.h"

#include "firmware/init/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* struct sockaddr_nl [Linux include/uapi/linux/netlink.h], which musl's headers do not have. */
struct netlink_address {
	unsigned short family, pad;
	unsigned int pid, groups;
};
enum { NETLINK = 16, KOBJECT_UEVENT = 15, KERNEL_GROUP = 1 };

#define CPUS "/sys/devices/system/cpu/"

enum { CPUS_MAX = 64 };

static void bring_up(unsigned cpu)
{
	char path[64], text[8];
	int fd;

	snprintf(path, sizeof(path), CPUS "cpu%u/online", cpu);
	if (read_text(path, text, sizeof(text)) || strcmp(text, "0") != 0)
		return;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		complain("CPU %u does not come on line: %s", cpu, strerror(errno));
	else
		say("CPU %u is on line", cpu);
	if (fd >= 0)
		close(fd);
}

/* Who asked for fewer at the start means it. */
static bool some_are_kept_off(void)
{
	char cmdline[4096];

	return !read_text("/proc/cmdline", cmdline, sizeof(cmdline)) &&
	       (strstr(cmdline, "maxcpus=") || strstr(cmdline, "nosmp"));
}

int cpus_watch(void)
{
	const struct netlink_address kernel = {.family = NETLINK, .groups = KERNEL_GROUP};
	char possible[256], online[256];
	int fd;

	if (read_text(CPUS "possible", possible, sizeof(possible)) ||
	    read_text(CPUS "online", online, sizeof(online)) || !strcmp(possible, online) ||
	    some_are_kept_off())
		return -1;
	fd = socket(NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, KOBJECT_UEVENT);
	if (fd < 0)
		return -1;
	if (bind(fd, (const struct sockaddr *)&kernel, sizeof(kernel))) {
		close(fd);
		return -1;
	}
	/* Those that came before anybody listened. */
	for (unsigned cpu = 1; cpu < CPUS_MAX; cpu++)
		bring_up(cpu);
	return fd;
}

void cpus_bring_up(int fd)
{
	static const char added[] = "add@/devices/system/cpu/cpu";
	char text[2048];
	unsigned cpu;
	ssize_t n;

	/* ENOBUFS: some were lost, and who knows which. */
	while ((n = recv(fd, text, sizeof(text) - 1, 0)) > 0 || (n < 0 && errno == ENOBUFS)) {
		text[n > 0 ? n : 0] = '\0';
		if (!strncmp(text, added, sizeof(added) - 1))
			bring_up((unsigned)strtoul(text + sizeof(added) - 1, NULL, 10));
		for (cpu = n < 0 ? 1 : CPUS_MAX; cpu < CPUS_MAX; cpu++)
			bring_up(cpu);
	}
}
