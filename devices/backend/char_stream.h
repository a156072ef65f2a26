/* SPDX-License-Identifier: Apache-2.0 */
/*
 * char_stream: a console's bytes over a descriptor of our own, both ways, whose other
 * end may come, leave and come back (a client of a socket, a pseudo-terminal).
 *
 *	vCPU -> ring ==loop==> write(fd)
 *	read(fd) ==loop==> receive(), and while the guest takes no more, nothing is read
 *
 * No thread: the descriptor is non-blocking, and the main loop writes when it can.
 * While nobody is there the ring keeps the newest output for whoever comes.
 */
#ifndef DEVICES_BACKEND_CHAR_STREAM_H
#define DEVICES_BACKEND_CHAR_STREAM_H

#include "devices/backend/char_ring.h"
#include "vmm/core/char_port.h"
#include "vmm/core/loop.h"

#include <pthread.h>
#include <stdbool.h>

enum { CHAR_STREAM_CHUNK = 4096 };

struct char_stream {
	struct loop *loop;
	void (*gone)(void *ctx);
	void *ctx;

	pthread_mutex_t lock; /* of the next four */
	struct char_ring ring;
	bool attached; /* somebody is there */
	bool awake;    /* the loop will look into the ring by itself */
	bool room_posted;

	/* The loop's. */
	int fd; /* borrowed; -1: nobody */
	struct loop_fd *watch;
	struct loop_timer *linger;
	struct char_in in;
	bool eof;                /* nothing comes from there any more */
	bool blocked;            /* it takes no more for now */
	size_t out_from, out_to; /* what of `out` is to be written */
	size_t in_from, in_to;   /* what of `input` the guest has not taken */
	uint8_t out[CHAR_MARK_MAX + CHAR_STREAM_CHUNK];
	uint8_t input[CHAR_STREAM_CHUNK];
};

/* `gone` is called on the loop when the other end has left, after the stream has let go
 * of the descriptor. 0 or a negative errno. */
int char_stream_init(struct char_stream *s, struct loop *loop, void (*gone)(void *ctx), void *ctx);
/* The loop does not run any more; a watched descriptor is still open. Fine on zeroes. */
void char_stream_fini(struct char_stream *s);

struct char_out char_stream_out(struct char_stream *s);
struct char_room char_stream_room(struct char_stream *s);

/* Who gets the input; nothing is read before. */
void char_stream_start(struct char_stream *s, const struct char_in *in);

/* Somebody is at the other end of `fd` (non-blocking, borrowed until char_stream_detach()
 * or gone()). 0 or -ENOMEM. Loop thread, or before it runs; start comes first. */
int char_stream_attach(struct char_stream *s, int fd);
void char_stream_detach(struct char_stream *s);

/* Without the loop: write what waits until all is out, or nothing moved for
 * `timeout_ms`. Gives how many bytes are left. */
size_t char_stream_drain(struct char_stream *s, int timeout_ms);

#endif
