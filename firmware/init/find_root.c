/* SPDX-License-Identifier: Apache-2.0 */
/*
 * find_root: which block device is the root, and mounting it.
 *
 * The kernel lists disks in /sys/block; for each, and for each partition in its
 * table, there is a candidate: its name, its superblock's names and its
 * partition's names. The first that root= means is taken. Drivers may still be
 * probing, so a root that is not there is looked for again, at first after 1 ms
 * (the time to the first instruction of the guest's init counts), later each 20.
 *
 * Without root= the candidates are tried in turn, and the first one that mounts
 * and has an init is the root: a disk with one file system, or the partition
 * that is not /boot.
 */
#include "firmware/init/init.h"

#include "firmware/init/partitions.h"
#include "firmware/init/report.h"
#include "firmware/init/root_spec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

enum { CANDIDATES_MAX = 128, WAIT_S = 10 };

struct candidates {
	struct root_candidate list[CANDIDATES_MAX];
	unsigned n;
};

static bool device_number(struct root_candidate *c)
{
	char path[96], text[32], *colon;

	snprintf(path, sizeof(path), "/sys/class/block/%s/dev", c->name);
	if (read_text(path, text, sizeof(text)))
		return false;
	c->major = (unsigned)strtoul(text, &colon, 10);
	if (*colon != ':')
		return false;
	c->minor = (unsigned)strtoul(colon + 1, NULL, 10);
	return true;
}

static int open_device(const char *name)
{
	char path[48];

	snprintf(path, sizeof(path), "/dev/%s", name);
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static struct root_candidate *add(struct candidates *cs, const char *name)
{
	struct root_candidate *c = &cs->list[cs->n];
	int fd;

	if (cs->n == CANDIDATES_MAX || strlen(name) >= sizeof(c->name))
		return NULL;
	memset(c, 0, sizeof(*c));
	strcpy(c->name, name);
	if (!device_number(c))
		return NULL;
	fd = open_device(name);
	if (fd >= 0) {
		c->has_fs = superblock_read(&c->sb, fd, 0);
		close(fd);
	}
	cs->n++;
	return c;
}

static void add_disk(struct candidates *cs, const char *disk)
{
	static struct partition parts[PARTITIONS_MAX];
	unsigned n = 0;
	int fd = open_device(disk);

	if (fd < 0)
		return;
	n = partitions_read(parts, PARTITIONS_MAX, fd);
	close(fd);
	add(cs, disk);
	for (unsigned i = 0; i < n; i++) {
		char name[32];
		struct root_candidate *c;

		if (partition_name(name, sizeof(name), disk, parts[i].number))
			continue;
		c = add(cs, name);
		if (!c)
			continue;
		memcpy(c->partuuid, parts[i].uuid, sizeof(c->partuuid));
		memcpy(c->partlabel, parts[i].name, sizeof(c->partlabel));
	}
}

/* vda before vdb before vdaa. */
static int by_name(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	size_t nx = strlen(x), ny = strlen(y);

	if (nx != ny)
		return nx < ny ? -1 : 1;
	return strcmp(x, y);
}

static void scan(struct candidates *cs)
{
	char *names[CANDIDATES_MAX];
	unsigned n = 0;
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;

	cs->n = 0;
	if (!dir)
		return;
	while (n < CANDIDATES_MAX && (entry = readdir(dir))) {
		const char *name = entry->d_name;

		/* Empty loop and RAM disks are no roots, and there are many. */
		if (name[0] == '.' || !strncmp(name, "loop", 4) || !strncmp(name, "ram", 3))
			continue;
		names[n] = strdup(name);
		if (names[n])
			n++;
	}
	closedir(dir);
	qsort(names, n, sizeof(names[0]), by_name);
	for (unsigned i = 0; i < n; i++) {
		add_disk(cs, names[i]);
		free(names[i]);
	}
}

static int mount_as(const char *device, const char *type, unsigned long flags, const char *data)
{
	if (!mount(device, NEW_ROOT, type, flags, data))
		return 0;
	/* A read-only disk: do as the kernel does and mount it so. */
	if ((errno == EACCES || errno == EROFS) && !(flags & MS_RDONLY) &&
	    !mount(device, NEW_ROOT, type, flags | MS_RDONLY, data)) {
		say("%s: is write-protected, mounted read-only", device);
		return 0;
	}
	return -errno;
}

/* Each type of a list, until one fits. */
static int mount_any_of(const char *device, char *types, const char *separators,
			unsigned long flags, const char *data)
{
	char *save = NULL;
	int rc = -EINVAL;

	for (char *type = strtok_r(types, separators, &save); type;
	     type = strtok_r(NULL, separators, &save)) {
		int r = mount_as(device, type, flags, data);

		if (!r)
			return 0;
		/* "Not mine" and "no such type" say less than any other answer. */
		if (r != -EINVAL && r != -ENODEV)
			rc = r;
		else if (rc == -EINVAL)
			rc = r;
	}
	return rc;
}

/* /proc/filesystems: "nodev" before those that live on no device. */
static void block_types(char *out, size_t size)
{
	static char text[4096];
	char *save = NULL;
	size_t used = 0;

	out[0] = '\0';
	if (read_text("/proc/filesystems", text, sizeof(text)))
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int n;

		if (line[0] != '\t')
			continue;
		n = snprintf(out + used, size - used, "%s,", line + 1);
		if (n < 0 || (size_t)n >= size - used)
			break;
		used += (size_t)n;
	}
	out[used] = '\0';
}

static int mount_device(const struct boot_options *o, const char *name, const struct superblock *sb)
{
	unsigned long flags = o->read_only ? MS_RDONLY : 0;
	char device[280], types[1024];

	snprintf(device, sizeof(device), "/dev/%s", name);
	if (o->rootfstype[0])
		snprintf(types, sizeof(types), "%s", o->rootfstype);
	else if (sb && !strcmp(sb->type, "ext4"))
		/* A kernel without ext4 may have the older drivers. */
		snprintf(types, sizeof(types), "ext4,ext3,ext2");
	else if (sb)
		snprintf(types, sizeof(types), "%s", sb->type);
	else
		block_types(types, sizeof(types));
	return mount_any_of(device, types, ",:", flags, o->rootflags[0] ? o->rootflags : NULL);
}

static bool try_all(const struct boot_options *o, const struct candidates *cs)
{
	for (unsigned i = 0; i < cs->n; i++) {
		const struct root_candidate *c = &cs->list[i];

		if (!c->has_fs || mount_device(o, c->name, &c->sb))
			continue;
		if (root_has_init(o)) {
			say("root: /dev/%s, %s", c->name, c->sb.type);
			return true;
		}
		umount2(NEW_ROOT, MNT_DETACH);
	}
	return false;
}

static void describe(const struct candidates *cs, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < cs->n; i++) {
		const struct root_candidate *c = &cs->list[i];
		int n = snprintf(out + used, size - used, "%s/dev/%s%s%s%s%s%s%s", i ? "; " : "",
				 c->name, c->has_fs ? " " : "", c->has_fs ? c->sb.type : "",
				 c->sb.uuid[0] ? " UUID=" : "", c->sb.uuid,
				 c->sb.label[0] ? " LABEL=" : "", c->sb.label);

		if (n < 0 || (size_t)n >= size - used)
			return;
		used += (size_t)n;
	}
	if (!cs->n)
		snprintf(out, size, "none");
}

/* A named root is mounted or the end: trying again would not help. */
static bool try_named(const struct boot_options *o, const struct root_spec *spec,
		      const struct candidates *cs)
{
	const struct root_candidate *found = NULL;
	const char *type;
	int rc;

	for (unsigned i = 0; i < cs->n; i++) {
		if (!root_spec_matches(spec, &cs->list[i]))
			continue;
		if (!found)
			found = &cs->list[i];
		else
			complain("root=%s: /dev/%s has that name too; taking /dev/%s", o->root,
				 cs->list[i].name, found->name);
	}
	if (!found)
		return false;
	rc = mount_device(o, found->name, found->has_fs ? &found->sb : NULL);
	type = o->rootfstype[0] ? o->rootfstype : found->has_fs ? found->sb.type : NULL;
	if (rc && !type) {
		static char others[700];

		describe(cs, others, sizeof(others));
		give_up("root=%s: /dev/%s has no file system that is known; block devices: %s",
			o->root, found->name, others);
	}
	if (rc == -ENODEV)
		give_up("root=%s: /dev/%s: the kernel has no driver for %s", o->root, found->name,
			type);
	if (rc)
		give_up("root=%s: mounting /dev/%s as %s: %s", o->root, found->name, type,
			strerror(-rc));
	return true;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void sleep_ms(unsigned ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};

	nanosleep(&t, NULL);
}

/* A share has no driver to wait for: its device was there before us. */
static void mount_tag(const struct boot_options *o, const char *tag)
{
	int rc = mount_as(tag, o->rootfstype, o->read_only ? MS_RDONLY : 0,
			  o->rootflags[0] ? o->rootflags : NULL);

	if (rc == -ENODEV)
		give_up("root=%s: the kernel has no driver for %s", tag, o->rootfstype);
	if (rc == -EINVAL)
		give_up("root=%s: no share has that tag; see --share DIR,tag=NAME", tag);
	if (rc)
		give_up("root=%s: mounting it as %s: %s", tag, o->rootfstype, strerror(-rc));
}

void mount_root(const struct boot_options *o)
{
	static struct candidates cs;
	static char found[700];
	unsigned pause = 1, limit_s = WAIT_S;
	struct root_spec spec;
	uint64_t end;

	if (root_spec_parse(&spec, o->root, o->rootfstype))
		give_up("root=%s: not understood; give a device (/dev/vda), UUID=, LABEL=, "
			"PARTUUID= or PARTLABEL=",
			o->root);
	if (spec.kind == ROOT_TAG) {
		mount_tag(o, spec.value);
		return;
	}
	/* rootdelay was made for drivers that take their time: wait longer, not always. */
	if (o->wait_s)
		limit_s = o->wait_s;
	if (o->delay_s > limit_s)
		limit_s = o->delay_s;
	end = now_ms() + limit_s * 1000ull;
	for (;;) {
		scan(&cs);
		if (spec.kind == ROOT_ANY ? try_all(o, &cs) : try_named(o, &spec, &cs))
			return;
		if (!o->wait_for_ever && now_ms() >= end)
			break;
		sleep_ms(pause);
		pause = pause * 2 > 20 ? 20 : pause * 2;
	}
	describe(&cs, found, sizeof(found));
	if (spec.kind == ROOT_ANY)
		give_up("no disk or partition has an init on it; block devices: %s", found);
	give_up("root=%s: not found within %u s; block devices: %s", o->root, limit_s, found);
}
