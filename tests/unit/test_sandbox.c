/* SPDX-License-Identifier: Apache-2.0 */
/* The lists of system calls as they were built: each kind of thread has its own, they are as short
 * as vmm/sandbox/README.md says, and what no thread should ever do is in none. */
#include "vmm/base/bytes.h"
#include "vmm/sandbox/sandbox.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static bool allows(enum thread_kind kind, const char *name)
{
	const struct sandbox_filter *f = sandbox_filter(kind);

	for (unsigned i = 0; i < f->n_calls; i++) {
		const char *its = sandbox_call_name(f->calls[i]);

		if (its && !strcmp(its, name))
			return true;
	}
	return false;
}

static void test_each_kind_has_a_list(void **state)
{
	for (unsigned k = 0; k < THREAD_KINDS; k++) {
		const struct sandbox_filter *f = sandbox_filter(k);

		assert_non_null(f->name);
		assert_true(f->n_calls > 10);
		assert_in_range(f->n_insns, f->n_calls, SANDBOX_INSNS_MAX);
		for (unsigned i = 0; i < f->n_calls; i++)
			assert_non_null(sandbox_call_name(f->calls[i]));
		for (unsigned i = 1; i < f->n_calls; i++)
			assert_true(f->calls[i - 1] < f->calls[i]);
	}
}

/* The figures of vmm/sandbox/README.md; the sanitizers' own calls are none of ours. */
static void test_they_are_short(void **state)
{
	static const unsigned most[THREAD_KINDS] = {
		[THREAD_MAIN] = 49,   [THREAD_CONTROL] = 80,  [THREAD_VCPU] = 26,
		[THREAD_IO] = 44,     [THREAD_VSOCK] = 40,    [THREAD_SHARE] = 74,
		[THREAD_MEMORY] = 39, [THREAD_SNAPSHOT] = 36, [THREAD_HELPER] = 26,
	};

	if (SANITIZED)
		skip();
	for (unsigned k = 0; k < THREAD_KINDS; k++)
		assert_in_range(sandbox_filter(k)->n_calls, 1, most[k]);
}

static void test_nobody_runs_programs(void **state)
{
	static const char *const never[] = {"execve",
					    "execveat",
					    "fork",
					    "vfork",
					    "ptrace",
					    "process_vm_writev",
					    "process_vm_readv",
					    "open",
					    "mount",
					    "setuid",
					    "bpf",
					    "init_module",
					    "kexec_load",
					    "listen",
					    "clone3",
					    "memfd_secret",
					    "setns",
					    "pivot_root",
					    "chroot",
					    "userfaultfd",
					    "socketpair"};

	for (unsigned k = 0; k < THREAD_KINDS; k++)
		for (unsigned i = 0; i < ARRAY_LEN(never); i++)
			assert_false(allows(k, never[i]));
}

static void test_few_open_or_connect(void **state)
{
	static const enum thread_kind closed[] = {THREAD_VCPU, THREAD_IO, THREAD_HELPER};
	static const char *const ways[] = {"openat", "openat2", "socket", "connect",
					   "bind",   "clone",   "kill",   "unlinkat"};

	for (unsigned k = 0; k < ARRAY_LEN(closed); k++)
		for (unsigned i = 0; i < ARRAY_LEN(ways); i++)
			assert_false(allows(closed[k], ways[i]));
	for (unsigned k = 0; k < THREAD_KINDS; k++) {
		assert_int_equal(allows(k, "io_uring_setup"), k == THREAD_CONTROL);
		assert_int_equal(allows(k, "io_uring_register"), k == THREAD_CONTROL);
	}
	for (unsigned k = 0; k < THREAD_KINDS; k++)
		assert_false(allows(k, "connect") || allows(k, "kill") || allows(k, "pidfd_open"));
	assert_false(allows(THREAD_MAIN, "clone"));
	assert_false(allows(THREAD_MAIN, "socket"));
	assert_false(allows(THREAD_SHARE, "socket"));
	assert_false(allows(THREAD_VSOCK, "openat"));
	assert_false(allows(THREAD_VSOCK, "socket"));
}

/* Threads that come while the guest runs are under the list of who began them as well. */
static void test_who_begins_threads_may_what_they_may(void **state)
{
	static const enum thread_kind late[] = {THREAD_VCPU, THREAD_IO, THREAD_SNAPSHOT,
						THREAD_HELPER, THREAD_MAIN};

	for (unsigned k = 0; k < ARRAY_LEN(late); k++) {
		const struct sandbox_filter *f = sandbox_filter(late[k]);

		for (unsigned i = 0; i < f->n_calls; i++)
			assert_true(allows(THREAD_CONTROL, sandbox_call_name(f->calls[i])));
	}
}

/* All that a filter can come to: to go on, to tell, to end, or that there is no clone3. */
static void test_what_filters_answer(void **state)
{
	for (unsigned k = 0; k < THREAD_KINDS; k++) {
		const struct sandbox_filter *f = sandbox_filter(k);
		unsigned traps = 0, kills = 0;

		for (unsigned i = 0; i < f->n_insns; i++) {
			uint32_t answer = f->insns[i].k & SECCOMP_RET_ACTION_FULL;

			if (f->insns[i].code != (BPF_RET | BPF_K))
				continue;
			traps += answer == SECCOMP_RET_TRAP;
			kills += answer == SECCOMP_RET_KILL_PROCESS;
			assert_true(answer == SECCOMP_RET_TRAP || answer == SECCOMP_RET_ALLOW ||
				    answer == SECCOMP_RET_ERRNO ||
				    answer == SECCOMP_RET_KILL_PROCESS);
		}
		assert_true(traps > 0);
		assert_true(kills > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_kind_has_a_list),
		cmocka_unit_test(test_they_are_short),
		cmocka_unit_test(test_nobody_runs_programs),
		cmocka_unit_test(test_few_open_or_connect),
		cmocka_unit_test(test_who_begins_threads_may_what_they_may),
		cmocka_unit_test(test_what_filters_answer),
	};

	return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
