/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home: what programs expect to find around them, mounted on the root for a command.
 *
 * What the kernel does not have is left out: a program that needs it says so better
 * than we could.
 */
#include "firmware/init/command.h"

#include "firmware/init/init.h"
#include "firmware/init/report.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAFE = MS_NOSUID | MS_NODEV | MS_NOEXEC };

static const struct {
	const char *type, *on;
	unsigned long flags;
	const char *data;
	bool make; /* the directory */
} mounts[] = {
	{"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666", true},
	{"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", true},
	{"mqueue", "/dev/mqueue", SAFE, NULL, true},
	{"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755", false},
	{"cgroup2", "/sys/fs/cgroup", SAFE, NULL, false},
	{"bpf", "/sys/fs/bpf", SAFE, "mode=700", false},
	{"debugfs", "/sys/kernel/debug", SAFE, NULL, false},
	{"tracefs", "/sys/kernel/tracing", SAFE, NULL, false},
	{"securityfs", "/sys/kernel/security", SAFE, NULL, false},
};

void cover_root(void)
{
	static const char lower[] = "/lower", upper[] = "/upper";

	mkdir(lower, 0755);
	mkdir(upper, 0755);
	if (mount(NEW_ROOT, lower, NULL, MS_MOVE, NULL) ||
	    mount("tmpfs", upper, "tmpfs", 0, "mode=755") || mkdir("/upper/files", 0755) ||
	    mkdir("/upper/work", 0755))
		give_up("a layer over the root: %s", strerror(errno));
	if (mount("overlay", NEW_ROOT, "overlay", 0,
		  "lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work"))
		give_up("a layer over the root: %s%s", strerror(errno),
			errno == ENODEV ? " (the kernel has no overlay)" : "");
	/* The root goes on holding both; nobody else shall see them. */
	umount2(upper, MNT_DETACH);
	umount2(lower, MNT_DETACH);
}

static void raise_loopback(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r))
		say("loopback: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* /tmp is the root's, with the caller's files in it; where that cannot be written there
 * is a fresh one. */
static void mount_tmp(void)
{
	if (access("/tmp", W_OK) && errno == EROFS)
		mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
}

/* Mounting the first bpf file system has the kernel run modprobe for bpf_preload, whose two
 * debugging aids hardly anybody builds; and modprobe comes with all its libraries through the
 * share, a fifth of the way to the command. An empty path there: nobody is asked. */
static const char modprobe_path[] = "/proc/sys/kernel/modprobe";

static void set_modprobe(const char *path)
{
	int fd = open(modprobe_path, O_WRONLY | O_CLOEXEC);

	/* Without modules there is no such file. */
	if (fd >= 0 && write(fd, path, strlen(path)) < 0)
		say("%s: %s", modprobe_path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

void make_home(void)
{
	char modprobe[256];
	bool modules;
	static const char name[] = "minivmm";
	static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"},
					       {"fd/0", "/dev/stdin"},
					       {"fd/1", "/dev/stdout"},
					       {"fd/2", "/dev/stderr"}};

	enter_root();
	modules = !read_text(modprobe_path, modprobe, sizeof(modprobe));
	if (modules)
		set_modprobe("\n");
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		if (mounts[i].make)
			mkdir(mounts[i].on, 0755);
		if (mount(mounts[i].type, mounts[i].on, mounts[i].type, mounts[i].flags,
			  mounts[i].data) &&
		    errno != ENOENT && errno != ENODEV)
			say("%s: %s", mounts[i].on, strerror(errno));
	}
	if (modules)
		set_modprobe(modprobe);
	mount_tmp();
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		(void)!symlink(links[i][0], links[i][1]);
	mkdir("/run/lock", 01777);
	(void)!sethostname(name, sizeof(name) - 1);
	raise_loopback();
}
