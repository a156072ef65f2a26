/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pty [-l] [-o OUTPUT] [-r REPORT] STEP... -- COMMAND [ARGUMENT...]
 *
 * Runs a command on a new terminal as a shell would: a session of its own (we
 * are its leader), the command in a process group of its own, which is in the
 * foreground. With -l the command leads the session itself, as a terminal window's
 * only program does. Then does one step after the other, and waits for the end:
 *
 *   limit=SECONDS    for everything together (30)
 *   expect=TEXT      wait until the terminal shows it, behind what was expected before
 *   send=TEXT        type it
 *   paste=FILE       type all of it, as fast as the terminal takes it
 *   signal=NAME      to the command's process only
 *   group=NAME       to its process group
 *   hangup           close the window; a shell passes the SIGHUP on to its jobs
 *   raw, cooked      wait until the terminal's settings are raw, or as at the start
 *   stopped          wait until the command is stopped
 *   background       be in the foreground ourselves
 *   foreground       let the command be there
 *   size=COLSxROWS   the window has that size from now on
 *   sleep=MS         and go on reading
 *
 * TEXT knows \r, \n, \\ and \xHH. OUTPUT gets what the terminal showed, REPORT two lines:
 *
 *   status N | signal N
 *   settings same | late | changed | gone     at the end, compared to the start;
 *                                             late: not at once, but within 2 s
 *
 * Status: 0 all steps were done and the command ended, 1 not so, 2 usage or a
 * host failure. The settings at the start are unusual, so that no default can pass
 * for them.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { SHOWN_MAX = 4 << 20, LATE_MS = 2000 };

struct session {
	int master, slave; /* master is -1 after a hang-up */
	pid_t command;
	bool command_leads;
	bool ended, stopped;
	int wait_status;
	struct termios start;
	unsigned long long deadline; /* ms */
	FILE *output;
	char *shown; /* everything so far */
	size_t n_shown, n_expected;
};

static unsigned long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long long)t.tv_sec * 1000 + (unsigned long long)t.tv_nsec / 1000000;
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "pty: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* --- the terminal ------------------------------------------------------------------ */

static void open_terminal(struct session *s)
{
	struct winsize size = {.ws_row = 41, .ws_col = 117};

	s->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->master < 0 || grantpt(s->master) || unlockpt(s->master))
		die("no terminal");
	s->slave = open(ptsname(s->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->slave < 0)
		die("no terminal");
	if (!s->command_leads && ioctl(s->slave, TIOCSCTTY, 0))
		die("no controlling terminal");
	if (tcgetattr(s->slave, &s->start))
		die("tcgetattr");
	s->start.c_iflag &= ~(tcflag_t)IXON;
	s->start.c_lflag &= ~(tcflag_t)(ECHO | ECHOE);
	s->start.c_cc[VERASE] = 'e';
	s->start.c_cc[VMIN] = 3;
	s->start.c_cc[VTIME] = 7;
	if (tcsetattr(s->slave, TCSANOW, &s->start) || tcgetattr(s->slave, &s->start))
		die("tcsetattr");
	ioctl(s->slave, TIOCSWINSZ, &size);
	fcntl(s->master, F_SETFL, O_NONBLOCK);
}

static bool settings_as_at_start(const struct session *s)
{
	struct termios now;

	return !tcgetattr(s->slave, &now) && now.c_iflag == s->start.c_iflag &&
	       now.c_oflag == s->start.c_oflag && now.c_cflag == s->start.c_cflag &&
	       now.c_lflag == s->start.c_lflag && !memcmp(now.c_cc, s->start.c_cc, NCCS);
}

static bool settings_raw(const struct session *s)
{
	struct termios now;

	return !tcgetattr(s->slave, &now) && !(now.c_lflag & (ICANON | ISIG | ECHO | IEXTEN)) &&
	       !(now.c_iflag & (ICRNL | IXON | ISTRIP)) && !(now.c_oflag & OPOST);
}

/* --- the command --------------------------------------------------------------------- */

static void start_command(struct session *s, char **argv)
{
	static const int reset[] = {SIGHUP, SIGTTOU, SIGPIPE};

	s->command = fork();
	if (s->command < 0)
		die("fork");
	if (s->command_leads) {
		if (s->command)
			return;
		setsid();
		ioctl(s->slave, TIOCSCTTY, 0);
	} else {
		/* Both do so: whoever comes first. */
		setpgid(s->command, s->command);
		tcsetpgrp(s->slave, s->command ? s->command : getpid());
		if (s->command)
			return;
	}
	for (size_t i = 0; i < sizeof(reset) / sizeof(*reset); i++)
		signal(reset[i], SIG_DFL);
	for (int fd = 0; fd <= 2; fd++)
		dup2(s->slave, fd);
	execvp(argv[0], argv);
	_exit(127);
}

/* --- waiting --------------------------------------------------------------------------- */

static bool read_shown(struct session *s)
{
	char bytes[4096];
	ssize_t n = s->master < 0 ? 0 : read(s->master, bytes, sizeof(bytes));

	if (n <= 0)
		return false;
	fwrite(bytes, 1, (size_t)n, s->output);
	if (s->n_shown + (size_t)n <= SHOWN_MAX) {
		memcpy(s->shown + s->n_shown, bytes, (size_t)n);
		s->n_shown += (size_t)n;
	}
	return true;
}

static void look_after_command(struct session *s)
{
	int status;

	if (s->ended || waitpid(s->command, &status, WNOHANG | WUNTRACED | WCONTINUED) <= 0)
		return;
	if (WIFSTOPPED(status)) {
		s->stopped = true;
	} else if (WIFCONTINUED(status)) {
		s->stopped = false;
	} else {
		s->ended = true;
		s->wait_status = status;
	}
}

/* Read what comes within a moment. False when the time is up. */
static bool pump(struct session *s)
{
	struct pollfd p = {.fd = s->master, .events = POLLIN};

	if (now_ms() >= s->deadline)
		return false;
	poll(&p, 1, 10);
	while (read_shown(s))
		;
	look_after_command(s);
	return true;
}

/* --- steps ------------------------------------------------------------------------------- */

static size_t unescape(const char *from, char *to)
{
	char *at = to;

	for (; *from; from++) {
		unsigned byte;

		if (*from != '\\') {
			*at++ = *from;
			continue;
		}
		switch (*++from) {
		case 'r':
			*at++ = '\r';
			break;
		case 'n':
			*at++ = '\n';
			break;
		case 'x':
			if (!isxdigit((unsigned char)from[1]) ||
			    sscanf(from + 1, "%2x", &byte) != 1) {
				errno = EINVAL;
				die(from);
			}
			*at++ = (char)byte;
			from += isxdigit((unsigned char)from[2]) ? 2 : 1;
			break;
		default:
			*at++ = *from;
		}
	}
	return (size_t)(at - to);
}

static bool do_expect(struct session *s, const char *arg)
{
	char text[1024];
	size_t n = strlen(arg) < sizeof(text) ? unescape(arg, text) : 0;

	for (bool last = false;; last = s->ended) {
		char *at = memmem(s->shown + s->n_expected, s->n_shown - s->n_expected, text, n);

		if (at) {
			s->n_expected = (size_t)(at - s->shown) + n;
			return true;
		}
		/* What a dead command has said may still be on its way, once. */
		if (last || !pump(s))
			return false;
	}
}

static bool type(struct session *s, const char *bytes, size_t n)
{
	while (n) {
		ssize_t sent = write(s->master, bytes, n);

		if (sent > 0) {
			bytes += sent;
			n -= (size_t)sent;
		}
		if (s->ended || !pump(s))
			return !n;
	}
	return true;
}

static bool do_send(struct session *s, const char *arg)
{
	char text[1024];

	return strlen(arg) < sizeof(text) && type(s, text, unescape(arg, text));
}

static bool do_paste(struct session *s, const char *arg)
{
	static char bytes[1 << 20];
	FILE *f = fopen(arg, "r");

	if (!f)
		die(arg);
	size_t n = fread(bytes, 1, sizeof(bytes), f);

	fclose(f);
	return type(s, bytes, n);
}

static int signal_number(const char *name)
{
	for (int i = 1; i < 32; i++)
		if (!strcmp(sigabbrev_np(i), name))
			return i;
	errno = EINVAL;
	die(name);
}

static bool do_signal(struct session *s, const char *arg)
{
	return !s->ended && !kill(s->command, signal_number(arg));
}

static bool do_group(struct session *s, const char *arg)
{
	return !s->ended && !kill(-s->command, signal_number(arg));
}

static bool do_hangup(struct session *s, const char *arg)
{
	close(s->master);
	s->master = -1;
	return s->command_leads || !kill(-s->command, SIGHUP);
}

static bool do_raw(struct session *s, const char *arg)
{
	while (!settings_raw(s))
		if (s->ended || !pump(s))
			return false;
	return true;
}

static bool do_cooked(struct session *s, const char *arg)
{
	while (!settings_as_at_start(s))
		if (s->ended || !pump(s))
			return false;
	return true;
}

static bool do_stopped(struct session *s, const char *arg)
{
	while (!s->stopped)
		if (s->ended || !pump(s))
			return false;
	return true;
}

static bool do_background(struct session *s, const char *arg)
{
	return !tcsetpgrp(s->slave, getpgrp());
}

static bool do_foreground(struct session *s, const char *arg)
{
	return !tcsetpgrp(s->slave, s->command);
}

static bool do_sleep(struct session *s, const char *arg)
{
	unsigned long long until = now_ms() + strtoull(arg, NULL, 10);

	while (now_ms() < until)
		if (!pump(s))
			return false;
	return true;
}

static bool do_size(struct session *s, const char *arg)
{
	unsigned cols, rows;

	if (sscanf(arg, "%ux%u", &cols, &rows) != 2)
		return false;
	const struct winsize ws = {.ws_col = (unsigned short)cols, .ws_row = (unsigned short)rows};

	return !ioctl(s->master, TIOCSWINSZ, &ws);
}

static bool do_limit(struct session *s, const char *arg)
{
	s->deadline = now_ms() + strtoull(arg, NULL, 10) * 1000;
	return true;
}

static const struct {
	const char *name;
	bool (*run)(struct session *s, const char *arg);
} steps[] = {
	{"limit", do_limit},
	{"expect", do_expect},
	{"send", do_send},
	{"paste", do_paste},
	{"signal", do_signal},
	{"group", do_group},
	{"hangup", do_hangup},
	{"raw", do_raw},
	{"cooked", do_cooked},
	{"stopped", do_stopped},
	{"background", do_background},
	{"size", do_size},
	{"sleep", do_sleep},
	{"foreground", do_foreground},
};

static bool run_step(struct session *s, const char *step)
{
	size_t n = strcspn(step, "=");

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		if (strlen(steps[i].name) == n && !strncmp(steps[i].name, step, n))
			return steps[i].run(s, step[n] ? step + n + 1 : "");
	errno = EINVAL;
	die(step);
}

/* --- the end -------------------------------------------------------------------------- */

/* Asked right after the command's end: its parent's prompt would be next. */
static const char *judge_settings(const struct session *s)
{
	unsigned long long until = now_ms() + LATE_MS;

	if (s->master < 0)
		return "gone";
	if (settings_as_at_start(s))
		return "same";
	while (now_ms() < until) {
		usleep(1000);
		if (settings_as_at_start(s))
			return "late";
	}
	return "changed";
}

static void report(const struct session *s, const char *path)
{
	FILE *f = path ? fopen(path, "w") : stdout;

	if (!f)
		die(path);
	if (WIFSIGNALED(s->wait_status))
		fprintf(f, "signal %d\n", WTERMSIG(s->wait_status));
	else
		fprintf(f, "status %d\n", WEXITSTATUS(s->wait_status));
	fprintf(f, "settings %s\n", judge_settings(s));
	fflush(f);
}

/* A session of our own; a leader of a group has to leave that first. */
static void become_leader(void)
{
	int status;
	pid_t child;

	if (setsid() >= 0)
		return;
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		if (setsid() < 0)
			die("setsid");
		return;
	}
	if (waitpid(child, &status, 0) < 0)
		die("waitpid");
	exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
}

int main(int argc, char **argv)
{
	struct session s = {.output = stdout};
	const char *report_path = NULL;
	int opt, status = 0;

	while ((opt = getopt(argc, argv, "+lo:r:")) != -1) {
		if (opt == 'l')
			s.command_leads = true;
		else if (opt == 'o')
			s.output = fopen(optarg, "we");
		else if (opt == 'r')
			report_path = optarg;
		if (opt == '?' || !s.output)
			return 2;
	}
	int first = optind, last;

	/* Without a step getopt has already eaten the separator. */
	if (!strcmp(argv[first - 1], "--"))
		first--;
	last = first;

	while (last < argc && strcmp(argv[last], "--") != 0)
		last++;
	if (last + 1 >= argc) {
		fprintf(stderr, "usage: pty [-l] [-o OUTPUT] [-r REPORT] STEP... -- COMMAND...\n");
		return 2;
	}
	s.shown = malloc(SHOWN_MAX);
	if (!s.shown)
		die("malloc");
	if (!s.command_leads)
		become_leader();
	signal(SIGHUP, SIG_IGN);  /* our own window may be closed */
	signal(SIGTTOU, SIG_IGN); /* we say who is in the foreground */
	signal(SIGPIPE, SIG_IGN);
	open_terminal(&s);
	do_limit(&s, "30");
	start_command(&s, argv + last + 1);
	for (int i = first; i < last && !status; i++) {
		if (!run_step(&s, argv[i])) {
			fprintf(stderr, "pty: %s: %s\n", argv[i],
				s.ended ? "the command has ended" : "not in time");
			status = 1;
		}
	}
	while (!s.ended && !status)
		if (!pump(&s)) {
			fprintf(stderr, "pty: the command does not end\n");
			status = 1;
		}
	if (!s.ended) {
		kill(-s.command, SIGKILL);
		waitpid(s.command, &s.wait_status, 0);
	}
	report(&s, report_path);
	pump(&s);
	fclose(s.output);
	free(s.shown);
	return status;
}
