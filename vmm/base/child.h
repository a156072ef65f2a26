/* SPDX-License-Identifier: Apache-2.0 */
/* child: a child process by a descriptor (pidfd_open(2), Linux 5.3), which names no other, whereas
 * kill(2) reaches all of a user's. */
#ifndef VMM_BASE_CHILD_H
#define VMM_BASE_CHILD_H

#include <sys/types.h>

/* A descriptor of the child `pid`, readable when it has ended, for the caller to close. -1: the
 * kernel has none for us. */
int child_open(pid_t pid);
/* Have it end, whatever it does. `fd` is child_open()'s; with -1 it is kill(2). It is still to be
 * waited for. Any thread. */
void child_kill(pid_t pid, int fd);

#endif
