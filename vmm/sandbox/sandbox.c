/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/sandbox/sandbox.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/sandbox/priv.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* A thread begins with no more than its kind, and a violation with nothing at all: so this is the
 * process's. Written by the main thread, while no other looks. */
static struct {
	enum sandbox_mode mode;
	int status;
	unsigned more_fds;
	enum thread_kind main_kind;
	bool closed;                 /* the main thread is confined */
	int nothing, places, shares; /* rules for files */
} box = {.nothing = -1, .places = -1, .shares = -1};

/* The code of SIGSYS, which the C library's headers do not know (SYS_SECCOMP). */
enum { CODE_SECCOMP = 1 };

static __thread const char *own_name = "main";
static __thread enum thread_kind own_kind = THREAD_MAIN;

void sandbox_place(struct sandbox_plan *p, const char *path, bool above, unsigned access)
{
	if (path && p->n_places < SANDBOX_PLACES_MAX)
		p->places[p->n_places++] = (struct sandbox_place){path, above, access};
}

const char *sandbox_lacks(void)
{
	if (!filter_known())
		return "seccomp filters with SECCOMP_RET_TRAP, KILL_PROCESS and LOG "
		       "(CONFIG_SECCOMP_FILTER, Linux 4.14)";
	if (sandbox_landlock_abi() < SANDBOX_LANDLOCK_ABI)
		return "Landlock with ABI 2 (CONFIG_SECURITY_LANDLOCK, Linux 5.19; "
		       "lsm=landlock,... on "
		       "its command line)";
	return NULL;
}

/* --- a violation --------------------------------------------------------------------------------
 */

struct words {
	char text[200];
	size_t len;
};

static void say(struct words *w, const char *text)
{
	for (; *text && w->len < sizeof(w->text) - 1; text++)
		w->text[w->len++] = *text;
	w->text[w->len] = '\0';
}

static void say_number(struct words *w, uint64_t n, unsigned base)
{
	char digits[] = "00000000000000000000";
	char *first = digits + sizeof(digits) - 1;

	do
		*--first = "0123456789abcdef"[n % base];
	while (n /= base);
	say(w, first);
}

/* On the thread that made the call, which was not carried out: only what signal-safety(7) allows,
 * and what each list allows. A violation in here kills the process, as the signal is blocked now.
 */
static void on_violation(int signum, siginfo_t *info, void *context)
{
	struct words w = {.len = 0};
	unsigned nr = (unsigned)info->si_syscall;
	const char *name = sandbox_call_name(nr);

	/* Sent by somebody: its usual end. */
	if (info->si_code != CODE_SECCOMP) {
		signal(signum, SIG_DFL);
		raise(signum);
		return;
	}
	say(&w, "the sandbox ends this machine: thread ");
	say(&w, own_name);
	say(&w, " (");
	say(&w, sandbox_filter(own_kind)->name);
	say(&w, ") may not call ");
	say(&w, name ? name : "that");
	say(&w, ", system call ");
	say_number(&w, nr, 10);
	/* Of ioctl(2) and many others it says what is meant. */
	say(&w, ", second argument 0x");
	say_number(&w, (uint64_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RSI], 16);
	log_last_words(w.text);
	_exit(box.status);
}

/* --- confinement --------------------------------------------------------------------------------
 */

static int confine(enum thread_kind kind, bool confined)
{
	int rules = kind == THREAD_SHARE ? box.shares
		    : kind == box.main_kind || kind == THREAD_MEMORY || kind == THREAD_SNAPSHOT
			    ? box.places
			    : box.nothing;
	int ret = 0;

	/* A thread of one that is confined is so already, but for its own list. It cannot be told
	 * by the time, as one that was begun before may come to this after; nor by a filter that
	 * is there, which may be that of a container around us. */
	if (box.mode == SANDBOX_ON && !confined) {
		ret = rights_drop(kind == THREAD_SHARE);
		if (!ret)
			ret = files_confine(rules);
	}
	if (!ret)
		ret = filter_load(kind, box.mode == SANDBOX_LOG);
	if (!ret)
		thread_is_confined();
	return ret;
}

static void on_begin(enum thread_kind kind, const char *name, bool confined)
{
	own_name = name;
	own_kind = kind;
	if (confine(kind, confined)) {
		log_last_words("--sandbox: a thread cannot be confined");
		_exit(1);
	}
	planted_misbehave(kind);
}

static int make_rules(const struct sandbox_plan *p)
{
	box.nothing = files_rules(NULL, 0);
	if (box.nothing >= 0)
		box.places = files_rules(p->places, p->n_places);
	if (box.places >= 0)
		box.shares = files_rules(p->shares, p->n_shares);
	return box.nothing < 0 ? box.nothing : box.places < 0 ? box.places : box.shares;
}

int sandbox_begin(const struct sandbox_plan *p, struct err *e)
{
	const struct sigaction violation = {.sa_sigaction = on_violation, .sa_flags = SA_SIGINFO};
	const char *lacks = sandbox_lacks();
	int ret;

	if (lacks && p->mode == SANDBOX_ON)
		return err_host(
			e, -ENOSYS,
			"--sandbox: this host's kernel lacks %s; --sandbox=off goes without",
			lacks);
	box.mode = p->mode;
	box.status = p->status;
	box.more_fds = p->more_fds;
	box.main_kind = own_kind = p->makes_threads ? THREAD_CONTROL : THREAD_MAIN;
	sigaction(SIGSYS, &violation, NULL);
	ret = rights_bound();
	if (!ret && p->mode == SANDBOX_ON) {
		ret = make_rules(p);
		ret = ret < 0 ? ret : 0;
	}
	if (ret)
		return err_host(e, ret, "--sandbox: %s", strerror(-ret));
	thread_on_begin(on_begin);
	return 0;
}

#ifdef __SANITIZE_ADDRESS__
/* The search for leaks at the end is by a tracer, which none may be. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return box.closed;
}
#endif

int sandbox_close(struct err *e)
{
	/* The rules are theirs, too, and the guest is not to run before they are under them. */
	thread_await_begun();
	int ret = box.mode == SANDBOX_ON ? rights_limit(box.more_fds) : 0;

	if (!ret)
		ret = confine(box.main_kind, false);
	if (ret)
		return err_host(e, ret, "--sandbox: the main thread cannot be confined: %s",
				strerror(-ret));
	box.closed = true;
	fd_close(&box.nothing);
	fd_close(&box.places);
	fd_close(&box.shares);
	planted_misbehave(box.main_kind);
	return 0;
}
