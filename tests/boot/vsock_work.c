/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_work guest [ABOVE] | again [ABOVE] | host PATH | vhost CID ABOVE | slow: both ends of what
 * tests/boot/vsock.sh looks at. One static program, for the guest and for where minivmm runs. A
 * line for each thing that worked, "failed:" and status 1 for the first that did not.
 *
 *	guest  asks the host's servers and serves port 1234 to its clients
 *	again  asks one of them once more
 *	host   the servers at PATH_52, _54 and _55, and clients of the guest's port 1234
 *	vhost  the same on AF_VSOCK, which all the guests of a host share: the host's ports are
 *ABOVE higher slow   the guest's last words: more than fits, to port 55, whose reader sleeps first
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* <linux/vm_sockets.h>, which musl's compiler does not find. */
struct sockaddr_vm {
	sa_family_t svm_family;
	unsigned short svm_reserved1;
	unsigned svm_port, svm_cid;
	unsigned char svm_zero[16 - 4 - 4 - 4];
};
enum { VSOCK_FAMILY = 40, ANY = -1 };
#define LOCAL_CID 0x07b9 /* IOCTL_VM_SOCKETS_GET_LOCAL_CID */

enum {
	ECHO_PORT = 52,
	NOBODYS_PORT = 53,
	COUNT_PORT = 54,
	SLOW_PORT = 55,
	GUEST_PORT = 1234,
	HOST_CLIENTS = 4,
	SEVERAL = 8,
	BIG = 4 << 20,
	SMALL = 256 << 10,
	LAST_WORDS = 300000,
	PATIENCE_S = 280,
};

static const char *who;
static unsigned above;

static _Noreturn void failed(const char *fmt, ...)
{
	va_list ap;

	printf("%s: failed: ", who);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(": %s\n", strerror(errno));
	fflush(stdout);
	_exit(1);
}

static void works(const char *what)
{
	printf("%s: works: %s\n", who, what);
	fflush(stdout);
}

/* A stream of bytes that no two connections share. */
static uint8_t byte_of(uint32_t stream, uint32_t at)
{
	uint32_t h = (at / 4 + stream * 2654435761u) * 2246822519u;

	h ^= h >> 15;
	return (uint8_t)(h * 3266489917u >> (8 * (at % 4)));
}

static void write_all(int fd, const void *bytes, size_t len)
{
	const char *p = bytes;

	for (ssize_t n; len; p += n, len -= (size_t)n) {
		n = write(fd, p, len);
		if (n <= 0)
			failed("write");
	}
}

/* Write `len` bytes of the stream and the end, and read the same back, at once. */
static void converse(int fd, uint32_t stream, uint32_t len)
{
	static uint8_t buf[65536];
	uint32_t out = 0, in = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (;;) {
		struct pollfd p = {fd, POLLIN | (out < len ? POLLOUT : 0), 0};
		ssize_t n;

		if (poll(&p, 1, PATIENCE_S * 1000) <= 0)
			failed("poll");
		if (out < len && p.revents & POLLOUT) {
			uint32_t want = len - out < sizeof(buf) ? len - out : sizeof(buf);

			for (uint32_t i = 0; i < want; i++)
				buf[i] = byte_of(stream, out + i);
			n = write(fd, buf, want);
			if (n < 0 && errno != EAGAIN)
				failed("write at %u", out);
			out += n > 0 ? (uint32_t)n : 0;
			if (out == len && shutdown(fd, SHUT_WR))
				failed("shutdown");
		}
		if (!(p.revents & (POLLIN | POLLHUP)))
			continue;
		n = read(fd, buf, sizeof(buf));
		if (n < 0 && errno != EAGAIN)
			failed("read at %u", in);
		if (!n)
			break;
		for (ssize_t i = 0; i < n; i++, in++)
			if (buf[i] != byte_of(stream, in)) {
				errno = 0;
				failed("byte %u of stream %u is another", in, stream);
			}
	}
	errno = 0;
	if (in != len || out != len)
		failed("the end came after %u of %u", in, len);
	close(fd);
}

/* --- servers ---------------------------------------------------------------------------- */

static void serve_echo(int fd)
{
	char buf[16384];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		write_all(fd, buf, (size_t)n);
	if (n < 0)
		failed("echo: read");
}

/* Until the end: how many bytes, and their sum. */
static void count(int fd, char text[64])
{
	uint8_t buf[16384];
	uint32_t total = 0, sum = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++, total++)
			sum = sum * 31 + buf[i];
	if (n < 0)
		failed("count: read");
	snprintf(text, 64, "%u bytes, sum %08x\n", total, sum);
}

static void sum_of(uint32_t stream, uint32_t len, char text[64])
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum = sum * 31 + byte_of(stream, i);
	snprintf(text, 64, "%u bytes, sum %08x\n", len, sum);
}

static void serve_count(int fd)
{
	char text[64];

	count(fd, text);
	write_all(fd, text, strlen(text));
}

static void serve_slow(int fd)
{
	char text[64], want[64];

	sleep(1);
	count(fd, text);
	sum_of(99, LAST_WORDS, want);
	errno = 0;
	if (strcmp(text, want) != 0)
		failed("the last words are %s", text);
	works("the last words");
}

/* A child for each connection; `n` of them, or for ever. */
static void serve(int listener, void (*one)(int fd), int n)
{
	for (int i = 0; n < 0 || i < n; i++) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			failed("accept");
		if (!fork()) {
			one(fd);
			close(fd);
			_exit(0);
		}
		close(fd);
	}
	while (n >= 0 && wait(NULL) > 0)
		;
}

/* --- the guest ---------------------------------------------------------------------------- */

static int dial(unsigned cid, unsigned port)
{
	struct sockaddr_vm a = {.svm_family = VSOCK_FAMILY, .svm_port = port, .svm_cid = cid};
	int fd = socket(VSOCK_FAMILY, SOCK_STREAM, 0);

	if (fd < 0)
		failed("socket");
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	close(fd);
	return -1;
}

static int dial_host(unsigned port)
{
	return dial(2, port + above);
}

static int dial_or_fail(unsigned port)
{
	int fd = dial_host(port);

	if (fd < 0)
		failed("port %u of the host", port);
	return fd;
}

static int listen_at(unsigned port)
{
	struct sockaddr_vm a = {
		.svm_family = VSOCK_FAMILY, .svm_port = port, .svm_cid = (unsigned)ANY};
	int fd = socket(VSOCK_FAMILY, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 64))
		failed("listen at %u", port);
	return fd;
}

static void guest(void)
{
	int dev = open("/dev/vsock", O_RDWR), listener, fd;
	char got[64] = "", want[64];
	unsigned cid = 0;

	if (dev < 0 || ioctl(dev, LOCAL_CID, &cid))
		failed("/dev/vsock");
	printf("guest: cid %u\n", cid);
	listener = listen_at(GUEST_PORT);

	converse(dial_or_fail(ECHO_PORT), 1, BIG);
	works("there and back");
	for (unsigned i = 0; i < SEVERAL; i++)
		if (!fork()) {
			converse(dial_or_fail(ECHO_PORT), 10 + i, SMALL);
			_exit(0);
		}
	for (int status; wait(&status) > 0;)
		if (status)
			failed("one of several");
	works("several at once");

	if (dial_host(NOBODYS_PORT) >= 0 || (errno != ECONNRESET && errno != ECONNREFUSED))
		failed("who is at port %d", NOBODYS_PORT);
	works("nobody there");

	/* It is our end that tells the server to answer. */
	fd = dial_or_fail(COUNT_PORT);
	for (uint32_t i = 0; i < SMALL; i++) {
		uint8_t b[1024];

		for (uint32_t k = 0; k < sizeof(b); k++, i++)
			b[k] = byte_of(2, i);
		i--;
		write_all(fd, b, sizeof(b));
	}
	shutdown(fd, SHUT_WR);
	for (size_t at = 0;;) {
		ssize_t n = read(fd, got + at, sizeof(got) - 1 - at);

		if (n < 0)
			failed("the answer");
		if (!n)
			break;
		at += (size_t)n;
	}
	sum_of(2, SMALL, want);
	errno = 0;
	if (strcmp(got, want) != 0)
		failed("the host has %s", got);
	works("half-close");

	serve(listener, serve_echo, HOST_CLIENTS);
	works("served the host");
}

static void slow(void)
{
	static uint8_t words[LAST_WORDS];
	int fd = dial_or_fail(SLOW_PORT);

	for (uint32_t i = 0; i < LAST_WORDS; i++)
		words[i] = byte_of(99, i);
	write_all(fd, words, sizeof(words));
	close(fd);
	works("said them");
}

/* --- the host -------------------------------------------------------------------------------- */

static const char *path; /* NULL: on AF_VSOCK, */
static unsigned guest_cid;

static struct sockaddr_un address(int port)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (port)
		snprintf(a.sun_path, sizeof(a.sun_path), "%s_%d", path, port);
	else
		snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return a;
}

static int listen_at_path(int port)
{
	struct sockaddr_un a = address(port);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	unlink(a.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 64))
		failed("%s", a.sun_path);
	return fd;
}

static void begin_server(int port, void (*one)(int fd))
{
	int fd = path ? listen_at_path(port) : listen_at((unsigned)port + above);

	if (!fork()) {
		signal(SIGCHLD, SIG_IGN);
		alarm(PATIENCE_S);
		serve(fd, one, -1);
	}
	close(fd);
}

/* Gives the connection, or -1 if there is none; with a path: behind "OK N". */
static int dial_guest(int port)
{
	char line[32] = "";
	size_t at = 0;

	if (!path)
		return dial(guest_cid, (unsigned)port);
	struct sockaddr_un a = address(0);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		dprintf(fd, "CONNECT %d\n", port);
		while (at < sizeof(line) - 1 && read(fd, line + at, 1) == 1 && line[at] != '\n')
			at++;
		if (strncmp(line, "OK ", 3) == 0)
			return fd;
	}
	close(fd);
	return -1;
}

static void host(void)
{
	int fd;

	signal(SIGPIPE, SIG_IGN);
	alarm(PATIENCE_S);
	begin_server(ECHO_PORT, serve_echo);
	begin_server(COUNT_PORT, serve_count);
	begin_server(SLOW_PORT, serve_slow);
	/* The guest listens when it has come that far. */
	while ((fd = dial_guest(GUEST_PORT)) < 0)
		usleep(100000);
	works("connected");
	if (dial_guest(NOBODYS_PORT) >= 0)
		failed("somebody is at the guest's port %d", NOBODYS_PORT);
	works("nobody there");
	for (uint32_t i = 0; i < HOST_CLIENTS; i++)
		if (!fork()) {
			converse(i ? dial_guest(GUEST_PORT) : fd, 20 + i, SMALL);
			_exit(0);
		}
	close(fd);
	for (int i = 0, status; i < HOST_CLIENTS;) {
		if (wait(&status) < 0)
			failed("wait");
		i++;
		if (status)
			failed("one of the clients");
	}
	works("several at once");
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	who = argv[1];
	if (argc > 2)
		above = (unsigned)strtoul(argv[argc - 1], NULL, 10);
	if (!strcmp(who, "guest"))
		guest();
	else if (!strcmp(who, "again"))
		converse(dial_or_fail(ECHO_PORT), 3, SMALL), works("there and back");
	else if (!strcmp(who, "vhost") && argc == 4)
		guest_cid = (unsigned)strtoul(argv[2], NULL, 10), host();
	else if (!strcmp(who, "slow"))
		slow();
	else if (!strcmp(who, "host") && argc == 3)
		path = argv[2], host();
	else
		return 2;
	return 0;
}
