/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix_path: a unix socket that listens at a path, which is ours and goes with us.
 *
 * The socket has mode 0600 from its first moment: bind() takes the mode of the descriptor's
 * own inode. It also refuses a path where anything is, be it only a symlink that points
 * nowhere. At the end the path is removed if it still is what we made, whatever has become
 * of the working directory.
 *
 * `what` names the path in messages, which begin with it: "--serial socket=PATH".
 */
#ifndef DEVICES_BACKEND_UNIX_PATH_H
#define DEVICES_BACKEND_UNIX_PATH_H

#include "vmm/base/err.h"

#include <stdbool.h>
#include <sys/stat.h>

/* What was made, so that only that is removed. */
struct unix_path {
	int dir;    /* -1: nothing, */
	char *leaf; /* and this is NULL */
	dev_t dev;
	ino_t ino;
};

#define UNIX_PATH_NONE ((struct unix_path){.dir = -1})

/* Could it be made? Makes nothing. With `replace`, a socket that nobody listens at any more
 * may be there. 0, or a negative errno with *e filled (ERR_USAGE). */
int unix_path_check(const char *what, const char *path, bool replace, struct err *e);
/* Make it: a listening descriptor that does not block, or a negative errno with *e filled.
 * *p is for unix_path_remove() in either case. */
int unix_path_listen(struct unix_path *p, const char *what, const char *path, int backlog,
		     bool replace, struct err *e);
void unix_path_remove(struct unix_path *p);

/* A connection to who listens at `path`, that does not block: a descriptor, or a negative
 * errno; -EAGAIN if there is no room among those that wait for him. Never waits. */
int unix_path_connect(const char *path);

#endif
