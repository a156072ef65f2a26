/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generate: the lists of system calls, as seccomp filters in C. A program of the build's: it writes
 * filters.c to stdout, and libseccomp, which lays out the filters, is linked to nothing else.
 */
#include "vmm/sandbox/call.h"
#include "vmm/sandbox/priv.h"

#include "devices/backend/calls.inc"
#include "devices/virtio/calls.inc"
#include "vmm/arch/x86_64/calls.inc"
#include "vmm/base/calls.inc"
#include "vmm/control/calls.inc"
#include "vmm/core/calls.inc"
#include "vmm/kvm/calls.inc"
#include "vmm/machine/calls.inc"
#include "vmm/sandbox/calls.inc"
#include "vmm/snapshot/calls.inc"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST(name)                    \
	{                             \
		name, ARRAY_LEN(name) \
	}
static const struct list {
	const struct sandbox_call *calls;
	size_t n;
} lists[] = {
	LIST(base_calls),    LIST(core_calls),     LIST(kvm_calls),     LIST(arch_calls),
	LIST(backend_calls), LIST(virtio_calls),   LIST(machine_calls), LIST(control_calls),
	LIST(sandbox_calls), LIST(snapshot_calls),
};

static const char *const kind_names[THREAD_KINDS] = {
	[THREAD_MAIN] = "main",     [THREAD_CONTROL] = "control",   [THREAD_VCPU] = "vcpu",
	[THREAD_IO] = "io",         [THREAD_VSOCK] = "vsock",       [THREAD_SHARE] = "share",
	[THREAD_MEMORY] = "memory", [THREAD_SNAPSHOT] = "snapshot", [THREAD_HELPER] = "helper",
};

__attribute__((noreturn)) static void die(const char *what, const char *name, int ret)
{
	fprintf(stderr, "generate: %s %s: %s\n", what, name, strerror(-ret));
	exit(1);
}

/* Twice the same is said often, as layers do not know of each other. */
static bool said_before(const struct sandbox_call *c, unsigned kind)
{
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		for (size_t i = 0; i < lists[l].n; i++) {
			const struct sandbox_call *o = &lists[l].calls[i];

			if (o == c)
				return false;
			if (o->kinds & 1u << kind && !strcmp(o->name, c->name) &&
			    o->arg == c->arg && o->mask == c->mask && o->value == c->value)
				return true;
		}
	}
	return false;
}

/* A row that allows all of a call makes its conditions void. */
static bool all_of_it(const char *name, unsigned kind)
{
	for (size_t l = 0; l < ARRAY_LEN(lists); l++)
		for (size_t i = 0; i < lists[l].n; i++)
			if (lists[l].calls[i].kinds & 1u << kind && !lists[l].calls[i].mask &&
			    !strcmp(lists[l].calls[i].name, name))
				return true;
	return false;
}

static void allow(scmp_filter_ctx ctx, const struct sandbox_call *c, unsigned kind, bool seen[])
{
	int nr = seccomp_syscall_resolve_name(c->name);

	if (nr < 0 || nr >= FILTERS_CALLS)
		die("no such call:", c->name, -ENOSYS);
	seen[nr] = true;
	if (said_before(c, kind) || (c->mask && all_of_it(c->name, kind)))
		return;
	const struct scmp_arg_cmp cmp = SCMP_CMP64(c->arg, SCMP_CMP_MASKED_EQ, c->mask, c->value);
	int ret = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, c->mask ? 1 : 0, &cmp);

	if (ret)
		die(kind_names[kind], c->name, ret);
}

static void print_filter(scmp_filter_ctx ctx, const char *name)
{
	FILE *file = tmpfile();
	struct sock_filter insn;
	int ret = file ? seccomp_export_bpf(ctx, fileno(file)) : -errno;

	if (ret)
		die("filter", name, ret);
	rewind(file);
	printf("static const struct sock_filter %s_filter[] = {\n", name);
	while (fread(&insn, sizeof(insn), 1, file) == 1)
		printf("\t{0x%02x, %u, %u, 0x%08x},\n", insn.code, insn.jt, insn.jf, insn.k);
	printf("};\n");
	fclose(file);
}

/* Gives how many calls there are in it. */
static unsigned make(unsigned kind)
{
	bool seen[FILTERS_CALLS] = {false};
	unsigned n = 0;
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);

	if (!ctx)
		die("filter", kind_names[kind], -ENOMEM);
	/* Another architecture's calls (32-bit, x32) have other numbers: the end, without a word.
	 */
	int ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	/* A tree instead of a list: no call is at its end. */
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	/* What it would do is behind a pointer, which no filter follows; the C library then takes
	 * clone(2), whose flags can be seen. */
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (ret)
		die("filter", kind_names[kind], ret);
	for (size_t l = 0; l < ARRAY_LEN(lists); l++)
		for (size_t i = 0; i < lists[l].n; i++)
			if (lists[l].calls[i].kinds & 1u << kind)
				allow(ctx, &lists[l].calls[i], kind, seen);
	print_filter(ctx, kind_names[kind]);
	seccomp_release(ctx);
	printf("static const uint16_t %s_calls[] = {\n", kind_names[kind]);
	for (unsigned nr = 0; nr < FILTERS_CALLS; nr++) {
		if (seen[nr])
			printf("\t%u,\n", nr);
		n += seen[nr];
	}
	printf("};\n");
	return n;
}

static void print_names(void)
{
	printf("const char *const filters_names[FILTERS_CALLS] = {\n");
	for (int nr = 0; nr < FILTERS_CALLS; nr++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);

		if (name)
			printf("\t[%d] = \"%s\",\n", nr, name);
		free(name);
	}
	printf("};\n");
}

int main(void)
{
	unsigned counts[THREAD_KINDS];

	printf("/* Made by vmm/sandbox/generate.c. */\n#include \"vmm/base/bytes.h\"\n"
	       "#include \"vmm/sandbox/priv.h\"\n#include <linux/filter.h>\n");
	for (unsigned k = 0; k < THREAD_KINDS; k++)
		counts[k] = make(k);
	printf("const struct sandbox_filter filters_made[THREAD_KINDS] = {\n");
	for (unsigned k = 0; k < THREAD_KINDS; k++)
		printf("\t{\"%s\", %s_filter, ARRAY_LEN(%s_filter), %s_calls, %u},\n",
		       kind_names[k], kind_names[k], kind_names[k], kind_names[k], counts[k]);
	printf("};\n");
	print_names();
	return fflush(stdout) || ferror(stdout);
}
