/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever is asked may be stuck, or no machine at all: nothing here waits for one longer than for
 * the others, and what it answers counts only if it is that process which answers.
 */
#include "vmm/control/list.h"

#include "devices/backend/unix_path.h"
#include "vmm/base/bytes.h"
#include "vmm/base/err.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/control/mark.h"
#include "vmm/core/clock.h"
#include "vmm/machine/text.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STATUS_HOST = 1, STATUS_USAGE = 2, PATIENCE_MS = 1000, AT_ONCE = 128, ANSWER_MAX = 65536 };

static const char help[] =
	"usage: minivmm list [--json]\n"
	"\n"
	"The machines that run: yours, and to root everybody's. One with a --control is asked\n"
	"how it does, and has a second to answer; of one without there is only what its\n"
	"process shows. Each can be given to minivmm ctl by its name or process id.\n"
	"\n"
	"      --json                 an array of objects instead of a table\n"
	"  -h, --help                 show this\n"
	"\n"
	"Exit status: 0 done, 1 the host failed, 2 usage.\n";

static const char question[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";

struct row {
	const struct mark *mark;
	int fd;       /* -1: it is not being asked */
	char *answer; /* owned; ANSWER_MAX bytes while it is being asked */
	size_t len;
	const json_t *status; /* NULL: not known */
	json_t *reply;        /* owned: what that is in */
	const char *problem;  /* why not; NULL: none */
};

/* --- asking ------------------------------------------------------------------------------- */

static void ask(struct row *r)
{
	r->fd = -1;
	if (!r->mark->path)
		return;
	r->problem = "does not answer";
	r->fd = unix_path_connect(r->mark->path);
	if (r->fd == -ECONNREFUSED || r->fd == -ENOENT)
		r->problem = "its socket is gone";
	else if (r->fd < 0 && r->fd != -EAGAIN)
		r->problem = "cannot be asked";
	if (r->fd < 0)
		return;
	r->answer = malloc(ANSWER_MAX);
	if (!r->answer || send(r->fd, question, strlen(question), MSG_NOSIGNAL | MSG_DONTWAIT) !=
				  (ssize_t)strlen(question))
		fd_close(&r->fd);
}

/* Is it that process who listens? Where somebody else made its socket, it says so itself. */
static bool is_the_one(const struct row *r)
{
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	const json_t *pid = json_object_get(r->status, "pid");

	getsockopt(r->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	return peer.pid == r->mark->pid || json_integer_value(pid) == r->mark->pid;
}

static void judge(struct row *r)
{
	r->reply = json_loadb(r->answer, r->len, JSON_DISABLE_EOF_CHECK, NULL);
	r->status = json_object_get(r->reply, "result");
	r->problem = NULL;
	if (!json_is_string(json_object_get(r->status, "state")))
		r->problem = "what answers is no minivmm";
	else if (!is_the_one(r))
		r->problem = "another process answers";
	if (r->problem)
		r->status = NULL;
}

static void hear(struct row *r)
{
	ssize_t n = recv(r->fd, r->answer + r->len, ANSWER_MAX - r->len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	r->len += n > 0 ? (size_t)n : 0;
	if (n > 0 && r->len < ANSWER_MAX && !memchr(r->answer, '\n', r->len))
		return;
	judge(r);
	fd_close(&r->fd);
}

/* All of them, within the time of one. */
static void ask_all(struct row *rows, unsigned n)
{
	uint64_t end = clock_monotonic_ns(&clock_host) + PATIENCE_MS * 1000000ull;
	struct pollfd p[AT_ONCE];

	for (unsigned i = 0; i < n; i++)
		ask(&rows[i]);
	for (;;) {
		uint64_t now = clock_monotonic_ns(&clock_host);
		unsigned waits = 0;

		for (unsigned i = 0; i < n; i++) {
			p[i] = (struct pollfd){.fd = rows[i].fd, .events = POLLIN};
			waits += rows[i].fd >= 0;
		}
		if (!waits || now >= end ||
		    (poll(p, n, (int)((end - now) / 1000000 + 1)) < 0 && errno != EINTR))
			break;
		for (unsigned i = 0; i < n; i++)
			if (rows[i].fd >= 0 && p[i].revents)
				hear(&rows[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		fd_close(&rows[i].fd);
		free(rows[i].answer);
		rows[i].answer = NULL;
	}
}

/* --- what is known ------------------------------------------------------------------------ */

/* Of one that is not asked or does not answer: as its command line has it, or NULL. */
static const char *kernel_said(const struct mark *m)
{
	const char *end = m->args + m->args_len;

	for (const char *word = m->args; word < end; word += strlen(word) + 1) {
		const char *next = word + strlen(word) + 1;

		if (!strcmp(word, "--"))
			break;
		if (!strcmp(word, "-k") || !strcmp(word, "--kernel"))
			return next < end ? next : NULL;
		if (!strncmp(word, "--kernel=", 9))
			return word + 9;
	}
	return NULL;
}

static const char *kernel_of(const struct row *r)
{
	const char *answered = json_string_value(json_object_get(r->status, "kernel"));

	return answered ? answered : kernel_said(r->mark);
}

static const char *state_of(const struct row *r)
{
	const char *answered = json_string_value(json_object_get(r->status, "state"));

	return answered ? answered : r->problem ? r->problem : "unknown";
}

/* A number that it answered, or -1. */
static int64_t number(const struct row *r, const char *key)
{
	const json_t *n = json_object_get(r->status, key);

	return json_is_integer(n) ? json_integer_value(n) : -1;
}

static int64_t uptime_of(const struct row *r)
{
	int64_t answered = number(r, "uptime_ms");

	return answered < 0 ? (int64_t)r->mark->uptime_ms : answered;
}

/* --- telling it --------------------------------------------------------------------------- */

static json_t *maybe_text(const char *text)
{
	return text ? json_text(text) : json_null();
}

static json_t *maybe_number(int64_t n)
{
	return n < 0 ? json_null() : json_integer(n);
}

static json_t *as_json(const struct row *r)
{
	const struct mark *m = r->mark;
	json_t *args = json_array();
	char name[64];

	for (size_t at = 0; at < m->args_len; at += strlen(m->args + at) + 1)
		json_array_append_new(args, json_text(m->args + at));
	mark_name(m, name);
	return json_pack("{s:i, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "pid", (int)m->pid,
			 "name", maybe_text(*name ? name : NULL), "state",
			 maybe_text(json_string_value(json_object_get(r->status, "state"))),
			 "problem", maybe_text(r->problem), "uptime_ms", (json_int_t)uptime_of(r),
			 "cpus", maybe_number(number(r, "cpus")), "memory",
			 maybe_number(number(r, "memory")), "kernel", maybe_text(kernel_of(r)),
			 "control", maybe_text(m->path), "args", args);
}

static void tell_json(const struct row *rows, unsigned n)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(all, as_json(&rows[i]));
	json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
}

enum { COLUMNS = 8, CELL = 24 };

/* Others' words: what a terminal would obey is not for it. */
static void write_word(const char *word, int width)
{
	int n = 0;

	for (; *word; word++, n++)
		putchar((unsigned char)*word < ' ' || *word == 0x7f ? '?' : *word);
	printf("%*s", n < width ? width - n : 0, "");
}

static void write_uptime(char out[CELL], int64_t ms)
{
	int64_t s = ms / 1000;

	if (s < 60)
		snprintf(out, CELL, "%" PRId64 "s", s);
	else if (s < 3600)
		snprintf(out, CELL, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, CELL, "%" PRId64 "h%02" PRId64 "m", s / 3600, s / 60 % 60);
	else
		snprintf(out, CELL, "%" PRId64 "d%02" PRId64 "h", s / 86400, s / 3600 % 24);
}

static void write_memory(char out[CELL], int64_t bytes)
{
	if (bytes < 0)
		snprintf(out, CELL, "-");
	else if (bytes % (int64_t)GiB == 0)
		snprintf(out, CELL, "%" PRId64 "G", bytes / (int64_t)GiB);
	else
		snprintf(out, CELL, "%" PRId64 "M", bytes / (int64_t)MiB);
}

/* Of a row, or of the head. */
struct line {
	char pid[CELL], name[64], uptime[CELL], cpus[CELL], memory[CELL];
	const char *state, *kernel, *control;
};

static struct line line_of(const struct row *r)
{
	struct line l = {.state = state_of(r), .kernel = kernel_of(r), .control = r->mark->path};
	int64_t cpus = number(r, "cpus");

	snprintf(l.pid, CELL, "%d", (int)r->mark->pid);
	mark_name(r->mark, l.name);
	if (!*l.name)
		strcpy(l.name, "-");
	write_uptime(l.uptime, uptime_of(r));
	if (cpus < 0)
		strcpy(l.cpus, "-");
	else
		snprintf(l.cpus, CELL, "%" PRId64, cpus);
	write_memory(l.memory, number(r, "memory"));
	if (!l.kernel)
		l.kernel = "-";
	if (!l.control)
		l.control = r->mark->has_control ? "inherited" : "none";
	return l;
}

static void words_of(const struct line *l, const char *words[COLUMNS])
{
	const char *const all[COLUMNS] = {l->pid,  l->name,   l->state,  l->uptime,
					  l->cpus, l->memory, l->kernel, l->control};

	memcpy(words, all, sizeof(all));
}

static int tell_people(const struct row *rows, unsigned n)
{
	static const struct line head = {"PID",    "NAME",  "UPTIME", "CPUS",
					 "MEMORY", "STATE", "KERNEL", "CONTROL"};
	struct line *lines = calloc(n + 1, sizeof(*lines));
	const char *words[COLUMNS];
	int widths[COLUMNS] = {0};

	if (!lines)
		return -ENOMEM;
	lines[0] = head;
	for (unsigned i = 0; i < n; i++)
		lines[i + 1] = line_of(&rows[i]);
	for (unsigned i = 0; i <= n; i++) {
		words_of(&lines[i], words);
		for (unsigned k = 0; k + 1 < COLUMNS; k++)
			if ((int)strlen(words[k]) > widths[k])
				widths[k] = (int)strlen(words[k]);
	}
	for (unsigned i = 0; i <= n; i++) {
		words_of(&lines[i], words);
		for (unsigned k = 0; k < COLUMNS; k++) {
			write_word(words[k], widths[k]);
			putchar(k + 1 < COLUMNS ? ' ' : '\n');
		}
	}
	free(lines);
	return 0;
}

/* --- all of it ---------------------------------------------------------------------------- */

static int list(bool json, struct err *e)
{
	struct mark *marks;
	int n = mark_find(&marks), ret = 0;
	struct row *rows = calloc((size_t)(n > 0 ? n : 0) + 1, sizeof(*rows));

	if (n < 0)
		ret = err_host(e, n, "list: /proc: %s", strerror(-n));
	else if (!rows)
		ret = -ENOMEM;
	for (int i = 0; i < n && !ret; i++)
		rows[i].mark = &marks[i];
	for (int i = 0; i < n && !ret; i += AT_ONCE)
		ask_all(rows + i, (unsigned)(n - i < AT_ONCE ? n - i : AT_ONCE));
	if (!ret && json)
		tell_json(rows, (unsigned)n);
	else if (!ret)
		ret = tell_people(rows, (unsigned)n);
	for (int i = 0; i < n && rows; i++)
		json_decref(rows[i].reply);
	free(rows);
	mark_free(marks, n);
	if (!ret && (fflush(stdout) || ferror(stdout)))
		ret = err_host(e, -EIO, "list: stdout: %s", strerror(errno));
	return ret;
}

int list_main(int argc, char **argv)
{
	struct err e = {0};
	bool json = false;
	int ret = 0;

	for (int i = 1; i < argc && !ret; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			fputs(help, stdout);
			return 0;
		}
		json = json || !strcmp(argv[i], "--json");
		if (strcmp(argv[i], "--json") != 0)
			ret = err_usage(&e, -EINVAL,
					"list %.80s: not understood; see minivmm "
					"list --help",
					argv[i]);
	}
	if (!ret)
		ret = list(json, &e);
	if (!ret)
		return 0;
	log_error("%s", *e.text ? e.text : "out of memory");
	return e.kind == ERR_USAGE ? STATUS_USAGE : STATUS_HOST;
}
