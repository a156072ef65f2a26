/* SPDX-License-Identifier: Apache-2.0 */
/* The cells of a matrix, from a file: which there are, what each is told, what is refused. */
#include "vmm/config/config.h"
#include "vmm/matrix/list.h"
#include "vmm/matrix/plan.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static struct plan p;
static struct err e;

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make_dir(void **state)
{
	clearenv(); /* what the caller's shell has set is not part of the test */
	snprintf(dir, sizeof(dir), "/tmp/test_matrix.XXXXXX");
	if (!mkdtemp(dir) || chdir(dir) || mkdir("sub", 0700))
		return -1;
	write_file("sub/a", "");
	write_file("sub/b,c", "");
	return 0;
}

static int remove_dir(void **state)
{
	unlink("sub/a");
	unlink("sub/b,c");
	unlink("sub/t.ini");
	return rmdir("sub") || chdir("/") || rmdir(dir) ? -1 : 0;
}

static int drop(void **state)
{
	plan_fini(&p);
	return 0;
}

static int read_plan(const char *text)
{
	write_file("sub/t.ini", text);
	plan_fini(&p);
	e = (struct err){0};
	return plan_read(&p, "sub/t.ini", &e);
}

static void refused(const char *text, const char *start)
{
	int ret = read_plan(text);

	if (ret >= 0)
		fail_msg("accepted; expected: %s", start);
	if (strncmp(e.text, start, strlen(start)) != 0)
		fail_msg("said: %s; expected: %s", e.text, start);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_int_equal(e.code, ret);
}

/* The words of a cell, joined. */
static const char *words(unsigned i)
{
	static char joined[400];

	*joined = '\0';
	assert_true(i < p.n);
	for (unsigned j = 0; j < p.cells[i].n_words; j++)
		strcat(strcat(joined, j ? "|" : ""), p.cells[i].words[j]);
	assert_null(p.cells[i].words[p.cells[i].n_words]);
	return joined;
}

static void lists(void **state)
{
	struct list l = {0};

	e = (struct err){0};
	assert_int_equal(list_split(&l, " a ,b c,\t1G,,x=y ,,,z", "W", &e), 0);
	assert_int_equal(l.n, 4);
	assert_string_equal(l.items[0], "a");
	assert_string_equal(l.items[1], "b c");
	assert_string_equal(l.items[2], "1G,x=y ,");
	assert_string_equal(l.items[3], "z");
	list_fini(&l);

	static const struct {
		const char *text, *want;
	} bad[] = {
		{"", "W: an item of the list is empty"},
		{" ", "W: an item of the list is empty"},
		{"a,", "W: an item of the list is empty"},
		{",a", "W: an item of the list is empty"},
		{"a, ,b", "W: an item of the list is empty"},
		{"a, b, a", "W: a is there twice"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		e = (struct err){0};
		assert_true(list_split(&l, bad[i].text, "W", &e) < 0);
		assert_string_equal(e.text, bad[i].want);
		list_fini(&l);
	}
}

static void all_combinations_in_order(void **state)
{
	assert_int_equal(read_plan("[matrix]\n"
				   "kernel = a, b,,c\n"
				   "cpus = 1, 2\n"
				   "memory = 64M, 1G\n"
				   "command = make 'a b' && true\n"
				   "[run]\n"
				   "timeout = 9\n"),
			 0);
	assert_int_equal(p.n, 8);
	assert_string_equal(p.command, "make 'a b' && true");
	assert_string_equal(words(0), "minivmm|run|--config|sub/t.ini|--kernel|sub/a|--cpus|1|"
				      "--memory|64M|--|/bin/sh|-c|make 'a b' && true");
	assert_string_equal(words(7), "minivmm|run|--config|sub/t.ini|--kernel|sub/b,c|--cpus|2|"
				      "--memory|1G|--|/bin/sh|-c|make 'a b' && true");
	for (unsigned i = 0; i < 8; i++) {
		assert_string_equal(p.cells[i].kernel, i < 4 ? "sub/a" : "sub/b,c");
		assert_int_equal(p.cells[i].cpus, i & 2 ? 2 : 1);
		assert_true(p.cells[i].memory == (i & 1 ? 1024ull : 64ull) << 20);
		assert_int_equal(p.cells[i].timeout_s, 9);
	}
}

/* What is no list comes from the other sections, as in a run of its own. */
static void one_axis(void **state)
{
	assert_int_equal(read_plan("[boot]\nkernel = a\n[machine]\nmemory = 96M\n"
				   "[matrix]\ncpus = 1,2,,max=4\n"),
			 0);
	assert_int_equal(p.n, 2);
	assert_null(p.command);
	assert_string_equal(words(1), "minivmm|run|--config|sub/t.ini|--cpus|2,max=4");
	assert_string_equal(p.cells[1].kernel, "sub/a");
	assert_int_equal(p.cells[1].cpus, 2);
	assert_true(p.cells[1].memory == 96ull << 20);
	assert_int_equal(p.cells[1].timeout_s, 0);
}

static void what_is_wrong_is_refused_by_name(void **state)
{
	refused("", "sub/t.ini: has no [matrix]");
	refused("[boot]\nkernel = a\n", "sub/t.ini: has no [matrix]");
	refused("[matrix]\n", "sub/t.ini [matrix]: has no cells");
	refused("[matrix]\ncommand = x\n", "sub/t.ini [matrix]: has no cells");
	refused("[matrix]\nkernel = a\ncommand =\n", "sub/t.ini [matrix] command: is empty");
	refused("[matrix]\nkernels = a\n",
		"sub/t.ini [matrix] kernels: unknown key; did you mean kernel?");
	refused("[matrix]\nflavour = a\n",
		"sub/t.ini [matrix] flavour: unknown key; there are kernel, cpus");
	refused("[matrix]\ntimeout = 1\n", "sub/t.ini [matrix] timeout: belongs into [run]");
	refused("[matrix]\nkernel = a\nkernel = a\n", "sub/t.ini [matrix] kernel: is there twice");
	refused("[matrix]\nkernel = a, a\n", "sub/t.ini [matrix] kernel: a is there twice");
	refused("[matrix]\ncpus = 1,\n", "sub/t.ini [matrix] cpus: an item of the list is empty");
	refused("[matrix]\ncpus = 1,2\n[machine]\ncpus = 1\n",
		"sub/t.ini [matrix] cpus: is in [machine] as well; keep one");
	refused("[matrix]\nkernel = nowhere\n",
		"sub/t.ini: --kernel sub/nowhere: No such file or directory");
	/* What a run would refuse, in its words. */
	refused("[matrix]\nkernel = a\ncpus = 1, 65\n", "--cpus 65: too few or too many CPUs");
	refused("[matrix]\nkernel = a\nmemory = 64M, much\n", "--memory much: ");
	refused("[matrix]\nkernel = a\n[run]\ntimeout = x\n", "sub/t.ini [run] timeout: x: ");
	refused("[matrix]\nkernel = a\n[rnu]\n", "sub/t.ini [rnu]: unknown section");
	refused("[matrix]\ncpus = 1, 2\n", "--kernel: missing");
	refused("[matrix]\nkernel = a\n[log]\nevents = x\n",
		"sub/t.ini: events: all cells would write there");
	refused("[matrix]\nkernel = a\ncommand = x\n[command]\njunit = x\n",
		"sub/t.ini: junit: all cells would write there");
}

static void too_many(void **state)
{
	char text[2000] = "[matrix]\nkernel = a\ncpus = 1";

	for (unsigned i = 2; i <= 64; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), ",%u", i);
	strcat(text, "\nmemory = 64, 65, 66, 67");
	assert_int_equal(read_plan(text), 0);
	assert_int_equal(p.n, 256);
	strcat(text, ", 68\n");
	refused(text, "sub/t.ini [matrix]: 320 cells; 256 are the most");
}

static void no_file(void **state)
{
	plan_fini(&p);
	e = (struct err){0};
	assert_true(plan_read(&p, "nowhere.ini", &e) < 0);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_string_equal(e.text, "matrix nowhere.ini: No such file or directory");
}

/* The same file, for one machine by hand. */
static void a_run_reads_the_file_without_the_section(void **state)
{
	char *argv[] = {"minivmm", "--config", "sub/t.ini", "-k", "k", NULL};
	struct vm_config c;

	write_file("sub/t.ini", "[matrix]\nkernel = a, b\nanything = x\n[machine]\ncpus = 3\n");
	e = (struct err){0};
	assert_int_equal(config_parse(&c, 5, argv, &e), CONFIG_RUN);
	assert_string_equal(c.kernel, "k");
	assert_int_equal(c.cpus, 3);
	vm_config_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists),
		cmocka_unit_test_teardown(all_combinations_in_order, drop),
		cmocka_unit_test_teardown(one_axis, drop),
		cmocka_unit_test_teardown(what_is_wrong_is_refused_by_name, drop),
		cmocka_unit_test_teardown(too_many, drop),
		cmocka_unit_test_teardown(no_file, drop),
		cmocka_unit_test(a_run_reads_the_file_without_the_section),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
