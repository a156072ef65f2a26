/* SPDX-License-Identifier: Apache-2.0 */
/* thread: what every thread is begun with, and what is left when it cannot be. */
#include "vmm/base/thread.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STACK = 128 * 1024 };

struct seen {
	char name[THREAD_NAME_BYTES];
	sigset_t mask;
	size_t stack;
};

static void *look(void *arg)
{
	struct seen *s = arg;
	pthread_attr_t attr;

	pthread_getname_np(pthread_self(), s->name, sizeof(s->name));
	pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstacksize(&attr, &s->stack);
	pthread_attr_destroy(&attr);
	return s;
}

static struct seen begin_and_join(const char *name)
{
	struct seen s = {0};
	pthread_t t;
	void *gave;

	assert_int_equal(thread_start(&t, THREAD_HELPER, name, STACK, look, &s), 0);
	assert_int_equal(pthread_join(t, &gave), 0);
	assert_ptr_equal(gave, &s);
	return s;
}

static void it_has_its_name(void **state)
{
	assert_string_equal(begin_and_join("vcpu63").name, "vcpu63");
	assert_string_equal(begin_and_join("longer than the kernel's").name, "longer than the");
}

static void all_signals_but_a_fault_are_blocked(void **state)
{
	struct seen s = begin_and_join("masked");

	for (int i = 1; i <= SIGRTMAX; i++) {
		/* Those below SIGRTMIN are the C library's own. */
		bool may = i == SIGKILL || i == SIGSTOP || (i >= 32 && i < SIGRTMIN);

		if (!may)
			assert_int_equal(sigismember(&s.mask, i), i != SIGBUS && i != SIGSYS);
	}
}

static void who_begins_it_keeps_its_own_mask(void **state)
{
	sigset_t usr2, before, now;

	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &usr2, &before);
	begin_and_join("masked");
	pthread_sigmask(SIG_SETMASK, &before, &now);
	assert_true(sigismember(&now, SIGUSR2));
	assert_false(sigismember(&now, SIGTERM));
}

/* The C library may add what it needs for itself. */
static void its_stack_is_what_was_asked(void **state)
{
	size_t stack = begin_and_join("small").stack;

	assert_true(stack >= STACK && stack < 8 * STACK);
}

static void one_that_cannot_begin_is_told(void **state)
{
	struct seen s = {0};
	pthread_t t;

	assert_int_equal(thread_start(&t, THREAD_HELPER, "none", 1, look, &s), -EINVAL);
	assert_string_equal(s.name, "");
}

static void *count_on_one(void *arg)
{
	cpu_set_t all, one;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	*(unsigned *)arg = thread_cpus();
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	return (void *)(uintptr_t)thread_cpus();
}

/* As many as it may run on, which may be fewer than there are. */
static void its_processors_are_counted(void **state)
{
	cpu_set_t all;
	pthread_t t;
	unsigned at_first = 0;
	void *pinned;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(thread_start(&t, THREAD_HELPER, "count", STACK, count_on_one, &at_first),
			 0);
	assert_int_equal(pthread_join(t, &pinned), 0);
	assert_int_equal(at_first, CPU_COUNT(&all));
	assert_int_equal((uintptr_t)pinned, 1);
	assert_int_equal(thread_cpus(), CPU_COUNT(&all));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_has_its_name),
		cmocka_unit_test(all_signals_but_a_fault_are_blocked),
		cmocka_unit_test(who_begins_it_keeps_its_own_mask),
		cmocka_unit_test(its_stack_is_what_was_asked),
		cmocka_unit_test(one_that_cannot_begin_is_told),
		cmocka_unit_test(its_processors_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
