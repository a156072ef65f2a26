/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: what is posted runs once and in order, what is deleted is not called
 * again, and neither is lost or raced when threads come and go. Run it under
 * TSan, too. Waits are bounded by alarm(): a lost wake-up ends in SIGALRM.
 */
#include "vmm/core/loop.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEADLINE_S = 30 };

static int setup(void **state)
{
	alarm(DEADLINE_S);
	*state = loop_create();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	loop_destroy(*state);
	alarm(0);
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void stop(void *arg)
{
	loop_stop(arg);
}

/* --- posting ------------------------------------------------------------------ */

enum { POSTERS = 4, POSTS = 2000 };

struct post {
	struct poster *from;
	unsigned number;
};

struct poster {
	struct loop *l;
	unsigned next; /* the loop's thread alone looks at it */
	unsigned wrong;
	unsigned *done;
	struct post posts[POSTS];
};

static void arrived(void *arg)
{
	struct post *p = arg;

	p->from->wrong += p->number != p->from->next;
	p->from->next = p->number + 1;
	if (++*p->from->done == POSTERS * POSTS)
		loop_stop(p->from->l);
}

static void *post_all(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		p->posts[i] = (struct post){p, i};
		if (loop_post(p->l, arrived, &p->posts[i]))
			p->wrong++;
	}
	return NULL;
}

/* Of one thread's posts none is lost, doubled or overtaken. */
static void posts_of_each_thread_keep_their_order(void **state)
{
	struct poster *posters = calloc(POSTERS, sizeof(*posters));
	pthread_t threads[POSTERS];
	unsigned done = 0;

	for (int i = 0; i < POSTERS; i++) {
		posters[i].l = *state;
		posters[i].done = &done;
		assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
	}
	loop_run(*state);
	for (int i = 0; i < POSTERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(posters[i].next, POSTS);
		assert_int_equal(posters[i].wrong, 0);
	}
	assert_int_equal(done, POSTERS * POSTS);
	free(posters);
}

struct chain {
	struct loop *l;
	unsigned left;
};

static void post_another(void *arg)
{
	struct chain *c = arg;

	if (c->left--)
		loop_post(c->l, post_another, c);
	else
		loop_stop(c->l);
}

static void a_task_can_post(void **state)
{
	struct chain c = {*state, 1000};

	assert_int_equal(loop_post(*state, post_another, &c), 0);
	loop_run(*state);
	assert_int_equal(c.left, UINT32_MAX);
}

static void count(void *arg)
{
	++*(unsigned *)arg;
}

static void tasks_of_a_loop_that_never_runs_are_dropped(void **state)
{
	struct loop *l = loop_create();
	unsigned n = 0;

	for (int i = 0; i < 100; i++)
		assert_int_equal(loop_post(l, count, &n), 0);
	loop_destroy(l); /* LeakSanitizer looks after the tasks */
	assert_int_equal(n, 0);
	loop_destroy(NULL);
}

/* --- stopping ------------------------------------------------------------------ */

static void a_stop_before_run_is_not_lost(void **state)
{
	unsigned n = 0;

	loop_stop(*state);
	loop_run(*state); /* returns at once, or the alarm rings */
	/* One stop ends one run: what comes after the second run was reached. */
	assert_int_equal(loop_post(*state, count, &n), 0);
	assert_int_equal(loop_post(*state, stop, *state), 0);
	loop_run(*state);
	assert_int_equal(n, 1);
}

static void *stop_it(void *arg)
{
	loop_stop(arg);
	return NULL;
}

static void a_stop_from_any_thread_ends_the_run(void **state)
{
	for (int i = 0; i < 200; i++) {
		pthread_t t;

		assert_int_equal(pthread_create(&t, NULL, stop_it, *state), 0);
		loop_run(*state);
		pthread_join(t, NULL);
	}
}

/* --- timers -------------------------------------------------------------------- */

struct ring {
	struct loop *l;
	struct loop_timer *self, *other;
	unsigned rings;
	uint64_t at;
};

static void ring_and_stop(void *ctx)
{
	struct ring *r = ctx;

	r->rings++;
	r->at = now_ms();
	loop_stop(r->l);
}

static void a_timer_rings_once_and_not_early(void **state)
{
	struct ring r = {.l = *state};
	struct loop_timer *t = loop_timer_add(*state, ring_and_stop, &r);
	uint64_t start;

	assert_non_null(t);
	/* libuv keeps time in turns: being busy before the start must not count. */
	for (start = now_ms(); now_ms() < start + 60;)
		;
	start = now_ms();
	loop_timer_start(t, 50);
	loop_run(*state);
	assert_int_equal(r.rings, 1);
	assert_true(r.at - start >= 49); /* both clocks are cut to milliseconds */
	loop_timer_del(t);
	loop_timer_del(NULL);
}

static void stopped_timers_keep_quiet_and_restarted_ones_start_over(void **state)
{
	struct ring quiet = {.l = *state}, later = {.l = *state}, end = {.l = *state};
	struct loop_timer *q = loop_timer_add(*state, ring_and_stop, &quiet);
	struct loop_timer *again = loop_timer_add(*state, ring_and_stop, &later);
	struct loop_timer *e = loop_timer_add(*state, ring_and_stop, &end);

	loop_timer_start(q, 5);
	loop_timer_start(again, 5);
	loop_timer_stop(q);
	loop_timer_start(again, 100000);
	loop_timer_start(e, 40);
	loop_run(*state);
	assert_int_equal(quiet.rings, 0);
	assert_int_equal(later.rings, 0);
	assert_int_equal(end.rings, 1);
	loop_timer_stop(q); /* stopping a stopped one is fine */
	loop_timer_del(q);
	loop_timer_del(again);
	loop_timer_del(e);
}

static void delete_both(void *ctx)
{
	struct ring *r = ctx;

	r->rings++;
	loop_timer_del(r->self);
	loop_timer_del(r->other);
}

static void a_timer_may_delete_itself_and_another_that_is_due(void **state)
{
	struct ring first = {.l = *state}, second = {.l = *state}, end = {.l = *state};

	first.self = loop_timer_add(*state, delete_both, &first);
	first.other = loop_timer_add(*state, ring_and_stop, &second);
	struct loop_timer *e = loop_timer_add(*state, ring_and_stop, &end);

	loop_timer_start(first.self, 1);
	loop_timer_start(first.other, 2);
	loop_timer_start(e, 30);
	usleep(5000); /* both are due in the same turn */
	loop_run(*state);
	assert_int_equal(first.rings, 1);
	assert_int_equal(second.rings, 0);
	loop_timer_del(e);
}

/* --- descriptors ---------------------------------------------------------------- */

struct watch {
	struct loop *l;
	struct loop_fd *self, *other;
	int fd;
	unsigned calls;
	int events;
};

static void watch_stop(void *ctx, int events)
{
	struct watch *w = ctx;

	w->calls++;
	w->events |= events;
	loop_stop(w->l);
}

static void watch_five_times(void *ctx, int events)
{
	struct watch *w = ctx;

	if (++w->calls >= 5)
		loop_stop(w->l);
}

static void readiness_is_level_triggered(void **state)
{
	struct watch w = {.l = *state, .fd = eventfd(1, EFD_CLOEXEC)};

	w.self = loop_fd_add(*state, w.fd, LOOP_READ, watch_five_times, &w);
	loop_run(*state);          /* nobody reads the eventfd: it stays ready */
	assert_true(w.calls >= 5); /* a stop lets the turn of the loop end */
	loop_fd_del(w.self);
	close(w.fd);
}

static void what_is_waited_for_can_change(void **state)
{
	struct watch w = {.l = *state, .fd = eventfd(1, EFD_CLOEXEC)};
	struct ring r = {.l = *state};
	struct loop_timer *t = loop_timer_add(*state, ring_and_stop, &r);

	w.self = loop_fd_add(*state, w.fd, LOOP_READ | LOOP_WRITE, watch_stop, &w);
	loop_run(*state);
	assert_int_equal(w.events, LOOP_READ | LOOP_WRITE);
	w.events = 0;
	loop_fd_set(w.self, LOOP_WRITE);
	loop_run(*state);
	assert_int_equal(w.events, LOOP_WRITE);
	unsigned before = w.calls;

	loop_fd_set(w.self, 0);
	loop_timer_start(t, 20);
	loop_run(*state);
	assert_int_equal(w.calls, before);
	assert_int_equal(r.rings, 1);
	loop_fd_set(w.self, LOOP_READ);
	loop_run(*state);
	assert_true(w.calls > before);
	loop_fd_del(w.self);
	loop_timer_del(t);
	close(w.fd);
}

static void watch_delete_both(void *ctx, int events)
{
	struct watch *w = ctx;

	w->calls++;
	loop_fd_del(w->self);
	loop_fd_del(w->other);
}

static void a_watch_may_delete_itself_and_another_that_is_ready(void **state)
{
	/* Whichever comes first deletes both: one call in all. */
	struct watch a = {.l = *state, .fd = eventfd(1, EFD_CLOEXEC)};
	struct watch b = {.l = *state, .fd = eventfd(1, EFD_CLOEXEC)};
	struct ring r = {.l = *state};
	struct loop_timer *t = loop_timer_add(*state, ring_and_stop, &r);

	a.self = b.other = loop_fd_add(*state, a.fd, LOOP_READ, watch_delete_both, &a);
	b.self = a.other = loop_fd_add(*state, b.fd, LOOP_READ, watch_delete_both, &b);
	loop_timer_start(t, 30);
	loop_run(*state);
	assert_int_equal(a.calls + b.calls, 1);
	loop_timer_del(t);
	loop_fd_del(NULL);
	close(a.fd);
	close(b.fd);
}

static void watch_add_other(void *ctx, int events)
{
	struct watch *w = ctx, *next = w + 1;

	w->calls++;
	loop_fd_set(w->self, 0);
	next->self = loop_fd_add(w->l, next->fd, LOOP_READ, watch_stop, next);
}

static void a_watch_may_add_another(void **state)
{
	struct watch w[2] = {{.l = *state, .fd = eventfd(1, EFD_CLOEXEC)},
			     {.l = *state, .fd = eventfd(1, EFD_CLOEXEC)}};

	w[0].self = loop_fd_add(*state, w[0].fd, LOOP_READ, watch_add_other, &w[0]);
	loop_run(*state);
	assert_int_equal(w[0].calls, 1);
	assert_true(w[1].calls >= 1);
	/* Left registered: loop_destroy() frees them (LeakSanitizer looks). */
	close(w[0].fd);
	close(w[1].fd);
}

static void a_closed_writer_is_told(void **state)
{
	struct watch w = {.l = *state};
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	w.self = loop_fd_add(*state, ends[0], LOOP_READ, watch_stop, &w);
	close(ends[1]);
	loop_run(*state); /* end of file is something to read */
	assert_true(w.events & LOOP_READ);
	loop_fd_del(w.self);
	close(ends[0]);
}

static void what_cannot_be_waited_for_is_refused(void **state)
{
	assert_null(loop_fd_add(*state, -1, LOOP_READ, watch_stop, NULL));
}

/* --- signals --------------------------------------------------------------------- */

struct caught {
	struct loop *l;
	int signum;
	unsigned calls;
};

static void on_signal(void *ctx, int signum)
{
	struct caught *c = ctx;

	c->signum = signum;
	c->calls++;
	loop_stop(c->l);
}

static void a_signal_arrives_on_the_loops_thread(void **state)
{
	struct caught c = {.l = *state};
	struct loop_signal *s = loop_signal_add(*state, SIGUSR1, on_signal, &c);

	assert_non_null(s);
	kill(getpid(), SIGUSR1);
	loop_run(*state);
	assert_int_equal(c.signum, SIGUSR1);
	assert_int_equal(c.calls, 1);
	loop_signal_del(s);
	loop_signal_del(NULL);
	assert_null(loop_signal_add(*state, SIGKILL, on_signal, &c));
}

static void polling_hears_what_was_sent_and_does_not_wait(void **state)
{
	struct caught c = {.l = *state};
	struct loop_signal *s = loop_signal_add(*state, SIGUSR1, on_signal, &c);

	assert_non_null(s);
	loop_poll(*state);
	assert_int_equal(c.calls, 0);
	kill(getpid(), SIGUSR1);
	loop_poll(*state);
	assert_int_equal(c.calls, 1);
	loop_signal_del(s);
}

/* --- I/O threads ------------------------------------------------------------------ */

struct job {
	_Atomic unsigned done;
	pthread_t ran_on;
	bool signals_blocked;
	int policy, eventfd;
};

static void work(void *arg)
{
	struct job *j = arg;
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	j->signals_blocked = sigismember(&now, SIGTERM) && sigismember(&now, SIGINT);
	j->ran_on = pthread_self();
	j->policy = sched_getscheduler(0);
	atomic_fetch_add(&j->done, 1);
	eventfd_write(j->eventfd, 1);
}

static void an_io_thread_runs_what_is_posted(void **state)
{
	struct job j = {.eventfd = eventfd(0, EFD_CLOEXEC)};
	eventfd_t n;
	int ret = 0;
	struct io_thread *t = io_thread_create("io-test", &ret);

	assert_non_null(t);
	assert_int_equal(loop_post(io_thread_loop(t), work, &j), 0);
	assert_int_equal(eventfd_read(j.eventfd, &n), 0);
	assert_false(pthread_equal(j.ran_on, pthread_self()));
	assert_true(j.signals_blocked);
	assert_int_equal(j.policy, sched_getscheduler(0));
	io_thread_batch(t);
	assert_int_equal(loop_post(io_thread_loop(t), work, &j), 0);
	assert_int_equal(eventfd_read(j.eventfd, &n), 0);
	assert_int_equal(j.policy, SCHED_BATCH);
	io_thread_destroy(t);
	io_thread_destroy(NULL);
	close(j.eventfd);
}

/* As many as /proc lists: a thread that was joined is gone from there. */
static unsigned count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void a_late_io_thread_starts_with_the_first_post(void **state)
{
	struct job j = {.eventfd = eventfd(0, EFD_CLOEXEC)};
	unsigned before = count_threads();
	eventfd_t n;
	int ret = 0;
	struct io_thread *t = io_thread_create_late("io-late", &ret);

	assert_non_null(t);
	assert_int_equal(count_threads(), before);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(loop_post(io_thread_loop(t), work, &j), 0);
		assert_int_equal(eventfd_read(j.eventfd, &n), 0);
		assert_int_equal(count_threads(), before + 1);
	}
	assert_false(pthread_equal(j.ran_on, pthread_self()));
	assert_true(j.signals_blocked);
	io_thread_destroy(t);
	/* And one that nobody ever needed. */
	t = io_thread_create_late("io-late", &ret);
	assert_non_null(t);
	io_thread_destroy(t);
	close(j.eventfd);
}

static void tick(void *arg)
{
	atomic_fetch_add((_Atomic unsigned *)arg, 1);
}

struct flood {
	struct loop *l;
	_Atomic unsigned *ticks;
	unsigned posted;
};

static void *flood(void *arg)
{
	struct flood *f = arg;

	for (; f->posted < 50; f->posted++)
		loop_post(f->l, tick, f->ticks);
	return NULL;
}

/* Created, posted to from two threads, destroyed while tasks are queued: none
 * runs twice or after the end, and nothing leaks or races. */
static void io_threads_come_and_go_under_load(void **state)
{
	for (int round = 0; round < 50; round++) {
		_Atomic unsigned ticks = 0;
		int ret = 0;
		struct io_thread *t = round % 2 ? io_thread_create_late("io-churn", &ret)
						: io_thread_create("io-churn", &ret);

		assert_non_null(t);
		struct flood f[2] = {{io_thread_loop(t), &ticks, 0},
				     {io_thread_loop(t), &ticks, 0}};
		pthread_t threads[2];

		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, flood, &f[i]), 0);
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		io_thread_destroy(t);
		unsigned at_end = atomic_load(&ticks);

		assert_true(at_end <= f[0].posted + f[1].posted);
	}
}

int main(void)
{
#define LOOP_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		LOOP_TEST(posts_of_each_thread_keep_their_order),
		LOOP_TEST(a_task_can_post),
		LOOP_TEST(tasks_of_a_loop_that_never_runs_are_dropped),
		LOOP_TEST(a_stop_before_run_is_not_lost),
		LOOP_TEST(a_stop_from_any_thread_ends_the_run),
		LOOP_TEST(a_timer_rings_once_and_not_early),
		LOOP_TEST(stopped_timers_keep_quiet_and_restarted_ones_start_over),
		LOOP_TEST(a_timer_may_delete_itself_and_another_that_is_due),
		LOOP_TEST(readiness_is_level_triggered),
		LOOP_TEST(what_is_waited_for_can_change),
		LOOP_TEST(a_watch_may_delete_itself_and_another_that_is_ready),
		LOOP_TEST(a_watch_may_add_another),
		LOOP_TEST(a_closed_writer_is_told),
		LOOP_TEST(what_cannot_be_waited_for_is_refused),
		LOOP_TEST(a_signal_arrives_on_the_loops_thread),
		LOOP_TEST(polling_hears_what_was_sent_and_does_not_wait),
		LOOP_TEST(an_io_thread_runs_what_is_posted),
		LOOP_TEST(a_late_io_thread_starts_with_the_first_post),
		LOOP_TEST(io_threads_come_and_go_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
