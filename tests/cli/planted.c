/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code that an attacker has put into a thread: in the minivmm of the tests alone (minivmm-planted),
 * a thread of the kind that MINIVMM_PLANTED names (KIND:DEED) does DEED when it has been confined.
 */
#include "vmm/sandbox/priv.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/memfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static char page[4096] __attribute__((aligned(4096)));

static void by_open(void)
{
	syscall(SYS_open, "/etc/passwd", O_RDONLY);
}

static void by_openat(void)
{
	syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static void by_connect(void)
{
	static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	syscall(SYS_connect, 0, &nobody, sizeof(nobody));
}

static void by_socket(void)
{
	syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
}

static void by_execve(void)
{
	char *const none[] = {NULL};

	syscall(SYS_execve, "/bin/true", none, none);
}

static void by_ptrace(void)
{
	syscall(SYS_ptrace, PTRACE_ATTACH, 1, 0, 0);
}

static void by_mprotect(void)
{
	syscall(SYS_mprotect, page, sizeof(page), PROT_READ | PROT_EXEC);
}

static void by_mmap(void)
{
	syscall(SYS_mmap, NULL, sizeof(page), PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		-1, 0);
}

static void by_kill(void)
{
	syscall(SYS_kill, 1, SIGCONT);
}

static void by_tgkill(void)
{
	syscall(SYS_tgkill, 1, 1, SIGCONT);
}

static void by_fork(void)
{
	syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void by_ioctl(void)
{
	syscall(SYS_ioctl, 0, 0x5412, "x"); /* TIOCSTI: type on somebody's terminal */
}

/* A ring of one's own would open and connect without a call that a filter sees. */
static void by_ring(void)
{
	static struct io_uring_params none;

	syscall(SYS_io_uring_setup, 1, &none);
}

void planted_misbehave(enum thread_kind kind)
{
	static const struct {
		const char *name;
		void (*deed)(void);
	} deeds[] = {
		{"open", by_open},         {"openat", by_openat}, {"connect", by_connect},
		{"socket", by_socket},     {"execve", by_execve}, {"ptrace", by_ptrace},
		{"mprotect", by_mprotect}, {"mmap", by_mmap},     {"kill", by_kill},
		{"fork", by_fork},         {"ioctl", by_ioctl},   {"io_uring_setup", by_ring},
		{"tgkill", by_tgkill},
	};
	const char *word = getenv("MINIVMM_PLANTED"), *own = sandbox_filter(kind)->name;
	size_t len = strlen(own);

	if (!word || strncmp(word, own, len) || word[len] != ':')
		return;
	for (size_t i = 0; i < sizeof(deeds) / sizeof(*deeds); i++)
		if (!strcmp(word + len + 1, deeds[i].name))
			deeds[i].deed();
	/* It came back. */
	static const char told[] = "the deed is done\n";

	if (write(STDERR_FILENO, told, sizeof(told) - 1) < 0)
		return;
}
