/* SPDX-License-Identifier: Apache-2.0 */
/* lazy: memory that comes from a file while it is used has what the file has, once only; what is
 * given back is zeroes; a file that fails stops the machine and hangs nobody. working_set: what
 * is remembered of it. Where the host does not permit userfaultfd, lazy is not looked at. */
#include "tests/lib/scratch.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/snapshot/dir.h"
#include "vmm/snapshot/lazy.h"
#include "vmm/snapshot/ram.h"
#include "vmm/snapshot/uffd.h"
#include "vmm/snapshot/working_set.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 4096 };

/* Two regions, neither of which is a whole number of blocks. */
#define LOW  (2 * MiB + PAGE)
#define HIGH (3 * MiB)
#define GAP  (4 * GiB)
#define ALL  (LOW + HIGH)

/* What every other page has at its begin; the rest are holes. */
#define BYTE(gpa) ((uint8_t)((gpa) / PAGE % 2 ? 0 : 1 + (gpa) / PAGE % 251))

/* Long enough that nothing comes unless it is asked for. */
enum { NEVER_MS = 1000000, SOON_MS = 1 };

static struct scratch s;
static int dir;

static void make(struct guest_mem *gm)
{
	struct err e = {0};

	guest_mem_init(gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(gm, 0, LOW, -1, 0, &e), 0);
	assert_int_equal(guest_mem_add(gm, GAP, HIGH, -1, 0, &e), 0);
}

static uint64_t gpa_of(uint64_t at)
{
	return at < LOW ? at : GAP + at - LOW;
}

static uint8_t get(const struct guest_mem *gm, uint64_t at)
{
	uint8_t byte = 0;

	assert_int_equal(guest_mem_read(gm, gpa_of(at), &byte, 1), 0);
	return byte;
}

/* A file as it should be. */
static int saved(void)
{
	int fd = open(scratch_path(&s, "memory"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct guest_mem gm;

	assert_true(fd >= 0);
	make(&gm);
	for (uint64_t at = 0; at < ALL; at += PAGE) {
		uint8_t byte = BYTE(at);

		if (byte)
			assert_int_equal(guest_mem_write(&gm, gpa_of(at), &byte, 1), 0);
	}
	assert_int_equal(ram_write(&gm, fd), 0);
	guest_mem_fini(&gm);
	return fd;
}

static struct lazy *start(struct guest_mem *gm, int fd, unsigned quiet_ms)
{
	const struct lazy_source from = {.memory = fd,
					 .dir = fcntl(dir, F_DUPFD_CLOEXEC, 0),
					 .state_sum = 77,
					 .quiet_ms = quiet_ms};
	struct lazy *l = NULL;
	struct err e = {0};

	make(gm);
	assert_int_equal(lazy_start(&l, gm, &from, &e), 0);
	return l;
}

static void stop(struct lazy *l, struct guest_mem *gm)
{
	lazy_stop(l);
	assert_null(gm->filler);
	guest_mem_fini(gm);
}

static bool is_permitted(void)
{
	struct err e = {0};
	_cleanup_fd_ int fd = uffd_open(&e);

	if (fd < 0)
		printf("SKIP: %s\n", e.text);
	return fd >= 0;
}

static void forget(void)
{
	unlinkat(dir, SNAPSHOT_WORKING_SET, 0);
}

static void comes_as_it_is_touched(void **state)
{
	struct guest_mem gm;

	if (!is_permitted())
		return;
	forget();
	struct lazy *l = start(&gm, saved(), NEVER_MS);

	for (uint64_t at = ALL; at; at -= PAGE)
		assert_int_equal(get(&gm, at - PAGE), BYTE(at - PAGE));
	stop(l, &gm);
}

static void comes_by_itself(void **state)
{
	struct guest_mem gm;

	if (!is_permitted())
		return;
	for (int i = 0; i < 3; i++) {
		struct lazy *l = start(&gm, saved(), i ? SOON_MS : NEVER_MS);

		/* The last time while it is at it. */
		if (i < 2)
			assert_int_equal(lazy_complete(l), 0);
		for (uint64_t at = 0; at < ALL; at += PAGE)
			assert_int_equal(get(&gm, at), BYTE(at));
		assert_int_equal(lazy_complete(l), 0);
		stop(l, &gm);
	}
	assert_int_equal(lazy_complete(NULL), 0);
	lazy_stop(NULL);
}

/* Before it was touched, after, and when all is there. */
static void given_back(void **state)
{
	static const uint64_t places[] = {0, 20 * PAGE, LOW + 2 * PAGE, ALL - 4 * PAGE};
	struct guest_mem gm;

	if (!is_permitted())
		return;
	struct lazy *l = start(&gm, saved(), NEVER_MS);

	for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
		if (i % 2)
			get(&gm, places[i]);
		assert_int_equal(guest_mem_discard(&gm, gpa_of(places[i]), 2 * PAGE), 0);
		assert_int_equal(get(&gm, places[i]), 0);
		assert_int_equal(get(&gm, places[i] + 2 * PAGE), BYTE(places[i] + 2 * PAGE));
		/* Not by what comes for its neighbours either. */
		assert_int_equal(get(&gm, places[i]), 0);
	}
	assert_int_equal(lazy_complete(l), 0);
	for (unsigned i = 0; i < ARRAY_LEN(places); i++)
		assert_int_equal(get(&gm, places[i]), 0);
	assert_int_equal(guest_mem_discard(&gm, 40 * PAGE, PAGE), 0);
	assert_int_equal(get(&gm, 40 * PAGE), 0);
	assert_int_equal(get(&gm, 42 * PAGE), BYTE(42 * PAGE));
	stop(l, &gm);
}

struct toucher {
	const struct guest_mem *gm;
	uint64_t first, step;
	unsigned wrong;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	/* The upper region: the lower one is being given back. */
	for (uint64_t at = LOW + t->first * PAGE; at < ALL; at += t->step * PAGE)
		t->wrong += get(t->gm, at) != BYTE(at);
	return NULL;
}

/* Many at once, some for the same page, while others give theirs back and the rest comes. */
static void by_many(void **state)
{
	enum { N = 4 };

	if (!is_permitted())
		return;
	for (unsigned round = 0; round < 10; round++) {
		struct toucher t[N];
		pthread_t threads[N];
		struct guest_mem gm;
		struct lazy *l = start(&gm, saved(), round % 2 ? SOON_MS : NEVER_MS);

		for (unsigned i = 0; i < N; i++) {
			t[i] = (struct toucher){.gm = &gm, .first = i / 2, .step = 1 + i % 2};
			assert_int_equal(pthread_create(&threads[i], NULL, touch, &t[i]), 0);
		}
		for (uint64_t at = 0; at < LOW; at += PAGE) {
			assert_int_equal(guest_mem_discard(&gm, at, PAGE), 0);
			assert_int_equal(get(&gm, at), 0);
		}
		for (unsigned i = 0; i < N; i++) {
			pthread_join(threads[i], NULL);
			assert_int_equal(t[i].wrong, 0);
		}
		assert_int_equal(lazy_complete(l), 0);
		for (uint64_t at = 0; at < LOW; at += PAGE)
			assert_int_equal(get(&gm, at), 0);
		stop(l, &gm);
	}
}

static enum stop_reason told;

static void on_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	assert_non_null(strstr(detail, "the file was cut short"));
	__atomic_store_n(&told, reason, __ATOMIC_SEQ_CST);
}

/* What a system call touches for us is an error, as it is of KVM_RUN. */
static int touch_by_kernel(const struct guest_mem *gm, uint64_t at)
{
	_cleanup_fd_ int fd = memfd_create("sink", MFD_CLOEXEC);

	return write(fd, guest_mem_hva(gm, gpa_of(at), PAGE), PAGE) == PAGE ? 0 : -errno;
}

static void file_fails(void **state)
{
	const struct stop_sink sink = {on_stop, NULL};

	if (!is_permitted())
		return;
	for (int early = 0; early < 2; early++) {
		struct guest_mem gm;
		int fd = saved();
		struct lazy *l;

		forget();
		told = STOP_NONE;
		assert_int_equal(ftruncate(fd, LOW), 0);
		l = start(&gm, fd, NEVER_MS);
		if (early)
			lazy_watch(l, &sink);
		assert_int_equal(touch_by_kernel(&gm, LOW + MiB), -EFAULT);
		assert_int_equal(lazy_complete(l), -ENODATA);
		lazy_watch(l, &sink);
		assert_int_equal(__atomic_load_n(&told, __ATOMIC_SEQ_CST), STOP_HOST_ERROR);
		/* Again, and elsewhere; and what is there is still to be had. */
		assert_int_equal(touch_by_kernel(&gm, LOW + MiB), -EFAULT);
		assert_int_equal(touch_by_kernel(&gm, ALL - PAGE), -EFAULT);
		assert_int_equal(get(&gm, 8 * PAGE), BYTE(8 * PAGE));
		stop(l, &gm);
	}
}

/* Nobody has touched what is missing: it fails for who wants all of it. */
static void file_fails_behind(void **state)
{
	struct guest_mem gm;
	int fd = saved();

	if (!is_permitted()) {
		fd_close(&fd);
		return;
	}
	assert_int_equal(ftruncate(fd, ALL - 3 * PAGE), 0);
	struct lazy *l = start(&gm, fd, SOON_MS);

	assert_int_equal(lazy_complete(l), -ENODATA);
	assert_int_equal(get(&gm, 0), BYTE(0));
	stop(l, &gm);
}

/* --- the working set --- */

static void load(struct working_set *w, int want)
{
	assert_int_equal(working_set_init(w, ALL), 0);
	assert_int_equal(working_set_load(w, dir, 77), want);
}

static void is_remembered(void **state)
{
	struct working_set w;
	struct guest_mem gm;

	if (!is_permitted())
		return;
	forget();
	struct lazy *l = start(&gm, saved(), NEVER_MS);

	get(&gm, 10 * WORKING_SET_BLOCK);
	get(&gm, 3 * WORKING_SET_BLOCK);
	get(&gm, 10 * WORKING_SET_BLOCK + PAGE);
	stop(l, &gm);
	load(&w, 0);
	assert_int_equal(w.n, 2);
	assert_int_equal(w.blocks[0], 10);
	assert_int_equal(w.blocks[1], 3);
	working_set_fini(&w);

	/* What is touched besides comes behind. */
	l = start(&gm, saved(), NEVER_MS);
	get(&gm, 20 * WORKING_SET_BLOCK);
	get(&gm, 3 * WORKING_SET_BLOCK);
	assert_int_equal(lazy_complete(l), 0);
	stop(l, &gm);
	load(&w, 0);
	assert_in_range(w.n, 3, 3);
	assert_int_equal(w.blocks[2], 20);
	working_set_fini(&w);
}

static void another_is_none(void **state)
{
	struct working_set w;

	assert_int_equal(working_set_init(&w, ALL), 0);
	for (uint32_t i = 0; i < 5; i++)
		working_set_add(&w, i * i);
	working_set_add(&w, w.most);
	working_set_add(&w, 4);
	assert_int_equal(w.n, 5);
	assert_int_equal(working_set_save(&w, dir, 78), 0);
	working_set_fini(&w);
	load(&w, -EBADMSG);
	assert_int_equal(w.n, 0);
	working_set_fini(&w);

	/* Of a larger RAM, which has more blocks than there are here. */
	assert_int_equal(working_set_init(&w, 10 * GiB), 0);
	for (uint32_t i = 0; i < 1000; i++)
		working_set_add(&w, i + 1000);
	assert_int_equal(working_set_save(&w, dir, 77), 0);
	working_set_fini(&w);
	load(&w, -EBADMSG);
	working_set_fini(&w);
	forget();
	load(&w, -ENOENT);
	working_set_fini(&w);
	assert_int_equal(working_set_init(&w, UINT64_MAX - MiB), -E2BIG);
}

static int setup(void **state)
{
	scratch_init(&s);
	scratch_text(&s, "snap/state", "");
	dir = open(scratch_path(&s, "snap"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0;
}

static int teardown(void **state)
{
	fd_close(&dir);
	scratch_fini(&s);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_as_it_is_touched),
		cmocka_unit_test(comes_by_itself),
		cmocka_unit_test(given_back),
		cmocka_unit_test(by_many),
		cmocka_unit_test(file_fails),
		cmocka_unit_test(file_fails_behind),
		cmocka_unit_test(is_remembered),
		cmocka_unit_test(another_is_none),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
