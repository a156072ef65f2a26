/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/init/users.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PASSWD_FIELDS = 7, GROUP_FIELDS = 4 };

/* What a process can have [Linux include/uapi/linux/limits.h, NGROUPS_MAX]. */
enum { GROUPS_MAX = 65536 };

int users_number(const char *text, uint32_t *out)
{
	uint64_t n = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n >= UINT32_MAX)
			return -EINVAL;
	}
	*out = (uint32_t)n;
	return 0;
}

/* Part `line` at its colons into just `n` fields. */
static bool split(char *line, char **fields, unsigned n)
{
	line[strcspn(line, "\n")] = '\0';
	for (unsigned i = 0; i < n; i++) {
		fields[i] = line;
		line = strchr(line, ':');
		if (!line)
			return i == n - 1;
		*line++ = '\0';
	}
	return false;
}

static bool copy(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);

	if (len >= size)
		return false;
	memcpy(to, from, len + 1);
	return true;
}

static bool read_user(struct user *u, char *line)
{
	char *f[PASSWD_FIELDS];

	return split(line, f, PASSWD_FIELDS) && *f[0] && !users_number(f[2], &u->uid) &&
	       !users_number(f[3], &u->gid) && copy(u->name, sizeof(u->name), f[0]) &&
	       copy(u->home, sizeof(u->home), f[5]) && copy(u->shell, sizeof(u->shell), f[6]);
}

int users_find(struct user *u, FILE *passwd, const char *who)
{
	uint32_t uid = 0;
	bool number = !users_number(who, &uid), found = false;
	char *line = NULL;
	size_t size = 0;

	while (!found && getline(&line, &size, passwd) >= 0)
		found = read_user(u, line) && (number ? u->uid == uid : !strcmp(u->name, who));
	free(line);
	return found ? 0 : -ENOENT;
}

int users_find_group(gid_t *gid, FILE *group, const char *which)
{
	char *line = NULL, *f[GROUP_FIELDS];
	size_t size = 0;
	bool found = false;

	while (!found && getline(&line, &size, group) >= 0)
		found = split(line, f, GROUP_FIELDS) && !strcmp(f[0], which) &&
			!users_number(f[2], gid);
	free(line);
	return found ? 0 : -ENOENT;
}

static bool is_member(char *members, const char *name)
{
	char *save = NULL;

	for (char *m = strtok_r(members, ",", &save); m; m = strtok_r(NULL, ",", &save))
		if (!strcmp(m, name))
			return true;
	return false;
}

int users_groups(gid_t **out, FILE *group, const char *name, gid_t gid)
{
	gid_t *groups = malloc(sizeof(*groups)), *more, next;
	char *line = NULL, *f[GROUP_FIELDS];
	size_t size = 0;
	int n = 0;

	if (!groups)
		return -ENOMEM;
	groups[n++] = gid;
	while (n < GROUPS_MAX && getline(&line, &size, group) >= 0) {
		if (!split(line, f, GROUP_FIELDS) || users_number(f[2], &next) || next == gid ||
		    !is_member(f[3], name))
			continue;
		more = realloc(groups, ((size_t)n + 1) * sizeof(*groups));
		if (!more) {
			free(groups);
			free(line);
			return -ENOMEM;
		}
		groups = more;
		groups[n++] = next;
	}
	free(line);
	*out = groups;
	return n;
}
