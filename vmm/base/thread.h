/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread: threads that serve the main one, all begun alike.
 *
 * They leave signals to the main loop: all but SIGBUS are blocked (see sigbus). So a write
 * whose reader has gone gives EPIPE, and one from the background passes to the terminal.
 * They have a name, for who looks with ps or a debugger, and a stack of the size that they
 * need: the usual 8 MiB each are against a limit of address space (ulimit -v).
 */
#ifndef VMM_BASE_THREAD_H
#define VMM_BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>

/* A name's room, with its NUL: the kernel's. */
enum { THREAD_NAME_BYTES = 16 };

/* Begin a thread in `body`, which gets `arg`. `name` is copied, and cut to its room;
 * `stack_bytes` is PTHREAD_STACK_MIN or more. *thread is the caller's to join or to detach,
 * and may be written after `body` has begun. 0, or a negative errno: then there is no thread.
 * Any thread. */
int thread_start(pthread_t *thread, const char *name, size_t stack_bytes, void *(*body)(void *),
		 void *arg);

/* How many processors the calling thread may run on: 1 or more. Any thread. */
unsigned thread_cpus(void);

#endif
