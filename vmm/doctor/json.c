/* SPDX-License-Identifier: Apache-2.0 */
/* The report for machines: the same facts under stable names, and a newline. */
#include "vmm/doctor/report.h"

#include <errno.h>
#include <jansson.h>
#include <sys/resource.h>

/* Objects are put together by jansson's pack format: "o" takes over a reference, and
 * a NULL among them (out of memory) makes the whole NULL. */

static json_t *step(const struct probe_step *s)
{
	static const char *const states[] = {
		[PROBE_NOT_RUN] = "not-run",
		[PROBE_OK] = "ok",
		[PROBE_LATE] = "late",
		[PROBE_FAILED] = "failed",
	};

	return json_pack("{s:s, s:I, s:I, s:s}", "state", states[s->state], "count",
			 (json_int_t)s->count, "ns", (json_int_t)s->ns, "why", s->why);
}

static json_t *guest(const struct report *r)
{
	const struct probe_step *s = r->steps;

	if (!r->probed)
		return json_null();
	return json_pack("{s:f, s:f, s:f, s:f, s:b, s:f, s:i, s:{s:o, s:o, s:o, s:o, s:o, s:o}}",
			 "ring0_per_second", probe_per_second(&s[PROBE_RING0]), "ring3_per_second",
			 probe_per_second(&s[PROBE_RING3]), "port_io_ns",
			 probe_ns_each(&s[PROBE_PORT]), "mmio_ns", probe_ns_each(&s[PROBE_MMIO]),
			 "kernel_instructions", s[PROBE_KERNEL].state == PROBE_OK, "wake_ns",
			 probe_ns_each(&s[PROBE_WAKE]), "took_ms", (int)r->took_ms, "steps",
			 "ring0", step(&s[PROBE_RING0]), "ring3", step(&s[PROBE_RING3]), "port_io",
			 step(&s[PROBE_PORT]), "mmio", step(&s[PROBE_MMIO]), "kernel",
			 step(&s[PROBE_KERNEL]), "wake", step(&s[PROBE_WAKE]));
}

static json_t *kvm(const struct report *r)
{
	json_t *caps = json_object();

	for (unsigned i = 0; kvm_capabilities[i].name; i++)
		json_object_set_new(caps, kvm_capabilities[i].name, json_integer(r->kvm.values[i]));
	return json_pack("{s:i, s:s, s:i, s:i, s:i, s:i, s:s, s:o}", "errno", -r->kvm_error,
			 "device", r->kvm_owner, "api_version", r->kvm.api_version, "cpus",
			 (int)r->kvm.cpus, "cpus_max", (int)r->kvm.cpus_max, "address_bits",
			 (int)r->address_bits, "vm_error", r->vm_error, "capabilities", caps);
}

/* Bytes or a count; null for no limit. */
static json_t *amount(uint64_t value, uint64_t none)
{
	return value == none ? json_null() : json_integer((json_int_t)value);
}

static json_t *pool(const struct host_huge_pages *p)
{
	return p->exists ? json_pack("{s:I, s:I}", "total", (json_int_t)p->total, "available",
				     (json_int_t)p->to_have)
			 : json_null();
}

static json_t *host(const struct report *r)
{
	const struct host_memory *m = &r->memory;

	return json_pack(
		"{s:s, s:s, s:i, s:{s:o, s:o}, s:{s:I, s:I, s:I, s:o, s:b, s:b, s:o, s:o}}",
		"kernel", r->kernel, "cpu", r->cpu, "cpus", (int)r->cpus, "limits", "descriptors",
		amount(r->nofile, RLIM_INFINITY), "locked_bytes", amount(r->memlock, RLIM_INFINITY),
		"memory", "total", (json_int_t)m->total, "available",
		(json_int_t)host_memory_now(m), "swap", (json_int_t)m->swap, "limit",
		amount(m->limit, UINT64_MAX), "strict_commit", m->strict_commit, "thp", r->thp,
		"huge_2m", pool(&r->pages_2m), "huge_1g", pool(&r->pages_1g));
}

static json_t *helpers(const struct report *r)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < r->n_helpers; i++) {
		const struct helper *h = &r->helpers[i];

		json_array_append_new(list, json_pack("{s:s, s:b, s:s, s:s, s:s}", "name", h->name,
						      "there", h->there, "found", h->found, "use",
						      h->use, "remedy", h->remedy));
	}
	return list;
}

static json_t *todos(const struct report *r)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < r->n_todo; i++)
		json_array_append_new(list, json_string(r->todo[i]));
	return list;
}

int report_json(const struct report *r, FILE *out)
{
	json_t *all = json_pack("{s:b, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "linux",
				r->verdict == VERDICT_LINUX, "verdict", verdict_name(r->verdict),
				"summary", r->summary, "todo", todos(r), "guest", guest(r), "kvm",
				kvm(r), "host", host(r), "helpers", helpers(r));

	if (!all)
		return -ENOMEM;
	int ret = json_dumpf(all, out, JSON_INDENT(2)) ? -EIO : 0;

	json_decref(all);
	if (fputc('\n', out) == EOF || fflush(out) || ferror(out))
		ret = -EIO;
	return ret;
}
