/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: a main() for a fuzz target that has no libFuzzer: each file of the
 * corpus once, so that every seed and every crash of the past is a regression
 * test for all compilers and sanitizers. As libFuzzer does, it takes directories
 * and files, and passes over what begins with a dash.
 */
#include "tests/fuzz/lib/fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INPUT_MAX = 1 << 20, PATH_LEN = 4096 };

/* What runs now, for the handler: abort() comes without a word of the input. */
static char running[PATH_LEN];

static void on_abort(int signum)
{
	static const char what[] = " is the input at fault\n";
	ssize_t n = write(STDERR_FILENO, running, strlen(running));

	n = write(STDERR_FILENO, what, sizeof(what) - 1);
	(void)n;
}

static void die(const char *path)
{
	perror(path);
	exit(2);
}

static unsigned run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *bytes = malloc(INPUT_MAX), *exact;
	size_t len;

	if (!f || !bytes)
		die(path);
	len = fread(bytes, 1, INPUT_MAX, f);
	fclose(f);
	/* Of its own size, so that a read beyond the end is seen. */
	exact = malloc(len + !len);
	if (!exact)
		die(path);
	memcpy(exact, bytes, len);
	free(bytes);
	snprintf(running, sizeof(running), "%s", path);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	return 1;
}

static unsigned run_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char file[PATH_LEN];
	unsigned n = 0;

	if (!dir)
		die(path);
	while ((entry = readdir(dir))) {
		if (*entry->d_name == '.')
			continue;
		if (snprintf(file, sizeof(file), "%s/%s", path, entry->d_name) < (int)sizeof(file))
			n += run_file(file);
	}
	closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	unsigned n = 0;
	struct stat st;

	signal(SIGABRT, on_abort);
	for (int i = 1; i < argc; i++) {
		if (*argv[i] == '-')
			continue;
		if (stat(argv[i], &st))
			die(argv[i]);
		n += S_ISDIR(st.st_mode) ? run_dir(argv[i]) : run_file(argv[i]);
	}
	printf("%u inputs\n", n);
	/* A corpus that went missing is not a corpus that passed. */
	return n ? 0 : 2;
}
