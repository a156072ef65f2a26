/* SPDX-License-Identifier: Apache-2.0 */
/*
 * herd: many at once, whose guests do nothing.
 *
 *	bench-herd ROUNDS COUNT RAM_MIB NAME COMMAND... [::: NAME COMMAND...]...
 *
 * All of a herd are started in one burst and are looked at when the guest of each has
 * said that it runs and a moment is gone. With a process counts what it has started.
 *
 *	burst       from the first fork to the last guest's output, for each of the herd;
 *	            and the same of a tenth of it, before: does it get dearer?
 *	private     memory that is a process's own, without mappings as large as RAM_MIB:
 *	            the guest's RAM
 *	host        what the host has less available, for each of the herd, all included
 *	wake-ups    how often their threads left the processor within IDLE_S, all together
 *	alive       how many there are after that
 *	end         from SIGTERM for all to all gone, for each of the herd
 *
 * One round more than ROUNDS, with a tenth of the herd, is not told.
 */
#include "tests/bench/asked.h"
#include "tests/bench/contenders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	ROUNDS_MAX = 1000,
	HERD_MAX = 2000,
	PROCESSES_MAX = 65536,
	LIMIT_MS = 300000,
	SETTLE_S = 2,
	IDLE_S = 5,
};

struct herd {
	const struct contender *c;
	unsigned n;
	pid_t pids[HERD_MAX]; /* as contenders_spawn() gave them, */
	pid_t at[HERD_MAX];   /* and what processes those are */
	int out;              /* all of them write there; its end is theirs */
};

struct process {
	pid_t pid, parent;
	bool ours;
};

/* Who belongs to the herd: its processes and what they have started. */
static struct process all[PROCESSES_MAX];
static unsigned n_all;

/* --- what /proc says -------------------------------------------------------------------- */

/* The sum of the numbers in the lines that begin with one of the words. */
static long sum_of_lines(const char *path, const char *const *words)
{
	FILE *f = fopen(path, "re");
	char line[512];
	long sum = 0;

	while (f && fgets(line, sizeof(line), f))
		for (const char *const *w = words; *w; w++)
			if (!strncmp(line, *w, strlen(*w)))
				sum += strtol(line + strlen(*w), NULL, 10);
	if (f)
		fclose(f);
	return sum;
}

static pid_t parent_of(pid_t pid)
{
	static const char *const words[] = {"PPid:", NULL};
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return (pid_t)sum_of_lines(path, words);
}

static bool is_ours(const struct herd *h, pid_t pid)
{
	for (unsigned i = 0; i < h->n; i++)
		if (h->at[i] == pid)
			return true;
	for (unsigned i = 0; i < n_all; i++)
		if (all[i].ours && all[i].pid == pid)
			return true;
	return false;
}

static void list_processes(const struct herd *h)
{
	DIR *dir = opendir("/proc");
	bool more = true;

	n_all = 0;
	for (struct dirent *d; dir && n_all < PROCESSES_MAX && (d = readdir(dir));) {
		pid_t pid = (pid_t)strtol(d->d_name, NULL, 10);

		if (pid > 0)
			all[n_all++] = (struct process){.pid = pid, .parent = parent_of(pid)};
	}
	if (dir)
		closedir(dir);
	/* Until nobody is new: numbers may have wrapped around. */
	while (more) {
		more = false;
		for (unsigned i = 0; i < n_all; i++) {
			struct process *p = &all[i];

			if (p->ours || (!is_ours(h, p->pid) && !is_ours(h, p->parent)))
				continue;
			p->ours = more = true;
		}
	}
}

static long switches_of(pid_t pid)
{
	static const char *const words[] = {
		"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:", NULL};
	char path[300];
	long sum = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *dir = opendir(path);

	for (struct dirent *d; dir && (d = readdir(dir));) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", pid, d->d_name);
		sum += sum_of_lines(path, words);
	}
	if (dir)
		closedir(dir);
	return sum;
}

static long switches(void)
{
	long sum = 0;

	for (unsigned i = 0; i < n_all; i++)
		if (all[i].ours)
			sum += switches_of(all[i].pid);
	return sum;
}

static long private_kib_of(pid_t pid, long ram_kib)
{
	char path[64], line[512];
	bool ram = false;
	long sum = 0, kib;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Size: %ld", &kib) == 1)
			ram = kib >= ram_kib;
		else if (!ram && (sscanf(line, "Private_Clean: %ld", &kib) == 1 ||
				  sscanf(line, "Private_Dirty: %ld", &kib) == 1))
			sum += kib;
	}
	if (f)
		fclose(f);
	return sum;
}

static long private_kib(long ram_kib)
{
	long sum = 0;

	for (unsigned i = 0; i < n_all; i++)
		if (all[i].ours)
			sum += private_kib_of(all[i].pid, ram_kib);
	return sum;
}

static long available_kib(void)
{
	static const char *const words[] = {"MemAvailable:", NULL};

	return sum_of_lines("/proc/meminfo", words);
}

/* --- a herd's life ---------------------------------------------------------------------- */

/* Has one of them ended? */
static bool is_short(const struct herd *h)
{
	for (unsigned i = 0; i < h->n; i++) {
		siginfo_t info = {0};

		if (h->pids[i] > 0 &&
		    (waitid(P_PID, (id_t)h->pids[i], &info, WEXITED | WNOHANG | WNOWAIT) ||
		     info.si_pid))
			return true;
	}
	return false;
}

/* Until as many have said that they run, or that will not be: everybody is gone, or one is and
 * the others say nothing more; how many have. */
static unsigned hear(const struct herd *h, double until_ms)
{
	enum { QUIET_MS = 3000 };
	unsigned heard = 0;

	for (;;) {
		struct pollfd p = {.fd = h->out, .events = POLLIN};
		char bytes[256];

		if (heard >= h->n || contenders_now_ms() > until_ms)
			return heard;
		if (poll(&p, 1, QUIET_MS) <= 0) {
			if (is_short(h))
				return heard;
			continue;
		}
		ssize_t n = read(h->out, bytes, sizeof(bytes));

		if (n <= 0)
			return heard;
		for (ssize_t i = 0; i < n; i++)
			heard += bytes[i] == '!';
	}
}

/* NULL, or what was wrong. */
static const char *gather(struct herd *h, const struct contender *c, unsigned n, double *took_ms)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		contenders_die("pipe", strerror(errno));
	*h = (struct herd){.c = c, .out = ends[0]};
	contenders_mark();
	double from = contenders_now_ms();

	for (; h->n < n; h->n++)
		h->pids[h->n] = contenders_spawn(c, ends[1]);
	close(ends[1]);
	unsigned heard = hear(h, from + LIMIT_MS);

	*took_ms = contenders_now_ms() - from;
	for (unsigned i = 0; i < n && heard == n; i++)
		h->at[i] = h->pids[i] < 0 ? asked_pid(h->pids[i]) : h->pids[i];
	if (heard != n)
		fprintf(stderr, "bench: %s: %u of %u guests said that they run\n", c->name, heard,
			n);
	return heard == n ? NULL : "not all of the guests said that they run";
}

static void kill_all(const struct herd *h, int signum)
{
	for (unsigned i = 0; i < h->n; i++)
		contenders_kill(h->pids[i], signum);
}

/* From SIGTERM to the last one gone. */
static double scatter(struct herd *h)
{
	double from = contenders_now_ms();
	struct pollfd p = {.fd = h->out, .events = POLLIN};
	char bytes[256];

	kill_all(h, SIGTERM);
	while (poll(&p, 1, LIMIT_MS) > 0 && read(h->out, bytes, sizeof(bytes)) > 0)
		;
	kill_all(h, SIGKILL);
	for (unsigned i = 0; i < h->n; i++)
		contenders_wait(h->pids[i]);
	close(h->out);
	return contenders_now_ms() - from;
}

static unsigned count_alive(const struct herd *h)
{
	unsigned alive = 0;

	for (unsigned i = 0; i < h->n; i++) {
		siginfo_t info = {0};
		bool gone = h->pids[i] < 0 ? kill(h->at[i], 0)
					   : waitid(P_PID, (id_t)h->at[i], &info,
						    WEXITED | WNOHANG | WNOWAIT) ||
						     info.si_pid;

		alive += !gone;
	}
	return alive;
}

static void sample(const struct contender *c, const char *measure, const char *unit, double value)
{
	contenders_sample("density", measure, unit, !strcmp(unit, "alive"), c, value);
}

/* Only the burst: what a small herd costs. */
static const char *burst(const struct contender *c, unsigned n, bool told)
{
	static struct herd h;
	char measure[64];
	double took;
	const char *why = gather(&h, c, n, &took);

	scatter(&h);
	snprintf(measure, sizeof(measure), "a burst of %u, for each", n);
	if (!why && told)
		sample(c, measure, "ms", took / n);
	return why;
}

static const char *idle(const struct contender *c, unsigned n, long ram_kib)
{
	static struct herd h;
	long available = available_kib();
	char measure[64];
	double took;
	const char *why = gather(&h, c, n, &took);

	if (why) {
		scatter(&h);
		return why;
	}
	snprintf(measure, sizeof(measure), "a burst of %u, for each", n);
	sample(c, measure, "ms", took / n);
	sleep(SETTLE_S);
	available -= available_kib();
	list_processes(&h);
	sample(c, "private memory without the guest's RAM, each", "KiB",
	       (double)private_kib(ram_kib) / n);
	sample(c, "memory that the host has less, each", "KiB", (double)available / n);
	long before = switches();

	sleep(IDLE_S);
	snprintf(measure, sizeof(measure), "wake-ups in %d s, all %u", IDLE_S, n);
	sample(c, measure, "wake-ups", (double)(switches() - before));
	sample(c, "alive after that", "alive", count_alive(&h));
	sample(c, "SIGTERM to all gone, for each", "ms", scatter(&h) / n);
	return NULL;
}

int main(int argc, char **argv)
{
	struct contender field[CONTENDERS_MAX];
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	long ram_kib = argc > 3 ? strtol(argv[3], NULL, 10) * 1024 : 0;

	if (argc < 6 || !rounds || rounds > ROUNDS_MAX || !n || n > HERD_MAX || ram_kib <= 0)
		contenders_die("usage", "bench-herd ROUNDS COUNT RAM_MIB NAME COMMAND... "
					"[::: NAME COMMAND...]...");
	unsigned many = contenders_parse(field, argv + 4, argc - 4), few = (n + 9) / 10;

	for (unsigned round = 0; round <= rounds; round++)
		for (unsigned i = 0; i < many; i++) {
			struct contender *c = &field[contenders_turn(round, i, many)];

			if (c->out)
				continue;
			const char *why = burst(c, few, round > 0);

			if (!why && round)
				why = idle(c, n, ram_kib);
			if (why)
				contenders_fail("density", c, why);
			else
				c->failed = false;
		}
	return 0;
}
