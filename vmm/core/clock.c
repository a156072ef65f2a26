/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/core/clock.h"

#include <time.h>

static int64_t now_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static uint64_t host_monotonic_ns(void *ctx)
{
	return (uint64_t)now_ns(CLOCK_MONOTONIC);
}

static int64_t host_wall_ns(void *ctx)
{
	return now_ns(CLOCK_REALTIME);
}

const struct clock clock_host = {host_monotonic_ns, host_wall_ns, NULL};

uint64_t clock_process_ns(void)
{
	return (uint64_t)now_ns(CLOCK_PROCESS_CPUTIME_ID);
}
