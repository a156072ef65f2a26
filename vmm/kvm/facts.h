/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts: what a host's KVM says of itself, before a VM is made: its version, its
 * limits, and the capabilities that minivmm asks for or makes use of. It is asked
 * and never guessed from the processor's flags [KVM api 4.4].
 */
#ifndef VMM_KVM_FACTS_H
#define VMM_KVM_FACTS_H

#include <stdbool.h>

struct kvm_capability {
	int number;       /* KVM_CAP_x */
	const char *name; /* as KVM's documentation spells it, without KVM_CAP_ */
	const char *use;  /* what minivmm does with it, in a few words */
	bool needed;      /* without it no machine is made */
};

/* All of them; ends with a NULL name. Those that are needed come first. */
extern const struct kvm_capability kvm_capabilities[];
enum { KVM_CAPABILITIES_MAX = 32 };

struct kvm_facts {
	int api_version;                  /* 12, or it is no KVM that we know */
	unsigned cpus, cpus_max;          /* in a VM: recommended, and at most */
	int values[KVM_CAPABILITIES_MAX]; /* KVM_CHECK_EXTENSION, in the table's order */
};

/* Opens /dev/kvm and asks. 0 or a negative errno: that of open(2), or -ENOTTY if what
 * lies there is no KVM; *f is all zeroes then. Any thread. */
int kvm_facts_read(struct kvm_facts *f);

#endif
