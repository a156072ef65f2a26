/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call: the form of the lists of system calls, one in each layer (calls.inc), beside the code that
 * makes the calls. The lists are read when minivmm is built, by vmm/sandbox/generate.c, and by
 * nobody else.
 *
 * A row allows a call to some kinds of threads; several rows of the same call allow what any of
 * them does. A call without a condition allows all of it.
 */
#ifndef VMM_SANDBOX_CALL_H
#define VMM_SANDBOX_CALL_H

#include "vmm/base/thread.h"

#include <stdint.h>

struct sandbox_call {
	unsigned kinds;
	const char *name; /* as the kernel has it */
	unsigned arg;     /* the argument, from 0, of which */
	uint64_t mask;    /* these bits (0: there is no condition) */
	uint64_t value;   /* are to be as these */
};

/* Who takes orders, or runs a command (THREAD_CONTROL), begins vCPUs', I/O, snapshots' and helper
 * threads while the guest runs, and what a thread is forbidden its own threads are: so that kind
 * has all that those four have. */
enum {
	CONTROL = 1 << THREAD_CONTROL,
	MAIN = 1 << THREAD_MAIN | CONTROL,
	VCPU = 1 << THREAD_VCPU | CONTROL,
	IO = 1 << THREAD_IO | CONTROL,
	VSOCK = 1 << THREAD_VSOCK,
	SHARE = 1 << THREAD_SHARE,
	MEMORY = 1 << THREAD_MEMORY,
	SNAPSHOT = 1 << THREAD_SNAPSHOT | CONTROL,
	HELPER = 1 << THREAD_HELPER | CONTROL,
	LOOPS = MAIN | IO | VSOCK | SHARE, /* those that run a struct loop */
	ALL = (1 << THREAD_KINDS) - 1,
};

/* filter_load() puts this process's number in its place. */
enum { OWN_PID_MARK = 0x4d696e69 };

/* Argument n is `v`, in the 32 bits that the kernel looks at. */
#define IS(n, v)      (n), 0xffffffffu, (uint32_t)(v)
/* Argument n is this process's number. */
#define OWN_PID(n)    IS(n, OWN_PID_MARK)
/* Of the bits `m` of argument n, those of `v` are set and the others are not. */
#define BITS(n, m, v) (n), (uint64_t)(m), (uint64_t)(v)
/* What ioctl(2) and the like are asked for. */
#define REQUEST(v)    IS(1, v)

#endif
