/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users: whom /etc/passwd and /etc/group know [passwd(5), group(5)].
 *
 * Read as the plain text they are: what else a system may ask (LDAP, systemd's own users)
 * it asks through libraries that a static program cannot load. A line that is none, or has
 * a field that is too long for us, is passed over.
 */
#ifndef FIRMWARE_INIT_USERS_H
#define FIRMWARE_INIT_USERS_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct user {
	uid_t uid;
	gid_t gid;
	char name[256];
	char home[1024]; /* "": the line has none */
	char shell[1024];
};

/* A user's or a group's number: digits only, below the one that stands for none (2^32 - 1).
 * Gives 0; -EINVAL, *out untouched, if it is not one. */
int users_number(const char *text, uint32_t *out);

/* The first user in `passwd` that has the name `who`, or, if it is digits, that number. Gives 0
 * or -ENOENT. */
int users_find(struct user *u, FILE *passwd, const char *who);

/* The number of the group named `which` in `group`. Gives 0 or -ENOENT. */
int users_find_group(gid_t *gid, FILE *group, const char *which);

/* All groups of the user `name`, whose own is `gid`: that first, then those in `group` that
 * count it among their members. Gives how many, in *out, the caller's to free; or -ENOMEM. */
int users_groups(gid_t **out, FILE *group, const char *name, gid_t gid);

#endif
