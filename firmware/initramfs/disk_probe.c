/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_probe: for each disk, what is on all of it, and what is in each of its
 * partitions. The names are those that Linux will give: disks in the order of
 * their PCI slots.
 */
#include "firmware/initramfs/disk_probe.h"

#include "firmware/init/partitions.h"
#include "vmm/base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* vda to vdz, then vdaa [Linux drivers/block/virtio_blk.c, virtblk_name_format]. */
static void disk_name(char *out, size_t size, unsigned index)
{
	if (index < 26)
		snprintf(out, size, "vd%c", 'a' + (char)index);
	else
		snprintf(out, size, "vd%c%c", 'a' + (char)(index / 26 - 1),
			 'a' + (char)(index % 26));
}

static void add(struct disk_probe *p, int fd, const char *name, const struct partition *part)
{
	struct root_candidate *c = &p->found[p->n];

	if (p->n == DISK_PROBE_MAX)
		return;
	memset(c, 0, sizeof(*c));
	if (!superblock_read(&c->sb, fd, part ? part->start : 0))
		return;
	c->has_fs = true;
	snprintf(c->name, sizeof(c->name), "%s", name);
	if (part) {
		memcpy(c->partuuid, part->uuid, sizeof(c->partuuid));
		memcpy(c->partlabel, part->name, sizeof(c->partlabel));
	}
	p->n++;
}

static void probe(struct disk_probe *p, const char *path, unsigned index)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct partition parts[PARTITIONS_MAX];
	char disk[8], name[32];
	struct stat st;
	unsigned n;

	if (fd < 0 || fstat(fd, &st) || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return;
	disk_name(disk, sizeof(disk), index);
	add(p, fd, disk, NULL);
	n = partitions_read(parts, PARTITIONS_MAX, fd);
	for (unsigned i = 0; i < n; i++)
		if (!partition_name(name, sizeof(name), disk, parts[i].number))
			add(p, fd, name, &parts[i]);
}

void disk_probe(struct disk_probe *p, const char *const *paths, unsigned n)
{
	p->n = 0;
	for (unsigned i = 0; i < n && i < 26 * 26; i++)
		probe(p, paths[i], i);
}
