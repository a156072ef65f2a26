/* SPDX-License-Identifier: Apache-2.0 */
/* `minivmm matrix`: its words, and what becomes of them. */
#include "vmm/base/log.h"
#include "vmm/base/whole_file.h"
#include "vmm/config/size.h"
#include "vmm/config/suggest.h"
#include "vmm/matrix/matrix.h"
#include "vmm/matrix/report.h"
#include "vmm/matrix/run.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_SIGNAL = 128, JOBS_MAX = MATRIX_CELLS_MAX };

struct words {
	const char *file, *junit, *json;
	unsigned jobs;
	bool help;
};

static const struct option long_options[] = {
	{"jobs", required_argument, NULL, 'j'},
	{"junit", required_argument, NULL, 'u'},
	{"json", required_argument, NULL, 'o'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static const char help[] =
	"usage: minivmm matrix FILE [-j N] [--junit FILE] [--json FILE|-]\n"
	"\n"
	"Runs the same guest over several kernels, CPU counts and memory sizes, some at a\n"
	"time, each cell as a minivmm of its own. FILE is one for minivmm run --config with\n"
	"a section more, whose lists span the cells:\n"
	"  [matrix]\n"
	"  kernel = vmlinux-6.1, vmlinux-6.6\n"
	"  cpus = 1, 2, 8\n"
	"  memory = 64M, 1G\n"
	"  command = make test\n"
	"Each may be left out; a comma within a value is written twice. The command is\n"
	"for /bin/sh -c in the guest, as minivmm run -- would run it; a cell passes if its\n"
	"status is 0. Without a command it passes if the guest powers off or reboots. All\n"
	"else that a cell is to be, the other sections say: [run] timeout = 60 bounds each.\n"
	"One cell by hand:\n"
	"  minivmm run --config FILE -k vmlinux-6.1 -c 2 -- /bin/sh -c 'make test'\n"
	"\n"
	"  -j, --jobs N         so many cells at once; else as many as have together no\n"
	"                       more CPUs than this host, in the order of the lists\n"
	"      --junit FILE     write the results as JUnit XML\n"
	"      --json FILE|-    the same as JSON; with - on stdout, and the table on stderr\n"
	"  -h, --help           show this\n"
	"\n"
	"A line for each cell is on stderr as it ends, with its last lines if it did not\n"
	"pass; the table on stdout. Ctrl-C ends all cells, and the table tells of those\n"
	"that had ended; a second one does not ask them.\n"
	"\n"
	"Exit status: 0 all cells passed, 1 some did not, 2 usage or configuration, 128+N\n"
	"ended by signal N.\n";

static int explain(const char *word, struct err *e)
{
	struct suggestion near = {0};

	for (const struct option *o = long_options; o->name && !strncmp(word, "--", 2); o++)
		suggest_offer(&near, word + 2, o->name);
	if (near.name)
		return err_usage(e, -EINVAL, "matrix %.80s: unknown option; did you mean --%s?",
				 word, near.name);
	return err_usage(e, -EINVAL, "matrix %.80s: unknown option; see minivmm matrix --help",
			 word);
}

static int take_option(struct words *w, int key, const char *word, struct err *e)
{
	uint64_t jobs = 0;

	switch (key) {
	case 'j':
		if (number_parse(optarg, JOBS_MAX, &jobs) || !jobs)
			return err_usage(e, -EINVAL,
					 "matrix --jobs %.80s: not a number of cells; give 1 to %d",
					 optarg, JOBS_MAX);
		w->jobs = (unsigned)jobs;
		return 0;
	case 'u':
		w->junit = optarg;
		return 0;
	case 'o':
		w->json = optarg;
		return 0;
	case 'h':
		w->help = true;
		return 0;
	case ':':
		return err_usage(e, -EINVAL, "matrix %.80s: needs a value", word);
	default:
		return explain(word, e);
	}
}

static int read_words(struct words *w, int argc, char **argv, struct err *e)
{
	int key, ret = 0;

	opterr = 0;
	optind = 1;
	while (!ret && !w->help) {
		const char *word = argv[optind < argc ? optind : argc - 1];

		/* '-': in order, a word that is no option is the value of option 1. */
		key = getopt_long(argc, argv, "-:j:h", long_options, NULL);
		if (key < 0)
			break;
		if (key == 1 && w->file)
			ret = err_usage(e, -EINVAL, "matrix %.80s: one word too much", optarg);
		else if (key == 1)
			w->file = optarg;
		else
			ret = take_option(w, key, word, e);
	}
	if (!ret && !w->help && optind < argc)
		ret = err_usage(e, -EINVAL,
				"matrix --: the command is in the file, as command = TEXT");
	if (!ret && !w->help && !w->file)
		ret = err_usage(e, -EINVAL, "matrix: no file is given; see minivmm matrix --help");
	return ret;
}

static bool is_stdout(const char *path)
{
	return path && !strcmp(path, "-");
}

/* What can be known to fail, fails before the first cell. */
static int check_outputs(const struct words *w, struct err *e)
{
	int ret = w->junit ? whole_file_check("matrix --junit", w->junit, e) : 0;

	if (!ret && w->json && !is_stdout(w->json))
		ret = whole_file_check("matrix --json", w->json, e);
	return ret;
}

static void on_ended(void *ctx, const struct cell *c, unsigned nth)
{
	matrix_progress(ctx, c, nth);
}

/* All that was asked for, whatever of it fails. */
static int tell(const struct words *w, struct matrix_report *r)
{
	struct err e = {0};
	int failed = 0;

	if (matrix_table(r, is_stdout(w->json) ? stderr : stdout))
		failed = err_host(&e, -EIO, "matrix: the table could not be written");
	if (is_stdout(w->json) && matrix_json(stdout, r))
		failed = err_host(&e, -EIO, "matrix --json -: could not be written");
	if (w->json && !is_stdout(w->json))
		failed |= whole_file_write("matrix --json", w->json, matrix_json, r, &e);
	if (w->junit)
		failed |= whole_file_write("matrix --junit", w->junit, matrix_junit, r, &e);
	if (failed)
		log_error("%s", e.text);
	return failed;
}

static int run_plan(const struct words *w, const struct plan *plan, struct err *e)
{
	struct cell *cells = calloc(plan->n, sizeof(*cells));
	struct matrix_report report = {plan, cells};
	const struct run_options options = {w->jobs, on_ended, &report};
	int signum, status;

	if (!cells) {
		err_host(e, -ENOMEM, "matrix: out of memory");
		return STATUS_FAILED;
	}
	for (unsigned i = 0; i < plan->n; i++)
		cell_init(&cells[i], &plan->cells[i], plan->command);
	if (run_cells(cells, plan->n, &options, &signum, e)) {
		status = STATUS_FAILED;
	} else {
		status = matrix_count(&report, TEST_PASSED) == plan->n ? 0 : STATUS_FAILED;
		if (tell(w, &report))
			status = STATUS_FAILED;
		if (signum)
			status = STATUS_SIGNAL + signum;
	}
	for (unsigned i = 0; i < plan->n; i++)
		cell_fini(&cells[i]);
	free(cells);
	return status;
}

static int run(const struct words *w, struct err *e)
{
	struct plan plan;
	int status = STATUS_FAILED;

	if (!plan_read(&plan, w->file, e) && !check_outputs(w, e))
		status = run_plan(w, &plan, e);
	plan_fini(&plan);
	return status;
}

int matrix_main(int argc, char **argv)
{
	struct words words = {0};
	struct err e = {0};
	int status = STATUS_FAILED;

	if (read_words(&words, argc, argv, &e))
		status = STATUS_USAGE;
	else if (words.help)
		status = fputs(help, stdout) < 0 || fflush(stdout) ? STATUS_FAILED : 0;
	else
		status = run(&words, &e);
	if (e.kind)
		log_error("%s", e.text);
	return e.kind == ERR_USAGE ? STATUS_USAGE : status;
}
