/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox: what a process that runs a stranger's guest gives up before it does.
 *
 * First sandbox_begin(), while there is one thread: the kernel is asked for all of it, and programs
 * get no new privileges. From now on each thread confines itself as it begins. Then, before the
 * guest's first instruction, sandbox_close(): the main thread confines itself as well.
 *
 * What is given up, and in what order, vmm/sandbox/README.md tells. It is the process's, once:
 * there is no way back.
 */
#ifndef VMM_SANDBOX_SANDBOX_H
#define VMM_SANDBOX_SANDBOX_H

#include "vmm/base/err.h"
#include "vmm/base/thread.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* LOG: nothing is taken away, but the kernel logs each call that ON would not allow. */
enum sandbox_mode { SANDBOX_LOG, SANDBOX_ON };

/* The exit status after a call that a thread may not make. */
enum { SANDBOX_STATUS = 4 };

/* What may be done with files below a directory. */
enum sandbox_access {
	SANDBOX_READ = 1,   /* open files and directories to read */
	SANDBOX_WRITE = 2,  /* open files to write, make and rename files and directories */
	SANDBOX_REMOVE = 4, /* remove files and directories */
	SANDBOX_NODES = 8,  /* make links, FIFOs, sockets and devices */
};

struct sandbox_place {
	const char *path;
	bool above;      /* it is the directory around `path` that is meant */
	unsigned access; /* of enum sandbox_access */
};

enum { SANDBOX_PLACES_MAX = 32 };

/* Strings are borrowed until sandbox_begin() is back. */
struct sandbox_plan {
	enum sandbox_mode mode;
	bool makes_threads; /* while the guest runs: the main thread is of THREAD_CONTROL */
	int status;         /* of the process's end after a violation */
	unsigned more_fds;  /* that may be opened later; 0: the limit stays */
	struct sandbox_place places[SANDBOX_PLACES_MAX]; /* for the main thread */
	unsigned n_places;
	struct sandbox_place shares[SANDBOX_PLACES_MAX]; /* for those that serve shares */
	unsigned n_shares;
};

/* Add a place; one too many is left out, and then cannot be used. `path` NULL: none. */
void sandbox_place(struct sandbox_plan *p, const char *path, bool above, unsigned access);

/* Begin. A directory that is not there is left out. 0, or a negative errno with *e filled: with ON,
 * what the host's kernel lacks is named. Main thread, while there is no other. */
int sandbox_begin(const struct sandbox_plan *plan, struct err *e);

/* Confine the calling main thread, and whatever thread it begins later. 0, or a negative errno with
 * *e filled. */
int sandbox_close(struct err *e);

/* What this kernel lacks for ON, as a person would say it, or NULL. Any thread. */
const char *sandbox_lacks(void);

/* The least Landlock ABI for ON: with the first one, files could not go from one directory of a
 * share into another. */
enum { SANDBOX_LANDLOCK_ABI = 2 };

/* The Landlock ABI of this kernel: 1 or more, or 0 without it. */
int sandbox_landlock_abi(void);

/* --- the filters ------------------------------------------------------------------------------ */

struct sock_filter;

/* A quarter of what the kernel takes. */
enum { SANDBOX_INSNS_MAX = 1024 };

struct sandbox_filter {
	const char *name; /* of the kind of thread */
	const struct sock_filter *insns;
	unsigned n_insns;
	const uint16_t *calls; /* those allowed, ascending, */
	unsigned n_calls;      /* and how many they are */
};

/* The filter of a kind; it is static. */
const struct sandbox_filter *sandbox_filter(enum thread_kind kind);
/* The name of a call, or NULL if it has none that was known when this was built. */
const char *sandbox_call_name(unsigned nr);

/* `minivmm doctor --sandbox`: the calls of each kind, and what the kernel has. Gives a negative
 * errno if `out` fails. */
int sandbox_report(FILE *out);

#endif
