/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share: a directory of the host that a guest sees, as a server of FUSE requests.
 *
 * It knows nothing of virtio: a request is some memory to read and some to write, and is
 * carried out where share_serve() is called, from beginning to end. The memory is
 * the guest's, who may change it meanwhile: what is judged is copied first; only file
 * data goes straight between the guest's buffers and the file.
 *
 * Nothing outside of the directory is reached by any request: see share_nodes.c. Requests
 * are believed in nothing: lengths, names, node ids and handles are checked before
 * libfuse, which trusts whoever it talks to, sees them (share_check.c).
 *
 * Whose a file is (share_owner.c): minivmm run by root gives the guest each owner as it is,
 * and what the guest makes belongs to whoever made it there. Run by anybody else, what is
 * theirs appears as the guest's root's, all else as it is; what the guest makes is theirs.
 *
 * A guest can make a share grow this far:
 *
 *	descriptors     fds_max: a half for files that it knows, a quarter for those that it has
 *	                open, an eighth for one listing; the rest is for a request's own needs
 *	files it knows  nodes_max, each of at most SHARE_NODE_BYTES with its name and its
 *	                places in the tables
 *	open files      fds_max / 4, of 128 bytes each
 *	listings        SHARE_AHEAD_MAX, of 32 KiB each
 *	a request       256 KiB
 *
 * Threads: a share belongs to one thread at a time.
 */
#ifndef DEVICES_BACKEND_SHARE_H
#define DEVICES_BACKEND_SHARE_H

#include "vmm/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* What the guest may keep of what it has seen (adr/001-close-to-open.md). */
enum share_cache {
	SHARE_CACHE_AUTO,   /* what was closed on the host is seen at the next open */
	SHARE_CACHE_NONE,   /* nothing: each look and each read asks the host */
	SHARE_CACHE_ALWAYS, /* all: for a tree that only the guest changes */
};

struct share_options {
	const char *name;   /* for log lines, borrowed */
	const char *option; /* what errors of opening begin with; NULL: "--share" */
	bool writable;
	enum share_cache cache;
	/* Not run by root: what is ours appears as ours, not as the guest's root's. */
	bool owners_shown;
	unsigned fds_max;   /* how many descriptors it may hold, at least SHARE_FDS_MIN */
	unsigned nodes_max; /* how many files the guest may know; 0: SHARE_NODES_MAX */
};

enum {
	SHARE_FDS_MIN = 64,
	SHARE_NODES_MAX = 768 << 10,
	SHARE_NODE_BYTES = 640,
	SHARE_AHEAD_MAX = 64, /* directories that are read ahead of the guest */
};

struct share;

/* Raise the process's limit on open descriptors as far as it goes, and give how many of
 * them each of `n` > 0 shares may hold. Main thread. */
unsigned share_raise_limit(unsigned n);

/* Open the directory `path`. Errors begin "--share PATH: ". On success *out is owned by
 * the caller. */
int share_open(struct share **out, const char *path, const struct share_options *options,
	       struct err *e);
/* NULL is fine. */
void share_destroy(struct share *s);

/* On the thread that requests will come from, before the first: its working directory
 * and umask become its own. */
void share_attach(struct share *s);

/* One request: `in` is what the guest says, `out` the room for the answer. */
struct share_request {
	const struct iovec *in;
	int n_in;
	uint64_t in_len;
	const struct iovec *out;
	int n_out;
	uint64_t out_len;
};

/* No answer is longer, whatever room there is; nothing is written behind that. */
enum { SHARE_ANSWER_MAX = (1 << 20) + 16 };

/* Carry it out. Gives how many bytes of `out` were filled from the front: 0 for those
 * requests that have no answer. -EPROTO: it has no header or no room for an answer that is
 * due, so that there is no way to tell the guest but to fail the device. */
int64_t share_serve(struct share *s, const struct share_request *r);

/* The request of that unique number, if it is yet to come, is to be answered with
 * EINTR: its caller has lost patience. Those that were begun are done already. */
void share_interrupt(struct share *s, uint64_t unique);

/* Forget the guest's session: all node ids and handles. */
void share_reset(struct share *s);
/* Is there one? */
bool share_mounted(const struct share *s);
bool share_writable(const struct share *s);

/* For tests: what is held. */
struct share_counts {
	unsigned nodes, fds, handles; /* the root is a node; fds are those of nodes */
	unsigned ahead;               /* directories that are read ahead */
};
struct share_counts share_count(const struct share *s);

#endif
