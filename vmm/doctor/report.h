/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report: all that the doctor found, as plain data, and what it makes of it.
 *
 *	host.c, doctor.c -> struct report -> judge.c -> print.c, json.c
 *
 * Judging and printing read nothing but the report, so that hosts which nobody has at
 * hand are made up in tests. Internal to vmm/doctor.
 */
#ifndef VMM_DOCTOR_REPORT_H
#define VMM_DOCTOR_REPORT_H

#include "vmm/arch/x86_64/probe.h"
#include "vmm/core/host_memory.h"
#include "vmm/kvm/facts.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Something of the host's that some option needs. */
struct helper {
	const char *name;
	const char *use;    /* what minivmm does with it */
	const char *remedy; /* what to do where it is missing */
	bool there;
	bool matters;         /* its absence is a thing to do, and not just a fact */
	char found[PATH_MAX]; /* where or which one; or why not */
};

enum { HELPERS_MAX = 16, TODO_MAX = 24 };

struct report {
	/* /dev/kvm */
	int kvm_error;       /* of opening it: 0 or a negative errno */
	char kvm_owner[128]; /* "crw-rw---- root kvm"; empty if there is none */
	struct kvm_facts kvm;
	char vm_error[512]; /* why no VM could be made; empty if one was */
	bool probed;
	struct probe_step steps[PROBE_KINDS];
	unsigned address_bits; /* of a guest's physical addresses; 0 unknown */
	unsigned took_ms;      /* the probe as a whole */

	/* the host */
	char kernel[96], cpu[96];
	unsigned cpus;
	uint64_t nofile, memlock; /* RLIM_INFINITY as it is */
	struct host_memory memory;
	struct host_huge_pages pages_2m, pages_1g;
	bool thp;
	unsigned n_helpers;
	struct helper helpers[HELPERS_MAX];

	/* the judgement */
	enum verdict {
		VERDICT_LINUX,     /* everything runs */
		VERDICT_EMULATED,  /* ring 0 is emulated: freestanding guests alone */
		VERDICT_NO_KVM,    /* there is none */
		VERDICT_FORBIDDEN, /* there is one, and not for us */
		VERDICT_UNUSABLE,  /* it is no KVM, too old, or lacks something */
		VERDICT_BROKEN,    /* its guest did not do what guests do */
	} verdict;
	char summary[256]; /* one sentence */
	unsigned n_todo;
	char todo[TODO_MAX][320]; /* what to do, the first things first */
};

/* host.c: the half of the report that needs no KVM. `root` is "" but in tests. */
void report_host(struct report *r, const char *root);

/* judge.c: verdict, summary and todo, from all the rest. */
void report_judge(struct report *r);
const char *verdict_name(enum verdict v); /* for machines: "linux", "emulated", ... */

/* print.c, json.c: 0, or -EIO if `out` did not take it (json: -ENOMEM too). */
int report_print(const struct report *r, FILE *out);
int report_json(const struct report *r, FILE *out);

#endif
