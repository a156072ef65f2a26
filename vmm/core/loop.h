/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: one thread that waits for many things, over libuv.
 *
 * The main thread has one (signals, terminal, timers); each I/O thread has one
 * (doorbells, completions). Everything but loop_post() and loop_stop() is for
 * the loop's own thread, or for any thread before the loop runs.
 */
#ifndef VMM_CORE_LOOP_H
#define VMM_CORE_LOOP_H

#include "vmm/base/thread.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_fd;
struct loop_timer;
struct loop_signal;

/* NULL with errno set when out of memory or descriptors. */
struct loop *loop_create(void);
/* Frees what is still registered, too. The loop must not be running. */
void loop_destroy(struct loop *l);

/* Run until loop_stop(). */
void loop_run(struct loop *l);
/* Handle what is there to be handled by now, and do not wait for more. */
void loop_poll(struct loop *l);
/* Any thread; also before loop_run(), which then returns at once. */
void loop_stop(struct loop *l);

/* Run fn(arg) on the loop's thread, after what was posted before it. Any
 * thread. Gives 0, -ENOMEM or what a thread's late start failed with. Tasks posted to a loop that
 * never runs again are dropped by loop_destroy(). */
int loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* Call cb whenever `fd` (borrowed) is readable (and/or writable). Level-triggered.
 * Beware: libuv makes the descriptor non-blocking, and that belongs to the open file,
 * which others may share: never hand in the user's terminal or an inherited pipe. */
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
struct loop_fd *loop_fd_add(struct loop *l, int fd, int events, void (*cb)(void *ctx, int events),
			    void *ctx);
/* Change what is waited for; 0 pauses. */
void loop_fd_set(struct loop_fd *f, int events);
void loop_fd_del(struct loop_fd *f); /* NULL is fine; no callback comes afterwards */

/* A one-shot timer, created stopped; starting a running one restarts it. */
struct loop_timer *loop_timer_add(struct loop *l, void (*cb)(void *ctx), void *ctx);
void loop_timer_start(struct loop_timer *t, uint64_t ms);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_del(struct loop_timer *t);

/* Call cb on the loop's thread when the process gets `signum`. */
struct loop_signal *loop_signal_add(struct loop *l, int signum, void (*cb)(void *ctx, int signum),
				    void *ctx);
void loop_signal_del(struct loop_signal *s);

/* --- an I/O thread: a loop with a thread of its own ------------------------- */

struct io_thread;

/* Start a thread called `name` (15 bytes at most) that runs a loop, with all
 * signals blocked. NULL with *err_out = negative errno on failure. */
struct io_thread *io_thread_create(const char *name, int *err_out);
/* The same for another kind than THREAD_IO. */
struct io_thread *io_thread_create_of(enum thread_kind kind, const char *name, int *err_out);
/* The same, but the thread starts with the first task that is posted to its loop. Where it
 * cannot, that is the post's failure. For a loop that has nothing to wait for until then. */
struct io_thread *io_thread_create_late(const char *name, int *err_out);
struct loop *io_thread_loop(struct io_thread *t);
/* Work in batches: where processors are short, what wakes this thread is not preempted by
 * it (SCHED_BATCH of sched(7)), so that it finds more to do at a time. Where one is idle
 * it makes no difference. From any thread; a host that refuses does no harm. */
void io_thread_batch(struct io_thread *t);
/* Stop the loop, join the thread, destroy the loop. NULL is fine. */
void io_thread_destroy(struct io_thread *t);

#endif
