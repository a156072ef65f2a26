/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot: a machine that goes on from a directory (vmm/snapshot/README.md), for the files of
 * vmm/machine only. That it is written is in live.h.
 *
 *	open -> (ram, cpuid, cpus, devices, in that order, as parts.h's steps get to them) -> close
 */
#ifndef VMM_MACHINE_SNAPSHOT_H
#define VMM_MACHINE_SNAPSHOT_H

#include "vmm/arch/x86_64/cpuid.h"
#include "vmm/base/err.h"
#include "vmm/core/state.h"
#include "vmm/snapshot/ram_index.h"

#include <stdint.h>
#include <stdio.h>

struct machine;

/* Of the sections that are nobody's else: vmm/snapshot/README.md. */
enum { SAVED_MACHINE_VERSION = 1, SAVED_DISKS_VERSION = 1 };

/* What the section of a processor is called. */
static inline void saved_cpu_name(char name[STATE_NAME_BYTES], unsigned cpu)
{
	snprintf(name, STATE_NAME_BYTES, "cpu%u", cpu);
}

/* A snapshot that is being restored; all zeroes but `memory` and `dir`, which are -1: none is. */
struct saved_machine {
	int memory;             /* the file with its RAM, owned; -1: taken over, or none */
	struct ram_index index; /* of that file, if it is packed or to be verified */
	int dir;                /* that it lies in, owned, for what comes later; -1: for nothing */
	uint64_t state_sum;     /* of the file with the state, by which its working set knows it */
	uint8_t *bytes;         /* owned: what `state` reads; NULL: no machine is being restored */
	struct state_reader state;
	unsigned cpus; /* that it has registers of: those that were ever there */
	uint32_t tsc_khz;
	uint64_t config_sum;  /* of machine.ini and cmdline */
	int64_t wall_ns;      /* when it was saved, */
	uint64_t kvmclock_ns; /* and what its clock said */
};

/* One that machine_keep() has opened. */
struct snapshot_kept {
	struct saved_machine saved;
	struct cpuid_model cpuid; /* what this host's KVM can do */
};

/* What machine_snapshot_begin() began has an end: wait for it, and tell. Fine if there is none. */
void machine_snapshot_end(struct machine *m);

/* Open the snapshot of m->config->restore, or take over what is kept of it, and judge what can be
 * judged yet. As all of these, 0 or a negative errno with *e filled; main thread. */
int saved_open(struct machine *m, struct err *e);
/* Are the disks, which are open, as they were? */
int saved_check_disks(struct machine *m, struct err *e);
/* The guest's RAM, from the file. */
int saved_map_ram(struct machine *m, struct err *e);
/* The leaves of CPUID in place of this host's, before the board is planned. */
int saved_load_cpuid(struct machine *m, struct err *e);
/* The processors, before the devices are made: those may want to interrupt them. */
int saved_load_cpus(struct machine *m, struct err *e);
/* The devices; they stand still afterwards, as the machine does (m->paused). */
int saved_load_devices(struct machine *m, struct err *e);
/* Fine at any time, and twice. */
void saved_close(struct machine *m);

#endif
