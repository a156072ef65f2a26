/* SPDX-License-Identifier: Apache-2.0 */
/* What the device is told when passt ends, by a passt that is a script: when it hangs
 * up and how it ends is then for the test to say. */
#include "devices/backend/net_passt.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/core/loop.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* In a script: wait for the test's go(). Each has a pipe of its own, or the second could
 * reach whoever still reads the first. */
#define GO0 "read -r _ <\"${0%/*}/go0\"; "
#define GO1 "read -r _ <\"${0%/*}/go1\"; "

enum { STEP_MS = 10, STEPS_MAX = 3000 };

struct rig {
	char dir[64], script[80], fifos[2][80], *path;
	unsigned gone; /* so many times */
	struct net *net;
	struct loop *loop;
	unsigned lost;
	char why[200];
};

static void on_frames(void *ctx)
{
	struct rig *r = ctx;
	static uint8_t room[2048];
	struct iovec iov[2] = {{NULL, 0}, {room, sizeof(room)}};
	struct net_hdr hdr;

	r->net->ops->receive(r->net, &hdr, iov, 2);
}

static void on_writable(void *ctx)
{
}

static void on_lost(void *ctx, const char *why)
{
	struct rig *r = ctx;

	r->lost++;
	strncpy(r->why, why, sizeof(r->why) - 1);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	strcpy(r->dir, "/tmp/test_net_passt.XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->script, sizeof(r->script), "%s/passt", r->dir);
	for (int i = 0; i < 2; i++) {
		snprintf(r->fifos[i], sizeof(r->fifos[i]), "%s/go%d", r->dir, i);
		assert_int_equal(mkfifo(r->fifos[i], 0600), 0);
	}
	r->path = strdup(getenv("PATH"));
	r->loop = loop_create();
	*state = r;
	return 0;
}

/* passt is ready, then does what `script` says. */
static void start(struct rig *r, const char *script)
{
	char path[4096];
	struct err e = {0};
	FILE *f = fopen(r->script, "we");

	assert_non_null(f);
	fprintf(f, "#!/bin/sh\necho $$\n%s\n", script);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(r->script, 0700), 0);
	snprintf(path, sizeof(path), "%s:%s", r->dir, r->path);
	setenv("PATH", path, 1);
	assert_int_equal(net_passt_open(&r->net, NULL, 0, &e), 0);
	assert_int_equal(net_passt_wait(r->net, &e), 0);
	r->net->readable = on_frames;
	r->net->writable = on_writable;
	r->net->lost = on_lost;
	r->net->ctx = r;
}

static void attach(struct rig *r)
{
	assert_int_equal(r->net->ops->attach(r->net, r->loop, 0), 0);
	r->net->ops->want(r->net, true);
}

static void go(struct rig *r)
{
	/* Waits for its reader. */
	int fd = open(r->fifos[r->gone++], O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "\n", 1), 1);
	close(fd);
}

static void until_lost(struct rig *r)
{
	for (int i = 0; i < STEPS_MAX && !r->lost; i++) {
		loop_settle(r->loop);
		poll(NULL, 0, STEP_MS);
	}
	assert_int_equal(r->lost, 1);
}

static int teardown(void **state)
{
	struct rig *r = *state;

	if (r->net) {
		r->net->ops->detach(r->net);
		net_destroy(r->net);
	}
	loop_destroy(r->loop);
	setenv("PATH", r->path, 1);
	unlink(r->script);
	unlink(r->fifos[0]);
	unlink(r->fifos[1]);
	rmdir(r->dir);
	free(r->path);
	free(r);
	return 0;
}

/* The socket closes first: how passt ended is known later, and that is what is told. */
static void test_killed(void **state)
{
	struct rig *r = *state;

	start(r, "exec 3<&-; " GO0 GO1 "kill -KILL $$");
	go(r); /* it has hung up by now */
	attach(r);
	loop_settle(r->loop);
	assert_int_equal(r->lost, 0);
	go(r);
	until_lost(r);
	assert_string_equal(r->why, "passt was killed (Killed)");
	loop_settle(r->loop);
	assert_int_equal(r->lost, 1);
}

static void test_status_and_words(void **state)
{
	struct rig *r = *state;

	start(r, "exec 3<&-; " GO0 GO1 "echo out of luck >&2; exit 3");
	go(r);
	attach(r);
	loop_settle(r->loop);
	assert_int_equal(r->lost, 0);
	go(r);
	until_lost(r);
	assert_string_equal(r->why, "passt has ended with status 3: out of luck");
}

/* One that hangs up and stays is told of as well. */
static void test_hung_up_and_stays(void **state)
{
	struct rig *r = *state;

	start(r, "exec 3<&-; " GO0 GO1);
	go(r);
	attach(r);
	until_lost(r);
	assert_string_equal(r->why, "passt hung up");
}

/* The driver resets the device between the hanging up and the end. */
static void test_reset_meanwhile(void **state)
{
	struct rig *r = *state;

	start(r, "exec 3<&-; " GO0 GO1 "kill -KILL $$");
	go(r);
	attach(r);
	loop_settle(r->loop);
	r->net->ops->detach(r->net);
	loop_settle(r->loop);
	assert_int_equal(r->lost, 0);
	attach(r);
	loop_settle(r->loop);
	assert_int_equal(r->lost, 0);
	go(r);
	until_lost(r);
	assert_string_equal(r->why, "passt was killed (Killed)");
}

/* Also when the guest has no room for frames, and nobody reads the socket. */
static void test_killed_unread(void **state)
{
	struct rig *r = *state;

	start(r, GO0 "kill -KILL $$");
	attach(r);
	r->net->ops->want(r->net, false);
	go(r);
	until_lost(r);
	assert_string_equal(r->why, "passt was killed (Killed)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		TEST(test_killed),
		TEST(test_status_and_words),
		TEST(test_hung_up_and_stays),
		TEST(test_reset_meanwhile),
		TEST(test_killed_unread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
