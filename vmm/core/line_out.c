/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/core/line_out.h"

#include "vmm/base/fd.h"
#include "vmm/base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 64 * 1024 };

/* Between its owner and its thread, which may be stuck when the owner leaves: who leaves
 * last frees it. */
struct line_out {
	int fd; /* owned */
	bool started;
	pthread_t thread;
	_Atomic uint64_t moved; /* bytes that were written */
	atomic_flag left;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	char *lines[LINE_OUT_MAX + 1]; /* a ring, with a place for the last line */
	unsigned first, n;
	bool closing, ended; /* no line comes any more; the thread is through */
	bool gone;           /* the reader */
};

struct line_out *line_out_create(int fd)
{
	struct line_out *o = calloc(1, sizeof(*o)); /* with a clear flag */
	pthread_condattr_t attr;

	if (!o)
		return NULL;
	o->fd = fd;
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&o->changed, &attr);
	pthread_condattr_destroy(&attr);
	return o;
}

static char *take(struct line_out *o)
{
	char *line = o->lines[o->first];

	o->first = (o->first + 1) % (LINE_OUT_MAX + 1);
	o->n--;
	return line;
}

static void leave(struct line_out *o)
{
	if (!atomic_flag_test_and_set(&o->left))
		return;
	while (o->n)
		free(take(o));
	close(o->fd);
	pthread_cond_destroy(&o->changed);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

static void *writer_main(void *arg)
{
	struct line_out *o = arg;

	pthread_mutex_lock(&o->lock);
	for (;;) {
		while (!o->n && !o->closing)
			pthread_cond_wait(&o->changed, &o->lock);
		if (!o->n)
			break;
		char *line = take(o);

		if (!o->gone) {
			pthread_mutex_unlock(&o->lock);
			bool written = !fd_write_moving(o->fd, line, strlen(line), &o->moved);

			pthread_mutex_lock(&o->lock);
			o->gone = !written;
		}
		free(line);
	}
	o->ended = true;
	pthread_cond_signal(&o->changed);
	pthread_mutex_unlock(&o->lock);
	leave(o);
	return NULL;
}

int line_out_start(struct line_out *o)
{
	int ret = thread_start(&o->thread, THREAD_HELPER, "lines", STACK_BYTES, writer_main, o);

	o->started = !ret;
	return ret;
}

/* With the lock held. */
static bool put(struct line_out *o, char *line, unsigned room)
{
	if (o->n >= room || o->gone) {
		free(line);
		return false;
	}
	o->lines[(o->first + o->n++) % (LINE_OUT_MAX + 1)] = line;
	pthread_cond_signal(&o->changed);
	return true;
}

bool line_out_put(struct line_out *o, char *line)
{
	pthread_mutex_lock(&o->lock);
	bool done = put(o, line, LINE_OUT_MAX);

	pthread_mutex_unlock(&o->lock);
	return done;
}

/* Wait for the end of the thread as long as it moves; gives whether it has ended. */
static bool await_end(struct line_out *o, unsigned patience_ms)
{
	struct timespec until;
	uint64_t moved;

	do {
		moved = atomic_load(&o->moved);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += patience_ms / 1000;
		until.tv_nsec += patience_ms % 1000 * 1000000l;
		if (until.tv_nsec >= 1000000000l) {
			until.tv_nsec -= 1000000000l;
			until.tv_sec++;
		}
		while (!o->ended && !pthread_cond_timedwait(&o->changed, &o->lock, &until))
			;
	} while (!o->ended && atomic_load(&o->moved) != moved);
	return o->ended;
}

void line_out_close(struct line_out *o, char *last, unsigned patience_ms)
{
	/* Also of lines that came before there was a thread the reader may be slow. */
	bool running = o->started || !line_out_start(o);

	pthread_mutex_lock(&o->lock);
	if (last)
		put(o, last, LINE_OUT_MAX + 1);
	o->closing = true;
	pthread_cond_signal(&o->changed);
	bool ended = running && await_end(o, patience_ms);

	pthread_mutex_unlock(&o->lock);
	if (ended)
		pthread_join(o->thread, NULL);
	else if (running)
		pthread_detach(o->thread);
	else
		leave(o);
	leave(o);
}
