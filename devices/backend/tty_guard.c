/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three lines of defence, from the usual to the unusual:
 *
 *  1. destroy() restores the settings.
 *  2. A handler for the signals of a crash restores them, puts back the handler
 *     that was there before and lets the crash take its course.
 *  3. The guardian, a child with nothing but the terminal and one end of a
 *     socket, is told whenever the terminal becomes raw or is given back. When
 *     the other end closes without a word, we were killed: it restores.
 *
 * The guardian blocks every signal and is in a session of its own, so neither
 * Ctrl-C nor a kill of our process group takes it along, and the terminal lets
 * it change settings although it is in no foreground group. It restores only
 * what still looks as we made it: the shell may have been faster.
 *
 * A signal handler has no context argument, so this file keeps the process's
 * one raw terminal in a global.
 */
#include "devices/backend/tty_guard.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};

enum { SAY_READY = 'g', SAY_RAW = 'r', SAY_RESTORED = 'c', ALT_STACK = 64 * 1024 };

struct tty_guard {
	int fd;
	struct termios saved, raw;
	_Atomic bool is_raw;
	int wire; /* our end of the guardian's socket */
	pid_t guardian;
	bool guardian_ready;
	void *alt_stack; /* NULL if the thread had one already */
	struct sigaction before[ARRAY_LEN(fatal_signals)];
};

static struct tty_guard *_Atomic guarded;

/* --- the guardian's process --------------------------------------------------- */

static bool same_settings(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag;
}

/* Runs in the child of a process without threads, with every signal blocked. */
static _Noreturn void guard(const struct tty_guard *g, int wire)
{
	bool raw = false;
	struct termios now;
	char said = SAY_READY;
	ssize_t n;

	setsid();
	prctl(PR_SET_NAME, "minivmm-tty");
	/* Via numbers out of the way: either may be 0 or 1 already. */
	int tty_high = fcntl(g->fd, F_DUPFD, 16), wire_high = fcntl(wire, F_DUPFD, 16);

	if (tty_high < 0 || wire_high < 0 || dup2(tty_high, 0) < 0 || dup2(wire_high, 1) < 0)
		_exit(1);
	fd_close_from(2);
	if (chdir("/") || write(1, &said, 1) != 1)
		_exit(1);
	while ((n = read(1, &said, 1)) == 1 || (n < 0 && errno == EINTR))
		if (n == 1)
			raw = said == SAY_RAW;
	if (raw && !tcgetattr(0, &now) && same_settings(&now, &g->raw))
		tcsetattr(0, TCSANOW, &g->saved);
	_exit(0);
}

static int start_guardian(struct tty_guard *g)
{
	int wires[2];
	sigset_t all, before;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wires))
		return -errno;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	g->guardian = fork();
	if (!g->guardian)
		guard(g, wires[1]);
	int ret = g->guardian < 0 ? -errno : 0;

	sigprocmask(SIG_SETMASK, &before, NULL);
	close(wires[1]);
	g->wire = wires[0];
	return ret;
}

static void tell_guardian(const struct tty_guard *g, char what)
{
	/* A guardian that somebody killed is no reason to stop. */
	if (send(g->wire, &what, 1, MSG_NOSIGNAL) < 0)
		return;
}

/* --- crashes ----------------------------------------------------------------- */

static void on_fatal_signal(int signum, siginfo_t *info, void *context)
{
	struct tty_guard *g = atomic_load(&guarded);

	if (!g)
		return;
	if (atomic_exchange(&g->is_raw, false))
		tcsetattr(g->fd, TCSANOW, &g->saved);
	for (size_t i = 0; i < ARRAY_LEN(fatal_signals); i++)
		if (fatal_signals[i] == signum)
			sigaction(signum, &g->before[i], NULL);
	/* On return a faulting instruction faults again, now for the former handler;
	 * what a process sent (abort does) has to be sent again. */
	if (info->si_code <= 0)
		raise(signum);
}

static void catch_fatal_signals(struct tty_guard *g)
{
	struct sigaction sa = {.sa_sigaction = on_fatal_signal,
			       .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t none = {0}, mine = {.ss_size = ALT_STACK};

	/* A stack that has overflown is no place for a handler. Threads without an
	 * alternate stack have the guardian. */
	if (!sigaltstack(NULL, &none) && none.ss_flags & SS_DISABLE) {
		mine.ss_sp = g->alt_stack = malloc(ALT_STACK);
		if (mine.ss_sp)
			sigaltstack(&mine, NULL);
	}
	sigfillset(&sa.sa_mask);
	atomic_store(&guarded, g);
	for (size_t i = 0; i < ARRAY_LEN(fatal_signals); i++)
		sigaction(fatal_signals[i], &sa, &g->before[i]);
}

static void release_fatal_signals(struct tty_guard *g)
{
	stack_t off = {.ss_flags = SS_DISABLE};
	struct sigaction now;

	for (size_t i = 0; i < ARRAY_LEN(fatal_signals); i++) {
		/* Whoever came later keeps the signal. */
		if (!sigaction(fatal_signals[i], NULL, &now) && now.sa_sigaction == on_fatal_signal)
			sigaction(fatal_signals[i], &g->before[i], NULL);
	}
	atomic_store(&guarded, NULL);
	if (g->alt_stack)
		sigaltstack(&off, NULL);
	free(g->alt_stack);
}

/* --- the terminal ------------------------------------------------------------ */

struct tty_guard *tty_guard_create(int fd, struct err *e)
{
	struct tty_guard *g = calloc(1, sizeof(*g));
	int ret;

	if (!g) {
		err_host(e, -ENOMEM, "terminal: out of memory");
		return NULL;
	}
	g->fd = fd;
	if (tcgetattr(fd, &g->saved)) {
		err_host(e, -errno, "terminal: %s", strerror(errno));
		free(g);
		return NULL;
	}
	g->raw = g->saved;
	cfmakeraw(&g->raw);
	g->raw.c_cc[VMIN] = 1;
	g->raw.c_cc[VTIME] = 0;
	ret = start_guardian(g);
	if (ret) {
		err_host(e, ret, "terminal: cannot start its guardian: %s", strerror(-ret));
		fd_close(&g->wire);
		free(g);
		return NULL;
	}
	catch_fatal_signals(g);
	return g;
}

/* The guardian has long been in its own session when this is asked; if not, a
 * kill of our process group could still take it along. */
static void await_guardian(struct tty_guard *g)
{
	char said;

	while (!g->guardian_ready)
		g->guardian_ready = recv(g->wire, &said, 1, 0) >= 0 || errno != EINTR;
}

int tty_guard_raw(struct tty_guard *g)
{
	await_guardian(g);
	/* In this order there is no moment in which the terminal is raw and nobody
	 * would restore it. */
	tell_guardian(g, SAY_RAW);
	atomic_store(&g->is_raw, true);
	if (tcsetattr(g->fd, TCSANOW, &g->raw)) {
		int ret = -errno;

		tty_guard_forget(g);
		return ret;
	}
	return 0;
}

void tty_guard_restore(struct tty_guard *g)
{
	if (!atomic_load(&g->is_raw))
		return;
	/* The mark falls last: a crash in between restores twice. */
	tcsetattr(g->fd, TCSANOW, &g->saved);
	tty_guard_forget(g);
}

void tty_guard_forget(struct tty_guard *g)
{
	atomic_store(&g->is_raw, false);
	tell_guardian(g, SAY_RESTORED);
}

bool tty_guard_is_raw(const struct tty_guard *g)
{
	return atomic_load(&g->is_raw);
}

void tty_guard_destroy(struct tty_guard *g)
{
	if (!g)
		return;
	tty_guard_restore(g);
	release_fatal_signals(g);
	fd_close(&g->wire);
	while (waitpid(g->guardian, NULL, 0) < 0 && errno == EINTR)
		;
	free(g);
}
