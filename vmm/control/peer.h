/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer: the other end of a unix socket, that says lines and is told lines. It knows neither what
 * they say nor who waits for them to come.
 *
 * No peer can hold its server up: nothing here waits, and the line that it may send has a limit.
 *
 * A line may have descriptors with it (SCM_RIGHTS): they are those of the line in whose bytes the
 * sendmsg() ends that they come by, so one line is one sendmsg(). RPC_FDS_MAX of them at most.
 */
#ifndef VMM_CONTROL_PEER_H
#define VMM_CONTROL_PEER_H

#include "vmm/control/rpc.h"

#include <stdbool.h>
#include <stddef.h>

enum { CONTROL_LINE_MAX = 64 * 1024 };

/* All of these on one thread. */
struct peer {
	int fd;   /* owned; -1: nobody */
	char *in; /* CONTROL_LINE_MAX bytes; what came of lines that were not taken */
	size_t in_len;
	struct peer_fd { /* a descriptor that came, and with which of these bytes: the one */
		int fd;  /* before that place */
		size_t at;
	} sent[RPC_FDS_MAX]; /* owned */
	unsigned n_sent;
	size_t lost_at; /* likewise, some that could not be kept; 0: none */
	char *out;      /* what is on its way, or NULL: only then is the next line to be taken */
	size_t out_len, out_at;
	bool skips; /* ... the rest of a line that was too long */
	bool last;  /* it has sent all */
};

/* Takes `fd` over, which does not block. 0, or -ENOMEM with nothing left. */
int peer_open(struct peer *p, int fd);
/* Harmless where there is nobody, if p->fd says so. */
void peer_close(struct peer *p);

/* Take what there is to read; at the end p->last is set. */
void peer_receive(struct peer *p);

/* What came of it: nothing whole yet; something that was refused, and the peer told so, behind what
 * is on its way; or a line, which is at p->in: it has `*len` bytes without its newline, and *fds,
 * which are the caller's, came with it. It is for peer_taken() when it has been carried out. */
enum peer_line { PEER_NONE, PEER_REFUSED, PEER_LINE };
enum peer_line peer_line(struct peer *p, size_t *len, struct rpc_fds *fds);
void peer_taken(struct peer *p, size_t len);

/* Behind what is on its way. Takes `line` over, which may be NULL: there is none. False: there is
 * no memory. */
bool peer_put(struct peer *p, char *line);
/* Send what it takes now: 1 if that was all, 0 if some is left, or a negative errno: it is gone. */
int peer_send(struct peer *p);

#endif
