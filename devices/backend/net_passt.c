/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting passt, and what it says when it does not want to.
 *
 *	we                                   passt
 *	socketpair, fork ------------------> exec
 *	(go on: kernel, RAM, ...)            looks at the host, binds ports
 *	net_passt_wait <--- its pid -------- confines itself, is ready   (stdout)
 *	               <--- its last words - or gives up                 (stderr)
 *	frames         <------- socket ----> until one of the two ends
 *
 * passt writes its pid to a file when it is ready; the file is its stdout, a pipe.
 * What it says on stderr goes to another pipe, which nobody reads until passt has
 * ended: writing there never makes it wait.
 */
#include "devices/backend/net_passt.h"

#include "devices/backend/net_stream.h"
#include "vmm/base/child.h"
#include "vmm/base/fd.h"
#include "vmm/core/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PATIENCE_MS = 20000,
	/* From its hanging up to its end, which says why: a moment, unless it is stuck. */
	END_MS = 2000,
	/* The link's: as long as an IP packet can be that begins at a multiple of four.
	 * What leaves the host, passt cuts as the host's own sockets do. */
	MTU = 65520,
	SPEC_MAX = 80,
	SOCKET_BUFFER = 4 << 20,
	STATUS_NOT_FOUND = 127, /* as shells have it */
};

struct net_passt {
	struct net_stream stream; /* first */
	pid_t pid;                /* 0: reaped */
	int pidfd;                /* -1: this kernel has none */
	struct loop *loop;        /* when attached */
	struct loop_fd *pid_watch;
	struct loop_timer *end_timer; /* NULL: not waiting for its end */
	int ready, words;             /* our ends of its stdout and stderr */
	int status;                   /* when reaped: as waitpid's */
};

static struct net_passt *of(struct net *n)
{
	return (struct net_passt *)n;
}

/* --- its end ------------------------------------------------------------------------------ */

/* Its last line on stderr that is about something, into `line`, without a newline. */
static void last_words(const struct net_passt *p, char *line, size_t size)
{
	char text[4096], *save = NULL;
	ssize_t n;

	*line = '\0';
	while ((n = read(p->words, text, sizeof(text) - 1)) > 0) {
		text[n] = '\0';
		for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
			/* Where there is no syslog it says so after each line. */
			if (*l && strncmp(l, "Failed to send ", 15) != 0)
				snprintf(line, size, "%s", l);
	}
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

/* Gives whether it has ended. */
static bool reap(struct net_passt *p, int flags)
{
	pid_t got;

	if (!p->pid)
		return true;
	do
		got = waitpid(p->pid, &p->status, flags);
	while (got < 0 && errno == EINTR);
	if (got)
		p->pid = 0;
	return got;
}

static void on_end_overdue(void *ctx);

/* A process that ends closes its socket first, and can be asked a moment later. */
static bool await_end(struct net_passt *p)
{
	if (!p->pid_watch)
		return false;
	if (!p->end_timer) {
		p->end_timer = loop_timer_add(p->loop, on_end_overdue, p);
		if (p->end_timer)
			loop_timer_start(p->end_timer, END_MS);
	}
	return p->end_timer;
}

static const char *how_it_ended(struct net_stream *s)
{
	struct net_passt *p = (struct net_passt *)s;
	char words[120];

	if (!reap(p, WNOHANG))
		return await_end(p) ? NULL : "passt hung up";
	if (WIFSIGNALED(p->status)) {
		snprintf(s->text, sizeof(s->text), "passt was killed (%s)",
			 strsignal(WTERMSIG(p->status)));
		return s->text;
	}
	last_words(p, words, sizeof(words));
	snprintf(s->text, sizeof(s->text), "passt has ended with status %d%s%s",
		 WEXITSTATUS(p->status), *words ? ": " : "", words);
	return s->text;
}

/* Does its own end when our socket's is closed; but not later than now. */
static void end_passt(struct net_passt *p)
{
	fd_close(&p->stream.fd);
	if (p->pid && !reap(p, WNOHANG)) {
		child_kill(p->pid, p->pidfd);
		reap(p, 0);
	}
}

/* --- backend -------------------------------------------------------------------------------- */

static void stop_watching(struct net_passt *p)
{
	loop_fd_del(p->pid_watch);
	p->pid_watch = NULL;
	if (p->end_timer)
		loop_timer_del(p->end_timer);
	p->end_timer = NULL;
}

static void on_exit_of_passt(void *ctx, int events)
{
	struct net_passt *p = ctx;

	stop_watching(p);
	net_stream_hang_up(&p->stream);
}

static void on_end_overdue(void *ctx)
{
	on_exit_of_passt(ctx, 0);
}

static int passt_attach(struct net *n, struct loop *loop, unsigned offloads)
{
	struct net_passt *p = of(n);
	int ret = net_stream_attach(n, loop, offloads);

	p->loop = loop;
	/* The socket tells as well, but only a reader who has room for frames. */
	if (!ret && p->pidfd >= 0 && !p->stream.told)
		p->pid_watch = loop_fd_add(loop, p->pidfd, LOOP_READ, on_exit_of_passt, p);
	/* It hung up before the device was reset, and its end has not come since. */
	if (p->pid_watch && p->stream.hung_up)
		net_stream_hang_up(&p->stream);
	return ret;
}

static void passt_detach(struct net *n)
{
	struct net_passt *p = of(n);

	stop_watching(p);
	net_stream_detach(n);
}

static void passt_destroy(struct net *n)
{
	struct net_passt *p = of(n);

	end_passt(p);
	net_stream_fini(&p->stream);
	fd_close(&p->pidfd);
	fd_close(&p->ready);
	fd_close(&p->words);
	free(p);
}

static const struct net_ops ops = {
	.attach = passt_attach,
	.detach = passt_detach,
	.want = net_stream_want,
	.receive = net_stream_receive,
	.receiving = net_stream_receiving,
	.abandon = net_stream_abandon,
	.send = net_stream_send,
	.destroy = passt_destroy,
};

/* --- ports ------------------------------------------------------------------------------------ */

static void describe(const struct net_forward *f, char out[SPEC_MAX])
{
	snprintf(out, SPEC_MAX, "%s%s%s%u:%u", f->udp ? "udp:" : "", f->address ? f->address : "",
		 f->address ? "/" : "", f->host, f->guest);
}

/* passt says little about which port it did not get, so try first. */
static int try_port(const struct net_forward *f, struct err *e)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(f->host)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(f->host)};
	bool v6 = f->address && inet_pton(AF_INET6, f->address, &in6.sin6_addr) == 1;
	const struct sockaddr *sa = v6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in;
	socklen_t len = v6 ? sizeof(in6) : sizeof(in);
	char spec[SPEC_MAX];
	int on = 1;

	if (!v6 && f->address)
		inet_pton(AF_INET, f->address, &in.sin_addr);
	_cleanup_fd_ int fd =
		socket(sa->sa_family, (f->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	/* Nor would a port that was closed a moment ago disturb passt. */
	if (fd < 0 || (!f->udp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on))))
		return 0;
	if (!bind(fd, sa, len) && (f->udp || !listen(fd, 1)))
		return 0;
	int error = errno;

	describe(f, spec);
	return err_usage(e, -error, "--net user,forward=%s: port %u of the host: %s%s", spec,
			 f->host, strerror(error),
			 error == EADDRINUSE ? "; take another, or end who listens there"
			 : error == EACCES   ? "; ports below 1024 are root's"
					     : "");
}

/* --- starting it ------------------------------------------------------------------------------ */

struct pipes {
	int socket[2], ready[2], words[2]; /* ours, passt's */
};

static void close_pipes(struct pipes *s)
{
	for (int i = 0; i < 2; i++) {
		fd_close(&s->socket[i]);
		fd_close(&s->ready[i]);
		fd_close(&s->words[i]);
	}
}

/* passt drops what the socket does not take, and then sends all from there again, over
 * and over: with frames of 1500 bytes and 208 KiB, what a host allows by default, most of
 * what it sent were repetitions. So let the socket take much; beyond the host's
 * net.core.wmem_max that is root's privilege. */
static void widen(int fd)
{
	int size = SOCKET_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int open_pipes(struct pipes *s)
{
	*s = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->socket) ||
	    pipe2(s->ready, O_CLOEXEC) || pipe2(s->words, O_CLOEXEC | O_NONBLOCK) ||
	    /* It opens its stdout anew, perhaps when it is somebody else already. */
	    fchmod(s->ready[1], 0622))
		return -errno;
	widen(s->socket[0]);
	widen(s->socket[1]);
	return 0;
}

/* In the child: never returns. */
static _Noreturn void become_passt(const struct pipes *s, char **argv, pid_t parent)
{
	sigset_t none;
	int fds[4] = {open("/dev/null", O_RDONLY), s->ready[1], s->words[1], s->socket[1]};

	/* Out of the reach of Ctrl-C and of whoever signals our process group: the
	 * guest needs its network while it powers off. */
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Via numbers out of the way: any of them may be among the first already. */
	for (int i = 0; i < 4; i++)
		fds[i] = fcntl(fds[i], F_DUPFD, 16);
	for (int i = 0; i < 4; i++)
		if (dup2(fds[i], i) < 0)
			_exit(1);
	fd_close_from(4);
	execvp(argv[0], argv);
	if (errno == ENOENT)
		_exit(STATUS_NOT_FOUND);
	dprintf(STDERR_FILENO, "%s\n", strerror(errno));
	_exit(1);
}

static int spawn(struct net_passt *p, char **argv)
{
	struct pipes s;
	pid_t self = getpid();
	int ret = open_pipes(&s);

	if (!ret) {
		p->pid = fork();
		if (!p->pid)
			become_passt(&s, argv, self);
		if (p->pid < 0) {
			ret = -errno;
			p->pid = 0;
		}
	}
	if (!ret) {
		ret = net_stream_init(&p->stream, fd_take(&s.socket[0]));
		p->ready = fd_take(&s.ready[0]);
		p->words = fd_take(&s.words[0]);
		p->pidfd = child_open(p->pid);
	}
	close_pipes(&s);
	return ret;
}

int net_passt_open(struct net **out, const struct net_forward *forwards, unsigned n, struct err *e)
{
	char(*specs)[SPEC_MAX] = calloc(n + 1, sizeof(*specs));
	/* Fixed words, two for each forward, -t none -u none, the end. */
	char **argv = calloc(16 + 2 * n, sizeof(*argv));
	struct net_passt *p = calloc(1, sizeof(*p));
	bool any[2] = {false, false};
	char mtu[8];
	int argc = 0, ret = -ENOMEM;

	if (!specs || !argv || !p)
		goto out;
	p->stream.fd = p->pidfd = p->ready = p->words = -1;
	snprintf(mtu, sizeof(mtu), "%d", MTU);
	for (const char *const *w = (const char *const[]){"passt", "-f", "-q", "-F", "3", "-P",
							  "/proc/self/fd/1", "-m", mtu, NULL};
	     *w; w++)
		argv[argc++] = (char *)*w;
	ret = 0;
	for (unsigned i = 0; i < n && !ret; i++) {
		const struct net_forward *f = &forwards[i];

		ret = try_port(f, e);
		snprintf(specs[i], SPEC_MAX, "%s%s%u:%u", f->address ? f->address : "",
			 f->address ? "/" : "", f->host, f->guest);
		argv[argc++] = f->udp ? "-u" : "-t";
		argv[argc++] = specs[i];
		any[f->udp] = true;
	}
	/* Said for both, or passt forwards UDP where TCP is. */
	for (int udp = 0; udp < 2; udp++) {
		if (any[udp])
			continue;
		argv[argc++] = udp ? "-u" : "-t";
		argv[argc++] = "none";
	}
	if (!ret)
		ret = spawn(p, argv);
out:
	free(specs);
	free(argv);
	if (ret && p)
		passt_destroy(&p->stream.net);
	if (ret)
		return err_host(e, ret, "--net user: cannot start passt: %s", strerror(-ret));
	p->stream.why = how_it_ended;
	p->stream.net.ops = &ops;
	p->stream.net.checked = true;
	p->stream.net.mtu = MTU;
	*out = &p->stream.net;
	return 0;
}

static int refused(struct net_passt *p, struct err *e)
{
	static const struct {
		const char *words, *remedy;
	} known[] = {
		{"External interface not usable",
		 "; the host has no interface with an address and a default route: give it one, or "
		 "use --net tap=NAME"},
		{"Failed to bind",
		 "; another process listens there, or it is a port below 1024, which passt gets "
		 "only if net.ipv4.ip_unprivileged_port_start allows it"},
		{"namespace", "; passt confines itself by user namespaces: allow them to the user "
			      "it runs as"},
	};
	char words[160];
	const char *remedy = "";

	reap(p, 0);
	if (WIFEXITED(p->status) && WEXITSTATUS(p->status) == STATUS_NOT_FOUND)
		return err_usage(
			e, -ENOENT,
			"--net user: passt is not installed; install the package passt, or "
			"use --net tap=NAME");
	last_words(p, words, sizeof(words));
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(words, known[i].words))
			remedy = known[i].remedy;
	return err_usage(e, -ECHILD, "--net user: passt: %s%s", *words ? words : "ended at once",
			 remedy);
}

int net_passt_wait(struct net *n, struct err *e)
{
	struct net_passt *p = of(n);
	uint64_t until = clock_monotonic_ns(&clock_host) / 1000000 + PATIENCE_MS;
	struct pollfd fd = {.fd = p->ready, .events = POLLIN};
	char pid[16];
	ssize_t got;

	for (;;) {
		uint64_t now = clock_monotonic_ns(&clock_host) / 1000000;
		int hit = now < until ? poll(&fd, 1, (int)(until - now)) : 0;

		if (!hit)
			return err_host(e, -ETIMEDOUT, "--net user: passt is not ready after %d s",
					PATIENCE_MS / 1000);
		if (hit > 0)
			break;
	}
	do
		got = read(p->ready, pid, sizeof(pid));
	while (got < 0 && errno == EINTR);
	fd_close(&p->ready);
	return got > 0 ? 0 : refused(p, e);
}
