/* SPDX-License-Identifier: Apache-2.0 */
/* char_last: what a console said last, whoever else reads it. */
#ifndef DEVICES_BACKEND_CHAR_LAST_H
#define DEVICES_BACKEND_CHAR_LAST_H

#include "devices/backend/char_ring.h"
#include "vmm/core/char_port.h"

#include <pthread.h>

struct char_last {
	pthread_mutex_t lock; /* of the ring */
	struct char_ring ring;
	struct char_out next; /* of the tap; without a send: nobody */
};

/* 0 or -ENOMEM; fini is fine after either. */
int char_last_init(struct char_last *l);
void char_last_fini(struct char_last *l);

/* A char_out that keeps what comes and passes it on to `next` (copied; NULL: to nobody). */
struct char_out char_last_tap(struct char_last *l, const struct char_out *next);

/* The last 60 lines at most, without carriage returns, a NUL as '?', and with a newline at the end:
 * a new string, the caller's to free; NULL for want of memory. Any thread. */
char *char_last_lines(struct char_last *l);

#endif
