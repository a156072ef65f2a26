/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigbus: memory that goes away under a thread ends the process with a line and
 * status 1, whatever the thread; a SIGBUS of any other cause ends it as ever.
 *
 * hostile-cases: "guest RAM or a disk backed by a file that is cut short (SIGBUS)".
 */
#include "vmm/base/sigbus.h"

#include "vmm/base/log.h"
#include "vmm/core/guest_mem.h"
#include "vmm/core/loop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 4096 };

/* A clone's RAM, whose file somebody cuts. */
static struct guest_mem make_cut_ram(void)
{
	FILE *f = tmpfile();
	int fd = f ? dup(fileno(f)) : -1;
	struct guest_mem gm;

	guest_mem_init(&gm, GUEST_MEM_FILE);
	if (fd < 0 || ftruncate(fd, 2 * PAGE) || guest_mem_add(&gm, 0, 2 * PAGE, fd, 0, NULL) ||
	    ftruncate(fileno(f), 0))
		_exit(20);
	return gm;
}

static void touch_it(void)
{
	struct guest_mem gm = make_cut_ram();
	char c;

	guest_mem_read(&gm, 0, &c, 1);
}

static void touch_on_thread(void *arg)
{
	touch_it();
}

static void touch_it_on_an_io_thread(void)
{
	int ret;
	struct io_thread *t = io_thread_create("t", &ret);

	if (!t || loop_post(io_thread_loop(t), touch_on_thread, NULL))
		_exit(21);
	sleep(30);
}

static void be_sent_one(void)
{
	kill(getpid(), SIGBUS);
}

/* What a child says on stderr, and how it ends. */
static int end_of(void (*body)(void), char *said, size_t size)
{
	int pipes[2], status;
	ssize_t n;

	assert_int_equal(pipe(pipes), 0);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		alarm(20);
		log_set_fd(pipes[1]);
		sigbus_catch();
		body();
		_exit(22);
	}
	close(pipes[1]);
	n = read(pipes[0], said, size - 1);
	said[n > 0 ? n : 0] = '\0';
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void the_end_is_told(void **state)
{
	void (*const bodies[])(void) = {touch_it, touch_it_on_an_io_thread};

	for (size_t i = 0; i < 2; i++) {
		char said[512];
		int status = end_of(bodies[i], said, sizeof(said));

		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 1);
		assert_memory_equal(said, "minivmm: the host has no memory behind", 38);
		assert_non_null(strstr(said, "cut short"));
		assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
	}
}

static void one_that_is_sent_is_no_fault(void **state)
{
	char said[512];
	int status = end_of(be_sent_one, said, sizeof(said));

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
	assert_string_equal(said, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_end_is_told),
		cmocka_unit_test(one_that_is_sent_is_no_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
