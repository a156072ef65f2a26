/* SPDX-License-Identifier: Apache-2.0 */
/* What the facts mean, and what to do about them. */
#include "vmm/base/bytes.h"
#include "vmm/doctor/report.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* Where ring 0 runs by hardware, both rings do about the same; where it is emulated
 * they are two or three powers of ten apart. The load of a host slows both. */
enum { EMULATED_RATIO = 20, EMULATED_PER_SECOND = 20000000 };

__attribute__((format(printf, 2, 3))) static void todo(struct report *r, const char *fmt, ...)
{
	va_list ap;

	if (r->n_todo == TODO_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(r->todo[r->n_todo++], sizeof(r->todo[0]), fmt, ap);
	va_end(ap);
}

static bool did_run(const struct probe_step *s)
{
	return s->count && (s->state == PROBE_OK || s->state == PROBE_LATE);
}

static bool ring0_is_slow(const struct report *r)
{
	const struct probe_step *zero = &r->steps[PROBE_RING0], *three = &r->steps[PROBE_RING3];

	if (!did_run(zero))
		return false;
	if (did_run(three))
		return probe_per_second(zero) * EMULATED_RATIO < probe_per_second(three);
	return probe_per_second(zero) < EMULATED_PER_SECOND;
}

/* The first step that an ordinary guest could not do without. */
static const char *broken_step(const struct report *r, const struct probe_step **step)
{
	static const char *const names[PROBE_KINDS] = {
		[PROBE_RING0] = "instructions in ring 0",
		[PROBE_RING3] = "instructions in ring 3",
		[PROBE_PORT] = "port I/O",
		[PROBE_MMIO] = "MMIO",
		[PROBE_KERNEL] = "INT3, IRETQ and XRSTOR in ring 0",
		[PROBE_WAKE] = "the timer's interrupt after HLT",
	};

	for (unsigned i = 0; i < PROBE_KINDS; i++) {
		*step = &r->steps[i];
		if (r->steps[i].state != PROBE_OK && !(i <= PROBE_RING3 && did_run(&r->steps[i])))
			return names[i];
	}
	return NULL;
}

static void judge_guest(struct report *r)
{
	const struct probe_step *step;
	const char *broken = broken_step(r, &step);

	/* Slow alone may be a host that stood still meanwhile: what is emulated does not know
	 * all instructions either. */
	if (ring0_is_slow(r) && r->steps[PROBE_KERNEL].state == PROBE_FAILED) {
		r->verdict = VERDICT_EMULATED;
		snprintf(r->summary, sizeof(r->summary),
			 "this KVM emulates ring 0 of a guest: freestanding guests run, Linux does "
			 "not");
		todo(r, "run Linux guests on a host whose KVM uses the hardware (bare metal, or a "
			"VM with nesting), or in an emulated one: scripts/testhost");
	} else if (broken) {
		r->verdict = VERDICT_BROKEN;
		snprintf(r->summary, sizeof(r->summary),
			 "this KVM does not run what Linux needs: %s: %s", broken,
			 step->state == PROBE_FAILED ? step->why : "did not come to an end");
		todo(r, "see the host's kernel log (dmesg) for what KVM says; a newer kernel may "
			"know more");
	} else {
		r->verdict = VERDICT_LINUX;
		snprintf(r->summary, sizeof(r->summary), "Linux guests run on this host");
	}
}

static void judge_kvm(struct report *r)
{
	if (r->kvm_error == -ENOENT || r->kvm_error == -ENODEV || r->kvm_error == -ENXIO) {
		r->verdict = VERDICT_NO_KVM;
		snprintf(r->summary, sizeof(r->summary),
			 "there is no KVM (/dev/kvm: %s): no guest runs on this host",
			 strerror(-r->kvm_error));
		todo(r,
		     "load kvm-intel or kvm-amd, turn virtualisation on in the firmware, or "
		     "allow nesting where this is a VM itself; in a container, pass /dev/kvm in");
	} else if (r->kvm_error == -EACCES || r->kvm_error == -EPERM) {
		r->verdict = VERDICT_FORBIDDEN;
		snprintf(r->summary, sizeof(r->summary),
			 "/dev/kvm may not be opened by this user: no guest runs");
		todo(r,
		     "join the group of /dev/kvm (%s): usermod -aG kvm USER, then log in anew; "
		     "in a container, allow the device",
		     r->kvm_owner);
	} else if (r->kvm_error) {
		r->verdict = VERDICT_UNUSABLE;
		snprintf(r->summary, sizeof(r->summary), "/dev/kvm cannot be used: %s",
			 r->kvm_error == -ENOTTY ? "it is not KVM's device"
						 : strerror(-r->kvm_error));
		todo(r, "see what /dev/kvm is (%s); it should be character device 10, 232",
		     r->kvm_owner);
	} else if (!r->probed) {
		r->verdict = VERDICT_UNUSABLE;
		snprintf(r->summary, sizeof(r->summary), "%.240s", r->vm_error);
		todo(r, "a host kernel of Linux 4.13 or newer has all that minivmm needs");
	} else {
		judge_guest(r);
	}
}

static void judge_memory(struct report *r)
{
	uint64_t now = host_memory_now(&r->memory);

	if (now < 64 * MiB)
		todo(r, "%lu MiB of memory are to be had: too little for a guest; end something",
		     now / MiB);
	if (r->memory.strict_commit)
		todo(r,
		     "vm.overcommit_memory is 2: guests must fit into the %lu MiB that are left "
		     "below its limit; 0 lets them be larger than what they use",
		     r->memory.commit_left / MiB);
}

/* A disk is a few descriptors, a queue of a device one or two. */
static void judge_limits(struct report *r)
{
	enum { NOFILE_ENOUGH = 256 };

	if (r->nofile < NOFILE_ENOUGH)
		todo(r, "%lu descriptors may be open: too few for many disks; raise it (ulimit -n)",
		     r->nofile);
}

void report_judge(struct report *r)
{
	r->n_todo = 0;
	judge_kvm(r);
	judge_memory(r);
	judge_limits(r);
	for (unsigned i = 0; i < r->n_helpers; i++) {
		const struct helper *h = &r->helpers[i];

		if (!h->there && h->matters)
			todo(r, "%s: %s (for %s)", h->name, h->remedy, h->use);
	}
}

const char *verdict_name(enum verdict v)
{
	static const char *const names[] = {
		[VERDICT_LINUX] = "linux",       [VERDICT_EMULATED] = "ring0-emulated",
		[VERDICT_NO_KVM] = "no-kvm",     [VERDICT_FORBIDDEN] = "no-permission",
		[VERDICT_UNUSABLE] = "unusable", [VERDICT_BROKEN] = "broken",
	};

	return names[v];
}
