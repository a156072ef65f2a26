/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/matrix/run.h"

#include "vmm/base/bytes.h"
#include "vmm/base/thread.h"
#include "vmm/core/clock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum {
	ECHO_NS = 200000000, /* of a signal to the process, and then to its group */
	PATIENCE_MS = 10000, /* with cells that are asked to end */
};

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

struct run {
	struct loop *loop;
	struct cell *cells;
	unsigned n, begun, ended;
	const struct run_options *options;
	unsigned room; /* of jobs, or of CPUs */
	unsigned all_room;
	int signum;
	uint64_t signalled_ns;
	struct loop_timer *patience;
	struct loop_signal *child, *stops[ARRAY_LEN(stop_signals)];
};

/* What a cell takes of the room; one that is larger than the host has it alone. */
static unsigned weight(const struct run *r, const struct cell *c)
{
	unsigned cpus = r->options->jobs ? 1 : c->plan->cpus;

	return cpus < r->all_room ? cpus : r->all_room;
}

static void count_end(struct run *r, const struct cell *c)
{
	r->options->ended(r->options->ctx, c, ++r->ended);
}

/* In the file's order: none is overtaken for being large. */
static void begin_some(struct run *r)
{
	while (r->begun < r->n && !r->signum) {
		struct cell *c = &r->cells[r->begun];

		if (weight(r, c) > r->room)
			break;
		r->begun++;
		cell_start(c, r->loop);
		if (c->state == CELL_ENDED)
			count_end(r, c);
		else
			r->room -= weight(r, c);
	}
	for (; r->signum && r->begun < r->n; r->begun++) {
		cell_skip(&r->cells[r->begun]);
		count_end(r, &r->cells[r->begun]);
	}
	if (r->ended == r->n)
		loop_stop(r->loop);
}

/* One SIGCHLD may stand for several. */
static void on_child(void *ctx, int signum)
{
	struct run *r = ctx;

	for (unsigned i = 0; i < r->begun; i++) {
		if (!cell_reap(&r->cells[i]))
			continue;
		r->room += weight(r, &r->cells[i]);
		count_end(r, &r->cells[i]);
	}
	begin_some(r);
}

static void end_all(struct run *r, void (*way)(struct cell *c))
{
	for (unsigned i = 0; i < r->begun; i++)
		way(&r->cells[i]);
}

static void on_patience(void *ctx)
{
	end_all(ctx, cell_kill);
}

static void on_stop(void *ctx, int signum)
{
	struct run *r = ctx;
	uint64_t now = clock_monotonic_ns(&clock_host);

	if (r->signum && now - r->signalled_ns < ECHO_NS)
		return;
	if (r->signum) {
		end_all(r, cell_kill);
		return;
	}
	r->signum = signum;
	r->signalled_ns = now;
	end_all(r, cell_interrupt);
	loop_timer_start(r->patience, PATIENCE_MS);
	begin_some(r); /* which is none */
}

/* As nohup(1) leaves SIGHUP for those who shall outlive the terminal. */
static bool is_ignored(int signum)
{
	struct sigaction sa;

	return !sigaction(signum, NULL, &sa) && sa.sa_handler == SIG_IGN;
}

static int listen(struct run *r, struct err *e)
{
	r->patience = loop_timer_add(r->loop, on_patience, r);
	r->child = loop_signal_add(r->loop, SIGCHLD, on_child, r);
	if (!r->patience || !r->child)
		return err_host(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < ARRAY_LEN(stop_signals); i++) {
		if (stop_signals[i] == SIGHUP && is_ignored(SIGHUP))
			continue;
		r->stops[i] = loop_signal_add(r->loop, stop_signals[i], on_stop, r);
		if (!r->stops[i])
			return err_host(e, -ENOMEM, "cannot catch signals");
	}
	return 0;
}

int run_cells(struct cell *cells, unsigned n, const struct run_options *options, int *signum,
	      struct err *e)
{
	struct run r = {.cells = cells, .n = n, .options = options, .loop = loop_create()};
	int ret;

	*signum = 0;
	if (!r.loop)
		return err_host(e, -errno, "cannot create an event loop: %s", strerror(errno));
	r.all_room = r.room = options->jobs ? options->jobs : thread_cpus();
	ret = listen(&r, e);
	if (!ret) {
		begin_some(&r);
		loop_run(r.loop);
		*signum = r.signum;
	}
	loop_destroy(r.loop);
	return ret;
}
