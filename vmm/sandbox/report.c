/* SPDX-License-Identifier: Apache-2.0 */
/* What the sandbox is, told to people: the lists as they were built, and this kernel. */
#include "vmm/sandbox/sandbox.h"

#include <errno.h>
#include <string.h>

enum { COLUMNS = 88 };

static void print_calls(const struct sandbox_filter *f, FILE *out)
{
	unsigned column = 0;

	for (unsigned i = 0; i < f->n_calls; i++) {
		const char *name = sandbox_call_name(f->calls[i]);

		if (!column || column + strlen(name) >= COLUMNS) {
			fprintf(out, "%s   ", column ? "\n" : "");
			column = 3;
		}
		column += (unsigned)fprintf(out, " %s", name);
	}
	fputc('\n', out);
}

int sandbox_report(FILE *out)
{
	const char *lacks = sandbox_lacks();
	int abi = sandbox_landlock_abi();

	fprintf(out, "--sandbox=on: %s%s\n",
		lacks ? "not on this host, whose kernel lacks " : "can be", lacks ? lacks : "");
	if (abi)
		fprintf(out, "Landlock: ABI %d\n", abi);
	else
		fprintf(out, "Landlock: none\n");
	fprintf(out, "\nSystem calls that are left to each kind of thread\n");
	for (unsigned k = 0; k < THREAD_KINDS; k++) {
		const struct sandbox_filter *f = sandbox_filter(k);

		fprintf(out, "  %-8s %2u calls, %u instructions of BPF\n", f->name, f->n_calls,
			f->n_insns);
		print_calls(f, out);
	}
	return fflush(out) || ferror(out) ? -EIO : 0;
}
