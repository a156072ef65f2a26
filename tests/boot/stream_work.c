/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_work send tcp ADDRESS PORT | send vsock PORT | echo tcp PORT | echo vsock PORT |
 * echo unix PATH: a stream that is under way while tests/boot/snapshot.sh puts the machine away.
 *One static program, for the guest (send) and for where minivmm runs (echo).
 *
 * The guest sends numbers, each 8 bytes, and reads the same back, as fast as they go, until /stop
 *is there. So whatever is lost, comes twice or at another place is seen on both sides, and what
 *came back is what the other side has acknowledged. Each says what became of a stream:
 *
 *	send: at N                              N bytes have come back, and so on
 *	send: whole: N                          all N bytes came back, and the end
 *	send: cut: sent S, back B: WHY          it ended before we did
 *	echo: end: had R, gave E: WHY
 *	failed: WHY                             anything else; status 1
 *
 * Of a stream that is cut, B <= E <= R <= S.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* <linux/vm_sockets.h>, which musl's compiler does not find. */
struct sockaddr_vm {
	sa_family_t svm_family;
	unsigned short svm_reserved1;
	unsigned svm_port, svm_cid;
	unsigned char svm_zero[16 - 4 - 4 - 4];
};
enum { VSOCK_FAMILY = 40, VSOCK_HOST = 2, VSOCK_ANY = -1 };

enum {
	CHUNK = 16384,
	TELL = 1 << 18,   /* bytes that come back before it is told */
	PACE_US = 2000,   /* after each read: buffers stay full, and others have the processor */
	PATIENCE_S = 120, /* of a stream on which nothing moves */
	LIFE_S = 3600,    /* of the host's side */
	LOOK_MS = 100,    /* how often /stop is looked for on one that stands */
	CONNECT_TRIES = 300,
};

static _Noreturn void failed(const char *fmt, ...)
{
	int error = errno;
	va_list ap;

	printf("failed: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(": %s\n", error ? strerror(error) : "no error");
	fflush(stdout);
	_exit(1);
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "stream_work: see its source\n");
	exit(2);
}

/* `len` bytes of the stream from `at` on: numbers, little-endian, one after the other. */
static void generate(uint8_t *out, uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++, at++)
		out[i] = (uint8_t)((at / 8) >> (8 * (at % 8)));
}

static void compare(const uint8_t *got, uint64_t at, size_t len)
{
	uint8_t want[CHUNK];

	generate(want, at, len);
	errno = 0;
	if (memcmp(got, want, len) != 0)
		failed("what came from byte %llu on is another", (unsigned long long)at);
}

/* --- sockets -------------------------------------------------------------------------------- */

struct address {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_un un;
		struct sockaddr_vm vm;
	} u;
	socklen_t len;
};

static unsigned port_of(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

/* What the command line says: where to listen, or where to go. */
static struct address address_of(char **words, int n, int listens)
{
	struct address a = {.len = 0};

	if (n == 3 - listens && !strcmp(words[0], "tcp")) {
		a.len = sizeof(a.u.in);
		a.u.in.sin_family = AF_INET;
		a.u.in.sin_port = htons((uint16_t)port_of(words[n - 1]));
		a.u.in.sin_addr.s_addr = listens ? htonl(INADDR_ANY) : inet_addr(words[1]);
	} else if (n == 2 && !strcmp(words[0], "vsock")) {
		a.len = sizeof(a.u.vm);
		a.u.vm.svm_family = VSOCK_FAMILY;
		a.u.vm.svm_port = port_of(words[1]);
		a.u.vm.svm_cid = listens ? (unsigned)VSOCK_ANY : VSOCK_HOST;
	} else if (n == 2 && listens && !strcmp(words[0], "unix")) {
		a.len = sizeof(a.u.un);
		a.u.un.sun_family = AF_UNIX;
		snprintf(a.u.un.sun_path, sizeof(a.u.un.sun_path), "%s", words[1]);
	} else {
		usage();
	}
	return a;
}

static int new_socket(const struct address *a)
{
	int fd = socket(a->u.any.sa_family, SOCK_STREAM, 0);

	if (fd < 0)
		failed("socket");
	return fd;
}

/* The network may come up late, and the host's side as well. */
static int dial(const struct address *a)
{
	for (int i = 0; i < CONNECT_TRIES; i++) {
		int fd = new_socket(a);

		if (!connect(fd, &a->u.any, a->len))
			return fd;
		close(fd);
		usleep(100000);
	}
	failed("connect");
}

/* --- the guest's side ------------------------------------------------------------------------ */

struct sending {
	int fd;
	uint64_t sent, back, told;
	int ended; /* we have said our end */
};

static _Noreturn void cut(const struct sending *s, const char *why)
{
	printf("send: cut: sent %llu, back %llu: %s\n", (unsigned long long)s->sent,
	       (unsigned long long)s->back, why);
	fflush(stdout);
	exit(0);
}

static void send_some(struct sending *s)
{
	uint8_t buf[CHUNK];
	ssize_t n;

	generate(buf, s->sent, sizeof(buf));
	n = write(s->fd, buf, sizeof(buf));
	if (n > 0)
		s->sent += (uint64_t)n;
	else if (n < 0 && errno != EAGAIN)
		cut(s, strerror(errno));
}

/* Gives whether it was the end. */
static int read_some(struct sending *s)
{
	uint8_t buf[CHUNK];
	ssize_t n = read(s->fd, buf, sizeof(buf));

	if (n < 0) {
		if (errno != EAGAIN)
			cut(s, strerror(errno));
		return 0;
	}
	if (!n)
		return 1;
	compare(buf, s->back, (size_t)n);
	s->back += (uint64_t)n;
	if (s->back - s->told >= TELL) {
		s->told = s->back;
		printf("send: at %llu\n", (unsigned long long)s->back);
		fflush(stdout);
	}
	usleep(PACE_US);
	return 0;
}

static void send_all(int fd)
{
	struct sending s = {.fd = fd};
	int stood = 0, end = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (!end) {
		struct pollfd p = {fd, (short)(POLLIN | (s.ended ? 0 : POLLOUT)), 0};
		int n = poll(&p, 1, LOOK_MS);

		if (n < 0)
			failed("poll");
		stood = n ? 0 : stood + LOOK_MS;
		errno = 0;
		if (stood >= PATIENCE_S * 1000)
			failed("nothing moves: sent %llu, back %llu", (unsigned long long)s.sent,
			       (unsigned long long)s.back);
		if (!s.ended && !access("/stop", F_OK)) {
			s.ended = 1;
			if (shutdown(fd, SHUT_WR))
				cut(&s, strerror(errno));
		}
		if (p.revents & POLLOUT && !s.ended)
			send_some(&s);
		if (p.revents & ~POLLOUT)
			end = read_some(&s);
	}
	if (!s.ended || s.back != s.sent)
		cut(&s, "the end");
	printf("send: whole: %llu\n", (unsigned long long)s.sent);
	fflush(stdout);
}

/* --- the host's side ------------------------------------------------------------------------- */

static void echo(int fd)
{
	uint64_t had = 0, gave = 0;
	const char *why = "the end";
	uint8_t buf[CHUNK];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n < 0)
			why = strerror(errno);
		if (n <= 0)
			break;
		compare(buf, had, (size_t)n);
		had += (uint64_t)n;
		while (gave < had) {
			ssize_t k = write(fd, buf + (size_t)n - (had - gave), had - gave);

			if (k < 0) {
				why = strerror(errno);
				break;
			}
			gave += (uint64_t)k;
		}
		if (gave < had)
			break;
	}
	printf("echo: end: had %llu, gave %llu: %s\n", (unsigned long long)had,
	       (unsigned long long)gave, why);
	fflush(stdout);
}

/* A child for each connection. */
static _Noreturn void serve(const struct address *a)
{
	int fd = new_socket(a), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &a->u.any, a->len) || listen(fd, 64))
		failed("listen");
	signal(SIGCHLD, SIG_IGN);
	alarm(LIFE_S);
	printf("echo: listens\n");
	fflush(stdout);
	for (;;) {
		int conn = accept(fd, NULL, NULL);

		if (conn < 0)
			failed("accept");
		if (!fork()) {
			alarm(LIFE_S);
			echo(conn);
			_exit(0);
		}
		close(conn);
	}
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc > 2 && !strcmp(argv[1], "send")) {
		struct address a = address_of(argv + 2, argc - 2, 0);

		send_all(dial(&a));
	} else if (argc > 2 && !strcmp(argv[1], "echo")) {
		struct address a = address_of(argv + 2, argc - 2, 1);

		serve(&a);
	} else {
		usage();
	}
	return 0;
}
