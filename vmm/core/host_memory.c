/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/core/host_memory.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A small file of /proc or /sys as a string; empty if there is none. */
static bool slurp(const char *root, const char *path, char *buf, size_t size)
{
	char full[PATH_MAX];

	buf[0] = '\0';
	if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
		return false;
	_cleanup_fd_ int fd = open(full, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* The number behind `name` at the start of a line, or `otherwise`. */
static uint64_t field(const char *text, const char *name, uint64_t otherwise)
{
	size_t len = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) == 0)
			return strtoull(line + len, NULL, 10);
	}
	return otherwise;
}

/* A file that holds one number; "max" and no file are `otherwise`. */
static uint64_t number(const char *root, const char *path, uint64_t otherwise)
{
	char text[64], *end;

	if (!slurp(root, path, text, sizeof(text)))
		return otherwise;
	uint64_t n = strtoull(text, &end, 10);

	return end == text ? otherwise : n;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* One group: its limit, and what is left below it. The cache of files counts as used
 * there and goes when somebody needs the memory. */
static void look_at_group(struct host_memory *h, const char *root, const char *group)
{
	char path[PATH_MAX], stat[4096];
	uint64_t max, used, cache;

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group);
	max = number(root, path, UINT64_MAX);
	if (max == UINT64_MAX)
		return;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.current", group);
	used = number(root, path, 0);
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.stat", group);
	slurp(root, path, stat, sizeof(stat));
	cache = field(stat, "inactive_file ", 0) + field(stat, "active_file ", 0);
	h->limit = least(h->limit, max);
	h->limit_left = least(h->limit_left, minus(max, minus(used, cache)));
}

/* Our group and all around it [cgroup-v2.rst, "0::$PATH"]. */
static void look_at_groups(struct host_memory *h, const char *root)
{
	char text[PATH_MAX], *group, *slash;

	slurp(root, "/proc/self/cgroup", text, sizeof(text));
	group = strstr(text, "0::/");
	if (!group)
		return;
	group += strlen("0::");
	group[strcspn(group, "\n")] = '\0';
	do {
		look_at_group(h, root, strcmp(group, "/") == 0 ? "" : group);
		slash = strrchr(group, '/');
		if (slash)
			*slash = '\0';
	} while (slash && slash != group);
	if (*group == '\0')
		look_at_group(h, root, "");
}

void host_memory_read(struct host_memory *h, const char *root)
{
	char text[4096];

	slurp(root, "/proc/meminfo", text, sizeof(text));
	*h = (struct host_memory){
		.total = field(text, "MemTotal:", UINT64_MAX / KiB) * KiB,
		.available = field(text, "MemAvailable:", UINT64_MAX / KiB) * KiB,
		.swap = field(text, "SwapTotal:", 0) * KiB,
		.limit = UINT64_MAX,
		.limit_left = UINT64_MAX,
		.strict_commit = number(root, "/proc/sys/vm/overcommit_memory", 0) == 2,
		.commit_left = minus(field(text, "CommitLimit:", UINT64_MAX / KiB),
				     field(text, "Committed_AS:", 0)) *
			       KiB,
	};
	look_at_groups(h, root);
}

uint64_t host_memory_most(const struct host_memory *h)
{
	uint64_t all = h->total > UINT64_MAX - h->swap ? UINT64_MAX : h->total + h->swap;

	return least(all, h->limit);
}

uint64_t host_memory_now(const struct host_memory *h)
{
	return least(h->available, h->limit_left);
}

void host_huge_pages_read(struct host_huge_pages *p, uint64_t page_bytes, const char *root)
{
	static const char *const names[] = {"nr_hugepages", "free_hugepages", "resv_hugepages",
					    "nr_overcommit_hugepages", "surplus_hugepages"};
	uint64_t n[ARRAY_LEN(names)];

	*p = (struct host_huge_pages){0};
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		char path[128];

		snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/%s",
			 page_bytes / KiB, names[i]);
		n[i] = number(root, path, UINT64_MAX);
		if (n[i] == UINT64_MAX)
			return;
	}
	p->exists = true;
	p->total = n[0];
	p->to_have = minus(n[1], n[2]) + minus(n[3], n[4]);
}

bool host_gives_thp(const char *root)
{
	char text[128];

	return slurp(root, "/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)) &&
	       !strstr(text, "[never]");
}
