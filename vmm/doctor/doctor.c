/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/doctor/doctor.h"

#include "vmm/arch/x86_64/cpuid.h"
#include "vmm/core/clock.h"
#include "vmm/doctor/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A guest that hangs must not hang the doctor. It takes half a second, and more where the
 * host is busy with other things, which is nothing to judge it by. */
enum { PROBE_LIMIT_MS = 10000 };

/* Whose number `id` is in /etc/passwd or /etc/group, "NAME:PASSWORD:ID:..."; "?" if nobody's
 * there. (The C library would ask other services, and load them: we are one piece.) */
static void find_name(const char *path, unsigned id, char *name, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[1024];
	unsigned value;
	int len;

	snprintf(name, size, "?");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*[^:]%n:%*[^:]:%u", &len, &value) != 1 || value != id)
			continue;
		snprintf(name, size, "%.*s", len, line);
		break;
	}
	if (f)
		fclose(f);
}

/* Who may open it, as ls would say. */
static void look_at_owner(struct report *r)
{
	struct stat st;
	char user[48], group[48];
	char mode[] = "rwxrwxrwx";

	if (stat("/dev/kvm", &st))
		return;
	for (unsigned i = 0; i < 9; i++)
		if (!(st.st_mode & 0400u >> i))
			mode[i] = '-';
	find_name("/etc/passwd", st.st_uid, user, sizeof(user));
	find_name("/etc/group", st.st_gid, group, sizeof(group));
	snprintf(r->kvm_owner, sizeof(r->kvm_owner), "%c%s %s %s", S_ISCHR(st.st_mode) ? 'c' : '?',
		 mode, user, group);
}

static void look_at_kvm(struct report *r)
{
	uint64_t from = clock_monotonic_ns(&clock_host);
	struct cpuid_model cpuid = {0};
	struct kvm_vm vm;
	struct err e = {0};

	look_at_owner(r);
	r->kvm_error = kvm_facts_read(&r->kvm);
	if (r->kvm_error)
		return;
	int ret = kvm_vm_open(&vm, &e);

	if (!ret)
		ret = cpuid_model_init(&cpuid, &vm, 1, &e);
	if (!ret) {
		r->address_bits = cpuid.address_bits;
		ret = probe_run(r->steps, &vm, PROBE_LIMIT_MS, &e);
		r->probed = !ret;
	}
	if (ret)
		snprintf(r->vm_error, sizeof(r->vm_error), "%s", e.text);
	cpuid_model_fini(&cpuid);
	kvm_vm_close(&vm);
	r->took_ms = (unsigned)((clock_monotonic_ns(&clock_host) - from) / 1000000);
}

int doctor(bool json, bool *linux_runs, struct err *e)
{
	struct report *r = calloc(1, sizeof(*r));

	if (!r)
		return err_host(e, -ENOMEM, "out of memory");
	/* The guest first: it is timed, and nothing of ours should still be under way. */
	look_at_kvm(r);
	report_host(r, "");
	report_judge(r);
	int ret = json ? report_json(r, stdout) : report_print(r, stdout);

	*linux_runs = r->verdict == VERDICT_LINUX;
	free(r);
	return ret ? err_host(e, ret, "doctor: stdout: %s", strerror(-ret)) : 0;
}
