/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/thread.h"

#include "vmm/base/sigbus.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What a new thread is to do: its own to free. */
struct start {
	enum thread_kind kind;
	bool confined;
	char name[THREAD_NAME_BYTES];
	void *(*body)(void *);
	void *arg;
};

static thread_begin_fn *on_begin;
static __thread bool confined;
static _Atomic unsigned on_their_way; /* begun, and the hook is not back yet */

void thread_on_begin(thread_begin_fn *hook)
{
	on_begin = hook;
}

void thread_is_confined(void)
{
	confined = true;
}

static void *begin(void *arg)
{
	struct start s = *(struct start *)arg;

	free(arg);
	/* Its own name is one prctl; another thread's is a file in /proc. */
	pthread_setname_np(pthread_self(), s.name);
	confined = s.confined;
	if (on_begin)
		on_begin(s.kind, s.name, s.confined);
	atomic_fetch_sub(&on_their_way, 1);
	return s.body(s.arg);
}

int thread_start(pthread_t *thread, enum thread_kind kind, const char *name, size_t stack_bytes,
		 void *(*body)(void *), void *arg)
{
	struct start *s = malloc(sizeof(*s));
	pthread_attr_t attr;
	sigset_t mask;
	int ret;

	if (!s)
		return -ENOMEM;
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->kind = kind;
	s->confined = confined;
	s->body = body;
	s->arg = arg;
	sigbus_fill_mask(&mask);
	pthread_attr_init(&attr);
	ret = pthread_attr_setstacksize(&attr, stack_bytes);
	if (!ret)
		ret = pthread_attr_setsigmask_np(&attr, &mask);
	atomic_fetch_add(&on_their_way, 1);
	if (!ret)
		ret = pthread_create(thread, &attr, begin, s);
	pthread_attr_destroy(&attr);
	if (ret) {
		atomic_fetch_sub(&on_their_way, 1);
		free(s);
	}
	return -ret;
}

/* They run, and the hook waits for nobody: a moment. */
void thread_await_begun(void)
{
	while (atomic_load(&on_their_way))
		sched_yield();
}

unsigned thread_cpus(void)
{
	cpu_set_t set;

	if (!sched_getaffinity(0, sizeof(set), &set))
		return (unsigned)CPU_COUNT(&set);
	/* More than the set has room for. */
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (unsigned)n : 1;
}
