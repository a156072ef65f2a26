/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv closes handles in two steps: uv_close(), then a callback on the next
 * turn of the loop. So every watch here is a heap object that its close
 * callback frees, and its owner may forget it as soon as x_del() returns.
 *
 * What other threads hand in goes through one list under a lock and one
 * uv_async_t that wakes the loop.
 */
#include "vmm/core/loop.h"

#include "vmm/base/fd.h"
#include "vmm/base/thread.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

struct task {
	void (*fn)(void *arg);
	void *arg;
	struct task *next;
};

struct loop {
	uv_loop_t uv;
	uv_async_t wake;
	pthread_mutex_t lock; /* of all below */
	struct task *first, **last;
	bool stopping;
	struct io_thread *late; /* to be started with the first task */
};

/* The three kinds of watch begin alike so that one callback frees them all. */
struct loop_fd {
	uv_poll_t uv;
	void (*cb)(void *ctx, int events);
	void *ctx;
};

struct loop_timer {
	uv_timer_t uv;
	void (*cb)(void *ctx);
	void *ctx;
};

struct loop_signal {
	uv_signal_t uv;
	void (*cb)(void *ctx, int signum);
	void *ctx;
};

static void free_handle(uv_handle_t *h)
{
	free(h->data);
}

static struct task *take_tasks(struct loop *l, bool *stopping)
{
	pthread_mutex_lock(&l->lock);
	struct task *t = l->first;

	l->first = NULL;
	l->last = &l->first;
	*stopping = l->stopping;
	pthread_mutex_unlock(&l->lock);
	return t;
}

static void on_wake(uv_async_t *wake)
{
	struct loop *l = wake->data;
	bool stopping;

	for (struct task *t = take_tasks(l, &stopping), *next; t; t = next) {
		next = t->next;
		t->fn(t->arg);
		free(t);
	}
	if (stopping)
		uv_stop(&l->uv);
}

/* libuv's first loop needs an epoll and then a pipe for the process, and where it
 * does not get the pipe it aborts: see first whether there are three to be had. */
static int probe_descriptors(void)
{
	int fds[2];
	int ret = 0;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	int third = dup(fds[0]);

	if (third < 0)
		ret = -errno;
	fd_close(&third);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	return ret;
}

static int loop_init(struct loop *l)
{
	int ret = probe_descriptors();

	if (!ret)
		ret = uv_loop_init(&l->uv);
	if (ret)
		return ret;
	l->last = &l->first;
	l->wake.data = l;
	ret = uv_async_init(&l->uv, &l->wake, on_wake);
	if (ret) {
		uv_loop_close(&l->uv);
		return ret;
	}
	pthread_mutex_init(&l->lock, NULL);
	return 0;
}

struct loop *loop_create(void)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	int ret = loop_init(l); /* libuv's errors are negative errnos, too */

	if (ret) {
		free(l);
		errno = -ret;
		return NULL;
	}
	return l;
}

static void close_handle(uv_handle_t *h, void *wake)
{
	if (!uv_is_closing(h))
		uv_close(h, (void *)h == wake ? NULL : free_handle);
}

void loop_destroy(struct loop *l)
{
	bool stopping;

	if (!l)
		return;
	for (struct task *t = take_tasks(l, &stopping), *next; t; t = next) {
		next = t->next;
		free(t);
	}
	uv_walk(&l->uv, close_handle, &l->wake);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	int ret = uv_loop_close(&l->uv);

	assert(!ret); /* every handle was closed above */
	(void)ret;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void loop_run(struct loop *l)
{
	uv_run(&l->uv, UV_RUN_DEFAULT);
	pthread_mutex_lock(&l->lock);
	l->stopping = false;
	pthread_mutex_unlock(&l->lock);
}

void loop_poll(struct loop *l)
{
	uv_run(&l->uv, UV_RUN_NOWAIT);
}

void loop_stop(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->stopping = true;
	pthread_mutex_unlock(&l->lock);
	uv_async_send(&l->wake);
}

enum { STACK_BYTES = 256 * 1024 };

struct io_thread {
	struct loop *loop;
	pthread_t thread;
	enum thread_kind kind;
	char name[THREAD_NAME_BYTES];
};

static void *io_main(void *arg)
{
	struct io_thread *t = arg;

	loop_run(t->loop);
	return NULL;
}

static int io_thread_start(struct io_thread *t)
{
	return thread_start(&t->thread, t->kind, t->name, STACK_BYTES, io_main, t);
}

/* Under the lock. */
static int start_late(struct loop *l)
{
	int ret = io_thread_start(l->late);

	if (!ret)
		l->late = NULL;
	return ret;
}

int loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct task *t = malloc(sizeof(*t));
	int ret = 0;

	if (!t)
		return -ENOMEM;
	*t = (struct task){fn, arg, NULL};
	pthread_mutex_lock(&l->lock);
	if (l->late)
		ret = start_late(l);
	if (!ret) {
		*l->last = t;
		l->last = &t->next;
	}
	pthread_mutex_unlock(&l->lock);
	if (ret)
		free(t);
	else
		uv_async_send(&l->wake);
	return ret;
}

/* --- descriptors ------------------------------------------------------------- */

static void on_poll(uv_poll_t *uv, int status, int events)
{
	struct loop_fd *f = uv->data;
	int seen = (events & UV_READABLE ? LOOP_READ : 0) | (events & UV_WRITABLE ? LOOP_WRITE : 0);

	/* An error condition shows itself to whoever reads or writes. */
	f->cb(f->ctx, status < 0 ? LOOP_READ | LOOP_WRITE : seen);
}

struct loop_fd *loop_fd_add(struct loop *l, int fd, int events, void (*cb)(void *ctx, int events),
			    void *ctx)
{
	struct loop_fd *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->cb = cb;
	f->ctx = ctx;
	if (uv_poll_init(&l->uv, &f->uv, fd)) {
		free(f);
		return NULL;
	}
	f->uv.data = f;
	loop_fd_set(f, events);
	return f;
}

void loop_fd_set(struct loop_fd *f, int events)
{
	int wanted =
		(events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0);

	if (wanted)
		uv_poll_start(&f->uv, wanted, on_poll);
	else
		uv_poll_stop(&f->uv);
}

void loop_fd_del(struct loop_fd *f)
{
	if (f)
		uv_close((uv_handle_t *)&f->uv, free_handle);
}

/* --- timers ------------------------------------------------------------------ */

static void on_timer(uv_timer_t *uv)
{
	struct loop_timer *t = uv->data;

	t->cb(t->ctx);
}

struct loop_timer *loop_timer_add(struct loop *l, void (*cb)(void *ctx), void *ctx)
{
	struct loop_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->cb = cb;
	t->ctx = ctx;
	uv_timer_init(&l->uv, &t->uv);
	t->uv.data = t;
	return t;
}

void loop_timer_start(struct loop_timer *t, uint64_t ms)
{
	/* libuv counts from the start of this turn of the loop, which may be long ago. */
	uv_update_time(t->uv.loop);
	uv_timer_start(&t->uv, on_timer, ms, 0);
}

void loop_timer_stop(struct loop_timer *t)
{
	uv_timer_stop(&t->uv);
}

void loop_timer_del(struct loop_timer *t)
{
	if (t)
		uv_close((uv_handle_t *)&t->uv, free_handle);
}

/* --- signals ----------------------------------------------------------------- */

static void on_signal(uv_signal_t *uv, int signum)
{
	struct loop_signal *s = uv->data;

	s->cb(s->ctx, signum);
}

struct loop_signal *loop_signal_add(struct loop *l, int signum, void (*cb)(void *ctx, int signum),
				    void *ctx)
{
	struct loop_signal *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->cb = cb;
	s->ctx = ctx;
	uv_signal_init(&l->uv, &s->uv);
	s->uv.data = s;
	if (uv_signal_start(&s->uv, on_signal, signum)) {
		uv_close((uv_handle_t *)&s->uv, free_handle);
		return NULL;
	}
	return s;
}

void loop_signal_del(struct loop_signal *s)
{
	if (s)
		uv_close((uv_handle_t *)&s->uv, free_handle);
}

/* --- I/O threads ------------------------------------------------------------- */

static struct io_thread *make_io_thread(enum thread_kind kind, const char *name, int *err_out)
{
	struct io_thread *t = calloc(1, sizeof(*t));

	if (!t || !(t->loop = loop_create())) {
		*err_out = -errno;
		free(t);
		return NULL;
	}
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->kind = kind;
	t->loop->late = t;
	return t;
}

struct io_thread *io_thread_create_late(const char *name, int *err_out)
{
	return make_io_thread(THREAD_IO, name, err_out);
}

struct io_thread *io_thread_create_of(enum thread_kind kind, const char *name, int *err_out)
{
	struct io_thread *t = make_io_thread(kind, name, err_out);
	int ret = t ? start_late(t->loop) : 0;

	if (ret) {
		io_thread_destroy(t);
		*err_out = ret;
		return NULL;
	}
	return t;
}

struct io_thread *io_thread_create(const char *name, int *err_out)
{
	return io_thread_create_of(THREAD_IO, name, err_out);
}

void io_thread_batch(struct io_thread *t)
{
	const struct sched_param none = {0};

	pthread_setschedparam(t->thread, SCHED_BATCH, &none);
}

struct loop *io_thread_loop(struct io_thread *t)
{
	return t->loop;
}

void io_thread_destroy(struct io_thread *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->loop->lock);
	bool started = !t->loop->late;

	pthread_mutex_unlock(&t->loop->lock);
	if (started) {
		loop_stop(t->loop);
		pthread_join(t->thread, NULL);
	}
	loop_destroy(t->loop);
	free(t);
}
