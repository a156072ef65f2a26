/* SPDX-License-Identifier: Apache-2.0 */
/* reply: what reply.c on the host and reply_init.c in the guest agree upon. A connection carries a
 * line, "WORD MIB\n", and the guest's reply "!\n" when it has done what the word says. */
#ifndef TESTS_BENCH_REPLY_H
#define TESTS_BENCH_REPLY_H

enum { REPLY_PORT = 52 };

#define REPLY_PING  "ping"  /* nothing */
#define REPLY_FILL  "fill"  /* write to so much memory, which it keeps */
#define REPLY_AGAIN "again" /* write to so much of that once more */
#define REPLY_TAKE  "take"  /* take so much, write to it, and give it back */

#endif
