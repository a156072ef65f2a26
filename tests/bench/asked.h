/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asked: contenders that somebody else starts: clones of a template, which is asked for each at its
 * socket (minivmm clone --template). Their command is two words, "ask:" and the socket.
 *
 * There is one connection for all, and nothing waits for an answer until it is wanted.
 */
#ifndef TESTS_BENCH_ASKED_H
#define TESTS_BENCH_ASKED_H

#include <stdbool.h>
#include <sys/types.h>

bool asked_is(char *const *argv);

/* Ask for one whose stdout is `out`. Gives who that is: less than -1, in place of a process id.
 * Ends the program if it cannot ask. */
pid_t asked_for(char *const *argv, int out);
/* Its process; 0: it could not be had. Waits for the answer. */
pid_t asked_pid(pid_t who);
/* Nothing, if it has ended. */
void asked_kill(pid_t who, int signum);
/* Until it has ended: the exit status, or -1. */
int asked_status(pid_t who);

#endif
