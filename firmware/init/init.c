/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init: the guest's first program when minivmm packed the initramfs.
 *
 * A stock kernel has its disk driver and file system as modules, on a disk that
 * it cannot read without them. So the packer sends them along, and this program
 * loads them, finds the root, and hands over to the init that is there. It is
 * linked statically with musl, holds no state and does not stay, unless there is a
 * command to run: then it is the guest's init to its end, or, with --init, leaves a process
 * behind.
 */
#include "firmware/init/init.h"

#include "firmware/init/command.h"
#include "firmware/init/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void mount_or_complain(const char *type, const char *on, unsigned long flags)
{
	if (mount(type, on, type, flags, NULL) && errno != EBUSY)
		complain("mounting %s on %s: %s", type, on, strerror(errno));
}

/* The kernel gives its first program /dev/console, unless that had no driver by then:
 * virtio_console may be among our modules. */
static void open_console(void)
{
	int fd;

	if (fcntl(STDERR_FILENO, F_GETFD) >= 0)
		return;
	do
		fd = open("/dev/console", O_RDWR);
	while (fd >= 0 && fd < STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

int main(int argc, char **argv)
{
	static char cmdline[4096];
	static struct boot_options options;
	static struct command command;
	bool is_command;

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
	is_command = command_read(&command);
	if (options.too_long)
		give_up("%s= on the command line is too long", options.too_long);
	load_modules(cmdline);
	open_console();
	mount_root(&options);
	if (is_command && command.overlay)
		cover_root();
	mount_shares();
	if (is_command && !command.init) {
		make_home();
		run_command(&command);
	}
	switch_root(&options, argv, is_command ? &command : NULL);
}
