/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/child.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

int child_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

void child_kill(pid_t pid, int fd)
{
	/* It fails for who has ended, and that is as good. */
	if (fd >= 0)
		syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
	else
		kill(pid, SIGKILL);
}
