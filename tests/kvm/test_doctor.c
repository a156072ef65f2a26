/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor: what it makes of hosts that are made up, measurement by measurement, and
 * that people and machines are told the same. No KVM is needed.
 */
#include "vmm/doctor/report.h"

#include "tests/lib/scratch.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

/* `per_second` in 20 ms. */
static struct probe_step rate(double per_second)
{
	return (struct probe_step){PROBE_OK, (uint64_t)(per_second / 50), 20000000, ""};
}

static struct probe_step failed(const char *why)
{
	struct probe_step s = {.state = PROBE_FAILED};

	snprintf(s.why, sizeof(s.why), "%s", why);
	return s;
}

/* A good host of today. */
static struct report good(void)
{
	struct report r = {
		.kvm_owner = "crw-rw---- root kvm",
		.kvm = {.api_version = 12, .cpus = 16, .cpus_max = 1024},
		.probed = true,
		.steps =
			{
				[PROBE_RING0] = rate(3e9),
				[PROBE_RING3] = rate(3e9),
				[PROBE_PORT] = rate(8e5),
				[PROBE_MMIO] = rate(7e5),
				[PROBE_KERNEL] = {PROBE_OK, 1, 2000, ""},
				[PROBE_WAKE] = rate(3e5),
			},
		.address_bits = 46,
		.nofile = 1024,
		.memlock = RLIM_INFINITY,
		.memory = {.total = 16 * GiB,
			   .available = 8 * GiB,
			   .limit = UINT64_MAX,
			   .limit_left = UINT64_MAX},
	};

	for (unsigned i = 0; kvm_capabilities[i].name; i++)
		r.kvm.values[i] = 1;
	return r;
}

static void expect(struct report *r, enum verdict verdict, const char *summary, const char *todo)
{
	report_judge(r);
	if (r->verdict != verdict || !strstr(r->summary, summary))
		fail_msg("%s: %s; expected: %s", verdict_name(r->verdict), r->summary, summary);
	/* What is wrong comes with what to do. */
	assert_int_equal(r->n_todo > 0, todo != NULL);
	if (todo && !strstr(r->todo[0], todo))
		fail_msg("advises: %s; expected: %s", r->todo[0], todo);
}

static void hardware_runs_linux(void **state)
{
	struct report r = good();

	expect(&r, VERDICT_LINUX, "Linux guests run on this host", NULL);
}

/* A processor that is emulated as a whole (the test host) is slow in both rings. */
static void a_slow_host_is_no_emulated_ring(void **state)
{
	struct report r = good();

	r.steps[PROBE_RING0] = rate(4e6);
	r.steps[PROBE_RING3] = rate(6e6);
	expect(&r, VERDICT_LINUX, "Linux guests run", NULL);
	/* Nor is one that was disturbed, ring 0 more than ring 3. */
	r.steps[PROBE_RING0] = rate(3e8);
	r.steps[PROBE_RING3] = rate(3e9);
	expect(&r, VERDICT_LINUX, "Linux guests run", NULL);
	/* However much: it does what a kernel asks for. */
	r.steps[PROBE_RING0] = rate(2e5);
	expect(&r, VERDICT_LINUX, "Linux guests run", NULL);
	/* A loop that was cut off counts with what it did. */
	r.steps[PROBE_RING0].state = PROBE_LATE;
	expect(&r, VERDICT_LINUX, "Linux guests run", NULL);
}

/* PVM, as it was measured. tests/guest/run looks for these very words. */
static void an_emulated_ring_0(void **state)
{
	struct report r = good();

	r.steps[PROBE_RING0] = rate(1.5e6);
	r.steps[PROBE_KERNEL] = failed("KVM_EXIT_INTERNAL_ERROR");
	expect(&r, VERDICT_EMULATED, "emulates ring 0", "hardware");
	/* Ring 3 could not be timed: slow is what no processor has been for long. */
	r.steps[PROBE_RING3] = failed("KVM_EXIT_INTERNAL_ERROR");
	expect(&r, VERDICT_EMULATED, "emulates ring 0", "hardware");
	/* Too slow even for one attempt. */
	r.steps[PROBE_RING0].state = PROBE_LATE;
	expect(&r, VERDICT_EMULATED, "emulates ring 0", "hardware");
}

static void a_guest_that_fails(void **state)
{
	static const char *const names[PROBE_KINDS] = {"instructions in ring 0",
						       "instructions in ring 3",
						       "port I/O",
						       "MMIO",
						       "INT3",
						       "interrupt"};

	for (unsigned i = 0; i < PROBE_KINDS; i++) {
		struct report r = good();

		r.steps[i] = failed("KVM_EXIT_SHUTDOWN");
		expect(&r, VERDICT_BROKEN, names[i], "dmesg");
		assert_non_null(strstr(r.summary, "KVM_EXIT_SHUTDOWN"));
		r.steps[i] = (struct probe_step){.state = PROBE_LATE, .ns = 250000000};
		expect(&r, VERDICT_BROKEN, names[i], "dmesg");
		r.steps[i] = (struct probe_step){.state = PROBE_NOT_RUN};
		expect(&r, VERDICT_BROKEN, names[i], "dmesg");
	}
}

static void no_kvm_of_any_kind(void **state)
{
	static const struct {
		int error;
		enum verdict verdict;
		const char *summary, *todo;
	} cases[] = {
		{-ENOENT, VERDICT_NO_KVM, "there is no KVM", "kvm-intel or kvm-amd"},
		{-ENODEV, VERDICT_NO_KVM, "there is no KVM", "nesting"},
		{-EACCES, VERDICT_FORBIDDEN, "may not be opened", "group"},
		{-EPERM, VERDICT_FORBIDDEN, "may not be opened", "container"},
		{-ENOTTY, VERDICT_UNUSABLE, "not KVM's device", "10, 232"},
		{-EMFILE, VERDICT_UNUSABLE, "Too many open files", "/dev/kvm"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct report r = good();

		r.kvm_error = cases[i].error;
		r.probed = false;
		memset(r.steps, 0, sizeof(r.steps));
		expect(&r, cases[i].verdict, cases[i].summary, cases[i].todo);
	}

	struct report r = good();

	r.probed = false;
	snprintf(r.vm_error, sizeof(r.vm_error), "/dev/kvm: this host's KVM lacks IRQFD");
	expect(&r, VERDICT_UNUSABLE, "lacks IRQFD", "4.13");
}

static void what_else_is_missing(void **state)
{
	struct report r = good();

	r.memory.available = 10 * MiB;
	expect(&r, VERDICT_LINUX, "Linux", "10 MiB of memory");
	r = good();
	r.memory.limit_left = 10 * MiB;
	expect(&r, VERDICT_LINUX, "Linux", "10 MiB of memory");
	r = good();
	r.memory.strict_commit = true;
	expect(&r, VERDICT_LINUX, "Linux", "overcommit_memory");
	r = good();
	r.nofile = 64;
	expect(&r, VERDICT_LINUX, "Linux", "64 descriptors");
	r = good();
	r.helpers[r.n_helpers++] = (struct helper){
		.name = "passt", .use = "--net user", .remedy = "install passt", .matters = true};
	expect(&r, VERDICT_LINUX, "Linux", "install passt");
	r.helpers[0].there = true;
	expect(&r, VERDICT_LINUX, "Linux", NULL);
	r.helpers[0].there = r.helpers[0].matters = false;
	expect(&r, VERDICT_LINUX, "Linux", NULL);
}

static void hosts_are_looked_at(void **state)
{
	struct scratch host;
	struct report r = {0};
	bool modules = false;

	scratch_init(&host);
	scratch_text(&host, "proc/cpuinfo", "processor\t: 0\nmodel name\t: A \x1b[31mCPU\n");
	scratch_text(&host, "lib/modules/6.1.0-9/modules.dep", "");
	report_host(&r, host.path);
	assert_string_equal(r.cpu, "A ?[31mCPU");
	assert_true(r.cpus > 0 && r.nofile > 0 && r.kernel[0]);
	for (unsigned i = 0; i < r.n_helpers; i++) {
		if (strcmp(r.helpers[i].name, "/lib/modules"))
			continue;
		modules = r.helpers[i].there;
		assert_string_equal(r.helpers[i].found, "6.1.0-9");
	}
	assert_true(modules);
	/* No device of this host is seen through another root. */
	for (unsigned i = 0; i < r.n_helpers; i++)
		if (strncmp(r.helpers[i].name, "/dev/", 5) == 0)
			assert_false(r.helpers[i].there);
	scratch_fini(&host);
}

static char *printed(const struct report *r, int (*print)(const struct report *, FILE *))
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(print(r, f), 0);
	fclose(f);
	return text;
}

/* For each verdict: JSON that a parser takes, and the same answer in words. */
static void people_and_machines_are_told_the_same(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct report r = good();

		report_host(&r, "");
		if (i == 1)
			r.steps[PROBE_RING0] = rate(1e6), r.steps[PROBE_KERNEL] = failed("x");
		else if (i == 2)
			r.steps[PROBE_MMIO] = failed("a \"quoted\"\nreason\\");
		else if (i == 3)
			r = (struct report){.kvm_error = -EACCES, .memory.limit = UINT64_MAX};
		report_judge(&r);

		char *text = printed(&r, report_print), *json = printed(&r, report_json);
		json_error_t error;
		json_t *all = json_loads(json, 0, &error);

		if (!all)
			fail_msg("%s: %s", error.text, json);
		assert_memory_equal(text, r.summary, strlen(r.summary));
		assert_string_equal(json_string_value(json_object_get(all, "summary")), r.summary);
		assert_string_equal(json_string_value(json_object_get(all, "verdict")),
				    verdict_name(r.verdict));
		assert_int_equal(json_is_true(json_object_get(all, "linux")), i == 0);
		assert_int_equal(json_array_size(json_object_get(all, "todo")), r.n_todo);
		assert_int_equal(json_array_size(json_object_get(all, "helpers")), r.n_helpers);
		for (unsigned j = 0; j < r.n_todo; j++) {
			assert_non_null(strstr(text, r.todo[j]));
			assert_string_equal(
				json_string_value(json_array_get(json_object_get(all, "todo"), j)),
				r.todo[j]);
		}
		json_t *guest = json_object_get(all, "guest");

		assert_int_equal(json_is_null(guest), i == 3);
		if (i == 0)
			assert_true(json_number_value(json_object_get(guest, "ring0_per_second")) >
				    2.9e9);
		json_decref(all);
		free(text);
		free(json);
	}
}

static void a_reader_that_is_gone(void **state)
{
	struct report r = good();
	FILE *full = fopen("/dev/full", "w");

	assert_non_null(full);
	report_judge(&r);
	assert_int_equal(report_print(&r, full), -EIO);
	assert_int_equal(report_json(&r, full), -EIO);
	fclose(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hardware_runs_linux),
		cmocka_unit_test(a_slow_host_is_no_emulated_ring),
		cmocka_unit_test(an_emulated_ring_0),
		cmocka_unit_test(a_guest_that_fails),
		cmocka_unit_test(no_kvm_of_any_kind),
		cmocka_unit_test(what_else_is_missing),
		cmocka_unit_test(hosts_are_looked_at),
		cmocka_unit_test(people_and_machines_are_told_the_same),
		cmocka_unit_test(a_reader_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
