/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mark: how the machines that run on a host are found, without a daemon and without a file that
 * could be left over: by their processes.
 *
 * A process that has a KVM machine open is one, and /proc shows its descriptors to its own user.
 * One of them is the mark: a memfd of a name that we know, with the control socket's path in it. It
 * goes when its process does, however that ends. What it says is that process's word and no more:
 * who uses the path makes sure of who answers there.
 *
 * Of one in the sandbox /proc shows descriptors to root alone. What its user sees is that there is
 * a process of his that calls itself minivmm and may not be looked into, and its command line; the
 * path is the rest of an abstract socket's name, which /proc/net/unix has:
 * "minivmm-control:PID:PATH", without a PATH that is too long for it.
 */
#ifndef VMM_CONTROL_MARK_H
#define VMM_CONTROL_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MARK_PATH_MAX = 4096, MARK_ARGS_MAX = 8192 };

/* Both, as long as they are open; -1: not there. */
struct mark_left {
	int file, name;
};
/* Leave it in this process, for the control socket at `path`; NULL: a socket without one. 0, or a
 * negative errno and nothing is left. */
int mark_leave(struct mark_left *out, const char *path);
void mark_remove(struct mark_left *m);

/* A machine's process. */
struct mark {
	pid_t pid;
	bool has_control;
	char *path; /* of its control socket, absolute; owned; NULL: it has none that we know */
	char *args; /* its command line, each word with a NUL behind it; owned */
	size_t args_len;
	uint64_t uptime_ms; /* of the process */
};

/* Those of our effective user, and root's are everybody's, by pid. *out is an array, for
 * mark_free(). Gives how many, or a negative errno. Reads /proc alone, and waits for nobody. */
int mark_find(struct mark **out);
void mark_free(struct mark *marks, int n);

/* What to call one: its socket's name without ".sock", or that of the directory if that is
 * "control";
 * "" if it has none. */
void mark_name(const struct mark *m, char name[64]);

#endif
