/* SPDX-License-Identifier: Apache-2.0 */
/*
 * switch_root: from the initramfs to the root that was mounted.
 *
 * rootfs, which the initramfs was unpacked into, can be neither unmounted nor
 * left by pivot_root [Linux Documentation/filesystems/ramfs-rootfs-initramfs.rst].
 * So its files are deleted, which gives their memory back, the new root is moved
 * over "/", and chroot does the rest. The kernel's file systems move along, as
 * init programs are used to from other initramfs.
 */
#include "firmware/init/init.h"

#include "firmware/init/command.h"
#include "firmware/init/report.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* What the kernel tries, in its order [Linux init/main.c, kernel_init]. */
static const char *const usual[] = {"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"};

/* struct open_how of openat2(2), which musl's headers do not have. */
struct how {
	uint64_t flags, mode, resolve;
};
enum { IN_ROOT = 0x10 };

/* /sbin/init is often an absolute link: it must be followed as if NEW_ROOT were
 * "/" already. A kernel before 5.6 cannot, and is believed. */
static bool exists_in(int root, const char *path)
{
	struct how how = {.flags = O_PATH | O_CLOEXEC, .resolve = IN_ROOT};
	long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	struct stat st;
	bool ok;

	if (fd < 0)
		return errno == ENOSYS && !fstatat(root, path + 1, &st, AT_SYMLINK_NOFOLLOW);
	ok = !fstat((int)fd, &st) && S_ISREG(st.st_mode);
	close((int)fd);
	return ok;
}

bool root_has_init(const struct boot_options *o)
{
	int root = open(NEW_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool found = false;

	if (root < 0)
		return false;
	if (o->init[0])
		found = exists_in(root, o->init);
	for (unsigned i = 0; !o->init[0] && !found && i < sizeof(usual) / sizeof(usual[0]); i++)
		found = exists_in(root, usual[i]);
	close(root);
	return found;
}

/* Below `dir`, on the file system `dev` only: never across a mount point. */
static void delete_below(int dir, dev_t dev)
{
	DIR *d = fdopendir(dir);
	struct dirent *entry;

	if (!d) {
		close(dir);
		return;
	}
	while ((entry = readdir(d))) {
		struct stat st;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) || st.st_dev != dev)
			continue;
		if (S_ISDIR(st.st_mode)) {
			int sub = openat(dirfd(d), entry->d_name,
					 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (sub >= 0)
				delete_below(sub, dev);
			unlinkat(dirfd(d), entry->d_name, AT_REMOVEDIR);
		} else {
			unlinkat(dirfd(d), entry->d_name, 0);
		}
	}
	closedir(d);
}

static void delete_initramfs(void)
{
	enum { RAMFS = 0x858458f6, TMPFS = 0x01021994 };
	int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;
	struct stat st;

	if (root < 0)
		return;
	if (fstatfs(root, &fs) || ((uint32_t)fs.f_type != RAMFS && fs.f_type != TMPFS) ||
	    fstat(root, &st)) {
		close(root);
		return;
	}
	delete_below(root, st.st_dev);
}

/* A root that lacks the mount point does without, as it would without us. */
static void move_to_root(const char *from)
{
	char to[32];

	snprintf(to, sizeof(to), NEW_ROOT "%s", from);
	if (mount(from, to, NULL, MS_MOVE, NULL))
		umount2(from, MNT_DETACH);
}

/* The kernel opened /dev/console in the initramfs. Give init the same device by
 * its place on the root, if it is there. */
static void reopen_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		return;
	for (int i = 0; i <= STDERR_FILENO; i++)
		if (fd != i)
			dup2(fd, i);
	if (fd > STDERR_FILENO)
		close(fd);
}

void enter_root(void)
{
	if (chdir(NEW_ROOT))
		give_up("%s: %s", NEW_ROOT, strerror(errno));
	move_to_root("/dev");
	move_to_root("/proc");
	move_to_root("/sys");
	delete_initramfs();
	if (mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		give_up("moving the root to /: %s", strerror(errno));
}

void switch_root(const struct boot_options *o, char **argv, const struct command *c)
{
	const char *const one[] = {o->init};
	const char *const *inits = o->init[0] ? one : usual;
	unsigned n = o->init[0] ? 1 : sizeof(usual) / sizeof(usual[0]);
	int error = ENOENT;

	if (!root_has_init(o))
		give_up("the root has no %s; is it the right disk? init= names another program",
			o->init[0] ? o->init : "/sbin/init, /etc/init, /bin/init or /bin/sh");
	enter_root();
	reopen_console();
	if (c)
		leave_command(c);
	/* The kernel gave us what it would have given to init: words that it did not
	 * know as arguments, its HOME and TERM as environment (environ is untouched). */
	for (unsigned i = 0; i < n; i++) {
		argv[0] = (char *)inits[i];
		execv(inits[i], argv);
		if (errno != ENOENT) {
			error = errno;
			complain("%s: %s", inits[i], strerror(errno));
		}
	}
	give_up("no init could be run: %s (for what it was linked against, is its library there?)",
		strerror(error));
}
