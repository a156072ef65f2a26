/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: the modules, in the order in which the packer resolved them.
 *
 * /m/list has one line for each: "need FILE" or "try FILE". What is tried may
 * fail: the fast crc32c is of no use on a CPU without the instruction, and then
 * refuses to load with ENODEV. The kernel's own module loader is no help here:
 * it would run /sbin/modprobe, which is on the root that is still to be found.
 */
#include "firmware/init/init.h"

#include "firmware/init/report.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The module's name: "03-virtio-rng.ko" is virtio-rng. */
static void module_name(char *out, size_t size, const char *file)
{
	const char *dash = strchr(file, '-');
	const char *dot;

	if (dash)
		file = dash + 1;
	dot = strstr(file, ".ko");
	snprintf(out, size, "%.*s", dot ? (int)(dot - file) : (int)strlen(file), file);
}

static int load(const char *file, const char *parameters)
{
	char path[256];
	int fd, rc = 0;

	snprintf(path, sizeof(path), "/m/%s", file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, parameters, 0) && errno != EEXIST)
		rc = -errno;
	close(fd);
	return rc;
}

void load_modules(const char *cmdline)
{
	static char list[8192], parameters[2048];
	char name[128], *save = NULL;

	/* No list: everything is built in. */
	if (read_text("/m/list", list, sizeof(list)))
		return;
	for (char *line = strtok_r(list, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *file = strchr(line, ' ');
		int rc;

		if (!file)
			continue;
		*file++ = '\0';
		module_name(name, sizeof(name), file);
		if (boot_options_module(parameters, sizeof(parameters), cmdline, name)) {
			complain("module %s: its parameters are too long; left out", name);
			parameters[0] = '\0';
		}
		rc = load(file, parameters);
		if (!rc)
			continue;
		if (!strcmp(line, "need"))
			give_up("module %s: loading it: %s (the kernel's line above may say more)",
				name, strerror(-rc));
		if (rc != -ENODEV)
			say("module %s: loading it: %s; going on without", name, strerror(-rc));
	}
}
