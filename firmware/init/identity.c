/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity: whose the command is. It gets the numbers of a user of the root's, or of whoever
 * runs minivmm, and nothing of ours: with root's number all capabilities go.
 */
#include "firmware/init/command.h"

#include "firmware/init/users.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char passwd_path[] = "/etc/passwd", group_path[] = "/etc/group";

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	int n_groups;
	bool known; /* user is what the root says of it */
	struct user user;
};

static int say_why(const char *user, const char *why)
{
	fprintf(stderr, "minivmm: --user %s: %s\n", user, why);
	return -ENOENT;
}

static bool look_up(struct identity *id, const char *who)
{
	FILE *f = fopen(passwd_path, "re");

	id->known = f && !users_find(&id->user, f, who);
	if (f)
		fclose(f);
	return id->known;
}

static int find_group(gid_t *gid, const char *which)
{
	FILE *f;
	int ret = users_number(which, gid);

	if (!ret)
		return 0;
	f = fopen(group_path, "re");
	ret = f ? users_find_group(gid, f, which) : -ENOENT;
	if (f)
		fclose(f);
	return ret;
}

/* The user's own group and those that it is a member of. A root without /etc/group has no
 * members. */
static int list_groups(struct identity *id)
{
	FILE *f = fopen(group_path, "re");

	if (!f)
		f = fopen("/dev/null", "re");
	id->gid = id->user.gid;
	id->n_groups = f ? users_groups(&id->groups, f, id->user.name, id->gid) : -errno;
	if (f)
		fclose(f);
	return id->n_groups < 0 ? id->n_groups : 0;
}

/* "USER[:GROUP]", names or numbers. With a group, that is the only one. */
static int resolve(struct identity *id, const char *user)
{
	char *who = strdup(user), *group = who ? strchr(who, ':') : NULL;
	bool number;
	int ret = 0;

	if (!who)
		return say_why(user, "out of memory");
	if (group)
		*group++ = '\0';
	number = !users_number(who, &id->uid);
	if (look_up(id, who))
		id->uid = id->user.uid;
	if (!id->known && !number)
		ret = say_why(user, "there is no such user in the guest's /etc/passwd");
	else if (!id->known && !group)
		ret = say_why(user, "is not in the guest's /etc/passwd; give its group as well: "
				    "UID:GID");
	else if (group && find_group(&id->gid, group))
		ret = say_why(user, "there is no such group in the guest's /etc/group");
	else if (group)
		id->n_groups = (id->groups = malloc(sizeof(gid_t))) ? 1 : -1;
	else if (list_groups(id))
		ret = say_why(user, "its groups cannot be read");
	if (!ret && group) {
		if (id->n_groups < 0)
			ret = say_why(user, "out of memory");
		else
			id->groups[0] = id->gid;
	}
	free(who);
	return ret;
}

/* "UID GID GROUP...", as the host has written them. */
static int read_numbers(struct identity *id, const char *ids)
{
	char *text = strdup(ids), *save = NULL, uid[16];

	if (!text || !(id->groups = calloc(strlen(ids) + 1, sizeof(gid_t))))
		return say_why("self", "out of memory");
	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		uint32_t n = 0;

		users_number(word, &n);
		id->groups[id->n_groups++] = n;
	}
	free(text);
	if (id->n_groups < 2)
		return say_why("self", "minivmm has not told who that is");
	/* The first is no group. */
	id->uid = id->groups[0];
	id->gid = id->groups[0] = id->groups[1];
	snprintf(uid, sizeof(uid), "%u", id->uid);
	look_up(id, uid);
	return 0;
}

/* What nobody has set. */
static void complete_environment(const struct identity *id)
{
	const struct user *u = &id->user;

	setenv("HOME", id->known && *u->home ? u->home : "/", 0);
	setenv("SHELL", id->known && *u->shell ? u->shell : "/bin/sh", 0);
	if (!id->known)
		return;
	setenv("USER", u->name, 0);
	setenv("LOGNAME", u->name, 0);
}

int take_identity(const struct command *c)
{
	struct identity id = {0};
	int ret = c->ids ? read_numbers(&id, c->ids) : c->user ? resolve(&id, c->user) : 0;

	if (ret || (!c->ids && !c->user))
		return ret;
	complete_environment(&id);
	/* So that they can be opened by their names, as /dev/stdin or the terminal. */
	for (int i = 0; i <= STDERR_FILENO; i++)
		(void)!fchown(i, id.uid, (gid_t)-1);
	if (setgroups((size_t)id.n_groups, id.groups) || setresgid(id.gid, id.gid, id.gid) ||
	    setresuid(id.uid, id.uid, id.uid))
		return say_why(c->user ? c->user : "self", strerror(errno));
	return 0;
}
