/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe: its guests on a real /dev/kvm. What they measure is another matter on each
 * host; that they come to their ends, within their time, and leave nothing, is not.
 *
 * SKIP (77) where there is no KVM.
 */
#include "vmm/arch/x86_64/probe.h"

#include "vmm/core/clock.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void probe(struct probe_step steps[PROBE_KINDS], unsigned limit_ms)
{
	struct kvm_vm vm;
	struct err e = {0};

	if (kvm_vm_open(&vm, &e) || probe_run(steps, &vm, limit_ms, &e))
		fail_msg("%s", e.text);
	kvm_vm_close(&vm);
}

static void every_step_is_done(void **state)
{
	unsigned before = open_descriptors();
	struct probe_step s[PROBE_KINDS];
	struct itimerval timer;
	struct sigaction sa;

	probe(s, 60000);
	for (unsigned i = 0; i < PROBE_KINDS; i++) {
		print_message("step %u: state %u, %.0f/s, %.0f ns each %s\n", i, s[i].state,
			      probe_per_second(&s[i]), probe_ns_each(&s[i]), s[i].why);
		/* What a KVM that emulates ring 0 does not know is told and no error here. */
		if (i == PROBE_KERNEL && s[i].state == PROBE_FAILED)
			continue;
		assert_true(s[i].count > 0 && s[i].ns > 0);
	}
	/* No processor does a thousand thousand million a second, and none stands still. */
	assert_true(probe_per_second(&s[PROBE_RING3]) > 1e5);
	assert_true(probe_per_second(&s[PROBE_RING3]) < 1e12);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(getitimer(ITIMER_REAL, &timer), 0);
	assert_true(!timer.it_value.tv_sec && !timer.it_value.tv_usec);
	assert_int_equal(sigaction(SIGALRM, NULL, &sa), 0);
	assert_true(sa.sa_handler == SIG_DFL);
}

/* With no time at all: each step ends at its first tick. */
static void the_limit_holds(void **state)
{
	uint64_t from = clock_monotonic_ns(&clock_host);
	struct probe_step s[PROBE_KINDS];

	probe(s, 0);
	for (unsigned i = 0; i < PROBE_KINDS; i++)
		assert_true(s[i].state != PROBE_FAILED || i == PROBE_KERNEL);
	assert_true(clock_monotonic_ns(&clock_host) - from < 30000000000ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_step_is_done),
		cmocka_unit_test(the_limit_holds),
	};

	if (access("/dev/kvm", R_OK | W_OK)) {
		puts("SKIP: /dev/kvm cannot be opened");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
