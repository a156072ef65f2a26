/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shares: mounting the host's directories on the root, before its init runs.
 *
 * /m/mounts has one line for each: "TAG ro|rw PLACE". A place that is not there yet is made,
 * if the root can be written. The root's links are followed as the root means them: an
 * absolute one leads to the root, not to this initramfs.
 */
#include "firmware/init/init.h"

#include "firmware/init/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct open_how of openat2(2), which musl's headers do not have. */
struct how {
	uint64_t flags, mode, resolve;
};
enum { IN_ROOT = 0x10 };

static int open_in(int root, const char *path)
{
	struct how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = IN_ROOT};
	long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* Opens the directory `path` of the root, making what of it is missing. */
static int open_place(int root, char *path)
{
	int dir = open_in(root, "/");

	for (char *step = path; dir >= 0 && *step;) {
		char *name = step + strspn(step, "/"), *end = name + strcspn(name, "/");
		char kept = *end;
		int next;

		if (name == end)
			break;
		*end = '\0';
		next = open_in(root, path);
		if (next == -ENOENT)
			next = mkdirat(dir, name, 0755) ? -errno : open_in(root, path);
		*end = kept;
		close(dir);
		dir = next;
		step = end;
	}
	return dir;
}

static void mount_one(int root, const char *tag, unsigned long flags, char *place)
{
	int fd = open_place(root, place), rc = fd < 0 ? fd : 0;
	char path[32];

	if (rc) {
		complain("share %s: %s on the root: %s%s", tag, place, strerror(-rc),
			 rc == -EROFS ? "; make that directory beforehand" : "");
		return;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (mount(tag, path, "virtiofs", flags, NULL))
		rc = -errno;
	close(fd);
	if (rc)
		complain("share %s: mounting it on %s: %s%s", tag, place, strerror(-rc),
			 rc == -ENODEV ? " (the kernel has no virtiofs)" : "");
}

void mount_shares(void)
{
	static char list[8192];
	char *save = NULL;
	int root;

	if (read_text("/m/mounts", list, sizeof(list)))
		return;
	root = open(NEW_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (char *tag = strtok_r(list, " ", &save); tag && root >= 0;
	     tag = strtok_r(NULL, " ", &save)) {
		const char *how = strtok_r(NULL, " ", &save);
		char *place = strtok_r(NULL, "\n", &save);

		if (!how || !place)
			break;
		mount_one(root, tag, strcmp(how, "ro") ? 0 : MS_RDONLY, place);
	}
	if (root >= 0)
		close(root);
}
