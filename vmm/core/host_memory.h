/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_memory: how much memory the host has, how much of it is to be had, and what
 * its pools of huge pages hold.
 *
 * Guest RAM is taken from the host as the guest touches it, so a guest may well be
 * larger than what is free. These are the figures to tell a person before it hurts:
 * of the machine (/proc/meminfo) and of the control groups around us (cgroup v2),
 * whose tightest limit is as hard as the machine's own.
 */
#ifndef VMM_CORE_HOST_MEMORY_H
#define VMM_CORE_HOST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct host_memory {
	uint64_t total, available; /* bytes: MemTotal, MemAvailable */
	uint64_t swap;             /* SwapTotal */
	uint64_t limit;            /* the tightest memory.max; UINT64_MAX: none */
	uint64_t limit_left;       /* below the limit that leaves the least */
	bool strict_commit;        /* vm.overcommit_memory is 2: NORESERVE is not heard */
	uint64_t commit_left;      /* CommitLimit less Committed_AS */
};

/* Reads below `root` ("" is the host's own /; tests have another). What cannot be
 * read counts as unlimited. Any thread. */
void host_memory_read(struct host_memory *h, const char *root);

/* The most that one process could ever have, swap included; and what it could have
 * now without swapping. */
uint64_t host_memory_most(const struct host_memory *h);
uint64_t host_memory_now(const struct host_memory *h);

/* The pool of huge pages of one size. */
struct host_huge_pages {
	bool exists;      /* this processor and kernel have the size */
	uint64_t total;   /* nr_hugepages */
	uint64_t to_have; /* free and not reserved, or allowed beyond the pool */
};
void host_huge_pages_read(struct host_huge_pages *p, uint64_t page_bytes, const char *root);

/* Does the host give transparent huge pages to those who ask (not "never")? */
bool host_gives_thp(const char *root);

#endif
