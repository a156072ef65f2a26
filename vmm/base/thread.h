/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread: threads that serve the main one, all begun alike.
 *
 * They leave signals to the main loop: all but SIGBUS and SIGSYS are blocked (see sigbus). So a
 * write whose reader has gone gives EPIPE, and one from the background passes to the terminal. They
 * have a name, for who looks with ps or a debugger, and a stack of the size that they need: the
 * usual 8 MiB each are against a limit of address space (ulimit -v).
 */
#ifndef VMM_BASE_THREAD_H
#define VMM_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* What a thread is for, which decides what it may ask of the host (vmm/sandbox). */
enum thread_kind {
	THREAD_MAIN,     /* the one that is there first, and not begun by thread_start(); */
	THREAD_CONTROL,  /* the same, in a machine that takes orders or runs a command */
	THREAD_VCPU,     /* runs the guest */
	THREAD_IO,       /* serves queues: disks, networks and what is light */
	THREAD_VSOCK,    /* serves a vsock: it connects, too */
	THREAD_SHARE,    /* serves a shared directory: it opens files */
	THREAD_MEMORY,   /* fills in a saved machine's memory */
	THREAD_SNAPSHOT, /* what is left of a snapshot when its machine has gone on */
	THREAD_HELPER,   /* carries bytes to and from standard descriptors and files */
	THREAD_KINDS
};

/* A name's room, with its NUL: the kernel's. */
enum { THREAD_NAME_BYTES = 16 };

/* Called as the first thing on a thread that thread_start() has begun: its kind; its name, which
 * stays until it ends; and whether who began it was confined by then, as the thread is then. */
typedef void thread_begin_fn(enum thread_kind kind, const char *name, bool confined);

/* Call `hook` on each thread that is begun from now on. NULL: no more. The main thread, while there
 * are no others. */
void thread_on_begin(thread_begin_fn *hook);
/* The calling thread is confined from now on, and with it all that it begins. */
void thread_is_confined(void);

/* Begin a thread of `kind` in `body`, which gets `arg`. `name` is copied, and cut to its room;
 * `stack_bytes` is PTHREAD_STACK_MIN or more. *thread is the caller's to join or to detach,
 * and may be written after `body` has begun. 0, or a negative errno: then there is no thread.
 * Any thread. */
int thread_start(pthread_t *thread, enum thread_kind kind, const char *name, size_t stack_bytes,
		 void *(*body)(void *), void *arg);

/* Wait until the hook is back on all threads that were begun before. Any thread. */
void thread_await_begun(void);

/* How many processors the calling thread may run on: 1 or more. Any thread. */
unsigned thread_cpus(void);

#endif
