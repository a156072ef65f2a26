/* SPDX-License-Identifier: Apache-2.0 */
/* The report for people: the answer first, then what it rests on. */
#include "vmm/base/bytes.h"
#include "vmm/doctor/report.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

static const char *const step_names[PROBE_KINDS] = {
	[PROBE_RING0] = "ring 0",
	[PROBE_RING3] = "ring 3",
	[PROBE_PORT] = "port I/O",
	[PROBE_MMIO] = "MMIO",
	[PROBE_KERNEL] = "INT3, IRETQ, XRSTOR",
	[PROBE_WAKE] = "HLT to interrupt and out",
};

static void print_step(const struct probe_step *s, enum probe_kind kind, FILE *out)
{
	fprintf(out, "  %-26s", step_names[kind]);
	if (s->state == PROBE_FAILED)
		fprintf(out, "failed: %s\n", s->why);
	else if (s->state == PROBE_NOT_RUN)
		fprintf(out, "not run\n");
	else if (kind == PROBE_RING0 || kind == PROBE_RING3)
		fprintf(out, "%.1f million instructions/s\n", probe_per_second(s) / 1e6);
	else if (!s->count)
		fprintf(out, "did not come to an end\n");
	else if (kind == PROBE_KERNEL)
		fprintf(out, "done\n");
	else
		fprintf(out, "%.1f us\n", probe_ns_each(s) / 1e3);
}

static void print_kvm(const struct report *r, FILE *out)
{
	fprintf(out, "\nKVM%s%s\n", r->kvm_owner[0] ? ", /dev/kvm: " : "", r->kvm_owner);
	if (r->kvm_error) {
		fprintf(out, "  /dev/kvm: %s\n", strerror(-r->kvm_error));
		return;
	}
	fprintf(out, "  API version %d; up to %u CPUs in a VM (%u recommended)", r->kvm.api_version,
		r->kvm.cpus_max, r->kvm.cpus);
	if (r->address_bits)
		fprintf(out, "; %u address bits", r->address_bits);
	fputc('\n', out);
	for (unsigned i = 0; kvm_capabilities[i].name; i++) {
		const struct kvm_capability *c = &kvm_capabilities[i];

		fprintf(out, "  %-3s %-22s %s%s\n", r->kvm.values[i] ? "yes" : "no", c->name,
			c->use, c->needed ? " (needed)" : "");
	}
	if (!r->probed) {
		fprintf(out, "  no VM: %s\n", r->vm_error);
		return;
	}
	fprintf(out, "\nA guest of a few instructions (%u ms)\n", r->took_ms);
	for (unsigned i = 0; i < PROBE_KINDS; i++)
		print_step(&r->steps[i], i, out);
}

static void print_limit(const char *name, uint64_t value, uint64_t unit, FILE *out)
{
	if (value == RLIM_INFINITY)
		fprintf(out, "; %s unlimited", name);
	else
		fprintf(out, "; %s %lu", name, value / unit);
}

static void print_pool(const char *size, const struct host_huge_pages *p, FILE *out)
{
	if (p->exists)
		fprintf(out, "; %lu of %lu huge pages of %s free", p->to_have, p->total, size);
	else
		fprintf(out, "; no huge pages of %s", size);
}

static void print_host(const struct report *r, FILE *out)
{
	const struct host_memory *m = &r->memory;

	fprintf(out, "\nHost\n  %s; %u CPUs (%s)\n", r->kernel, r->cpus, r->cpu[0] ? r->cpu : "?");
	fprintf(out, "  memory: %lu MiB, %lu to be had, %lu of swap", m->total / MiB,
		host_memory_now(m) / MiB, m->swap / MiB);
	if (m->limit != UINT64_MAX)
		fprintf(out, "; limited to %lu MiB by its control group", m->limit / MiB);
	fprintf(out, "\n  pages: transparent huge pages %s",
		r->thp ? "for those who ask" : "never");
	print_pool("2M", &r->pages_2m, out);
	print_pool("1G", &r->pages_1g, out);
	fprintf(out, "\n  limits");
	print_limit("descriptors", r->nofile, 1, out);
	print_limit("locked KiB", r->memlock, KiB, out);
	fprintf(out, "\n\nHelpers\n");
	for (unsigned i = 0; i < r->n_helpers; i++) {
		const struct helper *h = &r->helpers[i];

		fprintf(out, "  %-3s %-16s for %s (%s)\n", h->there ? "yes" : "no", h->name, h->use,
			h->found);
		if (!h->there && !h->matters)
			fprintf(out, "      %-16s %s\n", "", h->remedy);
	}
}

int report_print(const struct report *r, FILE *out)
{
	fprintf(out, "%s.\n", r->summary);
	for (unsigned i = 0; i < r->n_todo; i++)
		fprintf(out, "  - %s\n", r->todo[i]);
	print_kvm(r, out);
	print_host(r, out);
	return fflush(out) || ferror(out) ? -EIO : 0;
}
