/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring between vCPU threads and one writer thread that blocks in their stead.
 * (O_NONBLOCK would be simpler, but it belongs to the open file, which the
 * user's shell and its other programs share.)
 *
 *	send:   lock, append, wake the writer if it sleeps, unlock
 *	writer: lock, copy a chunk out, unlock, write(2); nothing there: sleep
 *
 * The chunk in the writer's hands is not in the ring any more, so a full ring
 * can drop its oldest byte without asking.
 *
 * A guest writes byte by byte and would wake the writer for each. After a write
 * the writer therefore lingers a moment, awake as far as senders know, and
 * collects what comes; only then it sleeps. An idle guest causes no wake-up.
 */
#include "devices/backend/char_out.h"

#include "devices/backend/char_ring.h"
#include "vmm/base/log.h"
#include "vmm/base/thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	CHUNK = 16 * 1024,
	STACK_BYTES = 256 * 1024,
	LINGER_NS = 500 * 1000,
	GOODBYE_MS = 200, /* how long destroy waits for a writer to come out of write(2) */
};

struct char_out_fd {
	int fd;
	const char *eol; /* a raw terminal needs the carriage return, a file does not */
	pthread_t thread;
	pthread_mutex_t lock; /* of all below but `chunk` and `told`, the writer's */
	pthread_cond_t wake;  /* the writer waits for bytes, or lingers */
	pthread_cond_t moved; /* somebody waits for the writer */

	struct char_ring ring;
	uint64_t marking;  /* what the mark at the start of `chunk` says, if there is one */
	size_t mark_len;   /* its length, or 0 */
	uint64_t in_hand;  /* output in `chunk` that is not written */
	uint64_t progress; /* counts the writer's steps */
	int told;          /* the last error that was logged; the writer's */
	bool sleeping;     /* the writer needs a wake-up */
	bool busy;         /* the writer holds bytes that are not written */
	bool broken;       /* nobody will ever read again */
	bool hurry;        /* no lingering: somebody waits */
	bool stop;
	bool exited;    /* the thread is done with this object */
	bool abandoned; /* destroy has gone: the thread frees the object */

	uint8_t chunk[CHAR_MARK_MAX + CHUNK];
};

/* --- the vCPU's side --------------------------------------------------------- */

static void char_out_send(void *ctx, const uint8_t *bytes, size_t len)
{
	struct char_out_fd *o = ctx;

	pthread_mutex_lock(&o->lock);
	if (o->broken) {
		o->ring.lost += len;
	} else {
		char_ring_append(&o->ring, bytes, len);
		if (o->sleeping) {
			o->sleeping = false;
			pthread_cond_signal(&o->wake);
		}
	}
	pthread_mutex_unlock(&o->lock);
}

/* --- the writer -------------------------------------------------------------- */

/* Take the next bytes to write: a mark, if some were dropped, and a piece of the
 * ring. Under the lock. */
static size_t take_chunk(struct char_out_fd *o)
{
	o->marking = o->ring.dropped;
	o->mark_len = char_ring_mark(&o->ring, o->chunk, o->eol);
	o->in_hand = char_ring_take(&o->ring, o->chunk + o->mark_len, CHUNK);
	return o->mark_len + o->in_hand;
}

/* What is left of the chunk after `done` of `len` bytes will not be written.
 * Under the lock. */
static void lose_rest(struct char_out_fd *o, size_t done, size_t len)
{
	char_ring_lose(&o->ring, len - (done > o->mark_len ? done : o->mark_len));
	if (done < o->mark_len)
		o->ring.dropped += o->marking;
}

/* One write(2): bytes written, or a negative errno. Somebody else may have made
 * the open file non-blocking; then waiting is ours. */
static ssize_t write_some(int fd, const uint8_t *bytes, size_t len)
{
	for (;;) {
		ssize_t n = write(fd, bytes, len);

		if (n >= 0)
			return n;
		if (errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};

			poll(&p, 1, -1);
		} else if (errno != EINTR) {
			return -errno;
		}
	}
}

/* Without the lock on entry and exit. */
static void write_chunk(struct char_out_fd *o, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write_some(o->fd, o->chunk + done, len - done);

		pthread_mutex_lock(&o->lock);
		o->progress++;
		if (n > 0) {
			done += (size_t)n;
			o->in_hand = len - (done > o->mark_len ? done : o->mark_len);
		} else {
			lose_rest(o, done, len);
			o->in_hand = 0;
			done = len;
			/* A full disk may have room again; other errors are for good. */
			if (n != -ENOSPC && n != -EDQUOT) {
				o->broken = true;
				char_ring_forget(&o->ring);
			}
		}
		/* Nobody waits for the rest of a writer that was left behind. */
		if (o->stop)
			done = len;
		pthread_cond_broadcast(&o->moved);
		pthread_mutex_unlock(&o->lock);
		/* A full disk fails with every chunk: once is enough. */
		if (n < 0 && n != -EPIPE && n != o->told) {
			o->told = (int)n;
			log_warn("console output: %s", strerror((int)-n));
		}
	}
}

/* Under the lock. */
static void linger(struct char_out_fd *o)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LINGER_NS;
	if (until.tv_nsec >= 1000000000l) {
		until.tv_nsec -= 1000000000l;
		until.tv_sec++;
	}
	while (!o->hurry && !o->stop)
		if (pthread_cond_timedwait(&o->wake, &o->lock, &until))
			return;
}

static void release(struct char_out_fd *o)
{
	char_ring_fini(&o->ring);
	pthread_cond_destroy(&o->wake);
	pthread_cond_destroy(&o->moved);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

static void *writer_main(void *arg)
{
	struct char_out_fd *o = arg;

	pthread_mutex_lock(&o->lock);
	while (!o->stop) {
		/* A mark alone can wait: it belongs before the bytes that follow. */
		if (!char_ring_waiting(&o->ring)) {
			o->sleeping = true;
			pthread_cond_wait(&o->wake, &o->lock);
			o->sleeping = false;
			continue;
		}
		size_t n = take_chunk(o);

		o->busy = true;
		pthread_mutex_unlock(&o->lock);
		write_chunk(o, n);
		pthread_mutex_lock(&o->lock);
		o->busy = false;
		pthread_cond_broadcast(&o->moved);
		if (char_ring_waiting(&o->ring) < CHUNK)
			linger(o);
	}
	o->exited = true;
	pthread_cond_broadcast(&o->moved);
	bool alone = o->abandoned;

	pthread_mutex_unlock(&o->lock);
	if (alone)
		release(o);
	return NULL;
}

/* --- life -------------------------------------------------------------------- */

struct char_out_fd *char_out_create(int fd, struct err *e)
{
	struct char_out_fd *o = calloc(1, sizeof(*o));
	pthread_condattr_t monotonic;

	if (!o) {
		err_host(e, -ENOMEM, "console output: out of memory");
		return NULL;
	}
	o->fd = fd;
	o->eol = isatty(fd) ? "\r\n" : "\n";
	int ret = char_ring_init(&o->ring);

	if (ret) {
		err_host(e, ret, "console output: %s", strerror(-ret));
		free(o);
		return NULL;
	}
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&o->wake, &monotonic);
	pthread_cond_init(&o->moved, &monotonic);
	pthread_condattr_destroy(&monotonic);
	/* Its signals are blocked: with SIGTTOU the kernel lets a background process write, and
	 * without SIGPIPE a reader that left is EPIPE. */
	ret = thread_start(&o->thread, THREAD_HELPER, "console-out", STACK_BYTES, writer_main, o);
	if (ret) {
		err_host(e, ret, "console output: cannot start a thread: %s", strerror(-ret));
		release(o);
		return NULL;
	}
	return o;
}

struct char_out char_out_port(struct char_out_fd *o)
{
	return (struct char_out){char_out_send, o};
}

static struct timespec in_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000l;
	if (t.tv_nsec >= 1000000000l) {
		t.tv_nsec -= 1000000000l;
		t.tv_sec++;
	}
	return t;
}

bool char_out_drain(struct char_out_fd *o, unsigned timeout_ms)
{
	struct timespec until = in_ms(timeout_ms);
	uint64_t progress;

	pthread_mutex_lock(&o->lock);
	o->hurry = true;
	pthread_cond_signal(&o->wake);
	progress = o->progress;
	while (!o->broken && (o->busy || char_ring_waiting(&o->ring))) {
		if (pthread_cond_timedwait(&o->moved, &o->lock, &until) && o->progress == progress)
			break;
		if (o->progress != progress) {
			progress = o->progress;
			until = in_ms(timeout_ms);
		}
	}
	bool all = o->broken || (!o->busy && !char_ring_waiting(&o->ring));

	o->hurry = false;
	pthread_mutex_unlock(&o->lock);
	return all;
}

uint64_t char_out_lost(struct char_out_fd *o)
{
	pthread_mutex_lock(&o->lock);
	uint64_t lost = o->ring.lost;

	pthread_mutex_unlock(&o->lock);
	return lost;
}

uint64_t char_out_waiting(struct char_out_fd *o)
{
	pthread_mutex_lock(&o->lock);
	uint64_t waiting = char_ring_waiting(&o->ring) + o->in_hand;

	pthread_mutex_unlock(&o->lock);
	return waiting;
}

void char_out_destroy(struct char_out_fd *o)
{
	struct timespec until = in_ms(GOODBYE_MS);

	if (!o)
		return;
	pthread_mutex_lock(&o->lock);
	o->stop = true;
	pthread_cond_signal(&o->wake);
	while (!o->exited)
		if (pthread_cond_timedwait(&o->moved, &o->lock, &until))
			break;
	bool stuck = !o->exited;

	o->abandoned = stuck;
	if (stuck)
		pthread_detach(o->thread);
	pthread_t thread = o->thread;

	pthread_mutex_unlock(&o->lock);
	if (stuck)
		return;
	pthread_join(thread, NULL);
	release(o);
}
